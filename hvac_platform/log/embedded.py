"""The embedded message log: Kafka's offset semantics in one SQLite file, for many processes at once.

Records are stored as Kafka stores them, in compressed batches of consecutive records rather than one by one: a batch is
a row of ``schema/embedded/log.sql``. An append is one transaction, so a reader sees all of it or none of it.
"""

from __future__ import annotations

import dataclasses
import os
import random
import re
import threading
import time
import uuid
import weakref
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, compress
from pathlib import Path
from typing import Any, NamedTuple, cast

import apsw
import msgspec
import numpy as np

from hvac_platform.embedded_file import (
    EmbeddedFileError,
    Fate,
    OpenFile,
    close_as_it_is,
    cut_short,
    disk_is_full,
    itself,
    open_file,
)
from hvac_platform.log.base import (
    DEFAULT_PARTITIONS,
    DEFAULT_RETENTION_MS,
    KEEP_FOREVER,
    KEPT_BYTES,
    MAX_RECORD_BYTES,
    MAX_UNPACKED_BYTES,
    Appended,
    Int64,
    LogError,
    OffsetBeyondEndError,
    OffsetOutOfRangeError,
    Record,
    RecordBatch,
    UnknownPartitionError,
    UnknownTopicError,
    Unreadable,
)
from hvac_platform.log.partitioner import assign_partitions
from hvac_platform.shipped import SCHEMA_DIRECTORY

SCHEMA_FILE = SCHEMA_DIRECTORY / "embedded" / "log.sql"
SCHEMA_VERSION = 2
"""1: as first released. 2: a topic has an identity."""
BATCH_RECORDS = 2_000
_BATCH_BYTES = 4 * MAX_RECORD_BYTES
_BUSY_TIMEOUT_MS = 60_000
_FETCH_BATCHES = 32
_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[bytes, list[bytes | None], list[bytes | None]]).decode

# A connection that came through a fork must be neither used nor closed (SQLite, "How To Corrupt An SQLite Database
# File", section 2.6). References held here keep the garbage collector from closing it.
_inherited_by_fork: list[apsw.Connection] = []


class _Topic(NamedTuple):
    topic_id: int
    partitions: int
    identity: str


class _Stored(NamedTuple):
    """A record batch before it has an offset."""

    partition: int
    record_count: int
    max_timestamp_ms: int
    payload: bytes


class _Columns(NamedTuple):
    """Some consecutive records of one partition, from ``base_offset`` on."""

    base_offset: int
    timestamps_ms: Int64
    keys: list[bytes | None]
    values: list[bytes | None]
    unreadable: Unreadable | None = None

    def between(self, start: int, end: int) -> _Columns:
        """The records in ``[start, end)``."""
        low, high = max(start - self.base_offset, 0), max(end - self.base_offset, 0)
        if low == 0 and high >= len(self.keys):
            return self
        lost = self.unreadable
        if lost is not None:
            last = min(lost.last_offset, end - 1)
            lost = dataclasses.replace(lost, first_offset=max(lost.first_offset, start), last_offset=last)
        return _Columns(
            self.base_offset + low, self.timestamps_ms[low:high], self.keys[low:high], self.values[low:high], lost
        )


