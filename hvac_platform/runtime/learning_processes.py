"""Profiles learned in a few processes: each reads its own devices; what it found is written by the one that asked."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hvac_platform.config import Settings
from hvac_platform.ingestion.snapshotting import EmbeddingCounts
from hvac_platform.monitoring.learning import Lesson
from hvac_platform.monitoring.passes.learning import (
    Elsewhere,
    Learned,
    Learning,
    LearningOptions,
    learn,
    without_series,
)
from hvac_platform.runtime.connections import make_encoders, open_store
from hvac_platform.runtime.worker_processes import in_processes, worth_starting
from hvac_platform.snapshots import EMBEDDING_DIMENSION
from hvac_platform.stores.base import Device
from hvac_platform.stores.batches import TableBatch

DEVICES_A_PROCESS = 4
"""To start a process takes as long as to learn a few devices."""


def learning_elsewhere(settings: Settings, devices: int) -> Elsewhere | None:
    """What learns so many devices in processes, as many as the settings say; None where this process is as fast.

    The processes open the store that the settings name.
    """
    processes = worth_starting(settings.hvac_profile_processes, devices, DEVICES_A_PROCESS)
    return None if processes == 1 else partial(_learn_in_processes, settings, processes)


@dataclass(frozen=True, slots=True)
class _Sent:
    """:class:`Learned` on its way between processes: without the series, and without the zeros that end its vectors."""

    lesson: Lesson
    batches: list[TableBatch]
    counts: EmbeddingCounts


def _learn_in_processes(
    settings: Settings, processes: int, devices: Sequence[Device], options: LearningOptions
) -> Generator[Learning]:
    with closing(in_processes(partial(_learn_here, settings, options), devices, processes)) as turns:
        for device, result in turns:
            yield device, partial(_received, result)


def _learn_here(settings: Settings, options: LearningOptions, device: Device) -> _Sent:
    """In a process that was started."""
    store = open_store(settings)  # open already from the second device on
    learned = learn(store, make_encoders(settings, store), settings, options, device)
    return _Sent(without_series(learned.lesson), list(map(_packed, learned.batches)), learned.counts)


def _packed(batch: TableBatch) -> TableBatch:
    if "embedding" not in batch.columns:
        return batch
    vectors: NDArray[np.float32] = np.ascontiguousarray(batch.columns["embedding"], dtype=np.float32)
    used = np.flatnonzero(vectors.view(np.uint32).any(axis=0))  # by bits: a negative zero is to stay one
    width = int(used[-1]) + 1 if len(used) else 0
    return replace(batch, columns={**batch.columns, "embedding": np.ascontiguousarray(vectors[:, :width])})


def _received(result: Callable[[], _Sent]) -> Learned:
    sent = result()
    return Learned(sent.lesson, map(_unpacked, sent.batches), sent.counts)


def _unpacked(batch: TableBatch) -> TableBatch:
    if "embedding" not in batch.columns:
        return batch
    vectors = batch.columns["embedding"]
    whole = np.zeros((len(vectors), EMBEDDING_DIMENSION), dtype=np.float32)
    whole[:, : vectors.shape[1]] = vectors
    return replace(batch, columns={**batch.columns, "embedding": whole})
