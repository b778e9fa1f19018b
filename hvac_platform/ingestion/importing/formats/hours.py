"""Tables with a column an hour: each row is a day, and each of its cells a reading at a time of that day."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hvac_platform.ingestion.importing.formats.table import Chunk, Table
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, Refusal, shown

TIME_OF_DAY, VALUE = "time of day", "value"
"""Columns that those of the hours become."""
ENDING, BEGINNING = "ending", "beginning"
DAY = 24 * 60
LEAST = 3
"""Fewer columns whose names are times of day are no series of them."""
COUNTS = (24, 48, 96, 144, 288)
"""Columns that a day may be parted into."""

_AGAIN = re.compile(r"(?i)\s*(?:\(\d+\)|\*|DST)$")
"""What follows the name of an hour that stands there a second time."""
_CLOCK = r"(?P<{0}h>\d{{1,2}})(?::(?P<{0}m>\d{{2}}))(?::00)?\s*(?:(?P<{0}p>[AaPp])\.?[Mm]\.?)?"
_AT = re.compile(_CLOCK.format("a"))
_FROM_TO = re.compile(rf"{_CLOCK.format('a')}\s*(?:-|–|to|bis)\s*{_CLOCK.format('b')}")
_ENDING = re.compile(r"(?i)(?:HE|(?:hour|hr)[ _-]?end(?:ing)?|hrend)[ _-]?(?P<n>\d{1,2})(?::?00)?")
_HOUR_ENDING = re.compile(r"(?i)HE|(?:hour|hr)[ _-]?end(?:ing)?|hrend")
_BEGINNING = re.compile(r"(?i)(?:HB|(?:hour|hr)[ _-]?(?:begin(?:ning)?|start(?:ing)?))[ _-]?(?P<n>\d{1,2})(?::?00)?")
_NAMED = re.compile(r"(?i)(?:hour|hr|stunde|heure|hora|interval|period)s?[ _-]?(?P<n>\d{1,3})")
_NUMBERED = re.compile(r"(?i)(?:h)?[ _-]?(?P<n>\d{1,3})")


@dataclass(frozen=True)
class HourColumns:
    """Columns of the hours of a day.

    Attributes:
        minutes: by column, minutes from the midnight that the day begins with to the time of its cells.
        extra: columns of a 25th hour.
        told: how the times were taken.
        asks: what two readings there are, where nothing decides; else empty.
        is_sure: whether the names can be nothing else.
        length: minutes that end at the time of a cell, where it says the end of its hour; else 0.
    """

    minutes: Mapping[str, int]
    extra: tuple[str, ...] = ()
    told: str = ""
    asks: str = ""
    is_sure: bool = True
    length: int = 0


def is_hour_ending(name: str) -> bool:
    """Whether a column's name says that its numbers are hours, each by its end."""
    return _HOUR_ENDING.fullmatch(name.strip()) is not None


def hour_columns(names: Sequence[str], hours: str | None = None) -> HourColumns | None:
    """The columns of the hours of a day among those of a table; None where there are none.

    >>> hour_columns(["Date", *(f"{i}:00" for i in range(24))]).minutes["13:00"]
    780
    >>> hour_columns(["Date", *(f"HE{i}" for i in range(1, 25))]).told
    'each at the end of its hour, as HE says'

    Args:
        names: all columns.
        hours: ``ending`` or ``beginning``, where that is said of hours that are numbered.

    Raises:
        ImportRefusedError: what is said contradicts the names.
    """
    for pattern, of_kind in (
        (_FROM_TO, _ranges), (_AT, _times), (_ENDING, _ends), (_BEGINNING, _begins), (_NAMED, _numbers),
        (_NUMBERED, _bare_numbers),
    ):  # fmt: skip
        matches = {name: match for name in names if (match := pattern.fullmatch(name.strip())) is not None}
        found = of_kind(matches, hours) if len(matches) >= LEAST else None
        if found is not None:
            again = [name for name in names if name not in found.minutes and _AGAIN.sub("", name) in found.minutes]
            return replace(found, extra=(*found.extra, *again))
    return None


def _minute(match: re.Match[str], which: str) -> int:
    hour, half = int(match[f"{which}h"]), (match[f"{which}p"] or "").lower()
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    return hour * 60 + int(match[f"{which}m"] or 0)


