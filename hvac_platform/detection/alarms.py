"""From surprise to alarms: persistence, and a limit that holds a false-alarm budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # it brings pandas, which those who only need a limit do without
    from hvac_platform.detection.observations import Stretch

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

PERSISTENCE_WINDOWS = 3
"""An alarm by two of three windows looks back on so many."""
AT_ONCE = 2.0
BLOCKS_AT_LEAST = 12
BLOCK_ROWS, LONGEST_BLOCK_ROWS, LEAST_BLOCK_ROWS, BLOCK_MS = 60, 360, 4, 3_600_000
QUARTILES = 0.25, 0.75
DAY_MS = 86_400_000
MARGIN_LONG, MARGIN_DAYS, MARGIN_ROWS = 1.2, 5.0, 1000.0


def persists(surprise: Float64, limit: float, before: Float64) -> Bool:
    """Rows above the limit that are the second of the last three, or above twice the limit; bool [n].

    An alarm holds only while the row itself is above the limit, so it ends with its cause.

    Args:
        surprise: float64 [n].
        limit: above this a row is suspicious.
        before: float64 [2], surprise of the two rows before the first.

    >>> persists(np.array([3.0, 0.0, 3.0, 5.0, 0.0]), 2.0, np.zeros(2)).tolist()
    [False, False, True, True, False]
    """
    extended = np.concatenate([before, surprise]) > limit
    earlier = extended[:-2] | extended[1:-1]
    alarm: Bool = (extended[2:] & earlier) | (surprise > AT_ONCE * limit)
    return alarm


def persistent_level(surprise: Float64, stretches: Sequence[Stretch]) -> Float64:
    """The limit under which each row would just alarm, float64 [n]: min(S_i, max(S_{i-1}, S_{i-2})), or S_i / 2."""
    level = np.empty_like(surprise)
    for stretch in stretches:
        part = surprise[stretch.start : stretch.stop]
        padded = np.r_[0.0, 0.0, part]
        neighbour = np.maximum(padded[:-2], padded[1:-1])
        level[stretch.start : stretch.stop] = np.maximum(np.minimum(part, neighbour), part / AT_ONCE)
    return level


def budget_limit(level: Float64, interval_ms: int, alarms_per_day: float) -> float:
    """The limit that normal data exceed in as many episodes a day as the budget allows.

    Maxima of blocks of rows follow a Gumbel distribution where the tail is exponential, which that of a surprise is by
    construction (Fisher and Tippett 1928; Coles, An Introduction to Statistical Modeling of Extreme Values, 2001,
    chapter 3). Blocks of 4 to 60 rows, no longer than an hour, keep together what is correlated. Where rows are less than a
    minute apart, blocks of up to an hour (360 rows) are tried too, and the higher limit counts: what recurs once in an hour
    or two, such as a valve that opens for some minutes, is rare among short blocks and goes unseen by them. The distribution
    is fitted to the quartiles of the maxima, which a few faulty blocks hardly move: σ = (q75 - q25) / 1.5725,
    μ = q50 + σ·ln(ln 2). A record shorter than a day says nothing of events rarer than itself, so the limit is never set for
    less than one event in three times its length.

    Args:
        level: float64 [n] of normal data in order of time, from :func:`persistent_level`.
        interval_ms: time between rows.
        alarms_per_day: budget.
    """
    longest = int(np.clip(BLOCK_MS // interval_ms, LEAST_BLOCK_ROWS, LONGEST_BLOCK_ROWS))
    lengths = {max(1, min(rows, len(level) // BLOCKS_AT_LEAST)) for rows in (min(BLOCK_ROWS, longest), longest)}
    return max(_block_limit(level, rows, interval_ms, alarms_per_day) for rows in lengths)


def _block_limit(level: Float64, rows: int, interval_ms: int, alarms_per_day: float) -> float:
    """The limit by maxima of blocks of so many rows."""
    count = len(level) // rows
    maxima = level[: count * rows].reshape(count, rows).max(axis=1)
    expected = alarms_per_day * rows * interval_ms / DAY_MS
    return gumbel_limit(maxima, float(np.clip(max(expected, 1.0 / (3.0 * count)), 1e-6, 0.5)))


def gumbel_limit(maxima: Float64, share: float) -> float:
    """What a share of maxima exceed, by a Gumbel distribution fitted to their quartiles.

    Args:
        maxima: float64 [k] of blocks.
        share: 0 < share < 1.
    """
    low, middle, high = np.quantile(maxima, (QUARTILES[0], 0.5, QUARTILES[1]))
    spread = max((high - low) / (np.log(np.log(4.0)) - np.log(np.log(4.0 / 3.0))), 0.05)
    mode = middle + spread * np.log(np.log(2.0))
    return float(mode - spread * np.log(-np.log(1.0 - share)))


def counted_limit(level: Float64, interval_ms: int, alarms_per_day: float) -> float:
    """The limit that the given data exceed in no more blocks of an hour than the budget allows; at least one may.

    What :func:`budget_limit` estimates from the quartiles, counted: rare but regular states such as start-ups lie beyond
    the quartiles of any distribution.

    >>> counted_limit(np.repeat([1.0, 1.0, 3.0, 5.0], 60), 60_000, 1.0)
    3.0
    """
    rows = int(np.clip(BLOCK_MS // interval_ms, LEAST_BLOCK_ROWS, BLOCK_ROWS))
    padded = np.r_[level, np.full(-len(level) % rows, level[-1])]
    maxima = np.sort(padded.reshape(-1, rows).max(axis=1))[::-1]
    allowed = max(1, int(alarms_per_day * len(level) * interval_ms / DAY_MS))
    return float(maxima[min(allowed, len(maxima) - 1)])


def margin_for_variation(short: float, span_ms: int, rows: int, long: float = MARGIN_LONG) -> float:
    """Factor on a limit for variation that the training can't have shown.

    ``short`` is the factor up to a day or a thousand rows, whichever is less, ``long`` that from five days and 5000 rows: in
    between, a training shows all hours of the day and little of how days differ.

    >>> margin_for_variation(2.0, DAY_MS, 1440), margin_for_variation(2.0, 7 * DAY_MS, 7 * 1440)
    (2.0, 1.2)
    """
    amount = max(1.0, min(span_ms / DAY_MS, rows / MARGIN_ROWS))
    return float(np.interp(np.log(amount), (0.0, np.log(MARGIN_DAYS)), (short, long)))
