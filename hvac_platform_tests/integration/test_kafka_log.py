"""The Kafka log against a real broker: what the embedded log promises, and what only servers do: die, refuse, delete."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from hvac_platform.config import CONSUMER_GROUP, load_settings
from hvac_platform.devices.fleet import default_fleet
from hvac_platform.execution import ingest_everything
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
from hvac_platform.log.kafka.kafka_log import KafkaLog
from hvac_platform.log.partitioner import partition_for
from hvac_platform.runtime.connections import open_log
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.simulation.streaming import stream_history
from hvac_platform.timestamps import day_start, now_ms
from hvac_platform_tests.conftest import BAD_VALUES, DAY, HOUR_MS, NOON_MS, bad, rows

ANSWER_SECONDS = 3.0


@pytest.fixture(params=["embedded", "kafka", "fast kafka"])
def log(request, tmp_path, topic):
    """Each log, Kafka's with both of its readers, with a topic of three partitions."""
    if request.param != "embedded":
        yield request.getfixturevalue(request.param.replace(" ", "_") + "_log")
        return
    opened = EmbeddedLog(tmp_path / "log.db", batch_records=10)
    opened.create_topic(topic, retention_ms=KEEP_FOREVER)
    yield opened
    opened.close()


def stored(log, topic, partition, start=None, end=None, max_records=50_000):
    """(offset, key, value, timestamp) of each record of a range; by default of all."""
    start = log.begin_offsets(topic)[partition] if start is None else start
    end = log.end_offsets(topic)[partition] if end is None else end
    return [
        record
        for batch in log.read(topic, partition, start, end, max_records)
        for record in zip(batch.offsets.tolist(), batch.keys, batch.values, batch.timestamps_ms.tolist(), strict=True)
    ]


def numbered(count, *, first=0, at_ms=0):
    return [(b"k", b"%d" % i, at_ms + i) for i in range(first, first + count)]


# -- what both logs promise --------------------------------------------------------------------------------------------


def test_it_is_a_message_log(log, topic):
    assert isinstance(log, MessageLog)
    assert log.partitions(topic) == [0, 1, 2]
    assert log.begin_offsets(topic) == log.end_offsets(topic) == {0: 0, 1: 0, 2: 0}
    assert log.append(topic, []) == {}
    assert log.append_to_partition(topic, 1, []) == {}


def test_creating_a_topic_twice_changes_nothing(log, topic):
    log.append_to_partition(topic, 2, numbered(1))
    assert log.create_topic(topic, partitions=8) is False
    assert log.end_offsets(topic) == {0: 0, 1: 0, 2: 1}


@pytest.mark.parametrize("name", ["", "a b", "é", "..", "x" * 250, "a/b"])
def test_topic_names_are_kafkas(log, name):
    with pytest.raises(LogError, match="topic name"):
        log.create_topic(name)


def test_errors_say_what_to_do(log, topic):
    with pytest.raises(LogError, match="at least 1 partition"):
        log.create_topic("other", partitions=0)
    with pytest.raises(LogError, match="retention_ms"):
        log.create_topic("other", retention_ms=-2)
    for missing in (
        lambda: log.partitions("nothing"),
        lambda: log.end_offsets("nothing"),
        lambda: log.read("nothing", 0, 0, 0),
        lambda: log.append("nothing", numbered(1)),
        lambda: log.append("nothing", []),
        lambda: log.append_to_partition("nothing", 0, numbered(1)),
        lambda: log.committed("group", "nothing"),
        lambda: log.commit("group", "nothing", {0: 1}),
    ):
        with pytest.raises(UnknownTopicError, match="create_topic"):
            missing()
    for missing in (
        lambda: log.read(topic, 3, 0, 0),
        lambda: log.append_to_partition(topic, 3, numbered(1)),
        lambda: log.commit("group", topic, {3: 0}),
    ):
        with pytest.raises(UnknownPartitionError, match="partitions 0 to 2, not 3"):
            missing()
    with pytest.raises(OffsetBeyondEndError, match="ends at 0"):
        log.read(topic, 0, 0, 1)
    with pytest.raises(LogError, match="over the 1048576"):
        log.append(topic, [(b"k", b"x" * MAX_RECORD_BYTES, 0)])
    with pytest.raises(LogError, match="before 1970"):
        log.append(topic, [(b"k", b"v", -1)])
    with pytest.raises(LogError, match="can't commit"):
        log.commit("group", topic, {0: -1})
    with pytest.raises(ValueError, match="after its end"):
        log.read(topic, 0, 2, 1)
    with pytest.raises(ValueError, match="max_records"):
        log.read(topic, 0, 0, 0, max_records=0)


