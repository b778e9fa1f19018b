"""The embedded store on a full disk: a clear failure, nothing acknowledged that isn't in, and no hand needed after."""

from __future__ import annotations

import pytest

from hvac_platform.execution import RunFailedError, ingest_everything
from hvac_platform.ingestion import ranges
from hvac_platform.log.base import LogError
from hvac_platform.resources import PlatformResource
from hvac_platform_tests.conftest import MINUTE_MS, NOON_MS, bad, open_dagster, readings, rows


def filled_up(folder):
    """Leave hardly any room; returns the file to delete for more."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 65_536)
        except OSError:
            pass
    return filler


def test_a_full_disk_fails_the_run_with_its_reason_and_the_next_run_has_everything(small_disk, home, monkeypatch, say):
    monkeypatch.setenv("HVAC_HOME", str(small_disk))
    monkeypatch.setattr(ranges, "FIRST_RETRY_SECONDS", 0)
    platform = PlatformResource()
    messages = readings("RTU-001", NOON_MS, 240) + [bad("NaN", NOON_MS + i) for i in range(7)]
    platform.log.append(platform.topic, messages)
    with open_dagster(home) as instance:
        assert platform.store.devices() == []
        filler = filled_up(small_disk)
        for _ in range(2):
            with pytest.raises(RunFailedError, match=r"disk is full.*free some space"):
                list(ingest_everything(instance, platform))
        assert platform.store.ledger(platform.topic) == {}
        filler.unlink()
        list(ingest_everything(instance, platform))
    stored = set(rows(platform.store, "device_metrics_raw", "timestamp", "metric_name"))
    sent = {(NOON_MS + i * 10_000, metric) for i in range(240 * 6) for metric in ("supply_air_temp", "fan_speed")}
    letters = platform.store.count("dead_letters")
    say(f"{len(sent)} sent, lost {len(sent - stored)}, duplicated {len(stored - sent)}, {letters} dead letters")
    assert stored == sent
    assert letters == 7
    assert platform.store.count("device_state_snapshots") == 240
    assert sum(entry.next_offset for entry in platform.store.ledger(platform.topic).values()) == len(messages)
    assert (NOON_MS + 239 * MINUTE_MS,) in rows(platform.store, "device_state_snapshots", "snapshot_time")
    platform.store.close()
    platform.log.close()


def test_a_full_disk_refuses_an_append_with_its_reason_and_what_was_acknowledged_stays(small_disk, home, monkeypatch):
    monkeypatch.setenv("HVAC_HOME", str(small_disk))
    platform = PlatformResource()
    acknowledged = 0

    def append_for_ever():
        nonlocal acknowledged
        for minute in range(100_000):
            messages = readings("RTU-001", NOON_MS + minute * MINUTE_MS, 10)
            platform.log.append(platform.topic, messages)
            acknowledged += len(messages)

    with pytest.raises(LogError, match=r"disk is full.*free some space"):
        append_for_ever()
    assert sum(platform.log.end_offsets(platform.topic).values()) >= acknowledged > 0
    platform.log.close()
