"""Devices, the days that they have data for, and what the store was made with."""

from __future__ import annotations

from dataclasses import dataclass

from hvac_platform.stores.records.record import Record


@dataclass(frozen=True, slots=True)
class Device(Record):
    """One row of the registry."""

    TABLE = "devices"

    device_id: str
    device_type: str
    location: str
    building_id: str
    first_seen: int
    last_seen: int
    kafka_partition: int


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
