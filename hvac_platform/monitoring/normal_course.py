"""What would have been normal while an incident lasted, by the device's own detector, and how far metrics were from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvac_platform.monitoring.profiles import load_profile
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import Incident
from hvac_platform.stores.series import read_series

MOST_WINDOWS = 6_000
"""Of a longer span nothing is said: a page would wait for it."""

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Departure:
    """How far one metric was from what the others imply, over the windows of an incident.

    Attributes:
        metric: its name.
        observed: mean of the readings, in the unit that they are kept in.
        normal: mean of what would have been normal.
        spreads: the difference of the two, in units of the metric's usual spread; signed.
    """

    metric: str
    observed: float
    normal: float
    spreads: float


@dataclass(frozen=True, slots=True)
class NormalCourse:
    """n windows around an incident, m metrics of the detector.

    Attributes:
        times_ms: int64 [n], window starts.
        metrics: their names.
        expected: float64 [n, m], what the other metrics imply of each, in the unit that it is kept in.
        departures: of the metrics that were read in the incident, the farthest from normal first.
    """

    times_ms: Int64
    metrics: tuple[str, ...]
    expected: Float64
    departures: tuple[Departure, ...]

    def column(self, metric: str, times_ms: Int64) -> Float64 | None:
        """What would have been normal of a metric at other times, float64 [len(times_ms)]; None where nothing is known.

        Args:
            metric: its name.
            times_ms: int64, window starts; NaN stands where one is not known.
        """
        if metric not in self.metrics or not len(self.times_ms):
            return None
        at = np.clip(np.searchsorted(self.times_ms, times_ms), 0, len(self.times_ms) - 1)
        found = np.where(self.times_ms[at] == times_ms, self.expected[at, self.metrics.index(metric)], np.nan)
        return found if bool(np.isfinite(found).any()) else None


def normal_course(
    store: Store, device: Device, incident: Incident, span: tuple[int, int], window_ms: int
) -> NormalCourse | None:
    """What would have been normal around an incident; None without a detector, and of a span that is too long.

    The detector is the present one of the device. It follows the windows as it does when it judges them.

    Args:
        store: has the windows and the profile.
        device: of the incident.
        incident: the incident.
        span: first instant included and first excluded, of what is wanted.
        window_ms: length of the device's windows.
    """
    from hvac_platform.detection.learned import context_start, examine_windows

    profile = load_profile(store, device.device_id)
    if profile is None or profile.detector is None:
        return None
    detector = profile.detector
    start_ms, end_ms = span
    begin, names = context_start(start_ms, window_ms), tuple(detector.metric_names)
    if (end_ms - begin) // window_ms > MOST_WINDOWS:
        return None
    series = read_series(store, device.device_id, device.device_type, begin, end_ms, metrics=names)
    wanted = series.times_ms >= start_ms
    if not wanted.any():
        return None
    learned, _ = examine_windows(series, wanted, detector)
    ended = max(incident.ended_at, incident.started_at + 1)
    inside = (learned.times_ms >= incident.started_at) & (learned.times_ms < ended)
    return NormalCourse(
        learned.times_ms,
        names,
        learned.expected,
        departures_of(names, learned.observed[inside], learned.expected[inside], detector.scale.spread),
    )


def departures_of(names: Sequence[str], observed: Float64, expected: Float64, spread: Float64) -> tuple[Departure, ...]:
    """How far each metric was from normal over some windows, the farthest first; those that were never read are left out.

    Args:
        names: m metrics.
        observed: float64 [n, m], NaN where there was no reading.
        expected: float64 [n, m].
        spread: float64 [m], usual spread of each metric, positive.
    """
    read = np.isfinite(observed) & np.isfinite(expected)
    found = []
    for j in np.flatnonzero(read.any(axis=0)).tolist():
        was, normal = float(observed[read[:, j], j].mean()), float(expected[read[:, j], j].mean())
        found.append(Departure(names[j], was, normal, (was - normal) / float(spread[j])))
    return tuple(sorted(found, key=lambda one: -abs(one.spreads)))
