"""What a file is taken for: its times, devices, columns and units, decided once, from all of it, before anything is sent."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.devices.registry import DeviceType, Point, device_types
from hvac_platform.devices.units import UnitError, parse_unit
from hvac_platform.ingestion.importing import clocks
from hvac_platform.ingestion.importing import columns as names
from hvac_platform.ingestion.importing.cells import ColumnEvidence
from hvac_platform.ingestion.importing.formats import Chunk, Content, Table
from hvac_platform.ingestion.importing.formats.hours import (
    BEGINNING,
    ENDING,
    TIME_OF_DAY,
    VALUE,
    UnfoldedTable,
    asked,
    hour_columns,
    is_hour_ending,
)
from hvac_platform.ingestion.importing.instants import HOUR, MINUTE, Shape
from hvac_platform.ingestion.importing.mapping import DEVICES, ColumnMeaning, ImportMap, squeezed
from hvac_platform.ingestion.importing.overlooked import GOOD_STATUS, Overlooked, check_series
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, Refusal, listed, shown
from hvac_platform.ingestion.importing.shares import check_shares
from hvac_platform.ingestion.importing.times import TimeEvidence, TimeFormat, TimeRules
from hvac_platform.ingestion.importing.uses import Meant, Use, use_of
from hvac_platform.ingestion.importing.wording import MOSTLY
from hvac_platform.ingestion.importing.zones import header_zone, stated_zone
from hvac_platform.ingestion.messages import name_problem

HOURS_OF_A_HALF = 12
LAST_HOUR = 24
"""Number of the last hour of a day where the first one is 1, or where hours are called by their ends."""
SAMPLE_ROWS = 1_000
ONE_A_DATE = 0.9
"""Share of rows that are the only ones of their date, below which dates alone are no times."""
MOST_WORDS = 10
"""Words of a column that may be ways in which values of a day were made."""
MOST_NAMES = 10_000


@dataclass(frozen=True)
class Roles:
    """Columns that say when, of what and how.

    Attributes:
        time: column of the time, or those of date, time of day and half of the day.
        device: column of the device, or None.
        metric: column of the metric of a long file, or None.
        value: column of the value of a long file, or None.
        unit: column of the unit of a long file, or None.
        status: column that says which rows are good, or None.
        status_of: by column, the one that says which of its values are good.
        first_hour: number of the hour that begins at midnight, where numbers are hours.
        clock: how numbers write the time of day, where it is apart: hours, hhmm or hhmmss; empty where it is text.
        has_half: whether the last column of the time says AM or PM.
        of_date: columns of the time that are of the date: 1, or 3 for year, month and day.
        of_clock: those behind them that are of the time of day: 1, or 2 or 3 for hour, minute and second.
        zone: column of the zone that the times are in, or None.
    """

    time: tuple[str, ...]
    device: str | None = None
    metric: str | None = None
    value: str | None = None
    unit: str | None = None
    status: str | None = None
    clock: str = ""
    has_half: bool = False
    of_date: int = 1
    of_clock: int = 1
    status_of: Mapping[str, str] = field(default_factory=dict)
    first_hour: int = 0
    zone: str | None = None

    @property
    def is_long(self) -> bool:
        """Whether each row holds one reading."""
        return self.metric is not None and self.value is not None

    @property
    def all(self) -> tuple[str, ...]:
        """All of them."""
        others = (
            self.device,
            self.zone,
            self.status,
            *self.status_of.values(),
            *((self.metric, self.value, self.unit) if self.is_long else ()),
        )
        return (*self.time, *(name for name in others if name is not None))


@dataclass(frozen=True)
class Understanding:
    """How a file is read.

    Attributes:
        content: the file.
        table: its table.
        device: device of rows that name none.
        declared: its type, or None.
        roles: columns that say when, of what and how.
        times: the format of the times.
        uses: by column, or by name in the column of metrics, what becomes of it.
        left_out: by column or name, why it is not taken.
        refused: columns that should be taken, but can't be.
        good_status: what the status of a good row says, in small letters; None where words for bad ones decide.
        rows: number of rows.
        left_out_values: cells of what is left out.
        notes: what else is worth telling.
    """

    content: Content
    table: Table
    device: FleetDevice
    declared: DeviceType | None
    roles: Roles
    times: TimeFormat
    uses: Mapping[str, Use]
    left_out: Mapping[str, str]
    refused: Sequence[Refusal]
    good_status: tuple[str, ...] | None
    rows: int
    left_out_values: int
    notes: Sequence[str]


def joined_times(chunk: Chunk, roles: Roles) -> pa.Array:
    """The times of a chunk; those of date, time of day, half of the day and zone as one text."""
    if len(roles.time) == 1 and roles.zone is None:
        return chunk.columns[roles.time[0]]
    if len(roles.time) == 1:
        return with_zones(chunk.columns[roles.time[0]], texts(chunk.columns[str(roles.zone)]))
    columns = [chunk.columns[name] for name in roles.time]
    joined = clocks.joined(
        *(columns, roles.clock), has_half=roles.has_half, of_date=roles.of_date, of_clock=roles.of_clock,
        first_hour=roles.first_hour,
    )  # fmt: skip
    return joined if roles.zone is None else with_zones(joined, texts(chunk.columns[roles.zone]))


def with_zones(times: pa.Array, zones: pa.Array) -> pa.Array:
    """Times with the zones that stand beside them; an empty time stays empty."""
    together = pc.utf8_trim_whitespace(pc.binary_join_element_wise(texts(times), zones, " "))
    return pc.if_else(pc.equal(texts(times), ""), "", together)


def texts(values: pa.Array) -> pa.Array:
    """Cells as texts without blanks around them, empty for null."""
    if pa.types.is_floating(values.type) and len(values) == 0:
        return pa.array([], pa.string())
    return pc.utf8_trim_whitespace(pc.fill_null(pc.cast(values, pa.string()), ""))


def understand(
    content: Content,
    table: Table,
    device: FleetDevice,
    declared: DeviceType | None,
    mapping: ImportMap,
    *,
    alone: bool = True,
) -> Understanding:
    """Decide how a file is read, from all of it.

    Args:
        content: the file.
        table: its table.
        device: device of rows that name none.
        declared: its type, or None where it is not known.
        mapping: what is said of the file.
        alone: whether it is the only file, so that it must have all columns of the map.

    Raises:
        ImportRefusedError: it can't be decided; the message says what to give.
    """
    return _Understanding(content, table, device, declared, mapping, alone).decided()


class _Understanding:
    def __init__(
        self,
        content: Content,
        table: Table,
        device: FleetDevice,
        declared: DeviceType | None,
        mapping: ImportMap,
        alone: bool,
    ) -> None:
        self.content, self.table, self.declared, self.mapping = content, table, declared, mapping
        self.device = replace(device, device_id=mapping.device) if mapping.device else device
        self.notes: list[str] = [*getattr(table, "notes", ())]
        if content.beside:
            self.notes.append(
                f"of the archive {listed(content.beside)} {'is' if len(content.beside) == 1 else 'are'} no table"
            )
        self.left_out: dict[str, str] = {}
        self.refused: list[Refusal] = []
        self.rows = 0
        first = next((chunk for chunk in table.chunks() if len(chunk)), None)
        if first is None:
            self._no_rows()
        else:
            self.first = first
        self._check_map(alone)
        self.roles = self._roles()
        self.evidence: dict[str, ColumnEvidence] = {}
        self.counts: dict[str, int] = {}
        self.units: dict[str, dict[str, int]] = {}
        self.overlooked = Overlooked()
        self.time = TimeEvidence(" and ".join(self.roles.time), self._time_rules())

    def _no_rows(self) -> None:
        refused = next((row for chunk in self.table.chunks() for row in chunk.refused), None)
        if refused is not None:
            raise ImportRefusedError(f"no row fits the header: line {refused.line} has {refused.reason}")
        raise ImportRefusedError("the file has no rows")

    def _check_map(self, alone: bool) -> None:
        mapping, there = self.mapping, self.table.columns
        for key in ("device_column", "metric_column", "value_column", "unit_column", "status_column"):
            wanted = getattr(mapping, key)
            if wanted is not None and self._named(wanted) is None:
                raise ImportRefusedError(f"there is no column {shown(wanted)} ({key}); the columns are {listed(there)}")
        missing = [one for pair in mapping.status_columns.items() for one in pair if self._named(one) is None]
        if missing:
            raise ImportRefusedError(
                f"there is no column {listed(missing)} (status_columns); the columns are {listed(there)}"
            )
        if self.declared is not None:
            undeclared = [name for name in mapping.metrics if name not in self.declared.metric_names]
            if undeclared:
                raise ImportRefusedError(
                    f"the map names metrics that {self.declared.name} does not declare: {', '.join(undeclared)}; "
                    f"declared are {', '.join(self.declared.metric_names)}"
                )
        for name in mapping.metrics:
            if (problem := name_problem(name)) is not None:
                raise ImportRefusedError(f"the map's metric {shown(name)} {problem}")
        self._missing = [name for name in mapping.columns if self._named(name) is None]
        self._alone = alone

    def _named(self, wanted: str) -> str | None:
        """The column of that name, whatever the blanks in it."""
        by_name = {squeezed(name): name for name in reversed(self.table.columns)}
        return by_name.get(squeezed(wanted))

    def _roles(self) -> Roles:
        mapping, there = self.mapping, [n for n in self.table.columns if n not in self.mapping.ignore]
        time = self._time_columns()
        if isinstance(self.table, UnfoldedTable) and TIME_OF_DAY not in time:
            time = (*time, TIME_OF_DAY)
        others = [name for name in there if name not in time]
        bare = {name: names.split_header(name)[0] for name in others}
        metric = self._given(mapping.metric_column) or names.role(others, names.METRIC_NAMES)
        value = self._given(mapping.value_column) or next(
            (name for usual in names.VALUE_NAMES for name in others if names.slug(bare[name]) == usual), None
        )
        is_long = metric is not None and value is not None and mapping.columns_are != DEVICES
        unit = self._given(mapping.unit_column) or (names.role(others, names.UNIT_NAMES) if is_long else None)
        device = self._given(mapping.device_column)
        if device is None and mapping.columns_are != DEVICES and mapping.device is None:
            device = names.role([name for name in others if name not in (metric, value, unit)], names.DEVICE_NAMES)
        status = self._given(mapping.status_column) or next(
            (name for name in others if names.slug(name) in ("status", "trend_status") and self._is_braced(name)), None
        )
        if not is_long:
            metric = value = unit = None
        has_half = len(time) > 1 and self._is_half(time[-1])
        of_date = 3 if len(time) >= 3 and self._are_years(time[0]) else 1
        of_clock = max(1, len(time) - has_half - of_date)
        if not all(self._is_sixtieth(name) for name in time[of_date + 1 : of_date + of_clock]):
            of_clock = 1
        clock, first_hour = "", 0
        if len(time) - has_half - of_date >= 1:
            sampled = self._sampled(time[of_date])
            clock = sampled.clock if of_clock == 1 else ""
            first_hour = int(mapping.hours == BEGINNING and sampled.clock == "hours" and sampled.smallest >= 1)
        status_of = {str(self._named(name)): str(self._named(of)) for name, of in mapping.status_columns.items()}
        return Roles(
            time, device, metric, value, unit, status, clock, has_half, of_date, of_clock, status_of, first_hour,
            self._zone_column(time, others),
        )  # fmt: skip

    def _zone_column(self, time: Sequence[str], others: Sequence[str]) -> str | None:
        """The column of the zone of times that say none themselves.

        Raises:
            ImportRefusedError: there is one, and what it says can't be read.
        """
        name = names.role(others, names.ZONE_NAMES)
        if name is None or pa.types.is_timestamp(self.first.columns[time[0]].type):
            return None
        sampled = self._sampled(time[0])
        if sampled.zoned or (sampled.shapes[Shape.NUMBER] and len(time) == 1):
            return None
        cells = texts(self.first.columns[name].slice(0, SAMPLE_ROWS))
        said = sorted(set(cells.to_pylist()) - {""})
        strange = [one for one in said if header_zone(f"Time ({one})") is None]
        if strange and self.mapping.timezone is None:
            raise ImportRefusedError(
                f"column {shown(name)} seems to say in which zone the times are, and {listed(strange[:3])} is none that is "
                f"known; give --timezone AREA/CITY, or leave it out, ignore: [{shown(name)}] in the map"
            )
        return None if strange or not said else name

    def _given(self, wanted: str | None) -> str | None:
        return None if wanted is None else self._named(wanted)

    def _is_braced(self, name: str) -> bool:
        cells = texts(self.first.columns[name].slice(0, SAMPLE_ROWS))
        return bool(pc.all(pc.match_substring_regex(cells, r"^(\{.*\})?$")).as_py())

    def _time_columns(self) -> tuple[str, ...]:
        """Column of the time, or those of date and time of day where they are apart."""
        there = list(self.table.columns)
        given = self.mapping.time_column
        if isinstance(given, tuple):
            found = [self._named(name) for name in given]
            missing = [name for name, column in zip(given, found, strict=True) if column is None]
            if missing:
                raise ImportRefusedError(f"there is no column {listed(missing)}; the columns are {listed(there)}")
            columns = tuple(name for name in found if name is not None)
            most = 7 if columns and self._are_years(columns[0]) else 5
            if not 1 <= len(given) <= most:
                raise ImportRefusedError(
                    f"time_column takes [DATE, TIME, AM_PM], with YEAR, MONTH, DAY in place of DATE, and HOUR, MINUTE, "
                    f"SECOND in place of TIME, and {len(given)} are given, {listed(given)}"
                )
            return columns if len(columns) > 2 else self._with_half(columns)
        if given is not None:
            column = self._named(given)
            if column is None:
                raise ImportRefusedError(f"there is no column {shown(given)}; the columns are {listed(there)}")
        else:
            candidates = [name for name in there if name not in self.mapping.ignore]
            apart = self._apart(candidates)
            if apart:
                return self._with_half(apart)
            column = self._by_zone(names.role(candidates, names.TIME_NAMES), candidates) or self._by_content(candidates)
        mark = header_zone(column)
        there.sort(key=lambda name: header_zone(name) != mark)
        return self._with_half(self._with_date(column, there))

    def _apart(self, candidates: Sequence[str]) -> tuple[str, ...]:
        """Columns of year, month and day with those of the time of day, where no other column has the date."""
        date = tuple(names.role(candidates, usual) for usual in (names.YEAR_NAMES, names.MONTH_NAMES, names.DAY_NAMES))
        found = tuple(name for name in date if name is not None)
        if len(found) < len(date) or not self._are_years(found[0]):
            return ()
        others = [name for name in candidates if name not in found]
        dated = [name for name in others if names.is_time_name(name) and self._looks_like_times(name)]
        if any(not self._is_clock(name) for name in dated):
            return ()
        hours = self._hours(others)
        clock = names.role(others, names.CLOCK_NAMES)
        return (*found, *(hours or ((clock,) if clock is not None and self._is_clock(clock) else ())))

    def _hours(self, there: Sequence[str]) -> tuple[str, ...]:
        """Columns of hour and minute, and of second where there is one."""
        hour, minute, second = (
            names.role(there, usual) for usual in (names.HOUR_NAMES, names.MINUTE_NAMES, names.SECOND_NAMES)
        )
        if hour is None or minute is None or self._sampled(hour).clock != "hours" or not self._is_sixtieth(minute):
            return ()
        return (hour, minute, second) if second is not None and self._is_sixtieth(second) else (hour, minute)

    def _is_sixtieth(self, name: str) -> bool:
        """Whether a column holds whole numbers of 0 to 59."""
        cells = texts(self.first.columns[name].slice(0, SAMPLE_ROWS))
        return bool(pc.all(pc.match_substring_regex(cells, r"^(?:[0-5]?[0-9](?:\.0*)?)?$")).as_py())

    def _is_clock(self, name: str) -> bool:
        """Whether a column holds times of day."""
        sampled = self._sampled(name)
        without = sampled.shapes[Shape.NO_DATE] > MOSTLY * sampled.total
        return bool(without or sampled.clock or self._is_without_date(name))

    def _are_years(self, name: str) -> bool:
        return clocks.are_years(texts(self.first.columns[name].slice(0, SAMPLE_ROWS)))

    def _by_zone(self, column: str | None, candidates: Sequence[str]) -> str | None:
        """Of several columns of times the one whose zone is known, or that is in the timezone that is given.

        Args:
            column: the one with the most usual name, or None.
            candidates: all columns.
        """
        times = [name for name in candidates if names.is_time_name(name) and self._looks_like_times(name)]
        if len(times) < 2 or (column is not None and column not in times):
            return column
        zones = {name: header_zone(name) for name in times}
        given = self.mapping.timezone
        if given in (None, "UTC"):
            fit = [name for name, zone in zones.items() if zone is not None and zone.is_known]
        else:
            fit = [name for name, zone in zones.items() if zone is None or zone.may_be(str(given))]
        if column in fit or not fit:
            return column
        others = [name for name in times if name != fit[0]]
        self.notes.append(
            f"the time is column {shown(fit[0])}; {listed(others)} {'holds' if len(others) == 1 else 'hold'} times too"
        )
        return fit[0]

    def _looks_like_times(self, name: str) -> bool:
        if pa.types.is_timestamp(self.first.columns[name].type):
            return True
        evidence = self._sampled(name)
        unread = evidence.shapes[Shape.UNREADABLE] + evidence.numbers.get("", 0)
        return bool(evidence.total) and (bool(evidence.clock) or unread <= MOSTLY * evidence.total)

    def _with_date(self, column: str, there: Sequence[str]) -> tuple[str, ...]:
        """A column of times with the one of the date, or of the time of day, that it lacks."""
        evidence = self._sampled(column)
        if evidence.total and evidence.has_dates_only and not self._is_without_date(column):
            hours = self._hours([name for name in there if name != column and name not in self.mapping.ignore])
            if hours:
                return column, *hours
            clock = names.role([name for name in there if name != column], names.CLOCK_NAMES)
            sampled = None if clock is None else self._sampled(clock)
            if (
                clock is not None
                and sampled is not None
                and (sampled.shapes[Shape.NO_DATE] or sampled.clock or self._is_without_date(clock))
            ):
                return column, clock
        if evidence.shapes[Shape.NO_DATE] > MOSTLY * evidence.total or evidence.clock or self._is_without_date(column):
            date = names.role([name for name in there if name != column], names.DATE_NAMES)
            if date is not None and self._sampled(date).has_dates_only:
                return date, column
        return (column,)

    def _with_half(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Columns of the time with the one that says AM or PM, where there is one."""
        others = [name for name in self.table.columns if name not in columns and name not in self.mapping.ignore]
        half = next((name for name in others if self._is_half(name)), None)
        if half is None or self._is_half(columns[-1]):
            return columns
        place = -1 if len(columns) < 3 else 3 if self._are_years(columns[0]) else 1
        if place >= len(columns):  # a date alone
            return columns
        hour = columns[place]
        clock = self._sampled(hour)
        if clock.clock or self._is_without_date(hour):
            fits = clock.largest <= (12 if clock.clock == "hours" else 1259 if clock.clock == "hhmm" else 125_959)
        else:
            fits = clock.hours[1] <= HOURS_OF_A_HALF
        return (*columns, half) if fits else columns

    def _is_half(self, name: str) -> bool:
        return clocks.is_half(texts(self.first.columns[name].slice(0, SAMPLE_ROWS)))

    def _is_without_date(self, name: str) -> bool:
        return clocks.is_without_date(texts(self.first.columns[name].slice(0, SAMPLE_ROWS)))

    def _sampled(self, column: str) -> TimeEvidence:
        rules = replace(self.mapping.time_rules, time_format=None)
        evidence = TimeEvidence(column, rules)
        values = self.first.columns[column]
        evidence.see(values.slice(0, SAMPLE_ROWS), self.first.lines[:SAMPLE_ROWS])
        return evidence

    def _by_content(self, candidates: Sequence[str]) -> str:
        """The only column that holds dates, whatever its name."""
        found = []
        for name in candidates:
            kind = self.first.columns[name].type
            if pa.types.is_timestamp(kind):
                found.append(name)
            elif pa.types.is_string(kind):
                evidence = self._sampled(name)
                dated = evidence.shapes[[Shape.YEAR_FIRST, Shape.THREE_NUMBERS, Shape.NO_YEAR]].sum()
                if evidence.total and dated >= MOSTLY * evidence.total:
                    found.append(name)
        if len(found) != 1:
            said = (
                f"columns {listed(found)} all hold times"
                if found
                else f"none of the columns {listed(candidates)} looks like a time"
            )
            raise ImportRefusedError(f"{said}; give --time-column")
        self.notes.append(f"the time is column {shown(found[0])}, the only one that holds dates")
        return found[0]

    def _time_rules(self) -> TimeRules:
        remarks: Sequence[Sequence[str]] = getattr(self.table, "remarks", ())
        found = (*(header_zone(name) for name in self.roles.time), *map(stated_zone, remarks))
        rules = replace(self.mapping.time_rules, header=next((zone for zone in found if zone is not None), None))
        if rules.time_format and self.roles.has_half and "%p" not in rules.time_format:
            return replace(rules, time_format=f"{rules.time_format} %p")
        return rules

    # -- all of the file ----------------------------------------------------------------------------------------------

    def decided(self) -> Understanding:
        """All chunks seen, everything decided."""
        for chunk in self.table.chunks():
            self.rows += len(chunk) + len(chunk.refused)
            if len(chunk):
                self.time.see(joined_times(chunk, self.roles), chunk.lines)
                self._check_second_times(chunk)
                self._see_long(chunk) if self.roles.is_long else self._see_wide(chunk)
                self.overlooked.see({name: chunk.columns[name] for name in self._without_metric})
                for name in {*self.roles.status_of.values(), *filter(None, [self.roles.status])}:
                    self.overlooked.see_status(name, chunk.columns[name])
        self._check_footer()
        times = replace(self.time.decide(), length_ms=self._length_ms())
        self._check_hours()
        self._check_dates()
        self.notes += self.time.notes
        uses = self._uses()
        self._check_twice(uses)
        self._check_units(uses)
        self.overlooked.check_quality(uses)
        self.overlooked.check_events(uses)
        self._check_series(uses)
        self._hint_at_type()
        if not uses:
            self._nothing_left()
        self.notes += check_shares(uses, self._units_of_map(uses), self._cells_of(uses))
        good = tuple(one.lower() for one in self.mapping.good_status)
        if not good and (self.mapping.status_column is not None or self.roles.status_of):
            for name in filter(None, [self.roles.status, *self.roles.status_of.values()]):
                self.overlooked.check_status(name)
            good = GOOD_STATUS
        return Understanding(
            self.content, self.table, self.device, self.declared, self.roles, times, uses, self.left_out, self.refused,
            good or None, self.rows, self._left_out_values(), self.notes,
        )  # fmt: skip

    def _check_footer(self) -> None:
        """A line below the table may say in which zone the times are.

        Raises:
            ImportRefusedError: it does, and nothing else says it.
        """
        if self.time.unread is None or self.time.rules.header is not None or self.mapping.timezone is not None:
            return
        line, text = self.time.unread
        zone = stated_zone([text])
        if zone is not None and self.time.zoned < self.time.total - 1:
            advice = f"--timezone {zone.timezone}" if zone.timezone else "--timezone AREA/CITY"
            raise ImportRefusedError(
                f"line {line} says {shown(text)}, and nothing else says of which zone the times are; give {advice}"
            )

    def _length_ms(self) -> int:
        """Milliseconds of the hours that times are the end of, 0 where they are none."""
        if isinstance(self.table, UnfoldedTable) and self.roles.time[-1] == TIME_OF_DAY:
            return self.table.hours.length * MINUTE
        if self._numbered_hours is None:
            return 0
        return HOUR if is_hour_ending(self._numbered_hours) or self.mapping.hours == ENDING else 0

    @cached_property
    def _numbered_hours(self) -> str | None:
        """The column beside the date that has the number of the hour; None where there is none."""
        roles = self.roles
        if roles.has_half or len(roles.time) - roles.of_date != roles.of_clock:
            return None
        apart = roles.time[roles.of_date]
        are_hours = roles.clock == "hours" or roles.of_clock > 1
        return apart if is_hour_ending(apart) or are_hours else None

    def _check_hours(self) -> None:
        """Hours of 1 to 24 may be called by their ends or be counted from 1.

        Raises:
            ImportRefusedError: nothing says which.
        """
        name = self._numbered_hours
        if name is None or is_hour_ending(name) or self.mapping.hours is not None or self.time.hours[1] < LAST_HOUR:
            return
        raise ImportRefusedError(
            f"hours in column {shown(name)} go from {self.time.hours[0]} to {LAST_HOUR}, and nothing says whether a value "
            f"is of the beginning or of the end of its hour; give hours: {ENDING} or hours: {BEGINNING} in the map"
        )

    def _check_second_times(self, chunk: Chunk) -> None:
        """A second column of the same name with other times is that of the values behind it."""
        name = self.roles.time[0]
        if self.mapping.time_column is not None or len(self.roles.time) > 1:
            return
        for again in self.table.columns:
            if again in self.mapping.ignore or not re.fullmatch(re.escape(name) + r" \(\d+\)", again):
                continue
            first, second = texts(chunk.columns[name]), texts(chunk.columns[again])
            differ = np.flatnonzero(np.asarray(pc.and_(pc.not_equal(first, second), pc.not_equal(second, ""))))
            if len(differ):
                row = int(differ[0])
                raise ImportRefusedError(
                    f"columns {shown(name)} and {shown(again)} hold different times, in line {chunk.lines[row]} "
                    f"{shown(first[row])} and {shown(second[row])}, so columns of values have times of their own; import "
                    f"the file once for each, with time_column: {shown(again)} and columns: {{COLUMN: METRIC}} in the map, "
                    f"or say that one counts for all, ignore: [{shown(again)}]"
                )

    def _units_of_map(self, uses: Mapping[str, Use]) -> set[str]:
        """Columns whose unit the map says."""
        meanings = {name: self.mapping.meaning(name) for name in uses}
        said = {name for name, meaning in meanings.items() if meaning is not None and meaning.unit}
        if self.mapping.unit or any(one.unit for one in self.mapping.files.values()):
            return set(uses)
        return said | {name for name, use in uses.items() if {name, use.metric} & set(self.mapping.units)}

    def _check_units(self, uses: Mapping[str, Use]) -> None:
        """Units that the map gives are of columns, or of their metrics."""
        known = {*self.table.columns, *self.counts, *(use.metric for use in uses.values())}
        strange = [name for name in self.mapping.units if name not in known]
        if strange and self._alone:
            raise ImportRefusedError(
                f"the map gives units of {listed(strange)}, which the file has neither as columns nor as metrics"
            )
        self.notes += [f"the map gives a unit of {shown(name)}, which the file lacks" for name in strange]

    def _cells_of(self, uses: Mapping[str, Use]) -> Iterator[dict[str, tuple[pa.Array, list[str] | None]]]:
        """Cells, and units of their rows, by column or by name in the column of metrics, chunk by chunk."""
        for chunk in self.table.chunks():
            units = texts(chunk.columns[self.roles.unit]) if self.roles.unit is not None else None
            if not self.roles.is_long:
                of_rows = None if units is None else units.to_pylist()
                yield {name: (chunk.columns[name], of_rows) for name in uses}
                continue
            values = chunk.columns[str(self.roles.value)]
            rows = by_text(texts(chunk.columns[str(self.roles.metric)])) if len(chunk) else ()
            places = {name: pa.array(of_name) for name, of_name in rows if name in uses}
            yield {
                name: (values.take(place), None if units is None else units.take(place).to_pylist())
                for name, place in places.items()
            }

    def _hint_at_type(self) -> None:
        """A type that is not known may be one that is, misspelled."""
        if self.declared is None:
            near = difflib.get_close_matches(self.device.device_type, list(device_types()), 1, 0.75)
            known = f", perhaps {near[0]}" if near else ""
            self.notes.append(
                f"device type {shown(self.device.device_type)} is not known{known}: all numbers are taken as they are"
            )

    def _check_series(self, uses: Mapping[str, Use]) -> None:
        """Rows of one time that a column without a role tells apart would be one series."""
        if self.roles.is_long:
            return
        telling = self.overlooked.telling(uses)
        if not telling:
            return
        device = self.roles.device

        def rows() -> Iterator[tuple[list[str], dict[str, list[str]]]]:
            for chunk in self.table.chunks():
                times = texts(joined_times(chunk, self.roles))
                if device is not None:
                    times = pc.binary_join_element_wise(times, texts(chunk.columns[device]), "\t")
                yield times.to_pylist(), {name: texts(chunk.columns[name]).to_pylist() for name in telling}

        check_series(rows(), next(iter(uses)) if len(uses) == 1 else None, device is not None)

    def _check_dates(self) -> None:
        """Rows of one date and no time of day would all be of one instant."""
        hours = hour_columns(self._candidates(), self.mapping.hours) if self.time.has_dates_only else None
        if hours is not None and hours.asks and not self.mapping.columns:
            raise ImportRefusedError(asked(hours))
        if self.time.has_dates_only and self._different_rows() < ONE_A_DATE * self.time.total:
            of_one = " of one device" if self.roles.device is not None else ""
            of_one += " and metric" if of_one and self.roles.is_long else " of one metric" if self.roles.is_long else ""
            raise ImportRefusedError(
                f"column {shown(self.time.column)} has dates without a time of day, and several rows of one "
                f"date{of_one}; name the column of the time of day too: time_column: [DATE, TIME] in the map"
                f"{self._or_words()}"
            )

    def _or_words(self) -> str:
        """Advice where words of another column, such as min and max, may tell rows of one date apart."""
        found = [name for name, words in self.overlooked.words.items() if words and 1 < len(words) <= MOST_WORDS]
        if not found:
            return ""
        words = sorted(self.overlooked.words[found[0]] or ())
        return f"; where {shown(found[0])} tells them apart ({listed(words[:4])}), import the rows of one of them alone"

    def _different_rows(self) -> int:
        """Number of the rows that differ in their time, device or metric."""
        telling = (*self.roles.time, *filter(None, [self.roles.device, self.roles.metric]))
        found: set[str] = set()
        for chunk in self.table.chunks():
            cells = [texts(chunk.columns[name]) for name in telling]
            found.update(pc.unique(pc.binary_join_element_wise(*cells, "\t")).to_pylist())
        return len(found)

    def _left_out_values(self) -> int:
        if self.roles.is_long:
            return sum(self.counts.get(name, 0) for name in self.left_out)
        return sum(one.filled + one.errors for name, one in self.evidence.items() if name in self.left_out)

    def _see_wide(self, chunk: Chunk) -> None:
        for name in self._candidates():
            self.evidence.setdefault(name, ColumnEvidence()).see(chunk.columns[name])

    def _candidates(self) -> list[str]:
        return [name for name in self.table.columns if name not in self.roles.all and name not in self.mapping.ignore]

    @cached_property
    def _without_metric(self) -> list[str]:
        """Columns without a role that are no metric by their names."""
        return [name for name in self._candidates() if self.declared is None or self._match(name)[0] is None]

    def _see_long(self, chunk: Chunk) -> None:
        for name, rows in by_text(texts(chunk.columns[str(self.roles.metric)])):
            self.counts[name] = self.counts.get(name, 0) + len(rows)
            if len(self.counts) > MOST_NAMES:
                raise ImportRefusedError(f"column {shown(self.roles.metric)} names over {MOST_NAMES} metrics")
            if not name or self._match(name)[0] is None:
                continue
            place = pa.array(rows)
            self.evidence.setdefault(name, ColumnEvidence()).see(chunk.columns[str(self.roles.value)].take(place))
            if self.roles.unit is not None:
                units = self.units.setdefault(name, {})
                filled = pc.not_equal(texts(chunk.columns[str(self.roles.value)].take(place)), "")
                for one in pc.value_counts(
                    texts(chunk.columns[self.roles.unit].take(place)).filter(filled)
                ).to_pylist():
                    units[one["values"]] = units.get(one["values"], 0) + one["counts"]

    # -- decisions ----------------------------------------------------------------------------------------------------

    def _match(self, name: str) -> tuple[ColumnMeaning | None, str, str]:
        """What a column stands for, the unit in its name, and how that was found; None for what is left out."""
        mapping = self.mapping
        bare_name, labels = names.split_labels(self._as_written(name))
        found = names.match_column(bare_name, self.declared)
        if name in mapping.ignore:
            return None, "", "ignored, as the map says"
        meaning = mapping.meaning(name)
        if meaning is not None:
            metric = meaning.metric or mapping.metric or found.metric
            unit = found.unit or names.split_header(name)[1]
            return (
                (replace(meaning, metric=metric), unit, names.BY_MAP)
                if metric
                else (None, "", "the map gives no metric")
            )
        # In a long file the map may name some metrics only: others that the type declares need no map.
        if mapping.columns and not (self.roles.is_long and self.declared is not None and found.metric is not None):
            return None, "", "not in the map"
        if mapping.columns_are == DEVICES:
            bare, unit = names.split_header(name)
            return ColumnMeaning(mapping.metric, mapping.unit, bare), unit, names.BY_MAP
        if found.metric is None:
            return None, found.unit, f"no metric of {self.declared.name if self.declared else 'any type'}"
        device = next((labels[label] for label in names.LABELS_OF_DEVICES if label in labels), None)
        return ColumnMeaning(found.metric, device=device), found.unit, found.by

    def _as_written(self, name: str) -> str:
        """A column's name without the number that tells it from another one of the same name."""
        bare = re.sub(r" \(\d+\)$", "", name)
        return bare if bare in self.table.columns else name

    def _uses(self) -> dict[str, Use]:
        if (
            self._missing
            and not self.roles.is_long
            and (self._alone or len(self._missing) == len(self.mapping.columns))
        ):
            raise ImportRefusedError(f"the map names columns that the file lacks: {', '.join(self._missing)}")
        if self.roles.is_long:
            missing = [
                name for name in self.mapping.columns if squeezed(name) not in {squeezed(n) for n in self.counts}
            ]
            if missing:
                self.notes.append(f"the map names metrics that the file lacks: {listed(missing)}")
        found = list(self.counts) if self.roles.is_long else self._candidates()
        matched = [(name, *self._match(name)) for name in found if name]
        if isinstance(self.table, UnfoldedTable) and not self.roles.is_long and not self.mapping.columns:
            matched = [(name, None, "", "a value a day" if name != VALUE else "") for name, *_ in matched]
        if not self.roles.is_long and not any(meaning for _, meaning, _, _ in matched):
            matched = self._single_value(matched)
        of_file = ColumnEvidence(
            comma=sum(one.comma for one in self.evidence.values()),
            point=sum(one.point for one in self.evidence.values()),
        )
        uses: dict[str, Use] = {}
        for name, meaning, unit, by in matched:
            if meaning is None or meaning.metric is None:
                self._leave_out(name, by)
                continue
            use = self._use(name, meaning, unit, by, of_file)
            if use is not None:
                uses[name] = use
        return uses

    def _leave_out(self, name: str, why: str) -> None:
        written = names.without_remarks(name)
        unknown = names.bracketed(written)
        bare = re.sub(r"\s*[(\[{].*$", "", written)
        known = (
            bool(unknown) and self.declared is not None and names.match_column(bare, self.declared).metric is not None
        )
        if known and not self.mapping.columns and name not in self.mapping.ignore:
            filled = self.evidence[name].filled if name in self.evidence else self.counts.get(name, 0)
            reason = (
                f"unit {shown(unknown)} of the header is not known; give it in the map: units: {{{shown(name)}: UNIT}}"
            )
            if "not in UTF-8" in self.table.description:
                reason += "; or give --encoding, where cp1252 is not the right one"
            self.refused.append(Refusal(0, name, unknown, reason, max(1, filled)))
            return
        nearest = names.nearest(name, self.declared) if not self.mapping.columns else None
        self.left_out[name] = why + (f"; perhaps {nearest}" if nearest else "")

    def _single_value(self, matched: list[Any]) -> list[Any]:
        """The one column of values, whose metric the map or the name of the file says."""
        values = [name for name, *_ in matched if names.slug(names.split_header(name)[0]) in names.VALUE_NAMES]
        if (wanted := self._given(self.mapping.value_column)) is not None:
            values = [wanted]
        if len(values) != 1 or self.mapping.columns:
            return matched
        files = (self.content.name, self.content.path.name, self.content.stem)
        meaning = next((one for name, one in self.mapping.files.items() if name in files), None)
        if meaning is None and self.mapping.metric is not None:
            meaning = ColumnMeaning(self.mapping.metric, self.mapping.unit)
        by = names.BY_MAP
        if meaning is None and self.declared is not None:
            stem = names.match_column(self.content.stem, self.declared)
            meaning, by = (
                (ColumnMeaning(stem.metric, stem.unit or None), "name of the file") if stem.metric else (None, "")
            )
        if meaning is None:
            raise ImportRefusedError(
                f"column {shown(values[0])} does not say which metric it holds; give it in the map: "
                f"columns: {{{shown(values[0])}: METRIC}}, or metric: METRIC, or, of several files, "
                f"files: {{{self.content.path.name}: METRIC}}{self._telling_columns(values[0])}"
            )
        unit = names.split_header(values[0])[1] or self._unit_beside()
        return [(name, meaning, unit, by) if name == values[0] else (name, *rest) for name, *rest in matched]

    def _unit_beside(self) -> str:
        """The unit that a column of units gives the one value of each row; empty where there is none.

        Raises:
            ImportRefusedError: it gives several.
        """
        column = names.role(self._candidates(), names.UNIT_NAMES)
        units = sorted((self.overlooked.words.get(column or "") or set()) - {""})
        if len(units) > 1:
            raise ImportRefusedError(
                f"column {shown(column)} gives the values of one metric the units {listed(units)}; part the file by them"
            )
        return units[0] if units else ""

    def _telling_columns(self, value: str) -> str:
        """Advice where a column of words may name the metrics."""
        telling = self.overlooked.telling([value])
        if not telling:
            return ""
        return (
            f"; or, where column {shown(telling[0])} names the metrics, metric_column: {shown(telling[0])} and "
            f"value_column: {shown(value)}"
        )

    def _use(self, name: str, meaning: ColumnMeaning, inside: str, by: str, of_file: ColumnEvidence) -> Use | None:
        """What becomes of a column; None where it is left out or refused, which is then noted."""
        metric, mapping = str(meaning.metric), self.mapping
        declared = self.declared is not None and metric in self.declared.metric_names
        said = self._unit_of_map(name, metric)
        given = said or meaning.unit or self.table.units.get(name) or inside
        if not given and (above := self._unit_above(metric)):
            given = above
        if self.roles.is_long and self.roles.value is not None:
            given = given or names.split_header(self.roles.value)[1]
        point = self.declared.point(metric) if self.declared is not None and declared else None
        meant = Meant(
            name, metric, point, meaning.device, given, by, mapping.states_of(name), mapping.decimal,
            {} if said else self.units.get(name, {}),
        )  # fmt: skip
        evidence = self.evidence.get(name, ColumnEvidence())
        if inside and point is not None and not (said or meaning.unit):
            self._check_header_unit(name, inside, point, evidence)
        use = use_of(meant, evidence, of_file, getattr(self.table, "separator", ""))
        if isinstance(use, str):
            self.left_out[name] = use
        elif isinstance(use, Refusal):
            if given and given in (said, meaning.unit) and parse_unit(given) is None and declared:
                raise ImportRefusedError(f"the map gives column {shown(name)} a unit that is not known, {shown(given)}")
            self.refused.append(use)
        else:
            return replace(use, over_rows=bool(said))
        return None

    def _unit_of_map(self, name: str, metric: str) -> str:
        """The unit that the map gives a column, by its name, or by its metric where no column is called so.

        Raises:
            ImportRefusedError: it gives two.
        """
        units, there = self.mapping.units, {*self.table.columns, *self.counts}
        of_metric = units.get(metric, "") if metric != name and metric not in there else ""
        of_name = units.get(name, "")
        if of_name and of_metric and of_name != of_metric:
            raise ImportRefusedError(
                f"the map gives {shown(name)} the unit {shown(of_name)}, and its metric {metric} {shown(of_metric)}; leave "
                "one of them out"
            )
        return of_name or of_metric

    def _unit_above(self, metric: str) -> str:
        """The unit that a line above the header gives of a table with one metric; empty where there is none.

        Raises:
            ImportRefusedError: there are several metrics that it may be of.
        """
        remarks: Sequence[Sequence[str]] = getattr(self.table, "remarks", ())
        unit = next((found for cells in remarks if (found := names.stated_unit(cells))), "")
        if not unit or self.declared is None or metric not in self.declared.metric_names:
            return ""
        try:
            if self.declared.point(metric).conversion(unit).changes_nothing:
                return ""
        except UnitError:
            return ""
        matched = [self._match(name) for name in (self.counts if self.roles.is_long else self._candidates())]
        if len({meaning.metric for meaning, *_ in matched if meaning is not None}) == 1:
            return unit
        raise ImportRefusedError(
            f"a line above the header says {shown(unit)}, and nothing says of which columns; give it in the map, units: "
            f"{{{metric}: {shown(unit)}}}, or the unit that {metric} has"
        )

    def _check_header_unit(self, name: str, unit: str, point: Point, evidence: ColumnEvidence) -> None:
        """The unit of a header and that of its cells are one.

        Raises:
            ImportRefusedError: they differ.
        """
        for other, count in evidence.units.items():
            try:
                differ = other and point.conversion(other) != point.conversion(unit)
            except UnitError:
                continue  # told when the column is used
            if differ and 2 * count > evidence.filled:
                raise ImportRefusedError(
                    f"column {shown(name)} has {unit} in its header and {other} in {count} of its cells; where the cells "
                    f"are right, give units: {{{shown(name)}: {shown(other)}}} in the map; where the header is right, take "
                    "the unit out of the cells"
                )

    def _check_twice(self, uses: Mapping[str, Use]) -> None:
        seen: dict[tuple[str | None, str], str] = {}
        for name, use in uses.items():
            other = seen.setdefault((use.device, use.metric), name)
            if other != name:
                what = (
                    f"metrics {shown(other)} and {shown(name)}"
                    if self.roles.is_long
                    else f"columns {shown(other)} and {shown(name)}"
                )
                raise ImportRefusedError(
                    f"{what} are both {use.metric}; leave one out, ignore: [{shown(name)}] in the map, or say with columns "
                    "which is which"
                )

    def _nothing_left(self) -> None:
        if self.refused:
            told = "; ".join(f"column {shown(one.column)}: {one.reason}" for one in self.refused[:4])
            raise ImportRefusedError(f"no column is left to import: {told}")
        empty = [name for name, why in self.left_out.items() if why == "empty"]
        if empty:
            why = "".join(f"; {note}" for note in getattr(self.table, "notes", ()))
            raise ImportRefusedError(f"there are no values: column {listed(empty)} is empty{why}")
        expected = ", ".join(self.declared.metric_names) if self.declared else "numeric columns"
        what = "metric name" if self.roles.is_long else "column"
        found = [n for n in self.counts if n] if self.roles.is_long else self._candidates()
        hints = [f"{shown(n)}: {p}" for n in found[:20] if (p := names.nearest(n, self.declared))]
        perhaps = f" Perhaps {{{', '.join(hints[:3])}}}." if hints else ""
        more = ""
        if not self.roles.is_long:
            more = "; where each column is a device, give columns_are: devices and metric: METRIC in the map"
            more += self._telling_columns(next((n for n, one in self.evidence.items() if one.numbers), "VALUE"))
        raise ImportRefusedError(
            f"no {what} matches a metric ({expected}); there are {listed(found)}.{perhaps} "
            f"Give --map to say which column is which: columns: {{COLUMN: METRIC}}{more}"
        )


def by_text(values: pa.Array) -> Iterator[tuple[str, Any]]:
    """Each different text with the rows, int64 [k], that hold it, in the order of their first ones."""
    encoded = values.dictionary_encode()
    codes = np.asarray(encoded.indices)
    words = encoded.dictionary.to_pylist()
    if len(words) == 1:
        yield words[0], np.arange(len(codes))
        return
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(words)))
    for i, word in enumerate(words):
        yield word, order[ends[i - 1] if i else 0 : ends[i]]
