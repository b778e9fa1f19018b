"""The platform killed again and again: what is lost, what is twice, how long a partition stands still, how storage grows.

``hvac up`` runs on a home of its own while another process produces five devices' readings every ten seconds. It is killed
with SIGKILL at random moments, wholly or in parts, often in the middle of a run, and started again after one to five
seconds. The standstill of a partition counts from the moment at which the restarted platform answers on its port to the next
move of the ledger; it is compared with that after a clean stop and start.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

from devtools.services.base import free_port
from hvac_platform.config import load_settings
from hvac_platform.devices.fleet import default_fleet
from hvac_platform.ingestion.messages import decode_batch
from hvac_platform.runtime.connections import open_log, open_store
from hvac_platform.runtime.run_storage import size_of
from hvac_platform.shipped import place_instance_file
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.simulation.streaming import records_of
from hvac_platform.stores.records import Reading, Snapshot
from hvac_platform.timestamps import now_ms

INTERVAL_MS = 10_000
WINDOW_MS = 60_000
KINDS = ("everything", "hvac up", "run", "code server", "daemon")
ALL_RUNS = "runs"
"""A further kind: every run that is under way, and nothing else."""


class Producer(threading.Thread):
    """Readings of the default fleet, each tick one append; it outlives every kill."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stopped = threading.Event()
        self.messages = 0

    def run(self) -> None:
        import numpy as np

        settings = load_settings()
        log, simulation = open_log(settings), FleetSimulation(default_fleet(), seed=5)
        following = -(-now_ms() // INTERVAL_MS) * INTERVAL_MS
        while not self.stopped.is_set():
            time.sleep(max(0.0, (following - now_ms()) / 1000))
            records = records_of(simulation.advance(np.array([following], dtype=np.int64)))
            log.append(settings.kafka_topic, records)
            self.messages += len(records)
            following += INTERVAL_MS


class Platform:
    """``hvac up`` as a process, with what it started."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.port = home, port
        self.process: subprocess.Popen[bytes] | None = None
        self.ready_at = 0.0

    def start(self) -> float:
        """Start it; returns the seconds until it answers."""
        began = time.monotonic()
        with (self.home / "up.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hvac_platform.cli", "up", "--port", str(self.port)],
                cwd=self.home, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        while True:
            if self.process.poll() is not None:
                raise SystemExit(f"hvac up ended: {(self.home / 'up.log').read_text()[-2000:]}")
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/server_info", timeout=1),
            ):
                self.ready_at = time.monotonic()
                return self.ready_at - began
            time.sleep(0.1)

    def processes(self) -> dict[int, str]:
        """Pids with their command lines, of it and of everything below it."""
        assert self.process is not None
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, IndexError):
                    parents.setdefault(int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]), []).append(
                        int(entry.name)
                    )
        found, queue = {}, [self.process.pid]
        while queue:
            pid = queue.pop()
            with contextlib.suppress(OSError):
                found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            queue += parents.get(pid, [])
        return found

    def kill(self, kind: str) -> str:
        """SIGKILL to a part of it; returns what was hit."""
        assert self.process is not None
        alive = self.processes()
        runs = [p for p, c in alive.items() if "multiprocessing" in c and "resource_tracker" not in c]
        parts = {
            "run": runs[-1:],
            ALL_RUNS: runs,
            "code server": [p for p, c in alive.items() if "dagster api grpc" in c or "api grpc" in c],
            "daemon": [p for p, c in alive.items() if "dagster._daemon" in c],
        }
        targets = [self.process.pid] if kind == "hvac up" else parts.get(kind) or list(alive)
        for pid in targets:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if parts.get(kind):
            return kind
        self.process.wait(60)
        return kind if kind == "hvac up" else "everything"

    def stop(self) -> None:
        """Ctrl-C."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait(120)


class Watch(threading.Thread):
    """Looks at log and ledger four times a second: since when messages wait in a partition whose ledger does not move."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stopped = threading.Event()
        self.ends: dict[int, int] = {}
        self.ledger: dict[int, int] = {}
        self.moved: dict[int, float] = {}
        self.holders: set[str] = set()
        self.waiting_since: dict[int, float] = {}
        self.longest = 0.0

    def run(self) -> None:
        settings = load_settings()
        log, store = open_log(settings), open_store(settings)
        while not self.stopped.is_set():
            with contextlib.suppress(Exception):
                self.ends = log.end_offsets(settings.kafka_topic)
                entries = store.ledger(settings.kafka_topic)
                self.holders = {h for e in entries.values() if (h := e.held_by(now_ms()))}
                for p, entry in entries.items():
                    if self.ledger.get(p) != entry.next_offset:
                        self.ledger[p], self.moved[p] = entry.next_offset, time.monotonic()
                        self.waiting_since.pop(p, None)
                for p, end in self.ends.items():
                    if end > self.ledger.get(p, 0):
                        since = self.waiting_since.setdefault(p, time.monotonic())
                        self.longest = max(self.longest, time.monotonic() - since)
            time.sleep(0.25)

    def longest_wait(self, seconds: float = 180) -> float:
        """Longest time that messages which come from now on wait in any partition, until none wait; looks at two appends."""
        self.waiting_since, self.longest = {}, 0.0
        deadline = time.monotonic() + seconds
        time.sleep(2.2 * INTERVAL_MS / 1000)
        while self.waiting_since and time.monotonic() < deadline:
            time.sleep(0.25)
        return self.longest

    def standstill(self, platform: Platform, seconds: float = 180) -> float:
        """Seconds from the platform's answer until every partition in which messages wait has moved."""
        waiting = {p: self.ledger.get(p, 0) for p, end in self.ends.items() if end > self.ledger.get(p, 0)}
        deadline = time.monotonic() + seconds
        while any(self.moved.get(p, 0.0) <= platform.ready_at for p in waiting) and time.monotonic() < deadline:
            time.sleep(0.1)
        times = [self.moved.get(p, 0.0) - platform.ready_at for p in waiting]
        return max((t if t > 0 else seconds for t in times), default=0.0)


def storage_mb(home: Path) -> float:
    return size_of(home / ".dagster") / 1e6


def count(home: Path) -> str:
    """What is in the log against what is in the store."""
    settings = load_settings()
    log, store, topic = open_log(settings), open_store(settings), settings.kafka_topic
    good: Counter[tuple[str, int, str]] = Counter()
    for partition, end in log.end_offsets(topic).items():
        for batch in log.read(topic, partition, log.begin_offsets(topic)[partition], end):
            decoded, rejected = decode_batch(batch, now_ms=now_ms())
            assert not rejected
            good.update(zip(decoded.device_id, decoded.timestamps_ms.tolist(), decoded.metric_name, strict=True))
    stored: Counter[tuple[str, int, str]] = Counter()
    windows: dict[tuple[str, int], int] = {}
    for device in store.devices():
        for readings in Reading.batches(store, device.device_id, only=("timestamp", "metric_name")):
            stored.update((device.device_id, reading.timestamp, reading.metric_name) for reading in readings)
        for snapshots in Snapshot.batches(store, device.device_id, only=("snapshot_time", "metric_summary")):
            for snapshot in snapshots:
                counts = snapshot.metric_summary.values()
                windows[device.device_id, snapshot.snapshot_time] = int(sum(count for count, *_ in counts))
    expected = Counter((d, t - t % WINDOW_MS) for d, t, _ in good)
    wrong = sum(windows.get(window) != n for window, n in expected.items())
    return (
        f"messages={sum(good.values())} lost={len(set(good) - set(stored))} "
        f"doubled={sum(stored.values()) - len(stored)} windows={len(expected)} windows_wrong={wrong} "
        f"dead_letters={store.count('dead_letters')}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--clean", type=int, default=3, help="clean stops and starts to compare with")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--kinds", nargs="+", choices=(*KINDS, ALL_RUNS), default=KINDS, help="what is killed")
    parser.add_argument("--kills", type=int, default=10_000, help="end after so many")
    arguments = parser.parse_args()
    generator = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="hvac-kills-") as folder:
        home = Path(folder)
        place_instance_file(home)
        os.environ["HVAC_HOME"] = folder
        os.chdir(folder)
        platform, producer, watch = Platform(home, free_port()), Producer(), Watch()
        producer.start()
        watch.start()
        print(f"first start: answers after {platform.start():.1f} s", flush=True)
        time.sleep(60)
        clean, killed, sizes = [], [], []
        for _ in range(arguments.clean):
            platform.stop()
            time.sleep(generator.uniform(1, 5))
            started = platform.start()
            clean.append(watch.standstill(platform))
            print(
                f"clean stop: answers after {started:.1f} s, all partitions moved {clean[-1]:.1f} s later", flush=True
            )
            time.sleep(20)
        until = time.monotonic() + arguments.minutes * 60
        kills: Counter[str] = Counter()
        in_a_run = 0
        while time.monotonic() < until and kills.total() < arguments.kills:
            time.sleep(generator.uniform(5, 60))
            if generator.random() < 0.7:  # in the middle of a run
                deadline = time.monotonic() + 40
                while not watch.holders and time.monotonic() < deadline:
                    time.sleep(0.05)
                time.sleep(generator.uniform(0, 1.5))
            owned = bool(watch.holders)
            in_a_run += owned
            hit = platform.kill(generator.choice(arguments.kinds))
            kills[hit] += 1
            if hit in ("run", ALL_RUNS, "code server", "daemon"):
                standstill = watch.longest_wait()
                if platform.process is not None and platform.process.poll() is None:
                    print(f"{hit} killed{' in a run' if owned else ''}: messages waited {standstill:.1f} s", flush=True)
                    killed.append(standstill)
                    continue
            pause = generator.uniform(1, 5)
            time.sleep(pause)
            started = platform.start()
            killed.append(watch.standstill(platform))
            sizes.append(storage_mb(home))
            print(
                f"{hit} killed{' in a run' if owned else ''}, started {pause:.1f} s later: answers after {started:.1f} s, "
                f"all partitions moved {killed[-1]:.1f} s after that; run storage {sizes[-1]:.0f} MB",
                flush=True,
            )
        producer.stopped.set()
        producer.join(30)
        # Asked of the log itself: what the watch saw last may be older than the producer's last append.
        ends = open_log(load_settings()).end_offsets(load_settings().kafka_topic)
        deadline = time.monotonic() + 300
        while any(watch.ledger.get(p, 0) < end for p, end in ends.items()) and time.monotonic() < deadline:
            time.sleep(1)
        print("everything that was sent is in" if time.monotonic() < deadline else "the ledger did not reach the end")
        runs = len(list((home / ".dagster").rglob("*.db")))
        print(f"run storage at the end: {storage_mb(home):.0f} MB in {runs} databases", flush=True)
        platform.stop()
        # Windows that were open when the platform was stopped have their snapshots from the next run that takes over.
        subprocess.run([sys.executable, "-m", "hvac_platform.cli", "ingest"], cwd=home, check=True, capture_output=True)
        left = [c for c in platform.processes().values() if c]
        print(f"processes left after Ctrl-C: {len(left)}")
        print(f"kills: {dict(kills)}, {in_a_run} of them while a run owned a partition")
        if clean and killed:
            print(
                f"standstill after a clean start: median {statistics.median(clean):.1f} s, longest {max(clean):.1f} s; "
                f"after a kill: median {statistics.median(killed):.1f} s, longest {max(killed):.1f} s"
            )
        print(count(home))
        keep = os.environ.get("HVAC_KILLS_KEEP")
        if keep:
            shutil.copytree(home, keep, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
