"""Kafka's record batches read by column: many records at a time, where kafka-python makes an object of each.

kafka-python fetches, checks the CRC and leaves out what belongs to transactions; it then gives each batch whole, still
compressed. The framing of a record (format 2) is a handful of variable-length integers, which NumPy reads for thousands of
records at once. Batches with anything unusual in them (headers, integers of great length) go through kafka-python's own
reader, which gives the same records. What can't be read is told as :class:`~hvac_platform.log.base.Unreadable`: a batch
whose checksum is wrong, one that unpacks to too much, a value that is too long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import compress, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.log.base import (
    KEPT_BYTES,
    MAX_RECORD_BYTES,
    Headers,
    Int64,
    RecordBatch,
    Unreadable,
)
from hvac_platform.log.kafka.kafka_private import WholeBatch
from hvac_platform.log.unpacking import PieceReader, TooLargeError

GROUP_BYTES = 400_000
"""Batches are unpacked together up to about this size: enough for NumPy, and still in the processor's cache."""
MAX_STREAMED_BYTES = 1 << 31
"""A batch that unpacks to too much is gone through piece by piece for its good records, but no further than this."""
_MOST_RECORDS = 1_000_000  # a damaged header may say anything
_VARINT_BYTES = 5  # longer ones are left to kafka-python
_PADDING = bytes(_VARINT_BYTES + 1)  # a varint that is cut off at the end is read into it, and then doesn't fit

Bytes = NDArray[np.uint8]


class RecordColumns:
    """Records of one partition as they arrive, by column; what is taken out leaves the rest behind."""

    def __init__(self) -> None:
        self._offsets: list[Int64] = []
        self._timestamps: list[Int64] = []
        self._keys: list[bytes | None] = []
        self._values: list[bytes | None] = []
        self._headers: list[Headers] = []
        self._unreadable: list[Unreadable] = []
        self.size = 0
        """Bytes of keys and values, and what is kept of unreadable records."""

    def __len__(self) -> int:
        """Number of records, and of unreadable stretches."""
        return len(self._values) + len(self._unreadable)

    def add(
        self,
        offsets: Sequence[int] | Int64,
        timestamps_ms: Sequence[int] | Int64,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        headers: Sequence[Sequence[tuple[str, bytes]]] = (),
    ) -> None:
        """Add records; ``headers`` may be left out where none has any. Values that are too long are told as unreadable."""
        sizes = [0 if value is None else len(value) for value in values]
        if max(sizes, default=0) > MAX_RECORD_BYTES:
            small = [size <= MAX_RECORD_BYTES for size in sizes]
            for i in np.flatnonzero(~np.array(small)).tolist():
                self.add_unreadable(_too_long(int(offsets[i]), int(timestamps_ms[i]), keys[i], values[i] or b""))
            offsets, timestamps_ms = list(compress(offsets, small)), list(compress(timestamps_ms, small))
            keys, values = list(compress(keys, small)), list(compress(values, small))
            headers = list(compress(headers, small))
            sizes = list(compress(sizes, small))
        self.size += sum(sizes)
        if any(headers):
            self._headers += [()] * (len(self._values) - len(self._headers))
            self._headers += map(tuple, headers)
        self._offsets.append(np.asarray(offsets, dtype=np.int64))
        self._timestamps.append(np.asarray(timestamps_ms, dtype=np.int64))
        self._keys += keys
        self._values += values

    def add_unreadable(self, lost: Unreadable) -> None:
        """Add what can't be read."""
        self._unreadable.append(lost)
        self.size += len(lost.stored)

    def take(self, topic: str, partition: int, most: int) -> RecordBatch:
        """Take out the first records, at most so many, and all that can't be read."""
        offsets, timestamps = np.concatenate([*self._offsets, _NONE]), np.concatenate([*self._timestamps, _NONE])
        headers = self._headers[:most]
        if headers:
            headers += [()] * (min(most, len(self._values)) - len(headers))
        batch = RecordBatch(
            topic,
            partition,
            offsets[:most],
            timestamps[:most],
            self._keys[:most],
            self._values[:most],
            headers,
            self._unreadable,
        )
        self._unreadable = []
        self._offsets, self._timestamps = [offsets[most:]], [timestamps[most:]]
        del self._keys[:most], self._values[:most], self._headers[:most]
        self.size = sum(map(len, filter(None, self._values)))
        return batch

    def add_polled(self, polled: Sequence[Any], start: int, end: int) -> Iterator[None]:
        """Add what a consumer's poll gave, as far as it lies in ``[start, end)``: batches, and records of old formats.

        Stops now and then, so that the caller can take out what has been added before more is unpacked.
        """
        group: list[WholeBatch] = []
        payloads: list[bytes] = []
        size = 0
        for record in polled:
            batch = record.value
            if not isinstance(batch, WholeBatch):
                self._add_group(group, payloads, start, end)
                self._add_records([record], start, end)
                group, payloads, size = [], [], 0
                continue
            try:
                payload = batch.payload()
            except ValueError as error:
                self._add_group(group, payloads, start, end)
                self._add_unusual(batch, error, start, end)
                group, payloads, size = [], [], 0
                yield
                continue
            group.append(batch)
            payloads.append(payload)
            size += len(payload)
            if size >= GROUP_BYTES:
                self._add_group(group, payloads, start, end)
                group, payloads, size = [], [], 0
                yield
        self._add_group(group, payloads, start, end)
        yield

    def _add_unusual(self, batch: WholeBatch, error: ValueError, start: int, end: int) -> None:
        """Add what can be had of a batch that could not be unpacked whole."""
        first = batch.base_offset
        if isinstance(error, TooLargeError):
            found = _Streamed(batch)
            try:
                for record in found:
                    if start <= record.offset < end:
                        self._add_records([record], start, end)
            except ValueError as later:
                error = later
            for lost in found.too_long:
                if start <= lost.first_offset < end:
                    self.add_unreadable(lost)
            if not found.unfinished:
                return
            first = found.next_offset
        last = min(batch.last_offset, batch.base_offset + _MOST_RECORDS)
        stored = batch.stored(KEPT_BYTES)
        reason = f"the batch of offsets {batch.base_offset} to {last} can't be read from {first} on: {error}"
        lost = Unreadable(first, last, max(0, batch.max_timestamp), stored, batch.size_in_bytes, reason)
        if first < end and last >= start:
            self.add_unreadable(replace(lost, first_offset=max(first, start), last_offset=min(last, end - 1)))

    def _add_group(self, batches: Sequence[WholeBatch], payloads: Sequence[bytes], start: int, end: int) -> None:
        if not batches:
            return
        try:
            offsets, timestamps, keys, values = _unpacked(batches, payloads)
        except IndexError:
            for batch, payload in zip(batches, payloads, strict=True):
                try:
                    self._add_records(list(batch.records(payload)), start, end)
                except Exception as error:  # whatever a producer put there must not be in the way of what follows
                    self._add_unusual(batch, ValueError(f"damaged: {error}"), start, end)
            return
        first, last = np.searchsorted(offsets, [start, end]).tolist()
        part = slice(first, last)
        self.add(offsets[part], timestamps[part], keys[part], values[part])

    def _add_records(self, records: Iterable[Any], start: int, end: int) -> None:
        """Add records as kafka-python gives them."""
        kept = [record for record in records if start <= record.offset < end]
        self.add(
            [record.offset for record in kept],
            [record.timestamp for record in kept],
            [record.key for record in kept],
            [record.value for record in kept],
            [record.headers for record in kept],
        )


