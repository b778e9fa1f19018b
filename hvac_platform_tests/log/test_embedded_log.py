"""The embedded log behaves as a Kafka topic does: gap-free offsets, whole appends, exact reads."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

import apsw
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hvac_platform.log.base import (
    KEEP_FOREVER,
    MAX_RECORD_BYTES,
    LogError,
    MessageLog,
    OffsetBeyondEndError,
    OffsetOutOfRangeError,
    UnknownPartitionError,
    UnknownTopicError,
)
from hvac_platform.log.embedded import EmbeddedLog
from hvac_platform.log.partitioner import partition_for

TOPIC = "iot-metrics"


@pytest.fixture
def log(tmp_path):
    opened = EmbeddedLog(tmp_path / "home" / "log.db", batch_records=10)
    opened.create_topic(TOPIC)
    yield opened
    opened.close()


def stored(log, partition, start=None, end=None, max_records=50_000):
    """(offset, key, value, timestamp) of each record of a range; by default of all."""
    start = log.begin_offsets(TOPIC)[partition] if start is None else start
    end = log.end_offsets(TOPIC)[partition] if end is None else end
    return [
        record
        for batch in log.read(TOPIC, partition, start, end, max_records)
        for record in zip(batch.offsets.tolist(), batch.keys, batch.values, batch.timestamps_ms.tolist(), strict=True)
    ]


def numbered(count, *, first=0):
    return [(b"k", b"%d" % i, i) for i in range(first, first + count)]


class AsAPlainList(RuleBasedStateMachine):
    """Whatever the order of operations, the log answers as three Python lists would."""

    PARTITIONS = 3
    RETENTION_MS = 100
    times = st.integers(0, 1_000)
    records = st.tuples(st.none() | st.binary(max_size=3), st.none() | st.binary(max_size=5), times)

    @initialize(batch_records=st.integers(1, 5))
    def open_log(self, batch_records):
        self.folder = Path(tempfile.mkdtemp())
        self.batch_records = batch_records
        self._open()
        assert self.log.create_topic(TOPIC, self.PARTITIONS, self.RETENTION_MS)
        self.model = {partition: [] for partition in range(self.PARTITIONS)}
        self.begins = dict.fromkeys(self.model, 0)
        self.batch_ends = {partition: [] for partition in self.model}
        self.commits = {}

    def _open(self):
        self.log = EmbeddedLog(self.folder / "log.db", batch_records=self.batch_records)
        self.log._keyless_turn = 0  # random by design, and a test that is run again must do the same again

    def teardown(self):
        if hasattr(self, "log"):
            self.log.close()
            shutil.rmtree(self.folder)

    def _appended(self, appended, records_of):
        assert set(appended) == {partition for partition, records in records_of.items() if records}
        for partition, (base_offset, count) in appended.items():
            assert base_offset == len(self.model[partition])
            assert count == len(records_of[partition])
            for first in range(0, count, self.batch_records):
                self.batch_ends[partition].append(base_offset + min(first + self.batch_records, count))
            self.model[partition] += records_of[partition]

    @rule(records=st.lists(records, max_size=12))
    def append_by_key(self, records):
        appended = self.log.append(TOPIC, records)
        records_of = {
            partition: [record for record in records if record[0] is not None and self._place(record[0]) == partition]
            for partition in self.model
        }
        if any(key is None for key, _, _ in records):
            # Where the records without a key go is the log's choice, but they go together and keep their order.
            (chosen,) = (p for p in self.model if appended.get(p, (0, 0))[1] > len(records_of[p]))
            records_of[chosen] = [record for record in records if record[0] is None or self._place(record[0]) == chosen]
        self._appended(appended, records_of)

    def _place(self, key):
        return partition_for(key, self.PARTITIONS)

    @rule(partition=st.integers(0, PARTITIONS - 1), records=st.lists(records, max_size=12))
    def append_to_partition(self, partition, records):
        self._appended(self.log.append_to_partition(TOPIC, partition, records), {partition: records})

    @rule(partition=st.integers(0, PARTITIONS - 1), max_records=st.integers(1, 20), data=st.data())
    def read_exactly_the_range(self, partition, max_records, data):
        end = data.draw(st.integers(self.begins[partition], len(self.model[partition])))
        start = data.draw(st.integers(self.begins[partition], end))
        batches = list(self.log.read(TOPIC, partition, start, end, max_records))
        assert all(0 < len(batch) <= max_records for batch in batches)
        assert [offset for batch in batches for offset in batch.offsets] == list(range(start, end))
        assert stored(self.log, partition, start, end, max_records) == [
            (offset, *self.model[partition][offset]) for offset in range(start, end)
        ]

    @rule(timestamp_ms=times)
    def find_a_time(self, timestamp_ms):
        assert self.log.offsets_for_time(TOPIC, timestamp_ms) == {
            partition: next(
                (
                    offset
                    for offset in range(self.begins[partition], len(records))
                    if records[offset][2] >= timestamp_ms
                ),
                None,
            )
            for partition, records in self.model.items()
        }

    @rule(
        group=st.sampled_from(["a", "b"]), offsets=st.dictionaries(st.integers(0, PARTITIONS - 1), st.integers(0, 99))
    )
    def commit(self, group, offsets):
        self.log.commit(group, TOPIC, offsets)
        self.commits.setdefault(group, {}).update(offsets)

    @rule(now_ms=st.integers(0, 1_200))
    def apply_retention(self, now_ms):
        deleted = self.log.apply_retention(TOPIC, now_ms)
        for partition, records in self.model.items():
            begin = self.begins[partition]
            for batch_end in [end for end in self.batch_ends[partition] if end > begin]:
                if max(timestamp for _, _, timestamp in records[begin:batch_end]) >= now_ms - self.RETENTION_MS:
                    break
                begin = batch_end
            assert deleted.get(partition, 0) == begin - self.begins[partition]
            self.begins[partition] = begin

    @rule()
    def reopen(self):
        self.log.close()
        self._open()

    @invariant()
    def bounds_and_commits_agree(self):
        if not hasattr(self, "log"):
            return
        assert self.log.begin_offsets(TOPIC) == self.begins
        assert self.log.end_offsets(TOPIC) == {partition: len(records) for partition, records in self.model.items()}
        for group in ("a", "b"):
            assert self.log.committed(group, TOPIC) == self.commits.get(group, {})


TestAsAPlainList = AsAPlainList.TestCase
TestAsAPlainList.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)


def test_it_is_a_message_log(log):
    assert isinstance(log, MessageLog)
    as_protocol: MessageLog = log
    assert as_protocol.partitions(TOPIC) == [0, 1, 2]


def test_creating_a_topic_twice_changes_nothing(log):
    log.append_to_partition(TOPIC, 2, numbered(1))
    assert log.create_topic(TOPIC, partitions=8) is False
    assert log.end_offsets(TOPIC) == {0: 0, 1: 0, 2: 1}


@pytest.mark.parametrize("name", ["", "a b", "é", "..", "x" * 250, "a/b"])
def test_topic_names_are_kafkas(log, name):
    with pytest.raises(LogError, match="topic name"):
        log.create_topic(name)


def test_errors_say_what_to_do(log):
    with pytest.raises(UnknownTopicError, match="create_topic"):
        log.end_offsets("nothing")
    with pytest.raises(UnknownPartitionError, match="partitions 0 to 2, not 3"):
        log.read(TOPIC, 3, 0, 0)
    with pytest.raises(OffsetBeyondEndError, match="ends at 0"):
        log.read(TOPIC, 0, 0, 1)
    with pytest.raises(LogError, match="over the 1048576"):
        log.append(TOPIC, [(b"k", b"x" * MAX_RECORD_BYTES, 0)])
    with pytest.raises(LogError, match="before 1970"):
        log.append(TOPIC, [(b"k", b"v", -1)])
    with pytest.raises(LogError, match="can't commit"):
        log.commit("group", TOPIC, {0: -1})
    with pytest.raises(ValueError, match="after its end"):
        log.read(TOPIC, 0, 2, 1)


def test_a_failed_append_leaves_nothing(log):
    with pytest.raises(LogError):
        log.append(TOPIC, [*numbered(100), (b"other", b"v", -1)])
    assert sum(log.end_offsets(TOPIC).values()) == 0


def test_retention_is_a_gap_that_readers_are_told_of(log):
    log.create_topic("kept", retention_ms=KEEP_FOREVER)
    log.append_to_partition("kept", 0, numbered(5))
    log.append_to_partition(TOPIC, 0, [(None, b"old", 1_000)] * 25)
    log.append_to_partition(TOPIC, 0, [(None, b"new", 10**12)] * 5)
    slow_reader = log.read(TOPIC, 0, 0, 30, max_records=1)
    week = 7 * 24 * 3_600_000
    assert log.apply_retention(TOPIC, 1_000 + week) == {}
    assert log.apply_retention(TOPIC, 1_001 + week) == {0: 25}
    assert log.apply_retention("kept", 10**15) == {}
    with pytest.raises(OffsetOutOfRangeError) as raised:
        log.read(TOPIC, 0, 3, 30)
    assert (raised.value.requested, raised.value.begin) == (3, 25)
    with pytest.raises(OffsetOutOfRangeError):
        list(slow_reader)
    assert [offset for offset, *_ in stored(log, 0)] == list(range(25, 30))


def test_an_idle_partition_is_emptied_and_keeps_its_offset(log):
    log.append_to_partition(TOPIC, 1, numbered(3))
    log.apply_retention(TOPIC, 10**12)
    assert log.begin_offsets(TOPIC)[1] == log.end_offsets(TOPIC)[1] == 3
    assert log.append_to_partition(TOPIC, 1, numbered(1)) == {1: (3, 1)}


def test_large_records_are_stored_in_batches_that_stay_small(tmp_path):
    log = EmbeddedLog(tmp_path / "log.db")
    log.create_topic(TOPIC)
    values = [os.urandom(700_000) for _ in range(13)]
    log.append_to_partition(TOPIC, 0, [(None, value, 0) for value in values])
    assert [value for _, _, value, _ in stored(log, 0)] == values
    (largest,) = apsw.Connection(str(log.path)).execute("SELECT max(length(payload)) FROM record_batches").fetchone()
    assert largest < 5 * 1_048_576
    log.close()


def unreadable(log, partition):
    return [
        (lost.first_offset, lost.last_offset, lost.reason)
        for batch in log.read(TOPIC, partition, 0, log.end_offsets(TOPIC)[partition])
        for lost in batch.unreadable
    ]


def test_a_damaged_batch_is_told_and_what_lies_around_it_is_read(log):
    log.append_to_partition(TOPIC, 0, numbered(30))
    other = apsw.Connection(str(log.path))
    other.execute("UPDATE record_batches SET payload = x'00' WHERE base_offset = 10")
    around = [*range(10), *range(20, 30)]
    assert [offset for offset, *_ in stored(log, 0)] == around
    ((first, last, reason),) = unreadable(log, 0)
    assert (first, last) == (10, 19)
    assert reason.startswith("the batch of offsets 10 to 19 can't be read: ")
    other.execute("DELETE FROM record_batches WHERE base_offset = 10")
    assert [offset for offset, *_ in stored(log, 0)] == around
    assert unreadable(log, 0) == [(10, 19, f"offsets 10 to 19 are missing: {log.path} is damaged")]
    other.close()


def test_a_file_that_is_no_log_or_a_later_one_is_refused(tmp_path):
    (tmp_path / "text.db").write_text("nothing of the kind" * 100)
    with pytest.raises(LogError, match="not a message log"):
        EmbeddedLog(tmp_path / "text.db")
    EmbeddedLog(tmp_path / "log.db").close()
    later = apsw.Connection(str(tmp_path / "log.db"))
    later.pragma("user_version", 99)
    later.close()
    with pytest.raises(LogError, match="schema version 99"):
        EmbeddedLog(tmp_path / "log.db")


def test_a_closed_log_says_so(log):
    log.close()
    log.close()
    with pytest.raises(LogError, match="closed"):
        log.end_offsets(TOPIC)


def test_threads_share_a_log(log):
    def append():
        for _ in range(20):
            log.append_to_partition(TOPIC, 0, numbered(3))

    threads = [threading.Thread(target=append) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(value for _, _, value, _ in stored(log, 0)) == {b"0": 80, b"1": 80, b"2": 80}


FORKER = """
import os, sys
import apsw
from hvac_platform.log.embedded import EmbeddedLog

