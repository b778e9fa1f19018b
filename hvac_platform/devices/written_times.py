"""Times as people write them in files: hours of the day, days of the week, months, timezones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def time_of_day(value: object) -> object:
    """Minutes since midnight of a time that people write; YAML reads 8:30 without quotes as a number, which it is here too.

    A number below 60 is no time that YAML has read, but an hour without its minutes, and refused.

    >>> time_of_day("08:30"), time_of_day("24:00"), time_of_day(510)
    (510, 1440, 510)

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 60 <= value <= 1440:
        return value  # YAML 1.1 takes 22:00 as 22 * 60
    found = re.fullmatch(r"(\d{1,2}):([0-5]\d)", value) if isinstance(value, str) else None
    if found is None or (minutes := int(found[1]) * 60 + int(found[2])) > 1440:
        raise ValueError('must be a time of day in quotes such as "07:30", up to "24:00"')
    return minutes


def weekdays(value: object) -> object:
    """Days of the week, 0 for Monday, from names and ranges of them.

    >>> sorted(weekdays(["mon-wed", "sun"])), sorted(weekdays("fri-mon"))
    ([0, 1, 2, 6], [0, 4, 5, 6])

    Raises:
        ValueError: a name is none.
    """
    return _places(value, DAYS, "day", "days", "mon-fri")


def calendar_months(value: object) -> object:
    """Months, 1 for January, from names and ranges of them.

    >>> sorted(calendar_months("nov-feb")), sorted(calendar_months(["jun", "jul"]))
    ([1, 2, 11, 12], [6, 7])

    Raises:
        ValueError: a name is none.
    """
    return frozenset(place + 1 for place in _places(value, MONTHS, "month", "months", "nov-feb"))


def _places(value: object, names: Sequence[str], one: str, many: str, example: str) -> frozenset[int]:
    """Places among some names that come round, of names and ranges of them."""
    found: set[int] = set()
    if value == []:
        raise ValueError(f"no {one} is named: leave {many} out for all of them")
    for text in [value] if isinstance(value, str) else value if isinstance(value, list) else [None]:
        first, _, last = str(text).lower().partition("-")
        if first not in names or (last and last not in names):
            raise ValueError(f"{text!r} is no {one}: {many} are {', '.join(names)}, and ranges such as {example}")
        begin, end = names.index(first), names.index(last or first)
        found.update((begin + i) % len(names) for i in range((end - begin) % len(names) + 1))
    return frozenset(found)


def known_timezone(value: str) -> str:
    """An IANA name, as it is.

    Raises:
        ValueError: it is none.
    """
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"unknown timezone {value[:60]!r}, e.g. Europe/Berlin") from None
    return value
