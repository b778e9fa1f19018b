"""A topic that was deleted and made again, under a platform that has ingested the one before: nothing new is passed over."""

from __future__ import annotations

import json
import time

import dagster as dg
import pytest
from kafka import KafkaAdminClient
from typer.testing import CliRunner

from hvac_platform.cli.main import app
from hvac_platform.config import CONSUMER_GROUP
from hvac_platform.execution import ingest_everything
from hvac_platform.log.base import KEEP_FOREVER, LogError
from hvac_platform.sensors.kafka_ingestion import kafka_ingestion, made_again
from hvac_platform_tests.conftest import DAY, MINUTE_MS, NOON_MS, bad, open_dagster, readings, rows

METRICS = ("supply_air_temp", "fan_speed")


def make_again(platform, partitions):
    """Delete the topic and create it, as an operator does."""
    admin = KafkaAdminClient(bootstrap_servers=platform.log.bootstrap_servers)
    admin.delete_topics([platform.topic])
    admin.close()
    deadline = time.monotonic() + 60
    while True:
        try:
            if platform.log.create_topic(platform.topic, partitions, KEEP_FOREVER):
                return
        except LogError:
            assert time.monotonic() < deadline
        time.sleep(0.2)


def stored(platform, *devices):
    return {
        (device, at_ms, metric)
        for device in devices
        for at_ms, metric in rows(platform.store, "device_metrics_raw", "timestamp", "metric_name", device_id=device)
    }


def keys(records):
    found = set()
    for key, value, at_ms in records:
        found.add((key.decode(), at_ms, json.loads(value)["metric_name"]))
    return found


def letters(platform, topic):
    return rows(platform.store, "dead_letters", "kafka_partition", "reason", equals=(("topic", topic), ("date", DAY)))


@pytest.fixture(autouse=True)
def no_pause_between_runs(monkeypatch):
    monkeypatch.setattr("hvac_platform.sensors.kafka_ingestion.PACE_SECONDS", 0)


@pytest.mark.parametrize("partitions", [1, 3, 5])
def test_the_new_topic_is_read_from_its_begin_and_it_is_told(home, servers, partitions):
    old = [r for d in ("RTU-001", "MAU-001", "CH-007") for r in readings(d, NOON_MS, 30, metrics=METRICS)]
    servers.log.append(servers.topic, [*old, bad("NaN"), bad("not JSON")])
    with open_dagster(home) as instance:
        list(ingest_everything(instance, servers))
        first = servers.log.identity(servers.topic)
        before = {p: entry.next_offset for p, entry in servers.store.ledger(servers.topic).items()}
        make_again(servers, partitions)
        assert servers.log.identity(servers.topic) != first
        new = [
            r
            for d in ("RTU-001", "MAU-001", "CH-008")
            for r in readings(d, NOON_MS + 60 * MINUTE_MS, 10, metrics=METRICS)
        ]
        servers.log.append(servers.topic, [*new, bad("empty"), bad("infinity")])
        ends = servers.log.end_offsets(servers.topic)
        assert partitions != 3 or any(0 < end < before.get(p, 0) for p, end in ends.items())

        told = made_again(servers)
        assert told
        assert all("another log than the one that the ledger counts in" in line for line in told)
        checked = CliRunner().invoke(app, ["check", "--json", "--wait", "0"])
        flows = {row["part"]: row for row in json.loads(checked.stdout) if row["part"].startswith("partition")}
        assert {flow["state"].partition(":")[0] for flow in flows.values()} & {"made again"}
        assert checked.exit_code == 1
        result = kafka_ingestion(dg.build_sensor_context(instance=instance, resources={"platform": servers}))
        assert sum(
            r["end"] - r["start"]
            for request in result.run_requests
            for r in request.run_config["ops"]["raw_metrics"]["config"]["ranges"]
        ) == sum(ends.values())

        list(ingest_everything(instance, servers))
        evaluations = [
            evaluation
            for record in instance.fetch_materializations(dg.AssetKey("raw_metrics"), limit=5).records
            for evaluation in [record.asset_materialization.metadata["logs_made_again"].value]
        ]
        assert sum(evaluations) >= 1
    ledger = servers.store.ledger(servers.topic)
    assert {p: ledger[p].next_offset for p, end in ends.items() if end} == {p: end for p, end in ends.items() if end}
    assert {ledger[p].log_id for p, end in ends.items() if end} == {servers.log.identity(servers.topic)}
    committed = servers.log.committed(CONSUMER_GROUP, servers.topic)
    assert {p: at for p, at in committed.items() if ends[p]} == {p: end for p, end in ends.items() if end}
    assert stored(servers, "RTU-001", "MAU-001", "CH-007", "CH-008") >= keys(old) | keys(new)
    present = [reason[:9] for partition, reason in letters(servers, servers.topic) if partition in ends]
    assert sorted(present) == ["empty val", "metric_va"]
    every = [topic for (topic,) in rows(servers.store, "dead_letters", "topic")]
    away = {topic for topic in every if topic.startswith(servers.topic + "@")}
    # The old ones are kept, under another name where there is a partition of the same number now.
    assert sum(len(letters(servers, topic)) for topic in away) == (0 if partitions == 1 else 2)
    checked = CliRunner().invoke(app, ["check", "--wait", "0"])
    assert checked.exit_code == 0, checked.stdout
    if partitions == 1:
        assert "gone" in checked.stdout


def test_a_topic_that_gets_more_partitions_goes_on_where_it_was(home, servers):
    servers.log.append(servers.topic, readings("RTU-001", NOON_MS, 10, metrics=METRICS))
    with open_dagster(home) as instance:
        list(ingest_everything(instance, servers))
        before = {p: entry.next_offset for p, entry in servers.store.ledger(servers.topic).items()}
        admin = KafkaAdminClient(bootstrap_servers=servers.log.bootstrap_servers)
        admin.create_partitions({servers.topic: 6})
        admin.close()
        while len(servers.log.partitions(servers.topic)) < 6:
            time.sleep(0.2)
        new = [r for n in range(12) for r in readings(f"D-{n}", NOON_MS, 2, metrics=METRICS)]
        servers.log.append(servers.topic, new)
        assert made_again(servers) == []
        runs = list(ingest_everything(instance, servers))
    assert sum(runs) >= len(new)  # a producer that knew three partitions may send twice
    ledger = servers.store.ledger(servers.topic)
    assert {p: e.next_offset for p, e in ledger.items()} == {
        p: end for p, end in servers.log.end_offsets(servers.topic).items() if end
    }
    assert all(ledger[p].next_offset >= at for p, at in before.items())
    assert stored(servers, *(f"D-{n}" for n in range(12))) == keys(new)
