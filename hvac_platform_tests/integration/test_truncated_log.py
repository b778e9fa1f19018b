"""A log that Kafka has cut back below the ledger, under the same topic id, as an unclean leader election leaves it."""

from __future__ import annotations

import pytest

from hvac_platform.sensors.kafka_ingestion import made_again
from hvac_platform_tests.conftest import MINUTE_MS, NOON_MS, readings
from hvac_platform_tests.ingestion.test_standing import ledger, standing, take_all
from hvac_platform_tests.integration.conftest import platform_in

KEPT = ("RTU-001", NOON_MS, 5)
LOST = ("RTU-001", NOON_MS + 5 * MINUTE_MS, 5)
AFTERWARDS = ("RTU-001", NOON_MS + 10 * MINUTE_MS, 2)


@pytest.fixture
def platform(home, broker, topic, monkeypatch):
    """Kafka and the embedded store."""
    yield from platform_in({**broker.settings, "KAFKA_TOPIC": topic, "KAFKA_RETENTION_DAYS": "36500"}, monkeypatch)


def cut_back(broker, topic, sizes):
    """Stop the broker, cut its segments back to what they were, and start it: it finds the end in them."""
    broker.down()
    for folder in (broker.folder / "data").glob(f"{topic}-*"):
        segment = folder / f"{0:020}.log"
        with segment.open("r+b") as file:
            file.truncate(sizes[folder.name])
        for name in folder.iterdir():
            if name.suffix in (".index", ".timeindex", ".snapshot"):
                name.unlink()
    for name in ("recovery-point-offset-checkpoint", "replication-offset-checkpoint", ".kafka_cleanshutdown"):
        (broker.folder / "data" / name).unlink(missing_ok=True)
    broker.up()


def sizes_of(broker, topic):
    return {
        folder.name: (folder / f"{0:020}.log").stat().st_size for folder in (broker.folder / "data").glob(f"{topic}-*")
    }


def test_it_is_told_and_read_from_its_begin_and_nothing_new_is_passed_over(platform, broker, topic):
    log_id = platform.log.identity(topic)
    platform.log.append(topic, readings(*KEPT))
    sizes = sizes_of(broker, topic)
    platform.log.append(topic, readings(*LOST))
    told = []
    one = standing(platform, on_trouble=told.append)
    take_all(one)
    assert max(ledger(platform).values()) == len(readings(*KEPT)) + len(readings(*LOST))
    cut_back(broker, topic, sizes)
    assert platform.log.identity(topic) == log_id
    assert max(platform.log.end_offsets(topic).values()) == len(readings(*KEPT))
    assert len(made_again(platform)) == 1
    platform.log.append(topic, readings(*AFTERWARDS))
    one._looked = -1e9
    take_all(one)
    one._looked = -1e9
    take_all(one)
    assert ledger(platform) == platform.log.end_offsets(topic)
    assert any("put back to an earlier state" in line for line in told)
    everything = len(readings(*KEPT)) + len(readings(*LOST)) + len(readings(*AFTERWARDS))
    assert platform.store.count("device_metrics_raw") == everything
