"""How many readings of each point a window should hold, by the pace that the point was learned to have."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from hvac_platform.detection.pace import Pace
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import DevicePoint

KEPT_SECONDS = 600.0
"""How long the paces of a device are kept: they are learned anew each night."""


@dataclass
class ExpectedReadings:
    """Expected readings of a window by device and metric, read when first asked for.

    Attributes:
        store: has the points of devices.
        window_ms: length of a window.
    """

    store: Store
    window_ms: int
    _known: dict[str, tuple[float, Mapping[str, float]]] = field(default_factory=dict)

    def of(self, device_id: str) -> Mapping[str, float]:
        """Readings that each window should hold, by metric; without points that need not have one in each window.

        Empty while nothing was learned of the device's points.
        """
        known, now = self._known.get(device_id), time.monotonic()
        if known is None or now - known[0] > KEPT_SECONDS:
            known = self._known[device_id] = now, self._read(device_id)
        return known[1]

    def _read(self, device_id: str) -> Mapping[str, float]:
        columns = ("metric", "interval_ms", "longest_ms", "regular", "retired_at")
        points = DevicePoint.read(self.store, device_id, only=columns)
        paces = {
            p.metric: Pace(p.interval_ms, p.longest_ms, p.regular)
            for p in points
            if p.retired_at is None and p.interval_ms
        }
        return {name: n for name, pace in paces.items() if (n := pace.expected(self.window_ms))}
