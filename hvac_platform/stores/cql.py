"""The CQL store: ScyllaDB or Cassandra through cassandra-driver.

Rows are written in UNLOGGED batches of one partition, sized by bytes, with bounded concurrency. Every statement is
prepared and idempotent, so a retry is harmless; the ledger alone moves by lightweight transactions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from cassandra import ConsistencyLevel
from cassandra.cluster import ResultSet
from cassandra.query import PreparedStatement
from numpy.typing import NDArray

from hvac_platform.snapshots import Neighbours
from hvac_platform.stores.base import Columns, Device, DeviceDay, LedgerEntry, StoreError, TableSlice, gathered
from hvac_platform.stores.cql_client import Consistency, CqlClient, CqlSettings, TlsSettings
from hvac_platform.stores.cql_nearest import CqlNearest, NearestQuery
from hvac_platform.stores.cql_schema import VECTOR_TABLE, CqlSchema, schema_statements
from hvac_platform.stores.cql_unjudged import CqlUnjudged
from hvac_platform.stores.cql_wire import batches, read_column
from hvac_platform.stores.ledger import LEASE_SECONDS, LedgerKeeping
from hvac_platform.stores.tables import Table
from hvac_platform.stores.tables import table as catalogue_table
from hvac_platform.stores.vectors import checked_vectors, decoded_vectors
from hvac_platform.timestamps import DAY_MS, day_labels, day_of, day_start, days_between, now_ms

__all__ = ["Consistency", "CqlSettings", "CqlStore", "TlsSettings", "schema_statements"]

STATIC_TABLES = {"device_metrics_raw": "raw_written_at", "device_state_snapshots": "snapshots_written_at"}
FEW_DAYS = 3
"""Up to so many days, reading them costs less than asking which of them exist."""
COUNTED_AT_ONCE = 4
"""A node reads a whole partition to count it; many at once would all time out."""
READ_AT_ONCE, READ_ROWS = 500, 50_000
"""Short reads that are asked for before the answers are taken up, and rows that are taken up at a time."""
KEYS_AT_ONCE = 100
"""Keys of one partition that are looked up by one statement."""
MOST_STATICS = 100_000
"""Partitions whose static attributes a process remembers to have written."""
METHODS_BEFORE_6 = 3
LEDGER_COLUMNS = tuple(LedgerEntry.__dataclass_fields__)


class CqlStore(LedgerKeeping):
    """Store on ScyllaDB or Cassandra; one session a process, made after any fork."""

    def __init__(self, settings: CqlSettings, *, create: bool = True) -> None:
        """Connect; ``create`` brings the schema to the current version first.

        Raises:
            StoreError: no node can be used, or the schema is newer than this code.
        """
        self._client = CqlClient(settings)
        try:
            self._schema, self._unjudged = CqlSchema(self._client), CqlUnjudged(self._client)
            found, needed = self.schema_versions()
            if found > needed:
                raise StoreError(
                    f"{self.location} has schema version {found}, this code knows {needed}: use a newer hvac_platform"
                )
            if create and found < needed:
                self.apply_schema()
        except StoreError:
            self.close()
            raise
        self._nearest = CqlNearest(
            self._client,
            lambda rows, size: self.scan(rows, batch_rows=size),
            self._device_dates,
            separate_vectors=self._schema.separate_vectors,
            by_day=self._client.settings.vector_search == "day",
        )
        self._written_statics: dict[tuple[str, str, str], tuple[str, str, str]] = {}

    @property
    def location(self) -> str:
        """Hosts, port and keyspace."""
        return self._client.settings.location

    @property
    def dialect(self) -> str:
        """``scylla`` or ``cassandra``."""
        return self._schema.dialect

    @property
    def closed(self) -> bool:
        """Whether the session has ended."""
        return self._client.closed

    @property
    def parallel(self) -> bool:
        """Yes: the driver's session is made for it."""
        return True

    @property
    def states_at_once(self) -> int:
        """Few: a snapshot as it is kept takes ten times the memory of its arrays."""
        return 32

    # -- schema ------------------------------------------------------------------------------------------------------

    def schema_versions(self) -> tuple[int, int]:
        """(version found, version needed); a keyspace that lacks a table counts as version 0."""
        return self._schema.versions()

    def apply_schema(self, *, dry_run: bool = False) -> list[str]:
        """Create what is missing; safe to repeat and for several processes at once.

        Returns what was done, a line a statement; or, for a dry run, the statements themselves.
        """
        statements = self._schema.statements()
        if dry_run or not statements:
            return [f"{statement};" for statement in statements]
        moves, splits, marks = (
            self._schema.moves_vectors(),
            self._schema.splits_reports(),
            self._schema.marks_unjudged(),
        )
        done = [self._schema.run(statement) for statement in statements[:-1]]
        if moves:
            done.append(f"copy {self._copy_vectors()} vectors to {VECTOR_TABLE}")
        if splits:
            done.append(f"copy {self._split_reports()} rows to method_reports")
        if marks:
            done.append(f"mark {self._mark_unjudged()} windows that nobody has judged")
        return [*done, *(self._schema.run(statement) for statement in statements[-1:])]

    def _split_reports(self) -> int:
        """Columns of the methods' names, as reports had up to version 5, into rows; the version is recorded after this."""
        named = ("rules", "profile", "vector")
        keyspace = self._client.settings.keyspace
        found = list(
            self._client.execute(
                f"SELECT date, device_id, windows, {', '.join(named)} FROM {keyspace}.detection_reports"
            )
        )
        rows = [
            (date, device_id, method, windows, count)
            for date, device_id, windows, *counts in found
            for method, count in zip(named, counts, strict=True)
            if count is not None
        ]
        if rows:
            names = ("date", "device_id", "method", "windows", "anomalous")
            self.upsert("method_reports", dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
        return len(rows)

    def _copy_vectors(self) -> int:
        """Vectors of version 1 into the table that version 2 searches; the version is recorded after this."""
        copied = 0
        names = ("device_id", "snapshot_time", "embedding", "embedding_method")
        for batch in self.scan(TableSlice("device_state_snapshots", names), batch_rows=5_000):
            there = [i for i, vector in enumerate(batch["embedding"]) if vector is not None]
            if there:
                rows: dict[str, Any] = {name: [batch[name][i] for i in there] for name in names}
                rows["embedding"] = decoded_vectors(rows["embedding"])
                self._write_vectors(rows)
                copied += len(there)
        return copied

    # -- rows --------------------------------------------------------------------------------------------------------

    def upsert(self, table: str, columns: Columns) -> int:
        """Write whole rows by key.

        Raises:
            EmbeddingError: a vector is zero, not finite or of a wrong length. Nothing is written.
            StoreError: the rows are not all durable; writing them again is harmless.
        """
        target = catalogue_table(table)
        if target.write_once and columns:
            given = len(next(iter(columns.values())))
            self._write_rows(target, self._unwritten(target, columns))
            return given
        rows = self._write_rows(target, columns)
        if rows and table in STATIC_TABLES:
            self._mark_days(table, columns["device_id"], columns[str(target.time_column)])
        self._mark_written(table, columns)
        return rows

    def update(self, table: str, columns: Columns) -> int:
        """Write some columns of rows; in CQL that is the same statement. Errors as in :meth:`upsert`."""
        rows = self._write_rows(catalogue_table(table), columns)
        if "judged_revision" in columns:
            self._mark_written(table, columns)
        return rows

    def delete(self, table: str, keys: Columns) -> None:
        """Delete rows by their whole key."""
        target = catalogue_table(table)
        names = target.partition + target.clustering
        complete = _with_date(target, keys)
        prepared = self._client.prepare(
            f"DELETE FROM {self._name(table)} WHERE {' AND '.join(f'{name}=?' for name in names)}"
        )
        arguments = zip(*(_listed(complete[name]) for name in names), strict=True)
        # A vector of a deleted snapshot stays in the vector table until it expires: a search drops it.
        self._client.run([(prepared, row) for row in arguments])

    def scan(self, rows: TableSlice, *, batch_rows: int = 50_000) -> Iterator[dict[str, list[Any]]]:
        """Read rows partition by partition, in order of time."""
        target = catalogue_table(rows.table)
        names = rows.columns or tuple(target.columns)
        for prepared, arguments, asked, turned in self._statements(target, rows, names):
            result = self._client.execute(prepared, arguments)
            for batch in self._read(result, target, asked, batch_rows, turned):
                yield {name: batch[name] for name in names}

    def scan_spans(
        self, table: str, columns: Sequence[str], spans: Mapping[str, tuple[int, int]]
    ) -> dict[str, list[Any]]:
        """Rows of several devices, each in a span of its own: many partitions are asked for at once."""
        target = catalogue_table(table)
        statements = [
            statement
            for device_id in sorted(spans)
            for statement in self._statements(target, TableSlice(table, (), device_id, *spans[device_id]), columns)
        ]
        few = (statements[i : i + READ_AT_ONCE] for i in range(0, len(statements), READ_AT_ONCE))
        return gathered(
            columns,
            (
                batch
                for some in few
                for (_, _, asked, turned), result in zip(
                    some, self._client.run([(prepared, arguments) for prepared, arguments, _, _ in some]), strict=True
                )
                for batch in self._read(result, target, asked, READ_ROWS, turned)
            ),
        )

    def _statements(
        self, target: Table, rows: TableSlice, names: Sequence[str]
    ) -> Iterator[tuple[PreparedStatement, list[Any], Sequence[str], str | None]]:
        """For each partition that a slice concerns: statement, arguments, columns, and the one by which rows are turned."""
        for conditions, arguments in self._partitions(target, rows):
            order = f" ORDER BY {target.clustering[0]} ASC" if target.time_column in target.clustering[:1] else ""
            where = f" WHERE {' AND '.join(f'{name}{how}?' for name, how in conditions)}" if conditions else ""
            # What is sought beside the key is compared with every row of the partition.
            sought = {name for name, _ in rows.equals} - set(target.partition)
            sought |= {name for name, _ in conditions} - {*target.partition, *target.clustering}
            beside = " ALLOW FILTERING" if sought else ""
            # Read backwards by time, rows of one instant come backwards too.
            turned = target.time_column if order and len(target.clustering) > 1 else None
            asked = names if turned is None or turned in names else (*names, turned)
            prepared = self._client.prepare(
                f"SELECT {', '.join(asked)} FROM {self._name(rows.table)}{where}{order}{beside}"
            )
            yield prepared, arguments, asked, turned

    def count(self, table: str, device_id: str | None = None) -> int:
        """Number of rows."""
        target = catalogue_table(table)
        if target.partition == ("device_id", "date"):
            days = self.device_days("0000", "9999", device_id)
            statement = self._client.prepare(f"SELECT count(*) FROM {self._name(table)} WHERE device_id=? AND date=?")
            calls = [(statement, (day.device_id, day.date)) for day in days]
            few = (calls[i : i + COUNTED_AT_ONCE] for i in range(0, len(calls), COUNTED_AT_ONCE))
            return sum(result.one()[0] for some in few for result in self._client.run(some))
        if device_id is not None:
            statement = self._client.prepare(f"SELECT count(*) FROM {self._name(table)} WHERE device_id=?")
            return int(self._client.execute(statement, (device_id,)).one()[0])
        return int(self._client.execute(self._client.prepare(f"SELECT count(*) FROM {self._name(table)}"), ()).one()[0])

    # -- registry and ledger -----------------------------------------------------------------------------------------

    def register_devices(self, devices: Sequence[Device]) -> list[str]:
        """Add or refresh devices; a device belongs to one Kafka partition, so it has one writer at a time."""
        if not devices:
            return []
        known = {d.device_id: d for d in self.devices()}
        new = [d for d in devices if d.device_id not in known]
        merged = [
            replace(
                d,
                first_seen=min(d.first_seen, before.first_seen),
                last_seen=max(d.last_seen, before.last_seen),
                window_ms=before.window_ms,
            )
            for d in devices
            if (before := known.get(d.device_id)) is not None
        ]
        if new:
            self.upsert(Device.TABLE, Device.columns(new))
        if changed := [d for d in merged if known[d.device_id] != d]:  # the window is changed by others meanwhile
            self.upsert(Device.TABLE, Device.columns(changed, only=Device.all_but("window_ms")))
        return [d.device_id for d in new]

    def devices(self) -> list[Device]:
        """All registered devices by id."""
        return sorted(Device.read(self), key=lambda d: d.device_id)

    def device_days(self, start: str, end: str, device_id: str | None = None) -> list[DeviceDay]:
        """Device-days with data."""
        ids = [device_id] if device_id is not None else [d.device_id for d in self.devices()]
        statement = self._client.prepare(
            "SELECT device_id, date, raw_written_at, snapshots_written_at, judged_at "
            f"FROM {self._name('device_days')} WHERE device_id=? AND date>=? AND date<=?"
        )
        results = self._client.run([(statement, (name, start, end)) for name in ids])
        days = [DeviceDay(*row) for result in results for row in result]
        # A day that was only marked as judged has no data.
        return [d for d in days if d.judged_at is None or (d.raw_written_at, d.snapshots_written_at) != (None, None)]

    def unjudged(
        self, device_id: str | None = None, start_ms: int | None = None, end_ms: int | None = None
    ) -> Iterator[dict[str, list[Any]]]:
        """Windows whose content is not what was judged; marks lead to them."""
        if device_id is None:
            return self._unjudged.of_all(start_ms, end_ms)
        return self._unjudged.of_device(device_id, start_ms, end_ms)

    def _mark_unjudged(self) -> int:
        """Mark what a keyspace of version 7 or before has not judged, found by reading its days; returns windows marked."""
        names = ("snapshot_time", "revision", "judged_revision")
        marked = 0
        for day in self.device_days("0000", "9999"):
            if day.snapshots_written_at is None or day.snapshots_written_at < (day.judged_at or 0):
                continue
            begin = day_start(day.date)
            for batch in self.scan(TableSlice("device_state_snapshots", names, day.device_id, begin, begin + DAY_MS)):
                rows = [row for row in zip(*(batch[name] for name in names), strict=True) if row[1] != row[2]]
                known = self._judged_before_6([row[0] for row in rows if row[2] is None], day.device_id)
                judged = [row[0] for row in rows if row[0] in known and known[row[0]] == row[1]]
                if judged:
                    revisions = [known[time_ms] for time_ms in judged]
                    key = {"device_id": [day.device_id] * len(judged), "snapshot_time": judged}
                    self._write_rows(catalogue_table("device_state_snapshots"), key | {"judged_revision": revisions})
                left = [row[0] for row in rows if known.get(row[0]) != row[1]]
                self._unjudged.note([day.device_id] * len(left), left)
                marked += len(left)
        return marked

    def _judged_before_6(self, times_ms: list[int], device_id: str) -> dict[int, int]:
        """Revision that all three methods had judged, by window: up to version 5 verdicts alone said so."""
        if not times_ms:
            return {}
        revisions: dict[int, list[int]] = {}
        span = (min(times_ms), max(times_ms) + 1)
        for batch in self.scan(TableSlice("snapshot_verdicts", ("snapshot_time", "revision"), device_id, *span)):
            for time_ms, revision in zip(batch["snapshot_time"], batch["revision"], strict=True):
                revisions.setdefault(time_ms, []).append(revision)
        return {t: r[0] for t, r in revisions.items() if len(r) == METHODS_BEFORE_6 and len(set(r)) == 1}

    def ledger(self, topic: str) -> dict[int, LedgerEntry]:
        """Ledger entries of a topic."""
        return self._ledger(topic, None)

    def settled_ledger(self, topic: str) -> dict[int, LedgerEntry]:
        """The ledger with any transaction that is under way brought to its end first."""
        return self._ledger(topic, ConsistencyLevel.LOCAL_SERIAL)

    def _ledger(self, topic: str, consistency: int | None) -> dict[int, LedgerEntry]:
        statement = self._client.prepare(
            f"SELECT {', '.join(LEDGER_COLUMNS)} FROM {self._name('ingestion_ledger')} WHERE topic=?",
            consistency=consistency,
        )
        return {row[1]: _entry(row) for row in self._client.execute(statement, (topic,))}

    def swap_ledger(
        self, topic: str, partition: int, expected: Mapping[str, Any] | None, changes: Mapping[str, Any]
    ) -> bool:
        """Change columns of an entry if others have the values expected, by a lightweight transaction.

        The end of a lease is a cell with a time to live, so that it is the servers' clock that ends it, whatever the
        clocks of the machines that hold leases say.
        """
        attempts = 0

        def once() -> bool:
            nonlocal attempts
            attempts += 1
            if attempts > 1:  # the attempt before may have been applied although it timed out
                entry = self.settled_ledger(topic).get(partition)
                lasting = {name: value for name, value in changes.items() if name != "held_until"}
                if entry is not None and lasting and all(getattr(entry, n) == v for n, v in lasting.items()):
                    return True
            statement, arguments = self._swap(topic, partition, expected, changes)
            return bool(self._client.execute_once(statement, arguments).one()[0])

        return self._client.retried(once)

    def _swap(
        self, topic: str, partition: int, expected: Mapping[str, Any] | None, changes: Mapping[str, Any]
    ) -> tuple[PreparedStatement, tuple[Any, ...]]:
        """The transaction and its arguments; a second time it would not apply, so the driver must not repeat it."""
        name, key = self._name("ingestion_ledger"), (topic, partition)
        if expected is None:
            text = (
                f"INSERT INTO {name} (topic, kafka_partition, {', '.join(changes)}) "
                f"VALUES (?, ?{', ?' * len(changes)}) IF NOT EXISTS"
            )
            return self._client.prepare(text, idempotent=False), (*key, *changes.values())
        where = "WHERE topic=? AND kafka_partition=?"
        lasting = {n: v for n, v in changes.items() if n != "held_until" or v is None}
        ending = {n: v for n, v in changes.items() if n not in lasting}
        # A row of an earlier version has no fencing number yet.
        condition = "IF " + " AND ".join(
            f"{n} IN (0, null)" if (n, v) == ("fence", 0) else f"{n}=?" for n, v in expected.items()
        )
        conditions = tuple(v for n, v in expected.items() if (n, v) != ("fence", 0))
        updates, arguments = [], ()
        for columns, lifetime in ((lasting, ""), (ending, f"USING TTL {LEASE_SECONDS} ")):
            if columns:
                updates.append(f"UPDATE {name} {lifetime}SET {', '.join(f'{n}=?' for n in columns)} {where}")
                arguments = (*arguments, *columns.values(), *key)
        if len(updates) == 1:
            return self._client.prepare(f"{updates[0]} {condition}", idempotent=False), (*arguments, *conditions)
        text = f"BEGIN BATCH {updates[0]}; {updates[1]} {condition}; APPLY BATCH"
        return self._client.prepare(text, idempotent=False), (*arguments, *conditions)

    def remembered(self) -> dict[str, str]:
        """Settings that the store was made with."""
        return dict(self._client.execute(f"SELECT name, value FROM {self._name('store_settings')}"))

    def remember(self, name: str, value: str) -> None:
        """Record a setting that the store was made with."""
        self.upsert("store_settings", {"name": [name], "value": [value], "set_at": [now_ms()]})

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
        """Nearest states: by the vector index, or by one exact pass over the span where there are many queries."""
        query = NearestQuery(
            device_id,
            checked_vectors(queries),
            k,
            embedding_method,
            start_ms,
            end_ms,
            normal_only,
            query_times_ms,
            exclude_ms,
        )
        return self._nearest.find(query)

    # -- upkeep ------------------------------------------------------------------------------------------------------

    def purge(self, now_ms: int) -> dict[str, int]:
        """Nothing to do: the server expires rows by their table's time to live."""
        del now_ms
        return {}

    def close(self) -> None:
        """End the session."""
        self._client.close()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _name(self, table: str) -> str:
        return f"{self._client.settings.keyspace}.{table}"

    def _has_vectors(self, table: str) -> bool:
        return table == "device_state_snapshots" and self._schema.separate_vectors

    def _write_rows(self, target: Table, columns: Columns) -> int:
        if not columns:
            return 0
        complete = _with_date(target, columns)
        names = tuple(name for name in complete if name in target.columns)
        if not names or not len(complete[names[0]]):
            return 0
        if "embedding" in names and self._has_vectors(target.name):
            self._write_vectors(complete)
        return self._insert(target.name, target, names, complete)

    def _unwritten(self, target: Table, columns: Columns) -> Columns:
        """Those rows of a table written once whose keys aren't there yet; of rows with one key the first."""
        complete = _with_date(target, columns)
        *group, last = target.partition + target.clustering
        keys = list(zip(*(_listed(complete[name]) for name in (*group, last)), strict=True))
        sought: dict[tuple[Any, ...], list[Any]] = {}
        for *of, value in dict.fromkeys(keys):
            sought.setdefault(tuple(of), []).append(value)
        statement = self._client.prepare(
            f"SELECT {', '.join((*group, last))} FROM {self._name(target.name)} "
            f"WHERE {' AND '.join(f'{name}=?' for name in group)} AND {last} IN ?"
        )
        calls = [
            (statement, (*of, values[i : i + KEYS_AT_ONCE]))
            for of, values in sought.items()
            for i in range(0, len(values), KEYS_AT_ONCE)
        ]
        there = {tuple(row) for result in self._client.run(calls) for row in result}
        first = {key: i for i, key in reversed(list(enumerate(keys))) if key not in there}
        return _taken(complete, sorted(first.values()))

    def _write_vectors(self, columns: Columns) -> None:
        """Vectors into the table that the index is on: always by an INSERT of the whole row, never by an UPDATE."""
        snapshots = catalogue_table("device_state_snapshots")
        complete = _with_date(snapshots, columns)
        checked_vectors(complete["embedding"])
        if "embedding_method" not in complete:
            raise StoreError("a vector is written together with embedding_method, the encoder that made it")
        names = (*snapshots.partition, *snapshots.clustering, "embedding", "embedding_method")
        self._insert(VECTOR_TABLE, snapshots, names, complete)

    def _insert(self, name: str, target: Table, names: Sequence[str], columns: Columns) -> int:
        statement = self._client.prepare(
            f"INSERT INTO {self._name(name)} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        )
        given = len(columns[names[0]])
        made = batches(target, statement, names, _last_of_each_key(target, columns), self._client.protocol_version)
        self._client.run([(batch, None) for batch in made])
        return given

    def _read(
        self,
        result: ResultSet,
        target: Table,
        names: Sequence[str],
        batch_rows: int,
        turned: str | None,
    ) -> Iterator[dict[str, list[Any]]]:
        """Rows of a result, so many at a time; where a column is named, rows with one value of it are turned round."""
        columns: list[list[Any]] = [[] for _ in names]
        fresh: list[list[Any]] = [[] for _ in names]
        while True:
            page = result.current_rows
            if page:
                for column, read in zip(fresh, zip(*page, strict=True), strict=True):
                    column.extend(read)
            more = result.has_more_pages
            ready, fresh = (fresh, [[] for _ in names]) if turned is None else _turned(fresh, names.index(turned), more)
            for column, values in zip(columns, ready, strict=True):
                column.extend(values)
            while columns[0] and (not more or len(columns[0]) >= batch_rows):
                first = [column[:batch_rows] for column in columns]
                yield {name: read_column(target, name, column) for name, column in zip(names, first, strict=True)}
                columns = [column[batch_rows:] for column in columns]
            if not more:
                return
            self._client.next_page(result)

    def _partitions(self, target: Table, rows: TableSlice) -> Iterator[tuple[list[tuple[str, str]], list[Any]]]:
        """Conditions and arguments of each partition that a slice concerns."""
        conditions: list[tuple[str, str]] = [(name, "=") for name, _ in rows.equals]
        arguments: list[Any] = [value for _, value in rows.equals]
        bounds: list[tuple[str, str]] = []
        limits: list[Any] = []
        by_day = target.partition == ("date",) and target.time_column is not None
        if target.time_column is not None and (target.time_column in target.clustering or by_day):
            for how, limit in ((">=", rows.start_ms), ("<", rows.end_ms)):
                if limit is not None:
                    bounds.append((target.time_column, how))
                    limits.append(limit)
        if by_day and rows.start_ms is not None and rows.end_ms is not None and "date" not in dict(rows.equals):
            of_device = [] if rows.device_id is None else [("device_id", "=")]
            for date in days_between(day_of(rows.start_ms), day_of(max(rows.end_ms - 1, 0))):
                named = [date, *([] if rows.device_id is None else [rows.device_id])]
                yield [("date", "="), *of_device, *conditions, *bounds], [*named, *arguments, *limits]
        elif target.partition == ("device_id", "date"):
            for device_id, date in self._device_dates(rows):
                yield (
                    [("device_id", "="), ("date", "="), *conditions, *bounds],
                    [device_id, date, *arguments, *limits],
                )
        elif rows.device_id is not None:
            yield [("device_id", "="), *conditions, *bounds], [rows.device_id, *arguments, *limits]
        elif target.partition == ("device_id",) and target.time_column in target.clustering:
            # In order of time, and from a time on, CQL reads one partition at a time only.
            for device in self.devices():
                yield [("device_id", "="), *conditions, *bounds], [device.device_id, *arguments, *limits]
        else:
            yield [*conditions, *bounds], [*arguments, *limits]

    def _device_dates(self, rows: TableSlice) -> list[tuple[str, str]]:
        first = "0000" if rows.start_ms is None else day_of(rows.start_ms)
        last = "9999" if rows.end_ms is None else day_of(max(rows.end_ms - 1, 0))
        if rows.device_id is not None and rows.start_ms is not None and rows.end_ms is not None:
            spanned = days_between(first, last)
            if len(spanned) <= FEW_DAYS:
                return [(rows.device_id, date) for date in spanned]
        return [(day.device_id, day.date) for day in self.device_days(first, last, rows.device_id)]

    def _mark_days(self, table: str, device_ids: Sequence[str], times_ms: NDArray[np.int64]) -> None:
        """Device-days that got rows, and the static attributes of their partitions where they are new or changed."""
        days = np.asarray(times_ms, dtype=np.int64) // DAY_MS
        single = bool((days == days[0]).all())  # most batches lie within a day
        pairs = (
            [(device_id, day_of(int(days[0]) * DAY_MS)) for device_id in dict.fromkeys(device_ids)]
            if single
            else [
                (device_id, day_of(day * DAY_MS))
                for device_id, day in dict.fromkeys(zip(device_ids, days.tolist(), strict=True))
            ]
        )
        mark = self._client.prepare(
            f"INSERT INTO {self._name('device_days')} (device_id, date, {STATIC_TABLES[table]}) VALUES (?,?,?)"
        )
        written = now_ms()
        calls: list[tuple[Any, Any]] = [(mark, (device_id, date, written)) for device_id, date in pairs]
        statics = self._new_statics(table, pairs)
        static = self._client.prepare(
            f"INSERT INTO {self._name(table)} (device_id, date, device_type, location, building_id) VALUES (?,?,?,?,?)"
        )
        calls += [(static, (device_id, date, *attributes)) for (_, device_id, date), attributes in statics.items()]
        self._client.run(calls)
        self._written_statics.update(statics)

    def _mark_written(self, table: str, columns: Columns) -> None:
        """Mark windows that are unjudged now that these columns of them are written."""
        if table != "device_state_snapshots":
            return
        n = len(columns["snapshot_time"])
        revisions, judged = columns.get("revision", [None] * n), columns.get("judged_revision", [None] * n)
        new = [i for i in range(n) if judged[i] is None or ("revision" in columns and judged[i] != revisions[i])]
        if new:
            self._unjudged.note([columns["device_id"][i] for i in new], [int(columns["snapshot_time"][i]) for i in new])

    def _new_statics(
        self, table: str, pairs: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str, str], tuple[str, str, str]]:
        """Static attributes by (table, device, date) that this process has not written yet."""
        unknown = [pair for pair in pairs if (table, *pair) not in self._written_statics]
        if not unknown:
            return {}
        if len(self._written_statics) > MOST_STATICS:
            self._written_statics.clear()
        registered = {d.device_id: (d.device_type, d.location, d.building_id) for d in self.devices()}
        return {(table, *pair): registered[pair[0]] for pair in unknown if pair[0] in registered}


def _entry(row: Sequence[Any]) -> LedgerEntry:
    """A ledger entry; columns that a row of an earlier version lacks are 0, and a lease that is there has not ended."""
    known = dict(zip(LEDGER_COLUMNS, row, strict=True))
    for name in ("skipped_offsets", "fence", "failures"):
        known[name] = known[name] or 0
    if known["held_until"] is not None:
        known["held_until"] = now_ms() + 1000 * LEASE_SECONDS
    return LedgerEntry(**known)


def _turned(columns: list[list[Any]], by: int, more: bool) -> tuple[list[list[Any]], list[list[Any]]]:
    """Rows with those of one value of a column turned round, and those that have to wait for what is still to come.

    >>> _turned([[1, 1, 2, 2], ["b", "a", "d", "c"]], 0, True)
    ([[1, 1], ['a', 'b']], [[2, 2], ['d', 'c']])
    """
    values = np.array(columns[by], dtype=np.int64)
    first = np.flatnonzero(np.diff(values, prepend=values[:1] - 1))
    last = np.append(first[1:], len(values))[: len(first)]
    whole = int(first[-1]) if more and len(first) else len(values)
    order = (np.repeat(first + last - 1, last - first) - np.arange(len(values)))[:whole].tolist()
    return [[column[i] for i in order] for column in columns], [column[whole:] for column in columns]


def _taken(columns: Columns, rows: Sequence[int]) -> Columns:
    """Some rows of columns."""
    return {
        name: values[rows] if isinstance(values, np.ndarray) else [values[i] for i in rows]
        for name, values in columns.items()
    }


def _last_of_each_key(target: Table, columns: Columns) -> Columns:
    """Of rows with one key the last, as if they were written one after another.

    Rows of one batch have one write time, and of cells with one write time CQL keeps the greater value: rows would mix.
    """
    keys = list(zip(*(_listed(columns[name]) for name in target.key), strict=True))
    if len(set(keys)) == len(keys):
        return columns
    last = {key: i for i, key in enumerate(keys)}
    return _taken(columns, sorted(last.values()))


def _with_date(target: Table, columns: Columns) -> Columns:
    """Columns with the day that follows from the time column, where the table has one."""
    if "date" not in target.columns or "date" in columns or target.time_column is None:
        return columns
    return {**columns, "date": day_labels(np.asarray(columns[target.time_column], dtype=np.int64))}


def _listed(values: Any) -> list[Any]:
    listed: list[Any] = values.tolist() if isinstance(values, np.ndarray) else list(values)
    return listed
