"""The points of a device: which it reports, at which pace, and which of them are retired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hvac_platform.detection.pace import Pace, learn_paces
from hvac_platform.detection.profile import Profile
from hvac_platform.snapshots import SnapshotSeries
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import DevicePoint


@dataclass(frozen=True, slots=True)
class Points:
    """What is known of the points of one device.

    Attributes:
        paces: of the points that are expected, by metric.
        retired: metrics that are no longer expected, with their former pace and since when, epoch milliseconds.
    """

    paces: Mapping[str, Pace] = field(default_factory=dict)
    retired: Mapping[str, tuple[Pace, int]] = field(default_factory=dict)

    def watched(self, profile: Profile | None) -> tuple[str, ...]:
        """Metrics without which a profile can't say what is normal; none before there is one of the device's own."""
        if profile is None or profile.provisional:
            return ()
        names = profile.detector.metric_names if profile.detector is not None else tuple(profile.metric_stats)
        return tuple(name for name in names if name not in self.retired)


def points_of(store: Store, device_id: str) -> Points:
    """The points of a device, as they were learned last; nothing is known of them before its history was looked at."""
    known = DevicePoint.read(store, device_id, only=("metric", "interval_ms", "longest_ms", "regular", "retired_at"))
    return Points(
        {p.metric: Pace(p.interval_ms, p.longest_ms, p.regular) for p in known if p.retired_at is None},
        {
            p.metric: (Pace(p.interval_ms, p.longest_ms, p.regular), p.retired_at)
            for p in known
            if p.retired_at is not None
        },
    )


def learned_points(
    series: SnapshotSeries, known: Sequence[DevicePoint], *, from_ms: int, until_ms: int, at_ms: int
) -> list[DevicePoint]:
    """Points with the pace that a history shows; those that were known and have no reading in it stay as they are.

    Args:
        series: n windows of the device, flagged ones too.
        known: what was known before; whether a point is retired stays.
        from_ms: start of the history.
        until_ms: its end.
        at_ms: the present.
    """
    retired = {point.metric: point.retired_at for point in known}
    grades = {point.metric: point.grade for point in known}
    return [
        DevicePoint(
            series.device_id,
            metric,
            pace.interval_ms,
            pace.longest_ms,
            pace.regular,
            from_ms,
            until_ms,
            grades.get(metric),
            retired.get(metric),
            at_ms,
        )
        for metric, pace in learn_paces(series).items()
    ]
