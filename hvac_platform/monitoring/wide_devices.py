"""Devices of thousands of metrics: which of them are read, so that a device's time and memory are bounded."""

from __future__ import annotations

import numpy as np

from hvac_platform.detection.choosing_metrics import MOST_METRICS, chosen_metrics
from hvac_platform.detection.profile import Profile
from hvac_platform.devices.registry import DeviceType, device_type
from hvac_platform.stores.base import Device, Store, TableSlice
from hvac_platform.stores.series import series_parts

MOST_READ = 2 * MOST_METRICS
"""Twice what a detector judges: counters and metrics that are seldom there are left out afterwards."""
MOST_READINGS = 5_000_000
"""Of a device with more metrics so many readings are read at most, the newest: a snapshot of 5,000 takes 10 ms to read."""
STRETCHES, STRETCH_WINDOWS = 8, 16


def metrics_to_read(
    store: Store, device: Device, start_ms: int, end_ms: int, profile: Profile | None = None
) -> frozenset[str] | None:
    """Metrics of a device to read between two instants; None for all, as for every device of at most 380.

    Those that its profile judges where it has one that says so, else those that a sample of windows lets choose. Declared
    points are always among them, for the rules.
    """
    declared = device_type(device.device_type)
    points = frozenset(declared.metric_names if declared is not None else ())
    if profile is not None and profile.detector is not None:
        detector = profile.detector
        wide = len(detector.metric_names) + len(detector.left_out) > MOST_READ
        return points | frozenset(detector.metric_names) if wide else None
    chosen = choose_by_sample(store, device, declared, start_ms, end_ms)[0]
    return None if chosen is None else points | chosen


def choose_by_sample(
    store: Store, device: Device, declared: DeviceType | None, start_ms: int, end_ms: int
) -> tuple[frozenset[str] | None, frozenset[str]]:
    """The metrics to read by a sample of eight stretches of windows, and all that it has; None where all can be read."""
    names: dict[str, None] = {}
    found = []
    step = max(1, (end_ms - start_ms) // STRETCHES)
    for begin in range(start_ms, end_ms, step):
        rows = TableSlice("device_state_snapshots", (), device.device_id, begin, min(end_ms, begin + step))
        part = next(series_parts(store, rows, device.device_type, rows_at_once=STRETCH_WINDOWS), None)
        if part is not None:
            found.append(part)
            names.update(dict.fromkeys(part.metric_names))
    if len(names) <= MOST_READ:
        return None, frozenset(names)
    listed = sorted(names)
    place = {name: j for j, name in enumerate(listed)}
    values = np.full((sum(map(len, found)), len(listed)), np.nan)
    row = 0
    for series in found:
        values[row : row + len(series), [place[name] for name in series.metric_names]] = series.mean
        row += len(series)
    points = declared.metric_names if declared is not None else ()
    return frozenset(chosen_metrics(values, listed, points, MOST_READ)), frozenset(names)


def readable_from(metrics: int, start_ms: int, end_ms: int, window_ms: int) -> int:
    """Start of the history that is read of a device of so many metrics: all of it, but for very wide ones.

    >>> readable_from(20, 0, 10**9, 60_000), readable_from(5_000, 0, 10**9, 60_000)
    (0, 940000000)
    """
    if metrics <= MOST_READ:
        return start_ms
    return max(start_ms, end_ms - max(1, MOST_READINGS // metrics) * window_ms)