def test_a_refused_append_leaves_nothing(log, topic):
    with pytest.raises(LogError):
        log.append(topic, [*numbered(100), (b"other", b"v", -1)])
    assert sum(log.end_offsets(topic).values()) == 0


def test_records_come_back_as_they_were_sent(log, topic):
    records = [(b"k", b"v", 7), (b"", b"", 0), (b"tombstone", None, 5), (b"\xff\x00", "°F".encode(), 10**12)]
    assert log.append_to_partition(topic, 1, records) == {1: (0, 4)}
    assert stored(log, topic, 1) == [(offset, *record) for offset, record in enumerate(records)]
    (batch,) = log.read(topic, 1, 0, 4)
    assert (batch.topic, batch.partition, batch.headers) == (topic, 1, [])
    assert batch.offsets.dtype == batch.timestamps_ms.dtype == np.int64


def test_ranges_are_exact_in_batches_of_at_most_max_records(log, topic):
    log.append_to_partition(topic, 0, numbered(1_000))
    for start, end in ((0, 1_000), (0, 1), (999, 1_000), (137, 138), (137, 643), (500, 500), (1_000, 1_000)):
        for max_records in (1, 7, 100, 50_000):
            if (end - start) / max_records > 100:
                continue
            batches = list(log.read(topic, 0, start, end, max_records))
            assert all(0 < len(batch) <= max_records for batch in batches)
            assert [offset for batch in batches for offset in batch.offsets] == list(range(start, end))
            assert [value for batch in batches for value in batch.values] == [b"%d" % i for i in range(start, end)]


def test_reads_interleave_and_may_be_abandoned(log, topic):
    for partition in range(3):
        log.append_to_partition(topic, partition, numbered(30, first=100 * partition))
    readers = [log.read(topic, partition, 0, 30, max_records=10) for partition in (0, 1, 2, 0)]
    first = [next(reader) for reader in readers]
    second = [next(reader) for reader in reversed(readers)]
    assert [batch.values[0] for batch in first] == [b"0", b"100", b"200", b"0"]
    assert [batch.values[0] for batch in second] == [b"10", b"210", b"110", b"10"]
    del readers
    assert len(stored(log, topic, 0)) == 30


def test_keys_choose_the_partition_and_keep_their_order(log, topic):
    records = [(b"device-%d" % (i % 20), b"%d" % i, i) for i in range(500)]
    appended = log.append(topic, records)
    expected = {
        partition: [record for record in records if partition_for(record[0], 3) == partition] for partition in range(3)
    }
    assert appended == {partition: (0, len(of)) for partition, of in expected.items()}
    for partition, of in expected.items():
        assert [record[1:] for record in stored(log, topic, partition)] == of


def test_records_without_keys_stay_together_and_move_on(log, topic):
    used = []
    for turn in range(3):
        (partition,) = log.append(topic, [(None, b"%d" % i, turn) for i in range(50)])
        used.append(partition)
    assert sorted(used) == [0, 1, 2]
    assert log.end_offsets(topic) == {0: 50, 1: 50, 2: 50}


