"""Nearest stored states on a CQL cluster: by the vector index where that is cheaper, by an exact pass otherwise.

The index gives candidates; their own vectors, which come with them, rank them exactly. What a filter may have hidden is made
good: where the index gives too few states of the right kind, or fewer than it was asked for, the exact pass takes its place.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.snapshots import Neighbours
from hvac_platform.stores.base import StoreError, TableSlice
from hvac_platform.stores.cql_client import CqlClient
from hvac_platform.stores.cql_schema import VECTOR_TABLE
from hvac_platform.stores.cql_wire import read_vectors, wire_vector
from hvac_platform.stores.vectors import NearestSearch
from hvac_platform.timestamps import DAY_MS, day_start

ANN_LIMIT = 1000
"""Largest LIMIT of an ANN query, on both servers."""
OVERFETCH = 2
"""Candidates asked for each neighbour wanted; what that does to recall is measured by ``benchmarks/recall.py``."""
EXACT_COST = 12
"""A pass over one device-day costs as much as this many index searches of one day (measured, ``benchmarks/recall.py``)."""
ROW_COST = 0.014
"""What one candidate adds to an index search, in searches."""
WINDOW_MS = 60_000
INDEX_PATIENCE_SECONDS = 10.0
INDEX_REST_SECONDS = 60.0
BLOCK_ROWS = 8192

log = logging.getLogger(__name__)
Scan = Callable[[TableSlice, int], Iterator[dict[str, list[Any]]]]


@dataclass(frozen=True)
class NearestQuery:
    """What is searched for.

    Attributes:
        device_id: whose states.
        vectors: float32 [n, 384].
        k: how many for each.
        embedding_method: encoder that wrote the stored vectors.
        start_ms: earliest state considered.
        end_ms: first time no longer considered.
        normal_only: leave flagged states out.
        times_ms: int64 [n], times of the queries, or None.
        exclude_ms: states closer in time than this to their query are left out.
    """

    device_id: str
    vectors: NDArray[np.float32]
    k: int
    embedding_method: str
    start_ms: int | None = None
    end_ms: int | None = None
    normal_only: bool = False
    times_ms: NDArray[np.int64] | None = None
    exclude_ms: int = 0

    def part(self, i: int) -> NearestQuery:
        """The i-th query alone."""
        times = None if self.times_ms is None else self.times_ms[i : i + 1]
        return NearestQuery(
            self.device_id, self.vectors[i : i + 1], self.k, self.embedding_method, self.start_ms, self.end_ms,
            self.normal_only, times, self.exclude_ms,
        )  # fmt: skip

    def search(self) -> NearestSearch:
        """An empty exact search for it."""
        return NearestSearch(self.vectors, self.k, query_times_ms=self.times_ms, exclude_ms=self.exclude_ms)


@dataclass
class Candidates:
    """States that a read gave.

    Attributes:
        times_ms: their times.
        methods: encoder of each.
        vectors: their vectors as bytes.
        flags: whether each is anomalous; None means not known yet.
    """

    times_ms: list[int] = field(default_factory=list)
    methods: list[str | None] = field(default_factory=list)
    vectors: list[bytes | None] = field(default_factory=list)
    flags: list[bool | None] = field(default_factory=list)

    def kept(self, query: NearestQuery) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
        """Times int64 [m], vectors float32 [m, 384], flags [m] of those that count, leaving ``exclude_ms`` aside."""
        wanted = [
            i
            for i, (time_ms, method, vector, flag) in enumerate(
                zip(self.times_ms, self.methods, self.vectors, self.flags, strict=True)
            )
            if vector is not None
            and method == query.embedding_method
            and (query.start_ms is None or time_ms >= query.start_ms)
            and (query.end_ms is None or time_ms < query.end_ms)
            and not (query.normal_only and flag)
        ]
        return (
            np.array([self.times_ms[i] for i in wanted], dtype=np.int64),
            read_vectors([vector for i in wanted if (vector := self.vectors[i]) is not None]),
            np.array([bool(self.flags[i]) for i in wanted], dtype=bool),
        )


class CqlNearest:
    """Search over the snapshots of one keyspace.

    Args:
        client: the connection.
        scan: reads a slice of a table in blocks of so many rows.
        days: (device, date) pairs that a slice concerns.
        separate_vectors: whether the index is on a table of its own, searched day by day (Cassandra), or on the snapshots,
            searched over all days of a device at once (ScyllaDB).
        by_day: search the index on the snapshots day by day as well.
    """

    def __init__(
        self,
        client: CqlClient,
        scan: Scan,
        days: Callable[[TableSlice], list[tuple[str, str]]],
        *,
        separate_vectors: bool,
        by_day: bool = False,
    ) -> None:
        self._client = client
        self._scan = scan
        self._days = days
        self._separate, self._by_day = separate_vectors, separate_vectors or by_day
        self._index_rests_until = 0.0

    def find(self, query: NearestQuery) -> Neighbours:
        """Nearest states of every query vector."""
        days = [date for _, date in self._days(_slice(query))]
        if not days:
            return query.search().result()
        if time.monotonic() >= self._index_rests_until and self.index_is_cheaper(query, len(days)):
            try:
                return _stacked([self._by_index(query.part(i), days) for i in range(len(query.vectors))])
            except StoreError as error:
                # Still being built, or without its vector-store: the answer is the same without it, only slower.
                self._index_rests_until = time.monotonic() + INDEX_REST_SECONDS
                log.warning("the vector index doesn't serve, searching without it: %s", error)
        return self.by_pass(query)

    def index_is_cheaper(self, query: NearestQuery, days: int) -> bool:
        """Whether index searches cost less than reading every vector of the span once.

        In units of one index search of one day: on Cassandra each query searches each day; on ScyllaDB each query is one
        search, whatever the number of days.
        """
        searches = len(query.vectors) * (days if self._by_day else 1)
        return searches * (1 + ROW_COST * _fetch(query)) < EXACT_COST * days

    def by_pass(self, query: NearestQuery, date: str | None = None) -> Neighbours:
        """Exact: every stored vector of the span, or of one day, is compared with every query."""
        search = query.search()
        self._pass_over(query, search, date)
        return search.result()

    def _pass_over(self, query: NearestQuery, search: NearestSearch, date: str | None = None) -> None:
        for columns in self._scan(_slice(query, date), BLOCK_ROWS):
            found = Candidates(
                columns["snapshot_time"], columns["embedding_method"], columns["embedding"], columns["is_anomalous"]
            )
            times, vectors, flags = found.kept(query)
            if len(times):
                search.add(times, vectors, flags)

    # -- index -------------------------------------------------------------------------------------------------------

    def _by_index(self, query: NearestQuery, days: Sequence[str]) -> Neighbours:
        """One query: candidates of every part that the index searches by itself, ranked by their own vectors."""
        parts: Sequence[str | None] = days if self._by_day else [None]
        limits = [_fetch(query, date) for date in parts]
        parts_found = self._candidates(query, parts, limits)
        search = query.search()
        for date, limit, found in zip(parts, limits, parts_found, strict=True):
            times, vectors, flags = found.kept(query)
            enough = int((~_excluded(query, times)).sum()) >= query.k
            # Too few after a full answer: the limit hides states that the filters would keep. Less than a full answer: this
            # part has few states, and reading them all costs little, or its index isn't whole (Cassandra answers while it
            # builds one, with what it has).
            if not enough or len(found.times_ms) < limit:
                self._pass_over(query, search, date)
            else:
                search.add(times, vectors, flags)
        return search.result()

    def _candidates(self, query: NearestQuery, parts: Sequence[str | None], limits: Sequence[int]) -> list[Candidates]:
        vector = wire_vector(query.vectors[0])
        calls = []
        for date, limit in zip(parts, limits, strict=True):
            where, arguments = ("device_id=?", [query.device_id]) if date is None else (
                "device_id=? AND date=?", [query.device_id, date]
            )  # fmt: skip
            table, columns = (VECTOR_TABLE, "") if self._separate else ("device_state_snapshots", ", is_anomalous")
            statement = self._client.prepare(
                f"SELECT snapshot_time, embedding_method, embedding{columns} FROM {self._name(table)} "
                f"WHERE {where} ORDER BY embedding ANN OF ? LIMIT {limit}"
            )
            calls.append((statement, (*arguments, vector)))
        results = self._client.run(calls, patience_seconds=INDEX_PATIENCE_SECONDS, passing=_index_not_ready)
        found = []
        for result in results:
            rows = list(zip(*result, strict=True)) or [(), (), ()]
            flags = list(rows[3]) if len(rows) > 3 else [None] * len(rows[0])
            found.append(Candidates(list(rows[0]), list(rows[1]), list(rows[2]), flags))
        return self._checked(query.device_id, parts, found) if self._separate else found

    def _checked(self, device_id: str, dates: Sequence[str | None], found: Sequence[Candidates]) -> list[Candidates]:
        """Candidates of the vector table with flag and method as their snapshots have them; others drop out.

        Neither is taken from the vector table: to set a flag there, or to withdraw a vector, would make rows without a
        vector in the memtable, which is what that table is there to avoid.
        """
        statement = self._client.prepare(
            f"SELECT snapshot_time, embedding_method, is_anomalous FROM {self._name('device_state_snapshots')} "
            "WHERE device_id=? AND date=? AND snapshot_time IN ?"
        )
        results = iter(
            self._client.run(
                [
                    (statement, (device_id, date, part.times_ms))
                    for date, part in zip(dates, found, strict=True)
                    if part.times_ms
                ]
            )
        )
        checked = []
        for part in found:
            there = {row[0]: row[1:] for row in next(results)} if part.times_ms else {}
            now = [there.get(time_ms, (None, None)) for time_ms in part.times_ms]
            # A vector counts while the snapshot still names the encoder that wrote it.
            methods = [method if state[0] == method else None for method, state in zip(part.methods, now, strict=True)]
            checked.append(Candidates(part.times_ms, methods, part.vectors, [state[1] for state in now]))
        return checked

    def _name(self, table: str) -> str:
        return f"{self._client.settings.keyspace}.{table}"


def _slice(query: NearestQuery, date: str | None = None) -> TableSlice:
    """Vectors of the query's span, or of one day of it."""
    start_ms, end_ms = query.start_ms, query.end_ms
    if date is not None:
        midnight = day_start(date)
        start_ms = midnight if start_ms is None else max(start_ms, midnight)
        end_ms = midnight + DAY_MS if end_ms is None else min(end_ms, midnight + DAY_MS)
    columns = ("snapshot_time", "is_anomalous", "embedding_method", "embedding")
    return TableSlice("device_state_snapshots", columns, query.device_id, start_ms, end_ms)


