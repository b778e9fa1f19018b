"""The numeric state encoder: metrics scaled by their declared ranges, beside a constant component."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hvac_platform.devices.registry import DeviceType, device_type
from hvac_platform.snapshots import EMBEDDING_DIMENSION, SnapshotSeries

LEARNED_OFFSET = 128  # declared metrics take the slots below, others directions in the slots from here on
LEARNED_SLOTS = 8
CLIP = 5.0


@lru_cache(maxsize=4096)
def _learned_direction(metric_name: str) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Sparse pseudo-random unit direction of a metric that no device type declares: the same in every process."""
    generator = np.random.default_rng(
        int.from_bytes(hashlib.blake2b(metric_name.encode(), digest_size=8).digest(), "little")
    )
    slots = generator.choice(EMBEDDING_DIMENSION - LEARNED_OFFSET, LEARNED_SLOTS, replace=False) + LEARNED_OFFSET
    signs = generator.choice((-1.0, 1.0), LEARNED_SLOTS) / np.sqrt(LEARNED_SLOTS)
    return tuple(int(s) for s in slots), tuple(float(s) for s in signs)


class StateEncoder:
    """Encoder of the first generation: no training, so there is a vector from the first snapshot on.

    With x_j = (v_j - middle_j) / (half the normal range of metric j), clipped to ±5, a snapshot becomes
    [c, x_1, …, x_m] / ‖·‖ padded with zeros, c = √m. Absent metrics count as mid-range. A metric without a declared
    range contributes asinh(v) along a direction of its own. Counters are left out.
    """

    method = "state-1"
    context_windows = 0

    def encode(self, series: SnapshotSeries) -> NDArray[np.float32]:
        """Unit vectors float32 [n, 384] of n snapshots."""
        declared: DeviceType | None = device_type(series.device_type)
        vectors = np.zeros((len(series), EMBEDDING_DIMENSION))
        known = np.where(np.isfinite(series.mean), series.mean, np.nan)
        vectors[:, 0] = np.sqrt(np.maximum(1, np.isfinite(known).sum(axis=1)))
        for j, name in enumerate(series.metric_names):
            if declared and name in declared.metric_names and declared.point(name).kind == "counter":
                continue  # a counter never returns to where it was, so it says nothing of the state
            values = known[:, j]
            slot = declared.metric_names.index(name) if declared and name in declared.metric_names else None
            normal = declared.point(name).normal if declared and slot is not None else None
            if slot is not None and normal is not None and slot + 1 < LEARNED_OFFSET:
                middle, half = (normal[0] + normal[1]) / 2, max((normal[1] - normal[0]) / 2, 1e-9)
                with np.errstate(over="ignore"):
                    vectors[:, slot + 1] = np.nan_to_num(np.clip((values - middle) / half, -CLIP, CLIP))
            else:
                slots, signs = _learned_direction(name)
                scaled = np.nan_to_num(np.arcsinh(values))
                vectors[:, slots] += scaled[:, None] * np.array(signs)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float32)
