"""Points of devices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict

from hvac_platform.stores.records.record import Record

if TYPE_CHECKING:
    from hvac_platform.stores.base import Store

WHOLE_DEVICE = "*"
"""Metric of the row that stands for all points of a device, later ones too, where the device itself is retired."""

SENT_UNITS = "*units"
"""Metric of the row whose grade has the units that a device's points are sent in, where those are not the declared ones."""
NO_POINTS = frozenset({WHOLE_DEVICE, SENT_UNITS})


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


def read_points(store: Store, device_id: str) -> tuple[list[DevicePoint], int | None]:
    """The points of a device, and since when nothing is expected of it (None: something is).

    Of a device that is retired all points are, since then or earlier.
    """
    rows = DevicePoint.read(store, device_id)
    gone = next((row.retired_at for row in rows if row.metric == WHOLE_DEVICE), None)
    points = [row for row in rows if row.metric not in NO_POINTS]
    if gone is not None:
        points = [replace(point, retired_at=gone) if point.retired_at is None else point for point in points]
    return points, gone
