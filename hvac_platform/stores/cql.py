"""The CQL store: ScyllaDB or Cassandra through cassandra-driver.

Rows are written in UNLOGGED batches of one partition, sized by bytes, with bounded concurrency. Every statement is
prepared and idempotent, so a retry is harmless. Timestamps and vectors bypass the driver's per-value codecs: they travel as
int64 milliseconds and as big-endian float32 bytes, which is what the wire holds anyway.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any, ClassVar

import msgspec
import numpy as np
from cassandra import ConsistencyLevel, DriverException, InvalidRequest, RequestExecutionException
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.concurrent import execute_concurrent
from cassandra.cqltypes import BytesType, LongType
from cassandra.policies import DCAwareRoundRobinPolicy, RoundRobinPolicy, TokenAwarePolicy
from cassandra.protocol import ProtocolHandler, ResultMessage
from cassandra.query import BatchStatement, BatchType, PreparedStatement, tuple_factory
from numpy.typing import NDArray

from hvac_platform.stores.base import (
    EMBEDDING_DIMENSION,
    Columns,
    Device,
    DeviceDay,
    LedgerEntry,
    Neighbours,
    StoreError,
    TableSlice,
)
from hvac_platform.stores.tables import SCHEMA_DIRECTORY, Table, tables
from hvac_platform.stores.tables import table as catalogue_table
from hvac_platform.stores.vectors import NearestSearch, checked_vectors
from hvac_platform.timestamps import DAY_MS, day_of, days_between, now_ms

SCHEMA_VERSION = 1
REQUEST_SECONDS = 20.0
CONNECT_SECONDS = 10.0
CONCURRENCY = 32
BATCH_BYTES = 32_000  # under Cassandra's default limit of 50 KiB a batch
BATCH_ROWS = 200
ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.2
INDEXED_QUERIES = 8
ANN_LIMIT = 1000
STATIC_TABLES = {"device_metrics_raw": "raw_written_at", "device_state_snapshots": "snapshots_written_at"}
RETRIED = (NoHostAvailable, RequestExecutionException, DriverException)

_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class CqlSettings:
    """How to reach a cluster.

    Attributes:
        hosts: contact points.
        port: native protocol port.
        keyspace: keyspace of the platform.
        username: empty for none.
        password: never logged.
        dialect: ``scylla`` or ``cassandra``; detected when empty.
        datacenter: local data center; detected when empty.
        replication_factor: of a keyspace that is created.
        tls_context: an ``ssl.SSLContext``, or None.
    """

    hosts: tuple[str, ...]
    port: int = 9042
    keyspace: str = "iot_monitoring"
    username: str = ""
    password: str = ""
    dialect: str = ""
    datacenter: str = ""
    replication_factor: int = 3
    tls_context: Any = None

    def __repr__(self) -> str:
        """Without the password."""
        return f"CqlSettings({','.join(self.hosts)}:{self.port}/{self.keyspace})"


class CqlStore:
    """Store on ScyllaDB or Cassandra; one session a process, made after any fork."""

    def __init__(self, settings: CqlSettings) -> None:
        self._settings = settings
        self._prepared: dict[str, PreparedStatement] = {}
        auth = PlainTextAuthProvider(settings.username, settings.password) if settings.username else None
        balancing = DCAwareRoundRobinPolicy(settings.datacenter) if settings.datacenter else RoundRobinPolicy()
        profile = ExecutionProfile(
            load_balancing_policy=TokenAwarePolicy(balancing),
            consistency_level=ConsistencyLevel.LOCAL_QUORUM,
            serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
            request_timeout=REQUEST_SECONDS,
            row_factory=tuple_factory,
        )
        self._cluster = Cluster(
            list(settings.hosts),
            port=settings.port,
            auth_provider=auth,
            ssl_context=settings.tls_context,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            connect_timeout=CONNECT_SECONDS,
            control_connection_timeout=CONNECT_SECONDS,
            sockopts=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        try:
            self._session: Session = self._cluster.connect()
            self._session.client_protocol_handler = _PlainProtocolHandler
        except (NoHostAvailable, DriverException, OSError) as error:
            self._cluster.shutdown()
            raise StoreError(_unreachable(settings, error)) from None
        if self.schema_versions()[0] == 0:
            self.apply_schema()

    @property
    def location(self) -> str:
        """Hosts and keyspace."""
        return f"{','.join(self._settings.hosts)}:{self._settings.port}/{self._settings.keyspace}"

    @property
    def dialect(self) -> str:
        """``scylla`` or ``cassandra``: as set, else by the system table that only ScyllaDB has."""
        if self._settings.dialect:
            return self._settings.dialect
        found = self._session.execute(
            "SELECT table_name FROM system_schema.tables WHERE keyspace_name='system' AND table_name='scylla_local'"
        )
        return "scylla" if found.one() else "cassandra"

    # -- schema ------------------------------------------------------------------------------------------------------

    def schema_versions(self) -> tuple[int, int]:
        """(version found, version needed); a keyspace that lacks a table counts as version 0."""
        found = self._session.execute(
            "SELECT table_name FROM system_schema.tables WHERE keyspace_name=%s", (self._settings.keyspace,)
        )
        there = {row[0] for row in found}
        indexed = self._session.execute(
            "SELECT index_name FROM system_schema.indexes WHERE keyspace_name=%s", (self._settings.keyspace,)
        )
        complete = set(tables()) <= there and bool(list(indexed))
        return SCHEMA_VERSION if complete else 0, SCHEMA_VERSION

    def schema_statements(self) -> list[str]:
        """The DDL of this dialect: keyspace, tables, vector index."""
        datacenter = self._settings.datacenter or self._session.execute("SELECT data_center FROM system.local").one()[0]
        return schema_statements(self.dialect, self._settings.keyspace, datacenter, self._settings.replication_factor)

    def apply_schema(self, *, dry_run: bool = False) -> list[str]:
        """Create what is missing; safe to repeat and for several processes at once."""
        if self.schema_versions()[0] == SCHEMA_VERSION:
            return []
        statements = self.schema_statements()
        if not dry_run:
            for statement in statements:
                self._session.execute(statement, timeout=60)
        return [" ".join(statement.split("(")[0].split()) for statement in statements]

    # -- rows --------------------------------------------------------------------------------------------------------

    def upsert(self, table: str, columns: Columns) -> int:
        """Write whole rows by key."""
        target = catalogue_table(table)
        rows = self._write_rows(target, columns)
        if rows and table in STATIC_TABLES:
            self._mark_days(table, columns["device_id"], columns[str(target.time_column)])
        return rows

    def update(self, table: str, columns: Columns) -> int:
        """Write some columns of rows; in CQL that is the same statement."""
        return self._write_rows(catalogue_table(table), columns)

    def delete(self, table: str, keys: Columns) -> None:
        """Delete rows by their whole key."""
        target = catalogue_table(table)
        names = target.partition + target.clustering
        prepared = self._prepare(f"DELETE FROM {self._name(table)} WHERE {' AND '.join(f'{name}=?' for name in names)}")
        values = self._values(target, _with_date(target, keys), names)
        self._run([(prepared, row) for row in zip(*values, strict=True)])

    def scan(self, rows: TableSlice, *, batch_rows: int = 50_000) -> Iterator[dict[str, list[Any]]]:
        """Read rows partition by partition, in order of time."""
        target = catalogue_table(rows.table)
        names = rows.columns or tuple(target.columns)
        for conditions, arguments in self._partitions(target, rows):
            order = f" ORDER BY {target.clustering[0]} ASC" if target.time_column in target.clustering[:1] else ""
            where = f" WHERE {' AND '.join(f'{name}{how}?' for name, how in conditions)}" if conditions else ""
            prepared = self._prepare(f"SELECT {', '.join(names)} FROM {self._name(rows.table)}{where}{order}")
            yield from self._read(prepared, arguments, target, names, batch_rows)

    def count(self, table: str, device_id: str | None = None) -> int:
        """Number of rows."""
        target = catalogue_table(table)
        if target.partition == ("device_id", "date"):
            days = self.device_days("0000", "9999", device_id)
            statement = self._prepare(f"SELECT count(*) FROM {self._name(table)} WHERE device_id=? AND date=?")
            results = self._run([(statement, (day.device_id, day.date)) for day in days])
            return sum(result.one()[0] for result in results)
        if device_id is not None:
            statement = self._prepare(f"SELECT count(*) FROM {self._name(table)} WHERE device_id=?")
            return int(self._execute(statement, (device_id,)).one()[0])
        return int(self._execute(self._prepare(f"SELECT count(*) FROM {self._name(table)}"), ()).one()[0])

    # -- registry and ledger -----------------------------------------------------------------------------------------

    def register_devices(self, devices: Sequence[Device]) -> list[str]:
        """Add or refresh devices; a device belongs to one Kafka partition, so it has one writer at a time."""
        if not devices:
            return []
        known = {d.device_id: d for d in self.devices()}
        merged = [
            Device(
                d.device_id,
                d.device_type,
                d.location,
                d.building_id,
                min(d.first_seen, known[d.device_id].first_seen) if d.device_id in known else d.first_seen,
                max(d.last_seen, known[d.device_id].last_seen) if d.device_id in known else d.last_seen,
                d.kafka_partition,
            )
            for d in devices
        ]
        changed = [d for d in merged if known.get(d.device_id) != d]
        if changed:
            names = tuple(catalogue_table("devices").columns)
            self.upsert("devices", {name: [getattr(d, name) for d in changed] for name in names})
        return [d.device_id for d in devices if d.device_id not in known]

    def devices(self) -> list[Device]:
        """All registered devices by id."""
        names = tuple(catalogue_table("devices").columns)
        found = [
            Device(**dict(zip(names, row, strict=True)))
            for batch in self.scan(TableSlice("devices"))
            for row in zip(*(batch[name] for name in names), strict=True)
        ]
        return sorted(found, key=lambda d: d.device_id)

    def device_days(self, start: str, end: str, device_id: str | None = None) -> list[DeviceDay]:
        """Device-days with data."""
        ids = [device_id] if device_id is not None else [d.device_id for d in self.devices()]
        statement = self._prepare(
            "SELECT device_id, date, raw_written_at, snapshots_written_at, judged_at "
            f"FROM {self._name('device_days')} WHERE device_id=? AND date>=? AND date<=?"
        )
        results = self._run([(statement, (name, start, end)) for name in ids])
        return [DeviceDay(*row) for result in results for row in result]

    def mark_judged(self, days: Sequence[tuple[str, str]], judged_at: int) -> None:
        """Record that these device-days had nothing left to judge."""
        statement = self._prepare(f"UPDATE {self._name('device_days')} SET judged_at=? WHERE device_id=? AND date=?")
        self._run([(statement, (judged_at, device_id, date)) for device_id, date in days])

    def ledger(self, topic: str) -> dict[int, LedgerEntry]:
        """Ledger entries of a topic."""
        statement = self._prepare(
            "SELECT topic, kafka_partition, next_offset, run_id, updated_at, watermark, skipped_offsets "
            f"FROM {self._name('ingestion_ledger')} WHERE topic=?"
        )
        return {row[1]: LedgerEntry(*row) for row in self._execute(statement, (topic,))}

    def advance_ledger(
        self, topic: str, partition: int, start: int, end: int, *, run_id: str, watermark: int | None, skipped: int = 0
    ) -> bool:
        """Move the ledger from ``start`` to ``end`` if it stands at ``start``, by a lightweight transaction."""
        entry = self.ledger(topic).get(partition)
        latest = max((w for w in (watermark, entry.watermark if entry else None) if w is not None), default=None)
        total = skipped + (entry.skipped_offsets if entry else 0)
        name = self._name("ingestion_ledger")
        if entry is None:
            statement = self._prepare(
                f"INSERT INTO {name} (topic, kafka_partition, next_offset, run_id, updated_at, watermark, "
                "skipped_offsets) VALUES (?,?,?,?,?,?,?) IF NOT EXISTS",
                idempotent=False,
            )
            row: tuple[Any, ...] = (topic, partition, end, run_id, now_ms(), latest, total)
        else:
            statement = self._prepare(
                f"UPDATE {name} SET next_offset=?, run_id=?, updated_at=?, watermark=?, skipped_offsets=? "
                "WHERE topic=? AND kafka_partition=? IF next_offset=?",
                idempotent=False,
            )
            row = (end, run_id, now_ms(), latest, total, topic, partition, start)
        try:
            return bool(self._session.execute(statement, row).one()[0])
        except RETRIED:
            # A transaction that timed out may have been applied; the ledger itself tells.
            moved = self.ledger(topic).get(partition)
            if moved is not None and moved.next_offset == end and moved.run_id == run_id:
                return True
            raise

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
        """Nearest states: ScyllaDB's local index for a few queries, one exact pass over the span otherwise.

        What the index returns is ranked again by the exact cosine of the vectors that come with it, and rows of another
        encoder, flagged ones or those outside the span are left out here.
        """
        queries = checked_vectors(queries)
        search = NearestSearch(queries, k, query_times_ms=query_times_ms, exclude_ms=exclude_ms)
        # Cassandra 5.0.9 does not find a vector that was added to a row still in the memtable by a search within the row's
        # partition, so there the pass is always exact.
        if len(queries) > INDEXED_QUERIES or self.dialect == "cassandra":
            rows = TableSlice(
                "device_state_snapshots",
                ("snapshot_time", "is_anomalous", "embedding_method", "embedding"),
                device_id,
                start_ms,
                end_ms,
            )
            for batch in self.scan(rows, batch_rows=8192):
                self._consider(search, list(batch.values()), embedding_method, start_ms, end_ms, normal_only)
            return search.result()
        singles = [
            self._nearest_one(
                device_id,
                queries[i : i + 1],
                k,
                embedding_method,
                (start_ms, end_ms),
                normal_only,
                None if query_times_ms is None else query_times_ms[i : i + 1],
                exclude_ms,
            )
            for i in range(len(queries))
        ]
        return Neighbours(
            np.concatenate([s.times_ms for s in singles]),
            np.concatenate([s.similarity for s in singles]),
            np.concatenate([s.anomalous for s in singles]),
        )

    def _nearest_one(
        self,
        device_id: str,
        query: NDArray[np.float32],
        k: int,
        embedding_method: str,
        span: tuple[int | None, int | None],
        normal_only: bool,
        query_time_ms: NDArray[np.int64] | None,
        exclude_ms: int,
    ) -> Neighbours:
        search = NearestSearch(query, k, query_times_ms=query_time_ms, exclude_ms=exclude_ms)
        limit = min(ANN_LIMIT, 2 * k + 2 * exclude_ms // 60_000 + 50)
        selected = "snapshot_time, is_anomalous, embedding_method, embedding"
        name = self._name("device_state_snapshots")
        vector = query[0].astype(">f4").tobytes()
        statement = self._prepare(
            f"SELECT {selected} FROM {name} WHERE device_id=? ORDER BY embedding ANN OF ? LIMIT {limit}"
        )
        calls = [(statement, (device_id, vector))]
        for result in self._run(calls):
            rows = list(result)
            if rows:
                columns = [list(column) for column in zip(*rows, strict=True)]
                self._consider(search, columns, embedding_method, span[0], span[1], normal_only)
        return search.result()

    @staticmethod
    def _consider(
        search: NearestSearch,
        columns: list[list[Any]],
        embedding_method: str,
        start_ms: int | None,
        end_ms: int | None,
        normal_only: bool,
    ) -> None:
        """Rows (time, flag, method, vector) that qualify."""
        kept = [
            (time_ms, bool(flag), vector)
            for time_ms, flag, method, vector in zip(*columns, strict=True)
            if vector is not None
            and method == embedding_method
            and (start_ms is None or time_ms >= start_ms)
            and (end_ms is None or time_ms < end_ms)
            and not (normal_only and flag)
        ]
        if kept:
            times, flags, vectors = zip(*kept, strict=True)
            wire = "<f4" if len(columns[3]) and isinstance(vectors[0], _LittleEndian) else ">f4"
            stacked = np.frombuffer(b"".join(vectors), dtype=wire).reshape(-1, EMBEDDING_DIMENSION)
            search.add(np.array(times, dtype=np.int64), stacked.astype(np.float32), np.array(flags, dtype=bool))

    # -- upkeep ------------------------------------------------------------------------------------------------------

    def purge(self, now_ms: int) -> dict[str, int]:
        """Nothing to do: the server expires rows by their table's time to live."""
        del now_ms
        return {}

    def close(self) -> None:
        """End the session."""
        self._cluster.shutdown()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _name(self, table: str) -> str:
        return f"{self._settings.keyspace}.{table}"

    def _prepare(self, statement: str, *, idempotent: bool = True) -> PreparedStatement:
        """Prepared once a session; timestamps as int64 and vectors as bytes, in and out."""
        if statement not in self._prepared:
            prepared = _retried(lambda: self._session.prepare(statement))
            prepared.is_idempotent = idempotent
            prepared.column_metadata = [_plain(meta) for meta in prepared.column_metadata]
            self._prepared[statement] = prepared
        return self._prepared[statement]

    def _execute(self, statement: PreparedStatement, arguments: Sequence[Any]) -> Any:
        return _retried(lambda: self._session.execute(statement, arguments))

    def _run(self, calls: Sequence[tuple[Any, Any]]) -> list[Any]:
        """Results of many idempotent calls, in order, with bounded concurrency."""
        if not calls:
            return []
        results = _retried(
            lambda: execute_concurrent(self._session, calls, concurrency=CONCURRENCY, raise_on_first_error=True)
        )
        return [result for _, result in results]

    def _values(self, target: Table, columns: Columns, names: Sequence[str]) -> list[Sequence[Any]]:
        """Columns as the wire takes them."""
        return [_to_cql(target, name, columns[name]) for name in names]

    def _write_rows(self, target: Table, columns: Columns) -> int:
        complete = _with_date(target, columns)
        names = tuple(name for name in complete if name in target.columns)
        values = self._values(target, complete, names)
        if not values or not len(values[0]):
            return 0
        statement = self._prepare(
            f"INSERT INTO {self._name(target.name)} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        )
        keys = [names.index(name) for name in target.partition]
        self._run([(batch, None) for batch in _batches(statement, zip(*values, strict=True), keys)])
        return len(values[0])

    def _read(
        self,
        statement: PreparedStatement,
        arguments: Sequence[Any],
        target: Table,
        names: Sequence[str],
        batch_rows: int,
    ) -> Iterator[dict[str, list[Any]]]:
        columns: list[list[Any]] = [[] for _ in names]
        result = self._execute(statement, arguments)
        while True:
            page = result.current_rows
            if page:
                for column, values in zip(columns, zip(*page, strict=True), strict=True):
                    column.extend(values)
            more = result.has_more_pages
            if columns[0] and (not more or len(columns[0]) >= batch_rows):
                yield {name: _from_cql(target, name, column) for name, column in zip(names, columns, strict=True)}
                columns = [[] for _ in names]
            if not more:
                return
            _retried(result.fetch_next_page)

    def _partitions(self, target: Table, rows: TableSlice) -> Iterator[tuple[list[tuple[str, str]], list[Any]]]:
        """Conditions and arguments of each partition that a slice concerns."""
        conditions: list[tuple[str, str]] = [(name, "=") for name, _ in rows.equals]
        arguments: list[Any] = [value for _, value in rows.equals]
        bounds: list[tuple[str, str]] = []
        limits: list[Any] = []
        if target.time_column is not None and target.time_column in target.clustering:
            for how, limit in ((">=", rows.start_ms), ("<", rows.end_ms)):
                if limit is not None:
                    bounds.append((target.time_column, how))
                    limits.append(limit)
        if target.partition == ("device_id", "date"):
            for device_id, date in self._device_dates(rows):
                yield (
                    [("device_id", "="), ("date", "="), *conditions, *bounds],
                    [device_id, date, *arguments, *limits],
                )
        elif rows.device_id is not None:
            yield [("device_id", "="), *conditions, *bounds], [rows.device_id, *arguments, *limits]
        else:
            yield conditions, arguments

    def _device_dates(self, rows: TableSlice) -> list[tuple[str, str]]:
        first = "0000" if rows.start_ms is None else day_of(rows.start_ms)
        last = "9999" if rows.end_ms is None else day_of(max(rows.end_ms - 1, 0))
        if rows.device_id is not None and rows.start_ms is not None and rows.end_ms is not None:
            spanned = days_between(first, last)
            if len(spanned) <= 3:  # so few that asking which exist costs more than an empty read
                return [(rows.device_id, date) for date in spanned]
        return [(day.device_id, day.date) for day in self.device_days(first, last, rows.device_id)]

    def _mark_days(self, table: str, device_ids: Sequence[str], times_ms: NDArray[np.int64]) -> None:
        """Device-days that got rows, and the static attributes of their partitions."""
        days = (np.asarray(times_ms, dtype=np.int64) // DAY_MS).tolist()
        pairs = [(d, day_of(day * DAY_MS)) for d, day in dict.fromkeys(zip(device_ids, days, strict=True))]
        mark = self._prepare(
            f"INSERT INTO {self._name('device_days')} (device_id, date, {STATIC_TABLES[table]}) VALUES (?,?,?)"
        )
        static = self._prepare(
            f"INSERT INTO {self._name(table)} (device_id, date, device_type, location, building_id) VALUES (?,?,?,?,?)"
        )
        written, registered = now_ms(), {d.device_id: d for d in self.devices()}
        calls: list[tuple[Any, Any]] = [(mark, (device_id, date, written)) for device_id, date in pairs]
        calls += [
            (static, (device_id, date, d.device_type, d.location, d.building_id))
            for device_id, date in pairs
            if (d := registered.get(device_id)) is not None
        ]
        self._run(calls)


class _PlainResultMessage(ProtocolHandler.message_types_by_opcode[ResultMessage.opcode]):  # type: ignore[misc]
    """Results whose timestamps stay int64 and whose vectors stay bytes."""

    column_metadata: list[Any] | None

    def recv_results_metadata(self, f: Any, user_type_map: Any) -> None:
        super().recv_results_metadata(f, user_type_map)
        if self.column_metadata:
            self.column_metadata = [_plain(meta) for meta in self.column_metadata]


class _PlainProtocolHandler(ProtocolHandler):  # type: ignore[misc]
    message_types_by_opcode: ClassVar[dict[int, Any]] = {
        **ProtocolHandler.message_types_by_opcode,
        ResultMessage.opcode: _PlainResultMessage,
    }


class _LittleEndian(bytes):
    """A vector as the store protocol gives it, to tell it from one as the wire gives it."""

    __slots__ = ()


def schema_statements(dialect: str, keyspace: str, datacenter: str, replication_factor: int) -> list[str]:
    """DDL of a dialect with its variables filled in.

    Raises:
        StoreError: there is no such dialect.
    """
    if dialect not in {"cassandra", "scylla"}:
        raise StoreError(f"unknown CQL dialect {dialect!r}: use cassandra or scylla")
    values = {"keyspace": keyspace, "datacenter": datacenter, "replication_factor": str(replication_factor)}
    statements = []
    for path in (f"{dialect}/keyspace.cql", "cql/tables.cql", f"{dialect}/index.cql"):
        text = (SCHEMA_DIRECTORY / path).read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
        statements += [s.strip() for s in Template("\n".join(lines)).substitute(values).split(";") if s.strip()]
    return statements


def _batches(
    statement: PreparedStatement, rows: Iterable[tuple[Any, ...]], keys: Sequence[int]
) -> Iterator[BatchStatement]:
    """UNLOGGED batches of rows of one partition each, within the limits of rows and bytes."""
    open_batches: dict[tuple[Any, ...], tuple[BatchStatement, int, int]] = {}
    for row in rows:
        key = tuple(row[i] for i in keys)
        bound = statement.bind(row)
        size = sum(len(value) for value in bound.values if isinstance(value, bytes)) + 8 * len(row)
        batch, count, used = open_batches.get(key, (None, 0, 0))
        if batch is None or count >= BATCH_ROWS or used + size > BATCH_BYTES:
            if batch is not None:
                yield batch
            batch, count, used = BatchStatement(BatchType.UNLOGGED), 0, 0
            batch.is_idempotent = True
        batch.add(bound)
        open_batches[key] = (batch, count + 1, used + size)
    yield from (batch for batch, _, _ in open_batches.values())


def _plain(meta: Any) -> Any:
    """Column metadata with timestamps as int64 and vectors as bytes."""
    kind = meta[3].cql_parameterized_type() if hasattr(meta[3], "cql_parameterized_type") else ""
    if kind == "timestamp":
        return _retyped(meta, LongType)
    if kind.startswith("vector") or "VectorType" in kind:
        return _retyped(meta, BytesType)
    return meta


def _retyped(meta: Any, kind: type) -> Any:
    return meta._replace(type=kind) if hasattr(meta, "_replace") else (*meta[:3], kind)


def _with_date(target: Table, columns: Columns) -> Columns:
    """Columns with the day that follows from the time column, where the table has one."""
    if "date" not in target.columns or "date" in columns or target.time_column is None:
        return columns
    days = (np.asarray(columns[target.time_column], dtype=np.int64) // DAY_MS).tolist()
    names = {day: day_of(day * DAY_MS) for day in set(days)}
    return {**columns, "date": [names[day] for day in days]}


def _to_cql(target: Table, name: str, values: Any) -> Sequence[Any]:
    kind = target.columns[name].type
    if kind == "vector":
        return [row.tobytes() for row in checked_vectors(values).astype(">f4")]
    if (target.name, name) == ("anomaly_events", "metrics_snapshot"):
        return [{key: repr(value) for key, value in row.items()} for row in values]
    if kind == "json" and (target.name, name) != ("device_profiles", "metric_stats"):
        return [_encode_json(value).decode() for value in values]
    if isinstance(values, np.ndarray):
        listed: list[Any] = values.tolist()
        return listed
    return list(values)


def _from_cql(target: Table, name: str, values: list[Any]) -> list[Any]:
    kind = target.columns[name].type
    if kind == "vector":
        return [
            None if v is None else _LittleEndian(np.frombuffer(v, dtype=">f4").astype("<f4").tobytes()) for v in values
        ]
    if (target.name, name) == ("anomaly_events", "metrics_snapshot"):
        return [{key: float(value) for key, value in row.items()} for row in values]
    if (target.name, name) == ("device_profiles", "metric_stats"):
        return [{key: dict(stats) for key, stats in row.items()} for row in values]
    if kind == "map":
        return [{} if row is None else dict(row.items()) for row in values]
    if kind == "json":
        return [None if value is None else _decode_json(value) for value in values]
    return values


def _retried(call: Any) -> Any:
    """Call again after a passing fault, with growing pauses; every statement here is idempotent.

    Raises:
        StoreError: the fault did not pass, or the server refuses the statement.
    """
    pause = FIRST_PAUSE_SECONDS
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except InvalidRequest as error:
            raise StoreError(f"the server refuses a statement: {error}") from error
        except RETRIED as error:
            if attempt == ATTEMPTS:
                raise StoreError(f"the store did not answer after {ATTEMPTS} attempts: {error}") from error
            time.sleep(pause)
            pause *= 2
    raise AssertionError("unreachable")


def _unreachable(settings: CqlSettings, error: Exception) -> str:
    reasons = (
        error.errors.values() if isinstance(error, NoHostAvailable) and isinstance(error.errors, dict) else [error]
    )
    first = str(next(iter(reasons), error)).splitlines()[0]
    return (
        f"can't connect to {settings!r}: {first}. Check SCYLLA_HOSTS, SCYLLA_PORT, SCYLLA_USERNAME and SCYLLA_PASSWORD, "
        "and that the server is up"
    )
