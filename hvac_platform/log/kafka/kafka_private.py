"""All that the platform uses of kafka-python beyond its clients and errors; no other module may.

A newer version may change any of it without a word: before one is used, the test of :data:`CHECKED_ON` asks that this be
read again. What is here makes ``poll`` give each record batch whole, still compressed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kafka import KafkaConsumer
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatch

from hvac_platform.log.base import MAX_UNPACKED_BYTES
from hvac_platform.log.unpacking import pieces_of, unpack

__all__ = [
    "CHECKED_ON",
    "CONNECTION_LOGGER",
    "DamagedBatch",
    "WholeBatch",
    "WholePartitionRecords",
    "give_whole_batches",
]

CHECKED_ON = ("3.0.12",)
"""Versions of kafka-python on which all tests passed, those against a broker too."""

CONNECTION_LOGGER = "kafka.net.manager"
"""Where it writes why a connection failed."""


class WholeBatch(DefaultRecordBatch):  # type: ignore[misc]
    """A record batch that iterates as a single record, whose value is the batch."""

    __slots__ = ()

    def __len__(self) -> int:
        """Number of records."""
        return int(self.records_count)

    def __bool__(self) -> bool:
        """A batch without records is one too."""
        return True

    def __iter__(self) -> Iterator[_BatchAsRecord]:
        """The batch as one record; none where compaction has left an empty batch."""
        return iter([_BatchAsRecord(self)] if len(self) else [])

    def stored(self, most: int) -> bytes:
        """The first bytes of the batch as they are stored, header included."""
        return bytes(memoryview(self._buffer)[:most])

    def payload(self) -> bytes:
        """The records, uncompressed.

        Raises:
            TooLargeError: they are too long together.
            ValueError: they are damaged.
        """
        stored = bytes(memoryview(self._buffer)[self.HEADER_STRUCT.size :])
        if self.compression_type == self.CODEC_NONE:
            return stored
        return unpack(self.compression_type, stored, MAX_UNPACKED_BYTES)

    def pieces(self) -> Iterator[bytes]:
        """The records, uncompressed, piece by piece."""
        stored = bytes(memoryview(self._buffer)[self.HEADER_STRUCT.size :])
        return iter([stored]) if self.compression_type == self.CODEC_NONE else pieces_of(self.compression_type, stored)

    def records(self, payload: bytes) -> DefaultRecordBatch:
        """The same batch, to be iterated record by record."""
        batch = DefaultRecordBatch(self._buffer)
        batch._buffer, batch._pos, batch._decompressed = bytearray(payload), 0, True
        return batch


class DamagedBatch(WholeBatch):
    """A record batch whose checksum is wrong."""

    __slots__ = ()

    def payload(self) -> bytes:
        """Nothing of it can be trusted."""
        raise ValueError("its checksum is wrong")


class _BatchAsRecord:
    """A whole batch where kafka-python's consumer expects a record: it stands at the batch's last offset."""

    __slots__ = ("offset", "size_in_bytes", "timestamp", "timestamp_type", "value")

    key = None
    headers = ()
    checksum = None

    def __init__(self, batch: WholeBatch) -> None:
        self.value = batch
        self.offset = batch.last_offset
        self.timestamp = batch.max_timestamp
        self.timestamp_type = batch.timestamp_type
        self.size_in_bytes = batch.size_in_bytes

    def validate_crc(self) -> bool:
        """The batch has been checked."""
        return True


class _WholeBatches:
    """Batches of a fetch; those with records of producers come whole."""

    def __init__(self, fetched: MemoryRecords) -> None:
        self._fetched = fetched

    def next_batch(self) -> Any:
        """The next batch; None after the last.

        Raises:
            CorruptRecordError: a batch of an old format has a wrong checksum.
        """
        batch = self._fetched.next_batch()
        if batch is None:
            return None
        sound = batch.validate_crc()
        if type(batch) is not DefaultRecordBatch:
            if not sound:
                raise CorruptRecordError(f"the checksum of the batch at offset {batch.base_offset} is wrong")
        elif not sound:
            batch.__class__ = DamagedBatch
        elif not batch.is_control_batch:
            batch.__class__ = WholeBatch
        return batch


class WholePartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """kafka-python's reader of a fetch, which gives batches whole."""

    def _unpack_records(self, partition: Any, records: MemoryRecords, *deserializers: Any) -> Iterator[Any]:
        self.check_crcs = False  # they are checked as batches come; one that is wrong is told, and not in the way
        found: Iterator[Any] = super()._unpack_records(partition, _WholeBatches(records), *deserializers)
        return found


def give_whole_batches(consumer: KafkaConsumer) -> None:
    """Make ``poll`` of a consumer give each record batch as one record, whose value is a :class:`WholeBatch`."""
    consumer._fetcher.PartitionRecords = WholePartitionRecords