def test_a_time_is_found_among_timestamps_in_any_order(log, topic):
    random = np.random.default_rng(4)
    times = {0: random.integers(0, 1_000, 400).tolist(), 1: [5, 5, 900, 5, 5], 2: []}
    for partition, timestamps in times.items():
        for first in range(0, len(timestamps), 40):  # several record batches
            log.append_to_partition(topic, partition, [(b"k", b"v", t) for t in timestamps[first : first + 40]])
    for wanted in (-5, 0, 1, 5, 6, 500, 899, 900, 901, 990, 998, 999, 1_000, 10**13):
        assert log.offsets_for_time(topic, wanted) == {
            partition: next((offset for offset, t in enumerate(timestamps) if t >= wanted), None)
            for partition, timestamps in times.items()
        }, wanted


def test_committed_offsets_are_by_group_and_partition(log, topic):
    group = f"group-{secrets.token_hex(4)}"
    assert log.committed(group, topic) == {}
    log.commit(group, topic, {0: 5, 2: 0})
    log.commit(group, topic, {2: 7})
    log.commit(group, topic, {})
    assert log.committed(group, topic) == {0: 5, 2: 7}
    assert log.committed(f"{group}-other", topic) == {}


def test_the_largest_record_fits(log, topic):
    values = [os.urandom(MAX_RECORD_BYTES - 1), b"small", os.urandom(700_000), os.urandom(900_000)]
    log.append_to_partition(topic, 0, [(b"k", value, 0) for value in values])
    assert [value for _, _, value, _ in stored(log, topic, 0)] == values


