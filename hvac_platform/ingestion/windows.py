"""Windows: from raw readings to one snapshot a window, and when a window is complete."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.coding import Coded
from hvac_platform.stores.metric_maps import MetricGrid, MetricMaps
from hvac_platform.stores.window_lengths import WindowOf
from hvac_platform.timestamps import DAY_MS, window_floor

SPLIT_WINDOWS = 60  # a run of untouched windows longer than this is not worth reading over


@dataclass(frozen=True, slots=True)
class WindowAggregate:
    """Readings of one device aggregated by window and metric; n windows, m metrics, NaN and 0 where absent.

    Attributes:
        starts_ms: int64 [n], window starts, increasing.
        metric_names: m names, sorted.
        mean: float64 [n, m].
        count: int64 [n, m].
        minimum: float64 [n, m].
        maximum: float64 [n, m].
        last: float64 [n, m], reading with the latest timestamp.
        coverage: float64 [n], share of the window's length that its readings span, between 0 and 1.
    """

    starts_ms: NDArray[np.int64]
    metric_names: tuple[str, ...]
    mean: NDArray[np.float64]
    count: NDArray[np.int64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    last: NDArray[np.float64]
    coverage: NDArray[np.float64]


def aggregate_windows(
    timestamps_ms: NDArray[np.int64], metric_names: Sequence[str], values: NDArray[np.float64], window_ms: int
) -> WindowAggregate:
    """Aggregate one device's readings by window.

    Args:
        timestamps_ms: int64 [r], in increasing order (equal ones allowed).
        metric_names: r names.
        values: float64 [r], finite.
        window_ms: length of a window; windows are aligned to the epoch.

    >>> a = aggregate_windows(np.array([0, 10_000, 60_000]), ["t", "t", "t"], np.array([1.0, 3.0, 5.0]), 60_000)
    >>> a.starts_ms.tolist(), a.mean.tolist(), a.count.tolist(), a.last.tolist()
    ([0, 60000], [[2.0], [5.0]], [[2], [1]], [[3.0], [5.0]])
    """
    codes_of: dict[str, int] = {name: i for i, name in enumerate(sorted(set(metric_names)))}
    codes = np.fromiter(map(codes_of.__getitem__, metric_names), dtype=np.int64, count=len(metric_names))
    floors = window_floor(timestamps_ms, window_ms)
    starts, window_index = np.unique(floors, return_inverse=True)
    n, m = len(starts), len(codes_of)
    cell = window_index * m + codes
    order = np.argsort(cell, kind="stable")  # stable: the last reading of a cell stays last
    sorted_cells, sorted_values = cell[order], values[order]
    first = np.flatnonzero(np.diff(sorted_cells, prepend=-1))
    present = sorted_cells[first]
    sizes = np.diff(first, append=len(order))

    def grid(filled: NDArray[Any], empty: float) -> NDArray[np.float64]:
        full = np.full(n * m, empty)
        full[present] = filled
        return full.reshape(n, m)

    minimum, maximum = np.minimum.reduceat(sorted_values, first), np.maximum.reduceat(sorted_values, first)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.add.reduceat(sorted_values, first) / sizes
    if not np.isfinite(mean).all():  # readings near a double's limit: divide before adding
        shares = np.add.reduceat(sorted_values / np.repeat(sizes, sizes), first)
        mean = np.where(np.isfinite(mean), mean, shares)
    mean = np.clip(mean, minimum, maximum)  # rounding stays within what was read
    return WindowAggregate(
        starts_ms=starts.astype(np.int64),
        metric_names=tuple(codes_of),
        mean=grid(mean, np.nan),
        count=grid(sizes, 0).astype(np.int64),
        minimum=grid(minimum, np.nan),
        maximum=grid(maximum, np.nan),
        last=grid(sorted_values[first + sizes - 1], np.nan),
        coverage=_coverage(timestamps_ms, window_index, n, window_ms),
    )


def _coverage(
    timestamps_ms: NDArray[np.int64], window_index: NDArray[np.int64], windows: int, window_ms: int
) -> NDArray[np.float64]:
    """Share of each window that its readings span, taking the mean gap between instants as what one instant covers.

    A window with a single instant says nothing of the gap and counts as whole.
    """
    new_instant = np.diff(timestamps_ms, prepend=timestamps_ms[:1] - 1) != 0
    instants = np.bincount(window_index[new_instant], minlength=windows)
    edges = np.searchsorted(window_index, np.arange(windows + 1))
    span = timestamps_ms[edges[1:] - 1] - timestamps_ms[edges[:-1]]
    gap = span / np.maximum(instants - 1, 1)
    covered: NDArray[np.float64] = np.where(instants > 1, np.minimum(1.0, (span + gap) / window_ms), 1.0)
    return covered


def snapshot_columns(
    device_id: str, aggregate: WindowAggregate, window_ms: int, expected: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Rows of ``device_state_snapshots`` (without the embedding) from an aggregate.

    ``completeness`` is the share of the readings that the device's points let expect, each at its own pace; where nothing
    was learned of them yet, the share of the window's length that its readings span. ``revision`` is a fingerprint of the
    content, so the same readings give the same row however often and in whatever order they arrive.

    Args:
        device_id: the device.
        aggregate: n windows.
        window_ms: length of a window.
        expected: readings that each window should hold, by metric; empty or absent where that is not known.
    """
    names, n = aggregate.metric_names, len(aggregate.starts_ms)
    completeness = _completeness(aggregate, expected) if expected else aggregate.coverage
    stacked = np.stack(
        [aggregate.count.astype(np.float64), aggregate.minimum, aggregate.maximum, aggregate.last], axis=2
    )
    there = aggregate.count > 0
    return {
        "device_id": [device_id] * n,
        "snapshot_time": aggregate.starts_ms,
        "window_ms": [window_ms] * n,
        "metrics": MetricMaps([MetricGrid(names, aggregate.mean, there)]),
        "metric_summary": MetricMaps([MetricGrid(names, stacked, there)]),
        "completeness": np.round(completeness, 4),
        "revision": _revisions(aggregate, stacked),
    }


