"""Ingestion from Kafka into Cassandra while things die, hang and lie: nothing lost, nothing twice, every bad message kept.

Each test counts every message that was sent and prints the account.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import string
import threading
import time

import pytest
from kafka import KafkaAdminClient

from hvac_platform.config import CONSUMER_GROUP
from hvac_platform.execution import ingest_everything
from hvac_platform.live import HOST, fail_abandoned_runs
from hvac_platform.resources import PlatformResource
from hvac_platform_tests.conftest import NOON_MS, open_dagster, reading, start_process
from hvac_platform_tests.integration.traffic import Traffic, account, assert_nothing_lost, ingest_until_in
from hvac_platform_tests.services.base import DEFAULT_FOLDER, free_port
from hvac_platform_tests.services.cassandra import Cassandra
from hvac_platform_tests.services.kafka import Kafka
from hvac_platform_tests.services.proxy import TcpProxy
from sensors import kafka_ingestion

KILLS = 20
FUZZED = 100_000


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A Cassandra node that tests may kill; whoever does starts it again."""
    folder = tmp_path_factory.mktemp("cassandra")
    started = Cassandra(DEFAULT_FOLDER / "cache", folder, free_port(), commitlog_sync="group")
    started.up()
    yield started
    started.down()


@pytest.fixture(scope="module")
def keyspace():
    return f"hvac_{secrets.token_hex(4)}"


@pytest.fixture
def environment(broker, node, keyspace, topic):
    """Variables that put the platform on these servers, with a topic of the test's own."""
    return on_servers(broker, node, keyspace, topic)


def on_servers(broker, node, keyspace, topic):
    """Messages of the past are sent, so retention is long: it goes by record timestamps."""
    names = {"SCYLLA_KEYSPACE": keyspace, "KAFKA_TOPIC": topic, "KAFKA_RETENTION_DAYS": "36500"}
    return {**broker.settings, **node.settings, **names}


@pytest.fixture
def servers(home, environment, monkeypatch):
    """The platform on the servers; what failed is tried again at once."""
    yield from platform_in(environment, monkeypatch)


def platform_in(environment, monkeypatch):
    monkeypatch.setattr(kafka_ingestion, "FIRST_RETRY_SECONDS", 0)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    platform = PlatformResource()
    yield platform
    platform.log.close()


@pytest.fixture
def traffic(servers):
    return Traffic(servers.log, servers.topic)


@pytest.fixture
def say(capsys, request):
    """Print an account, past pytest's capture."""

    def printed(counted, *more):
        with capsys.disabled():
            print(f"\n{request.node.name}: {'; '.join(map(str, (counted, *more)))}")

    return printed


# -- the process that ingests ------------------------------------------------------------------------------------------


def _ingest(environment):
    """Body of a process: what the sensor would launch."""
    os.environ.update(environment)
    kafka_ingestion.FIRST_RETRY_SECONDS = 0
    platform = PlatformResource()
    with open_dagster(platform.settings.hvac_home) as instance:
        ingest_until_in(instance, platform)
    platform.log.close()


def test_twenty_kills_of_the_ingesting_process_at_random_moments(home, servers, traffic, environment, say):
    died = 0
    with open_dagster(home) as instance:
        for _ in range(KILLS):
            traffic.send(minutes=2, bad_messages=5)
            runs = instance.get_runs_count()
            process = start_process(home, _ingest, environment)
            while instance.get_runs_count() == runs and process.is_alive():
                time.sleep(0.01)
            process.join(random.uniform(0.05, 4.0))
            process.kill()
            process.join(60)
            died += len(fail_abandoned_runs(instance))
        assert ingest_until_in(instance, servers) == []
    counted = account(servers, traffic)
    say(counted, f"{KILLS} kills, {died} of them in the middle of a run")
    assert_nothing_lost(counted)
    assert died >= KILLS // 4


# -- servers that die --------------------------------------------------------------------------------------------------