def test_threads_share_a_log(log, topic):
    def append():
        for _ in range(20):
            log.append_to_partition(topic, 0, numbered(3))
            seen.append(len(stored(log, topic, 0)))

    seen = []
    threads = [threading.Thread(target=append) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 80
    assert Counter(value for _, _, value, _ in stored(log, topic, 0)) == {b"0": 80, b"1": 80, b"2": 80}


def test_a_closed_log_says_so(log, topic):
    log.close()
    log.close()
    with pytest.raises(LogError, match="closed"):
        log.end_offsets(topic)


# -- Kafka as a plain list ---------------------------------------------------------------------------------------------


def test_whatever_the_order_of_operations_it_answers_as_three_lists_would(broker):
    log = KafkaLog(broker.bootstrap_servers)
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    times = st.integers(0, 1_000)
    records = st.tuples(st.none() | st.binary(max_size=3), st.binary(max_size=5), times)
    partitions = st.integers(0, 2)

    class AsAPlainList(RuleBasedStateMachine):
        @initialize()
        def create(self):
            self.topic = f"model-{secrets.token_hex(6)}"
            assert log.create_topic(self.topic, 3, KEEP_FOREVER)
            self.model = {partition: [] for partition in range(3)}
            self.begins = dict.fromkeys(self.model, 0)

        def teardown(self):
            if hasattr(self, "topic"):
                admin.delete_topics([self.topic])

        @rule(records=st.lists(records.filter(lambda record: record[0] is not None), max_size=12))
        def append_by_key(self, records):
            of = {p: [record for record in records if partition_for(record[0], 3) == p] for p in self.model}
            self._appended(log.append(self.topic, records), of)

        @rule(partition=partitions, records=st.lists(records, max_size=12))
        def append_to_partition(self, partition, records):
            self._appended(log.append_to_partition(self.topic, partition, records), {partition: records})

        def _appended(self, appended, of):
            assert appended == {p: (len(self.model[p]), len(records)) for p, records in of.items() if records}
            for partition, records in of.items():
                self.model[partition] += records

        @rule(partition=partitions, max_records=st.integers(1, 20), data=st.data())
        def read_exactly_the_range(self, partition, max_records, data):
            end = data.draw(st.integers(self.begins[partition], len(self.model[partition])))
            start = data.draw(st.integers(self.begins[partition], end))
            assert stored(log, self.topic, partition, start, end, max_records) == [
                (offset, *self.model[partition][offset]) for offset in range(start, end)
            ]

        @rule(timestamp_ms=times)
        def find_a_time(self, timestamp_ms):
            assert log.offsets_for_time(self.topic, timestamp_ms) == {
                p: next((o for o in range(self.begins[p], len(of)) if of[o][2] >= timestamp_ms), None)
                for p, of in self.model.items()
            }

        @rule(partition=partitions, data=st.data())
        def delete_the_oldest(self, partition, data):
            before = data.draw(st.integers(self.begins[partition], len(self.model[partition])))
            admin.delete_records({TopicPartition(self.topic, partition): before})
            self.begins[partition] = before

        @invariant()
        def bounds_agree(self):
            if hasattr(self, "begins"):
                assert log.begin_offsets(self.topic) == self.begins
                assert log.end_offsets(self.topic) == {p: len(of) for p, of in self.model.items()}

    run_state_machine_as_test(
        AsAPlainList,
        settings=settings(
            max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    admin.close()
    log.close()


def test_both_logs_and_a_plain_producer_place_keys_alike(kafka_log, broker, tmp_path):
    keys = [f"RTU-{i:03d}".encode() for i in range(300)] + [os.urandom(i % 40) for i in range(700)]
    embedded = EmbeddedLog(tmp_path / "log.db")
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap_servers)
    for count in (1, 3, 12):
        topic = f"keys-{secrets.token_hex(6)}"
        records = [(key, b"%d" % i, 0) for i, key in enumerate(keys)]
        for log in (embedded, kafka_log):
            log.create_topic(topic, count, KEEP_FOREVER)
        assert embedded.append(topic, records) == kafka_log.append(topic, records)
        for partition in range(count):
            assert stored(embedded, topic, partition) == stored(kafka_log, topic, partition)
        placed = [producer.send(topic, b"v", key=key) for key in keys]
        producer.flush()
        assert [future.value.partition for future in placed] == [partition_for(key, count) for key in keys]
    producer.close()
    embedded.close()


# -- what only Kafka does ----------------------------------------------------------------------------------------------


def test_headers_come_with_the_records(kafka_log, broker, topic):
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap_servers)
    producer.send(topic, b"plain", partition=0)
    producer.send(topic, b"headed", partition=0, headers=[("source", b"bacnet")])
    producer.close()
    (batch,) = kafka_log.read(topic, 0, 0, 2)
    assert batch.headers == [(), (("source", b"bacnet"),)]


def test_transactions_leave_gaps_that_are_passed(kafka_log, broker, topic):
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap_servers, transactional_id=topic)
    producer.init_transactions()

    def transaction(values, *, commit):
        producer.begin_transaction()
        for value in values:
            producer.send(topic, value, partition=0)
        producer.flush()
        end = kafka_log.end_offsets(topic)[0]
        assert kafka_log.high_watermarks(topic)[0] == end + len(values)
        if commit:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
        return end

    assert transaction([b"a", b"b"], commit=True) == 0  # an open transaction isn't there yet
    transaction([b"lost", b"lost"], commit=False)
    transaction([b"c"], commit=True)
    transaction([b"lost"], commit=False)
    producer.close()
    # a b (marker) lost lost (marker) c (marker) lost (marker)
    deadline = time.monotonic() + 10
    while kafka_log.end_offsets(topic)[0] < 10 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert kafka_log.end_offsets(topic)[0] == kafka_log.high_watermarks(topic)[0] == 10
    assert [(offset, value) for offset, _, value, _ in stored(kafka_log, topic, 0)] == [(0, b"a"), (1, b"b"), (6, b"c")]
    assert [value for _, _, value, _ in stored(kafka_log, topic, 0, max_records=1)] == [b"a", b"b", b"c"]
    began = time.monotonic()
    assert stored(kafka_log, topic, 0, 2, 6) == stored(kafka_log, topic, 0, 7, 10) == []
    assert [value for _, _, value, _ in stored(kafka_log, topic, 0, 1, 7)] == [b"b", b"c"]
    assert time.monotonic() - began < 5


