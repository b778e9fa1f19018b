"""Devices, the days that they have data for, and what the store was made with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hvac_platform.stores.records.record import Record

if TYPE_CHECKING:
    from hvac_platform.config import Settings


@dataclass(frozen=True, slots=True)
class Device(Record):
    """One row of the registry.

    ``window_ms`` is None where the device has windows of the store's length; :meth:`window` is what to ask.
    """

    TABLE = "devices"

    device_id: str
    device_type: str
    location: str
    building_id: str
    first_seen: int
    last_seen: int
    kafka_partition: int
    window_ms: int | None = None

    def window(self, settings: Settings) -> int:
        """Length of the device's windows in milliseconds: its own, else that of the store."""
        return settings.window_ms if self.window_ms is None else self.window_ms


@dataclass(frozen=True, slots=True)
class DeviceDay(Record):
    """A UTC day for which a device has data."""

    TABLE = "device_days"

    device_id: str
    date: str
    raw_written_at: int | None
    snapshots_written_at: int | None
    judged_at: int | None


@dataclass(frozen=True, slots=True)
class StoreSetting(Record):
    """A setting that the store was made with."""

    TABLE = "store_settings"

    name: str
    value: str
    set_at: int
