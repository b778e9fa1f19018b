"""Work in a few processes: results in order, and no process outlives the one that started it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from devtools import PROJECT_ROOT
from hvac_platform.runtime.linear_algebra import THREADS
from hvac_platform.runtime.worker_processes import WorkerLostError, in_processes, worth_starting

SCRIPT = """
import os, signal, sys, time
from functools import partial
from hvac_platform.runtime.worker_processes import in_processes
from hvac_platform_tests.runtime.test_worker_processes import note_and_wait
folder = sys.argv[1]
with open(os.path.join(folder, "runs"), "a") as runs:
    runs.write("once ")
for _ in in_processes(partial(note_and_wait, folder), range(2), 2):
    time.sleep(600)
"""
"""Nothing guards it against being imported again, as a script of one's own or a notebook has nothing."""


def slow_for_even(number: int) -> int:
    time.sleep(0.05 * (number % 2 == 0))
    return 10 * number


def fails_for_three(number: int) -> int:
    if number == 3:
        raise ValueError("three is no good")
    return number


def ends_for_two(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def threads(_: int) -> list[str | None]:
    return [os.environ.get(name) for name in THREADS]


def note_and_wait(folder: str, number: int) -> int:
    (Path(folder) / f"pid-{os.getpid()}").touch()
    time.sleep(600)
    return number


def noted(folder: Path) -> set[int]:
    return {int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")}


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def wait_until(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_results_come_in_order():
    taken = [(item, result()) for item, result in in_processes(slow_for_even, range(9), 2)]
    assert taken == [(n, 10 * n) for n in range(9)]


def test_an_error_is_that_of_its_item():
    said = []
    for item, result in in_processes(fails_for_three, range(6), 2):
        try:
            said.append(result())
        except ValueError as error:
            said.append(f"{item}: {error}")
    assert said == [0, 1, 2, "3: three is no good", 4, 5]


def test_a_process_that_ends_costs_its_item_alone():
    said = []
    for item, result in in_processes(ends_for_two, range(7), 2):
        try:
            said.append(result())
        except WorkerLostError:
            said.append(f"lost {item}")
    assert said == [0, 1, "lost 2", 3, 4, 5, 6]


def test_each_has_one_thread_for_linear_algebra_and_what_was_set_here_stays(monkeypatch):
    monkeypatch.setenv(THREADS[0], "7")
    monkeypatch.delenv(THREADS[1], raising=False)
    with closing(in_processes(threads, range(1), 1)) as turns:
        assert next(turns)[1]() == ["1"] * len(THREADS)
    assert os.environ[THREADS[0]] == "7"
    assert THREADS[1] not in os.environ


def test_ctrl_c_ends_them_at_once(tmp_path):
    def press() -> None:
        wait_until(lambda: len(noted(tmp_path)) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    with pytest.raises(KeyboardInterrupt):
        list(in_processes(partial(note_and_wait, str(tmp_path)), range(4), 2))
    assert not any(map(lives, noted(tmp_path)))


def test_they_end_when_nobody_asks_any_more():
    with closing(in_processes(slow_for_even, range(100), 2)) as turns:
        next(turns)
        began = {child.pid for child in multiprocessing.active_children()}
    assert not began & {child.pid for child in multiprocessing.active_children()}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_they_end_with_the_process_that_started_them(tmp_path, number):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT)}
    started = subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=environment, start_new_session=True)
    wait_until(lambda: len(noted(tmp_path)) == 2 or started.poll() is not None)
    assert all(map(lives, noted(tmp_path)))
    started.send_signal(number)
    started.wait(30)
    wait_until(lambda: not any(map(lives, noted(tmp_path))))
    assert (tmp_path / "runs").read_text() == "once "


def test_processes_are_started_where_each_has_enough_to_do():
    assert worth_starting(2, 1000, 4) == 2
    assert worth_starting(2, 7, 4) == 1
    assert 1 <= worth_starting(0, 1000, 4) <= 4
    assert worth_starting(16, 1000, 4) == 16
