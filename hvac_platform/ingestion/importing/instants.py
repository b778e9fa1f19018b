"""Texts and numbers of a column of times, taken apart into years, months, …, whatever the order and the separators.

Texts that differ in their digits only have one layout: where the year stands, how the month is named, which zone follows.
The layout is found once, from one of them, and all of them are then read by position, without a loop over rows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

LONGEST_TIME = 64
NAIVE = 10_000
"""Zone of a time that names none; the others are minutes ahead of UTC, or negative numbers of names."""
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000


class Shape(IntEnum):
    """What a text looks like."""

    EMPTY = 0
    UNREADABLE = 1
    YEAR_FIRST = 2
    THREE_NUMBERS = 3
    """Day, month and year in an order that the text alone does not tell."""
    NO_YEAR = 4
    NO_DATE = 5
    NUMBER = 6


_NAMES = {
    1: "jan gen ene janv ian янв", 2: "feb fév fev febr févr фев", 3: "mar mär mrz mrt mars мар", 4: "apr avr abr apr апр",
    5: "may mai mei mag maj maggio май", 6: "jun juin giu июн", 7: "jul juil lug июл", 8: "aug ago aoû août авг",
    9: "sep set sept сен", 10: "oct okt ott out окт", 11: "nov noy ноя", 12: "dec dez dic déc дек",
}  # fmt: skip
_MONTHS = {name: number for number, names in _NAMES.items() for name in names.split()}

_TIME = (
    r"(?P<H>\d{1,2})(?:[:.hH時时](?P<M>\d{2})(?:[:.m分](?P<S>\d{2})(?:[.,:](?P<f>\d{1,9}))?)?)?"
    r"[分秒]?(?:\s?(?:Uhr|h|s))?(?:\s*(?P<p>[AaPp])(?:\.?\s?[Mm]\.?)?(?![A-Za-z]))?"
)
_ZONE = (
    r"(?:\s*\(?(?:(?:UTC|GMT)?(?P<zs>[-+−])(?P<zh>\d{1,2})(?::?(?P<zm>\d{2}))?|(?P<z>[A-Za-z][A-Za-z_/]*))\)?)?"
    r"(?:\s*(?:\[[^\]]+\]|[A-Z][A-Za-z_/-]*))?$"
)
_TAIL = rf"(?:(?:\s*[T,;_]\s*|\s+|[-:](?=\d{{1,2}}[:.]))(?i:at\s+)?{_TIME})?{_ZONE}"
_TAIL_LOWER_T = _TAIL.replace("[T,;_]", "[Tt,;_]")
_WEEKDAY = r"^(?:[^\W\d_]{2,10}\.?,?\s+)?"
_MONTH = r"(?P<mon>[^\W\d_]{3,10})\.?"
_DAY, _YEAR = r"(?P<c>\d{1,2})(?:st|nd|rd|th|\.)?", r"(?P<a>\d{4}|(?<![ ,])\d{2}|\d{2}(?![:.hH]\d))"
"""Two digits behind a blank and before a colon are the hour of a time whose date has no year."""
_MARKS = r"(?P<mark>[-/. ])(?P<b>\d{1,2})(?:(?P=mark)(?<! )|(?P=mark)(?!\d{2}[:.hH]\d)|[-/.](?=\d{4}))"
_CLOCK = r"(?:(?P<H>\d{2}):?(?P<M>\d{2})(?::?(?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?)?"
_LAYOUTS: tuple[tuple[Shape, re.Pattern[str]], ...] = tuple(
    (shape, re.compile(text))
    for shape, text in (
        # Fractions of a second behind yyyymmddhhmmss are more digits than a number keeps.
        (Shape.NUMBER, r"^(?!\d{14}[.,]\d)[-+]?\d+(?:[.,]\d*)?(?:[eE][-+]?\d+)?$"),
        (Shape.YEAR_FIRST, r"^(?P<a>\d{4})-?W(?P<w>\d{2})-?(?P<c>\d)" + _TAIL_LOWER_T),
        (Shape.YEAR_FIRST, _WEEKDAY + r"(?P<a>\d{4})[-/. 年](?P<b>\d{1,2})[-/. 月](?P<c>\d{1,2})日?" + _TAIL_LOWER_T),
        (Shape.THREE_NUMBERS, rf"{_WEEKDAY}(?P<a>\d{{1,2}}){_MARKS}(?P<c>\d{{4}}|\d{{2}})\.?{_TAIL}"),
        (Shape.YEAR_FIRST, rf"{_WEEKDAY}{_DAY}[-/. ]*{_MONTH}[-/. ,]*{_YEAR}{_TAIL}"),
        (Shape.YEAR_FIRST, rf"{_WEEKDAY}{_MONTH}[-/ ]*{_DAY}[-/ ,]+{_YEAR}{_TAIL}"),
        (Shape.YEAR_FIRST, rf"^(?P<a>\d{{4}})[-/. ]{_MONTH}[-/. ](?P<c>\d{{1,2}}){_TAIL}"),
        (
            Shape.YEAR_FIRST,
            rf"^[^\W\d_]{{3,10}},?\s+{_MONTH}\s+{_DAY}\s+{_TIME}(?:\s+(?P<z>[A-Z]+))?\s+(?P<a>\d{{4}})$",
        ),
        (Shape.YEAR_FIRST, r"^(?P<a>\d{4})(?P<b>\d{2})(?P<c>\d{2})[Tt _-]?" + _CLOCK + _ZONE),
        (Shape.NO_YEAR, rf"{_WEEKDAY}(?P<a>\d{{1,2}})[-/.](?P<b>\d{{1,2}})\.?[\s,]+{_TIME}{_ZONE}"),
        (Shape.NO_YEAR, rf"{_WEEKDAY}{_DAY}[-/. ]*{_MONTH}[\s,]+{_TIME}{_ZONE}"),
        (Shape.NO_YEAR, rf"{_WEEKDAY}{_MONTH}[-/ ]*{_DAY}[\s,]+{_TIME}{_ZONE}"),
        (Shape.NO_DATE, rf"^{_TIME}$"),
    )
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of a text stand: spans of its digits, and what its letters say.

    Attributes:
        shape: what it looks like.
        spans: by part (a, b, c, H, M, S, f, zh, zm) the first and the last place but one.
        month: month that is named, or 0.
        afternoon: 0 none, 1 AM, 2 PM.
        zone: name of the zone, empty where none is named.
        of_week: whether the date is a year, a week of ISO 8601 and a day of it.
        ahead: 1 or -1 where an offset follows, else 0.
    """

    shape: Shape
    spans: tuple[tuple[str, int, int], ...] = ()
    month: int = 0
    afternoon: int = 0
    zone: str = ""
    ahead: int = 0
    of_week: bool = False


