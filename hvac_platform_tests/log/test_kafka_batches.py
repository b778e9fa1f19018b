"""Record batches read by column give what kafka-python's own reader gives, record by record."""

from __future__ import annotations

import hashlib
import tracemalloc
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.consumer.fetcher import Fetcher
from kafka.protocol.consumer import IsolationLevel
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.legacy_records import LegacyRecordBatchBuilder
from kafka.structs import TopicPartition

from hvac_platform.log.base import KEPT_BYTES, MAX_RECORD_BYTES, MAX_UNPACKED_BYTES
from hvac_platform.log.kafka import batches as kafka_batches
from hvac_platform.log.kafka.batches import RecordColumns
from hvac_platform.log.kafka.kafka_private import WholeBatch, WholePartitionRecords

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
NOON_MS = 1_780_000_000_000


def batch(records, *, base=0, codec=GZIP, transactional=False):
    """Bytes of a record batch as a producer sends it; records are (offset delta, timestamp, key, value, headers)."""
    builder = DefaultRecordBatchBuilder(2, codec, transactional, 7 if transactional else -1, 0, 0, 1 << 30)
    for delta, timestamp_ms, key, value, headers in records:
        builder.append(delta, timestamp_ms, key, value, headers)
    built = builder.build()
    built[:8] = base.to_bytes(8, "big")  # the broker's to fill in; the CRC leaves it out
    return bytes(built)


def plain(*values, base=0, codec=GZIP):
    return batch([(i, NOON_MS + i, b"k", value, []) for i, value in enumerate(values)], base=base, codec=codec)


def polled(data, *, start=0, aborted=()):
    """What a consumer's poll gives of fetched bytes, when it is asked to give batches whole."""
    fetched = WholePartitionRecords(
        start, TopicPartition("t", 0), MemoryRecords(data),
        isolation_level=IsolationLevel.READ_COMMITTED, aborted_transactions=aborted,
    )  # fmt: skip
    return fetched.take(10_000), fetched.next_fetch_offset


def one_by_one(data, *, start=0, end=1 << 40):
    """Records as kafka-python reads them."""
    fetched = Fetcher.PartitionRecords(start, TopicPartition("t", 0), MemoryRecords(data))
    return [
        (r.offset, r.timestamp, r.key, r.value, tuple(map(tuple, r.headers)))
        for r in fetched.take(10_000)
        if start <= r.offset < end
    ]


def by_column(data, *, start=0, end=1 << 40):
    """The same records by column."""
    columns = RecordColumns()
    list(columns.add_polled(polled(data, start=start)[0], start, end))
    return rows(columns)


def rows(columns):
    taken = columns.take("t", 0, 1 << 20)
    headers = taken.headers or [()] * len(taken)
    return list(
        zip(taken.offsets.tolist(), taken.timestamps_ms.tolist(), taken.keys, taken.values, headers, strict=True)
    )


def forbid_reading_one_by_one():
    return patch.object(WholeBatch, "records", lambda _: pytest.fail("read record by record"))


texts = st.none() | st.binary(max_size=300)
headers = st.just([]) | st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=2)
records = st.lists(
    st.tuples(st.integers(1, 300), st.integers(-(2**40), 2**40), texts, texts, headers), min_size=1, max_size=40
)


@given(
    st.lists(st.tuples(records, st.sampled_from([NONE, GZIP, ZSTD])), max_size=5),
    st.integers(0, 3_000),
    st.integers(0, 6_000),
    st.sampled_from([1, 2_000, 400_000]),
)
def test_any_records_are_the_same_by_column_and_one_by_one(parts, start, length, group_bytes):
    """Nulls, gaps in offsets, headers, timestamps far apart, several codecs, ranges that cut batches."""
    data, base = b"", 0
    for records, codec in parts:
        offsets = np.cumsum([step for step, *_ in records]).tolist()
        data += batch([(o, NOON_MS + t, k, v, h) for o, (_, t, k, v, h) in zip(offsets, records, strict=True)],
                      base=base, codec=codec)  # fmt: skip
        base += offsets[-1] + 1
    with patch.object(kafka_batches, "GROUP_BYTES", group_bytes):
        assert by_column(data, start=start, end=start + length) == one_by_one(data, start=start, end=start + length)


