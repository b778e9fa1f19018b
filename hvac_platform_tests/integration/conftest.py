"""Real servers for the tests of this folder, started through the harness on ports and in folders of their own.

They run when HVAC_SERVICES=1 (``make integration`` sets it); a server that can't start is a failure then. Otherwise they
are skipped.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from devtools.services.base import DEFAULT_FOLDER, free_port
from devtools.services.cassandra import Cassandra
from devtools.services.kafka import Kafka, SecuredListener
from hvac_platform.ingestion import ranges
from hvac_platform.log.base import KEEP_FOREVER
from hvac_platform.log.kafka.fast import FastKafkaLog
from hvac_platform.log.kafka.kafka_log import KafkaLog
from hvac_platform.resources import PlatformResource
from hvac_platform_tests.integration.traffic import Traffic

HERE = Path(__file__).parent
ASKED_FOR = os.environ.get("HVAC_SERVICES") == "1"


def pytest_collection_modifyitems(items):
    if not ASKED_FOR:
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="needs real servers: make integration (sets HVAC_SERVICES=1)"))


@pytest.fixture(scope="package")
def broker(tmp_path_factory):
    """A Kafka broker that tests may kill; whoever does starts it again."""
    secured = SecuredListener(free_port(), "hvac", secrets.token_hex(12))
    started = Kafka(DEFAULT_FOLDER / "cache", tmp_path_factory.mktemp("kafka"), free_port(), secured=secured)
    started.up()
    yield started
    started.down()


@pytest.fixture
def topic():
    """A name that no other test uses."""
    return f"metrics-{secrets.token_hex(6)}"


@pytest.fixture
def kafka_log(broker, topic):
    """A log on the broker, with a topic of three partitions."""
    opened = KafkaLog(broker.bootstrap_servers)
    opened.create_topic(topic, retention_ms=KEEP_FOREVER)
    yield opened
    opened.close()


@pytest.fixture
def fast_kafka_log(broker, topic):
    """The same, read through confluent-kafka."""
    opened = FastKafkaLog(broker.bootstrap_servers)
    opened.create_topic(topic, retention_ms=KEEP_FOREVER)
    yield opened
    opened.close()


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
    monkeypatch.setattr(ranges, "FIRST_RETRY_SECONDS", 0)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    platform = PlatformResource()
    yield platform
    platform.log.close()


@pytest.fixture
def traffic(servers):
    return Traffic(servers.log, servers.topic)
