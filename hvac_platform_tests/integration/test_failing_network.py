"""Ingestion over a network that is cut, silent or slow: nothing lost, nothing twice, and no hand needed."""

from __future__ import annotations

import time

import pytest

from devtools.services.base import DEFAULT_FOLDER, free_port
from devtools.services.kafka import Kafka
from devtools.services.proxy import TcpProxy
from hvac_platform.execution import ingest_everything
from hvac_platform.runtime.live import HOST
from hvac_platform_tests.integration.conftest import on_servers, platform_in
from hvac_platform_tests.integration.traffic import Traffic, account, assert_nothing_lost, ingested_meanwhile


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
