"""From the chunks of an understood file to readings, device by device; what is refused is counted and told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.devices.units import Conversion
from hvac_platform.ingestion.importing import cells
from hvac_platform.ingestion.importing.formats import Chunk
from hvac_platform.ingestion.importing.formats.hours import VALUE
from hvac_platform.ingestion.importing.outside import Outside
from hvac_platform.ingestion.importing.overlooked import is_good_status
from hvac_platform.ingestion.importing.refusing import Refusal, Refusals, shown
from hvac_platform.ingestion.importing.time_reading import REASONS, TimeReader
from hvac_platform.ingestion.importing.understanding import (
    Understanding,
    by_text,
    joined_times,
    texts,
)
from hvac_platform.ingestion.importing.uses import Use, conversions_of
from hvac_platform.ingestion.messages import name_problem
from hvac_platform.timestamps import now_ms

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Readings:
    """Readings of one device, in order of time.

    Attributes:
        device: the device.
        times_ms: int64 [t], epoch milliseconds UTC.
        metrics: m names.
        units: m units.
        values: float64 [t, m]; NaN where there is none.
    """

    device: FleetDevice
    times_ms: Int64
    metrics: Sequence[str]
    units: Sequence[str]
    values: Float64

    @property
    def count(self) -> int:
        """Number of readings."""
        return int(np.isfinite(self.values).sum())


def joined(
    sources: Sequence[Iterator[Readings]], conflicts: Counter[tuple[int, int]] | None = None
) -> Iterator[Readings]:
    """Readings of several files by time: those of one device as if they stood in one file.

    Each file is read as far as the others have come, so memory is a chunk of each.

    Args:
        sources: the files.
        conflicts: by two places in them, the first one before the second, becomes how many readings of one device, metric
            and time have another value in the second, which then counts; or None.
    """
    conflicts = Counter() if conflicts is None else conflicts
    waiting: list[list[Readings]] = [[] for _ in sources]
    open_ones = set(range(len(sources)))
    while open_ones or any(waiting):
        for i in sorted(open_ones):
            if not waiting[i]:
                found = next(sources[i], None)
                if found is None:
                    open_ones.discard(i)
                else:
                    waiting[i].append(found)
        until = min((int(waiting[i][-1].times_ms[-1]) for i in open_ones), default=None)
        due: dict[FleetDevice, list[tuple[int, Readings]]] = {}
        for i, some in enumerate(waiting):
            waiting[i] = []
            for one in some:
                end = len(one.times_ms) if until is None else int(np.searchsorted(one.times_ms, until, side="right"))
                if end:
                    due.setdefault(one.device, []).append((i, _part(one, 0, end)))
                if end < len(one.times_ms):
                    waiting[i].append(_part(one, end, len(one.times_ms)))
        for device, found_parts in due.items():
            parts = [part for _, part in found_parts]
            for (i, first), (j, second) in combinations(found_parts, 2):
                if i != j and (count := _contradicting(first, second)):
                    conflicts[i, j] += count
            yield parts[0] if len(parts) == 1 else _beside(device, parts)


def _contradicting(first: Readings, second: Readings) -> int:
    """How many readings of the same metric and time two have with different values."""
    times, here, there = np.intersect1d(first.times_ms, second.times_ms, return_indices=True)
    if not len(times):
        return 0
    count = 0
    for i, metric in enumerate(first.metrics):
        for j in [j for j, other in enumerate(second.metrics) if other == metric]:
            ours, theirs = first.values[here, i], second.values[there, j]
            count += int((np.isfinite(ours) & np.isfinite(theirs) & (ours != theirs)).sum())
    return count


def _part(of: Readings, start: int, end: int) -> Readings:
    return replace(of, times_ms=of.times_ms[start:end], values=of.values[start:end])


def _beside(device: FleetDevice, parts: Sequence[Readings]) -> Readings:
    """Readings of one device from several files, rows of the same time as one row; a time that a file has twice stays so."""
    rows = []
    for part in parts:
        _, first, count = np.unique(part.times_ms, return_index=True, return_counts=True)
        rows.append(np.arange(len(part.times_ms)) - np.repeat(first, count))
    keys = [np.stack([part.times_ms, nth], axis=1) for part, nth in zip(parts, rows, strict=True)]
    union, place = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
    values = np.full((len(union), sum(len(part.metrics) for part in parts)), np.nan)
    row = column = 0
    for part in parts:
        here = place.reshape(-1)[row : row + len(part.times_ms)]
        values[here, column : column + len(part.metrics)] = part.values
        row, column = row + len(part.times_ms), column + len(part.metrics)
    metrics = [name for part in parts for name in part.metrics]
    units = [unit for part in parts for unit in part.units]
    return Readings(device, union[:, 0], metrics, units, values)


@dataclass
class Jumps:
    """Times that go back and forth, which an export does not do by itself."""

    forwards: int = 0
    backwards: int = 0
    first_forwards: int = 0
    first_backwards: int = 0
    _last: dict[Any, int] = field(default_factory=dict)

    def see(self, group: Any, times: Int64, lines: Int64) -> None:
        """Times of a device (and metric), in the order of the file."""
        if not len(times):
            return
        steps = np.diff(times, prepend=self._last.get(group, times[0]))
        self._last[group] = int(times[-1])
        back, forth = np.flatnonzero(steps < 0), np.flatnonzero(steps > 0)
        self.forwards, self.backwards = self.forwards + len(forth), self.backwards + len(back)
        if len(back) and not self.first_backwards:
            self.first_backwards = int(lines[back[0]])
        if len(forth) and not self.first_forwards:
            self.first_forwards = int(lines[forth[0]])

    @property
    def note(self) -> str:
        """What to tell; empty where times go one way."""
        if not self.forwards or not self.backwards:
            return ""
        if self.backwards <= self.forwards:
            return f"times jump back {self.backwards} times, first in line {self.first_backwards}"
        return f"times run backwards and jump forward {self.forwards} times, first in line {self.first_forwards}"


@dataclass
class Overlaps:
    """Times of a series that a later part of a file goes back to.

    Attributes:
        spans: by device and metric, the first and the last of its times so far.
        common: those between which it was gone back.
    """

    spans: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    common: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)

    def see(self, of: Readings) -> None:
        """A part more."""
        for metric, values in zip(of.metrics, of.values.T, strict=True):
            filled = np.flatnonzero(np.isfinite(values))
            if not len(filled):
                continue
            series = of.device.device_id, metric
            first, last = int(of.times_ms[filled[0]]), int(of.times_ms[filled[-1]])
            low, high = self.spans.get(series, (first, last))
            if series in self.spans and first <= high and last >= low:
                start, end = self.common.get(series, (last, first))
                self.common[series] = min(start, max(first, low)), max(end, min(last, high))
            self.spans[series] = min(low, first), max(high, last)

    def replaced(self, parts: Iterator[Readings]) -> int:
        """How many readings of a part have another value in a later part.

        Args:
            parts: all of them once more. What is between the common times of a series is kept until they are through.
        """
        kept: dict[tuple[str, str], list[tuple[Int64, Float64]]] = {}
        for of in parts:
            for metric, values in zip(of.metrics, of.values.T, strict=True):
                series = of.device.device_id, metric
                if series not in self.common:
                    continue
                start, end = self.common[series]
                mine = np.isfinite(values) & (of.times_ms >= start) & (of.times_ms <= end)
                times, found = of.times_ms[mine], values[mine]
                is_last = np.append(times[1:] != times[:-1], True)[: len(times)]
                kept.setdefault(series, []).append((times[is_last], found[is_last]))
        return sum(
            _replaced(np.concatenate([times for times, _ in some]), np.concatenate([values for _, values in some]))
            for some in kept.values()
        )


class Reading:
    """The second pass over a file."""

    def __init__(self, understood: Understanding, refusals: Refusals, *, goes_on: bool = False) -> None:
        """Nothing is read yet.

        Args:
            understood: how the file is read.
            refusals: what is told of what is refused.
            goes_on: whether it begins in the second pass of an hour that clocks repeat, where another file has the first.
        """
        self.of, self.refusals = understood, refusals
        self.times = TimeReader(understood.times, now_ms(), goes_on=goes_on)
        self.jumps = Jumps()
        self.rows = 0
        self.done = 0
        self.empty = 0
        self.left_out: dict[str, int] = {}
        self.seen: dict[str, int] = {}
        self.values: dict[str, int] = {}
        self.twice = 0
        self._goes_on = goes_on
        self.outside = {
            name: Outside(understood.declared.point(use.metric), name, bool(use.given or use.cell_units))
            for name, use in understood.uses.items()
            if understood.declared is not None and use.declared
        }
        self._conversions = {name: conversions_of(use, understood.declared) for name, use in understood.uses.items()}
        for refusal in understood.refused:
            refusals.add(refusal)

    def readings(self) -> Iterator[Readings]:
        """Readings of each chunk and device; a file that goes back in time is then read once more to compare them."""
        overlaps = Overlaps()
        for readings in self._parts():
            overlaps.see(readings)
            yield readings
        if overlaps.common:
            again = Reading(self.of, Refusals(), goes_on=self._goes_on)
            self.twice += overlaps.replaced(again._parts())

    def _parts(self) -> Iterator[Readings]:
        for chunk in self.of.table.chunks():
            self.rows += len(chunk) + len(chunk.refused)
            self.done = chunk.done
            for refusal in chunk.refused:
                self.refusals.add(refusal)
            if len(chunk):
                yield from self._of_chunk(chunk)

    def _of_chunk(self, chunk: Chunk) -> Iterator[Readings]:
        roles = self.of.roles
        device = texts(chunk.columns[roles.device]) if roles.device is not None else None
        written = joined_times(chunk, roles)
        times, problem = self.times.read(written, lambda: self._groups(chunk, device))
        good = problem == 0
        for i in np.flatnonzero(~good).tolist():
            self._refuse(chunk, i, self.of.times.column, written[i].as_py(), REASONS[problem[i]])
        if roles.status is not None:
            fine = is_good_status(texts(chunk.columns[roles.status]), self.of.good_status)
            for i in np.flatnonzero(good & ~fine).tolist():
                self._refuse(chunk, i, roles.status, chunk.columns[roles.status][i].as_py(), "its status is not good")
            good &= fine
        if device is None:
            yield from self._of_rows(chunk, np.flatnonzero(good), times, self.of.device)
            return
        for name, rows in by_text(device):
            rows = rows[good[rows]]
            reason = name_problem(name)
            if reason is not None:
                for i in rows.tolist():
                    self._refuse(chunk, i, str(roles.device), name, f"the device {reason}")
                continue
            self.seen.setdefault(name, 0)
            yield from self._of_rows(chunk, rows, times, replace(self.of.device, device_id=name))

    def _groups(self, chunk: Chunk, device: pa.Array | None) -> list[Any]:
        """What tells rows of one series from those of another."""
        columns = [] if device is None else [device.to_pylist()]
        if self.of.roles.is_long:
            columns.append(texts(chunk.columns[str(self.of.roles.metric)]).to_pylist())
        return list(zip(*columns, strict=True)) if columns else [()] * len(chunk)

    def _of_rows(self, chunk: Chunk, rows: Int64, times: Int64, device: FleetDevice) -> Iterator[Readings]:
        if not len(rows):
            return
        if any(use.device is None for use in self.of.uses.values()):
            self.seen.setdefault(device.device_id, 0)
        if self.of.roles.is_long:
            yield from self._long(chunk, rows, times, device)
            return
        self.jumps.see(device.device_id, times[rows], chunk.lines[rows])
        order = rows[np.argsort(times[rows], kind="stable")]
        by_device: dict[str | None, list[Use]] = {}
        for use in self.of.uses.values():
            by_device.setdefault(use.device, []).append(use)
        for name, uses in by_device.items():
            one = device if name is None else replace(device, device_id=name)
            values = np.stack([self._good_values(use, chunk, order) for use in uses], axis=1)
            again = times[order][1:] == times[order][:-1]
            before, after = values[:-1][again], values[1:][again]
            self.twice += int((np.isfinite(before) & np.isfinite(after) & (before != after)).sum())
            yield from self._counted(one, times[order], uses, values)

    def _long(self, chunk: Chunk, rows: Int64, times: Int64, device: FleetDevice) -> Iterator[Readings]:
        roles = self.of.roles
        place = pa.array(rows)
        found: list[tuple[Use, Int64, Float64]] = []
        for name, of_name in by_text(texts(chunk.columns[str(roles.metric)].take(place))):
            here = rows[of_name]
            use = self.of.uses.get(name)
            if not name:
                for i in here.tolist():
                    self._refuse(chunk, i, str(roles.metric), "", "the metric is empty")
            elif use is None:
                self.left_out[name] = self.left_out.get(name, 0) + len(here)
            else:
                self.jumps.see((device.device_id, name), times[here], chunk.lines[here])
                found.append((use, here, self._values(use, chunk, chunk.columns[str(roles.value)], here)))
        for one in {use.device for use, _, _ in found}:
            mine = [item for item in found if item[0].device == one]
            instants = np.unique(np.concatenate([times[here] for _, here, _ in mine]))
            values = np.full((len(instants), len(mine)), np.nan)
            for j, (_, here, read) in enumerate(mine):
                kept = np.isfinite(read)
                at = np.searchsorted(instants, times[here[kept]])
                self.twice += _replaced(at, read[kept])
                values[at, j] = read[kept]
            wanted = device if one is None else replace(device, device_id=one)
            yield from self._counted(wanted, instants, [use for use, _, _ in mine], values)

    def _counted(self, device: FleetDevice, times: Int64, uses: Sequence[Use], values: Float64) -> Iterator[Readings]:
        found = Readings(device, times, [use.metric for use in uses], [use.unit for use in uses], values)
        self.seen[device.device_id] = self.seen.get(device.device_id, 0) + found.count
        for use, count in zip(uses, np.isfinite(values).sum(axis=0).tolist(), strict=True):
            self.values[use.name] = self.values.get(use.name, 0) + count
        for use, column in zip(uses, values.T, strict=True):
            if use.name in self.outside:
                self.outside[use.name].see(column)
        if found.count:
            yield found

    def _good_values(self, use: Use, chunk: Chunk, rows: Int64) -> Float64:
        """Values of a column, without those of which its column of status says that they are not good."""
        values = self._values(use, chunk, chunk.columns[use.name], rows)
        status = self.of.roles.status_of.get(use.name)
        if status is not None:
            said = texts(chunk.columns[status]).take(pa.array(rows))
            for i in np.flatnonzero(np.isfinite(values) & ~is_good_status(said, self.of.good_status)).tolist():
                self._refuse(chunk, int(rows[i]), use.name, values[i], f"its status is {shown(said[i].as_py())}")
                values[i] = np.nan
        return values

    def _values(self, use: Use, chunk: Chunk, column: pa.Array, rows: Int64) -> Float64:
        """Values of a column in the metric's unit, float64 [k]; what is none is counted."""
        taken = column.take(pa.array(rows))
        values, problem, units = cells.read_cells(taken, use.style)
        if self.of.roles.unit is not None and not use.over_rows:
            of_row = texts(chunk.columns[self.of.roles.unit].take(pa.array(rows))).to_pylist()
            units = of_row if units is None else [one or other for one, other in zip(units, of_row, strict=True)]
        known = self._conversions[use.name]
        reasons = dict(enumerate(cells.REASONS))
        if units is None:
            values = _converted(values, use.conversion)
        else:
            of_unit = np.array(units, dtype=object)
            for unit in set(units):
                mine = of_unit == unit
                how = known.get(unit, f"unit {shown(unit)} is not known")
                if isinstance(how, Conversion):
                    values[mine] = _converted(values[mine], how)
                else:
                    code = len(reasons)
                    reasons[code] = how
                    problem[mine & (problem == cells.OK)] = code
        problem[(problem == cells.OK) & ~np.isfinite(values)] = cells.NOT_FINITE
        self.empty += int((problem == cells.EMPTY).sum())
        for i in np.flatnonzero((problem != cells.OK) & (problem != cells.EMPTY)).tolist():
            self._refuse(chunk, int(rows[i]), column_name(self.of, use), taken[i].as_py(), reasons[int(problem[i])])
        values[problem != cells.OK] = np.nan
        return values

    def _refuse(self, chunk: Chunk, row: int, column: str, value: Any, reason: str) -> None:
        if chunk.origins and column.startswith(VALUE):
            column = chunk.origins[row % len(chunk.origins)] + column.removeprefix(VALUE)
        self.refusals.add(Refusal(int(chunk.lines[row]), column, "" if value is None else str(value), reason))

    @property
    def notes(self) -> list[str]:
        """What else is worth telling once all is read."""
        told = [*self.of.notes]
        if self.jumps.note:
            told.append(self.jumps.note)
        if self.times.note:
            told.append(self.times.note)
        if self.twice:
            told.append(
                f"{self.twice} readings are replaced by a later one of the same device, metric and time with another value"
            )
        told += [one.note for one in self.outside.values() if one.note]
        told += [f"device {shown(name)} has no values" for name, count in self.seen.items() if not count][:20]
        told += [
            f"{count} rows of {shown(name)} left out: {self.of.left_out.get(name, 'refused as a whole')}"
            for name, count in list(self.left_out.items())[:20]
        ]
        return told


