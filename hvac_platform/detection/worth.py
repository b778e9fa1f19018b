"""What an incident is worth: avoidable cost a day, discomfort and risk to its machine, and what a repair has saved.

Nothing is guessed: what can't be known is None, and whoever asks says why. Powers are differences of the hourly mean that
was measured and the one that is expected (:mod:`hvac_platform.detection.energy`), kW.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

DAY_HOURS = 24.0
LEAST_HOURS = 1.0
"""Power is compared as the mean of an hour: an incident that is younger says nothing of its energy."""
WHOLE_DAY_HOURS = 20.0
"""Where so much of the last 24 hours was compared, their energy is that of a day; else it is told to be extrapolated."""
LEAST_HOURS_AFTER = 24.0
"""After a repair, a day at least is compared: the hours of a day differ."""
MOST_POINTS = 10.0
MUCH_KWH = 240.0
"""Energy a day that is worth all points of cost: 10 kW around the clock."""
MUCH_DEGREE_HOURS = 48.0
"""Discomfort of a day that is worth all its points: 2 K beyond the setpoint around the clock."""

KIND_RISK: Mapping[str, float] = MappingProxyType(
    {
        "fan_failure": 5.0,
        "low_flow": 5.0,
        "compressor_stuck_on": 4.0,
        "compressor_stuck_off": 4.0,
        "fouling": 3.0,
        "efficiency_degradation": 3.0,
        "novel": 3.0,
        "correlated_deviation": 2.0,
        "wrong_mode": 1.0,
        "sensor_failure": 1.0,
        "stuck_sensor": 1.0,
        "sensor_bias": 1.0,
    }
)
"""How much a kind of fault harms the machine that goes on with it: freezing and overheating most, a wrong reading least.

Judgement, not measurement; of a kind that isn't named here nothing is known, so it counts as none.
"""
LEVEL_RISK: Mapping[int, float] = MappingProxyType({1: 3.0, 2: 3.0, 3: 1.0})
"""By the level of ASHRAE Guideline 36, which severity follows from: critical 3, warning 1, info 0."""
PERSISTENCE_RISK, PERSISTENT_HOURS = 2.0, 24.0


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, with an interval that is to hold the truth 95 times of 100."""

    value: float
    low: float
    high: float

    @classmethod
    def around(cls, value: float, half: float) -> Interval:
        """From so much below an estimate to so much above it."""
        return cls(value, value - half, value + half)

    @property
    def is_more_than_nothing(self) -> bool:
        """Whether all of it is above 0."""
        return self.low > 0.0


@dataclass(frozen=True, slots=True)
class DailyExcess:
    """What an incident draws a day beyond what is expected, and what that costs.

    Attributes:
        kwh: energy a day.
        cost: money a day; None without prices.
        hours: so many hours were compared.
        extrapolated: whether they are less than a day, so that this is what a day would be if all of it were like them.
    """

    kwh: Interval
    cost: Interval | None
    hours: float
    extrapolated: bool


@dataclass(frozen=True, slots=True)
class Savings:
    """What has been saved since a repair, at the weather and load since then.

    Attributes:
        kwh: energy so far.
        kwh_a_day: energy a day.
        cost: money so far; None without prices.
        cost_a_day: money a day; None without prices.
        hours_before: hours of the incident that were compared.
        hours_after: hours since the repair that were compared.
    """

    kwh: Interval
    kwh_a_day: Interval
    cost: Interval | None
    cost_a_day: Interval | None
    hours_before: float
    hours_after: float


def compared_hours(difference_kw: Float64, window_hours: float) -> float:
    """Hours that n differences of hourly means say something of, each of the hour up to its window.

    >>> compared_hours(np.zeros(61), 1 / 60)
    2.0
    """
    known = int(np.isfinite(difference_kw).sum())
    return known * window_hours + max(0.0, LEAST_HOURS - window_hours) if known else 0.0


def daily_excess(
    difference_kw: Float64, band_kw: float, window_hours: float, *, price: Float64 | None = None, day_price: float = 0.0
) -> DailyExcess | None:
    """Energy and cost a day of an incident, from at most its last 24 hours; None where less than an hour was compared.

    The interval is the mean ± the band that holds 95 % of held-out hours: errors of the hours of one day are taken as one
    and the same error, since what the model doesn't know of a day it doesn't know of any of its hours.

    Args:
        difference_kw: [n], power beyond the expected; NaN where it isn't known.
        band_kw: 95 % of held-out hours lie within it.
        window_hours: length of a window.
        price: [n], of a kWh at each window; None without prices.
        day_price: mean price of a kWh over the 24 hours up to the end, for hours that were not compared.

    >>> found = daily_excess(np.full(120, 2.0), 0.5, 1 / 60, price=np.full(120, 0.3), day_price=0.25)
    >>> found.kwh, found.cost, found.extrapolated
    (Interval(value=48.0, low=36.0, high=60.0), Interval(value=12.0, low=9.0, high=15.0), True)
    """
    known = np.isfinite(difference_kw)
    hours = compared_hours(difference_kw, window_hours)
    if hours < LEAST_HOURS - 1e-9:
        return None
    mean = float(difference_kw[known].mean())
    extrapolated = hours < WHOLE_DAY_HOURS
    cost = None
    if price is not None:
        hourly = mean * day_price if extrapolated else float((difference_kw[known] * price[known]).mean())
        cost = Interval.around(DAY_HOURS * hourly, DAY_HOURS * band_kw * day_price)
    return DailyExcess(Interval.around(DAY_HOURS * mean, DAY_HOURS * band_kw), cost, hours, extrapolated)


