"""Known work on devices."""

from __future__ import annotations

from dataclasses import dataclass

from hvac_platform.stores.records.record import Record


@dataclass(frozen=True, slots=True)
class MaintenanceSpan(Record):
    """Half-open span [starts_at, ends_at) of epoch milliseconds in which a device is worked on."""

    TABLE = "maintenance_spans"

    device_id: str
    starts_at: int
    ends_at: int
    note: str
    added_at: int