def test_deleted_records_are_a_gap_that_readers_are_told_of(kafka_log, broker, topic):
    kafka_log.append_to_partition(topic, 0, [(None, b"x" * 1_000, i) for i in range(30)])
    slow_reader = kafka_log.read(topic, 0, 0, 30, max_records=1)
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers) as admin:
        admin.delete_records({TopicPartition(topic, 0): 25})
    assert kafka_log.begin_offsets(topic)[0] == 25
    with pytest.raises(OffsetOutOfRangeError) as raised:
        kafka_log.read(topic, 0, 3, 30)
    assert (raised.value.requested, raised.value.begin) == (3, 25)
    with pytest.raises(OffsetOutOfRangeError) as raised:
        list(slow_reader)
    assert (raised.value.requested, raised.value.begin) == (0, 25)
    assert [offset for offset, *_ in stored(kafka_log, topic, 0)] == list(range(25, 30))


def test_the_topic_keeps_what_it_was_created_with(kafka_log, broker):
    name = f"settings-{secrets.token_hex(4)}"
    kafka_log.create_topic(name, partitions=5, retention_ms=90_000_000)
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers) as admin:
        described = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    assert described["topic"][name]["retention.ms"]["value"] == "90000000"
    assert len(kafka_log.partitions(name)) == 5


def test_appends_are_compressed(kafka_log, broker, topic):
    kafka_log.append_to_partition(topic, 0, [(b"k", b"the same again and again" * 20, 0)] * 2_000)
    (segment,) = (broker.folder / "data").glob(f"{topic}-0/*.log")
    assert segment.stat().st_size < 2_000 * 480 / 10


def test_a_time_too_far_ahead_is_refused_with_the_reason(kafka_log, topic):
    tomorrow = round(time.time() * 1000) + 24 * HOUR_MS
    with pytest.raises(LogError, match="clock"):
        kafka_log.append(topic, [(b"k", b"v", tomorrow)])
    kafka_log.append(topic, numbered(1))


FORKER = """
import os, sys
from hvac_platform.log.kafka.kafka_log import KafkaLog

servers, topic = sys.argv[1:]
log = KafkaLog(servers)
log.append_to_partition(topic, 0, [(b"k", b"before", 0)])
child = os.fork()
if child == 0:
    log.append_to_partition(topic, 0, [(b"k", b"child", 0)])
    seen = [v for b in log.read(topic, 0, 0, 2) for v in b.values]
    log.close()
    os._exit(0 if seen == [b"before", b"child"] else 1)
assert os.waitpid(child, 0)[1] == 0
log.append_to_partition(topic, 0, [(b"k", b"after", 0)])
log.close()
"""


def test_a_forked_child_gets_its_own_connections(kafka_log, broker, topic):
    subprocess.run([sys.executable, "-c", FORKER, broker.bootstrap_servers, topic], check=True, timeout=60)
    assert [value for _, _, value, _ in stored(kafka_log, topic, 0)] == [b"before", b"child", b"after"]


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def killed(broker):
    """Kill the broker as a power cut would; it is started again in any case."""
    yield broker.kill
    broker.up()


def impatient(broker):
    return KafkaLog(broker.bootstrap_servers, answer_seconds=ANSWER_SECONDS, delivery_seconds=ANSWER_SECONDS)


def test_a_killed_broker_is_a_clear_error_and_later_a_success(broker, kafka_log, topic, killed):
    kafka_log.close()
    log = impatient(broker)
    log.append(topic, numbered(100))
    log.commit(CONSUMER_GROUP, topic, {0: 1})
    partition = partition_for(b"k", 3)
    half_read = log.read(topic, partition, 0, 100, max_records=10)
    next(half_read)
    killed()
    for ask in (
        lambda: log.end_offsets(topic),
        lambda: log.append(topic, numbered(1)),
        lambda: log.read(topic, partition, 0, 100),
        lambda: log.commit(CONSUMER_GROUP, topic, {0: 2}),
        lambda: log.committed(CONSUMER_GROUP, topic),
        lambda: log.create_topic(topic),
        lambda: impatient(broker).end_offsets(topic),
    ):
        began = time.monotonic()
        with pytest.raises(LogError, match="check that the brokers run and that KAFKA_BOOTSTRAP_SERVERS") as raised:
            ask()
        assert "\n" not in str(raised.value)
        assert time.monotonic() - began < 2 * ANSWER_SECONDS + 1
    half_read.close()
    broker.up()
    assert [value for _, _, value, _ in stored(log, topic, partition)] == [b"%d" % i for i in range(100)]
    log.append(topic, numbered(100, first=100))
    assert [value for _, _, value, _ in stored(log, topic, partition)] == [b"%d" % i for i in range(200)]
    assert log.committed(CONSUMER_GROUP, topic) == {0: 1}
    log.close()


