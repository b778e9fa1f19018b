"""Times that are numbers: seconds since 1970 and their parts, days of Excel, digits of date and time of day."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hvac_platform.ingestion.importing.instants import DAY, HOUR, Bools, Int64, days

NUMBERS: tuple[tuple[str, float, float, float], ...] = (
    ("Excel days", 36_526, 73_051, 0),
    ("yyyymmdd", 20_000_101, 21_000_101, 0),
    ("epoch seconds", 946_684_800, 4_102_444_800, 1e3),
    ("yyyymmddhhmm", 200_001_010_000, 210_001_010_000, 0),
    ("epoch milliseconds", 946_684_800e3, 4_102_444_800e3, 1.0),
    ("yyyymmddhhmmss", 20_000_101_000_000, 21_000_101_000_000, 0),
    ("epoch microseconds", 946_684_800e6, 4_102_444_800e6, 1e-3),
    ("epoch nanoseconds", 946_684_800e9, 4_102_444_800e9, 1e-6),
)
"""Kinds of numbers that are times, by their size: name, from, to, milliseconds in one."""


def kinds_of(numbers: NDArray[np.float64]) -> NDArray[np.int8]:
    """Kinds of numbers by their size, places in NUMBERS, int8 [n]; -1 where they are no times."""
    kinds = np.full(len(numbers), -1, np.int8)
    for i, (_, low, high, _) in enumerate(NUMBERS):
        kinds[(numbers >= low) & (numbers < high)] = i
    return kinds


def instants_of(numbers: NDArray[np.float64], kind: str) -> tuple[Int64, Bools]:
    """Milliseconds of numbers of a kind, and which of them are of it."""
    number = next(i for i, one in enumerate(NUMBERS) if one[0] == kind)
    good = kinds_of(numbers) == number
    values = np.where(good, numbers, 0)
    factor = NUMBERS[number][3]
    if factor:
        # A double keeps half a thousandth of a millisecond at best: 123.9999 is 124.
        return np.floor(values * factor + 5e-4).astype(np.int64), good
    if kind == "Excel days":  # days since the end of 1899; tenths of a millisecond are noise of the double
        milliseconds = np.round((values - 25_569) * DAY).astype(np.int64)
        nearest = (milliseconds + 500) // 1000 * 1000
        # Days that are written with five or six decimals are rounded to 864 or 86 milliseconds.
        digits = [np.abs(values * 10**n - np.round(values * 10**n)) < 1e-4 for n in (5, 6)]
        noise = np.where(digits[0], 433, np.where(digits[1], 44, 5))
        return np.where(np.abs(milliseconds - nearest) <= noise, nearest, milliseconds), good
    digits = values.astype(np.int64) * 10 ** (14 - len(kind))
    date, clock = digits // 1_000_000, digits % 1_000_000
    hours, minutes, seconds = clock // 10_000, clock // 100 % 100, clock % 100
    found, exists = days(date // 10_000, date // 100 % 100, date % 100)
    exists &= values == np.floor(values)
    exists &= (minutes < 60) & (seconds < 60) & ((hours < 24) | ((hours == 24) & (minutes + seconds == 0)))
    return found * DAY + hours * HOUR + minutes * 60_000 + seconds * 1000, good & exists


def as_minutes(numbers: NDArray[np.float64]) -> int:
    """How many numbers are a date and time of day written as yymmddhhmm."""
    digits = numbers[(numbers >= 1e8) & (numbers < 1e10) & (numbers == np.floor(numbers))].astype(np.int64)
    date, hours, minutes = digits // 10_000, digits // 100 % 100, digits % 100
    _, exists = days(2000 + date // 10_000, date // 100 % 100, date % 100)
    return int((exists & (hours < 24) & (minutes < 60)).sum())
