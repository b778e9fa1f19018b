"""How good the readings of each point are: good, fair or poor, with the figures that say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.pace import Pace, counts_of, heard_ms, stale
from hvac_platform.devices.registry import DeviceType
from hvac_platform.snapshots import SnapshotSeries

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

STUCK_WINDOWS = 60
"""A reading that repeats itself to the digit over so many windows is stuck, unless the point rests there often."""
RESTING_SHARE = 0.5
"""A point that repeats itself for so much of the time rests by nature: a setpoint, a status, an idle machine."""
MARKS = (-9999.0, -999.0, -99.9, 6553.5, 32767.0, 65535.0, 9999.0, 1e308)
"""Values that loggers and sensors write in place of a reading; one counts as such where it is far from the others."""
LARGEST = 1e30
"""No reading of a machine is larger."""
FAR_SPREADS = 20.0
"""So many spreads (between the 1 and the 99 % point) beyond the others a mark is none of them."""

Word = Literal["good", "fair", "poor"]


@dataclass(frozen=True, slots=True)
class Grade:
    """How good the readings of a point are over some windows; shares are between 0 and 1.

    Attributes:
        completeness: of the readings that its pace lets expect, those that came.
        staleness: of the time, that in which it had been silent for longer than its pace allows.
        resolution: smallest step between two readings, in the metric's unit; None where it never moved.
        noise: standard deviation from one window to the next, in the metric's unit; None with too few windows.
        stuck: of the windows, those in which it had repeated itself for long while it usually moves.
        out_of_range: of the windows, those with a reading that can't be.
    """

    completeness: float
    staleness: float
    resolution: float | None
    noise: float | None
    stuck: float
    out_of_range: float

    @property
    def word(self) -> Word:
        """The grade: poor where a tenth of the time tells nothing, good where hardly any does.

        >>> Grade(1.0, 0.0, 0.1, 0.2, 0.0, 0.0).word, Grade(0.8, 0.0, 0.1, 0.2, 0.0, 0.0).word
        ('good', 'fair')
        """
        if self.completeness < 0.7 or self.staleness > 0.1 or self.stuck > 0.1 or self.out_of_range > 0.02:
            return "poor"
        if self.completeness < 0.95 or self.staleness > 0.01 or self.stuck > 0.01 or self.out_of_range > 0.001:
            return "fair"
        return "good"


def grade_points(series: SnapshotSeries, paces: Mapping[str, Pace], impossible: Mapping[str, int]) -> dict[str, Grade]:
    """Grades of the points of a device, by metric.

    Args:
        series: n windows, without readings that can't be.
        paces: of the points to grade.
        impossible: windows with a reading that can't be, by metric.
    """
    names = tuple(name for name in paces if name in series.metric_names)
    if not len(series) or not names:
        return {}
    silent = stale(series, names, paces)
    count = counts_of(series, names)
    span_ms = int(heard_ms(series.times_ms, series.window_ms)[-1]) + series.window_ms
    return {
        name: _grade(series, name, paces[name], silent[:, i], int(count[:, i].sum()), impossible.get(name, 0), span_ms)
        for i, name in enumerate(names)
    }


def _grade(
    series: SnapshotSeries, name: str, pace: Pace, silent: Bool, readings: int, impossible: int, span_ms: int
) -> Grade:
    j = series.metric_names.index(name)
    rows = np.flatnonzero(series.count[:, j] > 0)
    values = series.last[rows, j]
    steps = np.abs(np.diff(values))
    moved = steps[steps > 0]
    same = (series.minimum[rows, j] == series.maximum[rows, j]) & np.r_[False, steps == 0]
    begun = np.maximum.accumulate(np.where(~same, np.arange(len(rows)), 0))
    long = np.arange(len(rows)) - begun >= STUCK_WINDOWS
    rests = len(rows) > 0 and float(same.mean()) > RESTING_SHARE
    return Grade(
        completeness=round(min(1.0, readings * pace.interval_ms / span_ms), 4) if pace.regular else 1.0,
        staleness=round(float(silent.mean()), 4),
        resolution=float(np.quantile(moved, 0.01)) if len(moved) else None,
        noise=float(1.4826 * np.median(steps) / np.sqrt(2.0)) if len(steps) >= STUCK_WINDOWS else None,
        stuck=0.0 if rests or not len(rows) else round(float(long.mean()), 4),
        out_of_range=round(impossible / max(1, impossible + len(rows)), 4),
    )


def impossible_readings(series: SnapshotSeries, device_type: DeviceType | None) -> Bool:
    """Windows in which a reading of a metric can't be, bool [n, m]: beyond its hard limits, too large, or a mark of none.

    Where nothing is declared a mark counts as such where it lies far from what the metric reads otherwise.
    """
    found = np.zeros(series.mean.shape, dtype=np.bool_)
    for j, name in enumerate(series.metric_names):
        low, high = series.minimum[:, j], series.maximum[:, j]
        known = series.count[:, j] > 0
        with np.errstate(invalid="ignore"):
            found[:, j] = known & ~((low >= -LARGEST) & (high <= LARGEST))
            declared = device_type is not None and name in device_type.metric_names
            hard = device_type.point(name).hard if declared and device_type is not None else None
            if hard is not None:
                found[:, j] |= known & ((low < hard[0]) | (high > hard[1]))
            elif (marked := known & (np.isin(low, MARKS) | np.isin(high, MARKS))).any():
                found[:, j] |= marked & _far(low, high, known & ~marked)
    return found


def without_readings(series: SnapshotSeries, mask: Bool) -> SnapshotSeries:
    """A series in which the readings of a mask, bool [n, m], are missing."""
    if not mask.any():
        return series
    return replace(
        series,
        count=np.where(mask, 0, series.count),
        mean=np.where(mask, np.nan, series.mean),
        minimum=np.where(mask, np.nan, series.minimum),
        maximum=np.where(mask, np.nan, series.maximum),
        last=np.where(mask, np.nan, series.last),
    )


def _far(low: Float64, high: Float64, usual: Bool) -> Bool:
    """Windows whose smallest or largest reading is far from those of the usual ones; none where there are no such."""
    if not usual.any():
        return np.zeros(len(low), dtype=np.bool_)
    bottom, top = float(np.quantile(low[usual], 0.01)), float(np.quantile(high[usual], 0.99))
    room = FAR_SPREADS * max(top - bottom, 1e-3 * max(abs(top), abs(bottom), 1e-3))
    far: Bool = (low < bottom - room) | (high > top + room)
    return far
