"""The CQL store beside bare loops of the driver: rows a second, ratios of one run.

`python -m benchmarks.cql --hosts 127.0.0.1 --port 9042` measures on a running server; without --port it starts a Cassandra.
Store and bare loop take turns, so that a change of the machine's speed hits both; medians are compared.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import pstats
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from cassandra.cluster import Cluster
from cassandra.concurrent import execute_concurrent, execute_concurrent_with_args
from cassandra.query import BatchStatement, BatchType

from hvac_platform.devices.fleet import default_fleet
from hvac_platform.embedding.state import StateEncoder
from hvac_platform.ingestion.windows import aggregate_windows, snapshot_columns
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.stores.base import Device
from hvac_platform.stores.cassandra_private import plain_metadata
from hvac_platform.stores.cql import CqlSettings, CqlStore
from hvac_platform.stores.series import series_from_columns
from hvac_platform.timestamps import DAY_MS, day_of, day_start

DAY = "2026-06-10"
WINDOW_MS = 60_000
INTERVAL_MS = 10_000
CONCURRENCY = 32
BATCH_ROWS = 200
SECONDS_OF_ONE_TURN = 3.0


def say(what: str, figure: str, note: str = "") -> None:
    print(f"{what:<58}{figure:>18}   {note}".rstrip(), flush=True)


@contextlib.contextmanager
def own_cassandra() -> Iterator[int]:
    """A Cassandra of the tests' harness for as long as the benchmark runs; gives its port."""
    from devtools.services.base import DEFAULT_FOLDER, free_port
    from devtools.services.cassandra import Cassandra

    with tempfile.TemporaryDirectory(prefix="hvac-bench-cassandra-") as folder:
        node = Cassandra(DEFAULT_FOLDER / "cache", Path(folder), free_port())
        node.up()
        try:
            yield node.port
        finally:
            node.kill()


def simulated_day(hours: int = 24) -> list[tuple[Device, dict[str, Any]]]:
    """Raw readings of the default fleet every ten seconds, as columns of ``device_metrics_raw`` by device."""
    fleet = default_fleet()
    start = day_start(DAY)
    times = np.arange(start, start + hours * 3_600_000, INTERVAL_MS, dtype=np.int64)
    found = []
    for device, readings in zip(fleet, FleetSimulation(fleet, seed=3).advance(times), strict=True):
        values, names = readings.values, list(readings.metric_names)
        n, m = values.shape
        columns = {
            "device_id": [device.device_id] * (n * m),
            "timestamp": np.repeat(times, m),
            "metric_name": names * n,
            "metric_value": values.ravel().astype(float),
            "unit": ["kW"] * (n * m),
        }
        registered = Device(device.device_id, device.device_type, device.location, device.building_id, start, start, 0)
        found.append((registered, columns))
    return found


def turned(columns: dict[str, Any], turn: int) -> dict[str, Any]:
    """The same rows under a device id of their own, so that every turn writes fresh partitions."""
    return {**columns, "device_id": [f"{columns['device_id'][0]}-{turn}"] * len(columns["device_id"])}


def rate(write: Callable[[int], int]) -> float:
    """Rows a second of one turn: at least three seconds of writing."""
    rows, turn, began = 0, 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS_OF_ONE_TURN:
        rows += write(turn)
        turn += 1
    return rows / (time.perf_counter() - began)


def compare(what: str, ours: Callable[[int], int], bare: Callable[[int], int], turns: int) -> float:
    """Medians of alternating turns; returns and prints the ratio."""
    ids = iter(range(10**9))

    def fresh(write: Callable[[int], int]) -> Callable[[int], int]:
        return lambda _: write(next(ids))

    for write in (ours, bare):
        fresh(write)(0)  # prepares statements and warms the server
    found: dict[str, list[float]] = {"ours": [], "bare": []}
    for turn in range(turns):
        pair = [("ours", ours), ("bare", bare)]
        for name, write in pair if turn % 2 == 0 else reversed(pair):
            found[name].append(rate(fresh(write)))
    medians = {name: float(np.median(rates)) for name, rates in found.items()}
    ratio = medians["ours"] / medians["bare"]
    say(f"{what}, the store", f"{medians['ours']:,.0f} rows/s", f"median of {turns} turns")
    say(f"{what}, a bare loop", f"{medians['bare']:,.0f} rows/s", f"ratio {ratio:.2f} (aim >= 0.80)")
    return ratio


