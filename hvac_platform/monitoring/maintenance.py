"""Maintenance spans: work on a machine that is known of, in which nothing alarms and nothing is learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvac_platform.stores.base import Store, TableSlice


@dataclass(frozen=True, slots=True)
class MaintenanceSpan:
    """Half-open span [start, end) of epoch milliseconds in which a device is worked on."""

    device_id: str
    start_ms: int
    end_ms: int
    note: str


def maintenance_spans(store: Store, device_id: str | None = None) -> list[MaintenanceSpan]:
    """Spans of a device, or of all devices."""
    names = ("device_id", "starts_at", "ends_at", "note")
    return [
        MaintenanceSpan(*row)
        for batch in store.scan(TableSlice("maintenance_spans", names, device_id))
        for row in zip(*(batch[name] for name in names), strict=True)
    ]


def in_maintenance(times_ms: NDArray[np.int64], spans: Sequence[MaintenanceSpan]) -> NDArray[np.bool_]:
    """Windows that start within a span, bool [n].

    >>> in_maintenance(np.array([0, 60_000, 120_000]), [MaintenanceSpan("d", 60_000, 120_000, "")]).tolist()
    [False, True, False]
    """
    inside = np.zeros(len(times_ms), dtype=np.bool_)
    for span in spans:
        inside |= (times_ms >= span.start_ms) & (times_ms < span.end_ms)
    return inside
