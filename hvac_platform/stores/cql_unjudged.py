"""Which windows nobody has judged, on a CQL cluster: marks lead to them, so no other window is read.

A tick asks this of the whole fleet, several times a minute, and what it costs is the number of statements: a row takes a
microsecond to read, a statement a hundred. So each write of windows leaves marks of when it was, at three levels: of a day,
of ten minutes of that day, and of a device in those. Whoever has read ten minutes of the fleet marks what it found: nothing
left, or the few devices that have something left. Days and minutes that were not written to since are not read again. A mark
is a hint for what to read; what counts is the revision of the window beside the one that was judged.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hvac_platform.stores.base import UNJUDGED_COLUMNS
from hvac_platform.stores.cql_client import CONCURRENCY, CqlClient
from hvac_platform.stores.cql_schema import MARKS_TABLE
from hvac_platform.stores.cql_wire import batches
from hvac_platform.stores.tables import Column, Table
from hvac_platform.timestamps import DAY_MS, day_of, day_start, days_between, now_ms, to_datetime

SLOT_MS = 600_000
"""Windows are marked by ten minutes: few statements find them, and beside a new window few others are read."""
SKEW_MS = 10_000
"""Clocks of those who write and of those who judge may differ by half of this."""
FEW_LEFT = 100
"""Up to so many devices that have something left are named in a mark; where there are more, all are looked at again."""
FEW_DAYS = 3
DEVICES_AT_ONCE = 50
"""Partitions that one statement reads: ScyllaDB takes at most 100, and one coordinator fetches them all."""
EVERYTHING = "all"
MARKS = Table(
    name=MARKS_TABLE,
    description="When the windows of a day, of ten minutes, or of a device in those were written and found judged.",
    columns={
        name: Column(name, kind, "")
        for name, kind in (("scope", "text"), ("part", "text"), ("written_at", "timestamp"), ("judged_at", "timestamp"),
                           ("devices_left", "json"))
    },
    partition=("scope",),
    clustering=("part",),
    time_column=None,
    ttl_days=90,
    write_once=False,
)  # fmt: skip

Row = tuple[str, int, int, int, int | None]
"""Device, start, length, revision and judged revision of a window."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """When a part of the windows was written to, when it was read through, and which devices had something left."""

    part: str
    written_at: int | None
    judged_at: int | None
    left: tuple[str, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether nothing was written since it was read through."""
        return self.judged_at is not None and (self.written_at or 0) < self.judged_at - SKEW_MS


@dataclass
class _Slots:
    """Adjoining slots of one day that may hold unjudged windows, and what was found in them."""

    marks: list[_Mark] = field(default_factory=list)

    @property
    def span(self) -> tuple[int, int]:
        """Half-open range of window starts."""
        return _slot_start(self.marks[0].part), _slot_start(self.marks[-1].part) + SLOT_MS