def test_an_append_that_fails_half_way_can_be_repeated(broker, kafka_log, topic, killed):
    kafka_log.close()
    log = impatient(broker)
    log.append(topic, numbered(1))
    broker.kill()
    log.partitions = lambda _: [0, 1, 2]  # the broker dies just after it was asked for the partitions
    with pytest.raises(LogError, match=r"only 0 of 50 records are known to be in .* append them again"):
        log.append(topic, numbered(50))
    del log.partitions
    broker.up()
    log.append(topic, numbered(50))
    values = Counter(value for _, _, value, _ in stored(log, topic, partition_for(b"k", 3)))
    assert set(values) == {b"%d" % i for i in range(50)}
    log.close()


def test_appends_go_on_through_a_restart_without_loss(broker, kafka_log, topic, killed, say):
    sent, errors = [], []
    stop = threading.Event()

    def append():
        number = 0
        while not stop.is_set():
            records = [(b"device-%d" % (i % 9), b"%d" % i, i) for i in range(number, number + 200)]
            try:
                kafka_log.append(topic, records)
            except LogError as error:
                errors.append(error)
                time.sleep(0.5)
                continue  # the same again
            sent.extend(value for _, value, _ in records)
            number += 200

    appender = threading.Thread(target=append)
    appender.start()
    while len(sent) < 2_000:
        time.sleep(0.01)
    killed()
    before = len(sent)
    broker.up()
    while len(sent) < before + 2_000:
        time.sleep(0.01)
    stop.set()
    appender.join()
    found = Counter(value for partition in range(3) for _, _, value, _ in stored(kafka_log, topic, partition))
    # A batch that the broker had taken but not acknowledged may be in the log again; in the store it is once.
    again = sum(found.values()) - len(found)
    say(f"{len(sent)} records acknowledged, lost {len(set(sent) - set(found))}, {again} twice, {len(errors)} errors")
    assert set(found) == set(sent)


def test_a_read_goes_on_after_a_restart(broker, kafka_log, topic, killed):
    kafka_log.append_to_partition(topic, 0, [(b"k", os.urandom(500), i) for i in range(10_000)])
    reader = kafka_log.read(topic, 0, 0, 10_000, max_records=100)
    offsets = next(reader).offsets.tolist()
    killed()
    restarting = threading.Thread(target=broker.up)
    restarting.start()
    while True:
        try:
            for batch in reader:
                offsets += batch.offsets.tolist()
            break
        except LogError:  # the restart took longer than a read waits
            restarting.join()
            reader = kafka_log.read(topic, 0, len(offsets), 10_000, max_records=100)
    restarting.join()
    assert offsets == list(range(10_000))


def test_a_broker_that_hangs_is_a_clear_error_too(broker, kafka_log, topic):
    log = impatient(broker)
    log.append(topic, numbered(1))
    pid = broker.running().pid
    os.kill(pid, signal.SIGSTOP)
    try:
        for ask in (lambda: log.end_offsets(topic), lambda: log.append(topic, numbered(1))):
            began = time.monotonic()
            with pytest.raises(LogError, match="check that the brokers run"):
                ask()
            assert time.monotonic() - began < ANSWER_SECONDS + 12  # kafka-python gives a connection 10 s
    finally:
        os.kill(pid, signal.SIGCONT)
    kafka_log.append(topic, numbered(1))
    assert sum(kafka_log.end_offsets(topic).values()) >= 2
    log.close()


