"""Limits that hold a false-alarm budget on a device's own normal data."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

TAIL_SHARE = 0.1
PERSISTENCE_GAIN = 4.0  # an alarm needs two of three windows, so single windows may exceed this much more often


def tail_limit(scores: NDArray[np.float64], exceedance: float) -> float:
    """The score that normal data exceeds with a given probability, also beyond what the sample has seen.

    The empirical quantile up to the 90 % point u, beyond it an exponential tail fitted to the mean excess b over u:
    limit = u + b · ln(0.1 / p). (Peaks over threshold: Pickands, Ann. Statist. 3, 1975, with shape 0.)

    Args:
        scores: float64 [n] of normal data; NaN are left out.
        exceedance: probability p, 0 < p < 1.

    Returns:
        The limit; infinity without data.

    >>> round(tail_limit(np.linspace(0, 1, 1001), 0.2), 3)
    0.8
    """
    known = scores[np.isfinite(scores)]
    if not len(known):
        return math.inf
    if exceedance >= TAIL_SHARE or len(known) < 20:
        return float(np.quantile(known, 1 - exceedance)) if len(known) >= 20 else float(known.max())
    threshold = float(np.quantile(known, 1 - TAIL_SHARE))
    excess = known[known > threshold] - threshold
    scale = float(excess.mean()) if len(excess) else 0.0
    return max(threshold + scale * math.log(TAIL_SHARE / exceedance), float(np.quantile(known, 1 - exceedance)))


def exceedance_for(false_alarms_per_day: float, window_ms: int) -> float:
    """Probability that one normal window exceeds its limit, for a budget of alarms in a day."""
    windows_per_day = 86_400_000 / window_ms
    return min(0.5, PERSISTENCE_GAIN * false_alarms_per_day / windows_per_day)


def persistent(score: NDArray[np.float64], times_ms: NDArray[np.int64], window_ms: int) -> NDArray[np.bool_]:
    """Alarm where the score exceeds 1 in two of the last three windows, or 2 at once; causal.

    Args:
        score: float64 [n]; 1 is the limit, NaN counts as below.
        times_ms: int64 [n], increasing; a gap of more than three windows starts afresh.
        window_ms: length of a window.

    >>> persistent(np.array([0, 1.5, 0, 1.5, 0, 2.5]), np.arange(6) * 60_000, 60_000).tolist()
    [False, False, False, True, False, True]
    """
    above = score > 1.0
    alarm = score > 2.0
    for lag in (1, 2):
        earlier = np.zeros_like(above)
        earlier[lag:] = above[:-lag] & (times_ms[lag:] - times_ms[:-lag] <= 3 * window_ms)
        alarm = alarm | (above & earlier)
    return alarm
