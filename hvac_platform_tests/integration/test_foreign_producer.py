"""A producer that knows nothing of the platform: the message format of its specification, and nothing else."""

from __future__ import annotations

import json

import pytest
from kafka import KafkaProducer

from hvac_platform.devices.registry import device_types
from hvac_platform.execution import ingest_everything, run_job
from hvac_platform.resources import PlatformResource
from hvac_platform.schedules import partition_tags
from hvac_platform_tests.conftest import DAY, MINUTE_MS, NOON_MS, rows

SPELLINGS = {
    "rooftopunit": "rooftop_unit",
    "makeupairunit": "makeup_air_unit",
    "chiller": "chiller",
    "coolingtower": "cooling_tower",
    "aircompressor": "air_compressor",
}
MINUTES = 12


@pytest.fixture
def platform_on_kafka(home, broker, topic, monkeypatch):
    """The embedded store behind a real Kafka."""
    for name, value in {**broker.settings, "KAFKA_TOPIC": topic, "KAFKA_RETENTION_DAYS": "36500"}.items():
        monkeypatch.setenv(name, value)
    platform = PlatformResource()
    yield platform
    platform.log.close()


def iso_seconds(at_ms):
    """As the specification writes times: ``2025-11-18T15:30:00Z``."""
    seconds, (hours, minutes) = at_ms // 1000 % 60, divmod(at_ms // MINUTE_MS % 1440, 60)
    return f"{DAY}T{hours:02}:{minutes:02}:{seconds:02}Z"


def test_messages_of_a_producer_that_no_one_here_wrote_become_devices_snapshots_and_rule_events(
    platform_on_kafka, instance, broker, topic
):
    platform_on_kafka.log.partitions(topic)  # the platform makes the topic
    producer = KafkaProducer(
        bootstrap_servers=broker.bootstrap_servers,
        key_serializer=str.encode,
        value_serializer=lambda fields: json.dumps(fields).encode(),
    )
    sent = 0
    for number, (spelling, name) in enumerate(SPELLINGS.items()):
        declared = device_types()[name]
        broken = next(p for p in (declared.point(m) for m in declared.metric_names) if p.unit == "°F").name
        for at_ms in range(NOON_MS, NOON_MS + MINUTES * MINUTE_MS, 30_000):
            for metric in declared.metric_names:
                point = declared.point(metric)
                low, high = point.normal or (0.0, 1.0)
                fields = {
                    "device_id": f"DEV-{number}",
                    "device_type": spelling,
                    "timestamp": iso_seconds(at_ms),
                    "metric_name": metric,
                    "metric_value": -999.0 if metric == broken else (low + high) / 2,
                    "unit": point.unit,
                    "location": "building-A",
                    "building_id": "bldg-001",
                }
                producer.send(topic, key=fields["device_id"], value=fields)  # the record's timestamp is that of sending
                sent += 1
    producer.close()
    list(ingest_everything(instance, platform_on_kafka))
    store = platform_on_kafka.store
    assert store.count("device_metrics_raw") == sent
    assert store.count("dead_letters") == 0
    assert {d.device_id: d.device_type for d in store.devices()} == {
        f"DEV-{number}": name for number, name in enumerate(SPELLINGS.values())
    }
    assert store.count("device_state_snapshots") == MINUTES * len(SPELLINGS)
    run_job("detection", instance, partition_tags(DAY, DAY))
    found = {
        device
        for device, methods, reasons in rows(store, "anomaly_events", "device_id", "methods", "reasons")
        if "rules" in methods and any("-999" in reason for reason in reasons)
    }
    assert found == {f"DEV-{number}" for number in range(len(SPELLINGS))}