_NONE = np.empty(0, dtype=np.int64)


class _StreamedRecord:
    """A record of a batch that is too large to be unpacked whole, under the names of kafka-python."""

    __slots__ = ("headers", "key", "offset", "timestamp", "value")

    def __init__(self, offset: int, timestamp: int, key: bytes | None, value: bytes | None) -> None:
        self.offset, self.timestamp, self.key, self.value = offset, timestamp, key, value
        self.headers: Sequence[tuple[str, bytes]] = ()


class _Streamed:
    """The records of a batch one by one, without unpacking it whole; those that are too long are told."""

    def __init__(self, batch: WholeBatch) -> None:
        self._batch = batch
        self.too_long: list[Unreadable] = []
        self.next_offset = batch.base_offset
        self.unfinished = True

    def __iter__(self) -> Iterator[_StreamedRecord]:
        """Records; headers are passed over.

        Raises:
            ValueError: the rest can't be read.
        """
        batch = self._batch
        reader = PieceReader(batch.pieces(), MAX_STREAMED_BYTES)
        for _ in range(len(batch)):
            length = reader.varint()
            body = PieceReader(iter([reader.take(min(length, KEPT_BYTES + MAX_RECORD_BYTES))]), MAX_STREAMED_BYTES)
            body.take(1)  # attributes, none of which is in use
            timestamp_ms = batch.first_timestamp + body.varint()
            offset = batch.base_offset + body.varint()
            key, value, left = self._key_and_value(body, reader, length)
            if isinstance(value, tuple):
                size, digest, head = value
                self.too_long.append(replace(_too_long(offset, timestamp_ms, key, head), length=size, sha256=digest))
            else:
                yield _StreamedRecord(offset, timestamp_ms, key, value)
            reader.skip(left)
            self.next_offset = offset + 1
        self.unfinished = False

    @staticmethod
    def _key_and_value(
        body: PieceReader, reader: PieceReader, length: int
    ) -> tuple[bytes | None, bytes | tuple[int, str, bytes] | None, int]:
        """Key, value, and how much of the record is still to be passed over; of a long value length, hash and head."""
        had = min(length, KEPT_BYTES + MAX_RECORD_BYTES)
        key_length = body.varint()
        key = None if key_length < 0 else body.take(key_length)
        value_length = body.varint()
        if value_length <= MAX_RECORD_BYTES:
            return key, None if value_length < 0 else body.take(value_length), length - had
        digest = sha256()
        head = body.rest()
        head = head[:value_length]
        digest.update(head)
        beyond = value_length - len(head)
        reader.skip(beyond, digest.update)
        return key, (value_length, digest.hexdigest(), head[:KEPT_BYTES]), length - had - beyond