log = EmbeddedLog(sys.argv[1])
log.create_topic("iot-metrics")
log.append_to_partition("iot-metrics", 0, [(b"k", b"before", 0)])
child = os.fork()
if child == 0:
    inherited = apsw.connections()
    log.append_to_partition("iot-metrics", 0, [(b"k", b"child", 0)])
    own = [connection for connection in apsw.connections() if connection not in inherited]
    log.close()
    # SQLite forbids to use, and to close, a connection on the other side of a fork.
    os._exit(0 if len(own) == 1 and apsw.connections() == inherited else 1)
assert os.waitpid(child, 0)[1] == 0
log.append_to_partition("iot-metrics", 0, [(b"k", b"after", 0)])
"""


def test_a_forked_child_gets_its_own_connection(tmp_path):
    subprocess.run([sys.executable, "-c", FORKER, str(tmp_path / "log.db")], check=True, timeout=60)
    log = EmbeddedLog(tmp_path / "log.db")
    assert [value for _, _, value, _ in stored(log, 0)] == [b"before", b"child", b"after"]
    log.close()


APPENDER = """
import sys
from hvac_platform.log.embedded import EmbeddedLog

path, name, appends = sys.argv[1], sys.argv[2], int(sys.argv[3])
log = EmbeddedLog(path, batch_records=7)
log.create_topic("iot-metrics")
for number in range(appends):
    values = [f"{name} {number} {i}".encode() for i in range(50)]
    log.append("iot-metrics", [(b"device-%d" % (i % 20), value, i) for i, value in enumerate(values)])
    print(number, flush=True)
