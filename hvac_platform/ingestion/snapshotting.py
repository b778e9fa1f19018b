"""From slices of snapshots to their embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hvac_platform.coding import coded_as
from hvac_platform.detection import methods
from hvac_platform.embedding.base import Encoder, EncoderUnavailableError
from hvac_platform.embedding.learned import Encoders
from hvac_platform.ingestion.windows import WindowAggregate, aggregate_windows
from hvac_platform.snapshots import SnapshotSeries, select
from hvac_platform.stores.base import Device, Store, TableSlice
from hvac_platform.stores.batches import DeviceSlice, TableBatch
from hvac_platform.stores.records import BacklogDay, Reading, Snapshot, Span
from hvac_platform.stores.series import read_series
from hvac_platform.stores.window_lengths import WindowOf
from hvac_platform.timestamps import day_of, day_windows, now_ms

ENCODED_SNAPSHOTS, ENCODED_READINGS = 1440, 1_000_000  # at once; the latter bounds devices of thousands of metrics
BACKLOG_SNAPSHOTS = 5000  # two to eight minutes of a text model on two cores


@dataclass
class SnapshotCounts:
    """How many windows were written, and how many of them hold less than the expected readings."""

    windows: int = 0
    partial: int = 0

    def add(self, other: SnapshotCounts) -> None:
        """Count what was counted elsewhere as well."""
        self.windows += other.windows
        self.partial += other.partial


def read_aggregate(store: Store, device_id: str, span: Span, window_ms: int) -> WindowAggregate | None:
    """Raw readings of a device in a span, aggregated by window; None where there are none."""
    times: list[int] = []
    names: list[str] = []
    values: list[float] = []
    rows = TableSlice(Reading.TABLE, ("timestamp", "metric_name", "metric_value"), device_id, *span)
    for batch in store.scan(rows):  # columns, for a window may hold thousands of readings
        times += batch["timestamp"]
        names += batch["metric_name"]
        values += batch["metric_value"]
    if not times:
        return None
    return aggregate_windows(np.array(times, dtype=np.int64), names, np.array(values, dtype=np.float64), window_ms)


def read_aggregates(store: Store, spans: Mapping[str, tuple[tuple[int, int], int]]) -> dict[str, WindowAggregate]:
    """What :func:`read_aggregate` gives of several devices, with one read; those without readings are not in it.

    Args:
        store: has the readings.
        spans: span and length of the windows, by device.
    """
    names = ("device_id", "timestamp", "metric_name", "metric_value")
    read = store.scan_spans(Reading.TABLE, names, {device_id: span for device_id, (span, _) in spans.items()})
    ids, times = read["device_id"], np.array(read["timestamp"], dtype=np.int64)
    metrics, values = read["metric_name"], np.array(read["metric_value"], dtype=np.float64)
    edges = np.flatnonzero(np.diff(coded_as(ids).codes, prepend=-1, append=-1)).tolist()  # a device's are together
    return {
        ids[begin]: aggregate_windows(times[begin:end], metrics[begin:end], values[begin:end], spans[ids[begin]][1])
        for begin, end in pairwise(edges)
    }


def whole_windows(start_ms: int, end_ms: int, window_ms: int) -> tuple[int, int]:
    """A span with the whole of the windows that it reaches into.

    >>> whole_windows(180_000, 660_000, 300_000)
    (0, 900000)
    """
    return start_ms - start_ms % window_ms, end_ms + -end_ms % window_ms


def snapshots_at_once(context_windows: int, metrics: int) -> int:
    """How many snapshots are encoded at once, where an encoder wants to see so many of those before."""
    return min(ENCODED_SNAPSHOTS, max(1, context_windows, ENCODED_READINGS // max(1, metrics)))


@dataclass
class EmbeddingCounts:
    """What became of snapshots that were to be encoded.

    Attributes:
        encoded: snapshots that got a vector.
        caught_up: those of them that earlier runs had to leave without one.
        refused: snapshots that the encoder can't take at all.
        waiting: snapshots left without a vector because the encoder's server was unavailable.
        outage: why it was; empty when it wasn't.
    """

    encoded: int = 0
    caught_up: int = 0
    refused: int = 0
    waiting: int = 0
    outage: str = ""

    def add(self, other: EmbeddingCounts) -> None:
        """Count what was counted elsewhere as well; what waited there has been caught up with, or waits here."""
        self.encoded += other.encoded
        self.refused += other.refused


def embedding_batches(
    slices: Iterable[DeviceSlice],
    device_types: Mapping[str, str],
    encoders: Encoders,
    counts: EmbeddingCounts,
) -> Iterator[TableBatch]:
    """Embeddings of the snapshots of some slices, as updates of ``device_state_snapshots``.

    Where the encoder's server is unavailable, the vector of an older content is withdrawn, and the device-day goes to
    ``embedding_backlog``; the server is not asked again for these slices.
    """
    for part in slices:
        encoder = encoders.of(part.device_id)
        for series, wanted in _in_context(part, device_types.get(part.device_id, ""), encoder.context_windows):
            encoded = _encoded(series, wanted, encoder, counts)
            if encoded is not None:
                yield encoded
                continue
            times_ms = series.times_ms[wanted]
            counts.waiting += len(times_ms)
            yield TableBatch(
                {
                    "device_id": [part.device_id] * len(times_ms),
                    "snapshot_time": times_ms,
                    "embedding_method": [None] * len(times_ms),
                },
                action="update",
            )
            days = sorted({day_of(int(t)) for t in times_ms})
            yield TableBatch(
                {
                    "device_id": [part.device_id] * len(days),
                    "date": days,
                    "since": [now_ms()] * len(days),
                    "reason": [counts.outage[:500]] * len(days),
                },
                table="embedding_backlog",
            )


def _in_context(
    part: DeviceSlice, device_type: str, context_windows: int
) -> Iterator[tuple[SnapshotSeries, NDArray[np.bool_]]]:
    """Snapshots of a slice, some at a time, each time with those before them that their encoder wants to see.

    Yields series and bool [n], which of its snapshots are to be encoded.
    """
    times: list[int] = []
    longest_ms = 0
    for batch in part.store.scan(
        TableSlice(Snapshot.TABLE, ("snapshot_time", "window_ms"), part.device_id, *part.span)
    ):
        times += batch["snapshot_time"]
        longest_ms = max(longest_ms, *batch["window_ms"])
    if not times:
        return
    times.sort()
    before_ms = times[0] - context_windows * longest_ms
    before = Snapshot.times(part.store, part.device_id, (before_ms, part.start_ms)).tolist()
    ahead, together = len(before), before + times
    width = len(_read(part, device_type, times[0], times[0] + 1).metric_names)
    at_once = snapshots_at_once(context_windows, width)
    for first in range(ahead, len(together), at_once):
        begin, end = max(0, first - context_windows), min(first + at_once, len(together))
        series = _read(part, device_type, together[begin], together[end - 1] + 1)
        yield series, series.times_ms >= together[first]


def _read(part: DeviceSlice, device_type: str, start_ms: int, end_ms: int) -> SnapshotSeries:
    return read_series(part.store, part.device_id, device_type, start_ms, end_ms)


def reembedding_batches(
    store: Store, device: Device, encoder: Encoder, start_ms: int, end_ms: int, counts: EmbeddingCounts
) -> Iterator[TableBatch]:
    """Embeddings, by one encoder, of a device's snapshots between two instants, as updates of ``device_state_snapshots``."""
    part = DeviceSlice(store, "device_state_snapshots", device.device_id, start_ms, end_ms)
    for series, wanted in _in_context(part, device.device_type, encoder.context_windows):
        encoded = _encoded(series, wanted, encoder, counts)
        if encoded is not None:
            yield replace(encoded, table="device_state_snapshots")


