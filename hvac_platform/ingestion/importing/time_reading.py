"""Times of rows as instants, in the one format that was found for the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

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
    full_years,
    layout_of_format,
    take_apart,
    texts_of,
    typed_instants,
)
from hvac_platform.ingestion.importing.numeric_times import instants_of
from hvac_platform.ingestion.importing.times import ORDERS, TimeFormat
from hvac_platform.ingestion.importing.zones import zone_names
from hvac_platform.ingestion.messages import EARLIEST_MS, MAX_AHEAD_MS

LONGEST_HOUR = 2 * HOUR
"""Times that are nearer follow each other within the hour that clocks repeat."""

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
    "the end of an hour that clocks leave out",
)


class TimeReader:
    """Reads the times of a file in the one format, chunk by chunk and in order."""

    def __init__(self, form: TimeFormat, now_ms: int, *, goes_on: bool = False) -> None:
        """Nothing is read yet.

        Args:
            form: the format.
            now_ms: now.
            goes_on: whether another file of the device has the first pass of the repeated hour that this one begins in.
        """
        self.form, self.now_ms, self.goes_on = form, now_ms, goes_on
        self.pattern = layout_of_format(form.rules.time_format) if form.rules.time_format else None
        self.repeated = 0
        self.seen_twice = False
        self._passes: dict[Any, tuple[int, bool]] = {}

    def read(self, values: pa.Array, groups: Callable[[], Sequence[Any]]) -> tuple[Int64, NDArray[np.int8]]:
        """Epoch milliseconds, int64 [n], and the reason why a row has none, int8 [n], an index into REASONS.

        Args:
            values: the column's rows.
            groups: gives what rows belong together (a device, a metric), to tell the two passes of a repeated hour apart.
        """
        form = self.form
        if form.typed:
            times, naive = typed_instants(values)
            problem = np.where(np.asarray(pc.is_valid(values)), 0, 1).astype(np.int8)
        else:
            parts = take_apart(texts_of(values), self.pattern, form.rules.year)
            times, naive, problem = self._assembled(parts)
        if form.rules.ahead is not None:
            times = np.where(naive, times - form.rules.ahead * 60_000, times)
        elif form.rules.timezone not in (None, "UTC") and (local := naive & (problem == 0)).any():
            times = times.copy()
            # An hour is there or not by its beginning: the end of one before a gap is none of the clock.
            begins = times[local] - form.length_ms
            found, missing = self._localised(begins, np.flatnonzero(local), groups)
            times[local] = found + form.length_ms
            problem[np.flatnonzero(local)[missing]] = 8 if form.length_ms else 6
        problem[(problem == 0) & (times < EARLIEST_MS)] = 4
        problem[(problem == 0) & (times > self.now_ms + MAX_AHEAD_MS)] = 5
        return times, problem

    def _assembled(self, parts: Parts) -> tuple[Int64, Bools, NDArray[np.int8]]:
        form = self.form
        problem = np.where(parts.shape == form.shape, 0, np.where(parts.shape == Shape.EMPTY, 1, 2)).astype(np.int8)
        if form.number:
            times, good = instants_of(parts.number, form.number)
            problem[(problem == 0) & ~good] = 2
            return times, np.full(len(times), not form.number.startswith("epoch")), problem
        columns = {"a": parts.a, "b": parts.b, "c": parts.c}
        if form.shape == Shape.NO_YEAR:
            columns = {"a": parts.a, "b": parts.b, "c": np.full_like(parts.a, form.rules.year or 0)}
        order = "abc" if self.pattern is not None or not form.order else ORDERS[form.order]
        year, month, day = (columns[part] for part in order)
        found, good = days(full_years(year, parts.short_year), month, day)
        problem[(problem == 0) & ~(good & (parts.of_day >= 0))] = 3
        times = found * DAY + parts.of_day
        zone = parts.zone
        if form.rules.timezone in parts.names:  # a time that says so is a local one
            zone = np.where(zone == -NAIVE - parts.names.index(form.rules.timezone), NAIVE, zone)
        naive = zone == NAIVE
        ahead = np.where(naive, 0, zone)
        named = zone <= -NAIVE
        if named.any():
            known = zone_names(form.rules.timezone, form.rules.zones)
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

    @property
    def note(self) -> str:
        """What to tell of the hour that clocks repeat; empty where no time is of it."""
        if not self.repeated:
            return ""
        told = f"{self.repeated} times are of the hour that clocks repeat: "
        if self.seen_twice:
            return told + "their order says which pass"
        if self.goes_on:
            return told + "the file before has the first pass, so this is the second one"
        return told + f"it is there once, and is taken as the {'second' if self.form.newest_first else 'first'} pass"

    def _is_first(self, group: Any, local: int) -> bool:
        """Whether a time of a repeated hour is of its first pass: times that go back begin the second one."""
        backwards = self.form.newest_first
        last, first = self._passes.get(group, (None, not backwards))
        if last is None:
            first = not backwards and not self.goes_on
        elif abs(local - last) > LONGEST_HOUR:
            first = not backwards
        elif ((local < last) != backwards and local != last) or (local == last and self.form.hourly):
            first = backwards
            self.seen_twice = True
        self._passes[group] = (local, first)
        return first
