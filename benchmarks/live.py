"""Live operation as a user gets it: how soon what is sent is in, and what is wrong is told; what it costs.

``hvac up --dashboard`` runs on a home of its own (or on the servers that the environment names), and another process sends
a fleet's readings. Each minute one of the devices sends a window of impossible readings. Everything is measured from
outside: the store is asked five times a second, the dashboard by HTTP, the processes by /proc. Exit code 1 when an aim is
missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.devices import LEARNED, copies, learn_a_day
from devtools.services.base import free_port
from hvac_platform.config import load_settings
from hvac_platform.devices.fleet import fleet_of_size
from hvac_platform.ingestion.messages import encode_readings
from hvac_platform.resources import PlatformResource
from hvac_platform.runtime.connections import open_log, open_store
from hvac_platform.shipped import place_instance_file
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import AnomalyEvent, LatestReading, Reading
from hvac_platform.timestamps import now_ms

TICKS = os.sysconf("SC_CLK_TCK")
WATCHED = 20
"""So many devices of a fleet are asked for at each look: asking for all would cost more than the platform itself."""
IMPOSSIBLE = 9_999.0
LOOK_SECONDS = 0.2
COPIED_WINDOWS = 400
"""Of the past of a device that is a copy: as many as its detector looks back."""
START_SECONDS = 90
"""Not measured: the first run is being launched."""


# -- the producer: a process of its own ----------------------------------------------------------------------------------


def produce(devices: int, interval_ms: int, until_ms: int, *, learned: bool) -> None:
    """Send ticks; print when each was appended, and which device is wrong in which window, a JSON line each.

    Devices that are learned go on as they were: the first ones are simulated, the others are copies of them.
    """
    settings = load_settings()
    fleet = fleet_of_size(devices)
    log, simulation = open_log(settings), FleetSimulation(fleet[:LEARNED] if learned else fleet, seed=5)
    window_ms = settings.window_ms
    following = -(-now_ms() // interval_ms) * interval_ms
    while following < until_ms:
        readings = list(simulation.advance(np.array([following], dtype=np.int64)))
        window = following - following % window_ms
        wrong = fleet[window // window_ms % min(devices, WATCHED)].device_id
        records = []
        for number, device in enumerate(fleet):
            like = readings[number % len(readings)]
            values = like.values
            if device.device_id == wrong:
                values = values.copy()
                values[:, 0] = IMPOSSIBLE
            records += encode_readings(device, like.times_ms, like.metric_names, like.units, values)
        time.sleep(max(0.0, (following - now_ms()) / 1000))
        log.append(settings.kafka_topic, records)
        print(json.dumps({"tick": following, "at": now_ms(), "messages": len(records), "wrong": wrong}), flush=True)
        following += interval_ms


def fill_with_learned(devices: int) -> None:
    """A day of ten devices up to now, learned from and judged; the others are copies of them, with the windows of late."""
    fleet = fleet_of_size(devices)
    originals = fleet[:LEARNED]
    platform = PlatformResource()
    store, settings = platform.store, platform.settings
    assert isinstance(store, EmbeddedStore), "SERVICES=1 has no --learned"
    end_ms = now_ms() // settings.window_ms * settings.window_ms
    learn_a_day(platform, originals, end_ms, 60_000)
    if devices > LEARNED:
        copies(store, originals, fleet[LEARNED:], end_ms - COPIED_WINDOWS * settings.window_ms)


# -- processes -----------------------------------------------------------------------------------------------------------


def below(root: int) -> list[int]:
    """Pids of a process and of everything below it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parents.setdefault(int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]), []).append(
                    int(entry.name)
                )
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += parents.get(pid, [])
    return found


