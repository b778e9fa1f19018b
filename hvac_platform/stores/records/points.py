"""Points of devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from hvac_platform.stores.records.record import Record


class StoredGrade(TypedDict):
    """How good the readings of a point are, with the figures that it rests on; shares are between 0 and 1.

    ``completeness``: of the readings that its pace lets expect, those that came. ``staleness``: of the time, that without
    a reading for longer than usual. ``resolution``: smallest step between two readings, in the metric's unit.
    ``noise``: standard deviation from one reading to the next, in the metric's unit. ``stuck``: of the readings, those
    that repeat the one before while the metric usually moves. ``out_of_range``: of the readings, those that can't be.
    """

    grade: str
    completeness: float
    staleness: float
    resolution: float | None
    noise: float | None
    stuck: float
    out_of_range: float


@dataclass(frozen=True, slots=True)
class DevicePoint(Record):
    """A point that a device reports.

    Attributes:
        interval_ms: usual time between two readings, milliseconds.
        longest_ms: longest silence between two readings of [learned_from, learned_until).
        regular: readings come at the interval; else when the value changes.
        grade: how good its readings are; None where that wasn't worked out.
        retired_at: since when it is no longer expected; None while it is.
    """

    TABLE = "device_points"

    device_id: str
    metric: str
    interval_ms: int
    longest_ms: int
    regular: bool
    learned_from: int
    learned_until: int
    grade: StoredGrade | None
    retired_at: int | None
    updated_at: int
