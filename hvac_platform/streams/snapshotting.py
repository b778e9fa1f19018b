"""From slices of raw readings to rows of snapshots, and from those to their embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from hvac_platform.devices.registry import device_type
from hvac_platform.embedding.base import Encoder, EncoderUnavailableError
from hvac_platform.io_managers.slices import DeviceSlice, TableBatch
from hvac_platform.snapshots import SnapshotSeries
from hvac_platform.stores.base import Store, TableSlice
from hvac_platform.stores.series import STATE_COLUMNS, series_from_columns
from hvac_platform.streams.windows import aggregate_windows, snapshot_columns
from hvac_platform.timestamps import day_of, day_windows, now_ms

ENCODED_SNAPSHOTS = 1440
BACKLOG_SNAPSHOTS = 5000  # two to eight minutes of a text model on two cores


@dataclass
class SnapshotCounts:
    """How many windows were written, and how many of them hold less than the expected readings."""

    windows: int = 0
    partial: int = 0


def snapshot_batches(
    slices: Iterable[DeviceSlice], device_types: Mapping[str, str], window_ms: int, counts: SnapshotCounts
) -> Iterator[TableBatch]:
    """Rows of ``device_state_snapshots`` for every window of some slices of raw readings.

    Args:
        slices: slices of ``device_metrics_raw``.
        device_types: device type by device id.
        window_ms: length of a window.
        counts: filled as batches pass.
    """
    for part in slices:
        rows = part.columns("timestamp", "metric_name", "metric_value")
        if not rows["timestamp"]:
            continue
        aggregate = aggregate_windows(
            np.array(rows["timestamp"], dtype=np.int64),
            rows["metric_name"],
            np.array(rows["metric_value"], dtype=np.float64),
            window_ms,
        )
        declared = device_type(device_types.get(part.device_id, ""))
        columns = snapshot_columns(part.device_id, aggregate, window_ms, len(declared.metric_names) if declared else 0)
        counts.windows += len(aggregate.starts_ms)
        counts.partial += int((columns["completeness"] < 1).sum())
        yield TableBatch(columns)


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


def embedding_batches(
    slices: Iterable[DeviceSlice],
    device_types: Mapping[str, str],
    encoder: Encoder,
    counts: EmbeddingCounts,
) -> Iterator[TableBatch]:
    """Embeddings of the snapshots of some slices, as updates of ``device_state_snapshots``.

    Where the encoder's server is unavailable, the vector of an older content is withdrawn, and the device-day goes to
    ``embedding_backlog``; the server is not asked again for these slices.
    """
    for part in slices:
        columns = part.columns(*STATE_COLUMNS)
        for first in range(0, len(columns["snapshot_time"]), ENCODED_SNAPSHOTS):
            some = {name: values[first : first + ENCODED_SNAPSHOTS] for name, values in columns.items()}
            series = series_from_columns(part.device_id, device_types.get(part.device_id, ""), some)
            encoded = _encoded(series, encoder, counts)
            if encoded is not None:
                yield encoded
                continue
            counts.waiting += len(series)
            yield TableBatch(
                {
                    "device_id": [part.device_id] * len(series),
                    "snapshot_time": series.times_ms,
                    "embedding_method": [None] * len(series),
                },
                action="update",
            )
            days = sorted({day_of(int(t)) for t in series.times_ms})
            yield TableBatch(
                {
                    "device_id": [part.device_id] * len(days),
                    "date": days,
                    "since": [now_ms()] * len(days),
                    "reason": [counts.outage[:500]] * len(days),
                },
                table="embedding_backlog",
            )


def backlog_batches(
    store: Store,
    device_types: Mapping[str, str],
    encoder: Encoder,
    window_ms: int,
    counts: EmbeddingCounts,
    most: int = BACKLOG_SNAPSHOTS,
) -> Iterator[TableBatch]:
    """Embeddings that earlier runs left out, at most about ``most`` of them, so that a run after a long outage ends in time.

    The verdict of vector search on these windows is taken back, which makes them unjudged again.
    """
    days = [
        (device_id, date)
        for batch in store.scan(TableSlice("embedding_backlog", ("device_id", "date")))
        for device_id, date in zip(batch["device_id"], batch["date"], strict=True)
    ]
    for device_id, date in sorted(days, key=lambda day: (day[1], day[0])):
        if counts.outage:
            return
        columns = DeviceSlice(store, "device_state_snapshots", device_id, *day_windows(date, window_ms)).columns(
            *STATE_COLUMNS, "embedding_method"
        )
        left = [i for i, method in enumerate(columns["embedding_method"]) if method is None]
        for first in range(0, len(left), ENCODED_SNAPSHOTS):
            if counts.caught_up >= most:
                return
            rows = left[first : first + ENCODED_SNAPSHOTS]
            some = {name: [columns[name][i] for i in rows] for name in STATE_COLUMNS}
            series = series_from_columns(device_id, device_types.get(device_id, ""), some)
            batch = _encoded(series, encoder, counts)
            if batch is None:
                return
            yield batch
            counts.caught_up += len(batch.columns["snapshot_time"])
            verdicts = {name: batch.columns[name] for name in ("device_id", "snapshot_time")}
            yield TableBatch(
                {**verdicts, "method": ["vector"] * len(batch.columns["snapshot_time"])},
                table="snapshot_verdicts",
                action="delete",
            )
            yield TableBatch(
                {"device_id": [device_id], "date": [date], "snapshots_written_at": [now_ms()]}, table="device_days"
            )
        yield TableBatch({"device_id": [device_id], "date": [date]}, table="embedding_backlog", action="delete")


def _encoded(series: SnapshotSeries, encoder: Encoder, counts: EmbeddingCounts) -> TableBatch | None:
    """Vectors of some snapshots as an update; None when the encoder's server is (or was just) unavailable."""
    if counts.outage:
        return None
    try:
        vectors = encoder.encode(series)
    except EncoderUnavailableError as error:
        counts.outage = str(error)
        return None
    good = np.isfinite(vectors).all(axis=1)
    n = int(good.sum())
    counts.encoded += n
    counts.refused += len(series) - n
    return TableBatch(
        {
            "device_id": [series.device_id] * n,
            "snapshot_time": series.times_ms[good],
            "embedding": vectors[good],
            "embedding_method": [encoder.method] * n,
        },
        action="update",
    )
