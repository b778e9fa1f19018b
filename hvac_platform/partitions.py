"""Partitions: a UTC day for the data, a device for the profiles."""

from __future__ import annotations

import dagster as dg

from hvac_platform.config import load_settings

daily = dg.DailyPartitionsDefinition(
    start_date=load_settings().hvac_start_date.isoformat(),
    end_offset=1,  # today is a partition too: data arrives while the day lasts
)

devices = dg.DynamicPartitionsDefinition(name="devices")
