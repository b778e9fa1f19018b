"""Slow degradation: what no single row shows and every week shows a little more of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

LEAST_DAYS = 5
ALLOWANCE = 0.5
DECISION = 5.0
#: A metric is worn from this many conditional standard deviations on; less comes and goes with the season.
WORN_SIGMAS = 3.0


@dataclass(frozen=True, slots=True)
class Trend:
    """How one metric departs more and more from what the others imply.

    Attributes:
        metric: its name.
        per_day: change of the deviation, in the metric's unit per day.
        deviation: deviation at the last day, by the fitted line, in the metric's unit.
        sigmas: the same in standard deviations of a normal row about what the other metrics imply.
        cusum: largest one-sided cumulative sum, in sigmas of the daily deviations.
        since: first day of the run that led there, where the metric is worn; else None.
        days_to_limit: days until the deviation reaches the limit that it moves towards; None without a limit there, or
            without degradation; 0 where it is reached.
    """

    metric: str
    per_day: float
    deviation: float
    sigmas: float
    cusum: float
    since: pd.Timestamp | None
    days_to_limit: float | None


def trends(
    deviations: pd.DataFrame,
    normal: pd.DataFrame,
    spread: Mapping[str, float],
    *,
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> list[Trend]:
    """Trends of all metrics, worn ones first, the strongest first.

    Deviations are taken by day as medians, so that faults of hours don't count. The normal days give centre and sigma
    (1.4826 · median absolute deviation, but at least the spread of a row: few days look steadier than a season is). A
    cumulative sum adds up what exceeds half a sigma, and decides at 5 (Page, Biometrika 41, 1954; Montgomery,
    Introduction to Statistical Quality Control, on k = 0.5 and h = 5); the deviation must also have come to three spreads of
    a row. The slope is the median of the slopes of all pairs of days (Theil 1950; Sen, J. Am. Stat. Assoc. 63, 1968).

    Args:
        deviations: observed less expected values, from :meth:`FittedDetector.deviations`; UTC DatetimeIndex.
        normal: the same of the training.
        spread: conditional standard deviation of a row by metric, from :attr:`FittedDetector.conditional_spread`.
        limits: lowest and highest deviation, by metric, at which something should be done; infinite where there is none.

    Raises:
        ValueError: fewer than five days with readings in either.
    """
    daily, usual = (frame.resample("1D").median().dropna(how="all") for frame in (deviations, normal))
    if min(len(daily), len(usual)) < LEAST_DAYS:
        raise ValueError(f"{min(len(daily), len(usual))} days with readings, {LEAST_DAYS} are needed on either side")
    found = []
    for name in map(str, daily.columns):
        values = daily[name].dropna()
        reference = usual[name].dropna().to_numpy()
        if len(values) < LEAST_DAYS or len(reference) < LEAST_DAYS:
            continue
        centre = float(np.median(reference))
        sigma = max(1.4826 * float(np.median(np.abs(reference - centre))), spread[name])
        cusum, begun = _cumulative((values.to_numpy() - centre) / sigma)
        days = (values.index - values.index[0]) / pd.Timedelta(days=1)
        slope, last = theil_sen(np.asarray(days, dtype=np.float64), values.to_numpy())
        deviation, sigmas = last - centre, (last - centre) / spread[name]
        worn = cusum > DECISION and abs(sigmas) >= WORN_SIGMAS
        low, high = (limits or {}).get(name, (-np.inf, np.inf))
        left = _days_to(low - centre, high - centre, deviation, slope) if worn else None
        since = values.index[begun] if worn else None
        found.append(Trend(name, slope, deviation, sigmas, cusum, since, left))
    return sorted(found, key=lambda trend: (trend.since is None, -abs(trend.sigmas)))


def theil_sen(x: Float64, y: Float64) -> tuple[float, float]:
    """Median of the slopes of all pairs of points, and the fitted value at the last x.

    >>> theil_sen(np.array([0.0, 1.0, 2.0, 3.0, 4.0]), np.array([0.0, 2.0, 4.0, 99.0, 8.0]))
    (2.0, 8.0)
    """
    first, second = np.triu_indices(len(x), k=1)
    slope = float(np.median((y[second] - y[first]) / (x[second] - x[first])))
    return slope, float(np.median(y - slope * x) + slope * x[-1])


def _cumulative(z: Float64) -> tuple[float, int]:
    """Largest one-sided cumulative sum, upwards or downwards, and the day that it began on."""
    best, begun = 0.0, 0
    for sign in (1.0, -1.0):
        total, start = 0.0, 0
        for i, value in enumerate(sign * z - ALLOWANCE):
            if total <= 0.0:
                total, start = 0.0, i
            total += value
            if total > best:
                best, begun = total, start
    return best, begun


def _days_to(low: float, high: float, deviation: float, slope: float) -> float | None:
    """Days until a deviation that changes by ``slope`` a day leaves [low, high]; None where it never will.

    >>> _days_to(-10.0, 10.0, 4.0, 2.0), _days_to(-10.0, 10.0, 12.0, 2.0), _days_to(-np.inf, 10.0, 4.0, -2.0)
    (3.0, 0.0, None)
    """
    if not low < deviation < high:
        return 0.0
    distance = high - deviation if slope > 0 else deviation - low
    return float(distance / abs(slope)) if np.isfinite(distance) and slope != 0.0 else None
