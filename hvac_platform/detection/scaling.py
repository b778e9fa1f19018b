"""Each metric on its own robust scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

GAUSSIAN_MAD = 1.4826  # standard deviation of a normal distribution over its median absolute deviation
TAILS = (0.005, 0.995)
PRIOR_SAMPLES = 5.0  # a declared range counts as much as so many rows
RANGE_PER_SIGMA = 6.0
LEAST_RELATIVE = 0.01  # scale of a metric that never moved, as a share of its level
CLIP = 30.0


@dataclass(frozen=True, slots=True)
class Scale:
    """Centre and scale of m metrics, in the metrics' units, both float64 [m]."""

    centre: Float64
    spread: Float64

    def apply(self, values: Float64) -> Float64:
        """Z = clip((x - centre) / spread, ±30), float64 [n, m]; NaN stays."""
        scaled: Float64 = np.clip((values - self.centre) / self.spread, -CLIP, CLIP)
        return scaled

    def undone(self, scaled: Float64) -> Float64:
        """The values whose scaled ones these are, float64 [n, m]."""
        values: Float64 = scaled * self.spread + self.centre
        return values


def robust_scale(values: Float64, declared_low: Float64 | None = None, declared_high: Float64 | None = None) -> Scale:
    """Median, and 1.4826·MAD where that exceeds half the winsorised standard deviation, else the latter.

    The median absolute deviation alone collapses for a metric that mostly rests (a valve, an off machine); the standard
    deviation alone is at the mercy of outliers, so it is taken of the values clipped at their 0.5 and 99.5 % points.
    With a declared normal range, both are shrunk towards it with the weight of five rows:
    s² ← (5·s0² + n·s²)/(5 + n), s0 = range/6, so that there is a scale from the first row on.

    Args:
        values: float64 [n, m], NaN where missing, n >= 1 finite values in each column.
        declared_low: float64 [m] or None; NaN where nothing is declared.
        declared_high: likewise.
    """
    centre = _medians(values)
    mad = GAUSSIAN_MAD * _medians(np.abs(values - centre))
    low, high = _tails(values)
    winsorised = np.nanstd(np.clip(values, low, high), axis=0)
    spread = np.where(mad > winsorised / 2, mad, winsorised)
    # Rare excursions, such as a status that was on for a minute a day, leave both at zero.
    spread = np.where(spread > 0, spread, np.nanstd(values, axis=0))
    if declared_low is not None and declared_high is not None:
        n = np.isfinite(values).sum(axis=0)
        known = np.isfinite(declared_low) & np.isfinite(declared_high) & (declared_high > declared_low)
        middle, prior = (declared_low + declared_high) / 2, (declared_high - declared_low) / RANGE_PER_SIGMA
        total = PRIOR_SAMPLES + n
        centre = np.where(known, (PRIOR_SAMPLES * middle + n * centre) / total, centre)
        spread = np.where(known, np.sqrt((PRIOR_SAMPLES * prior**2 + n * spread**2) / total), spread)
    floor = LEAST_RELATIVE * np.abs(centre)
    still = spread <= 1e-9 * np.maximum(np.abs(centre), 1e-300)
    spread = np.where(still, np.where(floor > 0, floor, 1.0), spread)
    return Scale(centre, spread)


def _medians(values: Float64) -> Float64:
    """Median of each column, float64 [m], of what is known of it."""
    if np.isnan(values).any():
        return np.asarray(np.nanmedian(values, axis=0), dtype=np.float64)
    columns = np.array(values.T, order="C")  # a copy; NumPy's nanmedian goes through columns one by one
    return np.asarray(np.median(columns, axis=1, overwrite_input=True), dtype=np.float64)


def _tails(values: Float64) -> Float64:
    """The points of each column that :data:`TAILS` of what is known of it lie below, float64 [2, m]."""
    if np.isnan(values).any():
        return np.asarray(np.nanquantile(values, TAILS, axis=0), dtype=np.float64)
    columns = np.array(values.T, order="C")
    return np.asarray(np.quantile(columns, TAILS, axis=1, overwrite_input=True), dtype=np.float64)
