"""The message log as the platform sees it: one protocol for Kafka and for the embedded log.

Offsets have Kafka's semantics: each partition is a sequence of records numbered from 0 without gaps; ``begin`` is the
first offset that is still stored (it advances by retention only) and ``end`` is the offset that the next record will
get, so the stored records are ``[begin, end)``. A committed offset is the next one to read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]

DEFAULT_PARTITIONS = 3
DEFAULT_RETENTION_MS = 7 * 24 * 3_600_000
KEEP_FOREVER = -1

Headers: TypeAlias = tuple[tuple[str, bytes], ...]
Record: TypeAlias = tuple[bytes | None, bytes | None, int]
"""A record to append: key, value, timestamp in epoch milliseconds."""

KEPT_BYTES = 65_536
"""So much of a value that can't be read, or is no message, is kept; its offset finds the rest."""
MAX_RECORD_BYTES = 1_048_576
"""Largest key plus value, as Kafka's default ``message.max.bytes``."""

MAX_UNPACKED_BYTES = 64 * 1024 * 1024
"""Largest batch of records, unpacked, that is read into memory. A batch is compressed, so its size on the wire says little:
one of 1 MiB may unpack to many GiB."""

Appended: TypeAlias = dict[int, tuple[int, int]]
"""Where an append went: partition → (base offset, number of records)."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Consecutive records that can't be read: damaged, or larger than may be unpacked. They are told, never passed over.

    Attributes:
        first_offset: the first of them.
        last_offset: the last of them.
        timestamp_ms: the latest record timestamp among them as far as it is known, epoch milliseconds UTC.
        stored: the first bytes as they are stored, or of the value where that much could be read.
        length: how many bytes there are; None where that is not known.
        reason: why they can't be read.
        key: the record's key, where it is a single one that was reached.
        sha256: SHA-256 of the whole value in hexadecimal, where it was passed over and not kept.
    """

    first_offset: int
    last_offset: int
    timestamp_ms: int
    stored: bytes
    length: int | None
    reason: str
    key: bytes | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Consecutive records of one partition, as columns; n records in offset order.

    Attributes:
        topic: the topic.
        partition: the partition.
        offsets: int64 [n], strictly increasing.
        timestamps_ms: int64 [n], record timestamps, epoch milliseconds UTC; not necessarily increasing.
        keys: n keys; None where the record has none.
        values: n values; None is a tombstone.
        headers: n tuples of (name, value), or an empty list when no record of the batch has headers.
        unreadable: records around these that can't be read; a batch may consist of them alone.
    """

    topic: str
    partition: int
    offsets: Int64
    timestamps_ms: Int64
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: list[Headers] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)

    def __len__(self) -> int:
        """Number of records."""
        return len(self.offsets)


class LogError(Exception):
    """The message log could not do what was asked."""


class UnknownTopicError(LogError):
    """The topic does not exist."""

    def __init__(self, topic: str) -> None:
        super().__init__(topic)
        self.topic = topic

    def __str__(self) -> str:
        return f"topic {self.topic!r} does not exist: create it first with create_topic({self.topic!r})"


class UnknownPartitionError(LogError):
    """The topic exists but has no such partition."""

    def __init__(self, topic: str, partition: int, partitions: int) -> None:
        super().__init__(topic, partition, partitions)
        self.topic = topic
        self.partition = partition
        self.partitions = partitions

    def __str__(self) -> str:
        return f"topic {self.topic!r} has partitions 0 to {self.partitions - 1}, not {self.partition}"


class OffsetOutOfRangeError(LogError):
    """A read starts below the log's begin: retention has deleted records that were asked for.

    Attributes:
        topic: the topic.
        partition: the partition.
        requested: the first offset asked for.
        begin: the first offset that is still stored; ``[requested, begin)`` is lost.
    """

    def __init__(self, topic: str, partition: int, requested: int, begin: int) -> None:
        super().__init__(topic, partition, requested, begin)
        self.topic = topic
        self.partition = partition
        self.requested = requested
        self.begin = begin

    def __str__(self) -> str:
        return (
            f"{self.topic}/{self.partition}: offset {self.requested} is below the log's begin {self.begin}; "
            f"{self.begin - self.requested} records are gone by retention"
        )


class OffsetBeyondEndError(LogError):
    """A read ends above the log's end: the records asked for were never written.

    Attributes:
        topic: the topic.
        partition: the partition.
        requested: the end offset asked for.
        end: the log's end.
    """

    def __init__(self, topic: str, partition: int, requested: int, end: int) -> None:
        super().__init__(topic, partition, requested, end)
        self.topic = topic
        self.partition = partition
        self.requested = requested
        self.end = end

    def __str__(self) -> str:
        return (
            f"{self.topic}/{self.partition}: asked to read up to offset {self.requested}, but the log ends at "
            f"{self.end}; read up to end_offsets() at most (an end that went down means that the log was replaced)"
        )


@runtime_checkable
class MessageLog(Protocol):
    """A partitioned, durable log of messages that many processes append to and read."""

    def create_topic(
        self, topic: str, partitions: int = DEFAULT_PARTITIONS, retention_ms: int = DEFAULT_RETENTION_MS
    ) -> bool:
        """Create a topic; False if it exists already (its settings are left as they are).

        Args:
            topic: name of the topic.
            partitions: number of partitions, at least 1.
            retention_ms: records whose timestamp is older than this may be deleted; ``KEEP_FOREVER`` keeps all.
        """
        ...

    def partitions(self, topic: str) -> list[int]:
        """Partition numbers of a topic, ascending."""
        ...

    def identity(self, topic: str) -> str:
        """What tells this topic from another one of the same name, made earlier or later; empty where it isn't known.

        Offsets count within one identity: those of a topic that was deleted and made again begin anew.
        """
        ...

    def begin_offsets(self, topic: str) -> dict[int, int]:
        """First stored offset of each partition."""
        ...

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Offset that the next record of each partition will get."""
        ...

    def high_watermarks(self, topic: str) -> dict[int, int]:
        """Offset behind the last record of each partition, also of one that no reader gets yet.

        More than :meth:`end_offsets` where a producer's transaction is open.
        """
        ...

    def losing(self, topic: str) -> str:
        """Why messages of a topic may be removed before their time, in one line; empty when its settings are right."""
        ...

    def offsets_for_time(self, topic: str, timestamp_ms: int) -> dict[int, int | None]:
        """Earliest stored offset of each partition whose record timestamp is >= timestamp_ms; None if there is none."""
        ...

    def read(
        self, topic: str, partition: int, start: int, end: int, max_records: int = 50_000
    ) -> Iterator[RecordBatch]:
        """Read exactly the records ``[start, end)`` of one partition, in order, at most max_records a batch.

        Offsets that hold no record for the reader (transaction markers, compacted records on Kafka) are simply absent.
        Records that can't be read, because they are damaged or unpack to more than :data:`MAX_UNPACKED_BYTES`, are among a
        batch's ``unreadable``.

        Raises:
            UnknownTopicError, UnknownPartitionError: there is no such log.
            OffsetOutOfRangeError: start is below the log's begin.
            OffsetBeyondEndError: end is above the log's end.
        """
        ...

    def append(self, topic: str, records: Sequence[Record]) -> Appended:
        """Append records, each to the partition that Kafka's default partitioner gives its key; durable on return."""
        ...

    def append_to_partition(self, topic: str, partition: int, records: Sequence[Record]) -> Appended:
        """Append records to one partition whatever their keys; durable on return."""
        ...

    def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Store the next offset to read of a consumer group, by partition; other partitions keep theirs."""
        ...

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Committed offsets of a group; partitions that were never committed are absent."""
        ...

    def close(self) -> None:
        """Release connections; the log can't be used afterwards."""
        ...
