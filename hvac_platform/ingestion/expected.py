"""How many readings of each point a window should hold, by the pace that the point was learned to have."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from hvac_platform.detection.pace import Pace
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import DevicePoint, read_points

KEPT_SECONDS = 600.0
"""How long the paces of a device are kept: they are learned anew each night."""


def pace_of_stored(point: DevicePoint) -> Pace:
    """The pace that a point was learned to have."""
    return Pace(point.interval_ms, point.longest_ms, point.regular)


@dataclass
class ExpectedReadings:
    """Expected readings of a window by device and metric, read when first asked for.

    Attributes:
        store: has the points of devices.
    """

    store: Store
    _known: dict[str, tuple[float, int, Mapping[str, float]]] = field(default_factory=dict)

    def of(self, device_id: str, window_ms: int) -> Mapping[str, float]:
        """Readings that each window should hold, by metric; without points that need not have one in each window.

        Empty while nothing was learned of the device's points.

        Args:
            device_id: the device.
            window_ms: length of its windows.
        """
        known, now = self._known.get(device_id), time.monotonic()
        if known is None or now - known[0] > KEPT_SECONDS or known[1] != window_ms:
            known = self._known[device_id] = now, window_ms, self._read(device_id, window_ms)
        return known[2]

    def _read(self, device_id: str, window_ms: int) -> Mapping[str, float]:
        points, _ = read_points(self.store, device_id)
        paces = {point.metric: pace_of_stored(point) for point in points if point.retired_at is None}
        return {name: n for name, pace in paces.items() if (n := pace.expected(window_ms))}