def _is_a_day(minutes: Sequence[int]) -> bool:
    """Whether times part a day evenly, the midnight at its beginning or at its end among them."""
    if len(minutes) not in COUNTS:
        return False
    step = DAY // len(minutes)
    begin = list(range(0, DAY, step))
    return sorted(minutes) in (begin, [one + step for one in begin])


def _times(matches: Mapping[str, re.Match[str]], hours: str | None) -> HourColumns | None:
    minutes = {name: _minute(match, "a") for name, match in matches.items()}
    times = list(minutes.values())
    if not _is_a_day(times) and (times != sorted(set(times)) or times[-1] > DAY):
        return None
    last = list(minutes)[-1]
    if minutes[last] == 0:  # 01:00 … 23:00, 00:00
        if hours is None:
            return HourColumns(
                minutes, asks=f"whether {shown(last)} behind the others is the end of the day or its beginning"
            )
        minutes[last] = DAY if hours == ENDING else 0
    length = DAY // len(minutes) if hours == ENDING and minutes[last] == DAY else 0
    return HourColumns(minutes, told="each at the time that its column says", length=length)


def _ranges(matches: Mapping[str, re.Match[str]], hours: str | None) -> HourColumns | None:
    begins = {name: _minute(match, "a") for name, match in matches.items()}
    if not _is_a_day(list(begins.values())) or min(begins.values()) != 0:
        return None
    if hours is None:
        return HourColumns(begins, asks="whether a value is of the beginning or of the end of its hour")
    step = DAY // len(begins) if hours == ENDING else 0
    return HourColumns({name: begin + step for name, begin in begins.items()}, told=_as_said(hours), length=step)


def _ends(matches: Mapping[str, re.Match[str]], hours: str | None) -> HourColumns | None:
    if hours == BEGINNING:
        raise ImportRefusedError(
            f"the map says hours: {BEGINNING}, and columns such as {shown(next(iter(matches)))} say ending"
        )
    found = {name: int(match["n"]) for name, match in matches.items()}
    extra = tuple(name for name, number in found.items() if number == 25)
    minutes = {name: number * 60 for name, number in found.items() if name not in extra}
    return (
        HourColumns(minutes, extra, "each at the end of its hour, as HE says", length=60)
        if _is_a_day(list(minutes.values()))
        else None
    )


def _begins(matches: Mapping[str, re.Match[str]], hours: str | None) -> HourColumns | None:
    if hours == ENDING:
        raise ImportRefusedError(
            f"the map says hours: {ENDING}, and columns such as {shown(next(iter(matches)))} say beginning"
        )
    minutes = {name: int(match["n"]) * 60 for name, match in matches.items()}
    is_day = _is_a_day(list(minutes.values())) and min(minutes.values()) == 0
    return HourColumns(minutes, (), "each at the beginning of its hour, as its column says") if is_day else None


def _numbers(matches: Mapping[str, re.Match[str]], hours: str | None, *, is_sure: bool = True) -> HourColumns | None:
    found = {name: int(match["n"]) for name, match in matches.items()}
    extra = (
        tuple(name for name, number in found.items() if number == 25)
        if len(found) == 25 and 1 in found.values()
        else ()
    )
    numbers = {name: number for name, number in found.items() if name not in extra}
    count, first = len(numbers), min(numbers.values())
    if count not in COUNTS or first > 1 or sorted(numbers.values()) != list(range(first, first + count)):
        return None
    step = DAY // count
    begins = {name: (number - first) * step for name, number in numbers.items()}
    if first == 0 and hours is None and is_sure:
        return HourColumns(begins, told="hour 0 at 00:00")
    if hours is None:
        return HourColumns(
            begins, extra, asks="whether a value is of the beginning or of the end of its hour", is_sure=is_sure
        )
    later = step if hours == ENDING else 0
    return HourColumns({name: begin + later for name, begin in begins.items()}, extra, _as_said(hours), length=later)


def _bare_numbers(matches: Mapping[str, re.Match[str]], hours: str | None) -> HourColumns | None:
    return _numbers(matches, hours, is_sure=False)


def _as_said(hours: str) -> str:
    return f"each at the {'end' if hours == ENDING else 'beginning'} of its hour, as the map says"


