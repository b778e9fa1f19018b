"""A server as a process of its own: fetched once, started, waited for, found again by pid, stopped."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, ClassVar

from hvac_platform.runtime.live import HOST, StartedProcess, start

CONFIGURATION = Path(__file__).resolve().parent / "configuration"
PROJECT_ROOT = Path(__file__).resolve().parents[2]
DEFAULT_FOLDER = PROJECT_ROOT / ".services"

READY_SECONDS = 120
STOP_SECONDS = 30
POLL_SECONDS = 0.2
LETTING_GO_SECONDS = 3  # a server that has just ended may hold its port for a moment
LOG_LINES = 15

DEBIAN_PACKAGES = {
    "java": "openjdk-17-jre-headless",
    "mvn": "maven",
    "go": "golang",
    "gcc": "gcc",
    "g++": "g++",
    "openssl": "openssl",
    "keytool": "openjdk-17-jre-headless",
}


class ServiceError(Exception):
    """A server can't be fetched, started or stopped; the first line says which and why."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server process that was started earlier.

    Attributes:
        pid: its process id, which is also its process group.
        started: what tells it from a later process with the same pid.
        ports: every port that it was given, by name.
    """

    pid: int
    started: str
    ports: Mapping[str, int]


class Service(ABC):
    """One server whose files, data, log and process record are in one folder.

    Args:
        cache: folder of downloads, shared between instances and runs.
        folder: folder of this instance.
        port: port of its protocol on loopback; None takes that of the last start, or else the default.
    """

    name: ClassVar[str]
    default_port: ClassVar[int]
    internal_ports: ClassVar[Sequence[str]] = ()

    def __init__(self, cache: Path, folder: Path, port: int | None = None) -> None:
        self.cache = cache
        self.folder = folder
        self._wanted_port = port
        self._process: StartedProcess | None = None
        self._ports: dict[str, int] = {}

    # -- what a server must say of itself ---------------------------------------------------------------------------

    @abstractmethod
    def fetch(self) -> None:
        """Make sure that its programs are in the cache."""

    @abstractmethod
    def prepare(self) -> None:
        """Write its configuration and, the first time, its data folder."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command that runs it in the foreground."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it gives a proper answer in its own protocol; False or an OSError while it doesn't yet."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, str]:
        """Environment variables that point the platform at it."""

    def process_environment(self) -> dict[str, str]:
        """Environment variables of the process, beside those inherited."""
        return {}

    def after_start(self) -> None:  # noqa: B027 - most have nothing left to do
        """What is left to do when it answers."""

    # -- state ------------------------------------------------------------------------------------------------------

    @property
    def log(self) -> Path:
        """Output of the process since it was last started."""
        return self.folder / f"{self.name}.log"

    @property
    def port(self) -> int:
        """Port of its protocol."""
        if self._wanted_port is not None:
            return self._wanted_port
        return self.last_ports().get("port", self.default_port)

    def internal_port(self, name: str) -> int:
        """A port that only the server itself uses; chosen once for a data folder."""
        return self._ports[name]

    def last_ports(self) -> dict[str, int]:
        """Ports of the last start."""
        return dict(self._record().get("ports", {}))

    def running(self) -> Running | None:
        """The process, if it is alive and still the one that was started here."""
        record = self._record()
        if not record or process_identity(record["pid"]) != record["started"]:
            return None
        return Running(record["pid"], record["started"], record["ports"])

    def _record(self) -> dict[str, Any]:
        with suppress(FileNotFoundError, json.JSONDecodeError):
            found: dict[str, Any] = json.loads(self._record_file.read_text())
            return found
        return {}

    @property
    def _record_file(self) -> Path:
        return self.folder / "process.json"

    # -- starting ---------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Start it unless it runs, and wait until it answers.

        Raises:
            ServiceError: something is missing, the port is taken, or the server doesn't come up.
        """
        self.start()
        self.wait_until_ready()

    def start(self, *, stays: bool = False) -> bool:
        """Start it; False if it runs already. With ``stays`` it goes on when this process ends."""
        running = self.running()
        if running is not None:
            if self._wanted_port not in (None, running.ports["port"]):
                raise ServiceError(
                    f"{self.name} runs on port {running.ports['port']} already: stop it before it can get another"
                )
            self._wanted_port = running.ports["port"]
            return False
        self.fetch()
        self.folder.mkdir(parents=True, exist_ok=True)
        require_free_port(self.name, self.port)
        last = self.last_ports()
        self._ports = {"port": self.port} | {name: last.get(name) or free_port() for name in self.internal_ports}
        self.prepare()
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".previous.log"))
        self._process = start(self.name, self.command(), self.folder, self.process_environment(), self.log, stays=stays)
        pid = self._process.process.pid
        record = {"pid": pid, "started": process_identity(pid), "ports": self._ports}
        self._record_file.write_text(json.dumps(record))
        return True

    def wait_until_ready(self) -> None:
        """Wait until it answers in its own protocol.

        Raises:
            ServiceError: it ended, or gave no answer for two minutes; the end of its log is in the message.
        """
        deadline = time.monotonic() + READY_SECONDS
        while not self._has_answered():
            if self.ended():
                raise ServiceError(f"{self.name} ended while it was starting; the end of {self.log}:\n{self.log_end()}")
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"{self.name} did not answer on port {self.port} within {READY_SECONDS} s; "
                    f"the end of {self.log}:\n{self.log_end()}"
                )
            time.sleep(POLL_SECONDS)
        self.after_start()

    def _has_answered(self) -> bool:
        with suppress(OSError):
            return self.answers()
        return False

    def ended(self) -> bool:
        """Whether the process is gone."""
        if self._process is not None:
            return self._process.process.poll() is not None
        return self.running() is None

    def log_end(self) -> str:
        """Last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]) if self.log.exists() else ""

    # -- stopping ---------------------------------------------------------------------------------------------------

    def down(self) -> bool:
        """Stop it: politely, and after 30 s not; False if it doesn't run."""
        running = self.running()
        if running is None:
            return False
        self._signal(running, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while not self._is_gone(running) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        self._end_group(running)
        return True

    def kill(self) -> None:
        """End it at once, as ``kill -9`` or a power cut would."""
        running = self.running()
        if running is not None:
            self._end_group(running)

    def _end_group(self, running: Running) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(running.pid, signal.SIGKILL)  # the session is ours: this reaches its stragglers only
        while not self._is_gone(running):
            time.sleep(0.02)

    def _signal(self, running: Running, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(running.pid, number)

    def _is_gone(self, running: Running) -> bool:
        if self._process is not None and self._process.process.pid == running.pid:
            # Not before all of its threads have ended: a zombie's last ones may still hold its ports.
            return self._process.process.poll() is not None
        return process_identity(running.pid) != running.started


def process_identity(pid: int) -> str | None:
    """What tells a process from a later one with the same pid: when it started. None if there is none (any more)."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
        listed = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True)
        state, _, started = listed.stdout.strip().partition(" ")
        return started.strip() if started and not state.startswith("Z") else None
    boot = Path("/proc/sys/kernel/random/boot_id")
    return None if state in "ZX" else f"{boot.read_text().strip() if boot.exists() else ''} {fields[18]}"


def require_tools(service: str, *tools: str) -> None:
    """Check that programs are on the path.

    Raises:
        ServiceError: some are missing; says which and how Debian names them.
    """
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        packages = " ".join(DEBIAN_PACKAGES[tool] for tool in missing)
        raise ServiceError(f"{service} needs {', '.join(missing)} on the PATH (Debian: apt-get install {packages})")


def require_free_port(service: str, port: int) -> None:
    """Check that nothing listens on a port of loopback.

    Raises:
        ServiceError: something does.
    """
    deadline = time.monotonic() + LETTING_GO_SECONDS
    while not _is_free(port):
        if time.monotonic() > deadline:
            raise ServiceError(
                f"{service} can't have port {port}, another process listens there: "
                f"choose another with --port {service}=PORT"
            )
        time.sleep(POLL_SECONDS)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


_ports = random.SystemRandom()  # other processes look for ports as well, and may have the same seed
_given: set[int] = set()


def free_port() -> int:
    """A port that nothing listens on at the moment, and that this process was not given before.

    Below the ports that the system gives to clients: one that knocks at a killed server's port could otherwise be given
    that very port, connect to itself, and keep the server from having it again.
    """
    while True:
        port = _ports.randrange(20_000, 32_768)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            if port not in _given:  # whoever has one may not listen on it yet
                _given.add(port)
                return port


def fill_in(template: Path, target: Path, **words: object) -> None:
    """Write a configuration file from one with ``$words``."""
    target.write_text(Template(template.read_text()).substitute({name: str(word) for name, word in words.items()}))


def run(service: str, doing: str, command: Sequence[str], **options: object) -> str:
    """Say what is being done, run a program to its end and return its output.

    Raises:
        ServiceError: it failed; says while doing what, with the end of its output.
    """
    print(f"{service}: {doing}", file=sys.stderr, flush=True)
    done = subprocess.run(list(command), capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    if done.returncode:
        output = "\n".join((done.stdout + done.stderr).strip().splitlines()[-LOG_LINES:])
        raise ServiceError(f"{service}: {doing} failed with code {done.returncode}:\n{output}")
    return str(done.stdout)