def ingested_meanwhile(instance, platform, traffic, disturbances, *, rest_seconds=1.0):
    """Send and ingest while things happen to the servers; errors of ingestion on the way.

    Args:
        instance: Dagster's.
        platform: on the servers.
        traffic: sends a few minutes of readings before each disturbance and after it.
        disturbances: called one after the other, each in the middle of an ingestion.
        rest_seconds: how long ingestion goes on before the next one.
    """
    errors = []
    for disturb in disturbances:
        traffic.send(minutes=20, bad_messages=10)
        ingesting = threading.Thread(target=lambda: errors.extend(ingest_until_in(instance, platform)))
        ingesting.start()
        time.sleep(rest_seconds + random.uniform(0, 1))
        disturb()
        traffic.send(minutes=5, bad_messages=5)
        ingesting.join()
    errors.extend(ingest_until_in(instance, platform))
    return errors


def test_broker_and_node_are_killed_and_restarted_during_ingestion(instance, servers, traffic, broker, node, say):
    def killed(server):
        server.kill()
        time.sleep(2)
        server.up()

    list(ingest_everything(instance, servers))  # what is made at the first start is there before the first kill
    errors = ingested_meanwhile(instance, servers, traffic, [lambda: killed(broker), lambda: killed(node)])
    counted = account(servers, traffic)
    say(counted, f"{traffic.again} appends repeated, {len(errors)} failed runs or ticks")
    assert_nothing_lost(counted)
    for error in errors:
        assert "Kafka" in error or "store" in error or "connect" in error, error


def test_one_of_two_brokers_is_killed_during_ingestion(
    home, instance, node, keyspace, topic, tmp_path, monkeypatch, say
):
    first = Kafka(DEFAULT_FOLDER / "cache", tmp_path / "first", free_port(), replication=2)
    second = Kafka(DEFAULT_FOLDER / "cache", tmp_path / "second", free_port(), replication=2, joins=first)
    try:
        first.up()
        second.up()
        environment = on_servers(first, node, keyspace, topic)
        environment["KAFKA_BOOTSTRAP_SERVERS"] = f"{first.bootstrap_servers},{second.bootstrap_servers}"
        platforms = platform_in(environment, monkeypatch)
        platform = next(platforms)
        traffic = Traffic(platform.log, topic)
        with KafkaAdminClient(bootstrap_servers=first.bootstrap_servers) as admin:
            (described,) = admin.describe_topics([topic])
        assert {len(p["replica_nodes"]) for p in described["partitions"]} == {2}
        leaders = {p["leader_id"] for p in described["partitions"]}
        assert leaders == {1, 2}  # so the kill moves the leadership of some partitions
        errors = ingested_meanwhile(instance, platform, traffic, [second.kill, second.up])
        counted = account(platform, traffic)
        say(counted, f"{traffic.again} appends repeated, {len(errors)} failed runs or ticks")
        assert_nothing_lost(counted)
        platforms.close()
    finally:
        second.down()
        first.down()


# -- networks that fail ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def proxied(node, tmp_path_factory):
    """A broker that clients reach through a proxy only, and a proxy before the node."""
    with TcpProxy(HOST, port := free_port()) as to_broker, TcpProxy(HOST, node.port) as to_node:
        folder = tmp_path_factory.mktemp("proxied")
        broker = Kafka(DEFAULT_FOLDER / "cache", folder, port, advertised_port=to_broker.port)
        broker.up()
        yield to_broker, to_node
        broker.down()


FAULTS = {
    "cut": lambda proxy: proxy.cut(),
    "silent": lambda proxy: proxy.pause(),
    "slow": lambda proxy: proxy.slow(0.05),
}


