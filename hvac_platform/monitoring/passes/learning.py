"""Learning: a profile for each device, from its own normal snapshots."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from hvac_platform.config import Settings
from hvac_platform.detection.profile import TooFewSnapshotsError
from hvac_platform.embedding.learned import Encoders
from hvac_platform.ingestion.snapshotting import EmbeddingCounts
from hvac_platform.monitoring.learning import Lesson, learn_profile, lesson_batches
from hvac_platform.monitoring.notices import notice_batches
from hvac_platform.monitoring.passes.base import Pass
from hvac_platform.snapshots import select
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.batches import TableBatch
from hvac_platform.stores.records import DevicePoint
from hvac_platform.timestamps import now_ms


@dataclass(frozen=True, slots=True)
class LearningOptions:
    """How profiles are learned.

    Attributes:
        days_back: days of history; None is what the settings say, here and below.
        min_snapshots: fewest normal snapshots.
        until_ms: end of the history; the end of the device's data when absent.
        refit: fit the encoder anew, whether or not the history calls for it.
        include_flagged: learn from flagged windows too.
    """

    days_back: float | None = None
    min_snapshots: int | None = None
    until_ms: int | None = None
    refit: bool = False
    include_flagged: bool = False


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned of a device, the rows that keep it, and a count of the embeddings among them, as they are taken."""

    lesson: Lesson
    batches: Iterable[TableBatch]
    counts: EmbeddingCounts


Learning = tuple[Device, Callable[[], Learned]]
"""A device, and what gives (or waits for) what is learned of it; that raises whatever learning raises."""
Elsewhere = Callable[[Sequence[Device], LearningOptions], Generator[Learning]]
"""Learns devices in other processes; gives them in order."""


def learn(store: Store, encoders: Encoders, settings: Settings, options: LearningOptions, device: Device) -> Learned:
    """Learn one device's profile.

    Raises:
        TooFewSnapshotsError: not enough normal snapshots; the message says what to do.
    """
    counts = EmbeddingCounts()
    lesson = learn_profile(
        store,
        device,
        encoders,
        settings,
        days_back=options.days_back,
        min_snapshots=options.min_snapshots,
        until_ms=options.until_ms,
        refit=options.refit,
        include_flagged=options.include_flagged,
    )
    return Learned(lesson, lesson_batches(store, device, lesson, counts), counts)


def without_series(lesson: Lesson) -> Lesson:
    """The lesson without what it was learned from."""
    return replace(lesson, series=select(lesson.series, np.zeros(0, dtype=np.int64)))  # a slice would keep the arrays


class LearningPass(Pass):
    """Build the profiles of some devices.

    Attributes:
        lessons: what was learned, without series and detectors: those of thousands of devices take gigabytes.
        on_lesson: told of each lesson, whole where it was learned in this process, and of what was embedded anew for it.

    Args:
        store: where snapshots and profiles are.
        encoders: of all devices.
        settings: days of history and fewest snapshots where nothing else is said.
        devices: to learn, in order.
        options: how.
        elsewhere: learns them in other processes; in this one when absent. Rows are the same, and all are written here.
    """

    table = "device_profiles"

    def __init__(
        self,
        store: Store,
        encoders: Encoders,
        settings: Settings,
        devices: Sequence[Device],
        options: LearningOptions | None = None,
        *,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        super().__init__(store)
        self._encoders, self._settings, self._devices = encoders, settings, devices
        self._options, self._elsewhere = options or LearningOptions(), elsewhere
        self.lessons: list[Lesson] = []
        self.on_lesson: Callable[[Device, Lesson, EmbeddingCounts], object] = lambda *_: None

    def batches(self) -> Iterator[TableBatch]:
        """New embeddings where an encoder was fitted anew, then the profile."""
        turns = self._here() if self._elsewhere is None else self._elsewhere(self._devices, self._options)
        with closing(turns):
            for device, learning in turns:
                with self.alone(device.device_id):
                    try:
                        learned = learning()
                        yield from learned.batches
                        for change in learned.lesson.changes:
                            yield from notice_batches(self.store, self._settings, device, change, now_ms())
                    except TooFewSnapshotsError as error:
                        self.refused.append(str(error))
                        if error.points and error.points["metric"]:
                            yield TableBatch(error.points, table=DevicePoint.TABLE)
                        continue
                    self.on_lesson(device, learned.lesson, learned.counts)
                    kept = without_series(learned.lesson)
                    self.lessons.append(replace(kept, profile=replace(kept.profile, detector=None), candidate=None))

    def _here(self) -> Generator[Learning]:
        for device in self._devices:
            yield device, partial(learn, self.store, self._encoders, self._settings, self._options, device)