class EmbeddedLog:
    """Message log in one SQLite file (see `hvac_platform.log.base.MessageLog`).

    Safe for many processes, threads and forked children: each gets a connection of its own. Appends of all processes
    are serialised by SQLite's write lock (waited for up to 60 s) and are on disk when they return; reads never wait.

    Args:
        path: the file; it and its folder are created if missing.
        batch_records: number of records of an append that are stored as one batch.

    Raises:
        LogError: the file is of a later version of this schema, or is not a log.
    """

    def __init__(self, path: Path | str, *, batch_records: int = BATCH_RECORDS) -> None:
        if batch_records < 1:
            raise ValueError(f"batch_records must be at least 1, not {batch_records}")
        self.path = itself(Path(path))
        self._batch_records = batch_records
        self._forget_connections()
        self._closed = False
        self._topics: dict[str, _Topic] = {}
        # Processes start anywhere, so that short-lived producers of records without keys don't all fill partition 0.
        self._keyless_turn = random.randrange(1 << 16)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._connection()

    # -- topics ---------------------------------------------------------------------------------------------------

    def create_topic(
        self, topic: str, partitions: int = DEFAULT_PARTITIONS, retention_ms: int = DEFAULT_RETENTION_MS
    ) -> bool:
        """Create a topic; False if it exists already (its settings are left as they are)."""
        if not _TOPIC_NAME.fullmatch(topic) or topic in {".", ".."}:
            raise LogError(f"topic name {topic!r} must be 1 to 249 ASCII letters, digits, '.', '_' or '-'")
        if partitions < 1:
            raise LogError(f"topic {topic!r} needs at least 1 partition, not {partitions}")
        if retention_ms < 0 and retention_ms != KEEP_FOREVER:
            raise LogError(f"retention_ms of {topic!r} must be >= 0, or {KEEP_FOREVER} for ever, not {retention_ms}")
        with self._transaction() as connection:
            inserted = connection.execute(
                "INSERT INTO topics (topic, partitions, retention_ms, identity) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (topic) DO NOTHING RETURNING topic_id",
                (topic, partitions, retention_ms, uuid.uuid4().hex),
            ).fetchall()
            for (topic_id,) in inserted:
                connection.executemany(
                    "INSERT INTO topic_partitions (topic_id, partition) VALUES (?, ?)",
                    [(topic_id, partition) for partition in range(partitions)],
                )
        return bool(inserted)

    def partitions(self, topic: str) -> list[int]:
        """Partition numbers of a topic, ascending."""
        return list(range(self._topic(topic).partitions))

    def identity(self, topic: str) -> str:
        """What tells this topic from another one of the same name in a file made earlier or later."""
        return self._topic(topic).identity

    # -- offsets --------------------------------------------------------------------------------------------------

    def begin_offsets(self, topic: str) -> dict[int, int]:
        """First stored offset of each partition."""
        return {partition: begin for partition, (begin, _) in self._bounds(topic).items()}

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Offset that the next record of each partition will get."""
        return {partition: end for partition, (_, end) in self._bounds(topic).items()}

    def high_watermarks(self, topic: str) -> dict[int, int]:
        """The same as :meth:`end_offsets`: this log has no transactions of several appends."""
        return self.end_offsets(topic)

    def losing(self, topic: str) -> str:
        """Nothing: this log removes records by their age only."""
        self._topic(topic)
        return ""

    def offsets_for_time(self, topic: str, timestamp_ms: int) -> dict[int, int | None]:
        """Earliest stored offset of each partition whose record timestamp is >= timestamp_ms; None if there is none.

        Right for timestamps in any order: the first batch whose latest timestamp reaches timestamp_ms holds the record.
        """
        found: dict[int, int | None] = dict.fromkeys(self.partitions(topic))
        for partition in found:
            rows = self._query(
                "SELECT base_offset, record_count, max_timestamp_ms, payload FROM record_batches "
                "WHERE topic_id = ? AND partition = ? AND max_timestamp_ms >= ? ORDER BY base_offset LIMIT 1",
                (self._topic(topic).topic_id, partition, timestamp_ms),
            )
            for base_offset, record_count, max_timestamp_ms, payload in rows:
                columns = self._unpack(base_offset, record_count, max_timestamp_ms, payload)
                found[partition] = base_offset + int(np.argmax(columns.timestamps_ms >= timestamp_ms))
        return found

    # -- reading --------------------------------------------------------------------------------------------------

    def read(
        self, topic: str, partition: int, start: int, end: int, max_records: int = 50_000
    ) -> Iterator[RecordBatch]:
        """Read exactly the records ``[start, end)`` of one partition, in order, at most max_records a batch.

        The range is checked by the call itself, before the first batch is asked for. No lock is held between batches;
        if retention overtakes a slow reader, the next batch raises OffsetOutOfRangeError.

        Raises:
            UnknownTopicError, UnknownPartitionError: there is no such log.
            OffsetOutOfRangeError: start is below the log's begin.
            OffsetBeyondEndError: end is above the log's end.
        """
        if start > end:
            raise ValueError(f"the range starts at {start}, after its end {end}")
        if max_records < 1:
            raise ValueError(f"max_records must be at least 1, not {max_records}")
        self._require_partition(topic, partition)
        begin, log_end = self._bounds(topic)[partition]
        if start < begin:
            raise OffsetOutOfRangeError(topic, partition, start, begin)
        if end > log_end:
            raise OffsetBeyondEndError(topic, partition, end, log_end)
        return self._batches(topic, partition, start, end, max_records)

    def _batches(self, topic: str, partition: int, start: int, end: int, max_records: int) -> Iterator[RecordBatch]:
        """Stored batches of ``[start, end)`` joined, or cut, to at most max_records."""
        pending: list[_Columns] = []
        pending_records = 0
        stored_batches = self._stored(topic, partition, start, end)
        while True:
            try:
                stored = next(stored_batches, None)
            except OffsetOutOfRangeError:  # retention was faster; what was read by then comes first
                if pending:
                    yield _joined(topic, partition, pending)
                raise
            if stored is None:
                break
            if pending and pending_records + len(stored.keys) > max_records:
                yield _joined(topic, partition, pending)
                pending, pending_records = [], 0
            stored_end = stored.base_offset + len(stored.keys)
            last_cut = stored_end - 1 - (len(stored.keys) - 1) % max_records
            for cut in range(stored.base_offset, last_cut, max_records):
                yield _joined(topic, partition, [stored.between(cut, cut + max_records)])
            pending.append(stored.between(last_cut, stored_end))
            pending_records += stored_end - last_cut
        if pending:
            yield _joined(topic, partition, pending)

    def _stored(self, topic: str, partition: int, start: int, end: int) -> Iterator[_Columns]:
        """Stored batches that overlap ``[start, end)``, trimmed to it.

        Each fetch is a statement of its own: a long-lived read transaction would keep the WAL from being checkpointed.
        """
        position = start
        while position < end:
            rows = self._query(
                "SELECT base_offset, record_count, max_timestamp_ms, payload FROM record_batches "
                "WHERE topic_id = :topic AND partition = :partition AND base_offset < :end AND base_offset >= ("
                "  SELECT max(base_offset) FROM record_batches"
                "  WHERE topic_id = :topic AND partition = :partition AND base_offset <= :position)"
                "ORDER BY base_offset LIMIT :limit",
                {
                    "topic": self._topic(topic).topic_id,
                    "partition": partition,
                    "position": position,
                    "end": end,
                    "limit": _FETCH_BATCHES,
                },
            )
            if not rows:
                begin, _ = self._bounds(topic)[partition]
                raise OffsetOutOfRangeError(topic, partition, position, begin)
            before = position
            for base_offset, record_count, max_timestamp_ms, payload in rows:
                if base_offset + record_count <= position:
                    continue  # the one before a batch that is missing
                if base_offset > position:
                    yield self._missing(position, min(base_offset, end), max_timestamp_ms)
                whole = self._unpack(base_offset, record_count, max_timestamp_ms, payload)
                columns = whole.between(max(position, base_offset), end)
                position = base_offset + record_count
                yield columns
            if position == before:
                yield self._missing(position, end, 0)
                return

    def _missing(self, first: int, end: int, timestamp_ms: int) -> _Columns:
        """Offsets that should be stored and are not."""
        reason = f"offsets {first} to {end - 1} are missing: {self.path} is damaged"
        nothing: list[bytes | None] = [None] * (end - first)
        times = np.full(end - first, timestamp_ms, dtype=np.int64)
        return _Columns(first, times, nothing, nothing, Unreadable(first, end - 1, timestamp_ms, b"", None, reason))

    @staticmethod
    def _unpack(base_offset: int, record_count: int, max_timestamp_ms: int, payload: bytes) -> _Columns:
        """The records of a stored batch; or, where they can't be read, as many empty ones and why."""
        unzip = zlib.decompressobj()
        try:
            unpacked = unzip.decompress(payload, MAX_UNPACKED_BYTES)
            if not unzip.eof:
                raise ValueError(f"it unpacks to more than {MAX_UNPACKED_BYTES} bytes, or is cut short")
            timestamps, keys, values = _decode(unpacked)
            timestamps_ms = np.frombuffer(timestamps, "<i8").astype(np.int64, copy=False)
            if not len(timestamps_ms) == len(keys) == len(values) == record_count:
                raise ValueError("it has another number of records than it says")
        except (zlib.error, msgspec.MsgspecError, ValueError) as error:
            last = base_offset + record_count - 1
            reason = f"the batch of offsets {base_offset} to {last} can't be read: {error}"
            lost = Unreadable(base_offset, last, max_timestamp_ms, payload[:KEPT_BYTES], len(payload), reason)
            return _Columns(
                base_offset,
                np.full(record_count, max_timestamp_ms, dtype=np.int64),
                [None] * record_count,
                [None] * record_count,
                lost,
            )
        return _Columns(base_offset, timestamps_ms, keys, values)

    # -- appending ------------------------------------------------------------------------------------------------

    def append(self, topic: str, records: Sequence[Record]) -> Appended:
        """Append records, each to the partition that Kafka's default partitioner gives its key; durable on return.

        Records without a key go to one partition together, the next append's to the next partition. All is one
        transaction: either every record is appended, or none.

        Returns:
            partition → (base offset, number of records), for the partitions that got any.

        Raises:
            LogError: a record is over 1 MiB, has a timestamp below 0, or another process held the file for 60 s.
        """
        if not records:
            self._topic(topic)
            return {}
        partitions = self._topic(topic).partitions
        self._keyless_turn += 1
        assigned = assign_partitions([record[0] for record in records], partitions, self._keyless_turn % partitions)
        by_partition = {
            int(partition): list(compress(records, assigned == partition)) for partition in np.unique(assigned)
        }
        return self._append(topic, by_partition)

    def append_to_partition(self, topic: str, partition: int, records: Sequence[Record]) -> Appended:
        """Append records to one partition whatever their keys; durable on return. Otherwise as `append`."""
        self._require_partition(topic, partition)
        return self._append(topic, {partition: records} if records else {})

    def _append(self, topic: str, by_partition: Mapping[int, Sequence[Record]]) -> Appended:
        # Packing is done before the write lock is taken, so that other processes wait for the insert only.
        batches = [
            batch for partition, records in by_partition.items() for batch in self._packed(topic, partition, records)
        ]
        if not batches:
            return {}
        topic_id = self._topic(topic).topic_id
        appended: Appended = {}
        with self._transaction() as connection:
            ends = {partition: end for partition, (_, end) in self._bounds(topic).items()}
            for partition, record_count, max_timestamp_ms, payload in batches:
                connection.execute(
                    "INSERT INTO record_batches "
                    "(topic_id, partition, base_offset, record_count, max_timestamp_ms, payload) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (topic_id, partition, ends[partition], record_count, max_timestamp_ms, payload),
                )
                base_offset, appended_before = appended.get(partition, (ends[partition], 0))
                appended[partition] = (base_offset, appended_before + record_count)
                ends[partition] += record_count
            connection.executemany(
                "UPDATE topic_partitions SET end_offset = ? WHERE topic_id = ? AND partition = ?",
                [(ends[partition], topic_id, partition) for partition in appended],
            )
        return appended

    def _packed(self, topic: str, partition: int, records: Sequence[Record]) -> Iterator[_Stored]:
        """Records of one partition as compressed batches, bounded in records and in bytes."""
        keys, values, timestamps = zip(*records, strict=True)
        timestamps_ms = np.fromiter(timestamps, "<i8", len(records))
        if timestamps_ms.min() < 0:
            raise LogError(f"{topic}: record timestamp {timestamps_ms.min()} is before 1970")
        sizes = np.fromiter(map(len, _without_none(keys)), np.int64, len(records))
        sizes += np.fromiter(map(len, _without_none(values)), np.int64, len(records))
        if sizes.max() > MAX_RECORD_BYTES:
            raise LogError(f"{topic}: a record of {sizes.max()} bytes is over the {MAX_RECORD_BYTES} that are allowed")
        bytes_up_to = np.cumsum(sizes)
        first = 0
        while first < len(records):
            bytes_before = bytes_up_to[first] - sizes[first]
            fitting = int(np.searchsorted(bytes_up_to, bytes_before + _BATCH_BYTES, side="right"))
            last = min(fitting, first + self._batch_records)
            columns = (timestamps_ms[first:last].tobytes(), keys[first:last], values[first:last])
            yield _Stored(
                partition,
                record_count=last - first,
                max_timestamp_ms=int(timestamps_ms[first:last].max()),
                payload=zlib.compress(_encode(columns), 1),
            )
            first = last

    # -- consumer groups ------------------------------------------------------------------------------------------

    def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Store the next offset to read of a consumer group, by partition; other partitions keep theirs."""
        for partition, next_offset in offsets.items():
            self._require_partition(topic, partition)
            if next_offset < 0:
                raise LogError(f"{topic}/{partition}: can't commit offset {next_offset}")
        topic_id = self._topic(topic).topic_id
        with self._transaction() as connection:
            connection.executemany(
                "INSERT INTO committed_offsets (consumer_group, topic_id, partition, next_offset) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (consumer_group, topic_id, partition) DO UPDATE SET next_offset = excluded.next_offset",
                [(group, topic_id, partition, next_offset) for partition, next_offset in offsets.items()],
            )

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Committed offsets of a group; partitions that were never committed are absent."""
        return dict(
            self._query(
                "SELECT partition, next_offset FROM committed_offsets "
                "WHERE consumer_group = ? AND topic_id = ? ORDER BY partition",
                (group, self._topic(topic).topic_id),
            )
        )

    # -- the file ---------------------------------------------------------------------------------------------------

    def damage(self) -> list[str]:
        """What SQLite finds wrong with the file; empty when nothing is."""
        try:
            found = [str(row[0]) for row in self._query("PRAGMA quick_check(5)")]
            (size,), (pages,) = self._query("PRAGMA page_size")[0], self._query("PRAGMA page_count")[0]
        except (apsw.CorruptError, apsw.NotADBError, apsw.IOError) as error:
            return [str(error)]
        return [*([] if found == ["ok"] else found), *cut_short(self.path, pages, size)]

    # -- retention ------------------------------------------------------------------------------------------------

    def apply_retention(self, topic: str, now_ms: int, before: Mapping[int, int] | None = None) -> dict[int, int]:
        """Delete the oldest batches whose latest record is more than the topic's retention before now_ms.

        ``before`` keeps, by partition, what lies at that offset or after it: what nobody has read yet. A partition that it
        doesn't name is left alone; without it everything old goes.

        As Kafka deletes segments: by record timestamp, from the oldest on, stopping at the first batch that must stay
        (so a record from the future shields all behind it). The newest batch goes too when it is old enough, because
        Kafka rolls the active segment and deletes it: a partition that falls idle ends up empty, begin equal to end.
        Nothing runs this by itself. The space is reused by later appends.

        Returns:
            partition → number of records deleted, for the partitions that lost any.
        """
        topic_id = self._topic(topic).topic_id
        deleted: dict[int, int] = {}
        with self._transaction() as connection:
            ((retention_ms,),) = self._query("SELECT retention_ms FROM topics WHERE topic_id = ?", (topic_id,))
            if retention_ms == KEEP_FOREVER:
                return {}
            rows = self._query(
                "SELECT partition, begin_offset, coalesce("
                "  (SELECT base_offset FROM record_batches AS kept WHERE kept.topic_id = p.topic_id"
                "   AND kept.partition = p.partition AND kept.max_timestamp_ms >= ? ORDER BY base_offset LIMIT 1),"
                "  end_offset) FROM topic_partitions AS p WHERE topic_id = ?",
                (now_ms - retention_ms, topic_id),
            )
            for partition, begin, old_until in rows:
                new_begin = self._whole_batches_before(
                    topic_id, partition, old_until, old_until if before is None else before.get(partition, begin)
                )
                if new_begin <= begin:
                    continue
                connection.execute(
                    "DELETE FROM record_batches WHERE topic_id = ? AND partition = ? AND base_offset < ?",
                    (topic_id, partition, new_begin),
                )
                connection.execute(
                    "UPDATE topic_partitions SET begin_offset = ? WHERE topic_id = ? AND partition = ?",
                    (new_begin, topic_id, partition),
                )
                deleted[partition] = new_begin - begin
        return deleted

    def _whole_batches_before(self, topic_id: int, partition: int, offset: int, limit: int) -> int:
        """The last boundary between batches at or before both offsets."""
        if limit >= offset:
            return offset
        ((boundary,),) = self._query(
            "SELECT coalesce(max(base_offset), 0) FROM record_batches "
            "WHERE topic_id = ? AND partition = ? AND base_offset <= ?",
            (topic_id, partition, limit),
        )
        return int(boundary)

    # -- connections ----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close this process's connections; the log can't be used afterwards."""
        self._closed = True
        if self._pid == os.getpid():
            for connection in list(self._open):
                connection.close()

    def _topic(self, topic: str) -> _Topic:
        """Id, partition count and identity of a topic; they never change in one file, so they are read once."""
        self._connection()  # forgets the topics of a file that is no longer there
        if topic not in self._topics:
            rows = self._query("SELECT topic_id, partitions, identity FROM topics WHERE topic = ?", (topic,))
            for topic_id, partitions, identity in rows:
                self._topics[topic] = _Topic(topic_id, partitions, identity)
        if topic not in self._topics:
            raise UnknownTopicError(topic)
        return self._topics[topic]

    def _require_partition(self, topic: str, partition: int) -> None:
        partitions = self._topic(topic).partitions
        if not 0 <= partition < partitions:
            raise UnknownPartitionError(topic, partition, partitions)

    def _bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        """Partition → (begin, end), all as of one moment."""
        rows = self._query(
            "SELECT partition, begin_offset, end_offset FROM topic_partitions WHERE topic_id = ? ORDER BY partition",
            (self._topic(topic).topic_id,),
        )
        return {partition: (begin, end) for partition, begin, end in rows}

    def _forget_connections(self) -> None:
        self._pid = os.getpid()
        self._local = threading.local()
        self._open: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()

    def _connection(self) -> apsw.Connection:
        """This thread's connection, made in this process."""
        if self._closed:
            raise LogError(f"the message log {self.path} is closed")
        if self._pid != os.getpid():
            _inherited_by_fork.extend(self._open)
            self._forget_connections()
        opened: OpenFile | None = getattr(self._local, "file", None)
        if opened is not None and not opened.connection.in_transaction:
            fate = opened.fate()
            if fate is not Fate.SAME:
                # Deleted, or made again by somebody else: what is written into the old one would be seen by nobody.
                self._leave(opened, fate)
                opened = None
        if opened is None:
            opened = self._local.file = self._connect()
            self._open.add(opened.connection)
        connection: apsw.Connection = opened.connection
        return connection

    def _leave(self, opened: OpenFile, fate: Fate) -> None:
        try:
            opened.leave(fate)
        except EmbeddedFileError as error:
            if fate is Fate.TORN:
                self._forget_file()
            raise LogError(str(error)) from error
        self._forget_file()

    def _forget_file(self) -> None:
        self._local.file = None
        self._topics.clear()

    @property
    def file(self) -> OpenFile:
        """What this thread has open: another one after the files were deleted or replaced."""
        self._connection()
        opened: OpenFile = self._local.file
        return opened

    def _query(self, sql: str, bindings: Sequence[object] | Mapping[str, object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a statement; read to the end, so that no read transaction stays open."""
        rows: list[tuple[Any, ...]] = self._connection().execute(sql, cast("Any", bindings)).fetchall()
        return rows

    def _connect(self) -> OpenFile:
        try:
            return open_file(self.path, self._new_connection)
        except apsw.NotADBError as error:
            raise LogError(f"{self.path} is not a message log; docs/recovery.md says what can be done") from error
        except (apsw.CantOpenError, apsw.ReadOnlyError) as error:
            raise LogError(
                f"the message log {self.path} can't be opened: is {self.path.parent} a folder that may be written to?"
            ) from error
        except apsw.Error as error:
            full = disk_is_full(self.path.parent)
            what = (
                f"the disk of {self.path.parent} is full: free some space"
                if full
                else "docs/recovery.md says what can be done"
            )
            raise LogError(f"the message log {self.path} can't be read ({error}); {what}") from error
        except OSError as error:
            raise LogError(f"can't open the message log {self.path}: {error.strerror or error}") from error
        except EmbeddedFileError as error:
            raise LogError(str(error)) from error

    def _new_connection(self) -> apsw.Connection:
        connection = apsw.Connection(str(self.path))
        connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
        try:
            self._require_known_schema(connection)
        except LogError:
            close_as_it_is(connection)
            raise
        _use_wal(connection)
        # FULL, not WAL's usual NORMAL: an append that has returned must survive a power cut too.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        if _schema_version(connection) < SCHEMA_VERSION:
            with _transaction(connection):
                self._bring_up_to_date(connection)
        return connection

    def _require_known_schema(self, connection: apsw.Connection) -> None:
        version = _schema_version(connection)
        if version > SCHEMA_VERSION:
            raise LogError(
                f"{self.path} has schema version {version}, this code knows {SCHEMA_VERSION}: use a newer hvac_platform"
            )

    @staticmethod
    def _bring_up_to_date(connection: apsw.Connection) -> None:
        """Make the tables, or add what the version that is there lacks; inside a transaction."""
        version = _schema_version(connection)  # another process may have been first
        if version == 0:
            connection.execute(SCHEMA_FILE.read_text(encoding="utf-8"))
        elif version == 1:
            connection.execute("ALTER TABLE topics ADD COLUMN identity TEXT NOT NULL DEFAULT ''")
            topics = list(connection.execute("SELECT topic_id FROM topics"))
            named = [(uuid.uuid4().hex, topic_id) for (topic_id,) in topics]
            connection.executemany("UPDATE topics SET identity = ? WHERE topic_id = ?", named)
            connection.pragma("user_version", SCHEMA_VERSION)

    def _begun(self) -> apsw.Connection:
        """This thread's connection with the write lock, on the files that others open too."""
        while True:
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            if self._local.file.fate() is Fate.SAME:  # nobody can put it right while this holds the write lock
                try:
                    self._require_known_schema(connection)  # a newer version may have upgraded it since it was opened
                except LogError:
                    connection.execute("ROLLBACK")
                    raise
                return connection
            connection.execute("ROLLBACK")

    @contextmanager
    def _transaction(self) -> Iterator[apsw.Connection]:
        try:
            with _transaction(self._begun(), begun=True) as connection:
                yield connection
            if self._local.file.fate() is Fate.REPLACED:
                raise LogError(
                    f"{self.path} was deleted or replaced while this was written into it: what was written is in the one "
                    "before; do it again"
                )
            self._connection()  # a -wal that was deleted meanwhile is put right before anybody relies on what is in it
        except apsw.BusyError as error:
            waited = _BUSY_TIMEOUT_MS // 1000
            raise LogError(f"{self.path}: another process held the write lock for {waited} s") from error
        except apsw.FullError as error:
            raise LogError(
                f"the disk is full, {self.path} can't grow: free some space, then append these records again"
            ) from error


def _schema_version(connection: apsw.Connection) -> int:
    version: int = connection.pragma("user_version")
    return version


def _use_wal(connection: apsw.Connection) -> None:
    """Switch the file to WAL; the switch does not honour the busy timeout when several processes create the file."""
    deadline = time.monotonic() + _BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            if connection.pragma("journal_mode", "wal") == "wal":
                return
        except apsw.BusyError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.01)


@contextmanager
def _transaction(connection: apsw.Connection, *, begun: bool = False) -> Iterator[apsw.Connection]:
    """A write transaction; IMMEDIATE takes the lock first, so what is read inside is still true when it is written."""
    if not begun:
        connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite has rolled back by itself after some errors, such as a full disk
            connection.execute("ROLLBACK")
        raise


def _without_none(column: Sequence[bytes | None]) -> Sequence[bytes]:
    return [b"" if item is None else item for item in column] if None in column else column  # type: ignore[return-value]


def _joined(topic: str, partition: int, parts: Sequence[_Columns]) -> RecordBatch:
    good = [part for part in parts if part.unreadable is None]
    offsets = [np.arange(p.base_offset, p.base_offset + len(p.keys), dtype=np.int64) for p in good]
    nothing = [np.empty(0, dtype=np.int64)]
    return RecordBatch(
        topic=topic,
        partition=partition,
        offsets=np.concatenate(offsets or nothing),
        timestamps_ms=np.concatenate([part.timestamps_ms for part in good] or nothing),
        keys=list(chain.from_iterable(part.keys for part in good)),
        values=list(chain.from_iterable(part.values for part in good)),
        unreadable=[part.unreadable for part in parts if part.unreadable is not None],
    )
