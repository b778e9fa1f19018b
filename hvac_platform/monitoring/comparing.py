"""Compare the methods on stored verdicts."""

from __future__ import annotations

from functools import reduce

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.consensus import Comparison, compare
from hvac_platform.stores.base import Store
from hvac_platform.stores.series import on_common_windows, verdict_series


def compare_device(store: Store, device_id: str, start_ms: int | None, end_ms: int | None) -> Comparison:
    """The methods side by side on a device's judged windows between two instants."""
    return compare(on_common_windows(verdict_series(store, device_id, (start_ms, end_ms)))[1])


def scores_of(
    store: Store, device_id: str, start_ms: int, end_ms: int
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Score of every method on a device's judged windows: times int64 [n], and float64 [n] by method; NaN where absent."""
    verdicts = verdict_series(store, device_id, (start_ms, end_ms))
    times = reduce(np.union1d, (v.times_ms for v in verdicts.values()), np.zeros(0, dtype=np.int64))
    scores = {name: np.full(len(times), np.nan) for name in verdicts}
    for name, found in verdicts.items():
        scores[name][np.searchsorted(times, found.times_ms)] = found.scores
    return times, scores
