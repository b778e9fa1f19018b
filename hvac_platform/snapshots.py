"""One device's snapshots as arrays: the unit that windows produce and detectors consume."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]

EMBEDDING_DIMENSION = 384
"""Length of the vector of a state, in every encoder and every store."""


@dataclass(frozen=True, slots=True)
class SnapshotSeries:
    """State snapshots of one device in time order; n snapshots, m metrics.

    Attributes:
        device_id: the device.
        device_type: canonical device type, e.g. ``rooftop_unit``.
        times_ms: int64 [n], start of each window, epoch milliseconds UTC, strictly increasing.
        metric_names: m names, in the order of the columns below.
        mean: float64 [n, m], mean of the readings in the window; NaN where the metric is absent.
        count: int64 [n, m], number of readings in the window.
        minimum: float64 [n, m], smallest reading in the window.
        maximum: float64 [n, m], largest reading in the window.
        last: float64 [n, m], latest reading in the window.
        window_ms: length of a window in milliseconds.
        embeddings: float32 [n, 384] unit vectors, or None where they were not read.
    """

    device_id: str
    device_type: str
    times_ms: Int64
    metric_names: tuple[str, ...]
    mean: Float64
    count: Int64
    minimum: Float64
    maximum: Float64
    last: Float64
    window_ms: int = 60_000
    embeddings: Float32 | None = field(default=None)

    def __len__(self) -> int:
        """Number of snapshots."""
        return len(self.times_ms)

    def column(self, metric_name: str) -> Float64:
        """Mean of one metric, float64 [n]; all NaN when the device does not report it."""
        if metric_name not in self.metric_names:
            return np.full(len(self), np.nan)
        return self.mean[:, self.metric_names.index(metric_name)]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The k nearest stored states of each of n queries, nearest first; absent ones are time -1, similarity NaN."""

    times_ms: Int64
    similarity: Float64
    anomalous: NDArray[np.bool_]


def select(series: SnapshotSeries, rows: NDArray[Any] | slice) -> SnapshotSeries:
    """Some snapshots of a series, by mask, by index or by slice."""
    if isinstance(rows, slice) and rows.indices(len(series)) == (0, len(series), 1):
        return series
    return SnapshotSeries(
        series.device_id,
        series.device_type,
        series.times_ms[rows],
        series.metric_names,
        series.mean[rows],
        series.count[rows],
        series.minimum[rows],
        series.maximum[rows],
        series.last[rows],
        series.window_ms,
        None if series.embeddings is None else series.embeddings[rows],
    )