@dataclass
class UnfoldedTable:
    """A table with a column an hour as one with a row an hour.

    Attributes:
        table: the table.
        hours: its columns of the hours.
    """

    table: Table
    hours: HourColumns
    columns: tuple[str, ...] = ()
    description: str = ""
    units: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Its columns: the others, the time of day and the value."""
        of_hours = [*self.hours.minutes, *self.hours.extra]
        others = [name for name in self.table.columns if name not in of_hours]
        self.columns = (*others, TIME_OF_DAY, VALUE)
        first, *_, last = self.hours.minutes
        self.description = self.table.description
        self.separator = getattr(self.table, "separator", "")
        self.remarks: Sequence[Sequence[str]] = getattr(self.table, "remarks", ())
        units = {unit for name in self.hours.minutes if (unit := self.table.units.get(name))}
        self.units = {VALUE: units.pop()} if len(units) == 1 else {}
        count = len(self.hours.minutes)
        told = f"columns {shown(first)} to {shown(last)} are {count} values of the row's day, {self.hours.told}"
        self.notes = (*getattr(self.table, "notes", ()), told)

    def chunks(self) -> Iterator[Chunk]:
        """The rows, from the first one."""
        for chunk in self.table.chunks():
            yield self._unfolded(*self._without_long_days(chunk))

    def _without_long_days(self, chunk: Chunk) -> tuple[Chunk, Any]:
        """Without the days that have a 25th hour: nothing says which of their hours is the one that clocks repeat."""
        refused, long = list(chunk.refused), np.zeros(len(chunk), np.bool_)
        for name in self.hours.extra if len(chunk) else ():
            cells = pc.utf8_trim_whitespace(pc.fill_null(pc.cast(chunk.columns[name], pa.string()), ""))
            for row in np.flatnonzero(np.asarray(pc.not_equal(cells, ""))).tolist():
                long[row] = True
                reason = "the day has a 25th hour, and nothing says at which time each of its hours is"
                refused.append(
                    Refusal(int(chunk.lines[row]), name, cells[row].as_py(), reason, len(self.hours.minutes) + 1)
                )
        return replace(chunk, refused=refused), np.flatnonzero(~long)

    def _unfolded(self, chunk: Chunk, rows: Any) -> Chunk:
        names, count = list(self.hours.minutes), len(self.hours.minutes)
        clock = [f"{minute // 60:02d}:{minute % 60:02d}" for minute in self.hours.minutes.values()]
        repeated = pa.array(np.repeat(rows, count))
        columns = {name: chunk.columns[name].take(repeated) for name in self.columns[:-2]}
        days = np.arange(len(rows) * count)
        columns[TIME_OF_DAY] = pa.array(clock, pa.string()).take(pa.array(days % count))
        below = pa.concat_arrays(_common([chunk.columns[name].take(pa.array(rows)) for name in names]))
        columns[VALUE] = below.take(pa.array(days % count * len(rows) + days // count))
        return Chunk(columns, np.repeat(chunk.lines[rows], count), chunk.refused, chunk.done, names)


def _common(columns: Sequence[pa.Array]) -> list[pa.Array]:
    """Cells of several columns in one type: texts where one of them has some, else numbers."""
    kind = pa.string() if any(pa.types.is_string(one.type) for one in columns) else pa.float64()
    return [one if one.type == kind else pc.cast(one, kind) for one in columns]


def unfolded(table: Table, hours: str | None, given: Sequence[str]) -> Table:
    """A table with a row an hour, where each row is a day and its columns are hours; others as they are.

    Args:
        table: the table.
        hours: what the map says of hours: ``ending``, ``beginning``, or None.
        given: columns that the map names, which stay what they are.

    Raises:
        ImportRefusedError: two readings fit.
    """
    found = hour_columns(table.columns, hours)
    if found is None or any(name in found.minutes for name in given) or not found.is_sure:
        return table
    if found.asks:
        raise ImportRefusedError(asked(found))
    return UnfoldedTable(table, found)


def asked(found: HourColumns) -> str:
    """The question about hours that nothing decides."""
    first, *_, last = found.minutes
    return (
        f"columns {shown(first)} to {shown(last)} are the hours of a day, and nothing says {found.asks}; give "
        f"hours: {ENDING} or hours: {BEGINNING} in the map"
    )
