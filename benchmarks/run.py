"""Benchmarks of the embedded default; prints, judges nothing. `make bench`, or `python -m benchmarks.run --help`.

Ratios are taken in one run on one machine, so they hold where absolute figures don't.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import apsw

from hvac_platform.runtime.linear_algebra import one_thread

one_thread()  # as all commands and runs of the platform do, before NumPy is loaded

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from hvac_platform.config import Settings  # noqa: E402
from hvac_platform.detection import FittedDetector, fit_detector  # noqa: E402
from hvac_platform.detection.learned import examine_windows, frame_of  # noqa: E402
from hvac_platform.detection.profile import judge_profile  # noqa: E402
from hvac_platform.detection.rules import evaluate_rules  # noqa: E402
from hvac_platform.devices.fleet import FleetDevice, fleet_of_size  # noqa: E402
from hvac_platform.devices.registry import device_type  # noqa: E402
from hvac_platform.embedding.learned import Encoders  # noqa: E402
from hvac_platform.embedding.state import StateEncoder  # noqa: E402
from hvac_platform.ingestion.completing import Completing  # noqa: E402
from hvac_platform.ingestion.decoding import IngestionCounts, ingest_ranges  # noqa: E402
from hvac_platform.ingestion.prefetch import ahead  # noqa: E402
from hvac_platform.ingestion.ranges import OffsetRange  # noqa: E402
from hvac_platform.ingestion.snapshotting import EmbeddingCounts  # noqa: E402
from hvac_platform.ingestion.windows import window_ranges  # noqa: E402
from hvac_platform.log.embedded import EmbeddedLog  # noqa: E402
from hvac_platform.monitoring.learning import learn_profile  # noqa: E402
from hvac_platform.runtime.worker_processes import usable_processors  # noqa: E402
from hvac_platform.simulation.fleet_simulation import FleetSimulation  # noqa: E402
from hvac_platform.simulation.streaming import stream_history  # noqa: E402
from hvac_platform.snapshots import SnapshotSeries  # noqa: E402
from hvac_platform.stores.base import Device  # noqa: E402
from hvac_platform.stores.batches import DeviceSlice, TableBatch, write_batch  # noqa: E402
from hvac_platform.stores.embedded import EmbeddedStore  # noqa: E402
from hvac_platform.stores.series import read_series  # noqa: E402
from hvac_platform.timestamps import DAY_MS, day_start, now_ms  # noqa: E402

TOPIC = "iot-metrics"
DAY = "2026-06-10"
WINDOW_MS = 60_000
ROUNDS = 20
DEVICE = FleetDevice("RTU-001", "rooftop_unit", "building-A", "bldg-001")


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def say(what: str, figure: str, note: str = "") -> None:
    print(f"{what:<58}{figure:>18}   {note}".rstrip(), flush=True)


def fill_log(log: EmbeddedLog, fleet: list[FleetDevice], days: float, interval_ms: int) -> int:
    log.create_topic(TOPIC)
    start = day_start(DAY)
    messages = 0
    simulation = FleetSimulation(fleet, seed=3)
    for _, appended in stream_history(log, TOPIC, simulation, fleet, start, start + round(days * DAY_MS), interval_ms):
        messages = appended
    return messages


def ingest(
    log: EmbeddedLog,
    store: EmbeddedStore,
    written: list[tuple[str, TableBatch]] | None = None,
    topic: str = TOPIC,
) -> IngestionCounts:
    """What an ingestion run does below Dagster: raw rows, snapshots and embeddings of all offsets, then the ledger."""
    counts = IngestionCounts()
    touched: dict[str, NDArray[np.int64]] = {}

    def keep(table: str, batch: TableBatch) -> None:
        write_batch(store, table, batch)
        if written is not None:
            written.append((batch.table or table, batch))

    def register(devices: list[Device]) -> None:
        store.register_devices(devices)

    ranges = [OffsetRange(p, 0, end) for p, end in log.end_offsets(topic).items() if end]
    for batch in ingest_ranges(
        log,
        topic,
        ranges,
        now_ms=now_ms(),
        window_of=lambda _: WINDOW_MS,
        register=register,
        counts=counts,
    ):
        keep("device_metrics_raw", batch)
        for device_id, starts in (batch.touched.starts_ms if batch.touched else {}).items():
            touched[device_id] = np.union1d(touched.get(device_id, starts), starts)
    types = {d.device_id: d.device_type for d in store.devices()}

    def slices(table: str) -> list[DeviceSlice]:
        return [
            DeviceSlice(store, table, device_id, start, end)
            for device_id, starts in touched.items()
            for start, end in window_ranges(starts, WINDOW_MS)
        ]

    completing = Completing(store, Encoders(StateEncoder()), lambda _: WINDOW_MS)
    snapshots = completing.batches_of(slices("device_metrics_raw"), types, EmbeddingCounts())
    for batch in ahead(snapshots, parallel=store.parallel):
        keep("device_state_snapshots", batch)
    for r in ranges:
        store.advance_ledger(topic, r.partition, r.start, r.end, run_id="bench", watermark=None)
    return counts


def bare_insert(path: Path, written: list[tuple[str, TableBatch]]) -> float:
    """The same rows into a fresh file with a column for each of the catalogue's, by nothing but executemany."""
    from hvac_platform.stores.plain_tables import to_sql
    from hvac_platform.stores.tables import table as catalogue

    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode=wal; PRAGMA synchronous=normal")
    prepared = []
    for name, batch in written:
        target = catalogue(name)
        columns = [c for c in batch.columns if c in target.columns]
        values = [to_sql(target.columns[c].type, batch.columns[c]) for c in columns]
        made = ", ".join(c for c in target.columns if c not in target.key)
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {name} ({', '.join(target.key)}, {made}, PRIMARY KEY ({', '.join(target.key)})) "
            "WITHOUT ROWID"
        )
        if batch.action == "update":
            keys = [c for c in columns if c in target.key]
            others = [c for c in columns if c not in target.key]
            order = [columns.index(c) for c in (*others, *keys)]
            sql = f"UPDATE {name} SET {','.join(f'{c}=?' for c in others)} WHERE {' AND '.join(f'{c}=?' for c in keys)}"
            values = [values[i] for i in order]
        else:
            sql = f"INSERT INTO {name} ({','.join(columns)}) VALUES ({','.join('?' * len(columns))})"
        prepared.append((sql, list(zip(*values, strict=True))))

    def insert() -> None:
        for sql, rows in prepared:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(sql, rows)
            connection.execute("COMMIT")

    return timed(insert)


