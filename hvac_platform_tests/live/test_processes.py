"""`hvac up` and `hvac demo` start processes, and Ctrl-C stops those and nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hvac_platform.runtime.dagster_health import GONE_LOOKS, DagsterParts
from hvac_platform.runtime.live import LiveError, require_free_port, service, start, stop, watch
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
        deadline = time.monotonic() + 90  # Python takes a while to start where much else does
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


def test_what_ends_by_itself_is_started_again_and_it_is_told(tmp_path: Path) -> None:
    """The first two times it ends at once, then it stays."""
    mark = tmp_path / "times"
    body = f"import pathlib, time; p = pathlib.Path({str(mark)!r}); p.open('a').write('x'); n = p.stat().st_size; "
    command = [sys.executable, "-c", body + "time.sleep(300 if n > 2 else 0); raise SystemExit(7)"]
    one = service("the counter", lambda: start("counter", command, tmp_path, {}, tmp_path / "log"), tmp_path / "log")
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)

    def interrupt() -> None:
        while not (mark.exists() and mark.stat().st_size == 3):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    try:
        watch([one], tell)
        assert one.process.process.poll() is None
        assert [line.partition(";")[0] for line in told] == [
            "the counter ended with code 7 and is started again in 1 s",
            "the counter ended with code 7 and is started again in 2 s",
        ]
    finally:
        stop([one.process])


def test_what_ends_again_and_again_is_given_up_with_the_end_of_its_log(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("hvac_platform.runtime.live.MOST_ENDS", 1)
    command = [sys.executable, "-c", "print('no such thing', flush=True); raise SystemExit(3)"]
    one = service("the counter", lambda: start("counter", command, tmp_path, {}, tmp_path / "log"), tmp_path / "log")
    with pytest.raises(LiveError, match=r"(?s)had to be started 2 times within 10 minutes.*code 3.*no such thing"):
        watch([one], lambda _: None)


def test_what_does_not_survive_a_pause_of_the_machine_is_started_again_after_one(tmp_path: Path, monkeypatch) -> None:
    pauses = iter([1.0, 24.0, 26.0])
    monkeypatch.setattr("hvac_platform.runtime.live._pause", lambda: next(pauses))
    command = [sys.executable, "-c", "import time; time.sleep(300)"]

    def begin():
        return start("s", command, tmp_path, {}, tmp_path / "log")

    one, other = (
        service("Dagster", begin, tmp_path / "log", bears_seconds=25.0),
        service("pages", begin, tmp_path / "log"),
    )
    first, stays = one.process.process.pid, other.process.process.pid
    told: list[str] = []
    try:
        with pytest.raises(StopIteration):
            watch([one, other], told.append)
        assert [line.partition(";")[0] for line in told] == [
            "Dagster stood still for 26 s with the whole machine and is started again in 1 s"
        ]
        assert not alive(first)
        assert (one.process.process.poll(), other.process.process.pid) == (None, stays)
    finally:
        stop([one.process, other.process])


def test_what_runs_and_is_in_trouble_for_a_while_is_started_again(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("hvac_platform.runtime.live.LOOK_SECONDS", 0)
    monkeypatch.setattr("hvac_platform.runtime.live.TROUBLE_SECONDS", 2)
    looks: list[int] = []

    def trouble() -> str | None:
        """A passing one first, then one that stays until the process is another one."""
        looks.append(one.process.process.pid if looks else 0)
        return "it hangs" if len(looks) != 2 and looks[-1] in (0, first) else None

    command = [sys.executable, "-c", "import time; time.sleep(300)"]
    one = service("the sleeper", lambda: start("s", command, tmp_path, {}, tmp_path / "log"), tmp_path / "log", trouble)
    first = one.process.process.pid
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        threading.Timer(3, os.kill, (os.getpid(), signal.SIGINT)).start()

    try:
        watch([one], tell)
        assert one.process.process.pid != first
        assert one.process.process.poll() is None
        assert not alive(first)
        assert [line.partition(";")[0] for line in told] == [
            "the sleeper is in trouble (it hangs) and is started again in 1 s"
        ]
    finally:
        stop([one.process])


def test_a_part_that_was_there_and_is_gone_is_told_and_another_session_begins_anew(tmp_path: Path) -> None:
    """A stand-in for `dagster dev`: it starts a "daemon", which is killed."""
    body = "import subprocess, sys; c = [sys.executable, '-c', 'import time; time.sleep(300)']; "
    body += "subprocess.run([*c, 'dagster.' + '_daemon'])"
    both = [start("dev", [sys.executable, "-c", body], tmp_path, {}, tmp_path / "log") for _ in range(2)]
    first, second = (one.process.pid for one in both)
    try:
        daemons = [found for _ in range(200) if (found := _daemon_of(first)) or time.sleep(0.05)]
        parts = DagsterParts()
        assert [parts.gone(first) for _ in range(GONE_LOOKS + 1)] == [None] * (GONE_LOOKS + 1)
        os.kill(daemons[0], signal.SIGKILL)
        deadline = time.monotonic() + 10
        while (said := parts.gone(first)) is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert said == "its daemon ended"
        assert parts.gone(second) is None
    finally:
        stop(both)


def _daemon_of(session: int) -> int | None:
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if os.getsid(int(entry.name)) == session and (entry / "cmdline").read_bytes().endswith(
                b"\0dagster._daemon\0"
            ):
                return int(entry.name)
    return None
