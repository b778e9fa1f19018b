"""What a kilowatt-hour costs when: a flat price, and periods of the week and the year with prices of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

MINUTE_MS, DAY_MS, DAY_MINUTES = 60_000, 86_400_000, 1440
QUARTER_MS = 900_000
"""Clocks are changed at quarters of an hour of UTC, so one look a quarter says what local time is."""
EVERY_DAY, EVERY_MONTH = frozenset(range(7)), frozenset(range(1, 13))


@dataclass(frozen=True, slots=True)
class Period:
    """Hours of the week, in some months, that have a price of their own.

    One that ends at or before its beginning goes on over midnight: the hours after it belong to the day before, and so to
    its month.

    Attributes:
        price: of a kWh.
        days: days of the week on which it begins, 0 for Monday.
        start: minutes since midnight, by the clock of the site.
        until: first minute after it, 1440 at most.
        months: months in which it begins, 1 for January.
    """

    price: float
    days: frozenset[int] = EVERY_DAY
    start: int = 0
    until: int = DAY_MINUTES
    months: frozenset[int] = EVERY_MONTH


@dataclass(frozen=True, slots=True)
class Tariff:
    """Prices of a kWh: those of the first period that holds, else the flat one."""

    price: float
    periods: tuple[Period, ...] = ()


def prices(times_ms: Int64, tariff: Tariff, zone: tzinfo) -> Float64:
    """Price of a kWh at some instants, float64 [n].

    Args:
        times_ms: int64 [n], epoch milliseconds.
        tariff: the prices.
        zone: of the site; an hour that comes twice when clocks are put back has one price both times.

    >>> from datetime import UTC
    >>> night = Tariff(0.30, (Period(0.20, start=22 * 60, until=6 * 60),))
    >>> prices(np.array([5, 6, 21, 22]) * 3_600_000, night, UTC).tolist()
    [0.2, 0.3, 0.3, 0.2]
    """
    result = np.full(len(times_ms), tariff.price)
    if not len(times_ms) or not tariff.periods:
        return result
    local_ms = times_ms + _offsets_ms(times_ms, zone)
    day, minute = local_ms // DAY_MS, local_ms % DAY_MS // MINUTE_MS
    for period in reversed(tariff.periods):
        today = _is_one_of(day, period)
        if period.start < period.until:
            holds = today & (minute >= period.start) & (minute < period.until)
        else:
            holds = (today & (minute >= period.start)) | (_is_one_of(day - 1, period) & (minute < period.until))
        result[holds] = period.price
    return result


def mean_price(start_ms: int, end_ms: int, tariff: Tariff, zone: tzinfo) -> float:
    """Mean price of a kWh over [start_ms, end_ms), minute by minute; at least one minute."""
    minutes = np.arange(start_ms, max(end_ms, start_ms + 1), MINUTE_MS, dtype=np.int64)
    return float(prices(minutes, tariff, zone).mean())


def _is_one_of(day: Int64, period: Period) -> Bool:
    """Whether a period may begin on days that are counted from 1970-01-01, a Thursday; bool [n]."""
    found, place = np.unique(day, return_inverse=True)
    fits = [(int(d) + 3) % 7 in period.days and _month(int(d)) in period.months for d in found]
    return np.asarray(fits, dtype=np.bool_)[place]


def _month(day: int) -> int:
    return int(np.datetime64(day, "D").astype("datetime64[M]").astype(np.int64) % 12) + 1


def _offsets_ms(times_ms: Int64, zone: tzinfo) -> Int64:
    """What local time is ahead of UTC at some instants, int64 [n]."""
    quarters, place = np.unique(times_ms // QUARTER_MS, return_inverse=True)
    return np.asarray(_offsets_of(quarters.tolist(), zone), dtype=np.int64)[place]


def _offsets_of(quarters: Sequence[int], zone: tzinfo) -> list[int]:
    found = []
    for quarter in quarters:
        ahead = datetime.fromtimestamp(quarter * QUARTER_MS / 1000, zone).utcoffset()
        found.append(0 if ahead is None else round(ahead.total_seconds() * 1000))
    return found
