"""The numeric state encoder: metrics scaled by their declared ranges, beside a constant component."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hvac_platform.devices.registry import DeviceType, device_type
from hvac_platform.snapshots import EMBEDDING_DIMENSION, SnapshotSeries

LEARNED_OFFSET = 128  # declared metrics take the slots below, others directions in the slots from here on
LEARNED_SLOTS = 8
CLIP = 5.0
MOST_PLANS = 4096


@lru_cache(maxsize=4096)
def _learned_direction(metric_name: str) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Sparse pseudo-random unit direction of a metric that no device type declares: the same in every process."""
    generator = np.random.default_rng(
        int.from_bytes(hashlib.blake2b(metric_name.encode(), digest_size=8).digest(), "little")
    )
    slots = generator.choice(EMBEDDING_DIMENSION - LEARNED_OFFSET, LEARNED_SLOTS, replace=False) + LEARNED_OFFSET
    signs = generator.choice((-1.0, 1.0), LEARNED_SLOTS) / np.sqrt(LEARNED_SLOTS)
    return tuple(int(s) for s in slots), tuple(float(s) for s in signs)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where the metrics of a device go in its vectors.

    Attributes:
        declared: the device type that it was made for.
        columns: int64 [r], metrics with a declared range.
        slots: int64 [r], their places.
        middle: float64 [r], middles of their ranges.
        half: float64 [r], halves of the ranges.
        others: column, places and signs of each metric without a declared range.
    """

    declared: DeviceType | None
    columns: NDArray[np.int64]
    slots: NDArray[np.int64]
    middle: NDArray[np.float64]
    half: NDArray[np.float64]
    others: tuple[tuple[int, NDArray[np.int64], NDArray[np.float64]], ...]


def _plan_of(declared: DeviceType | None, metric_names: tuple[str, ...]) -> _Plan:
    ranged: list[tuple[int, int, float, float]] = []
    others = []
    for j, name in enumerate(metric_names):
        slot = declared.index.get(name) if declared else None
        if declared is not None and slot is not None and declared.point(name).kind == "counter":
            continue  # a counter never returns to where it was, so it says nothing of the state
        normal = declared.point(name).normal if declared and slot is not None else None
        if slot is not None and normal is not None and slot + 1 < LEARNED_OFFSET:
            ranged.append((j, slot + 1, (normal[0] + normal[1]) / 2, max((normal[1] - normal[0]) / 2, 1e-9)))
        else:
            slots, signs = _learned_direction(name)
            others.append((j, np.array(slots), np.array(signs)))
    columns, places, middles, halves = zip(*ranged, strict=True) if ranged else ((), (), (), ())
    return _Plan(
        declared,
        np.array(columns, dtype=np.int64),
        np.array(places, dtype=np.int64),
        np.array(middles, dtype=np.float64),
        np.array(halves, dtype=np.float64),
        tuple(others),
    )


class StateEncoder:
    """Encoder of the first generation: no training, so there is a vector from the first snapshot on.

    With x_j = (v_j - middle_j) / (half the normal range of metric j), clipped to ±5, a snapshot becomes
    [c, x_1, …, x_m] / ‖·‖ padded with zeros, c = √m. Absent metrics count as mid-range. A metric without a declared
    range contributes asinh(v) along a direction of its own. Counters are left out.
    """

    method = "state-1"
    context_windows = 0

    def __init__(self) -> None:
        self._plans: dict[tuple[str, tuple[str, ...]], _Plan] = {}

    def encode(self, series: SnapshotSeries) -> NDArray[np.float32]:
        """Unit vectors float32 [n, 384] of n snapshots."""
        plan = self._plan(series)
        vectors = np.zeros((len(series), EMBEDDING_DIMENSION))
        finite = np.isfinite(series.mean)
        vectors[:, 0] = np.sqrt(np.maximum(1, finite.sum(axis=1)))
        with np.errstate(over="ignore", invalid="ignore"):
            ranged = np.clip((series.mean[:, plan.columns] - plan.middle) / plan.half, -CLIP, CLIP)
            vectors[:, plan.slots] = np.where(finite[:, plan.columns], ranged, 0.0)
        for j, slots, signs in plan.others:
            scaled = np.where(finite[:, j], np.arcsinh(series.mean[:, j]), 0.0)
            vectors[:, slots] += scaled[:, None] * signs
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float32)

    def _plan(self, series: SnapshotSeries) -> _Plan:
        declared = device_type(series.device_type)
        key = series.device_type, series.metric_names
        plan = self._plans.get(key)
        if plan is None or plan.declared is not declared:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            plan = self._plans[key] = _plan_of(declared, series.metric_names)
        return plan
