"""`hvac up` ends with all that it started, however it ends; and one home has one platform."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from devtools import PROJECT_ROOT
from hvac_platform.config import Settings
from hvac_platform.demo import prepare_home
from hvac_platform.runtime.claims import HOME_LOCK, ClaimError, claim
from hvac_platform.runtime.connections import open_log, open_store
from hvac_platform.runtime.live import start, stop
from hvac_platform.runtime.port_owner import port_owner
from hvac_platform_tests.live.conftest import free_port

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

HVAC = [sys.executable, "-m", "hvac_platform.cli"]


def belonging_to(home: Path) -> dict[int, str]:
    """Living processes with this home in their environment, by id: everything below one `hvac up`."""
    found = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                variables = (process / "environ").read_bytes().split(b"\0")
                if f"HVAC_HOME={home}".encode() in variables:
                    found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
    return found


def wait_for(what: str, ready: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


@dataclass
class Up:
    """A running `hvac up` in a terminal of its own."""

    home: Path
    port: int
    process: subprocess.Popen[bytes]
    terminal: int

    def written(self) -> int:
        settings = Settings(_env_file=None, hvac_home=self.home)
        return sum(open_log(settings).end_offsets(settings.kafka_topic).values())

    def another(self, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*HVAC, *options],
            cwd=self.home,
            env={**os.environ, "HVAC_HOME": str(self.home), **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    shutil.copy(PROJECT_ROOT / "dagster.yaml", tmp_path)
    port = free_port()
    options = ["--port", str(port), "--simulate", "--dashboard", "--dashboard-port", str(free_port())]
    terminal, other_end = pty.openpty()
    told = tmp_path / "up.log"
    with told.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", IN_TERMINAL, *HVAC, "up", *options],
            cwd=tmp_path,
            env={**os.environ, "HVAC_HOME": str(tmp_path)},
            stdin=other_end,
            stdout=output,
            stderr=other_end,
            start_new_session=True,
        )
    os.close(other_end)
    running = Up(tmp_path, port, process, terminal)
    os.set_blocking(terminal, False)

    def ready() -> bool:
        with suppress(BlockingIOError):
            os.read(terminal, 65_536)  # a terminal that nobody reads is full some day, and who writes to it waits
        return "Ctrl-C stops" in told.read_text() or process.poll() is not None

    try:
        wait_for("hvac up", ready, 300)
        assert process.poll() is None, told.read_text()
        wait_for("the simulator", running.written, 60)
        yield running
    finally:
        for pid in belonging_to(tmp_path):
            os.kill(pid, signal.SIGKILL)
        process.wait()


IN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def test_closing_the_terminal_stops_everything(up: Up) -> None:
    assert len(belonging_to(up.home)) >= 8
    os.close(up.terminal)  # the kernel sends SIGHUP
    wait_for("the end of all processes", lambda: up.process.poll() is not None and not belonging_to(up.home), 60)
    log = (up.home / "simulator.log").read_text()
    assert "simulated 5 devices" in log.splitlines()[-1]  # it ended by itself


def runs_of(home: Path) -> Counter[tuple[str, str]]:
    """How many runs there are, by job and status."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return Counter((run.job_name, run.status.value) for run in instance.get_runs())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_runs_that_are_under_way_end_before_the_platform_does_and_hand_back_what_they_own(
    up: Up, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(up.home)  # the paths of dagster.yaml are relative
    settings = Settings(_env_file=None, hvac_home=up.home)
    wait_for("a run that stands", lambda: runs_of(up.home)["ingestion", "STARTED"], 120)
    wait_for("a move of the ledger", lambda: moved(settings), 60)
    up.process.send_signal(number)
    assert up.process.wait(90) == 0
    assert not belonging_to(up.home)
    assert {status for _, status in runs_of(up.home)} <= {"SUCCESS", "CANCELED", "QUEUED"}
    entries = open_store(settings).ledger(settings.kafka_topic).values()
    assert {(entry.holder, entry.failures) for entry in entries} == {(None, 0)}


def moved(settings: Settings) -> bool:
    """Whether a run has taken in something."""
    return any(entry.next_offset for entry in open_store(settings).ledger(settings.kafka_topic).values())


