"""Sensors that repeat themselves: the variance of a live signal collapses when its sensor sticks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.observations import Stretch

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

LONG_RUN = 5
RUN_MARGIN = 2.0
REST_SHARE = 0.002
LEAST_RUN = 4
MOST_REPEATS = 0.9
MOST_PLACES = 1
"""Between its lowest and its highest value: with more at which a metric holds, none is one where it rests by nature."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """How m metrics usually repeat themselves.

    Attributes:
        log_repeat: float64 [m], log10 of the share of rows that repeat the row before, at values where the metric doesn't
            rest; 0 for a metric that is not judged.
        longest: float64 [m], longest run at such values.
        resting: values at which each metric was seen to rest (an off machine, a closed valve, a saturated sensor).
    """

    log_repeat: Float64
    longest: Float64
    resting: tuple[Float64, ...]

    def surprise(self, values: Float64, runs: Int64) -> Float64:
        """Surprise of each metric's run of equal readings, float64 [n, m].

        A run of L equal readings has probability r^(L-1) where a reading repeats with probability r, if repeats are
        independent; so S = -(L-1)·log10 r. A run must also be twice as long as the longest in normal data,
        since repeats of a slow signal are not independent.
        """
        result = np.zeros(values.shape)
        long = (runs > np.maximum(RUN_MARGIN * self.longest, LEAST_RUN - 1)) & (self.log_repeat < 0)
        for j in np.flatnonzero(long.any(axis=0)):
            suspicious = long[:, j] & ~_among(values[:, j], self.resting[j])
            result[:, j] = np.where(suspicious, -(runs[:, j] - 1) * self.log_repeat[j], 0.0)
        return result


def run_lengths(values: Float64, stretches: Sequence[Stretch], before: Int64, last: Float64) -> Int64:
    """How many readings up to each row are equal to the digit, int64 [n, m]; a missing reading ends a run.

    Args:
        values: float64 [n, m].
        stretches: runs don't reach across their bounds.
        before: int64 [m], run length at the row before the first stretch; 0 where nothing came before.
        last: float64 [m], reading of that row.
    """
    n, m = values.shape
    rows = np.arange(n)[:, None]
    starts = np.ones((n, m), dtype=np.bool_)
    starts[1:] = values[1:] != values[:-1]  # NaN differs from everything, itself included
    for stretch in stretches:
        starts[stretch.start] = True
    begun = np.maximum.accumulate(np.where(starts, rows, 0), axis=0)
    lengths: Int64 = np.where(np.isfinite(values), rows - begun + 1, 0)
    if n:
        first = begun[: stretches[0].stop] == 0
        continued = first & (values[0] == last) & (before > 0)
        lengths[: stretches[0].stop] += np.where(continued, before, 0)
    return lengths


def fit_repetition(values: Float64, runs: Int64) -> Repetition:
    """Learn from normal data how metrics repeat themselves.

    The lowest and the highest value are places where a metric rests. A value between at which it is held for five rows or
    more, and spends 0.2 % of the time or more, is another where it is the only one. Metrics that mostly repeat themselves
    elsewhere too (setpoints, statuses) are not judged.

    Args:
        values: float64 [n, m].
        runs: int64 [n, m] from :func:`run_lengths`.
    """
    n, m = values.shape
    log_repeat, longest, resting = np.zeros(m), np.zeros(m), []
    for j in range(m):
        column, run = values[:, j], runs[:, j]
        known = np.isfinite(column)
        if not known.any():
            resting.append(np.zeros(0))
            continue
        held, count = np.unique(column[known & (run >= LONG_RUN)], return_counts=True)
        ends = np.array([column[known].min(), column[known].max()])
        often = held[(count >= REST_SHARE * n) & (held > ends[0]) & (held < ends[1])]
        # Who rests in so many places rests nowhere: it is coarse, or repeated until it has moved by a step.
        places = np.unique(np.r_[often, ends] if len(often) <= MOST_PLACES else ends)
        resting.append(places)
        moving = known & ~_among(column, places)
        repeats = int((moving & (run > 1)).sum())
        share = (repeats + 1) / (moving.sum() + 2)  # Laplace's rule, so that no share is 0
        longest[j] = run[moving].max() if moving.any() else 0
        # Where readings seldom move, equal ones say nothing.
        if share <= MOST_REPEATS and moving.sum() >= 0.1 * known.sum():
            log_repeat[j] = np.log10(share)
    return Repetition(log_repeat, longest, tuple(resting))


def _among(column: Float64, places: Float64) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.isin(column, places)
    return found
