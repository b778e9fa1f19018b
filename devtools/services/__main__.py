"""``python -m devtools.services up|down|status [kafka cassandra ollama] [--port kafka=19092]``.

``… run -- COMMAND`` starts all of them and runs a command with the environment that points the platform at them.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from devtools.services.base import DEFAULT_FOLDER, Service, ServiceError
from devtools.services.registry import SERVICES, service
from hvac_platform.runtime.live import HOST


def main(arguments: Sequence[str] | None = None) -> int:
    """Start, stop or show servers; 0 when what was asked for is so, 1 when it isn't."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = given[given.index("--") + 1 :] if "--" in given else []
    given = given[: len(given) - len(command) - 1] if "--" in given else given
    parser = argparse.ArgumentParser(
        prog="python -m devtools.services",
        description="Kafka, Cassandra and Ollama on loopback, as processes of their own.",
    )
    parser.add_argument("action", choices=["up", "down", "status", "run"])
    parser.add_argument("services", nargs="*", metavar="service", help=f"some of {', '.join(SERVICES)}; default all")
    parser.add_argument("--port", action="append", default=[], metavar="SERVICE=PORT", type=_port)
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="holds downloads, data and logs")
    options = parser.parse_intermixed_args(given)
    if (options.action == "run") != bool(command):
        parser.error("a command comes after --, with run and only with it")
    unknown = [name for name in options.services if name not in SERVICES]
    if unknown:
        parser.error(f"there is no service {unknown[0]!r}, only {', '.join(SERVICES)}")
    folder, ports = options.folder.resolve(), dict(options.port)
    chosen = [service(name, folder, ports.get(name)) for name in options.services or SERVICES]
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # a broker that doesn't answer yet is no news here
    try:
        with _alone(folder):
            actions = {"up": _up, "down": _down, "status": _status, "run": _up}
            result = actions[options.action](chosen)
    except ServiceError as error:
        print(f"services: {error}", file=sys.stderr)
        return 1
    if command:
        for one in chosen:
            os.environ.update(one.settings)
        os.execvp(command[0], command)  # the servers go on when it ends; "down" stops them
    return result


def _port(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if name not in SERVICES or not number.isdigit() or not 0 < int(number) < 65_536:
        raise argparse.ArgumentTypeError(f"write it as SERVICE=PORT, for example kafka=19092, not {text!r}")
    return name, int(number)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One command at a time, so that two don't start the same server."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _up(chosen: Sequence[Service]) -> int:
    began = time.monotonic()
    failures = []
    started = []
    for one in chosen:
        try:
            verb = "starting" if one.start(stays=True) else "runs already"
        except ServiceError as error:
            failures.append(error)
            continue
        print(f"{one.name}: {verb}", flush=True)
        started.append(one)
    for one in started:
        try:
            one.wait_until_ready()
        except ServiceError as error:
            failures.append(error)
    _status(chosen)
    if failures:
        raise ServiceError("\nservices: ".join(map(str, failures)))
    print(f"all ready after {time.monotonic() - began:.1f} s; to use them:")
    for one in chosen:
        for name, value in one.settings.items():
            print(f"export {name}={value}")
    return 0


def _down(chosen: Sequence[Service]) -> int:
    for one in chosen:
        print(f"{one.name}: {'stopped' if one.down() else 'does not run'}", flush=True)
    return 0


def _status(chosen: Sequence[Service]) -> int:
    all_run = True
    for one in chosen:
        running = one.running()
        if running is None:
            print(f"{one.name:<10} stopped")
        else:
            port = running.ports["port"]
            print(f"{one.name:<10} {HOST}:{port:<6} pid {running.pid:<8} log {one.log}")
        all_run = all_run and running is not None
    return 0 if all_run else 1


if __name__ == "__main__":
    sys.exit(main())
