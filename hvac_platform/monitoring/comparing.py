"""Compare the methods on stored verdicts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.consensus import Comparison, compare
from hvac_platform.stores.base import Store, TableSlice


def compare_device(store: Store, device_id: str, start_ms: int | None, end_ms: int | None) -> Comparison:
    """The methods side by side on a device's judged windows between two instants."""
    anomalous: dict[str, dict[int, bool]] = {}
    rows = TableSlice("snapshot_verdicts", ("snapshot_time", "method", "anomalous"), device_id, start_ms, end_ms)
    for batch in store.scan(rows):
        for time_ms, method, flag in zip(batch["snapshot_time"], batch["method"], batch["anomalous"], strict=True):
            anomalous.setdefault(method, {})[time_ms] = flag
    common = sorted(set.intersection(*(set(v) for v in anomalous.values()))) if anomalous else []
    return compare({m: np.array([flags[t] for t in common], dtype=bool) for m, flags in anomalous.items()})


def scores_of(
    store: Store, device_id: str, start_ms: int, end_ms: int
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Score of every method on a device's judged windows: times int64 [n], and float64 [n] by method; NaN where absent."""
    found: dict[str, dict[int, float]] = {}
    rows = TableSlice("snapshot_verdicts", ("snapshot_time", "method", "score"), device_id, start_ms, end_ms)
    for batch in store.scan(rows):
        for time_ms, method, score in zip(batch["snapshot_time"], batch["method"], batch["score"], strict=True):
            found.setdefault(method, {})[time_ms] = score
    times = sorted(set().union(*found.values())) if found else []
    return np.array(times, dtype=np.int64), {
        method: np.array([scores.get(t, np.nan) for t in times]) for method, scores in sorted(found.items())
    }
