"""Tables whose rows are kept together by device and instant, several of them in one row of the file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice, repeat
from typing import Any, Protocol
from weakref import ref

import apsw
import numpy as np

from hvac_platform.stores.base import Columns
from hvac_platform.stores.plain_tables import of_spans
from hvac_platform.stores.tables import TableSlice, table
from hvac_platform.timestamps import day_labels

ROWS_AT_ONCE = 2_000


class Packing(Protocol):
    """How the members of a row become bytes.

    Attributes:
        member: the column that tells the members of a row apart.
    """

    member: str

    def pack(self, columns: Columns) -> list[tuple[Any, ...]]:
        """Columns as rows (device, instant, layout, cells), each device and instant once."""
        ...

    def unpack(self, names: Sequence[str], layouts: Sequence[int], cells: Sequence[bytes]) -> dict[str, list[Any]]:
        """Columns of the members of some rows, in order of rows and members; not those of device and instant."""
        ...

    def merge(self, old_layout: int, old: bytes, new_layout: int, new: bytes) -> tuple[int, bytes]:
        """One row of two; where both have a member the new one counts."""
        ...

    def without(self, layout: int, cells: bytes, members: set[str]) -> tuple[int, bytes] | None:
        """A row without some members; None where none is left."""
        ...

    def width(self, layout: int) -> int:
        """How many members a row of this layout has."""
        ...

    def layouts_with(self, member: str) -> str:
        """The condition on ``layout``, in SQL, that each row with a member meets."""
        ...


class GroupedTable:
    """One such table of a file. Whoever writes holds the write lock.

    Args:
        connection: to the file.
        name: of the table.
        time_column: of its instants.
        packing: of its rows.
    """

    def __init__(self, connection: apsw.Connection, name: str, time_column: str, packing: Packing) -> None:
        self._connection, self._name, self._time, self._packing = connection, name, time_column, packing
        weak = ref(packing)  # it knows the connection, which would keep itself open by what it calls

        @lru_cache(maxsize=1)  # asked for the layout of two rows, and right after for their cells
        def merged(*rows: Any) -> tuple[int, bytes]:
            alive = weak()
            assert alive is not None
            return alive.merge(*rows)

        self._merged = merged
        connection.create_scalar_function(f"{name}_layout", lambda *rows: merged(*rows)[0], 4)
        connection.create_scalar_function(f"{name}_cells", lambda *rows: merged(*rows)[1], 4)
        both = "layout, cells, excluded.layout, excluded.cells"
        self._insert = (
            f"INSERT INTO {name} (device_id, {time_column}, layout, cells) VALUES (?,?,?,?) ON CONFLICT DO UPDATE SET "
            f"layout = CASE layout WHEN excluded.layout THEN layout ELSE {name}_layout({both}) END, "
            f"cells = CASE layout WHEN excluded.layout THEN excluded.cells ELSE {name}_cells({both}) END"
        )

    def upsert(self, columns: Columns) -> None:
        """Write members by key; others of their rows stay."""
        self._merged.cache_clear()  # numbers of the vocabulary may have been taken back since
        self._connection.executemany(self._insert, self._packing.pack(columns))

    def update(self, columns: Columns) -> None:
        """Write some columns of members that exist."""
        key = ("device_id", self._time, self._packing.member)
        new = {k: i for i, k in enumerate(zip(*(list(columns[name]) for name in key), strict=True))}
        changed: list[dict[str, Any]] = []
        for device_id, time_ms in {k[:2]: None for k in new}:
            there = next(
                iter(self.scan(TableSlice(self._name, (), device_id, time_ms, time_ms + 1), (), 1_000_000)), {}
            )
            for member in zip(*there.values(), strict=True):
                row = dict(zip(there, member, strict=True))
                at = new.get(tuple(row[name] for name in key))
                if at is not None:
                    changed.append(row | {name: values[at] for name, values in columns.items()})
        if changed:
            self.upsert({name: [row[name] for row in changed] for name in changed[0]})

    def delete(self, keys: Columns) -> None:
        """Delete members by key."""
        gone: dict[tuple[str, int], set[str]] = defaultdict(set)
        for device_id, time_ms, member in zip(
            keys["device_id"], map(int, keys[self._time]), keys[self._packing.member], strict=True
        ):
            gone[device_id, time_ms].add(member)
        where = f"WHERE device_id=? AND {self._time}=?"
        for key, members in gone.items():
            for layout, cells in list(self._connection.execute(f"SELECT layout, cells FROM {self._name} {where}", key)):
                left = self._packing.without(layout, cells, members)
                if left is None:
                    self._connection.execute(f"DELETE FROM {self._name} {where}", key)
                else:
                    self._connection.execute(f"UPDATE {self._name} SET layout=?, cells=? {where}", (*left, *key))

    def scan(self, rows: TableSlice, columns: Sequence[str], batch_rows: int) -> Iterator[dict[str, list[Any]]]:
        """Members in order of device, instant and member, at most so many at a time.

        Args:
            rows: which ones.
            columns: to read; all that a packing knows when empty.
            batch_rows: most at a time.
        """
        names = tuple(columns) or tuple(table(self._name).columns)
        conditions: dict[str, Any] = {"device_id=?": rows.device_id}
        conditions |= {f"{self._time}>=?": rows.start_ms, f"{self._time}<?": rows.end_ms}
        asked = {condition: value for condition, value in conditions.items() if value is not None}
        among = dict(rows.equals)
        for name in ("device_id", "date", self._time):
            if name in among:
                asked[f"{name}=?"] = among.pop(name)
        member = among.get(self._packing.member)
        wanted = [*asked, *([] if member is None else [self._packing.layouts_with(member)])]
        where = f" WHERE {' AND '.join(wanted)}" if wanted else ""
        found = self._connection.execute(
            f"SELECT device_id, {self._time}, layout, cells FROM {self._name}{where} ORDER BY device_id, {self._time}",
            tuple(asked.values()),
        )
        return self._members(iter(found), names, among, batch_rows)

    def scan_spans(self, columns: Sequence[str], spans: str) -> Iterator[dict[str, list[Any]]]:
        """Members of several devices, each in a span of its own, in order of device, instant and member.

        Args:
            columns: to read.
            spans: see :func:`~hvac_platform.stores.plain_tables.spans_json`.
        """
        found = self._connection.execute(
            of_spans(("device_id", self._time, "layout", "cells"), self._name, (self._time,)), (spans,)
        )
        return self._members(iter(found), columns, {}, ROWS_AT_ONCE)

    def _members(
        self, cursor: Iterator[Any], names: Sequence[str], among: dict[str, Any], batch_rows: int
    ) -> Iterator[dict[str, list[Any]]]:
        """Members of rows that a query finds, at most so many at a time.

        Args:
            cursor: device, instant, layout and cells of each row.
            names: columns to read.
            among: columns of members that must have a value.
            batch_rows: most at a time.
        """
        needed = dict.fromkeys((*names, *among))
        of_members = [name for name in needed if name not in ("device_id", "date", self._time)]
        waiting: dict[str, list[Any]] = {name: [] for name in names}
        at_once = min(ROWS_AT_ONCE, max(1, batch_rows))
        while block := list(islice(cursor, at_once)):
            device_ids, times, layouts, cells = zip(*block, strict=True)
            found = self._packing.unpack(of_members, layouts, cells)
            widths = list(map(self._packing.width, layouts))
            if "device_id" in needed:
                found["device_id"] = list(chain.from_iterable(map(repeat, device_ids, widths)))
            if self._time in needed or "date" in needed:
                instants = np.repeat(np.array(times, dtype=np.int64), widths)
                found[self._time] = instants.tolist()
                if "date" in needed:
                    found["date"] = day_labels(instants)
            if among:
                found = _those_with(found, among)
            for name in names:
                waiting[name] += found[name]
            whole = len(waiting[names[0]]) // batch_rows * batch_rows
            for start in range(0, whole, batch_rows):
                yield {name: values[start : start + batch_rows] for name, values in waiting.items()}
            if whole:
                waiting = {name: values[whole:] for name, values in waiting.items()}
        if waiting[names[0]]:
            yield waiting

    def count(self, condition: str = "", arguments: Sequence[Any] = ()) -> int:
        """Number of members, of all rows or of some."""
        rows = self._connection.execute(
            f"SELECT layout, count(*) FROM {self._name}{condition} GROUP BY layout", tuple(arguments)
        )
        return sum(self._packing.width(layout) * n for layout, n in list(rows))


def _those_with(found: dict[str, list[Any]], among: dict[str, Any]) -> dict[str, list[Any]]:
    kept = [
        i
        for i, values in enumerate(zip(*(found[name] for name in among), strict=True))
        if values == tuple(among.values())
    ]
    return {name: [values[i] for i in kept] for name, values in found.items()}
