"""The points of a device: which it reports, at which pace, and which of them are retired."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from hvac_platform.detection.grades import grade_points, impossible_readings
from hvac_platform.detection.pace import Pace, with_longest_rests
from hvac_platform.detection.point_states import PointState, look_further_back, point_states
from hvac_platform.detection.profile import Profile
from hvac_platform.devices.registry import device_type
from hvac_platform.ingestion.expected import pace_of_stored
from hvac_platform.snapshots import SnapshotSeries
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import WHOLE_DEVICE, DevicePoint, StoredGrade, read_points
from hvac_platform.stores.series import read_series
from hvac_platform.timestamps import DAY_MS, now_ms

WINDOWS_MS = (60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000)
"""Lengths of windows that divide an hour."""
LEAST_LOOK_MS, FURTHEST_LOOK_MS = 6 * 3_600_000, 8 * DAY_MS
"""So far back a point is looked at for what it does now: twice the silence that its pace allows, within these bounds."""


@dataclass(frozen=True, slots=True)
class Points:
    """What is known of the points of one device.

    Attributes:
        paces: of the points that are expected, by metric.
        retired: metrics that are no longer expected, with their former pace and since when, epoch milliseconds.
        gone_ms: since when nothing at all is expected of the device; None while something is.
    """

    paces: Mapping[str, Pace] = field(default_factory=dict)
    retired: Mapping[str, tuple[Pace, int]] = field(default_factory=dict)
    gone_ms: int | None = None

    def watched(self, profile: Profile | None) -> tuple[str, ...]:
        """Metrics without which a profile can't say what is normal; none before there is one of the device's own."""
        if profile is None or profile.provisional:
            return ()
        names = profile.detector.metric_names if profile.detector is not None else tuple(profile.metric_stats)
        return tuple(name for name in names if name not in self.retired)


def points_of(store: Store, device_id: str) -> Points:
    """The points of a device, as they were learned last; nothing is known of them before its history was looked at."""
    known, gone = read_points(store, device_id)
    paces = {point.metric: (pace_of_stored(point), point.retired_at) for point in known}
    return Points(
        {metric: pace for metric, (pace, since) in paces.items() if since is None},
        {metric: (pace, since) for metric, (pace, since) in paces.items() if since is not None},
        gone,
    )


def states_now(store: Store, device: Device) -> dict[str, PointState]:
    """What the points of a device that are expected do at its newest window, by metric; none where nothing was learned."""
    paces = points_of(store, device.device_id).paces
    if not paces:
        return {}
    slowest_ms = max(pace.patience_ms(WINDOWS_MS[0]) for pace in paces.values())
    back_ms = min(max(2 * slowest_ms, LEAST_LOOK_MS), FURTHEST_LOOK_MS)
    while True:  # a sensor that has stood still for a day is seen to only against the days in which it moved
        since_ms = device.last_seen - back_ms
        series = read_series(store, device.device_id, device.device_type, since_ms, device.last_seen + 1)
        if back_ms >= FURTHEST_LOOK_MS or since_ms <= device.first_seen or not look_further_back(series, paces):
            break
        back_ms = min(6 * back_ms, FURTHEST_LOOK_MS)
    return point_states(series, paces, impossible_readings(series, device_type(device.device_type)))


def fitting_window_ms(points: Points, window_ms: int) -> int | None:
    """The window that a device's data fit; None where the present one does, or nothing is known of its points.

    One that is shorter than the pace of the fastest point has nothing in most windows.
    """
    intervals = [pace.interval_ms for pace in points.paces.values() if pace.regular]
    if not intervals or min(intervals) <= window_ms:
        return None
    return next((window for window in WINDOWS_MS if window >= min(intervals)), WINDOWS_MS[-1])


def window_command(device_id: str, window_ms: int) -> str:
    """The command that gives a device windows of a length, in whole minutes.

    >>> window_command("CH-001", 300_000)
    'hvac devices window CH-001 5min'
    """
    return f"hvac devices window {shlex.quote(device_id)} {window_ms // 60_000}min"


def retire_point(store: Store, device_id: str, metric: str, at_ms: int | None) -> None:
    """A point, or with :data:`WHOLE_DEVICE` a device, is no longer expected from an instant on; None: it is again."""
    key = {"device_id": [device_id], "metric": [metric]}
    if metric == WHOLE_DEVICE and DevicePoint.first(store, device_id, equals={"metric": metric}) is None:
        now = now_ms()
        whole = DevicePoint(device_id, metric, 0, 0, True, now, now, grade=None, retired_at=at_ms, updated_at=now)
        store.upsert(DevicePoint.TABLE, DevicePoint.columns([whole]))
        return
    store.update(DevicePoint.TABLE, {**key, "retired_at": [at_ms]})


def learned_points(
    series: SnapshotSeries,
    paces: Mapping[str, Pace],
    impossible: Mapping[str, int],
    known: Sequence[DevicePoint],
    *,
    from_ms: int,
    until_ms: int,
    at_ms: int,
) -> list[DevicePoint]:
    """Points with the pace that a history shows; those that were known and have no reading in it stay as they are.

    Args:
        series: n windows of the device, flagged ones too, without readings that can't be.
        paces: that they show.
        impossible: windows with a reading that can't be, by metric.
        known: what was known before; whether a point is retired stays.
        from_ms: start of the history.
        until_ms: its end.
        at_ms: the present.
    """
    retired = {point.metric: point.retired_at for point in known}
    paces = with_longest_rests(paces, {point.metric: pace_of_stored(point) for point in known})
    grades = grade_points(series, paces, impossible)
    return [
        DevicePoint(
            series.device_id,
            metric,
            pace.interval_ms,
            pace.longest_ms,
            pace.regular,
            from_ms,
            until_ms,
            StoredGrade(grade=grades[metric].word, **asdict(grades[metric])),  # type: ignore[typeddict-item]
            retired.get(metric),
            at_ms,
        )
        for metric, pace in paces.items()
    ]