@dataclass(frozen=True, slots=True)
class Parts:
    """A column of n times, taken apart.

    Attributes:
        shape: int8 [n], the shape of each.
        a: int64 [n], the first number of a date: the year where it is known to come first.
        b: int64 [n], the second: the month where the year comes first.
        c: int64 [n], the third: the day where the year comes first.
        of_day: int64 [n], milliseconds since midnight; -1 where there is no such time of day.
        has_time: bool [n], whether there is a time of day.
        short_year: bool [n], whether the year has two digits.
        zone: int64 [n], minutes ahead of UTC, NAIVE, or -NAIVE - i for ``names[i]``.
        number: float64 [n], the number; NaN elsewhere.
        half: int8 [n], half of the day that is said: 0 none, 1 AM, 2 PM.
        names: names of zones.
    """

    shape: NDArray[np.int8]
    a: Int64
    b: Int64
    c: Int64
    of_day: Int64
    has_time: Bools
    short_year: Bools
    zone: Int64
    number: NDArray[np.float64]
    half: NDArray[np.int8]
    names: tuple[str, ...]


@lru_cache(maxsize=8192)
def layout_of(text: str) -> Layout:
    """Layout of a text, of which only the places of digits count, not which they are."""
    if not text:
        return Layout(Shape.EMPTY)
    for shape, pattern in _LAYOUTS:
        match = pattern.match(text)
        if match is not None and (found := _layout(shape, match)) is not None:
            return found
    return Layout(Shape.UNREADABLE)


def _layout(shape: Shape, match: re.Match[str], *, given: bool = False) -> Layout | None:
    """Where the parts are; None where it is no time after all, as with hours alone unless a given format has them."""
    groups = match.groupdict()
    if groups.get("H") and not (groups.get("M") or groups.get("p") or given):
        return None
    month = 0
    if groups.get("mon"):
        name = groups["mon"].lower()
        month = next((_MONTHS[name[:n]] for n in (4, 3) if name[:n] in _MONTHS), 0)
        if not month:
            return None
    spans = tuple(
        ("b" if name == "w" else name, *match.span(name))
        for name in ("a", "b", "w", "c", "H", "M", "S", "f", "zh", "zm")
        if groups.get(name)
    )
    afternoon = {"a": 1, "p": 2}.get((groups.get("p") or "").lower(), 0)
    ahead = 0 if not groups.get("zs") else 1 if groups["zs"] == "+" else -1
    zone = groups.get("z") or ""
    if zone in ("T", "t"):
        return None
    return Layout(shape, spans, month, afternoon, zone, ahead, bool(groups.get("w")))


