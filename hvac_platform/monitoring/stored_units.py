"""Units that readings were stored in: those of days before conversion, and those of a point whose unit changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hvac_platform.devices.registry import device_type
from hvac_platform.devices.units import plain
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import Reading
from hvac_platform.timestamps import DAY_MS, day_of

LOOKED_AT_MS = 3_600_000
MOST_LOOKS = 60
"""Hours that are looked at, spread over all days that a device has readings of."""


@dataclass(frozen=True, slots=True)
class StoredUnit:
    """A metric that was stored in a unit that is not its own, or not its only one.

    Attributes:
        metric: the metric.
        unit: unit in the store.
        wanted: declared unit; empty where none is declared, and another unit was stored too.
        first_ms: the first reading in it that was seen.
        last_ms: the last one.
    """

    metric: str
    unit: str
    wanted: str
    first_ms: int
    last_ms: int

    def __str__(self) -> str:
        """One line for people."""
        span = f"{day_of(self.first_ms)} to {day_of(self.last_ms)}"
        if self.wanted:
            return f"{self.metric} stored in {self.unit}, not {self.wanted}, {span}: backfill these days"
        return f"{self.metric} in {self.unit} too, {span}"


def foreign_units(store: Store, device: Device) -> list[StoredUnit]:
    """Metrics of a device that were stored in another unit than the declared one, or in several.

    An hour of each day is looked at, at most :data:`MOST_LOOKS` of them, the first and the last readings among them.
    """
    declared = device_type(device.device_type)
    days = np.unique(
        np.linspace(device.first_seen // DAY_MS, device.last_seen // DAY_MS, MOST_LOOKS - 2).astype(np.int64)
    )
    starts = {device.first_seen, max(device.first_seen, device.last_seen - LOOKED_AT_MS + 1)}
    starts |= {int(day) * DAY_MS + DAY_MS // 2 for day in days}
    seen: dict[str, dict[str, tuple[int, int]]] = {}
    for start in sorted(starts):
        for batch in Reading.batches(
            store, device.device_id, (start, start + LOOKED_AT_MS), only=("timestamp", "metric_name", "unit")
        ):
            for reading in batch:
                if reading.unit:
                    units = seen.setdefault(reading.metric_name, {})
                    first, last = units.get(reading.unit, (reading.timestamp, reading.timestamp))
                    units[reading.unit] = (min(first, reading.timestamp), max(last, reading.timestamp))
    found = []
    for metric, units in sorted(seen.items()):
        point = declared.point(metric) if declared is not None and metric in declared.index else None
        usual = point.unit if point is not None else max(units, key=lambda unit: units[unit][1])
        for unit, (first, last) in sorted(units.items()):
            if plain(unit) != plain(usual):
                found.append(StoredUnit(metric, unit, "" if point is None else usual, first, last))
    return found