def is_refused_with_who_holds_the_home_or_the_storage(up: Up, tmp_path: Path) -> None:
    """A second platform."""
    holder = f"process {up.process.pid}, port {up.port}"
    same_home = up.another("up", "--port", str(free_port()))
    other_home = up.another("up", "--port", str(free_port()), HVAC_HOME=str(tmp_path / "other"))
    for refused, remedy in ((same_home, "HVAC_HOME"), (other_home, "dagster.yaml")):
        (line,) = refused.stderr.splitlines()
        assert refused.returncode == 1
        assert holder in line
        assert remedy in line
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(PROJECT_ROOT / "dagster.yaml", elsewhere)
    same_port = subprocess.run(
        [*HVAC, "up", "--port", str(up.port)],
        cwd=elsewhere,
        env={**os.environ, "HVAC_HOME": str(elsewhere)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    (line,) = same_port.stderr.splitlines()
    owner = port_owner(up.port)
    assert owner is not None
    assert f"process {owner.pid} (" in line
    assert "hvac_platform.runtime.guarded_dagster webserver" in line
    assert "--port" in line


def test_a_second_platform_is_refused_until_the_first_is_killed_which_takes_its_processes_along(
    up: Up, tmp_path: Path
) -> None:
    is_refused_with_who_holds_the_home_or_the_storage(up, tmp_path)
    assert len(belonging_to(up.home)) >= 8
    up.process.kill()
    up.process.wait()
    wait_for("the end of all processes", lambda: not belonging_to(up.home), 15)
    assert port_owner(up.port) is None
    assert not list(up.home.glob(".tmp*"))  # folders of Dagster that would pile up with every kill
    with claim(up.home / HOME_LOCK, "the next one"):
        pass


def test_a_demonstration_does_not_empty_the_folder_of_a_running_one(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    with claim(home / HOME_LOCK, "process 1, port 3000"):
        (home / "store.db").write_text("kept")
        command = [*HVAC, "demo", "--once"]
        environment = {**os.environ, "HVAC_HOME": str(tmp_path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        assert "process 1, port 3000" in done.stderr
        assert (home / "store.db").exists()
        prepare_home(home)  # what the holder itself does
        assert not (home / "store.db").exists()
        with pytest.raises(ClaimError, match="process 1, port 3000"), claim(home / HOME_LOCK, "another"):
            pass


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ClaimError, match="can't write to"), claim(tmp_path / "file" / HOME_LOCK, "x"):
        pass


GRANDCHILDREN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one that doesn't end by itself
subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(300)"])
time.sleep(300)
"""
PARENT = """
import os, sys, time
from pathlib import Path
from hvac_platform.runtime.live import start
kept = start("family", [sys.executable, "-c", sys.argv[1]], Path(sys.argv[2]), {}, Path(sys.argv[2]) / "log")
time.sleep(300)
"""


def test_children_and_grandchildren_that_ignore_signals_end_with_a_killed_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, GRANDCHILDREN, str(tmp_path)]
    parent = subprocess.Popen(command, env={**os.environ, "HVAC_HOME": str(tmp_path)}, cwd=PROJECT_ROOT)
    try:
        wait_for("parent, child, watcher and grandchild", lambda: len(belonging_to(tmp_path)) == 4, 30)
    finally:
        parent.kill()
        parent.wait()
    wait_for("the end of the family", lambda: not belonging_to(tmp_path), 15)


def test_a_leashed_process_has_its_own_exit_code_and_no_child_that_it_does_not_know(tmp_path: Path) -> None:
    script = "import os\ntry: os.waitpid(-1, os.WNOHANG)\nexcept ChildProcessError: raise SystemExit(7)"
    started = start("one", [sys.executable, "-c", script], tmp_path, {}, tmp_path / "log")
    assert started.process.wait(30) == 7
    stop([started])


@pytest.mark.parametrize("command", [["simulate", "--interval", "0.5"], ["dashboard", "--port", "0"]])
def test_a_hangup_ends_a_command_as_a_termination_does(tmp_path: Path, command: list[str]) -> None:
    if command[0] == "dashboard":
        command = ["dashboard", "--port", str(free_port())]
    environment = {**os.environ, "HVAC_HOME": str(tmp_path)}
    with (tmp_path / "told").open("wb") as told:
        process = subprocess.Popen([*HVAC, *command], env=environment, stdout=told, stderr=told, start_new_session=True)
    ready = "messages" if command[0] == "simulate" else "ends it"
    try:
        wait_for(command[0], lambda: ready in (tmp_path / "told").read_text(), 60)
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) == 0, (tmp_path / "told").read_text()
    finally:
        process.kill()