class BareLoop:
    """What a careful program does with the driver alone: prepared statements, 32 in flight, TCP_NODELAY."""

    def __init__(self, hosts: Sequence[str], port: int, keyspace: str) -> None:
        self._cluster = Cluster(list(hosts), port=port, sockopts=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)])
        self._session = self._cluster.connect(keyspace)
        self._raw = self._prepare("device_metrics_raw", "device_id date timestamp metric_name metric_value unit")
        self._snapshot_names = [
            "device_id",
            "date",
            "snapshot_time",
            "window_ms",
            "metrics",
            "metric_summary",
            "completeness",
            "revision",
        ]
        self._snapshot = self._prepare("device_state_snapshots", " ".join(self._snapshot_names))
        self._session.execute(
            "CREATE TABLE IF NOT EXISTS indexed_snapshots (device_id text, date text, snapshot_time timestamp, "
            "window_ms bigint, metrics map<text, double>, metric_summary text, completeness double, revision bigint, "
            "embedding vector<float, 384>, embedding_method text, PRIMARY KEY ((device_id, date), snapshot_time))"
        )
        self._session.execute(
            "CREATE CUSTOM INDEX IF NOT EXISTS indexed_snapshots_idx ON indexed_snapshots (embedding) "
            "USING 'StorageAttachedIndex' WITH OPTIONS = {'similarity_function': 'cosine'}"
        )
        self._embedded = self._prepare(
            "indexed_snapshots", " ".join([*self._snapshot_names, "embedding", "embedding_method"])
        )
        self._embedded.column_metadata = [plain_metadata(meta) for meta in self._embedded.column_metadata]

    def _prepare(self, table: str, names: str) -> Any:
        columns = names.split()
        marks = ", ".join("?" * len(columns))
        return self._session.prepare(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})")

    def raw(self, columns: dict[str, Any]) -> int:
        """Batches of 200 rows of one partition."""
        dates = [day_of(day * DAY_MS) for day in (columns["timestamp"] // DAY_MS).tolist()]
        rows = zip(
            columns["device_id"], dates, columns["timestamp"].tolist(), columns["metric_name"],
            columns["metric_value"].tolist(), columns["unit"], strict=True,
        )  # fmt: skip
        calls = []
        for _, partition in groupby(rows, key=lambda row: row[:2]):
            kept = list(partition)
            for first in range(0, len(kept), BATCH_ROWS):
                batch = BatchStatement(BatchType.UNLOGGED)
                for row in kept[first : first + BATCH_ROWS]:
                    batch.add(self._raw, row)
                calls.append((batch, None))
        execute_concurrent(self._session, calls, concurrency=CONCURRENCY, raise_on_first_error=True)
        return len(dates)

    def snapshots(self, columns: dict[str, Any]) -> int:
        """One INSERT a snapshot."""
        rows = list(self._snapshot_rows(columns))
        execute_concurrent_with_args(self._session, self._snapshot, rows, concurrency=CONCURRENCY)
        return len(rows)

    def embedded_snapshots(self, columns: dict[str, Any], vectors: np.ndarray) -> int:
        """One INSERT a snapshot with its vector, into a table that is indexed itself."""
        rows = [
            (*row, vector.tobytes(), "state-1")
            for row, vector in zip(self._snapshot_rows(columns), vectors.astype(">f4"), strict=True)
        ]
        execute_concurrent_with_args(self._session, self._embedded, rows, concurrency=CONCURRENCY)
        return len(rows)

    @staticmethod
    def _snapshot_rows(columns: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
        for i, time_ms in enumerate(columns["snapshot_time"].tolist()):
            yield (
                columns["device_id"][i], day_of(time_ms), time_ms, columns["window_ms"][i], columns["metrics"][i],
                msgspec.json.encode(columns["metric_summary"][i]).decode(), float(columns["completeness"][i]),
                columns["revision"][i],
            )  # fmt: skip

    def close(self) -> None:
        self._cluster.shutdown()


def snapshots_of(device: Device, raw: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
    """Snapshots of raw readings and their state vectors."""
    aggregate = aggregate_windows(raw["timestamp"], raw["metric_name"], raw["metric_value"], WINDOW_MS)
    columns = snapshot_columns(device.device_id, aggregate, WINDOW_MS)
    series = series_from_columns(device.device_id, device.device_type, columns)
    return columns, StateEncoder().encode(series)


def run(hosts: Sequence[str], port: int, *, turns: int = 5, profile: bool = False) -> dict[str, float]:
    """All comparisons against a running server; returns the ratios by name."""
    keyspace = f"hvac_bench_{secrets.token_hex(4)}"
    store = CqlStore(CqlSettings(tuple(hosts), port=port, keyspace=keyspace, replication_factor=1))
    bare = BareLoop(hosts, port, keyspace)
    try:
        day = simulated_day(hours=6)
        device, raw = day[0]
        store.register_devices([device])
        snapshots, vectors = snapshots_of(device, raw)

        def our_embedded(turn: int) -> int:
            columns = turned(snapshots, turn)
            store.upsert("device_state_snapshots", columns)
            keys = {name: columns[name] for name in ("device_id", "snapshot_time")}
            method = ["state-1"] * len(vectors)
            return store.update("device_state_snapshots", {**keys, "embedding": vectors, "embedding_method": method})

        if profile:
            profiler = cProfile.Profile()
            profiler.enable()
            for turn in range(20):
                store.upsert("device_metrics_raw", turned(raw, 10_000 + turn))
                store.upsert("device_state_snapshots", turned(snapshots, 10_000 + turn))
            profiler.disable()
            pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
        return {
            "raw": compare(
                "raw readings",
                lambda turn: store.upsert("device_metrics_raw", turned(raw, turn)),
                lambda turn: bare.raw(turned(raw, turn)),
                turns,
            ),
            "snapshots": compare(
                "snapshots",
                lambda turn: store.upsert("device_state_snapshots", turned(snapshots, turn)),
                lambda turn: bare.snapshots(turned(snapshots, turn)),
                turns,
            ),
            "snapshots with vectors": compare(
                "snapshots with indexed vectors",
                our_embedded,
                lambda turn: bare.embedded_snapshots(turned(snapshots, turn), vectors),
                turns,
            ),
        }
    finally:
        bare._session.execute(f"DROP KEYSPACE {keyspace}", timeout=60)
        bare.close()
        store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", default="127.0.0.1")
    parser.add_argument("--port", type=int, help="of a running server; starts a Cassandra when absent")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="show where the store's time goes first")
    arguments = parser.parse_args()
    with contextlib.nullcontext(arguments.port) if arguments.port else own_cassandra() as port:
        run(arguments.hosts.split(","), port, turns=arguments.turns, profile=arguments.profile)


if __name__ == "__main__":
    main()
