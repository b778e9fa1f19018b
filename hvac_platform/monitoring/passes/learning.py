"""Learning: a profile for each device, from its own normal snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from hvac_platform.config import Settings
from hvac_platform.detection.profile import TooFewSnapshotsError
from hvac_platform.embedding.learned import Encoders
from hvac_platform.ingestion.snapshotting import EmbeddingCounts
from hvac_platform.monitoring.learning import Lesson, learn_profile, lesson_batches
from hvac_platform.monitoring.passes.base import Pass
from hvac_platform.snapshots import select
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.batches import TableBatch


class LearningPass(Pass):
    """Build the profiles of some devices.

    Attributes:
        lessons: what was learned, without the series that it was learned from: thousands of those take gigabytes.
        on_lesson: told of each lesson whole, and of what was embedded anew for it.

    Args:
        store: where snapshots and profiles are.
        encoders: of all devices.
        settings: days of history and fewest snapshots where nothing else is said.
        devices: to learn, in order.
        days_back: days of history.
        min_snapshots: fewest normal snapshots.
        until_ms: end of the history; the end of the device's data when absent.
        refit: fit the encoder anew, whether or not the history calls for it.
        include_flagged: learn from flagged windows too.
    """

    table = "device_profiles"

    def __init__(
        self,
        store: Store,
        encoders: Encoders,
        settings: Settings,
        devices: Sequence[Device],
        *,
        days_back: float | None = None,
        min_snapshots: int | None = None,
        until_ms: int | None = None,
        refit: bool = False,
        include_flagged: bool = False,
    ) -> None:
        super().__init__(store)
        self._encoders, self._settings, self._devices = encoders, settings, devices
        self._days_back, self._min_snapshots, self._until_ms = days_back, min_snapshots, until_ms
        self._refit, self._include_flagged = refit, include_flagged
        self.lessons: list[Lesson] = []
        self.on_lesson: Callable[[Device, Lesson, EmbeddingCounts], object] = lambda *_: None

    def batches(self) -> Iterator[TableBatch]:
        """New embeddings where an encoder was fitted anew, then the profile."""
        for device in self._devices:
            with self.alone(device.device_id):
                counts = EmbeddingCounts()
                try:
                    lesson = learn_profile(
                        self.store,
                        device,
                        self._encoders,
                        self._settings,
                        days_back=self._days_back,
                        min_snapshots=self._min_snapshots,
                        until_ms=self._until_ms,
                        refit=self._refit,
                        include_flagged=self._include_flagged,
                    )
                    yield from lesson_batches(self.store, device, lesson, counts)
                except TooFewSnapshotsError as error:
                    self.refused.append(str(error))
                    continue
                self.on_lesson(device, lesson, counts)
                self.lessons.append(replace(lesson, series=select(lesson.series, slice(0, 0))))
