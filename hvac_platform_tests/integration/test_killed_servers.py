"""Ingestion while its servers are killed and restarted: nothing lost, nothing twice, and no hand needed."""

from __future__ import annotations

import time

from kafka import KafkaAdminClient

from devtools.services.base import DEFAULT_FOLDER, free_port
from devtools.services.kafka import Kafka
from hvac_platform.execution import ingest_everything
from hvac_platform_tests.integration.conftest import on_servers, platform_in
from hvac_platform_tests.integration.traffic import Traffic, account, assert_nothing_lost, ingested_meanwhile


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