def cost_points(daily: DailyExcess | None, flat_price: float | None = None) -> float:
    """0 to 10 for what is avoidable a day: 10 from 240 kWh on, or from what these cost at the site's flat price.

    0 where it isn't known, and where the interval holds 0: what may be nothing puts an incident before no other.

    >>> much = daily_excess(np.full(60, 5.0), 0.5, 1 / 60)
    >>> cost_points(much), cost_points(None)
    (5.0, 0.0)
    """
    if daily is None or not daily.kwh.is_more_than_nothing:
        return 0.0
    kwh = daily.cost.value / flat_price if daily.cost is not None and flat_price else daily.kwh.value
    return MOST_POINTS * min(1.0, max(0.0, kwh) / MUCH_KWH)


def degree_hours(beyond: Float64, holds: Bool, window_hours: float, scale: float = 1.0) -> float | None:
    """How far and how long a temperature was beyond its setpoints, K·h; None where nothing can be said.

    Args:
        beyond: [n], degrees beyond a setpoint, 0 within; NaN where it isn't known.
        holds: [n], whether the temperature says something then, such as while the machine runs.
        window_hours: length of a window.
        scale: kelvin in one of its degrees.

    >>> degree_hours(np.array([0.0, 9.0, 9.0]), np.array([True, True, False]), 1.0, 5 / 9)
    5.0
    """
    known = holds & np.isfinite(beyond)
    return float(beyond[known].sum()) * scale * window_hours if known.any() else None


def comfort_points(found: float | None) -> float:
    """0 to 10 for degree-hours within a day, 10 from 48 K·h on; 0 where they aren't known.

    >>> comfort_points(24.0), comfort_points(None)
    (5.0, 0.0)
    """
    return 0.0 if found is None else MOST_POINTS * min(1.0, found / MUCH_DEGREE_HOURS)


def maintenance_parts(kinds: Sequence[tuple[str, float]], level: int, minutes: float) -> dict[str, float]:
    """Points for what a fault does to its machine by what they are for, those that are not 0; 10 in all at most.

    Args:
        kinds: likely kinds of fault with their similarity, the likeliest first; the first that is known counts.
        level: of ASHRAE Guideline 36.
        minutes: how long it has lasted.

    >>> maintenance_parts([("fouling", 0.9)], 3, 12 * 60)
    {'fouling': 2.7, 'level 3': 1.0, 'persistence': 1.0}
    """
    kind, similarity = next(((name, alike) for name, alike in kinds if name in KIND_RISK), ("", 0.0))
    lasting = PERSISTENCE_RISK * min(1.0, max(0.0, minutes) / (60.0 * PERSISTENT_HOURS))
    parts = {
        kind.replace("_", " "): KIND_RISK.get(kind, 0.0) * min(1.0, max(0.0, similarity)),
        f"level {level}": LEVEL_RISK.get(level, 0.0),
        "persistence": lasting,
    }
    return {name: round(points, 1) for name, points in parts.items() if round(points, 1)}


def savings(
    before_kw: Float64,
    after_kw: Float64,
    band_kw: float,
    window_hours: float,
    *,
    price: Float64 | None = None,
) -> Savings | None:
    """What a repair has saved so far; None where less than an hour before or a day after it can be compared.

    Had the fault gone on, the machine would have drawn as much beyond what is expected of it, at the weather and load since
    the repair, as it did during the incident. The errors of one day are taken as one error, those of different days as
    independent: the interval is ± band · √(1 / days before + 1 / days after).

    Args:
        before_kw: [m], power beyond the expected during the incident; NaN where it isn't known.
        after_kw: [n], the same since the repair.
        band_kw: 95 % of held-out hours lie within it.
        window_hours: length of a window.
        price: [n], of a kWh at each window since the repair; None without prices.

    >>> found = savings(np.full(24, 3.0), np.full(48, 1.0), 0.5, 1.0, price=np.full(48, 0.5))
    >>> found.kwh_a_day.value, found.kwh.value, found.cost.value, round(found.kwh.high - found.kwh.value, 2)
    (48.0, 96.0, 48.0, 29.39)
    """
    hours_before, hours_after = compared_hours(before_kw, window_hours), compared_hours(after_kw, window_hours)
    if hours_before < LEAST_HOURS - 1e-9 or hours_after < LEAST_HOURS_AFTER - 1e-9:
        return None
    known = np.isfinite(after_kw)
    before = float(before_kw[np.isfinite(before_kw)].mean())
    half = band_kw * math.sqrt(sum(1.0 / max(1.0, hours / DAY_HOURS) for hours in (hours_before, hours_after)))
    saved = before - after_kw[known]
    hourly = Interval.around(float(saved.mean()), half)
    money = None
    if price is not None:
        money = Interval.around(float((saved * price[known]).mean()), half * float(price[known].mean()))
    return Savings(
        _times(hourly, hours_after),
        _times(hourly, DAY_HOURS),
        None if money is None else _times(money, hours_after),
        None if money is None else _times(money, DAY_HOURS),
        hours_before,
        hours_after,
    )


def _times(one: Interval, factor: float) -> Interval:
    return Interval(one.value * factor, one.low * factor, one.high * factor)
