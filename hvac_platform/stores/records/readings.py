"""Readings: every accepted one, and the latest ones of the open window."""

from __future__ import annotations

from dataclasses import dataclass

from hvac_platform.stores.records.record import Record


@dataclass(frozen=True, slots=True)
class Reading(Record):
    """An accepted reading of one metric."""

    TABLE = "device_metrics_raw"

    device_id: str
    date: str
    timestamp: int
    metric_name: str
    metric_value: float
    unit: str


@dataclass(frozen=True, slots=True)
class LatestReading(Record):
    """The latest reading of a metric in the open window of a device."""

    TABLE = "metric_aggregation_buffer"

    device_id: str
    window_start: int
    metric_name: str
    metric_value: float
    last_updated: int