def bench_ingestion(folder: Path, repeats: int) -> None:
    log = EmbeddedLog(folder / "log.db")
    messages = fill_log(log, [DEVICE], 1, 10_000)
    seconds, bare = [], []
    for i in range(repeats):
        store = EmbeddedStore(folder / f"store{i}.db")
        seconds.append(timed(lambda s=store: ingest(log, s)))  # type: ignore[misc]
        rows = store.count("device_metrics_raw")
        assert rows == messages, (rows, messages)
        written: list[tuple[str, TableBatch]] = []
        ingest(log, EmbeddedStore(folder / f"again{i}.db"), written)
        bare.append(bare_insert(folder / f"bare{i}.db", written))
    best, floor = float(np.median(seconds)), float(np.median(bare))
    say(
        "ingestion of one device-day, log to all three tables",
        f"{messages / best:,.0f} msg/s",
        f"{messages:,} messages, median of {repeats}",
    )
    say(
        "the same rows by bare executemany", f"{messages / floor:,.0f} msg/s", f"ratio {floor / best:.2f} (aim >= 0.33)"
    )


def examined_often(work: tuple[SnapshotSeries, FittedDetector, int]) -> None:
    """Examine the same windows again and again, in a process as those that judge whole days of many devices."""
    series, detector, rounds = work
    for _ in range(rounds):
        examine_windows(series, np.ones(len(series), dtype=bool), detector)


