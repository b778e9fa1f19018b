"""A clock that is wrong: nothing is rejected or deleted because of it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from hvac_platform.execution import RunFailedError, ingest_everything, run_job
from hvac_platform.ingestion import ranges
from hvac_platform.timestamps import DAY_MS, now_ms
from hvac_platform_tests.conftest import HOUR_MS, MINUTE_MS, contents, reading, readings

FLEET = ("RTU-001", "MAU-001", "CH-007")


def fleet_readings(start_ms, minutes=5):
    return [r for device in FLEET for r in readings(device, start_ms - start_ms % MINUTE_MS, minutes)]


@pytest.fixture
def present(monkeypatch):
    """Sets what the code of ingestion takes for the present."""

    def at(ms):
        for module in ("hvac_platform.assets.raw_metrics", "hvac_platform.housekeeping"):
            monkeypatch.setattr(f"{module}.now_ms", lambda: ms)

    return at


def test_a_clock_two_days_behind_stops_ingestion_with_the_reason_and_right_again_everything_comes_in(
    instance, platform, present, monkeypatch
):
    monkeypatch.setattr(ranges, "FIRST_RETRY_SECONDS", 0)
    now = now_ms()
    sent = fleet_readings(now - HOUR_MS)
    platform.log.append(platform.topic, sent)
    present(now - 2 * DAY_MS)
    with pytest.raises(RunFailedError, match=r"an hour ahead of this machine's clock, which says .* --reject-ahead"):
        list(ingest_everything(instance, platform))
    assert platform.store.count("dead_letters") == 0
    assert {e.next_offset for e in platform.store.ledger(platform.topic).values()} == {0}
    assert all(e.range_limit is None for e in platform.store.ledger(platform.topic).values())  # no message is to blame
    present(now)
    list(ingest_everything(instance, platform))
    assert platform.store.count("device_metrics_raw") == len({r[1] for r in sent})
    assert platform.store.count("dead_letters") == 0


def test_one_device_with_a_wrong_clock_among_others_is_rejected_and_holds_up_nobody(instance, platform):
    now = now_ms()
    good = fleet_readings(now - 5 * MINUTE_MS, 4)
    platform.log.append(platform.topic, good)
    list(ingest_everything(instance, platform))
    ahead = readings("RTU-009", now + 2 * DAY_MS, 4)
    platform.log.append(platform.topic, ahead)
    list(ingest_everything(instance, platform))
    assert platform.store.count("dead_letters") == len(ahead)


def test_where_the_producers_clocks_are_wrong_the_operator_may_say_so(instance, platform):
    sent = fleet_readings(now_ms() + 2 * DAY_MS)
    platform.log.append(platform.topic, sent)
    with pytest.raises(RunFailedError, match="ahead of this machine's clock"):
        list(ingest_everything(instance, platform))
    command = [sys.executable, "-m", "hvac_platform.cli", "ingest", "--reject-ahead"]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"{len(sent)} of them are dead letters" in done.stdout
    assert platform.store.count("dead_letters") == len(sent)


def maintenance(instance, platform, **config):
    return run_job("housekeeping", instance, {}, {"ops": {"purge_expired_rows": {"config": config}}} if config else {})


def test_a_clock_four_hundred_days_ahead_deletes_nothing(instance, platform, present, monkeypatch):
    now = now_ms()
    platform.log.append(platform.topic, fleet_readings(now - HOUR_MS))
    list(ingest_everything(instance, platform))
    before, log_before = contents(platform.store), platform.log.begin_offsets(platform.topic)
    present(now + 400 * DAY_MS)
    maintenance(instance, platform)
    assert contents(platform.store) == before
    assert platform.log.begin_offsets(platform.topic) == log_before


def test_time_that_jumps_together_with_a_device_is_believed_after_a_day_or_when_told_so(instance, platform, present):
    """A long standstill looks the same as a clock and a device that are both wrong."""
    now = now_ms()
    platform.log.append(platform.topic, fleet_readings(now - HOUR_MS))
    list(ingest_everything(instance, platform))
    maintenance(instance, platform)
    before = platform.store.count("device_metrics_raw")
    later = now + 400 * DAY_MS
    device = platform.store.devices()[0]
    platform.store.register_devices([replace(device, last_seen=later)])
    present(later)
    result = maintenance(instance, platform)
    told = [
        e.user_message for e in instance.all_logs(result.run_id) if "time has jumped from" in (e.user_message or "")
    ]
    assert len(told) == 1
    assert "accept_jump: true" in told[0]
    assert platform.store.count("device_metrics_raw") == before
    maintenance(instance, platform, accept_jump=True)
    assert platform.store.count("device_metrics_raw") == 0


def test_each_partition_of_the_embedded_log_keeps_what_is_not_in_and_lets_go_of_what_is_old(
    instance, platform, present
):
    old = now_ms() - 30 * DAY_MS
    platform.log.append(platform.topic, readings("RTU-001", old, 2) + readings("MAU-001", old, 2))
    list(ingest_everything(instance, platform))
    platform.log.append(platform.topic, readings("RTU-001", old + HOUR_MS, 2))  # waits
    platform.log.append(platform.topic, [reading("CH-007", now_ms())])
    list(ingest_everything(instance, platform))
    platform.log.append(platform.topic, readings("RTU-001", old + 2 * HOUR_MS, 2))  # waits
    ledger = {p: e.next_offset for p, e in platform.store.ledger(platform.topic).items()}
    maintenance(instance, platform)
    begins, ends = platform.log.begin_offsets(platform.topic), platform.log.end_offsets(platform.topic)
    assert begins[1] == ends[1] == 24  # all old, all in
    assert 0 < begins[2] <= ledger[2] < ends[2]
    assert begins[0] == 0  # new
    list(ingest_everything(instance, platform))
    assert platform.store.ledger(platform.topic)[2].skipped_offsets == 0