def begins_in_second_pass(of: Understanding, other: Understanding) -> bool:
    """Whether a file begins in the hour that clocks repeat where another one of its device ends in that hour.

    The first one then holds the first pass of it.
    """
    ours, theirs, zone = of.times.span, other.times.span, of.times.rules.timezone
    same = of.device == other.device and zone == other.times.rules.timezone and of.times.rules.ahead is None
    if ours is None or theirs is None or not same or zone in (None, "UTC") or of.times.newest_first:
        return False
    if not (theirs[0] < ours[0] <= theirs[1] < ours[1]):
        return False
    index = pd.DatetimeIndex(
        np.array([ours[0] - of.times.length_ms, theirs[1] - other.times.length_ms]).astype("datetime64[ms]")
    )
    found = [index.tz_localize(str(zone), ambiguous=np.full(2, one), nonexistent="NaT") for one in (True, False)]
    return bool((found[0] != found[1]).all() and found[0].notna().all())


def _replaced(times: Int64, values: Float64) -> int:
    """How many values a later one of the same time, with another value, takes the place of."""
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    return int(((times[1:] == times[:-1]) & (values[1:] != values[:-1])).sum())


def column_name(of: Understanding, use: Use) -> str:
    """Name of the column that a value stands in; in a long file with the metric."""
    return f"{of.roles.value} of {use.name}" if of.roles.is_long else use.name


def _converted(values: Float64, how: Conversion) -> Float64:
    if how.changes_nothing:
        return values
    with np.errstate(over="ignore"):
        found: Float64 = np.array([float(f"{value:.12g}") for value in (values * how.scale + how.offset).tolist()])
    return found
