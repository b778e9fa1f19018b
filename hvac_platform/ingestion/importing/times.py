"""The times of a file: one format for a whole column, found from all of it, or asked for where two fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hvac_platform.ingestion.importing.instants import (
    DAY,
    HOUR,
    NAIVE,
    Bools,
    Int64,
    Parts,
    Shape,
    days,
    layout_of_format,
    take_apart,
    texts_of,
)
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, listed, shown
from hvac_platform.ingestion.messages import EARLIEST_MS, MAX_AHEAD_MS

ORDERS = {"day first": "cba", "month first": "cab", "year first": "abc"}
"""By order of three numbers, which of a, b, c are year, month and day."""
_WRITTEN = {"day first": "day/month/year", "month first": "month/day/year", "year first": "year-month-day"}
NEAR, FAR = 7 * DAY, 20 * DAY
"""Readings that follow each other are nearer than a week; read in the wrong order, days are a month or a year apart."""
CLEAR = 0.9
"""So much of the changes of date must be near under one order and far under the others."""
READABLE = 0.5
"""A column of which less can be read is no column of times."""
FEW = 0.02
"""A zone that so few rows name is a fault of these rows."""
LONGEST_HOUR = 2 * HOUR

_NUMBERS: tuple[tuple[str, float, float, float], ...] = (
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


@dataclass(frozen=True, slots=True)
class TimeRules:
    """What is said of a file's times.

    Attributes:
        timezone: timezone of times that name none; None where nothing is said, and then it is UTC.
        zones: minutes ahead of UTC by abbreviation.
        day_first: order of day and month, None where nothing is said.
        time_format: format of strptime, or None.
        year: year of times that have none.
    """

    timezone: str | None = None
    zones: Mapping[str, int] = field(default_factory=dict)
    day_first: bool | None = None
    time_format: str | None = None
    year: int | None = None


@dataclass
class _Order:
    """How well an order of three numbers fits."""

    good: int = 0
    near: int = 0
    far: int = 0
    changes: int = 0
    last: int | None = None

    def see(self, day: Int64, good: Bools) -> None:
        """Days of rows that follow each other."""
        self.good += int(good.sum())
        found = day[good]
        if not len(found):
            return
        steps = np.diff(found, prepend=found[0] if self.last is None else self.last)
        steps = np.abs(steps[steps != 0]) * DAY
        self.changes += len(steps)
        self.near += int((steps <= NEAR).sum())
        self.far += int((steps >= FAR).sum())
        self.last = int(found[-1])


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


class TimeEvidence:
    """What all of a column of times says of its format; fed chunk by chunk."""

    def __init__(self, column: str, rules: TimeRules) -> None:
        self.column, self.rules = column, rules
        self.total = 0
        self.shapes = np.zeros(len(Shape), np.int64)
        self.unread: tuple[int, str] | None = None
        self.numbers: dict[str, int] = {}
        self.orders = {name: _Order() for name in ORDERS}
        self.short_year = 0
        self.with_time = 0
        self.zones: dict[str, int] = {}
        self.zoned = 0
        self.typed = False
        self.largest, self.whole = 0.0, True
        self.forwards = self.backwards = 0
        self.steps: list[int] = []
        self.same_date = 0
        self._last: int | None = None
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
            self._direction(_typed(values)[0][good])
            return
        texts = texts_of(values)
        parts = take_apart(texts, self.pattern)
        counts = np.bincount(parts.shape, minlength=len(Shape))
        self.shapes += counts
        self.total += int(counts.sum() - counts[Shape.EMPTY])
        bad = np.flatnonzero(parts.shape == Shape.UNREADABLE)
        if len(bad) and self.unread is None:
            self.unread = (int(lines[bad[0]]), str(texts[bad[0]]))
        for i, name in enumerate(parts.names):
            self.zones[name] = self.zones.get(name, 0) + int((parts.zone == -NAIVE - i).sum())
        self.zoned += int((parts.zone != NAIVE).sum())
        self.with_time += int(parts.has_time.sum())
        if counts[Shape.NUMBER]:
            known = parts.number[parts.shape == Shape.NUMBER]
            self.largest = max(self.largest, float(np.abs(known).max()))
            self.whole &= bool((known == np.floor(known)).all())
            kinds = _kinds(parts.number)
            for kind, count in zip(*np.unique(kinds[parts.shape == Shape.NUMBER], return_counts=True), strict=True):
                name = "" if kind < 0 else _NUMBERS[kind][0]
                self.numbers[name] = self.numbers.get(name, 0) + int(count)
            if self.unread is None and (odd := np.flatnonzero((parts.shape == Shape.NUMBER) & (kinds < 0))).size:
                self.unread = (int(lines[odd[0]]), str(texts[odd[0]]))
        if counts[Shape.THREE_NUMBERS] or counts[Shape.NO_YEAR]:
            self._three_numbers(parts)
        dated = parts.shape == Shape.YEAR_FIRST
        if dated.any():
            day, good = days(_years(parts.a, parts.short_year), parts.b, parts.c)
            self._direction((day * DAY + parts.of_day)[dated & good])
        elif counts[Shape.NUMBER]:
            self._direction(parts.number[parts.shape == Shape.NUMBER])

    def _three_numbers(self, parts: Parts) -> None:
        yearless = self.shapes[Shape.NO_YEAR] > self.shapes[Shape.THREE_NUMBERS]
        rows = parts.shape == (Shape.NO_YEAR if yearless else Shape.THREE_NUMBERS)
        a, b, c = parts.a[rows], parts.b[rows], parts.c[rows]
        if yearless:
            c = np.full_like(a, self.rules.year or 2000)
        short = parts.short_year[rows]
        self.short_year += int(short.sum())
        for name, order in ORDERS.items():
            columns = {"a": a, "b": b, "c": c}
            year, month, day = (columns[part] for part in order)
            found, good = days(_years(year, short), month, day)
            allowed = good if name != "year first" else good & short & (not yearless)
            self.orders[name].see(found, allowed)
        same = (np.diff(a) == 0) & (np.diff(b) == 0) & (np.diff(c) == 0)
        moved = np.diff(parts.of_day[rows]) != 0
        self.same_date += int((same & moved).sum())
        best = max(self.orders, key=lambda name: (self.orders[name].good, self.orders[name].near))
        columns = {"a": a, "b": b, "c": c}
        year, month, day = (columns[part] for part in ORDERS[best])
        found, good = days(_years(year, short), month, day)
        self._direction((found * DAY + parts.of_day[rows])[good])

    def _direction(self, times: NDArray[Any]) -> None:
        """Whether times go up or down, and how far apart they are."""
        if not len(times):
            return
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
        """How numbers write times of day: ``hours``, ``hhmm``, or empty where they are none."""
        numbers = self.shapes[Shape.NUMBER]
        if not numbers or numbers < self.total or self.largest > 2400 or not self.whole:
            return ""
        return "hhmm" if self.largest > 24 else "hours"

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
            raise ImportRefusedError(
                f"column {shown(self.column)} has times of day without a date; name the columns of both: "
                "time_column: [DATE, TIME] in the map"
            )
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
        order, why = self._order(shape)
        self._check_zones()
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
        fitting = " and ".join(_WRITTEN[name] for name in fit) or "no order of day, month and year"
        option = "--day-first or --month-first" if "year first" not in fit else "--time-format, such as %y-%m-%d %H:%M"
        raise ImportRefusedError(
            f"times in column {shown(self.column)} can be read as {fitting}; give {option} "
            "(in the map: day_first, time_format)"
        )

    def _check_zones(self) -> None:
        known = {*_zone_names(self.rules), self.rules.timezone}
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
                f"give --timezone, such as America/New_York, or in the map zones: {{{first}: '-05:00'}}"
            )

    def _described(self, shape: Shape, order: str, number: str, why: str) -> str:
        text = number or (f"{_WRITTEN[order]} ({why})" if order else "instants" if self.typed else "year-month-day")
        if shape == Shape.NO_YEAR:
            text = text.replace("/year", "") + f" of {self.rules.year}"
        if self.rules.time_format:
            text = self.rules.time_format
        if number.startswith("epoch"):
            return text
        if self.zoned and self.zoned >= self.total:
            return f"{text}, with {'a timezone' if self.typed else 'an offset'}"
        zone = self.rules.timezone or "UTC, since no timezone is given"
        return f"{text}, {'offsets where there are some, else ' if self.zoned else ''}{zone}"


#: Why a row's time is refused.
REASONS = (
    "",
    "the time is empty",
    "not a time like the others of the column",
    "no such date or time of day",
    "a time before 2000",
    "a time in the future",
    "a local time that clocks leave out",
    "a timezone that is not known",
)


class TimeReader:
    """Reads the times of a file in the one format, chunk by chunk and in order."""

    def __init__(self, form: TimeFormat, now_ms: int) -> None:
        self.form, self.now_ms = form, now_ms
        self.pattern = layout_of_format(form.rules.time_format) if form.rules.time_format else None
        self.repeated = 0
        self._passes: dict[Any, tuple[int, bool]] = {}

    def read(self, values: pa.Array, groups: Callable[[], Sequence[Any]]) -> tuple[Int64, NDArray[np.int8]]:
        """Epoch milliseconds, int64 [n], and the reason why a row has none, int8 [n], an index into REASONS.

        Args:
            values: the column's rows.
            groups: gives what rows belong together (a device, a metric), to tell the two passes of a repeated hour apart.
        """
        form = self.form
        if form.typed:
            times, naive = _typed(values)
            problem = np.where(np.asarray(pc.is_valid(values)), 0, 1).astype(np.int8)
        else:
            parts = take_apart(texts_of(values), self.pattern)
            times, naive, problem = self._assembled(parts)
        if form.rules.timezone not in (None, "UTC") and (local := naive & (problem == 0)).any():
            times = times.copy()
            times[local], missing = self._localised(times[local], np.flatnonzero(local), groups)
            problem[np.flatnonzero(local)[missing]] = 6
        problem[(problem == 0) & (times < EARLIEST_MS)] = 4
        problem[(problem == 0) & (times > self.now_ms + MAX_AHEAD_MS)] = 5
        return times, problem

    def _assembled(self, parts: Parts) -> tuple[Int64, Bools, NDArray[np.int8]]:
        form = self.form
        problem = np.where(parts.shape == form.shape, 0, np.where(parts.shape == Shape.EMPTY, 1, 2)).astype(np.int8)
        if form.number:
            times, good = _numbers(parts.number, form.number)
            problem[(problem == 0) & ~good] = 2
            return times, np.full(len(times), not form.number.startswith("epoch")), problem
        columns = {"a": parts.a, "b": parts.b, "c": parts.c}
        if form.shape == Shape.NO_YEAR:
            # A format says which number is which by itself.
            columns = {"a": np.full_like(parts.a, form.rules.year or 0), "b": parts.b, "c": parts.c}
            if self.pattern is None:
                columns = {"a": parts.a, "b": parts.b, "c": np.full_like(parts.a, form.rules.year or 0)}
        order = "abc" if self.pattern is not None or not form.order else ORDERS[form.order]
        year, month, day = (columns[part] for part in order)
        found, good = days(_years(year, parts.short_year), month, day)
        problem[(problem == 0) & ~(good & (parts.of_day >= 0))] = 3
        times = found * DAY + parts.of_day
        zone = parts.zone
        if form.rules.timezone in parts.names:  # a time that says so is a local one
            zone = np.where(zone == -NAIVE - parts.names.index(form.rules.timezone), NAIVE, zone)
        naive = zone == NAIVE
        ahead = np.where(naive, 0, zone)
        named = zone <= -NAIVE
        if named.any():
            known = _zone_names(form.rules)
            of_name = np.array([known.get(name, NAIVE) for name in parts.names], np.int64)
            ahead[named] = of_name[-NAIVE - zone[named]]
            problem[(problem == 0) & (ahead == NAIVE)] = 7
        return times - ahead * 60_000, naive, problem

    def _localised(self, local: Int64, rows: Int64, groups: Callable[[], Sequence[Any]]) -> tuple[Int64, Bools]:
        """UTC of local times, and which of them there are none of."""
        zone = str(self.form.rules.timezone)
        index = pd.DatetimeIndex(local.astype("datetime64[ms]"))
        found = index.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
        unclear = np.asarray(found.isna(), dtype=np.bool_)
        if unclear.any():
            missing = np.asarray(
                index.tz_localize(zone, ambiguous=np.ones(len(index), np.bool_), nonexistent="NaT").isna()
            )
            twice = unclear & ~missing
            first = np.ones(len(index), np.bool_)
            if twice.any():
                of_row = groups()
                for i in np.flatnonzero(twice).tolist():
                    first[i] = self._is_first(of_row[int(rows[i])], int(local[i]))
                self.repeated += int(twice.sum())
            found = index.tz_localize(zone, ambiguous=first, nonexistent="NaT")
        else:
            missing = unclear
        times = found.tz_convert("UTC").tz_localize(None).to_numpy(dtype="datetime64[ms]").astype(np.int64)
        return times, np.asarray(missing, dtype=np.bool_)

    def _is_first(self, group: Any, local: int) -> bool:
        """Whether a time of a repeated hour is of its first pass: times that go back begin the second one."""
        backwards = self.form.newest_first
        last, first = self._passes.get(group, (None, not backwards))
        if last is None or abs(local - last) > LONGEST_HOUR:
            first = not backwards
        elif ((local < last) != backwards and local != last) or (local == last and self.form.hourly):
            first = backwards
        self._passes[group] = (local, first)
        return first


def _years(year: Int64, short: Bools) -> Int64:
    if not short.any():
        return year
    return np.where(short, np.where(year < 69, 2000, 1900) + year, year)


def _zone_names(rules: TimeRules) -> dict[str, int]:
    """Minutes ahead of UTC by abbreviation: those that are given, and those that the timezone itself uses."""
    known = dict(rules.zones)
    if rules.timezone:
        zone = ZoneInfo(rules.timezone)
        for month in (1, 7):
            instant = pd.Timestamp(2024, month, 1, tzinfo=zone)
            offset = instant.utcoffset()
            if offset is not None:
                known.setdefault(instant.tzname() or "", round(offset.total_seconds() / 60))
    return known


def _kinds(numbers: NDArray[np.float64]) -> NDArray[np.int8]:
    kinds = np.full(len(numbers), -1, np.int8)
    for i, (_, low, high, _) in enumerate(_NUMBERS):
        kinds[(numbers >= low) & (numbers < high)] = i
    return kinds


def _numbers(numbers: NDArray[np.float64], kind: str) -> tuple[Int64, Bools]:
    """Milliseconds of numbers of a kind, and which of them are of it."""
    number = next(i for i, one in enumerate(_NUMBERS) if one[0] == kind)
    good = _kinds(numbers) == number
    values = np.where(good, numbers, 0)
    factor = _NUMBERS[number][3]
    if factor:
        return np.floor(values * factor + 1e-6).astype(np.int64), good
    if kind == "Excel days":  # days since the end of 1899; tenths of a millisecond are noise of the double
        milliseconds = np.round((values - 25_569) * DAY).astype(np.int64)
        nearest = (milliseconds + 500) // 1000 * 1000
        return np.where(np.abs(milliseconds - nearest) <= 5, nearest, milliseconds), good
    digits = values.astype(np.int64) * 10 ** (14 - len(kind))
    date, clock = digits // 1_000_000, digits % 1_000_000
    hours, minutes, seconds = clock // 10_000, clock // 100 % 100, clock % 100
    found, exists = days(date // 10_000, date // 100 % 100, date % 100)
    exists &= (minutes < 60) & (seconds < 60) & ((hours < 24) | ((hours == 24) & (minutes + seconds == 0)))
    return found * DAY + hours * HOUR + minutes * 60_000 + seconds * 1000, good & exists


def _typed(values: pa.Array) -> tuple[Int64, Bools]:
    """Milliseconds of a column of instants or dates, and whether they are local ones; null is 0."""
    naive = not (pa.types.is_timestamp(values.type) and values.type.tz is not None)
    if not pa.types.is_timestamp(values.type):
        values = pc.cast(values, pa.timestamp("ms"))
    whole = pc.cast(pc.fill_null(pc.cast(values, pa.int64()), 0), pa.int64()).to_numpy(zero_copy_only=False)
    per = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}[values.type.unit]
    times = whole * 1000 if per == 1000 else whole // round(1 / per)
    return times.astype(np.int64), np.full(len(times), naive)