# -- authentication and encryption -------------------------------------------------------------------------------------


@pytest.fixture
def environment(home, broker, topic, monkeypatch):
    """Set the platform's environment for Kafka; the log that it opens then."""

    def opened(**changes):
        for name, value in {**broker.secured_settings, "KAFKA_TOPIC": topic, **changes}.items():
            monkeypatch.setenv(name, value)
        return open_log(load_settings())

    return opened


def test_scram_over_tls(environment, topic, broker):
    log = environment()
    log.append(topic, numbered(10, at_ms=now_ms()))  # the topic keeps 7 days: older records are deleted at any moment
    assert len(stored(log, topic, partition_for(b"k", 3))) == 10
    assert broker.secured.password not in repr(load_settings()) + repr(vars(log))
    assert environment() is log
    log.close()
    assert environment() is not log


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"KAFKA_SASL_PASSWORD": "wrong"}, "refuses user 'hvac': check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD"),
        ({"KAFKA_SASL_MECHANISM": "PLAIN"}, "KAFKA_SASL_MECHANISM=PLAIN"),
        ({"KAFKA_SSL_CAFILE": ""}, "self-signed certificate.*check KAFKA_SSL_CAFILE"),
        ({"KAFKA_SSL_CAFILE": "/nothing.pem"}, "KAFKA_SSL_CAFILE=/nothing.pem can't be used"),
        ({"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}, "KAFKA_SECURITY_PROTOCOL=PLAINTEXT fit"),
    ],
)
def test_what_doesnt_fit_is_named(environment, broker, changes, message):
    began = time.monotonic()
    with pytest.raises(LogError, match=message) as raised:
        environment(**changes)
    assert time.monotonic() - began < 15
    assert broker.secured.password not in str(raised.value)


# -- end to end --------------------------------------------------------------------------------------------------------


def test_an_hour_through_kafka_into_the_store(broker, topic, home, instance, platform, monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    monkeypatch.setenv("KAFKA_TOPIC", topic)
    monkeypatch.setenv("KAFKA_RETENTION_DAYS", "36500")
    log = platform.log
    assert isinstance(log, KafkaLog)
    fleet, start_ms = default_fleet(), day_start(DAY) + 12 * HOUR_MS
    sent = 0
    for _, sent in stream_history(  # noqa: B007 - the last count is wanted
        log, topic, FleetSimulation(fleet, seed=3), fleet, start_ms, start_ms + HOUR_MS, 10_000
    ):
        pass
    log.append(topic, [bad(kind, NOON_MS) for kind in BAD_VALUES])
    assert sum(log.end_offsets(topic).values()) == sent + len(BAD_VALUES)

    runs = list(ingest_everything(instance, platform))

    store, ends = platform.store, log.end_offsets(topic)
    print(f"{sent} good and {len(BAD_VALUES)} bad messages in {len(runs)} runs")
    assert store.count("device_metrics_raw") == sent
    assert len(rows(store, "dead_letters")) == len(BAD_VALUES)
    assert {p: entry.next_offset for p, entry in store.ledger(topic).items()} == {p: e for p, e in ends.items() if e}
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers) as admin:
        group = admin.list_group_offsets({CONSUMER_GROUP: [TopicPartition(topic, p) for p in ends]})[CONSUMER_GROUP]
    assert {of.partition: at.offset for of, at in group.items() if at.offset >= 0} == {
        p: e for p, e in ends.items() if e
    }
    assert store.count("device_state_snapshots") == len(fleet) * 60
    # An ordinary consumer of the group finds nothing left.
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap_servers, group_id=CONSUMER_GROUP)
    assert all(consumer.committed(TopicPartition(topic, p)) == end for p, end in ends.items() if end)
    consumer.close(autocommit=False)
    assert list(ingest_everything(instance, platform)) == []