def backlog_batches(
    store: Store,
    device_types: Mapping[str, str],
    encoders: Encoders,
    window_of: WindowOf,
    counts: EmbeddingCounts,
    most: int = BACKLOG_SNAPSHOTS,
) -> Iterator[TableBatch]:
    """Embeddings that earlier runs left out, at most about ``most`` of them, so that a run after a long outage ends in time.

    The verdict of vector search on these windows is taken back, which makes them unjudged again.
    """
    for day in sorted(BacklogDay.read(store), key=lambda day: (day.date, day.device_id)):
        device_id, date = day.device_id, day.date
        if counts.outage:
            return
        encoder = encoders.of(device_id)
        part = DeviceSlice(store, "device_state_snapshots", device_id, *day_windows(date, window_of(device_id)))
        found = Snapshot.read(store, device_id, part.span, only=("snapshot_time", "embedding_method"))
        left = {snapshot.snapshot_time for snapshot in found if snapshot.embedding_method is None}
        for series, whole in _in_context(part, device_types.get(device_id, ""), encoder.context_windows):
            wanted = whole & np.array([t in left for t in series.times_ms.tolist()], dtype=np.bool_)
            if not wanted.any():
                continue
            if counts.caught_up >= most:
                return
            batch = _encoded(series, wanted, encoder, counts)
            if batch is None:
                return
            yield batch
            counts.caught_up += len(batch.columns["snapshot_time"])
            windows = {name: batch.columns[name] for name in ("device_id", "snapshot_time")}
            n = len(windows["snapshot_time"])
            for method in (m for m in methods.METHODS if m.needs_embedding):
                yield TableBatch({**windows, "method": [method.name] * n}, table="snapshot_verdicts", action="delete")
            unjudged = {**windows, "judged_revision": [None] * n}
            yield TableBatch(unjudged, table="device_state_snapshots", action="update")
            yield TableBatch(
                {"device_id": [device_id], "date": [date], "snapshots_written_at": [now_ms()]}, table="device_days"
            )
        yield TableBatch({"device_id": [device_id], "date": [date]}, table="embedding_backlog", action="delete")


def _encoded(
    series: SnapshotSeries, wanted: NDArray[np.bool_], encoder: Encoder, counts: EmbeddingCounts
) -> TableBatch | None:
    """Vectors of the wanted snapshots as an update; None when the encoder's server is (or was just) unavailable."""
    if counts.outage:
        return None
    shown = series if encoder.context_windows else select(series, wanted)
    try:
        vectors = encoder.encode(shown)
    except EncoderUnavailableError as error:
        counts.outage = str(error)
        return None
    if encoder.context_windows:
        vectors = vectors[wanted]
    good = np.isfinite(vectors).all(axis=1)
    n = int(good.sum())
    counts.encoded += n
    counts.refused += len(vectors) - n
    return TableBatch(
        {
            "device_id": [series.device_id] * n,
            "snapshot_time": series.times_ms[wanted][good],
            "embedding": vectors[good],
            "embedding_method": [encoder.method] * n,
        },
        action="update",
    )
