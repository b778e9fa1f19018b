"""What detection has to do: windows that are complete and whose content nobody has judged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvac_platform.config import Settings
from hvac_platform.ingestion.windows import complete_until
from hvac_platform.stores.base import Device, Store
from hvac_platform.timestamps import DAY_MS, day_of


@dataclass(frozen=True, slots=True)
class Pending:
    """What there is to judge at one moment.

    Attributes:
        by_day: devices with complete, unjudged windows, by the UTC day of those.
        waiting: device-days all of whose unjudged windows are still open.
    """

    by_day: dict[str, list[str]]
    waiting: int


def completeness_limits(store: Store, devices: Iterable[Device], settings: Settings, now_ms: int) -> dict[str, int]:
    """By device, windows that end at or before this instant are complete; the ledger is read once."""
    ledger = store.ledger(settings.kafka_topic)
    return {
        device.device_id: complete_until(
            entry.watermark if (entry := ledger.get(device.kafka_partition)) else None,
            device.last_seen,
            now_ms,
            caught_up_at=entry.caught_up_at if entry else None,
            allowed_lateness_ms=settings.allowed_lateness_ms,
            silence_ms=settings.silence_ms,
        )
        for device in devices
    }


def pending(store: Store, settings: Settings, now_ms: int) -> Pending:
    """Days and devices that have something to judge.

    One read of unjudged windows; where there are any, one of the registry and one of the ledger.
    """
    earliest: dict[tuple[str, int], int] = {}
    for batch in store.unjudged():
        days = np.asarray(batch["snapshot_time"], dtype=np.int64) // DAY_MS
        ends = np.asarray(batch["snapshot_time"], dtype=np.int64) + np.asarray(batch["window_ms"], dtype=np.int64)
        for device_id, day, end_ms in zip(batch["device_id"], days.tolist(), ends.tolist(), strict=True):
            earliest[device_id, day] = min(earliest.get((device_id, day), end_ms), end_ms)
    if not earliest:
        return Pending({}, 0)
    limits = completeness_limits(store, store.devices(), settings, now_ms)
    by_day: dict[str, list[str]] = {}
    waiting = 0
    for (device_id, day), end_ms in earliest.items():
        limit = limits.get(device_id)
        if limit is None:
            continue
        if end_ms <= limit:
            by_day.setdefault(day_of(day * DAY_MS), []).append(device_id)
        else:
            waiting += 1
    return Pending(dict(sorted(by_day.items())), waiting)


def unjudged_windows(
    store: Store, device_id: str, start_ms: int, end_ms: int, complete_until_ms: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts of the unjudged windows of a device in [start_ms, end_ms): those that are complete, and those still open."""
    starts: list[int] = []
    lengths: list[int] = []
    for batch in store.unjudged(device_id, start_ms, end_ms):
        starts += batch["snapshot_time"]
        lengths += batch["window_ms"]
    times = np.array(starts, dtype=np.int64)
    complete = times + np.array(lengths, dtype=np.int64) <= complete_until_ms
    return times[complete], times[~complete]


def latest_stretch(days: Sequence[str]) -> list[str]:
    """The last of some UTC days in order, with those that precede it without a gap.

    >>> latest_stretch(["2025-01-01", "2026-02-28", "2026-03-01"])
    ['2026-02-28', '2026-03-01']
    """
    numbers = np.array(days, dtype="datetime64[D]").astype(np.int64)
    breaks = np.flatnonzero(np.diff(numbers) != 1)
    return list(days[int(breaks[-1]) + 1 :] if len(breaks) else days)
