"""Vector search: has this device been in a state like this before, and was it normal?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.calibration import persistent
from hvac_platform.detection.profile import ROUNDING, Profile, usual_deviations
from hvac_platform.detection.reasons import Deviation, told
from hvac_platform.detection.verdicts import Verdicts
from hvac_platform.devices.registry import DeviceType
from hvac_platform.snapshots import Neighbours, SnapshotSeries
from hvac_platform.timestamps import iso

NEIGHBOURS = 10
AVERAGED = 5
MIN_NORMAL = 3
DIFFERENT = "{title} {observed} where {expected} is expected"


def mean_distance(found: Neighbours) -> NDArray[np.float64]:
    """Mean cosine distance to the nearest five, float64 [n]; infinity where there are fewer than three."""
    nearest = found.similarity[:, :AVERAGED]
    known = np.isfinite(nearest)
    enough = known.sum(axis=1) >= MIN_NORMAL
    total = np.where(known, 1.0 - nearest, 0.0).sum(axis=1)
    return np.where(enough, total / np.maximum(known.sum(axis=1), 1), np.inf)


def judge_neighbours(
    series: SnapshotSeries,
    normal: Neighbours,
    profile: Profile,
    *,
    min_normal: int = MIN_NORMAL,
    bound: NDArray[np.float64] | None = None,
    deviations: Callable[[int], Sequence[Deviation]] | None = None,
    device_type: DeviceType | None = None,
) -> Verdicts:
    """Verdict of vector search on every snapshot.

    Args:
        series: n snapshots.
        normal: the ten nearest normal states of each, within the profile's span.
        profile: holds the calibrated distance limit.
        min_normal: fewer normal states than this within the limit make a snapshot novel.
        bound: float64 [n], scores are never more than this; where absent, they are what they are.
        deviations: what each metric of a snapshot reads and what is expected of it, the farthest first; from the profile's
            usual values when absent.
        device_type: says titles and units, or None.

    score = mean distance to the five nearest normal states / limit. A snapshot is suspicious when that exceeds 1 or fewer
    than ``min_normal`` of the ten nearest normal states lie within the limit; where there are fewer than that many states
    to compare with, the method is silent (Laxhammar and Falkman 2014 for calibrated
    nearest-neighbour distances).
    """
    limit = max(profile.calibration.neighbour_distance, ROUNDING)
    distances = 1.0 - normal.similarity
    within = (distances <= limit).sum(axis=1)
    score = np.minimum(mean_distance(normal) / limit, 1e6)
    score = np.where(within < min_normal, np.maximum(score, 1.0 + 1e-9), score)
    no_history = (normal.times_ms >= 0).sum(axis=1) < min_normal  # nothing to compare with says nothing of the state
    score = np.where(no_history, 0.0, score)
    if bound is not None:
        score = np.minimum(score, bound)
    anomalous = persistent(score, series.times_ms, series.window_ms)
    reasons: list[tuple[str, ...]] = [()] * len(series)
    metrics: list[tuple[str, ...]] = [()] * len(series)
    for i in np.flatnonzero(anomalous).tolist():
        best = int(normal.times_ms[i, 0])
        nearest = f"; the nearest was {iso(best)} at cosine {normal.similarity[i, 0]:.4f}" if best >= 0 else ""
        found = usual_deviations(series, profile, i) if deviations is None else deviations(i)
        lines, metrics[i] = told(found, device_type, DIFFERENT, most=2)
        reasons[i] = (
            f"{int(within[i])} of {normal.times_ms.shape[1]} nearest normal states are as close as usual{nearest}: "
            f"{'; '.join(lines)}",
        )
    level = np.where(anomalous, np.where(score > 3.0, 3, 4), 0).astype(np.int8)
    return Verdicts("vector", series.times_ms, score, anomalous, level, reasons, metrics)