class CqlUnjudged:
    """Marks of written windows, and the way from them to the windows."""

    def __init__(self, client: CqlClient) -> None:
        self._client = client
        self._marks = f"{client.settings.keyspace}.{MARKS_TABLE}"
        self._snapshots = f"{client.settings.keyspace}.device_state_snapshots"

    # -- writing -----------------------------------------------------------------------------------------------------

    def note(self, device_ids: Iterable[str], times_ms: Sequence[int] | NDArray[np.int64]) -> None:
        """Mark windows that were just written; they must be durable already."""
        slots = (np.asarray(times_ms, dtype=np.int64) // SLOT_MS).tolist()
        parts: dict[tuple[str, str], None] = {}
        for device_id, slot in dict.fromkeys(zip(device_ids, slots, strict=True)):
            name, date = _slot_name(slot * SLOT_MS), day_of(slot * SLOT_MS)
            parts |= dict.fromkeys(((name, device_id), (date, name), (EVERYTHING, date)))
        if not parts:
            return
        while True:
            began = time.monotonic()
            self._write([scope for scope, _ in parts], [part for _, part in parts], written_at=[now_ms()] * len(parts))
            # A mark that took long to arrive may be older than that of a reader who came before it: then it is renewed.
            if time.monotonic() - began < SKEW_MS / 2 / 1000:
                return

    def _write(self, scopes: list[str], parts: list[str], **columns: list[Any]) -> None:
        names = ("scope", "part", *columns)
        statement = self._client.prepare(
            f"INSERT INTO {self._marks} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        )
        rows = {"scope": scopes, "part": parts, **columns}
        made = batches(MARKS, statement, names, rows, self._client.protocol_version)
        self._client.run([(batch, None) for batch in made])

    # -- reading -----------------------------------------------------------------------------------------------------

    def of_device(self, device_id: str, start_ms: int | None, end_ms: int | None) -> Iterator[dict[str, list[Any]]]:
        """Unjudged windows of one device that start in [start_ms, end_ms), in order of time."""
        for date in self._days(start_ms, end_ms):
            slots = [m for m in self._read([date]) if not m.settled or device_id in m.left]
            for run in _adjoining(slots):
                yield from _as_columns(_between(self._windows([device_id], date, run.span), start_ms, end_ms))

    def of_all(self, start_ms: int | None, end_ms: int | None) -> Iterator[dict[str, list[Any]]]:
        """Unjudged windows of all devices that start in [start_ms, end_ms), by ten minutes, device and time."""
        for date in self._days(start_ms, end_ms):
            began, day_left = now_ms(), False
            slots = [m for m in self._read([date]) if not m.settled or m.left]
            for run in _adjoining(slots):
                found, left = self._read_through(date, run)
                day_left |= left
                yield from _as_columns(_between(found, start_ms, end_ms))
            if not day_left:
                self._write([EVERYTHING], [date], judged_at=[began])

    def _read_through(self, date: str, run: _Slots) -> tuple[list[Row], bool]:
        """Unjudged windows of adjoining slots; what is left in each is marked. And whether anything is left."""
        began = now_ms()
        devices = dict.fromkeys(device_id for mark in run.marks for device_id in mark.left)
        written = [mark for mark in run.marks if not mark.settled]
        since = min((mark.judged_at or 0 for mark in written), default=0) - SKEW_MS
        for mark in self._read([m.part for m in written]):
            if (mark.written_at or 0) >= since:
                devices[mark.part] = None
        found = self._windows(sorted(devices), date, run.span)
        by_slot: dict[str, set[str]] = {}
        for device_id, start_ms, *_ in found:
            by_slot.setdefault(_slot_name(start_ms), set()).add(device_id)
        changed = []
        for mark in run.marks:
            left = tuple(sorted(by_slot.get(mark.part, ())))
            if len(left) <= FEW_LEFT and (not mark.settled or left != mark.left):
                changed.append((mark.part, left))
        if changed:
            self._write(
                [date] * len(changed),
                [part for part, _ in changed],
                judged_at=[began] * len(changed),
                devices_left=[left for _, left in changed],
            )
        return found, bool(found)

    def _days(self, start_ms: int | None, end_ms: int | None) -> list[str]:
        """Days in the range that may have something unjudged."""
        first = "0000" if start_ms is None else day_of(start_ms)
        last = "9999" if end_ms is None else day_of(max(end_ms - 1, 0))
        if start_ms is not None and end_ms is not None and end_ms - start_ms <= FEW_DAYS * DAY_MS:
            return days_between(first, last) if end_ms > start_ms else []
        return sorted(m.part for m in self._read([EVERYTHING]) if not m.settled and first <= m.part <= last)

    def _read(self, scopes: Sequence[str]) -> list[_Mark]:
        statement = self._client.prepare(
            f"SELECT part, written_at, judged_at, devices_left FROM {self._marks} WHERE scope=?"
        )
        results = self._client.run([(statement, (scope,)) for scope in scopes])
        return [
            _Mark(part, written_at, judged_at, tuple(msgspec.json.decode(left)) if left else ())
            for part, written_at, judged_at, left in chain.from_iterable(results)
        ]

    def _windows(self, device_ids: Sequence[str], date: str, span: tuple[int, int]) -> list[Row]:
        """Unjudged windows of some devices on one day, by device and time."""
        statement = self._client.prepare(
            f"SELECT {', '.join(UNJUDGED_COLUMNS)}, judged_revision FROM {self._snapshots} "
            "WHERE device_id IN ? AND date=? AND snapshot_time>=? AND snapshot_time<?"
        )
        calls = [
            (statement, (list(device_ids[i : i + DEVICES_AT_ONCE]), date, *span))
            for i in range(0, len(device_ids), DEVICES_AT_ONCE)
        ]
        found: list[Row] = []
        for i in range(0, len(calls), CONCURRENCY):  # what has been read of few calls is held at once
            for result in self._client.run(calls[i : i + CONCURRENCY]):
                found += [row for row in result if row[4] != row[3]]
        return sorted(found)


def _adjoining(marks: Iterable[_Mark]) -> list[_Slots]:
    """Slots in order, those that follow one another together."""
    runs: list[_Slots] = []
    for mark in sorted(marks, key=lambda m: m.part):
        if runs and runs[-1].span[1] == _slot_start(mark.part):
            runs[-1].marks.append(mark)
        else:
            runs.append(_Slots([mark]))
    return runs


def _between(rows: list[Row], start_ms: int | None, end_ms: int | None) -> list[Row]:
    """Rows of windows that start in [start_ms, end_ms)."""
    if start_ms is None and end_ms is None:
        return rows
    return [row for row in rows if (start_ms or 0) <= row[1] and (end_ms is None or row[1] < end_ms)]


def _as_columns(rows: list[Row]) -> Iterator[dict[str, list[Any]]]:
    """Rows as one batch of columns; none where there are no rows."""
    if rows:
        columns = list(map(list, zip(*rows, strict=True)))
        yield dict(zip(UNJUDGED_COLUMNS, columns[: len(UNJUDGED_COLUMNS)], strict=True))


def _slot_name(time_ms: int) -> str:
    """Name of the slot that holds an instant.

    >>> _slot_name(1_000_000)
    '1970-01-01T00:10'
    """
    return f"{to_datetime(time_ms - time_ms % SLOT_MS):%Y-%m-%dT%H:%M}"


def _slot_start(name: str) -> int:
    """Epoch milliseconds of a slot's begin.

    >>> _slot_start("1970-01-01T00:10")
    600000
    """
    hours, minutes = name[11:].split(":")
    return day_start(name[:10]) + 60_000 * (60 * int(hours) + int(minutes))