def _fetch(query: NearestQuery, date: str | None = None) -> int:
    """Candidates to ask for: more than k, and more still where the time around the query will be left out."""
    fetch = OVERFETCH * query.k
    if query.exclude_ms and query.times_ms is not None:
        near = date is None
        if date is not None:
            midnight = day_start(date)
            first, last = int(query.times_ms.min()) - query.exclude_ms, int(query.times_ms.max()) + query.exclude_ms
            near = first < midnight + DAY_MS and last > midnight
        fetch += 2 * query.exclude_ms // WINDOW_MS if near else 0
    return min(ANN_LIMIT, fetch)


def _excluded(query: NearestQuery, times_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
    if not query.exclude_ms or query.times_ms is None:
        return np.zeros(len(times_ms), dtype=bool)
    near: NDArray[np.bool_] = np.abs(times_ms - int(query.times_ms[0])) < query.exclude_ms
    return near


def _index_not_ready(error: Exception) -> bool:
    """Whether a refusal comes from ScyllaDB's vector-store, which answers once it has built the index."""
    return "vector store" in str(error).lower()


def _stacked(found: Sequence[Neighbours]) -> Neighbours:
    return Neighbours(
        np.concatenate([one.times_ms for one in found]),
        np.concatenate([one.similarity for one in found]),
        np.concatenate([one.anomalous for one in found]),
    )
