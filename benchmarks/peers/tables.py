"""Rows of the platform's tables as a careful program writes them with cassandra-driver alone, and its windows.

Prepared statements, UNLOGGED batches of 200 rows of one partition, 32 in flight, TCP_NODELAY; an INSERT a snapshot, one a
vector. Windows of 60 s are kept as sums in dictionaries and are complete 30 s after their end by the newest message.
"""

import json
import math
import socket
import zlib
from datetime import UTC, datetime

from cassandra.cluster import Cluster
from cassandra.concurrent import execute_concurrent, execute_concurrent_with_args
from cassandra.query import BatchStatement, BatchType, PreparedStatement

WINDOW_MS, LATENESS_MS, DAY_MS = 60_000, 30_000, 86_400_000
BATCH_ROWS, CONCURRENCY, DIMENSION = 200, 32, 384


class Tables:
    """The tables of a keyspace."""

    def __init__(self, hosts: str, port: int, keyspace: str) -> None:
        nodelay = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        self._cluster = Cluster(hosts.split(","), port=port, sockopts=nodelay)
        self._session = self._cluster.connect(keyspace)
        self._raw = self._prepared("device_metrics_raw", "device_id date timestamp metric_name metric_value unit")
        self._snapshot = self._prepared(
            "device_state_snapshots",
            "device_id date snapshot_time window_ms metrics metric_summary completeness revision embedding embedding_method",
        )
        self._vector = self._prepared("snapshot_vectors", "device_id date snapshot_time embedding embedding_method")
        self._days = {}

    def _prepared(self, table: str, names: str) -> PreparedStatement:
        columns = names.split()
        marks = ", ".join("?" * len(columns))
        return self._session.prepare(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})")

    def day(self, time_ms: int) -> str:
        """UTC day of an instant."""
        number = time_ms // DAY_MS
        if number not in self._days:
            self._days[number] = datetime.fromtimestamp(number * 86_400, UTC).date().isoformat()
        return self._days[number]

    def write_raw(self, rows: list[tuple]) -> None:
        """Readings (device, time, metric, value, unit)."""
        partitions: dict[tuple, list[tuple]] = {}
        for device, at, metric, value, unit in rows:
            date = self.day(at)
            partitions.setdefault((device, date), []).append((device, date, at, metric, value, unit))
        calls = []
        for kept in partitions.values():
            for first in range(0, len(kept), BATCH_ROWS):
                batch = BatchStatement(BatchType.UNLOGGED)
                for row in kept[first : first + BATCH_ROWS]:
                    batch.add(self._raw, row)
                calls.append((batch, None))
        execute_concurrent(self._session, calls, concurrency=CONCURRENCY, raise_on_first_error=True)

    def write_windows(self, windows: list[tuple]) -> None:
        """Windows (device, start, sums by metric), each sum [total, count, least, greatest, last]."""
        snapshots, vectors = [], []
        for device, start, sums in windows:
            date = self.day(start)
            means = {name: entry[0] / entry[1] for name, entry in sums.items()}
            summary = json.dumps(
                {name: {"count": e[1], "min": e[2], "max": e[3], "last": e[4]} for name, e in sums.items()}
            )
            length = math.sqrt(sum(value * value for value in means.values())) or 1.0
            vector = [value / length for value in means.values()]
            vector += [0.0] * (DIMENSION - len(vector))
            revision = zlib.crc32(summary.encode())
            snapshots.append((device, date, start, WINDOW_MS, means, summary, 1.0, revision, vector, "state-1"))
            vectors.append((device, date, start, vector, "state-1"))
        execute_concurrent_with_args(self._session, self._snapshot, snapshots, concurrency=CONCURRENCY)
        execute_concurrent_with_args(self._session, self._vector, vectors, concurrency=CONCURRENCY)

    def close(self) -> None:
        """Release the connections."""
        self._cluster.shutdown()


def add(sums: dict, metric: str, value: float) -> dict:
    """Count a reading in a window's sums."""
    entry = sums.get(metric)
    if entry is None:
        sums[metric] = [value, 1, value, value, value]
    else:
        entry[0] += value
        entry[1] += 1
        entry[2] = min(entry[2], value)
        entry[3] = max(entry[3], value)
        entry[4] = value
    return sums


def epoch_ms(text: str) -> int:
    """Epoch milliseconds of an RFC 3339 time."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)