compressible = st.builds(lambda value, times: value * times, st.binary(max_size=20), st.integers(0, 1_000))


@given(st.lists(compressible, min_size=1, max_size=5), st.sampled_from([NONE, GZIP, SNAPPY, LZ4, ZSTD]))
def test_plain_records_are_never_read_one_by_one(values, codec):
    data = plain(*values, base=5, codec=codec)
    with forbid_reading_one_by_one():
        assert [row[3] for row in by_column(data)] == values


@given(st.binary(min_size=1, max_size=40), st.integers(0, 10_000), st.booleans())
def test_damage_behind_a_right_crc_is_the_same_records_or_is_told(noise, position, compressed):
    """Whatever a producer puts where records should be."""
    sound = bytearray(plain(b"first", b"second" * 40, b"third", codec=NONE))
    body = DefaultRecordBatch.HEADER_STRUCT.size
    position = body + position % (len(sound) - body)
    sound[position : position + len(noise)] = noise
    if compressed:
        packed = bytearray(plain(b"first", b"second" * 40, b"third", codec=GZIP))
        sound = bytearray(packed[:body]) + packed[body : body + 12] + noise
    damaged = DefaultRecordBatch(sound)
    columns = RecordColumns()
    list(columns.add_polled(list(WholeBatch(sound)), -(1 << 62), 1 << 62))
    try:
        expected = [(r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in damaged]
    except Exception:
        assert told(columns) == [(0, 2)]
        return
    assert rows(columns) == expected


def told(columns):
    """Offsets that are told as unreadable."""
    return [(lost.first_offset, lost.last_offset) for lost in columns.take("t", 0, 1 << 20).unreadable]


def test_a_batch_with_a_wrong_checksum_is_told_and_the_ones_around_it_are_read():
    wrong = bytearray(plain(b"b", b"c", base=1))
    wrong[-1] ^= 1
    columns = RecordColumns()
    data = plain(b"a") + bytes(wrong) + plain(b"d", base=3)
    list(columns.add_polled(polled(data)[0], 0, 10))
    taken = columns.take("t", 0, 10)
    assert (taken.offsets.tolist(), taken.values) == ([0, 3], [b"a", b"d"])
    ((lost),) = taken.unreadable
    assert (lost.first_offset, lost.last_offset, lost.timestamp_ms) == (1, 2, NOON_MS + 1)
    assert lost.reason == "the batch of offsets 1 to 2 can't be read from 1 on: its checksum is wrong"
    assert lost.stored == bytes(wrong)


@pytest.mark.parametrize("codec", [NONE, GZIP, SNAPPY, LZ4, ZSTD])
def test_a_value_that_is_too_long_is_told_with_its_length_and_hash_and_the_good_ones_are_read(codec):
    long = b"x" * (MAX_RECORD_BYTES + 1)
    columns = RecordColumns()
    list(columns.add_polled(polled(plain(b"a", long, b"c", codec=codec))[0], 0, 10))
    taken = columns.take("t", 0, 10)
    assert (taken.offsets.tolist(), taken.values) == ([0, 2], [b"a", b"c"])
    (lost,) = taken.unreadable
    assert (lost.first_offset, lost.last_offset, lost.key, lost.length) == (1, 1, b"k", len(long))
    assert lost.sha256 == hashlib.sha256(long).hexdigest()
    assert lost.stored == long[:KEPT_BYTES]


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
def test_a_batch_that_unpacks_to_too_much_is_gone_through_without_being_unpacked(codec, monkeypatch):
    """300 MB of zeros are 300 kB of gzip: they must not come into memory, and the good records around them must."""
    bomb = bytes(300_000_000)
    data = plain(b"a", bomb, b"c", base=7, codec=codec)
    columns = RecordColumns()
    found = polled(data)[0]
    tracemalloc.start()
    list(columns.add_polled(found, 0, 100))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * MAX_UNPACKED_BYTES
    taken = columns.take("t", 0, 10)
    assert (taken.offsets.tolist(), taken.values) == ([7, 9], [b"a", b"c"])
    (lost,) = taken.unreadable
    assert (lost.first_offset, lost.length, lost.sha256) == (8, len(bomb), hashlib.sha256(bomb).hexdigest())
    monkeypatch.setattr(kafka_batches, "MAX_STREAMED_BYTES", 100_000_000)
    list(columns.add_polled(found, 0, 100))
    taken = columns.take("t", 0, 10)
    assert taken.values == [b"a"]
    (lost,) = taken.unreadable
    assert (lost.first_offset, lost.last_offset) == (8, 9)
    assert "unpacks to more than 100000000 bytes" in lost.reason


def test_what_is_unpacked_can_be_taken_out_before_more_is():
    """Many batches of a fetch, each of which is far larger unpacked."""
    values = [bytes(MAX_RECORD_BYTES) for _ in range(20)]
    data = b"".join(plain(*values, base=20 * i) for i in range(8))
    columns, sizes = RecordColumns(), []
    for _ in columns.add_polled(polled(data)[0], 0, 1_000):
        sizes.append(columns.size)
        columns.take("t", 0, 1_000)
    assert len(sizes) >= 8
    assert max(sizes) <= 20 * (MAX_RECORD_BYTES + 1)


def test_the_position_passes_offsets_that_compaction_left_empty():
    """A batch keeps its last offset when its last records are gone; it may even have no record left."""
    emptied = bytearray(plain(b"a", b"b", b"c", base=10, codec=NONE))
    header = DefaultRecordBatch.HEADER_STRUCT
    del emptied[header.size :]
    fields = list(header.unpack_from(emptied))
    fields[1], fields[12] = header.size - DefaultRecordBatch.AFTER_LEN_OFFSET, 0
    header.pack_into(emptied, 0, *fields)
    with patch.object(DefaultRecordBatch, "validate_crc", lambda _: True):
        found, position = polled(bytes(emptied))
    assert (list(found), position) == ([], 13)


def test_a_batch_stamped_by_the_broker_has_its_time_for_every_record():
    data = bytearray(plain(b"a", b"b"))
    header = DefaultRecordBatch.HEADER_STRUCT
    fields = list(header.unpack_from(data))
    fields[5] |= DefaultRecordBatch.TIMESTAMP_TYPE_MASK
    fields[8] = NOON_MS + 77
    header.pack_into(data, 0, *fields)
    with patch.object(DefaultRecordBatch, "validate_crc", lambda _: True):
        assert (
            [row[1] for row in by_column(bytes(data))] == [NOON_MS + 77] * 2 == [r[1] for r in one_by_one(bytes(data))]
        )


def test_records_of_the_old_format_come_as_they_are():
    builder = LegacyRecordBatchBuilder(1, NONE, 1 << 16)
    builder.append(0, NOON_MS, b"k", b"old")
    assert by_column(bytes(builder.build())) == [(0, NOON_MS, b"k", b"old", ())]


def test_what_is_taken_out_leaves_the_rest():
    columns = RecordColumns()
    columns.add([1, 2], [10, 20], [None, None], [b"a", b"b"])
    columns.add([5], [50], [b"k"], [b"c"], [[("name", b"value")]])
    first = columns.take("t", 3, 2)
    assert (first.partition, first.offsets.tolist(), first.values, first.headers) == (3, [1, 2], [b"a", b"b"], [(), ()])
    assert len(columns) == 1
    last = columns.take("t", 3, 2)
    assert (last.offsets.tolist(), last.values, last.headers) == ([5], [b"c"], [(("name", b"value"),)])
    assert len(columns.take("t", 3, 2)) == 0
