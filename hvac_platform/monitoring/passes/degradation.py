"""Slow degradation: metrics that depart more every day from what the others imply."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hvac_platform.config import Settings
from hvac_platform.monitoring.degradation import (
    HISTORY_DAYS,
    Degradation,
    TooFewDaysError,
    degradation_batches,
    device_degradation,
)
from hvac_platform.monitoring.passes.base import Pass
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.batches import TableBatch


class DegradationPass(Pass):
    """Trends of the metrics of some devices.

    Attributes:
        found: what was found, of each device.
        on_found: told of each.

    Args:
        store: where snapshots are.
        devices: to look at, in order.
        settings: length of the windows of devices that have none of their own.
        days_back: days of history.
        until_ms: end of the history; the end of the device's data when absent.
    """

    table = "metric_trends"

    def __init__(
        self,
        store: Store,
        devices: Sequence[Device],
        settings: Settings,
        *,
        days_back: int = HISTORY_DAYS,
        until_ms: int | None = None,
    ) -> None:
        super().__init__(store)
        self._devices, self._settings, self._days_back, self._until_ms = devices, settings, days_back, until_ms
        self.found: list[Degradation] = []
        self.on_found: Callable[[Degradation], object] = lambda _: None

    def batches(self) -> Iterator[TableBatch]:
        """Rows of ``metric_trends``, device by device."""
        for device in self._devices:
            window_ms = device.window(self._settings)
            with self.alone(device.device_id):
                try:
                    degradation = device_degradation(
                        self.store, device, window_ms, days_back=self._days_back, until_ms=self._until_ms
                    )
                except TooFewDaysError as error:
                    self.refused.append(str(error))
                    continue
                yield from degradation_batches(self.store, degradation, window_ms)
                self.found.append(degradation)
                self.on_found(degradation)