def layout_of_format(text: str) -> re.Pattern[str]:
    """A pattern for a format of strptime, with the parts of a layout as its groups.

    Raises:
        ValueError: it has a directive that is not known.
    """
    parts = {
        "d": r"\s?(?P<c>\d{1,2})", "m": r"(?P<b>\d{1,2})", "Y": r"(?P<a>\d{4})", "y": r"(?P<a>\d{2})",
        "H": r"(?P<H>\d{1,2})", "I": r"(?P<H>\d{1,2})", "M": r"(?P<M>\d{1,2})", "S": r"(?P<S>\d{1,2})",
        "f": r"(?P<f>\d{1,9})", "p": r"(?P<p>[AaPp])\.?\s?[Mm]\.?", "b": _MONTH, "B": _MONTH,
        "h": _MONTH, "a": r"[^\W\d_]+\.?",
        "A": r"[^\W\d_]+",
        "z": r"(?:[Zz]|(?P<zs>[-+])(?P<zh>\d{2}):?(?P<zm>\d{2}))", "Z": r"(?P<z>[A-Za-z][A-Za-z_/]*)", "%": "%",
    }  # fmt: skip
    short = {"T": "%H:%M:%S", "R": "%H:%M", "F": "%Y-%m-%d", "D": "%m/%d/%y"}
    for name, meaning in short.items():
        text = text.replace(f"%{name}", meaning)
    pattern = ""
    for piece in re.findall(r"%-?.|\s+|.", text):
        if piece.startswith("%") and len(piece) > 1:
            name = piece[-1]
            if name not in parts:
                raise ValueError(f"{piece} is not known in a format of times")
            pattern += parts[name]
        else:
            pattern += r"\s+" if piece.isspace() else re.escape(piece)
    try:
        return re.compile(f"^{pattern}$")
    except re.error as error:
        raise ValueError(f"not a format of times: {error}") from None


