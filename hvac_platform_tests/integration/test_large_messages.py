"""Messages that unpack to far more than they weigh on the wire, and messages that no run can take in."""

from __future__ import annotations

import hashlib
import json

import pytest
from kafka import KafkaProducer

from hvac_platform.execution import RunFailedError, ingest_everything
from hvac_platform.ingestion import messages, ranges
from hvac_platform.log.base import KEPT_BYTES
from hvac_platform.log.partitioner import partition_for
from hvac_platform_tests.conftest import NOON_MS, open_dagster, readings, rows

METRICS = ("supply_air_temp", "fan_speed")


def send(servers, partition, value, codec):
    """One record as a producer without limits of its own sends it; the broker looks at the packed size only."""
    producer = KafkaProducer(
        bootstrap_servers=servers.log.bootstrap_servers, compression_type=codec, max_request_size=2_000_000_000
    )
    offset = (
        producer.send(servers.topic, value, key=b"RTU-001", partition=partition, timestamp_ms=NOON_MS).get(240).offset
    )
    producer.close()
    return offset


BIG = {
    "an array of 18.5 MB": ("gzip", lambda: json.dumps(["x" * 97] * 185_000).encode()),
    "300 MB of nothing": ("zstd", lambda: bytes(300_000_000)),
}


@pytest.mark.parametrize("kind", BIG)
def test_one_big_message_is_set_aside_and_holds_up_nothing(home, servers, kind):
    codec, make = BIG[kind]
    value = make()
    own, other = (readings(device, NOON_MS, 25, metrics=METRICS) for device in ("RTU-001", "MAU-001"))
    partition = partition_for(b"RTU-001", 3)
    servers.log.append(servers.topic, own[:200])
    offset = send(servers, partition, value, codec)
    servers.log.append(servers.topic, [*own[200:], *other])
    with open_dagster(home) as instance:
        list(ingest_everything(instance, servers))
    assert {p: e.next_offset for p, e in servers.store.ledger(servers.topic).items()} == {
        p: end for p, end in servers.log.end_offsets(servers.topic).items() if end
    }
    for device, sent in (("RTU-001", own), ("MAU-001", other)):
        assert servers.store.count("device_metrics_raw", device) >= len(sent)
    columns = ("kafka_partition", "record_offset", "record_value", "record_length", "record_sha256", "reason")
    day = (("topic", servers.topic), ("date", "2025-03-10"))
    (letter,) = rows(servers.store, "dead_letters", *columns, equals=day)
    assert letter[:2] == (partition, offset)
    assert letter[2] == value[:KEPT_BYTES]
    assert letter[3:5] == (len(value), hashlib.sha256(value).hexdigest())
    assert "bytes" in letter[5]


def test_a_message_that_no_run_can_take_in_is_found_and_set_aside_and_all_others_are_in(home, servers, monkeypatch):
    """A defect of the platform, made up: it stumbles over one value."""
    own, other = (readings(device, NOON_MS, 3, metrics=METRICS) for device in ("RTU-001", "MAU-001"))
    poison = own[len(own) // 2]
    servers.log.append(servers.topic, own)
    servers.log.append(servers.topic, other)
    decode = messages._decoded

    def stumble(values):
        if poison[1] in values:
            raise TypeError("a defect")
        return decode(values)

    monkeypatch.setattr(messages, "_decoded", stumble)
    monkeypatch.setattr(ranges, "SEARCH_SECONDS", 0)
    failures, limits = 0, []
    with open_dagster(home) as instance:
        while True:
            try:
                list(ingest_everything(instance, servers))
                break
            except RunFailedError:
                failures += 1
                limits += [
                    e.range_limit for e in servers.store.ledger(servers.topic).values() if e.range_limit is not None
                ]
                assert failures < 40
    assert min(limits) == 0
    assert {p: e.next_offset for p, e in servers.store.ledger(servers.topic).items()} == {
        p: end for p, end in servers.log.end_offsets(servers.topic).items() if end
    }
    assert servers.store.count("device_metrics_raw", "MAU-001") >= len(other)
    (letter,) = rows(
        servers.store,
        *("dead_letters", "record_value", "reason"),
        equals=(("topic", servers.topic), ("date", "2025-03-10")),
    )
    assert letter[0] == poison[1]
    assert letter[1].startswith("every run that took it in failed")
