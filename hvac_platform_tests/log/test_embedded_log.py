"""The embedded log does what every log does, and what one file asks for: retention, damage, many processes, kill -9."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import apsw
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from hvac_platform.log.base import KEEP_FOREVER, LogError, OffsetOutOfRangeError
from hvac_platform.log.embedded import EmbeddedLog
from hvac_platform.log.partitioner import partition_for
from hvac_platform_tests.log.log_contract import PARTITIONS, AsPlainLists, MessageLogContract, numbered
from hvac_platform_tests.log.log_contract import stored as stored_in

TOPIC = "iot-metrics"


class AsPlainListsInAFile(AsPlainLists):
    """With batches of some records, retention by whole batches, and the file opened again."""

    RETENTION_MS = 100

    @initialize(batch_records=st.integers(1, 5))
    def create(self, batch_records):
        self.folder = Path(tempfile.mkdtemp())
        self.batch_records = batch_records
        self.batch_ends = {partition: [] for partition in range(PARTITIONS)}
        log = self._opened()
        assert log.create_topic(TOPIC, PARTITIONS, self.RETENTION_MS)
        self.begin(log, TOPIC)

    def _opened(self):
        return EmbeddedLog(self.folder / "log.db", batch_records=self.batch_records)

    def teardown(self):
        if hasattr(self, "log"):
            self.log.close()
            shutil.rmtree(self.folder)

    def appended(self, appended, records_of):
        super().appended(appended, records_of)
        for partition, (base_offset, count) in appended.items():
            for first in range(0, count, self.batch_records):
                self.batch_ends[partition].append(base_offset + min(first + self.batch_records, count))

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
        self.log = self._opened()
        self.log._keyless_turn = 0


class TestEmbeddedLog(MessageLogContract):
    """In a file of the test's own, with batches of ten records."""

    @pytest.fixture
    def log(self, tmp_path, topic):
        opened = EmbeddedLog(tmp_path / "home" / "log.db", batch_records=10)
        opened.create_topic(topic)
        yield opened
        opened.close()

    def another(self, log):
        return EmbeddedLog(log.path)

    def lose(self, log, topic, partition, before):
        assert log.apply_retention(topic, 10**13, {partition: before}) == {partition: before}

    def make_again(self, log, topic):
        for file in log.path.parent.glob("log.db*"):
            file.unlink()
        assert log.create_topic(topic) is True

    def machine(self, log):
        return AsPlainListsInAFile


@pytest.fixture
def log(tmp_path):
    opened = EmbeddedLog(tmp_path / "home" / "log.db", batch_records=10)
    opened.create_topic(TOPIC)
    yield opened
    opened.close()


def stored(log, partition, start=None, end=None, max_records=50_000):
    return stored_in(log, TOPIC, partition, start, end, max_records)


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
