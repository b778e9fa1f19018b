"""What each point of a device does at the moment: it reports, is late, has stopped, stands still, or reads what can't be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.grades import RESTING_SHARE, STUCK_WINDOWS
from hvac_platform.detection.pace import IN_TIME, Pace, counts_of, silences
from hvac_platform.snapshots import SnapshotSeries

PointState = Literal["reporting", "late", "stopped", "frozen", "out of range"]


def point_states(
    series: SnapshotSeries, paces: Mapping[str, Pace], impossible: NDArray[np.bool_]
) -> dict[str, PointState]:
    """States of the points that have a pace, at the end of a series of n windows, by metric.

    A regular point is late once one and a half of its intervals have passed without a reading, and stopped once its pace's
    patience is over. It is frozen where it has repeated itself to the digit for an hour of windows though it usually moves.

    Args:
        series: n windows of the device, reaching back as far as the longest patience.
        paces: by metric.
        impossible: bool [n, m], windows with a reading of a metric that can't be.
    """
    names = tuple(paces)
    if not len(series):
        return {}
    quiet = silences(series.times_ms, counts_of(series, names), series.window_ms)[-1]
    place = {name: j for j, name in enumerate(series.metric_names)}
    return {
        name: _state(series, place.get(name), paces[name], int(silence), impossible)
        for name, silence in zip(names, quiet.tolist(), strict=True)
    }


def _state(
    series: SnapshotSeries, j: int | None, pace: Pace, silence_ms: int, impossible: NDArray[np.bool_]
) -> PointState:
    rows = np.zeros(0, dtype=np.int64) if j is None else np.flatnonzero(series.count[:, j] > 0)
    if silence_ms >= pace.patience_ms(series.window_ms) or not len(rows) or j is None:
        return "stopped"
    if pace.regular and silence_ms > IN_TIME * max(pace.interval_ms, series.window_ms):
        return "late"
    if impossible[rows[-1], j]:
        return "out of range"
    same, run = _standing(series, rows, j)
    before = same[: len(rows) - run]
    moves = len(before) > STUCK_WINDOWS and float(before.mean()) <= RESTING_SHARE
    return "frozen" if run >= STUCK_WINDOWS and moves else "reporting"


def _standing(series: SnapshotSeries, rows: NDArray[np.int64], j: int) -> tuple[NDArray[np.bool_], int]:
    """Which of the windows of a point repeat the one before to the digit, and how many of the last ones do."""
    values = series.last[rows, j]
    same = (series.minimum[rows, j] == series.maximum[rows, j]) & np.r_[False, np.diff(values) == 0]
    return same, len(rows) - 1 - int(np.flatnonzero(~same)[-1])


def look_further_back(series: SnapshotSeries, paces: Mapping[str, Pace]) -> bool:
    """Whether a point stands still for so long that the series doesn't say whether it moves otherwise."""
    for j, name in enumerate(series.metric_names):
        rows = np.flatnonzero(series.count[:, j] > 0)
        if name in paces and len(rows):
            _, run = _standing(series, rows, j)
            if run >= STUCK_WINDOWS and len(rows) - run <= STUCK_WINDOWS:
                return True
    return False
