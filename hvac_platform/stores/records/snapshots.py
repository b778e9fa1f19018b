"""States of devices, window by window, and the days whose states wait for an embedding."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hvac_platform.stores.records.record import Record


@dataclass(frozen=True, slots=True)
class Snapshot(Record):
    """State of a device over one window; many at once are read as arrays, see :mod:`hvac_platform.stores.series`.

    Attributes:
        metric_summary: [count, minimum, maximum, last] of the readings, by metric.
        embedding: float32 [384], unit length.
    """

    TABLE = "device_state_snapshots"

    device_id: str
    date: str
    snapshot_time: int
    window_ms: int
    metrics: dict[str, float]
    metric_summary: dict[str, list[float]]
    completeness: float
    revision: int
    judged_revision: int | None
    embedding: NDArray[np.float32] | None = field(compare=False)
    embedding_method: str | None
    is_anomalous: bool | None
    anomaly_score: float | None


@dataclass(frozen=True, slots=True)
class BacklogDay(Record):
    """A device-day with snapshots that are still without an embedding."""

    TABLE = "embedding_backlog"

    device_id: str
    date: str
    since: int
    reason: str
