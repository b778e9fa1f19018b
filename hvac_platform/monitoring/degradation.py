"""Slow degradation on the store: what of a device departs a little more every day from what its other metrics imply."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hvac_platform.devices.registry import DeviceType, device_type
from hvac_platform.monitoring.learning import normal_snapshots
from hvac_platform.monitoring.wide_devices import choose_by_sample, readable_from
from hvac_platform.snapshots import SnapshotSeries, select
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.batches import TableBatch
from hvac_platform.stores.records import MetricTrend, Snapshot
from hvac_platform.timestamps import DAY_MS, day_of, day_windows, iso, now_ms

if TYPE_CHECKING:
    import pandas as pd

    from hvac_platform.detection.degradation import Trend

HISTORY_DAYS = 30
LEAST_DAYS = 10
LEAST_REFERENCE, MOST_REFERENCE = 5, 10
FORESEEN_DAYS = 365
"""A pace seen for weeks says nothing of what is further away."""
WHOLE = 0.5
"""A day with less than half of the windows that days usually have says little about the day."""


class TooFewDaysError(ValueError):
    """Not enough whole days of history to see degradation in; the message says how many there are."""


@dataclass(frozen=True, slots=True)
class Degradation:
    """Trends of one device over its last days.

    Attributes:
        device: the device.
        days: UTC days looked at, in order.
        reference_days: so many of them, the first ones, are what the others are compared with.
        trends: one a metric, worn ones first.
        sigmas: daily median of each metric's deviation, in standard deviations of a normal row; one row a day.
        readings: median reading of each metric on the last day, in its unit.
    """

    device: Device
    days: list[str]
    reference_days: int
    trends: list[Trend]
    sigmas: pd.DataFrame
    readings: dict[str, float]

    @property
    def degrading(self) -> list[Trend]:
        """Metrics that degrade."""
        return [trend for trend in self.trends if trend.since is not None]


def device_degradation(
    store: Store,
    device: Device,
    window_ms: int,
    *,
    days_back: int = HISTORY_DAYS,
    until_ms: int | None = None,
) -> Degradation:
    """Trends of a device's metrics over its last days.

    A detector fitted to the first third of the days (five to ten) says what the metrics imply of each other; it is not the
    profile's, which learns what is new and so forgets what was. Of the later days flagged windows count too: a machine that
    wears is flagged for it.

    Args:
        store: where snapshots are.
        device: whose.
        window_ms: length of a window.
        days_back: days of history.
        until_ms: end of the history; the end of the device's data when absent.

    Raises:
        TooFewDaysError: not enough whole days, or nothing to learn from in the first of them.
    """
    import pandas as pd

    from hvac_platform.detection import UnusableMetricsError, fit_detector
    from hvac_platform.detection.degradation import trends
    from hvac_platform.detection.learned import frame_of

    end_ms = device.last_seen + 1 if until_ms is None else until_ms
    declared = device_type(device.device_type)
    metrics, every = choose_by_sample(store, device, declared, end_ms - days_back * DAY_MS, end_ms)
    start_ms = readable_from(len(every), end_ms - days_back * DAY_MS, end_ms, window_ms)
    registered = store.device_days(day_of(start_ms), day_of(end_ms - 1), device.device_id)
    days = _whole_days(store, device, [day.date for day in registered], window_ms, end_ms)
    if len(days) < LEAST_DAYS:
        why = f" (of its {len(every)} metrics no more is read)" if start_ms > end_ms - days_back * DAY_MS else ""
        raise TooFewDaysError(
            f"{device.device_id}: {len(days)} whole day{'' if len(days) == 1 else 's'} in the last {days_back}, "
            f"{LEAST_DAYS} are needed to see degradation{why}"
        )
    count = min(MOST_REFERENCE, max(LEAST_REFERENCE, len(days) // 3))
    first = pd.concat([frame_of(_normal(store, device, day, window_ms, end_ms, metrics)) for day in days[:count]])
    try:
        detector = fit_detector(first, device_type=declared)
    except UnusableMetricsError as error:
        raise TooFewDaysError(f"{device.device_id}: the first {count} days can't be learned from: {error}") from None
    names = list(detector.metric_names)
    medians, readings = [], dict.fromkeys(names, np.nan)
    for day in days:
        include_flagged = day not in days[:count]
        series = _normal(store, device, day, window_ms, end_ms, metrics, include_flagged=include_flagged)
        frame = frame_of(series).reindex(columns=names)
        medians.append(detector.deviations(frame).median())
        readings = {str(name): float(value) for name, value in frame.median().items()}
    daily = pd.DataFrame(medians, index=pd.DatetimeIndex(days, tz="UTC"), columns=names)
    found = trends(
        daily.iloc[count:],
        daily.iloc[:count],
        detector.conditional_spread,
        limits=_limits(declared, readings, dict(zip(names, medians[-1].tolist(), strict=True))),
    )
    return Degradation(device, days, count, found, daily / pd.Series(detector.conditional_spread), readings)


def _whole_days(store: Store, device: Device, days: list[str], window_ms: int, end_ms: int) -> list[str]:
    counts = []
    for day in days:
        start, stop = day_windows(day, window_ms)
        counts.append(len(Snapshot.times(store, device.device_id, (start, min(stop, end_ms)))))
    usual = float(np.median(counts)) if counts else 0.0
    return [day for day, n in zip(days, counts, strict=True) if n and n >= WHOLE * usual]


def _normal(
    store: Store,
    device: Device,
    day: str,
    window_ms: int,
    end_ms: int,
    metrics: Collection[str] | None,
    *,
    include_flagged: bool = False,
) -> SnapshotSeries:
    start, stop = day_windows(day, window_ms)
    series, fit = normal_snapshots(
        store, device, None, start, min(stop, end_ms), include_flagged=include_flagged, metrics=metrics
    )
    return select(series, fit)


def _limits(
    declared: DeviceType | None, readings: dict[str, float], deviations: dict[str, float]
) -> dict[str, tuple[float, float]]:
    """Deviations at which each metric would leave its declared normal range, if the others stay as they are."""
    limits = {}
    for name, reading in readings.items():
        if declared is None or name not in declared.metric_names or (normal := declared.point(name).normal) is None:
            continue
        expected = reading - deviations[name]
        if normal[0] < expected < normal[1]:
            limits[name] = (normal[0] - expected, normal[1] - expected)
    return limits


def degradation_batches(store: Store, degradation: Degradation, window_ms: int) -> Iterator[TableBatch]:
    """Rows of ``metric_trends`` of a device; metrics that it no longer reports are taken out."""
    device_id, found = degradation.device.device_id, degradation.trends
    kept = {trend.metric for trend in found}
    gone = [trend for trend in MetricTrend.read(store, device_id) if trend.metric not in kept]
    if gone:
        yield TableBatch(MetricTrend.columns(gone), table=MetricTrend.TABLE, action="delete")
    first, last = day_windows(degradation.days[0], window_ms)[0], day_windows(degradation.days[-1], window_ms)[1]
    now = now_ms()
    trends = [
        MetricTrend(
            device_id=device_id,
            metric=t.metric,
            unit=metric_unit(degradation.device, t.metric),
            reading=degradation.readings[t.metric],
            deviation=t.deviation,
            sigmas=t.sigmas,
            per_day=t.per_day,
            cusum=t.cusum,
            since=None if t.since is None else int(t.since.timestamp() * 1000),
            days_to_limit=t.days_to_limit,
            span_start=first,
            span_end=last,
            updated_at=now,
        )
        for t in found
    ]
    if trends:
        yield TableBatch(MetricTrend.columns(trends))


def metric_unit(device: Device, metric: str) -> str:
    """Unit of a metric as the device's type declares it; empty where it doesn't."""
    declared = device_type(device.device_type)
    return declared.point(metric).unit if declared is not None and metric in declared.metric_names else ""


def degradation_sentence(
    metric: str, unit: str, deviation: float, sigmas: float, per_day: float, since_ms: int, left: float | None
) -> str:
    """What a worn metric shows, in one sentence.

    >>> degradation_sentence("power_consumption", "kW", 4.2, 6.1, 0.31, 0, 12.4)
    'power consumption is 4.2 kW (6.1 sigma) above what the other metrics imply, growing 0.31 kW a day since 1970-01-01; \
leaves its normal range in about 12 days'
    """
    side = "above" if deviation > 0 else "below"
    pace = "growing" if deviation * per_day > 0 else "shrinking"
    words = (
        f"{metric.replace('_', ' ')} is {abs(deviation):.3g} {unit}".rstrip()
        + f" ({abs(sigmas):.1f} sigma) {side} what the other metrics imply, {pace} "
        + f"{abs(per_day):.2g} {unit}".rstrip()
        + f" a day since {iso(since_ms)[:10]}"
    )
    if left is None or left > FORESEEN_DAYS:
        return words
    return words + ("; outside its normal range" if left < 1 else f"; leaves its normal range in about {left:.0f} days")
