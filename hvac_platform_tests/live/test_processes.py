"""`hvac up` and `hvac demo` start processes, and Ctrl-C stops those and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hvac_platform.live import LiveError, require_free_port, start, stop
from hvac_platform_tests.live.conftest import free_port

SLEEPER = [sys.executable, "-c", "import subprocess, sys, time; subprocess.Popen(['sleep', '300']); time.sleep(300)"]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            if parent == pid:
                found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_stop_ends_what_was_started_with_its_children_and_nothing_else(tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "300"])
    try:
        mine = start("sleeper", SLEEPER, tmp_path, {}, tmp_path / "log")
        deadline = time.monotonic() + 20
        while not children(mine.process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        family = [mine.process.pid, *children(mine.process.pid)]
        assert len(family) == 2
        stop([mine])
        deadline = time.monotonic() + 10
        while any(alive(pid) for pid in family) and time.monotonic() < deadline:
            time.sleep(0.1)  # a killed grandchild takes a moment to go
        assert not any(alive(pid) for pid in family)
        assert alive(bystander.pid)
    finally:
        bystander.kill()
        bystander.wait()


def test_a_port_in_use_is_refused_with_what_to_do() -> None:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pytest.raises(LiveError, match="--port"):
            require_free_port(listener.getsockname()[1])
    require_free_port(free_port())


def test_a_live_simulator_stops_cleanly_on_interrupt(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "hvac_platform.cli",
        "simulate",
        "--interval",
        "0.5",
        "--devices",
        "RTU-001:rooftop_unit",
    ]
    environment = {**os.environ, "HVAC_HOME": str(tmp_path)}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    while "messages" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "simulated 1 devices" in out
