"""From slices of raw readings to rows of snapshots, and from those to their embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from hvac_platform.devices.registry import device_type
from hvac_platform.embedding.base import Encoder
from hvac_platform.io_managers.slices import DeviceSlice, TableBatch
from hvac_platform.stores.series import STATE_COLUMNS, series_from_columns
from hvac_platform.streams.windows import aggregate_windows, snapshot_columns


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


def embedding_batches(
    slices: Iterable[DeviceSlice], device_types: Mapping[str, str], encoder: Encoder
) -> Iterator[TableBatch]:
    """Embeddings of the snapshots of some slices, as updates of ``device_state_snapshots``."""
    for part in slices:
        columns = part.columns(*STATE_COLUMNS)
        if not columns["snapshot_time"]:
            continue
        series = series_from_columns(part.device_id, device_types.get(part.device_id, ""), columns)
        yield TableBatch(
            {
                "device_id": [part.device_id] * len(series),
                "snapshot_time": series.times_ms,
                "embedding": encoder.encode(series),
                "embedding_method": [encoder.method] * len(series),
            },
            action="update",
        )