def take_apart(texts: NDArray[np.str_], forced: re.Pattern[str] | None = None, year: int | None = None) -> Parts:
    """Parts of each text, [n]; with a pattern all others are unreadable.

    Args:
        texts: n texts.
        forced: pattern of a format that is given.
        year: year of texts that have none; those that say which number is the month become ones with a year.
    """
    n = len(texts)
    parts = {name: np.zeros(n, np.int64) for name in "abcHMSf"} | {
        "zh": np.zeros(n, np.int64),
        "zm": np.zeros(n, np.int64),
    }
    shape = np.zeros(n, np.int8)
    has_time, short_year = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    zone = np.full(n, NAIVE, np.int64)
    afternoon = np.zeros(n, np.int8)
    number = np.full(n, np.nan)
    names: list[str] = []
    length = max(1, texts.dtype.itemsize // 4)
    codes = np.ascontiguousarray(texts).view(np.uint32).reshape(n, length)
    skeleton = np.where((codes >= 48) & (codes <= 57), 48, codes).astype(np.uint64)
    weights = np.random.default_rng(1).integers(1, 2**63, length, dtype=np.uint64) | np.uint64(1)
    hashes = (skeleton * weights).sum(axis=1, dtype=np.uint64)
    _, firsts, kinds = np.unique(hashes, return_index=True, return_inverse=True)
    for kind, first in enumerate(firsts.tolist()):
        text = re.sub(r"[0-9]", "0", str(texts[first]))
        layout = layout_of(text) if forced is None else _forced(forced, str(texts[first]))
        rows = np.flatnonzero(kinds == kind) if len(firsts) > 1 else slice(None)
        named = {name for name, _, _ in layout.spans}
        shape[rows] = layout.shape
        if layout.shape == Shape.NO_YEAR and year is not None and "a" not in named:
            shape[rows], parts["a"][rows] = Shape.YEAR_FIRST, year
        if layout.shape == Shape.NUMBER:
            number[rows] = [float(one.replace(",", ".")) for one in texts[rows].tolist()]
            continue
        some = codes[rows]
        for name, start, end in layout.spans:
            end = min(end, start + 3) if name == "f" else end
            powers = 10 ** np.arange(end - start)[::-1]
            parts[name][rows] = (some[:, start:end].astype(np.int64) - 48) @ powers
            if name == "f":
                parts[name][rows] *= 10 ** (3 - (end - start))
            if name == "a" and layout.shape == Shape.YEAR_FIRST:
                short_year[rows] = end - start == 2
            if name == "c" and layout.shape == Shape.THREE_NUMBERS:
                short_year[rows] = end - start == 2
        if layout.month:
            parts["b"][rows] = layout.month
        if layout.of_week:
            dates = _of_week(parts["a"][rows], parts["b"][rows], parts["c"][rows])
            parts["a"][rows], parts["b"][rows], parts["c"][rows] = dates
        has_time[rows] = "H" in named
        afternoon[rows] = layout.afternoon
        if layout.ahead:
            zone[rows] = layout.ahead * (parts["zh"][rows] * 60 + parts["zm"][rows])
        elif layout.zone.upper() in ("Z", "UTC", "GMT"):
            zone[rows] = 0
        elif layout.zone:
            if layout.zone not in names:
                names.append(layout.zone)
            zone[rows] = -NAIVE - names.index(layout.zone)
    of_day = _of_day(parts, afternoon)
    return Parts(
        shape, parts["a"], parts["b"], parts["c"], of_day, has_time, short_year, zone, number, afternoon, tuple(names)
    )


def _forced(pattern: re.Pattern[str], text: str) -> Layout:
    if not text:
        return Layout(Shape.EMPTY)
    match = pattern.match(text)
    found = None if match is None else _layout(Shape.YEAR_FIRST, match, given=True)
    if found is None:
        return Layout(Shape.UNREADABLE)
    named = {name for name, _, _ in found.spans}
    return replace(found, shape=Shape.NO_YEAR) if "a" not in named else found


def _of_day(parts: dict[str, Int64], afternoon: NDArray[np.int8]) -> Int64:
    """Milliseconds since midnight, -1 where there is no such time; 24:00 is the next midnight."""
    hours, minutes, seconds = parts["H"], parts["M"], parts["S"]
    good = (hours <= 24) & (minutes <= 59) & ((seconds <= 59) | ((seconds == 60) & (minutes == 59)))
    if afternoon.any():
        good &= (afternoon == 0) | (hours <= 12) | ((afternoon == 2) & (hours < 24))  # 13:15 PM can be one time only
        later = np.where((afternoon == 2) & (hours <= 12), 12, 0)
        hours = np.where((afternoon > 0) & (hours == 12), 0, hours) + later
    found = hours * HOUR + minutes * MINUTE + seconds * SECOND + parts["f"]
    good &= found <= DAY
    return np.where(good, found, -1)


def _of_week(year: Int64, week: Int64, day: Int64) -> tuple[Int64, Int64, Int64]:
    """Year, month and day of days of weeks of ISO 8601, of which the first one of a year has its 4th of January; else 0."""
    fourth = days(year, np.ones_like(year), np.full_like(year, 4))[0]
    monday = fourth - (fourth + 3) % 7
    following = days(year + 1, np.ones_like(year), np.full_like(year, 4))[0]
    weeks = (following - (following + 3) % 7 - monday) // 7
    good = (week >= 1) & (week <= weeks) & (day >= 1) & (day <= 7)
    found = (monday + (week - 1) * 7 + day - 1).astype("datetime64[D]")
    months = found.astype("datetime64[M]")
    of_month = (found - months).astype(np.int64) + 1
    return (
        months.astype("datetime64[Y]").astype(np.int64) + 1970,
        np.where(good, months.astype(np.int64) % 12 + 1, 0),
        of_month,
    )


def days(year: Int64, month: Int64, day: Int64) -> tuple[Int64, Bools]:
    """Days since 1970 of dates, int64 [n], and bool [n], whether there is such a date."""
    good = (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31) & (year >= 1) & (year <= 9999)
    months = np.where(good, (year - 1970) * 12 + month - 1, 0)
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    following = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    good &= day <= following - first
    return np.where(good, first + day - 1, 0), good


def texts_of(values: pa.Array) -> NDArray[np.str_]:
    """Texts of an Arrow array without blanks around them, the first characters of long ones; empty for null."""
    values = pc.fill_null(pc.cast(values, pa.string()), "")
    values = pc.utf8_trim_whitespace(values)
    if len(values) and (pc.max(pc.utf8_length(values)).as_py() or 0) > LONGEST_TIME:
        values = pc.utf8_slice_codeunits(values, 0, LONGEST_TIME)
    texts: list[Any] = values.to_pylist()
    return np.array(texts, dtype=np.str_) if texts else np.array([], dtype="<U1")


def full_years(year: Int64, short: Bools) -> Int64:
    """Years of four digits; of two, those of 1969 to 2068."""
    if not short.any():
        return year
    return np.where(short, np.where(year < 69, 2000, 1900) + year, year)


def typed_instants(values: pa.Array) -> tuple[Int64, Bools]:
    """Milliseconds of a column of instants or dates, and whether they are local ones; null is 0."""
    naive = not (pa.types.is_timestamp(values.type) and values.type.tz is not None)
    if not pa.types.is_timestamp(values.type):
        values = pc.cast(values, pa.timestamp("ms"))
    whole = pc.cast(pc.fill_null(pc.cast(values, pa.int64()), 0), pa.int64()).to_numpy(zero_copy_only=False)
    per = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}[values.type.unit]
    times = whole * 1000 if per == 1000 else whole // round(1 / per)
    return times.astype(np.int64), np.full(len(times), naive)