def _too_long(offset: int, timestamp_ms: int, key: bytes | None, value: bytes) -> Unreadable:
    reason = f"a value of more than the {MAX_RECORD_BYTES} bytes that are read"
    return Unreadable(
        offset, offset, timestamp_ms, value[:KEPT_BYTES], len(value), reason, key, sha256(value).hexdigest()
    )


def _unpacked(
    batches: Sequence[WholeBatch], payloads: Sequence[bytes]
) -> tuple[Int64, Int64, list[bytes | None], list[bytes | None]]:
    """Offsets, timestamps, keys and values of the records of some batches.

    Raises:
        IndexError: some record has headers, or is not as it should be.
    """
    counts = [len(batch) for batch in batches]
    frames: list[int] = []
    begin = 0
    for payload, count in zip(payloads, counts, strict=True):
        _find_frames(payload, count, begin, frames)
        begin += len(payload)
    joined = b"".join([*payloads, _PADDING])
    buffer = np.frombuffer(joined, dtype=np.uint8)

    lengths, attributes = _varints(buffer, np.array(frames, dtype=np.int64))
    time_deltas, position = _varints(buffer, attributes + 1)
    offset_deltas, position = _varints(buffer, position)
    key_lengths, key_starts = _varints(buffer, position)
    key_ends = key_starts + np.maximum(key_lengths, 0)
    value_lengths, value_starts = _varints(buffer, key_ends)
    value_ends = value_starts + np.maximum(value_lengths, 0)
    # No attribute is in use, and a zero, the number of headers, is all that may follow the value.
    if (value_ends + 1 != attributes + lengths).any() or buffer[value_ends].any() or buffer[attributes].any():
        raise IndexError("a record with headers, or with another length than it says")

    def per_record(numbers: list[int]) -> Int64:
        return np.repeat(np.array(numbers, dtype=np.int64), counts)

    appended = [bool(batch.timestamp_type) for batch in batches]  # then all have the time at which the broker got them
    if any(appended):
        time_deltas[np.repeat(appended, counts)] = 0
    times = [b.max_timestamp if late else b.first_timestamp for b, late in zip(batches, appended, strict=True)]
    return (
        per_record([batch.base_offset for batch in batches]) + offset_deltas,
        per_record(times) + time_deltas,
        _sliced(joined, key_starts, key_ends, key_lengths),
        _sliced(joined, value_starts, value_ends, value_lengths),
    )


def _find_frames(payload: bytes, count: int, begin: int, frames: list[int]) -> None:
    """Add where each record of a payload starts, with its length; positions count from ``begin``.

    Raises:
        IndexError: the lengths don't add up to the payload.
    """
    add = frames.append
    position = 0
    for _ in repeat(None, count):
        add(begin + position)
        length = payload[position]
        position += 1
        if length >= 0x80:
            more = payload[position]
            position += 1
            length += (more - 1) << 7  # - 1: the bit that said that there is more
            shift = 14
            while more >= 0x80:
                more = payload[position]
                position += 1
                length += (more - 1) << shift
                shift += 7
        position += length >> 1
    if position != len(payload):
        raise IndexError("records that end before or after their batch")


def _varints(buffer: Bytes, at: Int64) -> tuple[Int64, Int64]:
    """Zigzag-encoded integers at some positions, and the positions after them.

    Raises:
        IndexError: one is longer than five bytes, or starts outside of the buffer.
    """
    byte = buffer[at].astype(np.int64)
    value, after = byte & 0x7F, at + 1
    more = np.flatnonzero(byte >= 0x80)
    for shift in range(7, 7 * _VARINT_BYTES, 7):
        if not len(more):
            break
        byte = buffer[after[more]].astype(np.int64)
        value[more] |= (byte & 0x7F) << shift
        after[more] += 1
        more = more[byte >= 0x80]
    if len(more):
        raise IndexError(f"an integer of more than {_VARINT_BYTES} bytes")
    return (value >> 1) ^ -(value & 1), after


def _sliced(joined: bytes, starts: Int64, ends: Int64, lengths: Int64) -> list[bytes | None]:
    """Byte strings by position; None where the length says so."""
    found: list[bytes | None] = [joined[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
    for i in np.flatnonzero(lengths < 0).tolist():
        found[i] = None
    return found
