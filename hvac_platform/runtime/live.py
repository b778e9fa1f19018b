"""The platform live: Dagster (web pages, daemon, code server), and the dashboard and simulators where they are wanted."""

from __future__ import annotations

import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPResponse
from io import FileIO
from pathlib import Path

from hvac_platform.runtime.leash import leashed
from hvac_platform.runtime.port_owner import port_owner
from hvac_platform.shipped import INSTANCE_FILE

HOST = "127.0.0.1"
READY_SECONDS = 120
STOP_SECONDS = 60
"""Pages, daemon, runs and code servers end one after the other."""
AGAIN_STOP_SECONDS = 5
"""What has lost a part, or no longer answers, is not waited for when it is started again."""
LOOK_SECONDS, TROUBLE_SECONDS = 10, 15
"""How often a service that runs is asked for trouble, and how long that may last: a code server that is reloaded is none."""
MOST_ENDS, ENDS_WITHIN_SECONDS = 6, 600
"""What ends by itself more often than that within that time is not started again."""


class LiveError(Exception):
    """The platform can't be brought up; the message says what to do."""


@dataclass(frozen=True, slots=True)
class StartedProcess:
    """A process that this command started.

    Attributes:
        name: for messages.
        process: it leads a session of its own.
        leash: one end of a pipe; when it closes, with this process at the latest, that session ends.
    """

    name: str
    process: subprocess.Popen[bytes]
    leash: FileIO


