"""Recall and latency of the vector index against exact search, on state vectors of the simulator.

`python -m benchmarks.recall --hosts 127.0.0.1 --port 9042` measures on a running server; without --port it starts a
Cassandra. Queries are states of the day after the history, as in detection. Recall@10 is the share of the ten nearest that
the index finds, where a state that is exactly as near as the tenth counts as well. Everything is asked three times: while
the vectors are in the memtable, after they were flushed, and after a compaction (Cassandra).
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cql import own_cassandra, say
from hvac_platform.devices.fleet import default_fleet
from hvac_platform.embedding.state import StateEncoder
from hvac_platform.ingestion.windows import aggregate_windows, snapshot_columns
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.stores import cql_nearest
from hvac_platform.stores.base import Device
from hvac_platform.stores.cql import CqlSettings, CqlStore
from hvac_platform.stores.cql_nearest import NearestQuery
from hvac_platform.stores.cql_schema import VECTOR_TABLE
from hvac_platform.stores.series import series_from_columns
from hvac_platform.timestamps import DAY_MS, day_start

START = "2026-06-01"
WINDOW_MS = 60_000
NEIGHBOURS = 10
ROWS_AT_ONCE = 20_000
COMPACTION_SECONDS = 900.0
METHOD = "state-1"


def states(days: int, devices: int) -> list[tuple[Device, dict[str, Any], NDArray[np.float32]]]:
    """Snapshots and state vectors of the default fleet, one reading of each metric a minute."""
    fleet = default_fleet()[:devices]
    start = day_start(START)
    found: list[tuple[Device, dict[str, Any], NDArray[np.float32]]] = []
    times = np.arange(start, start + days * DAY_MS, WINDOW_MS, dtype=np.int64)
    for device, readings in zip(fleet, FleetSimulation(fleet, seed=5).advance(times), strict=True):
        n, m = readings.values.shape
        aggregate = aggregate_windows(
            np.repeat(times, m), list(readings.metric_names) * n, readings.values.ravel().astype(float), WINDOW_MS
        )
        columns = snapshot_columns(device.device_id, aggregate, WINDOW_MS)
        series = series_from_columns(device.device_id, device.device_type, columns)
        registered = Device(device.device_id, device.device_type, device.location, device.building_id, start, start, 0)
        found.append((registered, columns, StateEncoder().encode(series)))
    return found


def write(store: CqlStore, device: Device, columns: dict[str, Any], vectors: NDArray[np.float32], rows: slice) -> None:
    store.register_devices([device])
    part = {name: values[rows] for name, values in columns.items()}
    store.upsert("device_state_snapshots", part)
    keys = {name: part[name] for name in ("device_id", "snapshot_time")}
    n = len(part["snapshot_time"])
    store.update("device_state_snapshots", {**keys, "embedding": vectors[rows], "embedding_method": [METHOD] * n})


def seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def run(hosts: Sequence[str], port: int, *, days: int = 7, queries: int = 50, devices: int = 5) -> dict[str, float]:
    """Recall and latency of every device, and what the choice between index and pass rests on."""
    keyspace = f"hvac_recall_{secrets.token_hex(4)}"
    store = CqlStore(CqlSettings(tuple(hosts), port=port, keyspace=keyspace, replication_factor=1))
    recalls: dict[str, float] = {}
    try:
        history = slice(0, days * 1440)
        fleet = states(days + 1, devices)
        for device, columns, vectors in fleet:
            for first in range(0, history.stop, ROWS_AT_ONCE):
                write(store, device, columns, vectors, slice(first, min(first + ROWS_AT_ONCE, history.stop)))
        chosen = np.linspace(0, 1439, queries).astype(int)
        for where in ("just written", "flushed", "compacted"):
            if where == "flushed":
                flush(store, keyspace)
            elif where == "compacted":
                compact(store, keyspace)
            milliseconds: list[float] = []
            for device, _, vectors in fleet:
                query = NearestQuery(device.device_id, vectors[days * 1440 :][chosen], NEIGHBOURS, METHOD)
                recall = asked(store, query, milliseconds)
                recalls[f"{device.device_id}, {where}"] = recall
                say(f"recall@{NEIGHBOURS}, {device.device_id}, {where}", f"{recall:.4f}", "aim >= 0.95")
            p50, p99 = np.percentile(milliseconds, [50, 99])
            say(f"one query over {days} days of one device, {where}", f"{p50:.1f} ms", f"p99 {p99:.1f} ms")
            costs(store, query, days)
        return recalls
    finally:
        store._client.execute_once(f"DROP KEYSPACE {keyspace}", timeout=60)
        store.close()


def flush(store: CqlStore, keyspace: str) -> None:
    """Memtables to disk, where the server has the option (Cassandra)."""
    for table in (VECTOR_TABLE, "device_state_snapshots"):
        alter = f"ALTER TABLE {keyspace}.{table} WITH memtable_flush_period_in_ms ="
        store._client.execute_once(f"{alter} 1000", timeout=60)
        time.sleep(8)
        store._client.execute_once(f"{alter} 0", timeout=600)  # it waits for the flush


def compact(store: CqlStore, keyspace: str) -> None:
    """What is on disk, written anew: a table of another strategy is compacted by the server by itself."""
    client, name = store._client, VECTOR_TABLE
    for strategy in ("LeveledCompactionStrategy", "SizeTieredCompactionStrategy', 'min_threshold': '2"):
        client.execute_once(f"ALTER TABLE {keyspace}.{name} WITH compaction = {{'class': '{strategy}'}}", timeout=60)
        deadline = time.monotonic() + COMPACTION_SECONDS
        quiet = 0
        while quiet < 5 and time.monotonic() < deadline:
            time.sleep(2)
            tasks = list(client.execute_once("SELECT * FROM system_views.sstable_tasks", timeout=60))
            quiet = 0 if tasks else quiet + 1
    done = client.execute_once(
        "SELECT keyspace_name, columnfamily_name, bytes_out FROM system.compaction_history", timeout=60
    )
    sizes = [row[2] for row in map(tuple, done) if tuple(row)[:2] == (keyspace, name)]
    say(f"compactions of {name}", str(len(sizes)), f"the largest wrote {max(sizes, default=0) / 1e6:.0f} MB")


def asked(store: CqlStore, query: NearestQuery, milliseconds: list[float]) -> float:
    """Recall of single queries by the index; their times are added to the list."""
    exact = store._nearest.by_pass(query).similarity
    dates = [date for _, date in store._device_dates(cql_nearest._slice(query))]
    found = []
    for i in range(len(query.vectors)):
        began = time.perf_counter()
        found.append(store._nearest._by_index(query.part(i), dates).similarity[0])
        milliseconds.append(1000 * (time.perf_counter() - began))
    return float((np.array(found) >= exact[:, -1:] - 1e-6).mean())


def costs(store: CqlStore, whole: NearestQuery, days: int) -> None:
    """What a search of one day and a pass over one day cost: the constants of ``cql_nearest`` come from here."""
    passes = [seconds_of(lambda: store._nearest.by_pass(whole)) / days for _ in range(3)]
    say(
        "exact pass over one device-day", f"{1000 * np.median(passes):.1f} ms", f"for 1 or {len(whole.vectors)} queries"
    )
    dates = [date for _, date in store._device_dates(cql_nearest._slice(whole))]
    found = []
    for k in (5, 50, 250):
        query = replace(whole, k=k)
        parts = [query.part(i) for i in range(10)]
        each = [seconds_of(partial(store._nearest._by_index, part, dates)) / days for part in parts]
        found.append((cql_nearest._fetch(query), float(np.median(each))))
        say(f"index search of one day, {found[-1][0]} candidates", f"{1000 * found[-1][1]:.2f} ms")
    candidates, seconds = np.array(found).T
    slope, start = np.polyfit(candidates, seconds, 1)
    pass_cost = np.median(passes) / start
    say("a pass costs as much as so many searches", f"{pass_cost:.1f}", f"EXACT_COST is {cql_nearest.EXACT_COST}")
    say("a candidate costs so many searches", f"{slope / start:.4f}", f"ROW_COST is {cql_nearest.ROW_COST}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", default="127.0.0.1")
    parser.add_argument("--port", type=int, help="of a running server; starts a Cassandra when absent")
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--devices", type=int, default=5, help="of the default fleet, the first ones")
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--overfetch", type=int, help="candidates for each neighbour, in place of the store's own")
    arguments = parser.parse_args()
    if arguments.overfetch:
        cql_nearest.OVERFETCH = arguments.overfetch
    with contextlib.nullcontext(arguments.port) if arguments.port else own_cassandra() as port:
        hosts = arguments.hosts.split(",")
        run(hosts, port, days=arguments.days, queries=arguments.queries, devices=arguments.devices)


if __name__ == "__main__":
    main()