def cpu_of(root: int) -> float:
    """CPU seconds that a process, all below it and all that has ended there has used."""
    cpu = 0.0
    for pid in below(root):
        with contextlib.suppress(OSError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            cpu += sum(map(int, fields[11:15])) / TICKS
    return cpu


def memory_of(root: int) -> float:
    """Megabytes that a process and all below it have in memory; what several share counts once."""
    memory = 0.0
    for pid in below(root):
        with contextlib.suppress(OSError):
            shares = Path(f"/proc/{pid}/smaps_rollup").read_text()
            memory += sum(float(line.split()[1]) for line in shares.splitlines() if line.startswith("Pss:")) / 1e3
    return memory


# -- what is seen from outside -------------------------------------------------------------------------------------------


class Looker(threading.Thread):
    """Asks the store again and again what it has of the watched devices.

    Attributes:
        raw: when a reading of (device, instant) was first there, epoch milliseconds.
        live: likewise, the newest instant of a device in the live view.
        events: when an event of (device, window) was first there.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        super().__init__(daemon=True)
        self.devices, self.stopped = devices, threading.Event()
        self.raw: dict[tuple[str, int], int] = {}
        self.live: dict[tuple[str, int], int] = {}
        self.events: dict[tuple[str, int], int] = {}
        self.looks = 0

    def run(self) -> None:
        settings = load_settings()
        store = open_store(settings)
        newest = dict.fromkeys(self.devices, now_ms() - 60_000)
        while not self.stopped.is_set():
            for device_id in self.devices:
                since = newest[device_id]
                times, seen = Reading.times(store, device_id, (since + 1, None)).tolist(), now_ms()
                for t in set(times):
                    self.raw.setdefault((device_id, t), seen)
                newest[device_id] = max([since, *times[-1:]])
                window = now_ms() - now_ms() % settings.window_ms
                for start in (window - settings.window_ms, window):
                    at = {"window_start": start}
                    latest = LatestReading.read(store, device_id, only=("last_updated",), equals=at)
                    seen = now_ms()
                    for reading in latest:
                        self.live.setdefault((device_id, reading.last_updated), seen)
                times, seen = AnomalyEvent.times(store, device_id, (now_ms() - 600_000, None)).tolist(), now_ms()
                for t in times:
                    self.events.setdefault((device_id, t), seen)
            self.looks += 1
            time.sleep(LOOK_SECONDS)


def percentiles(name: str, values: Sequence[float], aim: float | None = None) -> bool:
    """Print p50, p95, p99; returns whether the aim is met."""
    if not values:
        print(f"{name}: nothing was seen")
        return aim is None
    p50, p95, p99 = np.percentile(np.array(values) / 1000, [50, 95, 99])
    met = aim is None or p95 <= aim
    told = "" if aim is None else f"; aim <= {aim:g} s: {'met' if met else 'MISSED'}"
    print(f"{name}: p50 {p50:.2f} s, p95 {p95:.2f} s, p99 {p99:.2f} s of {len(values)}{told}", flush=True)
    return met


def start(command: Sequence[str], home: Path, log: str) -> subprocess.Popen[bytes]:
    with (home / log).open("ab") as output:
        return subprocess.Popen(command, cwd=home, stdout=output, stderr=output, start_new_session=True)


def wait_for(port: int, page: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        if process.poll() is not None:
            said = "".join(path.read_text()[-2000:] for path in Path.cwd().glob("*.log"))
            raise SystemExit(f"it ended by itself: {said}")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=1):
            return
        time.sleep(0.1)
    raise SystemExit(f"nothing answers on port {port}")


def empty_dagster(seconds: float) -> float:
    """CPU of ``dagster dev`` with nothing to do, share of a core."""
    with tempfile.TemporaryDirectory(prefix="hvac-empty-") as folder:
        home, port = Path(folder), free_port()
        (home / "nothing.py").write_text("import dagster as dg\n\ndefs = dg.Definitions()\n")
        (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        environment = {"DAGSTER_HOME": folder, "PATH": os.environ["PATH"]}
        with (home / "log").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "dagster", "dev", "-f", "nothing.py", "-p", str(port)],
                cwd=home, env=environment, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        try:
            wait_for(port, "server_info", process)
            time.sleep(20)
            before, began = cpu_of(process.pid), time.monotonic()
            time.sleep(seconds)
            return (cpu_of(process.pid) - before) / (time.monotonic() - began)
        finally:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def size_of(home: Path, name: str) -> int:
    return (home / name).stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between readings")
    parser.add_argument("--run-minutes", type=float, help="HVAC_RUN_MINUTES; a third of the time when absent")
    parser.add_argument("--empty-seconds", type=float, default=60.0, help="how long an empty `dagster dev` is measured")
    parser.add_argument(
        "--learned",
        action="store_true",
        help="devices have a day behind them and a profile each; from 10 on they are copies",
    )
    parser.add_argument("--produce-until", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    interval_ms = round(arguments.interval * 1000)
    if arguments.produce_until:
        produce(arguments.devices, interval_ms, arguments.produce_until, learned=arguments.learned)
        return
    base = empty_dagster(arguments.empty_seconds) if arguments.empty_seconds else 0.0
    if base:
        print(f"an empty dagster dev: {base:.1%} of a core", flush=True)
    with tempfile.TemporaryDirectory(prefix="hvac-live-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        lasts = arguments.run_minutes or arguments.minutes / 3
        os.environ.update(HVAC_HOME=folder, HVAC_RUN_MINUTES=f"{lasts:g}")
        place_instance_file(home)
        os.chdir(home)
        if arguments.learned:
            began = time.monotonic()
            fill_with_learned(arguments.devices)
            print(
                f"{arguments.devices} devices with a day and a profile each, made in {time.monotonic() - began:.0f} s"
            )
        port, board = free_port(), free_port()
        pages = ["--port", str(port), "--dashboard", "--dashboard-port", str(board)]
        up = start([sys.executable, "-m", "hvac_platform.cli", "up", *pages], home, "up.log")
        try:
            wait_for(port, "server_info", up)
            wait_for(board, "healthz", up)
            until = now_ms() + round(1000 * (START_SECONDS + 60 * arguments.minutes))
            options = ["--devices", str(arguments.devices), "--interval", str(arguments.interval)]
            options += ["--learned"] if arguments.learned else []
            root = str(Path(__file__).resolve().parent.parent)
            producer = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.live", *options, "--produce-until", str(until)],
                stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root},
            )  # fmt: skip
            ok = measure(arguments, home, up, producer, base)
        finally:
            up.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                up.wait(60)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(up.pid, signal.SIGKILL)
            keep = os.environ.get("HVAC_LIVE_KEEP")
            if keep:
                import shutil

                shutil.copytree(home, keep, dirs_exist_ok=True)
    sys.exit(0 if ok else 1)


def measure(
    arguments: argparse.Namespace,
    home: Path,
    up: subprocess.Popen[bytes],
    producer: subprocess.Popen[bytes],
    base: float,
) -> bool:
    watched = [device.device_id for device in fleet_of_size(arguments.devices)[:WATCHED]]
    looker = Looker(watched)
    looker.start()
    settings = load_settings()
    window_ms, lateness_ms = settings.window_ms, settings.allowed_lateness_ms
    ticks: list[dict[str, int]] = []
    wrong: dict[tuple[str, int], None] = {}
    begin = now_ms() + 1000 * START_SECONDS
    cpu_began: tuple[float, float] | None = None
    highest = 0.0
    assert producer.stdout is not None
    for line in producer.stdout:
        told = json.loads(line)
        if told["at"] < begin:
            continue
        if cpu_began is None:
            cpu_began = (cpu_of(up.pid), time.monotonic())
        highest = max(highest, memory_of(up.pid))
        ticks.append(told)
        window = told["tick"] - told["tick"] % window_ms
        if (
            window + window_ms <= now_ms() + window_ms
            and told["tick"] - window >= window_ms - 1000 * arguments.interval
        ):
            wrong[told["wrong"], window] = None
    assert cpu_began is not None
    seconds = time.monotonic() - cpu_began[1]
    used = (cpu_of(up.pid) - cpu_began[0]) / seconds
    wait = max((window for _, window in wrong), default=0) + window_ms + lateness_ms + 20_000 - now_ms()
    time.sleep(max(0.0, min(wait, 120_000)) / 1000)
    looker.stopped.set()
    looker.join(60)
    messages = sum(t["messages"] for t in ticks)
    print(
        f"{arguments.devices} devices each {arguments.interval:g} s, {seconds / 60:.1f} min, {messages} messages; the store "
        f"was asked {looker.looks} times"
    )
    kept = [
        [seen[d, t["tick"]] - t["at"] for t in ticks for d in watched if (d, t["tick"]) in seen]
        for seen in (looker.raw, looker.live)
    ]
    lost = sum((d, t["tick"]) not in looker.raw for t in ticks for d in watched)
    met = percentiles("append to raw row", kept[0], 2.0)
    met &= percentiles("append to live view", kept[1], 2.0)
    first, last = ticks[0]["at"] + 120_000, ticks[-1]["at"] - 120_000
    for when, some in (
        ("first", [t for t in ticks if t["at"] < first]),
        ("last", [t for t in ticks if t["at"] > last]),
    ):
        seen = [looker.raw[d, t["tick"]] - t["at"] for t in some for d in watched if (d, t["tick"]) in looker.raw]
        percentiles(f"append to raw row, {when} two minutes", seen)
    delays = [looker.events[key] - key[1] - window_ms - lateness_ms for key in wrong if key in looker.events]
    met &= percentiles("window's end + lateness to event", [float(d) for d in delays], 3.0)
    print(
        f"readings never seen: {lost}; impossible windows without an event: {len(wrong) - len(delays)} of {len(wrong)}"
    )
    share = used - base
    aim = 0.04 if arguments.devices <= 5 else None
    told = "" if aim is None else f"; aim <= {aim:.0%}: {'met' if share <= aim else 'MISSED'}"
    met &= aim is None or share <= aim
    print(f"CPU of all processes: {used:.1%} of a core, {share:.1%} above an empty dagster dev{told}")
    print(f"memory of all processes: {highest:.0f} MB at most")
    if (home / "store.db").exists():
        store = open_store(settings)
        assert isinstance(store, EmbeddedStore)
        store.connection.wal_checkpoint()
        rows, (kept_bytes, log_bytes) = (
            store.count("device_metrics_raw"),
            (size_of(home, n) for n in ("store.db", "log.db")),
        )
        a_reading = kept_bytes / max(1, rows)
        print(
            f"store.db {kept_bytes / 1e6:.1f} MB, {a_reading:.0f} bytes a reading of {rows}; log.db {log_bytes / 1e6:.1f} MB"
        )
    return met and lost == 0 and len(delays) == len(wrong)


if __name__ == "__main__":
    main()
