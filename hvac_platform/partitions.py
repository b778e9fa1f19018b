"""Partitions: a UTC day for the data, a device for the profiles."""

from __future__ import annotations

import dagster as dg

from hvac_platform.config import load_settings
from hvac_platform.stores.base import Store

daily = dg.DailyPartitionsDefinition(
    start_date=load_settings().hvac_start_date.isoformat(),
    end_offset=1,  # today is a partition too: data arrives while the day lasts
)

devices = dg.DynamicPartitionsDefinition(name="devices")


def restore_devices(instance: dg.DagsterInstance, store: Store) -> list[str]:
    """Devices that the store knows and Dagster doesn't, as after its storage was lost, become partitions again.

    Returns:
        Their ids.
    """
    known = set(instance.get_dynamic_partitions(str(devices.name)))
    missing = sorted({device.device_id for device in store.devices()} - known)
    if missing:
        instance.add_dynamic_partitions(str(devices.name), missing)
    return missing