def _completeness(aggregate: WindowAggregate, expected: Mapping[str, float]) -> NDArray[np.float64]:
    """Share of the expected readings that each window holds, float64 [n]; a metric counts for as much as any other."""
    place = {name: j for j, name in enumerate(aggregate.metric_names)}
    shares = np.zeros(len(aggregate.starts_ms))
    for name, readings in expected.items():
        if name in place:
            shares += np.minimum(1.0, aggregate.count[:, place[name]] / readings)
    return shares / len(expected)


def _revisions(aggregate: WindowAggregate, stacked: NDArray[np.float64]) -> list[int]:
    """63-bit fingerprint of each window's content; absent metrics don't enter it."""
    there, names = aggregate.count > 0, aggregate.metric_names
    content = np.ascontiguousarray(np.concatenate([aggregate.mean[:, :, None], stacked], axis=2))
    if there.all():  # as nearly always: rows of one length, one behind the other
        head, whole, size = "\0".join(names).encode(), content.tobytes(), content[:1].nbytes
        return [_fingerprint(head + whole[begin : begin + size]) for begin in range(0, len(whole), size)]
    return [
        _fingerprint("\0".join(compress(names, mask)).encode() + row[mask].tobytes())
        for row, mask in zip(content, there, strict=True)
    ]


def _fingerprint(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little") >> 1


def windows_of_readings(coded: Coded[str], window_of: WindowOf) -> NDArray[np.int64]:
    """Length of the windows of the device of each reading, int64 [r], milliseconds; each device is asked for once."""
    return np.array([window_of(device_id) for device_id in coded.names], dtype=np.int64)[coded.codes]


def touched_windows(
    coded: Coded[str], timestamps_ms: NDArray[np.int64], window_ms: NDArray[np.int64]
) -> dict[str, NDArray[np.int64]]:
    """Starts of the windows that some readings fall in, by device, increasing.

    Args:
        coded: device of each of r readings.
        timestamps_ms: int64 [r].
        window_ms: int64 [r], length of the windows of the device of each.

    >>> from hvac_platform.coding import coded_as
    >>> devices = coded_as(["a", "b", "a"])
    >>> touched = touched_windows(devices, np.array([70_000, 70_000, 400_000]), np.array([60_000, 300_000, 60_000]))
    >>> {device_id: starts.tolist() for device_id, starts in touched.items()}
    {'a': [60000, 360000], 'b': [0]}
    """
    codes = coded.codes
    if len(coded.names) <= 1:
        return {device_id: np.unique(window_floor(timestamps_ms, window_ms)) for device_id in coded.names}
    numbers = timestamps_ms // window_ms
    lengths = np.zeros(len(coded.names), dtype=np.int64)
    lengths[codes] = window_ms
    earliest = int(numbers.min())
    width = int(numbers.max()) - earliest + 1
    pairs = np.unique(codes * width + (numbers - earliest))  # one integer a (device, window)
    owner, number = np.divmod(pairs, width)
    edges = np.searchsorted(owner, np.arange(len(coded.names) + 1))
    starts = (number + earliest) * lengths[owner]
    return {device_id: starts[edges[code] : edges[code + 1]] for code, device_id in enumerate(coded.names)}


def window_ranges(starts_ms: NDArray[np.int64], window_ms: int) -> list[tuple[int, int]]:
    """Cover window starts by few half-open time ranges, none longer than the rest of a UTC day's windows.

    >>> window_ranges(np.array([0, 60_000, 7_200_000]), 60_000)
    [(0, 120000), (7200000, 7260000)]
    """
    if not len(starts_ms):
        return []
    gap = np.diff(starts_ms) > SPLIT_WINDOWS * window_ms
    midnight = np.diff(starts_ms // DAY_MS) != 0
    cuts = np.flatnonzero(gap | midnight) + 1
    return [(int(part[0]), int(part[-1]) + window_ms) for part in np.split(starts_ms, cuts)]


def complete_until(
    watermark_ms: int | None,
    last_seen_ms: int,
    now_ms: int,
    *,
    caught_up_at: int | None = None,
    allowed_lateness_ms: int,
    silence_ms: int,
) -> int:
    """Windows of a device that end at or before this instant are complete.

    The watermark is the latest event time of the device's Kafka partition, never later than now, so that one clock that
    runs ahead can't close the windows of others. A device whose partition has been silent is closed by the wall clock; so
    are all windows of a partition of which everything was in at ``caught_up_at``.
    """
    watermark = min(watermark_ms if watermark_ms is not None else last_seen_ms, now_ms)
    by_clock = now_ms - silence_ms if now_ms - watermark > silence_ms else 0
    return max(watermark, by_clock, min(caught_up_at or 0, now_ms)) - allowed_lateness_ms