def _default_signals() -> None:
    # A process started from a script with "&" inherits an ignored SIGINT, and Dagster copies that to SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def start(
    name: str,
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    *,
    stays: bool = False,
) -> StartedProcess:
    """Start a process in a session of its own, its output in a file; it ends when this process does, however that is.

    Args:
        name: for messages.
        command: what to run.
        folder: its working directory.
        environment: variables beside those of this process.
        log: where its output goes, at the end of what is there.
        stays: whether it goes on when this process ends.
    """
    read_end, write_end = os.pipe()
    leash = FileIO(write_end, "wb")
    try:
        with log.open("ab") as output:
            process = subprocess.Popen(
                command if stays else leashed(command, read_end),
                cwd=folder,
                env={**os.environ, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_default_signals,
                pass_fds=(read_end,),
            )
    except BaseException:
        leash.close()
        raise
    finally:
        os.close(read_end)
    return StartedProcess(name, process, leash)


def stop(started: Sequence[StartedProcess], seconds: float = STOP_SECONDS) -> None:
    """Stop processes that :func:`start` started, and what they started, within some seconds; nothing else."""
    for one in started:
        if one.process.poll() is None:
            with suppress(ProcessLookupError):
                one.process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + seconds
    for one in started:
        with suppress(subprocess.TimeoutExpired):
            one.process.wait(max(0.1, deadline - time.monotonic()))
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(one.process.pid, signal.SIGKILL)  # the session is ours: this reaches its stragglers only
        with suppress(subprocess.TimeoutExpired):
            one.process.wait(5)
        one.leash.close()


def require_free_port(port: int, option: str = "--port") -> None:
    """Check that the port is free on loopback.

    Raises:
        LiveError: something listens there.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            owner = port_owner(port)
            by = f" by {owner}: stop that" if owner is not None else ": stop what listens there"
            raise LiveError(f"port {port} is in use{by}, or choose another with {option}") from None


def start_dagster(
    folder: Path, workspace: Path, port: int, environment: Mapping[str, str], log: Path
) -> StartedProcess:
    """Start Dagster with its daemon, its pages behind the request guard; ``folder`` holds ``dagster.yaml``."""
    require_free_port(port)
    options = ["-w", str(workspace), "-h", HOST, "-p", str(port)]
    command = [sys.executable, "-m", "hvac_platform.runtime.guarded_dagster", "dev", *options]
    # Without a home Dagster makes a folder beside dagster.yaml at each start, which stays when it is killed.
    home = folder.absolute() / ".dagster"
    home.mkdir(exist_ok=True)
    shutil.copyfile(folder / INSTANCE_FILE, home / INSTANCE_FILE)
    return start("dagster", command, folder, {"DAGSTER_HOME": str(home), **environment}, log)


def start_dashboard(folder: Path, port: int, environment: Mapping[str, str], log: Path) -> StartedProcess:
    """Start the dashboard on loopback."""
    require_free_port(port, "--dashboard-port")
    command = [sys.executable, "-m", "hvac_platform.cli", "dashboard", "--host", HOST, "--port", str(port)]
    return start("dashboard", command, folder, environment, log)


def wait_until_ready(
    started: Sequence[StartedProcess],
    port: int,
    log: Path,
    on_wait: Callable[[float], None] = lambda _: None,
    *,
    page: str = "server_info",
) -> None:
    """Wait until the web pages on a port answer.

    Raises:
        LiveError: a process has ended, or two minutes have passed; the end of its log is in the message.
    """
    began = time.monotonic()
    while (waited := time.monotonic() - began) < READY_SECONDS:
        for one in started:
            if one.process.poll() is not None:
                raise LiveError(f"{one.name} ended with code {one.process.returncode}:\n{_tail(log)}")
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError), _answer(port, page) as answer:
            if answer.status == 200:
                return
        on_wait(waited)
        time.sleep(0.5)
    raise LiveError(f"nothing answered on port {port} within {READY_SECONDS} s:\n{_tail(log)}")


def require_guard(port: int) -> None:
    """Check that the web pages on a port refuse a host that nobody can have configured.

    Raises:
        LiveError: they answer it.
    """
    request = urllib.request.Request(f"http://{HOST}:{port}/server_info", headers={"Host": "unknown.invalid"})
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == HTTPStatus.FORBIDDEN:
            return
    raise LiveError(f"the pages on port {port} are served without the request guard: this is a fault of the platform")


def _answer(port: int, page: str) -> HTTPResponse:
    answer: HTTPResponse = urllib.request.urlopen(f"http://{HOST}:{port}/{page}", timeout=2)
    return answer


@dataclass(slots=True)
class Service:
    """Something that runs for as long as the platform does, and is started again when it ends by itself.

    Attributes:
        name: for messages.
        begin: starts it.
        log: where its output goes.
        process: what runs now.
        trouble: says what is wrong while it runs; None when nothing is.
        gone: says which of its parts has ended, given the id of its session; None when none has.
        ends: when it ended by itself lately, by the monotonic clock.
        in_trouble_since: when trouble was first seen, by the monotonic clock.
        looked_at: when it was last asked for.
        bears_seconds: a pause of the whole machine that is longer, as of a laptop that slept, it doesn't survive whole.
    """

    name: str
    begin: Callable[[], StartedProcess]
    log: Path
    process: StartedProcess
    trouble: Callable[[], str | None]
    gone: Callable[[int], str | None]
    ends: list[float] = field(default_factory=list)
    in_trouble_since: float | None = None
    looked_at: float = 0.0
    bears_seconds: float = math.inf


def service(
    name: str,
    begin: Callable[[], StartedProcess],
    log: Path,
    trouble: Callable[[], str | None] = lambda: None,
    gone: Callable[[int], str | None] = lambda _: None,
    bears_seconds: float = math.inf,
) -> Service:
    """Start something that is to be started again when it or a part of it ends, or is in trouble for a while."""
    return Service(name, begin, log, begin(), trouble, gone, bears_seconds=bears_seconds)


def watch(services: Sequence[Service], tell: Callable[[str], object]) -> None:
    """Return when the user interrupts; start again what ends by itself, a little later each time.

    Args:
        services: what runs.
        tell: told of each end, in one line.

    Raises:
        LiveError: one has ended too often within ten minutes.
    """
    paused = 0.0
    with suppress(KeyboardInterrupt):
        while True:
            for one in services:
                if paused > one.bears_seconds:
                    _start_again(one, f"stood still for {paused:.0f} s with the whole machine", tell)
                elif one.process.process.poll() is not None:
                    _start_again(one, f"ended with code {one.process.process.returncode}", tell)
                elif ended := one.gone(one.process.process.pid):
                    _start_again(one, f"can't go on ({ended})", tell)
                elif lasting := _lasting_trouble(one):
                    _start_again(one, f"is in trouble ({lasting})", tell)
            paused = _pause()


def _pause() -> float:
    """Sleep a second; how long that took by the clock, which goes on while the machine sleeps."""
    began = time.time()
    time.sleep(1)
    return time.time() - began


def _lasting_trouble(one: Service) -> str | None:
    """What has been wrong with a service for too long."""
    now = time.monotonic()
    if now - one.looked_at < LOOK_SECONDS:
        return None
    one.looked_at, found = now, one.trouble()
    if found is None:
        one.in_trouble_since = None
        return None
    one.in_trouble_since = one.in_trouble_since or now
    return found if time.monotonic() - one.in_trouble_since >= TROUBLE_SECONDS else None


def _start_again(one: Service, what: str, tell: Callable[[str], object]) -> None:
    now, one.in_trouble_since = time.monotonic(), None
    stop([one.process], AGAIN_STOP_SECONDS)  # and what it has left behind
    one.ends = [at for at in one.ends if now - at < ENDS_WITHIN_SECONDS] + [now]
    if len(one.ends) > MOST_ENDS:
        raise LiveError(
            f"{one.name} had to be started {len(one.ends)} times within {ENDS_WITHIN_SECONDS // 60} minutes; the last time "
            f"it {what}:\n{_tail(one.log)}"
        )
    pause = 2 ** (len(one.ends) - 1)
    tell(f"{one.name} {what} and is started again in {pause} s; its log: {one.log}")
    time.sleep(pause)
    while True:
        try:
            one.process = one.begin()
            one.looked_at = time.monotonic() + READY_SECONDS  # it may take so long to come up
            return
        except LiveError as error:  # its port may be held for a moment by what is ending
            if time.monotonic() - now > READY_SECONDS:
                raise
            tell(f"{one.name}: {error}; trying again")
            time.sleep(5)


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""
