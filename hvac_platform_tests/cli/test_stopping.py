"""A command that is stopped in the middle: one line, exit code 130, nothing half, and the next one goes on at once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from hvac_platform.execution import ingest_everything
from hvac_platform.runtime.claims import HOME_LOCK, claim
from hvac_platform.runtime.signals import STOPPING
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.conftest import MIDNIGHT_MS, contents, open_dagster, readings

HOURS = 6


def fill(platform, hours: int = HOURS) -> int:
    sent = [
        r
        for device in ("RTU-001", "MAU-001", "lathe", "CH-001")
        for r in readings(device, MIDNIGHT_MS, hours * 60, every_ms=5_000)
    ]
    platform.log.append(platform.topic, sent)
    return len(sent)


def hvac(home: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "HVAC_HOME": str(home), "HVAC_MAX_MESSAGES_PER_RUN": "1000"}
    command = [sys.executable, "-m", "hvac_platform.cli", *arguments]
    return subprocess.Popen(
        command, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("number", STOPPING)
def test_hvac_ingest_stops_within_seconds_and_hands_its_partitions_back(home, platform, number):
    sent = fill(platform)
    process = hvac(home, "ingest")
    deadline = time.monotonic() + 60
    while not platform.store.count("device_metrics_raw"):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    asked = time.monotonic()
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - asked < 20
    assert "goes on from there" in told
    assert "Traceback" not in told
    entries = platform.store.ledger(platform.topic).values()
    assert {(entry.held_by(now_ms()), entry.failures) for entry in entries} == {(None, 0)}
    with dg.DagsterInstance.from_config(str(home)) as instance:
        list(ingest_everything(instance, platform))
    assert platform.store.count("device_metrics_raw") == sent
    assert platform.store.count("device_state_snapshots") == 4 * HOURS * 60
    assert contents(platform.store)["dead_letters"] == []


def test_a_step_that_is_asked_to_end_is_not_tried_again(home, platform, monkeypatch):
    """The order comes in the middle of a step, as *Terminate* on a run's page gives it."""
    fill(platform)
    whole, calls = type(platform.store).upsert, []

    def interrupted(store, table, columns):
        if table == "device_state_snapshots":
            calls.append(table)
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(store, table, columns)

    monkeypatch.setattr(type(platform.store), "upsert", interrupted)
    with open_dagster(home) as instance:
        with pytest.raises(KeyboardInterrupt):
            list(ingest_everything(instance, platform))
        assert len(calls) == 1
        (run,) = instance.get_runs()
        assert run.status == dg.DagsterRunStatus.FAILURE
    assert platform.leases.of(run.run_id) == []
    entries = platform.store.ledger(platform.topic).values()
    assert {(entry.holder, entry.failures, entry.next_offset) for entry in entries} == {(None, 0, 0)}


def test_any_command_says_that_it_was_stopped(home, platform):
    fill(platform)
    assert platform.store.count("device_metrics_raw") == 0  # they wait, so the command watches them for so long
    with claim(home / HOME_LOCK, "a platform that may move them"):
        process = hvac(home, "check", "--wait", "300")
        time.sleep(6)
        process.send_signal(signal.SIGTERM)
        printed, told = process.communicate(timeout=60)
    assert (process.returncode, printed) == (130, "")
    assert told.splitlines()[-1].startswith("hvac: stopped; ")
    assert "Traceback" not in told


def test_two_at_once_each_count_what_they_took_in_themselves(home, platform):
    sent = fill(platform, hours=1)
    both = [hvac(home, "ingest") for _ in range(2)]
    ended = [(*process.communicate(timeout=120), process.returncode) for process in both]
    assert [code for _, _, code in ended] == [0, 0], ended
    counts = [int(re.search(r"ingested (\d+) messages", out)[1]) for out, _, _ in ended]
    assert sum(counts) == sent, ended