def bench_detection(folder: Path) -> None:
    log, store = EmbeddedLog(folder / "detect-log.db"), EmbeddedStore(folder / "detect.db")
    fill_log(log, [DEVICE], 10, 60_000)
    ingest(log, store)
    device = store.devices()[0]
    settings = Settings(hvac_home=folder)
    profile = learn_profile(store, device, Encoders(StateEncoder()), settings, days_back=5).profile
    series = read_series(store, DEVICE.device_id, DEVICE.device_type, embeddings=True)
    detector = fit_detector(frame_of(series), device_type=DEVICE.device_type)
    everything = np.ones(len(series), dtype=bool)
    declared = device_type(DEVICE.device_type)
    for name, work in (
        ("rules", lambda: evaluate_rules(series, declared)),
        ("profile (learned)", lambda: examine_windows(series, everything, detector)),
        ("profile (fixed limits)", lambda: judge_profile(series, profile)),
    ):
        seconds = min(timed(work) for _ in range(5))
        say(f"detection by {name}, {len(series):,} snapshots", f"{len(series) / seconds:,.0f} /s", "aim >= 50,000")
    processes = usable_processors()
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        list(pool.map(examined_often, [(series, detector, 1)] * processes))  # they are started
        began = time.perf_counter()
        list(pool.map(examined_often, [(series, detector, ROUNDS)] * processes))
        rate = processes * ROUNDS * len(series) / (time.perf_counter() - began)
    say(f"the same by profile (learned) in {processes} processes", f"{rate:,.0f} /s", "aim >= 100,000")
    history = 130_000
    repeat = -(-history // len(series))
    assert series.embeddings is not None
    noise = np.random.default_rng(0).normal(0, 1e-3, (repeat * len(series), 384)).astype(np.float32)
    vectors = np.tile(series.embeddings, (repeat, 1)) + noise * (np.tile(series.embeddings, (repeat, 1)) != 0)
    times = np.arange(len(vectors), dtype=np.int64)[:history] * WINDOW_MS
    for begin in range(0, history, 20_000):
        rows = slice(begin, min(history, begin + 20_000))
        n = rows.stop - rows.start
        empty: list[dict[str, float]] = [{}] * n
        ids = ["HIST"] * n
        store.upsert(
            "device_state_snapshots",
            {"device_id": ids, "snapshot_time": times[rows], "window_ms": [WINDOW_MS] * n, "metrics": empty,
             "metric_summary": empty, "completeness": [1.0] * n, "revision": [0] * n},
        )  # fmt: skip
        store.update(
            "device_state_snapshots",
            {
                "device_id": ids,
                "snapshot_time": times[rows],
                "embedding": vectors[rows],
                "embedding_method": ["state-1"] * n,
            },
        )
    for batch in (1, 60, 1440):
        queries = series.embeddings[:batch]
        seconds = min(
            timed(lambda q=queries: store.nearest("HIST", q, 10, embedding_method="state-1", normal_only=True))  # type: ignore[misc]
            for _ in range(3)
        )
        say(
            f"vector search in {history:,} states, {batch} windows at once",
            f"{1000 * seconds / batch:.2f} ms/window",
            "aim < 20 in batch",
        )


def bench_simulation() -> None:
    fleet = fleet_of_size(1000)
    start = day_start(DAY)
    simulation = FleetSimulation(fleet, seed=3)
    readings = 0

    def work() -> None:
        nonlocal readings
        for hour in range(24):
            times = np.arange(start + hour * 3_600_000, start + (hour + 1) * 3_600_000, 60_000, dtype=np.int64)
            readings += sum(r.values.size for r in simulation.advance(times))

    seconds = timed(work)
    say("simulation of a 1,000-device day at 60 s", f"{seconds:.1f} s", f"{readings:,} readings (aim < 60 s)")


def bench_fleet(folder: Path, devices: int, hours: float) -> None:
    """Hours of a fleet through real ingestion runs in a process of its own, for its memory and processor time."""
    home = folder / "fleet"
    home.mkdir()
    log = EmbeddedLog(home / "log.db")
    messages = fill_log(log, fleet_of_size(devices), hours / 24, 60_000)
    log.close()
    began, before = time.perf_counter(), _children_cpu()
    root = Path(__file__).resolve().parents[1]
    shutil.copy(root / "dagster.yaml", home)
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "--fleet-run"],
        cwd=home, env={**os.environ, "HVAC_HOME": str(home), "PYTHONPATH": str(root)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds, cpu = time.perf_counter() - began, _children_cpu() - before
    say(
        f"{devices:,} devices, {hours:g} h through Dagster runs", f"{messages / cpu:,.0f} msg/CPU-s",
        f"{messages / seconds:,.0f} msg/s; {messages:,} messages, {seconds:.0f} s, {child.stdout.strip()} "
        "(aims >= 150,000 msg/CPU-s, < 600 MB)",
    )  # fmt: skip


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def fleet_run() -> None:
    import warnings

    warnings.simplefilter("ignore")
    from hvac_platform.execution import ingest_everything, open_instance
    from hvac_platform.resources import PlatformResource

    runs = sum(1 for _ in ingest_everything(open_instance(Path.cwd()), PlatformResource()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{runs} runs, peak RSS {peak:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1000, help="devices of the fleet benchmark; 0 leaves it out")
    parser.add_argument("--hours", type=float, default=24.0, help="of the fleet benchmark, readings each 60 s")
    parser.add_argument("--repeats", type=int, default=5, help="of the others; 0 leaves them out")
    parser.add_argument("--fleet-run", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fleet_run:
        fleet_run()
        return
    with tempfile.TemporaryDirectory(prefix="hvac-bench-") as name:
        folder = Path(name)
        if arguments.repeats:
            bench_simulation()
            bench_ingestion(folder, arguments.repeats)
            bench_detection(folder)
        if arguments.devices:
            bench_fleet(folder, arguments.devices, arguments.hours)


if __name__ == "__main__":
    main()
