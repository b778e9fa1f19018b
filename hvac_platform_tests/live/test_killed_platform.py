"""`hvac up` killed in the middle of a run and started again at once: ingestion goes on by itself, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import dagster as dg
import pytest

from devtools import PROJECT_ROOT
from hvac_platform.config import load_settings
from hvac_platform.execution import open_instance
from hvac_platform.lost_runs import GONE
from hvac_platform.runtime.connections import open_log, open_store
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.conftest import MINUTE_MS, readings
from hvac_platform_tests.live.conftest import free_port
from hvac_platform_tests.live.test_processes import alive, children

PATIENCE_SECONDS = 240
DEVICES = ("RTU-001", "MAU-001", "CH-007")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(PROJECT_ROOT / "dagster.yaml", tmp_path)
    monkeypatch.setenv("HVAC_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def family(pid: int) -> list[int]:
    return [pid, *(below for child in children(pid) for below in family(child))]


def up(home: Path, port: int) -> subprocess.Popen[bytes]:
    """A platform that answers."""
    with (home / "up.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "hvac_platform.cli", "up", "--port", str(port)],
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, (home / "up.log").read_text()
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=2):
            return process
        time.sleep(0.2)
    raise AssertionError((home / "live.log").read_text()[-3000:])


@pytest.fixture
def port(home: Path) -> Iterator[int]:
    found = free_port()
    yield found
    for entry in Path("/proc").iterdir():  # whatever a failing test left on this home
        if entry.name.isdigit():
            with suppress(OSError):
                if f"--port\0{found}\0".encode() in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)


def wait_for(condition, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_platform_killed_in_a_run_and_started_again_at_once_goes_on_where_it_was(home: Path, port: int) -> None:
    settings = load_settings()
    log, topic = open_log(settings), settings.kafka_topic
    first = up(home, port)
    start_ms = now_ms() // MINUTE_MS * MINUTE_MS - 30 * MINUTE_MS
    sent = [r for device in DEVICES for r in readings(device, start_ms, 20)]
    log.append(topic, sent)
    store = open_store(settings)
    wait_for(lambda: any(e.held_by(now_ms()) for e in store.ledger(topic).values()), "no run owned a partition")
    owner = next(h for e in store.ledger(topic).values() if (h := e.held_by(now_ms())))
    everything = family(first.pid)
    for pid in everything:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    first.wait()
    wait_for(lambda: not any(alive(pid) for pid in everything), "processes are left")
    log.append(topic, [r for device in DEVICES for r in readings(device, start_ms + 20 * MINUTE_MS, 5)])
    second = up(home, port)
    try:
        ends = log.end_offsets(topic)
        wait_for(
            lambda: (
                {p: e.next_offset for p, e in store.ledger(topic).items() if e.next_offset}
                == {p: n for p, n in ends.items() if n}
            ),
            "the ledger did not reach the end",
        )
    finally:
        second.send_signal(signal.SIGINT)
        second.wait(120)
    assert sum(store.count("device_metrics_raw", device) for device in DEVICES) == 3 * 25 * 12
    with open_instance(home) as instance:
        run = instance.get_run_by_id(owner)
        assert run is not None
        assert run.status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS)
        if run.status is dg.DagsterRunStatus.FAILURE:
            assert any(GONE in (e.user_message or e.message or "") for e in instance.all_logs(owner))


def command_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


DAEMON, CODE_SERVER = "dagster._daemon", "dagster api grpc"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_parts_of_dagster_that_die_or_stall_are_noticed_and_ingestion_goes_on(home: Path, port: int) -> None:
    """The code server is the worse one: the pages and the daemon go on as if nothing had happened."""
    settings = load_settings()
    log, topic, store = open_log(settings), settings.kafka_topic, open_store(settings)
    platform = up(home, port)
    begin_ms = now_ms() // MINUTE_MS * MINUTE_MS - 30 * MINUTE_MS
    stalled = signal.SIGSTOP  # as a machine that was suspended or is out of memory: it ends when it wakes
    cases = [(CODE_SERVER, signal.SIGKILL), (CODE_SERVER, stalled), (DAEMON, signal.SIGKILL)]
    try:
        for number, (part, what) in enumerate(cases):
            told = (home / "up.log").stat().st_size
            wait_for(lambda part=part: len(running(platform, part)) == 1, f"{part} is not there")
            (victim,) = running(platform, part)
            os.kill(victim, what)
            sent = readings("RTU-001", begin_ms + 5 * MINUTE_MS * number, 5)
            log.append(topic, sent)
            rows = len(sent) * (number + 1)
            wait_for(lambda rows=rows: store.count("device_metrics_raw", "RTU-001") == rows, f"{part}, {what}: no rows")
            wait_for(
                lambda told=told: "is started again in" in (home / "up.log").read_text()[told:],
                f"{part}, {what}: nothing is told",
            )
    finally:
        platform.send_signal(signal.SIGINT)
        platform.wait(120)


def running(platform: subprocess.Popen[bytes], part: str) -> list[int]:
    return [pid for pid in family(platform.pid) if part in command_of(pid)]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each run is an interpreter of its own")
def test_runs_end_with_the_process_that_they_were_forked_from_and_the_next_ones_go_on(home: Path, port: int) -> None:
    """The code server takes them for ended, so they must not go on unseen."""
    settings = load_settings()
    log, topic, store = open_log(settings), settings.kafka_topic, open_store(settings)
    platform = up(home, port)
    begin_ms = now_ms() // MINUTE_MS * MINUTE_MS - 30 * MINUTE_MS
    sent = readings("RTU-001", begin_ms, 5)
    try:
        log.append(topic, sent)
        wait_for(lambda: store.count("device_metrics_raw", "RTU-001") == len(sent), "nothing came in")
        prepared, *runs = running(platform, "multiprocessing.forkserver")
        assert runs, "a run stands"
        os.kill(prepared, signal.SIGKILL)
        wait_for(lambda: not any(alive(pid) for pid in runs), "a run goes on unseen")
        log.append(topic, readings("RTU-001", begin_ms + 5 * MINUTE_MS, 5))
        wait_for(lambda: store.count("device_metrics_raw", "RTU-001") == 2 * len(sent), "no other run went on")
    finally:
        platform.send_signal(signal.SIGINT)
        platform.wait(120)
