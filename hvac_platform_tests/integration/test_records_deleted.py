"""Records deleted from a Kafka topic by an operator or by retention, under a ledger that has not passed them yet."""

from __future__ import annotations

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from typer.testing import CliRunner

from hvac_platform.cli.main import app
from hvac_platform.ingestion.decoding import IngestionCounts, replay_days
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.conftest import DAY, MINUTE_MS, NOON_MS, readings
from hvac_platform_tests.ingestion.test_standing import ledger, standing, take_all
from hvac_platform_tests.integration.conftest import platform_in

DEVICES = ("RTU-001", "MAU-001", "lathe")


@pytest.fixture
def platform(home, broker, topic, monkeypatch):
    """Kafka and the embedded store."""
    yield from platform_in({**broker.settings, "KAFKA_TOPIC": topic, "KAFKA_RETENTION_DAYS": "36500"}, monkeypatch)


def send(platform, minute, minutes=10):
    sent = [r for d in DEVICES for r in readings(d, NOON_MS + minute * MINUTE_MS, minutes)]
    platform.log.append(platform.topic, sent)
    return len(sent)


def delete_all_but(platform, records):
    """As kafka-delete-records does it."""
    ends = platform.log.end_offsets(platform.topic)
    with KafkaAdminClient(bootstrap_servers=platform.log.bootstrap_servers) as admin:
        admin.delete_records({TopicPartition(platform.topic, p): end - records for p, end in ends.items()})


@pytest.mark.parametrize("left", [0, 5])
def test_a_run_that_stands_and_hvac_ingest_tell_it_count_it_and_go_on(platform, left):
    first, told = send(platform, 0), []
    one = standing(platform, on_trouble=told.append)
    take_all(one)
    for minute, take in ((20, lambda: take_all(one)), (40, None)):
        before, sent = ledger(platform), send(platform, minute)
        delete_all_but(platform, left)
        if take is None:
            one.let_go()
            checked = CliRunner().invoke(app, ["check", "--wait", "0"])
            assert f"{sent // 3 - left} offsets from {before[0]} on were removed from the log" in checked.output
            ingested = CliRunner().invoke(app, ["ingest"])
            assert (ingested.exit_code, ingested.output.count("were removed from the log before")) == (0, 3)
        else:
            take()
            assert len(told) == len(DEVICES)
        assert ledger(platform) == platform.log.end_offsets(platform.topic)
    entries = platform.store.ledger(platform.topic).values()
    assert {entry.skipped_offsets for entry in entries} == {2 * (first // 3 - left)}
    assert platform.store.count("device_metrics_raw") == first + 2 * 3 * left


def test_a_compacted_topic_is_told_because_it_keeps_one_message_of_each_device(platform, topic):
    send(platform, 0)
    assert platform.store.devices() == []
    assert platform.log.losing(topic) == ""
    with KafkaAdminClient(bootstrap_servers=platform.log.bootstrap_servers) as admin:
        policy = {"cleanup.policy": "compact"}
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=policy)])
    checked = CliRunner().invoke(app, ["check", "--wait", "0"], terminal_width=400)
    assert checked.exit_code == 1
    assert "losing" in checked.output
    assert "cleanup.policy=delete" in platform.log.losing(topic)


def test_a_backfill_reads_what_is_left_at_once_and_not_when_kafka_has_cleaned_its_disk(platform):
    send(platform, 0, 60)
    delete_all_but(platform, 200)
    read = IngestionCounts()
    days = replay_days(
        platform.log,
        platform.topic,
        [DAY],
        now_ms=now_ms(),
        window_of=lambda _: MINUTE_MS,
        register=platform.store.register_devices,
        counts=read,
    )
    assert sum(len(batch.columns.get("metric_value", ())) for batch in days if batch.table is None) == read.accepted
    assert read.accepted == 3 * 200
