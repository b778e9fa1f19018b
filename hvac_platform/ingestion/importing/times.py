"""The times of a file: one format for a whole column, found from all of it, or asked for where two fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hvac_platform.ingestion.importing.clocks import clock_digits
from hvac_platform.ingestion.importing.doubtful_times import CLEAR, Doubts, Order
from hvac_platform.ingestion.importing.instants import (
    DAY,
    HOUR,
    NAIVE,
    Int64,
    Parts,
    Shape,
    days,
    full_years,
    layout_of_format,
    take_apart,
    texts_of,
    typed_instants,
)
from hvac_platform.ingestion.importing.numeric_times import NUMBERS, as_minutes, kinds_of
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, listed, shown
from hvac_platform.ingestion.importing.zones import HeaderZone, are_one_zone, is_of, zone_names
from hvac_platform.ingestion.messages import MAX_AHEAD_MS
from hvac_platform.timestamps import now_ms

ORDERS = {"day first": "cba", "month first": "cab", "year first": "abc"}
"""By order of three numbers, which of a, b, c are year, month and day."""
_WRITTEN = {"day first": "day/month/year", "month first": "month/day/year", "year first": "year-month-day"}
READABLE = 0.5
"""A column of which less can be read is no column of times."""
FEW = 0.02
FEW_BARE = 0.02
"""Share of times without AM or PM among others with one that are taken for slips, and refused or read by themselves."""
MOST_OFFSETS = 6
"""A file of several places, summer and winter, has fewer."""
"""A zone that so few rows name is a fault of these rows."""
SURE_ROWS = 20
"""So many seconds since 1970 are not all dates and times of day by chance."""


@dataclass(frozen=True, slots=True)
class TimeRules:
    """What is said of a file's times.

    Attributes:
        timezone: timezone of times that name none; None where nothing is said, and then it is UTC.
        zones: minutes ahead of UTC by abbreviation.
        day_first: order of day and month, None where nothing is said.
        time_format: format of strptime, or None.
        year: year of times that have none.
        header: zone that the header of the column names, or None.
        ahead: minutes ahead of UTC of times that name no zone, by the header; None where a timezone says it.
    """

    timezone: str | None = None
    zones: Mapping[str, int] = field(default_factory=dict)
    day_first: bool | None = None
    time_format: str | None = None
    year: int | None = None
    header: HeaderZone | None = None
    ahead: int | None = None


@dataclass(frozen=True)
class TimeFormat:
    """How the times of a file are read.

    Attributes:
        column: name of the column, for messages.
        shape: what its texts look like.
        order: order of three numbers, or empty.
        number: kind of numbers, or empty.
        rules: what was said.
        typed: whether the column holds instants already.
        has_dates_only: whether no row has a time of day.
        newest_first: whether the file runs backwards.
        hourly: whether rows are an hour or more apart.
        span: the earliest and the latest of its times as they are written, milliseconds without a zone; None where they are
            numbers.
        description: the format in words.
    """

    column: str
    shape: Shape
    order: str
    number: str
    rules: TimeRules
    typed: bool
    newest_first: bool
    hourly: bool
    description: str
    span: tuple[int, int] | None = None
    length_ms: int = 0


class TimeEvidence:
    """What all of a column of times says of its format; fed chunk by chunk."""

    def __init__(self, column: str, rules: TimeRules) -> None:
        self.column, self.rules = column, rules
        self.total = 0
        self.shapes = np.zeros(len(Shape), np.int64)
        self.unread: tuple[int, str] | None = None
        self.numbers: dict[str, int] = {}
        self.orders = {name: Order() for name in ORDERS}
        self.short_year = 0
        self.differ = False
        self.with_time = 0
        self.zones: dict[str, int] = {}
        self.zoned = 0
        self.typed = False
        self.largest, self.whole = 0.0, True
        self.over_minutes = self.over_seconds = False
        self.smallest, self.as_minutes = np.inf, 0
        self.digits = 0
        self.forwards = self.backwards = 0
        self.steps: list[int] = []
        self.hours = [24, 0]
        self.halves = self.without_half = 0
        self.wrong_half: tuple[int, str] | None = None
        self.offsets: set[int] = set()
        self.falls = 0
        self.notes: list[str] = []
        self.doubts = Doubts()
        self._last_clock: tuple[int, int, int, int] | None = None
        self.same_date = 0
        self._last: int | None = None
        self._span: tuple[int, int] | None = None
        self._last_date: tuple[int, ...] | None = None
        try:
            self.pattern = layout_of_format(rules.time_format) if rules.time_format else None
        except ValueError as error:
            raise ImportRefusedError(f"--time-format {rules.time_format!r}: {error}") from None

    def see(self, values: pa.Array, lines: Int64) -> None:
        """Some rows more."""
        if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
            self.typed = True
            good = np.asarray(pc.is_valid(values))
            self.total += int(good.sum())
            self.shapes[Shape.YEAR_FIRST] += int(good.sum())
            if pa.types.is_timestamp(values.type):
                self.with_time += int(good.sum())
                self.zoned += int(good.sum()) if values.type.tz is not None else 0
            self._direction(typed_instants(values)[0][good])
            return
        texts = texts_of(values)
        parts = take_apart(texts, self.pattern, self.rules.year)
        counts = np.bincount(parts.shape, minlength=len(Shape))
        self.shapes += counts
        self.doubts.see(texts, parts.shape)
        self.total += int(counts.sum() - counts[Shape.EMPTY])
        bad = np.flatnonzero(parts.shape == Shape.UNREADABLE)
        if len(bad) and self.unread is None:
            self.unread = (int(lines[bad[0]]), str(texts[bad[0]]))
        for i, name in enumerate(parts.names):
            self.zones[name] = self.zones.get(name, 0) + int((parts.zone == -NAIVE - i).sum())
        self.zoned += int((parts.zone != NAIVE).sum())
        if len(self.offsets) <= MOST_OFFSETS:
            self.offsets.update(np.unique(parts.zone[(parts.zone > -NAIVE) & (parts.zone != NAIVE)]).tolist())
        self._see_halves(parts, texts, lines)
        self.with_time += int(parts.has_time.sum())
        if counts[Shape.NUMBER]:
            known = parts.number[parts.shape == Shape.NUMBER]
            self.largest = max(self.largest, float(np.abs(known).max()))
            self.whole &= bool((known == np.floor(known)).all())
            self.smallest = min(self.smallest, float(known.min()))
            self.as_minutes += as_minutes(known)
            self.over_minutes |= bool((known % 100 >= 60).any())
            self.over_seconds |= bool((known // 100 % 100 >= 60).any())
            self.digits = max(self.digits, int(np.char.str_len(texts[parts.shape == Shape.NUMBER]).max()))
            kinds = kinds_of(parts.number)
            for kind, count in zip(*np.unique(kinds[parts.shape == Shape.NUMBER], return_counts=True), strict=True):
                name = "" if kind < 0 else NUMBERS[kind][0]
                self.numbers[name] = self.numbers.get(name, 0) + int(count)
            self.doubts.see_numbers(texts, parts.number, kinds)
            if self.unread is None and (odd := np.flatnonzero((parts.shape == Shape.NUMBER) & (kinds < 0))).size:
                self.unread = (int(lines[odd[0]]), str(texts[odd[0]]))
        if counts[Shape.THREE_NUMBERS] or counts[Shape.NO_YEAR]:
            self._three_numbers(parts)
        self._see_clock(parts)
        dated = parts.shape == Shape.YEAR_FIRST
        if dated.any():
            years = full_years(parts.a, parts.short_year)
            day, good = days(years, parts.b, parts.c)
            if self.pattern is None:
                self.doubts.see_dates(
                    str(texts[dated][0]), years[dated], parts.b[dated], parts.c[dated], parts.of_day[dated]
                )
            self._direction((day * DAY + parts.of_day)[dated & good])
        elif counts[Shape.NUMBER]:
            self._direction(parts.number[parts.shape == Shape.NUMBER])

    def _see_halves(self, parts: Parts, texts: NDArray[np.str_], lines: Int64) -> None:
        """How many times say in which half of the day they are, and whether one says AM of an hour above 12."""
        timed = parts.has_time
        self.halves += int((timed & (parts.half > 0)).sum())
        self.without_half += int((timed & (parts.half == 0)).sum())
        wrong = np.flatnonzero(timed & (parts.half == 1) & (parts.of_day < 0))
        if len(wrong) and self.wrong_half is None:
            self.wrong_half = int(lines[wrong[0]]), str(texts[wrong[0]])

    def _see_clock(self, parts: Parts) -> None:
        """Hours of the times, and how often 12 o'clock is followed by 1 o'clock of the same date, in either direction."""
        timed = np.flatnonzero(parts.has_time & (parts.of_day >= 0))
        if not len(timed):
            return
        hours = parts.of_day[timed] // HOUR
        self.hours = [min(self.hours[0], int(hours.min())), max(self.hours[1], int(hours.max()))]
        if self.hours[0] < 1 or self.hours[1] > 12:
            return
        rows = np.stack([parts.a[timed], parts.b[timed], parts.c[timed], hours])
        if self._last_clock is not None:
            rows = np.concatenate([np.array(self._last_clock)[:, None], rows], axis=1)
        before, after = rows[:, :-1], rows[:, 1:]
        same = (before[:3] == after[:3]).all(axis=0)
        round_ = ((before[3] == 12) & (after[3] < 3)) | ((before[3] < 3) & (after[3] == 12))
        self.falls += int((same & round_).sum())
        self._last_clock = tuple(rows[:, -1].tolist())

    def _three_numbers(self, parts: Parts) -> None:
        yearless = self.shapes[Shape.NO_YEAR] > self.shapes[Shape.THREE_NUMBERS]
        rows = parts.shape == (Shape.NO_YEAR if yearless else Shape.THREE_NUMBERS)
        a, b, c = parts.a[rows], parts.b[rows], parts.c[rows]
        if yearless:
            c = np.full_like(a, self.rules.year or 2000)
        self.differ |= bool((a != b).any())
        short = parts.short_year[rows]
        self.short_year += int(short.sum())
        for name, order in ORDERS.items():
            columns = {"a": a, "b": b, "c": c}
            year, month, day = (columns[part] for part in order)
            found, good = days(full_years(year, short), month, day)
            allowed = good if name != "year first" else good & short & (not yearless)
            self.orders[name].see(found, allowed)
        same = (np.diff(a) == 0) & (np.diff(b) == 0) & (np.diff(c) == 0)
        moved = np.diff(parts.of_day[rows]) != 0
        self.same_date += int((same & moved).sum())
        best = max(self.orders, key=lambda name: (self.orders[name].good, self.orders[name].near))
        columns = {"a": a, "b": b, "c": c}
        year, month, day = (columns[part] for part in ORDERS[best])
        found, good = days(full_years(year, short), month, day)
        self._direction((found * DAY + parts.of_day[rows])[good])

    def _direction(self, times: NDArray[Any]) -> None:
        """Whether times go up or down, and how far apart they are."""
        if not len(times):
            return
        if times.dtype.kind == "i":
            ends = int(times.min()), int(times.max())
            self._span = ends if self._span is None else (min(ends[0], self._span[0]), max(ends[1], self._span[1]))
        steps = np.diff(times, prepend=times[0] if self._last is None else self._last)
        self.forwards += int((steps > 0).sum())
        self.backwards += int((steps < 0).sum())
        if len(self.steps) < 10_000:
            self.steps += np.abs(steps[steps != 0][:1000]).astype(np.int64).tolist()
        self._last = times[-1]

    @property
    def has_dates_only(self) -> bool:
        """Whether rows have a date and none a time of day."""
        dated = self.shapes[[Shape.YEAR_FIRST, Shape.THREE_NUMBERS]].sum() or self.numbers.get("yyyymmdd", 0)
        return bool(dated) and not self.with_time

    @property
    def clock(self) -> str:
        """How numbers write times of day: ``hours``, ``hhmm``, ``hhmmss``, or empty where they are none."""
        numbers = self.shapes[Shape.NUMBER]
        if not numbers or numbers < self.total:
            return ""
        return clock_digits(self.largest, self.whole, self.over_minutes, self.over_seconds, self.digits)

    @property
    def readable(self) -> float:
        """Share of the texts that look like times, numbers among them only where their size is one of a time."""
        read = self.total - self.shapes[Shape.UNREADABLE] - self.numbers.get("", 0) - self.shapes[Shape.NO_DATE]
        return float(read) / self.total if self.total else 0.0

    def decide(self) -> TimeFormat:
        """The one format of the column.

        Raises:
            ImportRefusedError: there is none, or there are two; the message says what to give.
        """
        if not self.total:
            raise ImportRefusedError(f"column {shown(self.column)}, that of the time, is empty")
        shapes = {shape: int(self.shapes[shape]) for shape in Shape if shape not in (Shape.EMPTY, Shape.UNREADABLE)}
        shapes[Shape.NUMBER] -= self.numbers.get("", 0)
        shape = max(shapes, key=lambda one: shapes[one])
        number = ""
        if shape == Shape.NUMBER:
            number = max((name for name in self.numbers if name), key=lambda name: self.numbers[name], default="")
            shapes[shape] = self.numbers.get(number, 0)
        if shape == Shape.NO_DATE and shapes[shape] >= READABLE * self.total:
            if " and " in self.column and self.shapes[[Shape.YEAR_FIRST, Shape.THREE_NUMBERS]].any():
                dated = int(self.shapes[[Shape.YEAR_FIRST, Shape.THREE_NUMBERS]].sum())
                raise ImportRefusedError(
                    f"{self.total - dated} of {self.total} rows in columns {shown(self.column)} have a time of day and no "
                    "date; write the date in each row of the file"
                )
            raise ImportRefusedError(
                f"column {shown(self.column)} has times of day without a date; where another column has it, "
                "name both: time_column: [DATE, TIME] in the map; else write the date in each row of the file"
            )
        named = self.pattern.groupindex if self.pattern is not None and shapes[shape] >= READABLE * self.total else None
        if named is not None and ("c" not in named or not {"b", "mon"} & set(named)):
            raise ImportRefusedError(f"--time-format {self.rules.time_format!r} has no day, %d, or no month, %m or %b")
        if shape == Shape.NO_YEAR and shapes[shape] >= READABLE * self.total and self.rules.year is None:
            raise ImportRefusedError(
                f"times in column {shown(self.column)} have no year; give it with --year, or as year in the map"
            )
        if shapes[shape] < READABLE * self.total:
            line, text = self.unread or (0, "")
            where = f", first {shown(text)} in line {line}" if text else ""
            how = f" as {self.rules.time_format}" if self.rules.time_format else ""
            advice = "" if self.rules.time_format else "; give --time-format, or another column with --time-column"
            raise ImportRefusedError(
                f"{shapes[shape]} of {self.total} times in column {shown(self.column)} could be read{how}{where}{advice}"
            )
        digits = number == "epoch seconds" and self.as_minutes == self.numbers[number]
        self.doubts.check(self.column, shapes, number, self.total, may_be_digits=digits)
        if number == "epoch seconds":
            self._check_seconds()
        order, why = self._order(shape)
        self._check_zones()
        self._check_offsets()
        self._check_clock()
        if not number.startswith("epoch") and not (self.zoned and self.zoned >= self.total):
            self.rules = self._with_header()
        return TimeFormat(
            column=self.column,
            shape=shape,
            order=order,
            number=number,
            rules=self.rules,
            typed=self.typed,
            newest_first=self.backwards > self.forwards,
            hourly=bool(self.steps) and bool(np.median(self.steps) >= (HOUR if not number else 0)),
            description=self._described(shape, order, number, why),
            span=None if number else self._span,
        )

    def _check_seconds(self) -> None:
        """Ten digits are seconds since 1970, or yymmddhhmm."""
        written = self.as_minutes == self.numbers["epoch seconds"]
        ahead = self.smallest * 1000 > now_ms() + MAX_AHEAD_MS
        if written and (self.as_minutes >= SURE_ROWS or ahead):
            raise ImportRefusedError(
                f"times in column {shown(self.column)} such as {shown(f'{self.smallest:.0f}')} are yymmddhhmm, not seconds "
                "since 1970; give --time-format %y%m%d%H%M (in the map: time_format)"
            )

    def _order(self, shape: Shape) -> tuple[str, str]:
        if shape not in (Shape.THREE_NUMBERS, Shape.NO_YEAR):
            return "", ""
        if self.rules.day_first is not None:
            return ("day first" if self.rules.day_first else "month first"), "as given"
        most = max(order.good for order in self.orders.values())
        fit = [name for name, order in self.orders.items() if order.good == most and most]
        if len(fit) == 1:
            return fit[0], "no other order fits all rows"
        if self.same_date:  # several readings a date: those of the next day follow those of the day before
            near = [n for n in fit if (one := self.orders[n]).changes and one.near >= CLEAR * one.changes]
            far = [n for n in fit if (one := self.orders[n]).changes and one.far >= CLEAR * one.changes]
            if len(near) == 1 and len(far) == len(fit) - 1:
                return near[0], "only so do the days follow each other"
        if not self.differ and "year first" not in fit and fit:
            return fit[0], "the day is the month in all rows"
        fitting = " and ".join(_WRITTEN[name] for name in fit) or "no order of day, month and year"
        option = "--day-first or --month-first" if "year first" not in fit else "--time-format, such as %y-%m-%d %H:%M"
        raise ImportRefusedError(
            f"times in column {shown(self.column)} can be read as {fitting}; give {option} "
            "(in the map: day_first, time_format)"
        )

    def _check_zones(self) -> None:
        known = {*zone_names(self.rules.timezone, self.rules.zones), self.rules.timezone}
        unknown = {name: count for name, count in self.zones.items() if name not in known and count > FEW * self.total}
        if unknown:
            first = next(iter(unknown))
            if "/" in first:
                raise ImportRefusedError(
                    f"times in column {shown(self.column)} end in {listed(list(unknown))}; give --timezone {first}, where "
                    "that is the timezone of all of them"
                )
            raise ImportRefusedError(
                f"times in column {shown(self.column)} end in {listed(list(unknown))}, which is no timezone for certain; "
                f"give --timezone AREA/CITY, or in the map zones: {{{first}: 'OFFSET'}} with its hours ahead of UTC, such "
                "as '+05:30'"
            )

    def _check_clock(self) -> None:
        """Hours of 1 to 12 only, which fall back from 12 to 1 within a date, are two halves of a day as one.

        Raises:
            ImportRefusedError: which half of the day it is can't be known.
        """
        if self.wrong_half is not None:
            line, text = self.wrong_half
            raise ImportRefusedError(
                f"times in column {shown(self.column)} say AM of hours above 12, first {shown(text)} in line {line}, so AM "
                "and PM say nothing; export hours of 0 to 23 without them, or, where they stand in a column of their own, "
                "name the others: time_column: [DATE, TIME] in the map, with that one in ignore"
            )
        if self.halves and self.without_half > FEW_BARE * self.total:
            raise ImportRefusedError(
                f"{self.halves} times in column {shown(self.column)} say AM or PM and {self.without_half} don't, so nothing "
                "says whether those are of 12 or of 24 hours; export all of them in one form"
            )
        if self.with_time and self.hours[0] >= 1 and self.hours[1] <= 12 and self.falls:
            raise ImportRefusedError(
                f"times in column {shown(self.column)} have hours of 1 to 12 only and go round within a day, but no AM or "
                "PM; name the column that says it: time_column: [DATE, TIME, AM_PM] in the map, or export hours of 0 to 23"
            )

    def _check_offsets(self) -> None:
        """Hours that are written from one to another look like times with an offset, which changes with each.

        Raises:
            ImportRefusedError: there are so many.
        """
        if len(self.offsets) > MOST_OFFSETS:
            raise ImportRefusedError(
                f"times in column {shown(self.column)} end in {len(self.offsets)} and more different offsets, as spans do "
                "that are written from one time to another; give a column with the begin or the end of each alone"
            )

    def _with_header(self) -> TimeRules:
        """The rules with what the header says of times that name no zone.

        Raises:
            ImportRefusedError: what it says contradicts the timezone that is given, or is no zone for certain.
        """
        rules, header = self.rules, self.rules.header
        if header is None or (header.is_local and rules.timezone is not None):
            return rules
        if header.is_local:
            raise ImportRefusedError(
                f"the times of column {shown(self.column)} are local ones, as {header.where} says, and nothing says of "
                "which place; give --timezone AREA/CITY"
            )
        ahead = rules.zones.get(header.text, header.ahead)
        if header.timezone is not None and (rules.timezone is None or are_one_zone(header.timezone, rules.timezone)):
            return replace(rules, timezone=header.timezone)
        if rules.timezone is None and ahead is not None:
            return replace(rules, timezone="UTC", ahead=ahead) if ahead else replace(rules, timezone="UTC")
        said = f"the times of column {shown(self.column)} are said by {header.where} to be in {shown(header.text)}"
        if rules.timezone is None:
            raise ImportRefusedError(
                f"{said}, which is no timezone for certain; give --timezone AREA/CITY, or in the map "
                f"zones: {{{header.text}: 'OFFSET'}} with its hours ahead of UTC, such as '+05:30'"
            )
        if ahead is not None:
            agrees = replace(header, ahead=ahead).may_be(rules.timezone)
        else:
            agrees = header.timezone is None and is_of(header.text, rules.timezone)
        if not agrees:
            meant = header.timezone or ("UTC" if ahead == 0 else "")
            how = (
                f"--timezone {meant}" if meant else f"no --timezone, and in the map zones: {{{header.text}: 'OFFSET'}}"
            )
            raise ImportRefusedError(
                f"{said}, and the timezone that is given is {rules.timezone}; where that is right, give {how}; where "
                "it is wrong, put it right in the file"
            )
        if header.timezone != rules.timezone and rules.timezone != "UTC":
            self.notes.append(f"{header.where} says {header.text}; the timezone that is given counts, {rules.timezone}")
        return rules

    def _described(self, shape: Shape, order: str, number: str, why: str) -> str:
        dates = self.doubts.named_month or "year-month-day"
        text = number or (f"{_WRITTEN[order]} ({why})" if order else "instants" if self.typed else dates)
        if shape == Shape.NO_YEAR:
            text = text.replace("/year", "") + f" of {self.rules.year}"
        if self.rules.time_format:
            text = self.rules.time_format
        if number.startswith("epoch"):
            return text
        if self.zoned and self.zoned >= self.total:
            return f"{text}, with {'a timezone' if self.typed else 'an offset'}"
        zone = self.rules.timezone or "UTC, since no timezone is given"
        if self.rules.ahead is not None or (
            self.rules.header is not None
            and not self.rules.header.is_local
            and self.rules.timezone in ("UTC", self.rules.header.timezone)
        ):
            header = self.rules.header
            zone = f"{header.text if header else zone}, as {header.where if header else 'the header'} says"
        return f"{text}, {'offsets where there are some, else ' if self.zoned else ''}{zone}"
