"""The embedded store: one SQLite file through apsw. No server needed.

The tables of many rows are packed (:mod:`hvac_platform.stores.packed`); the others are in the file as in the catalogue.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import apsw
import numpy as np
from numpy.typing import NDArray

from hvac_platform.coding import coded_as
from hvac_platform.embedded_file import (
    EmbeddedFileError,
    Fate,
    close_as_it_is,
    cut_short,
    disk_is_full,
    itself,
    open_file,
    prepare_to_open,
)
from hvac_platform.shipped import SCHEMA_DIRECTORY
from hvac_platform.snapshots import Neighbours
from hvac_platform.stores.base import (
    UNJUDGED_COLUMNS,
    Columns,
    Device,
    DeviceDay,
    LedgerEntry,
    StoreError,
    TableSlice,
    gathered,
)
from hvac_platform.stores.ledger import LedgerKeeping
from hvac_platform.stores.packed import PACKED
from hvac_platform.stores.packed.grouped import GroupedTable
from hvac_platform.stores.packed.readings import PackedReadings
from hvac_platform.stores.packed.states import MAPS, PackedStates, stacked
from hvac_platform.stores.packed.verdicts import PackedVerdicts
from hvac_platform.stores.packed.vocabulary import Vocabulary
from hvac_platform.stores.plain_tables import (
    column_blocks,
    conditions_of,
    derived,
    from_sql,
    of_spans,
    scan_plain,
    scan_plain_spans,
    spans_json,
    to_sql,
)
from hvac_platform.stores.repacking import SCHEMA_VERSION, brought_up_to_date
from hvac_platform.stores.tables import Table, tables
from hvac_platform.stores.tables import table as catalogue_table
from hvac_platform.stores.vectors import NearestSearch, checked_vectors
from hvac_platform.timestamps import DAY_MS, day_of, day_start, now_ms

UNJUDGED_ROWS = 50_000
BUSY_TIMEOUT_MS = 60_000
PAGE_BYTES = 4096
STATES = "device_state_snapshots"
STATES_AT_ONCE = 1_000
FEW_STATES = 32
STATES_OF_MANY = 256
"""Snapshots of several devices that are unpacked at once: so many rows are as wide as all metrics of those devices."""
NUMBERS_AT_ONCE = 1_000_000
"""Of a device of thousands of metrics fewer states are read at once."""
SEARCHED_ROWS = 8_192
DAY_MARKS = {"device_metrics_raw": "raw_written_at", "device_state_snapshots": "snapshots_written_at"}

LEDGER_COLUMNS = tuple(LedgerEntry.__dataclass_fields__)


def _schema_script(found: int) -> str:
    """DDL from a version to the current one; version 0 is an empty file."""
    names = ["store.sql"] if found == 0 else [f"upgrade_{v}.sql" for v in range(found + 1, SCHEMA_VERSION + 1)]
    return "\n".join((SCHEMA_DIRECTORY / "embedded" / name).read_text(encoding="utf-8") for name in names)


class EmbeddedStore(LedgerKeeping):
    """Store in one SQLite file; many processes may use it at once (WAL, writers take turns)."""

    def __init__(self, path: Path | str) -> None:
        self._path = itself(Path(path))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with said_in_words(self._path):
            brought_up_to_date(self._path)
        self._lost = False
        self._open()
        with said_in_words(self._path):
            self.apply_schema()

    def _open(self) -> None:
        with said_in_words(self._path):
            self._file = open_file(self._path, self._connect)

    def _connect(self) -> apsw.Connection:
        self._connection = apsw.Connection(str(self._path))
        self._connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        try:
            self._require_known_schema()
        except StoreError:
            close_as_it_is(self._connection)
            raise
        self._connection.pragma("page_size", PAGE_BYTES)  # of a file that is just being made
        _use_wal(self._connection)
        for pragma in (
            "synchronous=NORMAL",
            "cache_size=-65536",
            "temp_store=MEMORY",
            "wal_autocheckpoint=4000",
        ):
            self._connection.execute(f"PRAGMA {pragma}")
        self.schema_versions()  # its -wal is there from the first look on
        self._vocabulary = Vocabulary(self._connection)
        self._packed_states = PackedStates(self._vocabulary)
        self._grouped = {
            "device_metrics_raw": GroupedTable(
                self._connection, "device_metrics_raw", "timestamp", PackedReadings(self._vocabulary)
            ),
            "snapshot_verdicts": GroupedTable(
                self._connection, "snapshot_verdicts", "snapshot_time", PackedVerdicts(self._vocabulary)
            ),
        }
        return self._connection

    def still_open(self) -> bool:
        """Whether what is written here is what others open; False when the file was deleted or replaced.

        A ``-wal`` that was deleted under the connection is put right.

        Raises:
            StoreError: it can't be.
        """
        if self._lost:
            return False
        fate = self._file.fate()
        if fate is Fate.SAME or self._connection.in_transaction:
            return True
        if fate is Fate.REPLACED:
            return False
        try:
            self._file.leave(fate)
        except EmbeddedFileError as error:
            self._lost = fate is Fate.TORN  # told once; who asks for the store again gets another one
            raise StoreError(str(error)) from error
        self._open()
        return True

    @property
    def location(self) -> str:
        """Path of the file."""
        return str(self._path)

    @property
    def connection(self) -> apsw.Connection:
        """The connection to the file."""
        return self._connection

    @property
    def parallel(self) -> bool:
        """No: all threads share one connection."""
        return False

    @property
    def states_at_once(self) -> int:
        """Many: they come as arrays."""
        return STATES_AT_ONCE

    # -- schema ------------------------------------------------------------------------------------------------------

    def schema_versions(self) -> tuple[int, int]:
        """(version found, version needed)."""
        return self._connection.pragma("user_version"), SCHEMA_VERSION

    def apply_schema(self, *, dry_run: bool = False) -> list[str]:
        """Bring the schema to the current version in one transaction; does nothing when it is there, or newer."""
        found = self.schema_versions()[0]
        if found >= SCHEMA_VERSION:
            return []
        if not dry_run:
            with self._write():
                found = self.schema_versions()[0]  # another process may have been first
                self._connection.execute(_schema_script(found))
                self._connection.pragma("user_version", max(found, SCHEMA_VERSION))
        return [
            f"create {name}"
            for name in re.findall(r"CREATE (?:VIRTUAL )?(?:TABLE|INDEX|TRIGGER) (\w+)", _schema_script(found))
        ]

    # -- rows --------------------------------------------------------------------------------------------------------

    def upsert(self, table: str, columns: Columns) -> int:
        """Write whole rows by key."""
        target = catalogue_table(table)
        n = _rows_of(columns)
        if not n:
            return 0
        with self._write():
            if table in self._grouped:
                self._grouped[table].upsert(columns)
            else:
                kept = self._kept(target, columns)
                others = [name for name in kept if name not in target.key]
                action = (
                    "DO NOTHING"
                    if target.write_once or not others
                    else "DO UPDATE SET " + ", ".join(f"{name}=excluded.{name}" for name in others)
                )
                self._connection.executemany(
                    f"INSERT INTO {table} ({', '.join(kept)}) VALUES ({', '.join('?' * len(kept))}) "
                    f"ON CONFLICT ({', '.join(target.key)}) {action}",
                    zip(*kept.values(), strict=True),
                )
            if table in DAY_MARKS:
                self._mark_days(DAY_MARKS[table], columns["device_id"], columns[str(target.time_column)])
        return n

    def update(self, table: str, columns: Columns) -> int:
        """Write some columns of rows that exist."""
        target = catalogue_table(table)
        n = _rows_of(columns)
        if not n or not set(columns) - set(target.key):
            return n
        with self._write():
            if table in self._grouped:
                self._grouped[table].update(columns)
                return n
            if table == STATES and len(MAPS & set(columns)) == 1:
                columns = self._with_both_maps(columns)
            kept = self._kept(target, columns)
            names = [name for name in kept if name not in target.key]
            self._connection.executemany(
                f"UPDATE {table} SET {', '.join(f'{name}=?' for name in names)} "
                f"WHERE {' AND '.join(f'{name}=?' for name in target.key)}",
                zip(*(kept[name] for name in (*names, *target.key)), strict=True),
            )
        return n

    def delete(self, table: str, keys: Columns) -> None:
        """Delete rows by their whole key."""
        target = catalogue_table(table)
        with self._write():
            if table in self._grouped:
                self._grouped[table].delete(keys)
                return
            values = [to_sql(target.columns[name].type, keys[name]) for name in target.key]
            statement = f"DELETE FROM {table} WHERE {' AND '.join(f'{name}=?' for name in target.key)}"
            self._connection.executemany(statement, zip(*values, strict=True))

    def _with_both_maps(self, columns: Columns) -> Columns:
        """Columns of snapshots with what is stored in place of the map that they lack; both are kept in one."""
        (lacking,) = MAPS - set(columns)
        stored: list[Any] = []
        for device_id, time_ms in zip(columns["device_id"], map(int, columns["snapshot_time"]), strict=True):
            rows = TableSlice(STATES, (lacking,), device_id, time_ms, time_ms + 1)
            stored += next((list(batch[lacking]) for batch in self.scan(rows)), [{}])
        return {**columns, lacking: stored}

    def _kept(self, target: Table, columns: Columns) -> dict[str, Sequence[Any]]:
        """Columns as the file keeps them."""
        packed = PACKED[STATES] if target.name == STATES else {}
        kept = {
            name: to_sql(target.columns[name].type, values)
            for name, values in columns.items()
            if name in target.columns and not derived(target, name) and name not in packed
        }
        return kept | self._packed_states.pack(columns) if packed else kept

    def scan(self, rows: TableSlice, *, batch_rows: int = 50_000) -> Iterator[dict[str, list[Any]]]:
        """Read rows in key order; columns of maps may be :class:`MetricMaps`."""
        target = catalogue_table(rows.table)
        if rows.table in self._grouped:
            return self._grouped[rows.table].scan(rows, rows.columns, batch_rows)
        if rows.table == STATES:
            return self._states(target, rows, min(batch_rows, STATES_AT_ONCE))
        return scan_plain(self._connection, rows, batch_rows)

    def scan_spans(
        self, table: str, columns: Sequence[str], spans: Mapping[str, tuple[int, int]]
    ) -> dict[str, list[Any]]:
        """Rows of several devices, each in a span of its own."""
        asked = spans_json(spans)
        if table == STATES:
            stored, target = self._stored(columns), catalogue_table(table)
            statement = of_spans(stored, STATES, target.key[1:])
            blocks = column_blocks(self._connection, statement, (asked,), STATES_OF_MANY)
            return gathered(columns, (self._unpacked(target, columns, stored, block) for block in blocks))
        if table in self._grouped:
            return gathered(columns, self._grouped[table].scan_spans(columns, asked))
        return gathered(columns, scan_plain_spans(self._connection, table, columns, asked))

    def _states(self, target: Table, rows: TableSlice, batch_rows: int) -> Iterator[dict[str, Any]]:
        """Snapshots, unpacked."""
        wanted = rows.columns or tuple(target.columns)
        stored = self._stored(wanted)
        among = dict(rows.equals)
        if "embedding_method" in among:
            number = self._vocabulary.known([among.pop("embedding_method")])
            if number is None:
                return
            among["encoder"] = number
        where, arguments = conditions_of(target, replace(rows, equals=tuple(among.items())))
        if batch_rows > FEW_STATES and "state" in stored:
            for (layout,) in self._connection.execute(f"SELECT layout FROM {STATES}{where} LIMIT 1", arguments):
                metrics = len(self._vocabulary.names(layout)) if layout else FEW_STATES
                batch_rows = min(batch_rows, max(FEW_STATES, NUMBERS_AT_ONCE // (5 * metrics + 1)))
        statement = f"SELECT {', '.join(stored)} FROM {STATES}{where} ORDER BY {', '.join(target.key)}"
        for block in column_blocks(self._connection, statement, arguments, batch_rows):
            yield self._unpacked(target, wanted, stored, block)

    def _stored(self, names: Sequence[str]) -> tuple[str, ...]:
        """Columns of the file that some columns of snapshots are in."""
        return tuple(dict.fromkeys(column for name in names for column in self._packed_states.kept_in(name)))

    def _unpacked(
        self, target: Table, names: Sequence[str], stored: Sequence[str], block: Sequence[list[Any]]
    ) -> dict[str, Any]:
        kept = dict(zip(stored, block, strict=True))
        found = self._packed_states.unpack(kept)
        return {
            name: found[name] if name in found else from_sql(target.columns[name].type, kept[name]) for name in names
        }

    def count(self, table: str, device_id: str | None = None) -> int:
        """Number of rows."""
        catalogue_table(table)
        where, arguments = ("", ()) if device_id is None else (" WHERE device_id=?", (device_id,))
        if table in self._grouped:
            return self._grouped[table].count(where, arguments)
        return self._value(f"SELECT count(*) FROM {table}{where}", arguments)

    # -- registry and ledger -----------------------------------------------------------------------------------------

    def register_devices(self, devices: Sequence[Device]) -> list[str]:
        """Add or refresh devices."""
        if not devices:
            return []
        with self._write():
            known = {row[0] for row in self._connection.execute("SELECT device_id FROM devices")}
            self._connection.executemany(
                "INSERT INTO devices VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (device_id) DO UPDATE SET "
                "device_type=excluded.device_type, location=excluded.location, building_id=excluded.building_id, "
                "first_seen=min(first_seen, excluded.first_seen), last_seen=max(last_seen, excluded.last_seen), "
                "kafka_partition=excluded.kafka_partition",
                [
                    (
                        d.device_id,
                        d.device_type,
                        d.location,
                        d.building_id,
                        d.first_seen,
                        d.last_seen,
                        d.kafka_partition,
                        d.window_ms,
                    )
                    for d in devices
                ],
            )
        return [d.device_id for d in devices if d.device_id not in known]

    def devices(self) -> list[Device]:
        """All registered devices by id."""
        return [Device(*row) for row in self._connection.execute("SELECT * FROM devices ORDER BY device_id")]

    def device_days(self, start: str, end: str, device_id: str | None = None) -> list[DeviceDay]:
        """Device-days with data."""
        condition, arguments = ("", ()) if device_id is None else (" AND device_id=?", (device_id,))
        statement = f"SELECT * FROM device_days WHERE date BETWEEN ? AND ?{condition} ORDER BY device_id, date"
        return [DeviceDay(*row) for row in self._connection.execute(statement, (start, end, *arguments))]

    def unjudged(
        self, device_id: str | None = None, start_ms: int | None = None, end_ms: int | None = None
    ) -> Iterator[dict[str, list[Any]]]:
        """Windows whose content is not what was judged, from an index that has no others."""
        conditions = {"device_id=?": device_id, "snapshot_time>=?": start_ms, "snapshot_time<?": end_ms}
        asked = {condition: value for condition, value in conditions.items() if value is not None}
        statement = (
            f"SELECT {', '.join(UNJUDGED_COLUMNS)} FROM device_state_snapshots INDEXED BY device_state_unjudged "
            f"WHERE {' AND '.join(('judged_revision IS NOT revision', *asked))} ORDER BY device_id, snapshot_time"
        )
        cursor = iter(self._connection.execute(statement, tuple(asked.values())))
        while rows := list(islice(cursor, UNJUDGED_ROWS)):
            yield dict(zip(UNJUDGED_COLUMNS, map(list, zip(*rows, strict=True)), strict=True))

    def ledger(self, topic: str) -> dict[int, LedgerEntry]:
        """Ledger entries of a topic."""
        rows = self._connection.execute(
            f"SELECT {', '.join(LEDGER_COLUMNS)} FROM ingestion_ledger WHERE topic=?", (topic,)
        )
        return {row[1]: LedgerEntry(*row) for row in rows}

    def settled_ledger(self, topic: str) -> dict[int, LedgerEntry]:
        """The same: here a change is either made or not."""
        return self.ledger(topic)

    def swap_ledger(
        self, topic: str, partition: int, expected: Mapping[str, Any] | None, changes: Mapping[str, Any]
    ) -> bool:
        """Change columns of an entry if others have the values expected, in one transaction."""
        with self._write():
            if expected is None:
                self._connection.execute(
                    f"INSERT INTO ingestion_ledger (topic, kafka_partition, {', '.join(changes)}) "
                    f"VALUES (?, ?{', ?' * len(changes)}) ON CONFLICT DO NOTHING",
                    (topic, partition, *changes.values()),
                )
            else:
                self._connection.execute(
                    f"UPDATE ingestion_ledger SET {', '.join(f'{name}=?' for name in changes)} "
                    f"WHERE topic=? AND kafka_partition=? {''.join(f'AND {name} IS ? ' for name in expected)}",
                    (*changes.values(), topic, partition, *expected.values()),
                )
            return self._connection.changes() > 0

    def remembered(self) -> dict[str, str]:
        """Settings that the store was made with."""
        return dict(self._connection.execute("SELECT name, value FROM store_settings"))

    def remember(self, name: str, value: str) -> None:
        """Record a setting that the store was made with."""
        with self._write():
            self._connection.execute(
                "INSERT OR REPLACE INTO store_settings (name, value, set_at) VALUES (?, ?, ?)", (name, value, now_ms())
            )

    def damage(self) -> list[str]:
        """What SQLite finds wrong with the file; empty when nothing is."""
        try:
            found = [str(row[0]) for row in self._connection.execute("PRAGMA quick_check(5)")]
            ((size,),) = self._connection.execute("PRAGMA page_size")
            ((pages,),) = self._connection.execute("PRAGMA page_count")
        except (apsw.CorruptError, apsw.NotADBError, apsw.IOError) as error:
            return [str(error)]
        return [*([] if found == ["ok"] else found), *cut_short(self._path, pages, size)]

    # -- nearest neighbours ------------------------------------------------------------------------------------------

    def nearest(
        self,
        device_id: str,
        queries: NDArray[np.float32],
        k: int,
        *,
        embedding_method: str,
        start_ms: int | None = None,
        end_ms: int | None = None,
        normal_only: bool = False,
        query_times_ms: NDArray[np.int64] | None = None,
        exclude_ms: int = 0,
    ) -> Neighbours:
        """Exact nearest states by one pass over those of the device."""
        search = NearestSearch(checked_vectors(queries), k, query_times_ms=query_times_ms, exclude_ms=exclude_ms)
        encoder = self._vocabulary.known([embedding_method])
        conditions: dict[str, Any] = {"device_id=?": device_id, "encoder=?": encoder}
        conditions |= {"snapshot_time>=?": start_ms, "snapshot_time<?": end_ms}
        asked = {condition: value for condition, value in conditions.items() if value is not None}
        if encoder is None:
            return search.result()
        cursor = iter(
            self._connection.execute(
                f"SELECT snapshot_time, coalesce(is_anomalous,0), embedding FROM {STATES} WHERE {' AND '.join(asked)} "
                f"AND embedding IS NOT NULL{' AND coalesce(is_anomalous,0)=0' if normal_only else ''}",
                tuple(asked.values()),
            )
        )
        while block := list(islice(cursor, SEARCHED_ROWS)):
            times, flags, vectors = zip(*block, strict=True)
            search.add(np.array(times, dtype=np.int64), stacked(vectors), np.array(flags, dtype=np.bool_))
        return search.result()

    # -- upkeep ------------------------------------------------------------------------------------------------------

    def purge(self, now_ms: int) -> dict[str, int]:
        """Delete what has outlived its table's time to live, which counts from the write as it does in CQL."""
        deleted: dict[str, int] = {}
        for name, spec in tables().items():
            if spec.ttl_days is None:
                continue
            cutoff = now_ms - round(spec.ttl_days * DAY_MS)
            with self._write():
                deleted[name] = self._purge_table(name, cutoff)
        return {name: rows for name, rows in deleted.items() if rows}

    def _purge_table(self, name: str, cutoff: int) -> int:
        by_write = {
            "dead_letters": "rejected_at",
            "touched_windows": "written_at",
            "metric_aggregation_buffer": "window_start",
            "alert_outbox": "queued_at",
        }
        if name in by_write:
            self._connection.execute(f"DELETE FROM {name} WHERE {by_write[name]}<?", (cutoff,))
            return self._connection.changes()
        mark = DAY_MARKS.get(name, "snapshots_written_at")
        time_column = catalogue_table(name).time_column
        expired = list(self._connection.execute(f"SELECT device_id, date FROM device_days WHERE {mark}<?", (cutoff,)))
        rows = 0
        for device_id, date in expired:
            start = day_start(date)
            where, span = (
                f" WHERE device_id=? AND {time_column}>=? AND {time_column}<?",
                (device_id, start, start + DAY_MS),
            )
            if name in self._grouped:
                rows += self._grouped[name].count(where, span)
            self._connection.execute(f"DELETE FROM {name}{where}", span)
            if name not in self._grouped:
                rows += self._connection.changes()
        return rows

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _value(self, statement: str, arguments: Sequence[Any] = ()) -> int:
        row = next(iter(self._connection.execute(statement, arguments)))
        return int(row[0])

    def _mark_days(self, column: str, device_ids: Sequence[str], times_ms: NDArray[np.int64]) -> None:
        days, devices = np.asarray(times_ms, dtype=np.int64) // DAY_MS, coded_as(device_ids)
        first = int(days.min())
        width = int(days.max()) - first + 1
        written = now_ms()
        marks = [
            (devices.names[pair // width], day_of((first + pair % width) * DAY_MS), written)
            for pair in np.unique(devices.codes * width + days - first).tolist()
        ]
        self._connection.executemany(
            f"INSERT INTO device_days (device_id, date, {column}) VALUES (?,?,?) "
            f"ON CONFLICT (device_id, date) DO UPDATE SET {column}=excluded.{column}",
            marks,
        )

    @contextmanager
    def _write(self) -> Iterator[None]:
        """A transaction that takes the write lock at once, so that it waits instead of failing half-way."""
        if self._connection.in_transaction:
            yield
            return
        self._require_file()
        self._begin()
        try:
            if self._file.fate() is not Fate.SAME:  # nobody can put it right while this holds the write lock
                self._connection.execute("ROLLBACK")
                self._require_file()
                self._begin()
            self._require_known_schema()  # a newer version may have upgraded the file since it was opened
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            # SQLite has rolled back by itself after some errors, such as a full disk.
            if not self._connection.get_autocommit():
                self._connection.execute("ROLLBACK")
            self._vocabulary.forget()  # what was given a number within it has none any more
            if isinstance(error, apsw.FullError):
                raise StoreError(
                    f"the disk is full, {self._path} can't grow: free some space; nothing that was acknowledged is lost"
                ) from error
            raise
        self._require_file()  # before anybody relies on what was committed

    def _begin(self) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except apsw.BusyError as error:  # only a process that is paused, or stuck on its disk, holds it for so long
            raise StoreError(
                f"{self._path}: another process has held the write lock for {BUSY_TIMEOUT_MS // 1000} s: is one of them "
                "paused (SIGSTOP, a sleeping virtual machine)? Nothing was written; do it again as soon as that one "
                "goes on or is ended"
            ) from error

    def _require_known_schema(self) -> None:
        found, known = self.schema_versions()
        if found > known:
            raise StoreError(
                f"{self._path} has schema version {found}, this code knows {known}: use a newer hvac_platform"
            )

    def _require_file(self) -> None:
        if not self.still_open():
            raise StoreError(
                f"{self._path} was deleted or replaced while this process had it open: nothing more is written into the one "
                "before, and the last write may be in that one; start the process again"
            )


def _rows_of(columns: Columns) -> int:
    """Number of rows, 0 where there are no columns."""
    return len(next(iter(columns.values()), ()))


def version_of(path: Path) -> int:
    """Schema version of a store that is there, without a change to it.

    Raises:
        StoreError: it can't be read.
    """
    with said_in_words(path):
        prepare_to_open(path)
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            return int(connection.pragma("user_version"))
        finally:
            connection.close()


@contextmanager
def said_in_words(path: Path) -> Iterator[None]:
    """What can go wrong when a store is opened, as one line that says what to do."""
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise StoreError(
            f"the embedded store {path} is damaged ({error}); docs/recovery.md says what can be done"
        ) from error
    except apsw.Error as error:
        raise StoreError(f"can't open the embedded store {path}: {error}. {_why_not(path.parent)}") from error
    except OSError as error:
        said = error.strerror or error
        raise StoreError(f"can't open the embedded store {path}: {said}. {_why_not(path.parent)}") from error
    except EmbeddedFileError as error:
        raise StoreError(str(error)) from error


def _use_wal(connection: apsw.Connection) -> None:
    """Switch the file to WAL; the switch does not honour the busy timeout when several processes create the file."""
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.pragma("journal_mode", "wal")
            return
        except apsw.BusyError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _why_not(folder: Path) -> str:
    """What may keep a file of a folder from being opened, and what to do."""
    if disk_is_full(folder):
        return f"The disk of {folder} is full: free some space"
    return "Is HVAC_HOME a writable folder?"