@pytest.mark.parametrize(("fault", "seconds"), [("cut", 8), ("silent", 8), ("slow", 8), ("cut", 45)])
def test_the_network_to_broker_and_node_fails_during_ingestion(
    fault, seconds, home, instance, proxied, node, keyspace, topic, monkeypatch, say
):
    to_broker, to_node = proxied
    environment = on_servers(node, node, keyspace, topic) | {
        "KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{to_broker.port}",
        "SCYLLA_PORT": str(to_node.port),
    }
    platforms = platform_in(environment, monkeypatch)
    platform = next(platforms)
    traffic = Traffic(platform.log, topic)

    def fails(proxy):
        FAULTS[fault](proxy)
        time.sleep(seconds)
        proxy.heal()

    list(ingest_everything(instance, platform))
    began = time.monotonic()
    errors = ingested_meanwhile(instance, platform, traffic, [lambda: fails(to_broker), lambda: fails(to_node)])
    counted = account(platform, traffic)
    say(
        counted,
        f"{traffic.again} appends repeated, {len(errors)} failed runs or ticks, {time.monotonic() - began:.0f} s",
        *sorted({error[:300] for error in errors}),
    )
    assert_nothing_lost(counted)
    platforms.close()


# -- messages that lie -------------------------------------------------------------------------------------------------


def fuzzed(count, seed):
    """Messages none of which is good, made from good ones; the kinds of damage take turns."""
    generator = random.Random(seed)
    text = string.ascii_letters + "äß中\u0000\t"

    def word(n):
        return "".join(generator.choices(text, k=n))

    def changed(**fields):
        good = json.loads(reading("RTU-001", NOON_MS + generator.randrange(3_600_000))[1]) | fields
        return json.dumps({name: value for name, value in good.items() if value is not ...})

    names = ["device_id", "device_type", "timestamp", "metric_name", "metric_value"]
    wrong = [None, [], {}, [1], {"a": 1}]  # not true or false: a status reading may be one
    damages = [
        lambda: generator.randbytes(generator.randrange(1, 300)),
        lambda: changed()[: generator.randrange(1, 100)].encode(),
        lambda: changed(**{generator.choice(names): ...}).encode(),
        lambda: changed(**{generator.choice(names): generator.choice(wrong)}).encode(),
        lambda: changed(metric_value=word(5)).encode(),
        lambda: changed(timestamp=word(20)).encode(),
        lambda: changed(metric_value=generator.choice([float("nan"), float("inf"), -float("inf")])).encode(),
        lambda: changed(device_id=word(generator.randrange(129, 400))).encode(),
        lambda: changed(timestamp=f"{generator.randrange(2500, 9999)}-01-01T00:00:00Z").encode(),
        lambda: b"[" * generator.randrange(1, 2000) + changed().encode(),
        lambda: changed().encode().replace(b"RTU", generator.choice([b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80"])),
        lambda: b"",
        lambda: changed().encode() + generator.choice([b"}", b"garbage", b",", b'{"a":1}']),
    ]
    at = NOON_MS
    return [(b"RTU-001", damages[i % len(damages)](), at) for i in range(count)]


def test_a_hundred_thousand_fuzzed_messages_among_good_ones(instance, servers, traffic, say):
    rubbish = fuzzed(FUZZED, seed=11)
    random.shuffle(rubbish)
    for first in range(0, FUZZED, FUZZED // 20):
        traffic.append(rubbish[first : first + FUZZED // 20])
        traffic.send(minutes=10, bad_messages=0)
    list(ingest_everything(instance, servers))
    counted = account(servers, traffic)
    say(counted)
    assert_nothing_lost(counted)
    assert counted.dead_letters == FUZZED


def test_a_consumer_group_that_is_reset_changes_nothing(instance, servers, traffic, say):
    traffic.send(minutes=3, bad_messages=3)
    list(ingest_everything(instance, servers))
    runs = instance.get_runs_count()
    servers.log.commit(CONSUMER_GROUP, servers.topic, dict.fromkeys(servers.log.partitions(servers.topic), 0))
    assert list(ingest_everything(instance, servers)) == []  # the ledger is what counts
    assert instance.get_runs_count() == runs
    with KafkaAdminClient(bootstrap_servers=servers.log.bootstrap_servers) as admin:
        admin.delete_groups([CONSUMER_GROUP])
    traffic.send(minutes=3, bad_messages=3)
    list(ingest_everything(instance, servers))
    counted = account(servers, traffic)
    say(counted)
    assert_nothing_lost(counted)
