"""What detection found on a day."""

from __future__ import annotations

from dataclasses import dataclass

from hvac_platform.stores.records.record import Record


@dataclass(frozen=True, slots=True)
class DeviceReport(Record):
    """A device on a day: judged windows, where methods agree, incidents, and energy in kWh where there is a model."""

    TABLE = "detection_reports"

    date: str
    device_id: str
    windows: int
    consensus: int
    any_method: int
    incidents: int | None
    energy_kwh: float | None
    expected_kwh: float | None
    excess_kwh: float | None


@dataclass(frozen=True, slots=True)
class MethodReport(Record):
    """What one method found on a device on a day; ``alone`` counts windows that no other method calls anomalous."""

    TABLE = "method_reports"

    date: str
    device_id: str
    method: str
    windows: int
    anomalous: int
    alone: int | None
