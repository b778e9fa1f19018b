"""How improbable a statistic is under the device's own normal data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

BODY = 0.9
BODY_POINTS = 91
LEAST_SHAPE, MOST_SHAPE = 0.02, 0.3
LEAST_STATISTIC = 1e-12
SHRINKAGE_ROWS = 1000.0
SHARES = np.linspace(0.0, BODY, BODY_POINTS)
"""Of normal data below each quantile of a body."""


@dataclass(frozen=True, slots=True)
class Surprise:
    """S = -log10 P(statistic of a normal row >= s).

    Attributes:
        body: float64 [91], quantiles 0, 1, …, 90 % of the statistic on normal data.
        shape: β, the tail's index: beyond the 90 % point q the statistic exceeds s with probability 0.1·(s/q)^(-1/β).
    """

    body: Float64
    shape: float

    def of(self, statistic: Float64) -> Float64:
        """Surprise of each value, float64 [n] >= 0.

        Empirical up to the 90 % point, where S = 1; beyond it S = 1 + ln(s/q)/(β·ln 10).
        """
        share = np.interp(statistic, self.body, SHARES)
        inside = -np.log10(1.0 - share)
        threshold = max(float(self.body[-1]), LEAST_STATISTIC)
        beyond = 1.0 + np.log(np.maximum(statistic / threshold, 1.0)) / (self.shape * np.log(10.0))
        return np.where(statistic > threshold, beyond, inside)

    def statistic_at(self, surprise: float) -> float:
        """The value that has a surprise, from 1 on: q·10^(β·(S - 1)).

        >>> s = Surprise(np.linspace(0.0, 0.9, 91), 0.5)
        >>> round(float(s.of(np.array([s.statistic_at(2.5)]))[0]), 9)
        2.5
        """
        threshold = max(float(self.body[-1]), LEAST_STATISTIC)
        return float(threshold * 10.0 ** (self.shape * (surprise - 1.0)))


def fit_surprise(statistic: Float64, *, most_shape: float = MOST_SHAPE) -> Surprise:
    """Calibrate on normal data that the statistic was not fitted to.

    β = median of ln(s/q) over the values beyond q, divided by ln 2: the tail index of Hill (Ann. Statist. 3, 1975) with the
    median in place of the mean, so that a few per cent of faults among the normal data hardly change it. Where more than
    half of the largest tenth is of another kind (faults, a machine that began to run otherwise), β would be so large that
    nothing surprises any more; it is held at 0.3, above that of all but few normal statistics. The limits, which are set on
    the surprise of the same rows, make up for tails that really are heavier.

    Args:
        statistic: float64 [n], n >= 20.
        most_shape: largest β.

    >>> s = fit_surprise(1.0 / np.linspace(1e-5, 1, 100_000) ** 0.2)
    >>> round(float(s.of(np.array([100.0**0.2]))[0]), 1)
    2.0
    """
    body = np.quantile(statistic, np.linspace(0.0, BODY, BODY_POINTS))
    threshold = max(float(body[-1]), LEAST_STATISTIC)
    excess = np.log(np.maximum(statistic[statistic > threshold], threshold) / threshold)
    shape = float(np.median(excess)) / np.log(2.0) if len(excess) else 0.0
    return Surprise(body, float(np.clip(shape, LEAST_SHAPE, most_shape)))


def towards(within: Surprise, overall: Surprise, rows: int) -> Surprise:
    """Calibration on some of the normal rows, shrunk towards that on all with the weight of :data:`SHRINKAGE_ROWS`.

    A group-conditional (Mondrian) calibration, as in Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World,
    2005, chapter 4, that a small group doesn't make coarse.

    Args:
        within: calibrated on the rows of a group.
        overall: calibrated on all.
        rows: how many rows the group has.
    """
    share = rows / (rows + SHRINKAGE_ROWS)
    body = np.exp(share * _log(within.body) + (1.0 - share) * _log(overall.body))
    return Surprise(body, float(within.shape**share * overall.shape ** (1.0 - share)))


def _log(body: Float64) -> Float64:
    return np.log(np.maximum(body, LEAST_STATISTIC))
