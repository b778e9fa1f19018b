"""The Kafka log on a real broker does what every log does; and what only servers do: die, refuse, delete."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from hvac_platform.config import CONSUMER_GROUP, load_settings
from hvac_platform.devices.fleet import default_fleet
from hvac_platform.execution import ingest_everything
from hvac_platform.log.base import KEEP_FOREVER, LogError
from hvac_platform.log.embedded import EmbeddedLog
from hvac_platform.log.kafka.kafka_log import KafkaLog
from hvac_platform.log.partitioner import partition_for
from hvac_platform.runtime.connections import open_log
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.simulation.streaming import stream_history
from hvac_platform.timestamps import day_start, now_ms
from hvac_platform_tests.conftest import BAD_VALUES, DAY, HOUR_MS, NOON_MS, bad, rows
from hvac_platform_tests.log.log_contract import AsPlainLists, MessageLogContract, numbered, stored

ANSWER_SECONDS = 3.0


class TestKafkaLog(MessageLogContract):
    """On a real broker; its records are deleted as an operator does it."""

    examples, steps = 12, 20
    empty_records = False

    @pytest.fixture
    def log(self, kafka_log):
        return kafka_log

    @pytest.fixture
    def admin(self, broker):
        with KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers) as opened:
            yield opened

    @pytest.fixture(autouse=True)
    def administered(self, admin):
        self.admin = admin

    def another(self, log):
        return type(log)(log.bootstrap_servers)

    def lose(self, log, topic, partition, before):
        self.admin.delete_records({TopicPartition(topic, partition): before})

    def make_again(self, log, topic):
        self.admin.delete_topics([topic])
        deadline = time.monotonic() + 60
        while True:  # a topic that is being deleted is refused for a moment
            try:
                if log.create_topic(topic, retention_ms=KEEP_FOREVER):
                    return
            except LogError:
                assert time.monotonic() < deadline
            time.sleep(0.2)

    def machine(self, log):
        admin = self.admin

        class Machine(super().machine(log)):
            def teardown(self):
                if hasattr(self, "topic"):
                    admin.delete_topics([self.topic])

            @rule(partition=AsPlainLists.numbers, data=st.data())
            def delete_the_oldest(self, partition, data):
                before = data.draw(st.integers(self.begins[partition], len(self.model[partition])))
                admin.delete_records({TopicPartition(self.topic, partition): before})
                self.begins[partition] = before

        return Machine


class TestFastKafkaLog(TestKafkaLog):
    """The same, appended to through confluent-kafka."""

    @pytest.fixture
    def log(self, fast_kafka_log):
        return fast_kafka_log


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
        ({"KAFKA_SASL_PASSWORD": "wrong"}, "user 'hvac'.*: check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and"),
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
    assert time.monotonic() - began < 60  # it is told, not waited for
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
