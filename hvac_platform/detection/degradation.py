"""Slow wear: what no single row shows and every week shows a little more of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

LEAST_DAYS = 5
ALLOWANCE = 0.5
DECISION = 5.0
LEAST_SIGMA = 1e-9


@dataclass(frozen=True, slots=True)
class Trend:
    """How one metric departs more and more from what the others imply.

    Attributes:
        metric: its name.
        per_day: change of the deviation, in the metric's unit per day.
        deviation: deviation at the last day, by the fitted line.
        cusum: largest one-sided cumulative sum, in sigmas of the daily deviations.
        since: first day of the run that led to it, or None while the sum is below the decision limit.
        days_to_limit: days until the deviation reaches the given limit at this pace; None without a limit or on a pace away
            from it, 0 where it is reached.
    """

    metric: str
    per_day: float
    deviation: float
    cusum: float
    since: pd.Timestamp | None
    days_to_limit: float | None


def trends(deviations: pd.DataFrame, normal: pd.DataFrame, *, limits: dict[str, float] | None = None) -> list[Trend]:
    """Trends of all metrics, the strongest first.

    Deviations are taken by day as medians, so that faults of hours don't count. The normal days give centre and sigma
    (1.4826 · median absolute deviation). A cumulative sum adds up what exceeds half a sigma, and decides at 5
    (Page, Biometrika 41, 1954; Montgomery, Introduction to Statistical Quality Control, on k = 0.5 and h = 5). The slope is
    the median of the slopes of all pairs of days (Theil 1950; Sen, J. Am. Stat. Assoc. 63, 1968).

    Args:
        deviations: observed less expected values, from :meth:`FittedDetector.deviations`; UTC DatetimeIndex.
        normal: the same of the training.
        limits: deviation, by metric, at which something should be done.

    Raises:
        ValueError: fewer than five days with readings in either.
    """
    daily, usual = (frame.resample("1D").median().dropna(how="all") for frame in (deviations, normal))
    if min(len(daily), len(usual)) < LEAST_DAYS:
        raise ValueError(f"{min(len(daily), len(usual))} days with readings, {LEAST_DAYS} are needed on either side")
    found = []
    for name in daily.columns:
        values = daily[name].dropna()
        reference = usual[name].dropna().to_numpy()
        if len(values) < LEAST_DAYS or len(reference) < LEAST_DAYS:
            continue
        centre = float(np.median(reference))
        sigma = max(1.4826 * float(np.median(np.abs(reference - centre))), LEAST_SIGMA)
        z = (values.to_numpy() - centre) / sigma
        cusum, begun = _cumulative(z)
        days = (values.index - values.index[0]) / pd.Timedelta(days=1)
        slope, last = theil_sen(np.asarray(days, dtype=np.float64), values.to_numpy())
        limit = None if limits is None else limits.get(str(name))
        since = values.index[begun] if cusum > DECISION else None
        found.append(Trend(str(name), slope, last - centre, cusum, since, _days_to(limit, last - centre, slope)))
    return sorted(found, key=lambda trend: -trend.cusum)


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


def _days_to(limit: float | None, deviation: float, slope: float) -> float | None:
    if limit is None:
        return None
    distance = limit - deviation if limit > 0 else deviation - limit
    pace = slope if limit > 0 else -slope
    if distance <= 0:
        return 0.0
    return distance / pace if pace > 0 else None
