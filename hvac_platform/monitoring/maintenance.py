"""Maintenance spans: work on a machine that is known of, in which nothing alarms and nothing is learned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from hvac_platform.stores.base import Store, StoreError
from hvac_platform.stores.records import MaintenanceSpan
from hvac_platform.timestamps import DAY_MS, iso

LONGEST_MS = 366 * DAY_MS


class MaintenanceError(StoreError):
    """A span can't be entered; the message says why."""


def enter(store: Store, device_id: str, start_ms: int, end_ms: int, note: str, at_ms: int) -> MaintenanceSpan:
    """Enter known work on a device.

    Raises:
        MaintenanceError: it ends before it begins, lasts for more than a year, or begins with one that is there.
    """
    if end_ms <= start_ms:
        raise MaintenanceError(f"maintenance from {iso(start_ms)} can't end at {iso(end_ms)}")
    if end_ms - start_ms > LONGEST_MS:
        raise MaintenanceError("maintenance of more than a year is no maintenance: hvac devices retire")
    there = [span for span in MaintenanceSpan.read(store, device_id) if span.starts_at == start_ms]
    if there and (there[0].ends_at, there[0].note) != (end_ms, note):
        raise MaintenanceError(
            f"there is maintenance of {device_id} from {iso(start_ms)} to {iso(there[0].ends_at)} already"
            f"{f', {there[0].note!r}' if there[0].note else ''}: begin a minute apart, or take that back first "
            f"(hvac maintenance remove {device_id} --from {iso(start_ms)[:16].replace(' ', 'T')})"
        )
    span = MaintenanceSpan(device_id, start_ms, end_ms, note, added_at=at_ms)
    store.upsert(MaintenanceSpan.TABLE, MaintenanceSpan.columns([span]))
    return span


def within(times_ms: NDArray[np.int64], spans: Iterable[tuple[int, int]]) -> NDArray[np.bool_]:
    """Instants that lie in one of some half-open spans, bool [n].

    >>> within(np.array([0, 60_000, 120_000]), [(60_000, 120_000)]).tolist()
    [False, True, False]
    """
    inside = np.zeros(len(times_ms), dtype=np.bool_)
    for start_ms, end_ms in spans:
        inside |= (times_ms >= start_ms) & (times_ms < end_ms)
    return inside


def in_maintenance(times_ms: NDArray[np.int64], spans: Sequence[MaintenanceSpan]) -> NDArray[np.bool_]:
    """Windows that start within a span, bool [n].

    >>> in_maintenance(np.array([0, 60_000, 120_000]), [MaintenanceSpan("d", 60_000, 120_000, "", 0)]).tolist()
    [False, True, False]
    """
    return within(times_ms, ((span.starts_at, span.ends_at) for span in spans))


def wholly_in_maintenance(start_ms: int, end_ms: int, window_ms: int, spans: Sequence[MaintenanceSpan]) -> bool:
    """Whether every window that starts in [start_ms, end_ms) does so within a span."""
    return bool(in_maintenance(np.arange(start_ms, end_ms, window_ms, dtype=np.int64), spans).all())
