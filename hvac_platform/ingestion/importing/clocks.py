"""Times that stand in several columns: the date, the time of day, and which half of the day it is."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

MIDNIGHT_BEHIND = r"[T ](?:0?0:00(?::00(?:\.0+)?)?|12:00(?::00)? ?[Aa][Mm])$"
NO_DATE = r"^(?:1899-12-3[01]|1900-01-0[01]|1904-01-01|1970-01-01|0001-01-01)(?:[T ]|$)"
"""What a spreadsheet or a database writes before a time of day that has no date."""
_HALF = r"^([AaPp])(?:\.?\s?[Mm]\.?)?$"
EXCEL_DAY = r"^(?:3[7-9]|[4-6][0-9])[0-9]{3}(?:\.0*)?$"
"""Days since the end of 1899, of 2001 to 2091."""
YEAR = r"^(?:19|20)[0-9]{2}(?:\.0*)?$"
DIGITS = {"hours": 2, "hhmm": 4, "hhmmss": 6}
"""By kind of numbers that are times of day, how many digits they have."""


def is_half(cells: pa.Array) -> bool:
    """Whether cells say AM or PM and nothing else."""
    filled = cells.filter(pc.not_equal(cells, ""))
    if not len(filled) or not pc.all(pc.match_substring_regex(filled, _HALF)).as_py():
        return False
    return bool(pc.any(pc.match_substring_regex(filled, "(?i)m")).as_py())


def is_without_date(cells: pa.Array) -> bool:
    """Whether cells are times of day behind a date that means none."""
    filled = cells.filter(pc.not_equal(cells, ""))
    return bool(len(filled)) and bool(pc.all(pc.match_substring_regex(filled, NO_DATE)).as_py())


def clock_digits(largest: float, whole: bool, over_minutes: bool, over_seconds: bool, length: int) -> str:
    """How numbers write times of day: ``hours``, ``hhmm``, ``hhmmss``, or empty where they are none.

    Args:
        largest: the largest one.
        whole: whether all are whole.
        over_minutes: whether the last two digits of one are over 59.
        over_seconds: whether the two digits before these are.
        length: most digits that one is written with.
    """
    if not whole or (over_minutes and largest > 24) or largest > 240_000:
        return ""
    if largest > 2400 or length == 6:
        return "" if over_seconds else "hhmmss"
    return "hhmm" if largest > 24 or length == 4 else "hours"


def joined(
    columns: Sequence[pa.Array],
    clock: str,
    *,
    has_half: bool,
    of_date: int = 1,
    of_clock: int = 1,
    first_hour: int = 0,
) -> pa.Array:
    """Date, time of day and half of the day as one text.

    Args:
        columns: n cells of each column, in this order; the half stands last.
        clock: how numbers write the time of day; empty where it is text.
        has_half: whether the last column is the half of the day.
        of_date: columns of the date: 1, or 3 for year, month and day.
        of_clock: columns of the time of day: 1, or 2 or 3 for hour, minute and second.
        first_hour: number of the hour that begins at midnight, where numbers are hours.
    """
    parts = [pc.utf8_trim_whitespace(pc.fill_null(pc.cast(column, pa.string()), "")) for column in columns]
    if of_clock > 1 and first_hour:
        parts[of_date] = _earlier(pc.replace_substring_regex(parts[of_date], r"\.0*$", ""), first_hour)
    if of_clock > 1:
        parts[of_date : of_date + of_clock] = [_together(parts[of_date : of_date + of_clock], ":")]
    if of_date > 1:
        parts[:of_date] = [_together(parts[:of_date], "-")]
    if len(parts) - has_half > 1:
        # A date out of a spreadsheet brings a midnight along, a time of day a date.
        parts[0] = pc.replace_substring_regex(parts[0], MIDNIGHT_BEHIND, "")
        parts[1] = pc.replace_substring_regex(parts[1], NO_DATE.replace("(?:[T ]|$)", "$"), "00:00")
        parts[1] = pc.replace_substring_regex(parts[1], NO_DATE, "")
        parts[0] = _of_days(parts[0])
        if clock:
            parts[1] = _of_digits(parts[1], clock, first_hour)
    if has_half:
        parts[-1] = pc.replace_substring_regex(parts[-1], _HALF, r"\1M")
    return pc.utf8_trim_whitespace(pc.binary_join_element_wise(*parts, " "))


def are_years(cells: pa.Array) -> bool:
    """Whether cells are years and nothing else."""
    filled = cells.filter(pc.not_equal(cells, ""))
    return bool(len(filled)) and bool(pc.all(pc.match_substring_regex(filled, YEAR)).as_py())


def _together(parts: Sequence[pa.Array], mark: str) -> pa.Array:
    """Parts of a date, or of a time of day, as one text; empty where all of them are, and with a gap where one is."""
    whole = [pc.replace_substring_regex(part, r"\.0*$", "") for part in parts]
    # One digit becomes two; a year has four, and a month may have a name.
    padded = [pc.replace_substring_regex(part, r"^([0-9])$", r"0\1") for part in whole]
    text = pc.binary_join_element_wise(*padded, mark)
    return pc.if_else(pc.match_substring_regex(text, f"^{mark}+$"), "", text)


def _earlier(hours: pa.Array, first_hour: int) -> pa.Array:
    """Hours that are counted from another number as those of a clock; other cells as they are."""
    is_hour = pc.match_substring_regex(hours, "^[0-9]{1,2}$")
    number = pc.cast(pc.if_else(is_hour, hours, "1"), pa.int32())
    earlier = pc.cast(pc.max_element_wise(pc.subtract(number, first_hour), 0), pa.string())
    return pc.if_else(is_hour, earlier, hours)


def _of_days(cells: pa.Array) -> pa.Array:
    """Excel's days, such as 45352, as dates; other cells as they are."""
    is_day = pc.match_substring_regex(cells, EXCEL_DAY)
    if not pc.any(is_day).as_py():
        return cells
    number = pc.cast(pc.replace_substring_regex(pc.if_else(is_day, cells, "0"), r"\.0*$", ""), pa.int32())
    dates = pc.cast(pc.cast(pc.subtract(number, pa.scalar(25_569, pa.int32())), pa.date32()), pa.string())
    return pc.if_else(is_day, dates, cells)


def _of_digits(cells: pa.Array, clock: str, first_hour: int) -> pa.Array:
    """Numbers as times of day with colons; cells that are no numbers stay as they are, and empty ones empty."""
    digits = pc.replace_substring_regex(cells, r"\.0*$", "")
    if first_hour:
        digits = _earlier(digits, first_hour)
    padded = pc.utf8_lpad(digits, DIGITS[clock], "0")
    with_colons = pc.replace_substring_regex(padded, r"^([0-9]{2})([0-9]{2})?([0-9]{2})?$", r"\1:\2:\3")
    with_colons = pc.replace_substring_regex(pc.replace_substring_regex(with_colons, "::$", ":00"), ":$", "")
    return pc.if_else(pc.equal(digits, ""), "", with_colons)