"""


def start_appender(path, name, appends):
    return subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(path), name, str(appends)], stdout=subprocess.PIPE, text=True
    )


def records_of_appends(log):
    """(process, append) → how many of its records are stored."""
    return Counter(
        tuple(value.split()[:2]) for partition in log.partitions(TOPIC) for _, _, value, _ in stored(log, partition)
    )


def test_processes_that_append_at_once_lose_and_duplicate_nothing(tmp_path):
    # None of them finds a file: they also race to create it.
    path = tmp_path / "log.db"
    appenders = [start_appender(path, name, 40) for name in "abcd"]
    log = EmbeddedLog(path)
    log.create_topic(TOPIC)
    while any(appender.poll() is None for appender in appenders):
        # An append is visible in a partition whole or not at all.
        for partition in log.partitions(TOPIC):
            end = log.end_offsets(TOPIC)[partition]
            share = sum(partition_for(b"device-%d" % (i % 20), 3) == partition for i in range(50))
            assert end % share == 0
            assert len(stored(log, partition, 0, end)) == end
    assert [appender.wait() for appender in appenders] == [0] * 4
    for appender in appenders:
        appender.stdout.close()
    values = [value for partition in range(3) for _, _, value, _ in stored(log, partition)]
    assert len(values) == len(set(values)) == 4 * 40 * 50
    for partition in range(3):
        for name in "abcd":
            own = [value.split() for _, _, value, _ in stored(log, partition) if value.startswith(name.encode())]
            order = [(int(number), int(i)) for _, number, i in own]
            assert order == sorted(order)
    log.close()


def test_kill_9_leaves_whole_appends_and_all_that_were_acknowledged(tmp_path):
    path = tmp_path / "log.db"
    for name, acknowledged in (("a", 1), ("b", 12), ("c", 30)):
        appender = start_appender(path, name, 100_000)
        for _ in range(acknowledged):
            last_acknowledged = int(appender.stdout.readline())
        appender.send_signal(signal.SIGKILL)
        appender.wait()
        appender.stdout.close()
        log = EmbeddedLog(path)
        counts = {int(n): count for (who, n), count in records_of_appends(log).items() if who == name.encode()}
        assert set(counts.values()) == {50}
        assert sorted(counts) == list(range(len(counts)))
        assert len(counts) > last_acknowledged
        log.close()
