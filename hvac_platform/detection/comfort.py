"""Discomfort: how far and how long the temperature that a device type declares is beyond its setpoints."""

from __future__ import annotations

import numpy as np

from hvac_platform.detection.rules import quantities
from hvac_platform.detection.worth import degree_hours
from hvac_platform.devices.registry import DeviceType
from hvac_platform.devices.units import UnitError, conversion
from hvac_platform.snapshots import SnapshotSeries

HOUR_MS = 3_600_000


def discomfort(series: SnapshotSeries, device_type: DeviceType) -> float | None:
    """K·h beyond setpoint and tolerance over some windows; None where nothing can be said, see :class:`Comfort`.

    Readings that can't be real count as unknown. Windows in which the declared condition doesn't hold, such as those of a
    machine that stands still, say nothing: where it never holds, the discomfort is not known.

    Args:
        series: n snapshots of one device, with the points that its type's comfort names.
        device_type: declares it.
    """
    declared = device_type.comfort
    if declared is None or not len(series):
        return None
    try:
        scale = conversion(device_type.point(declared.temperature).unit, "K", difference=True).scale
    except UnitError:
        return None
    values = quantities(series, device_type, declared.names)
    temperature, room = values[declared.temperature], values[declared.tolerance] if declared.tolerance else 0.0
    beyond = np.zeros(len(series))
    if declared.warmest:
        beyond = np.maximum(beyond, temperature - values[declared.warmest] - room)
    if declared.coldest:
        beyond = np.maximum(beyond, values[declared.coldest] - temperature - room)
    holds = values[declared.condition] if declared.condition else np.ones(len(series))
    return degree_hours(beyond, holds.astype(np.bool_), series.window_ms / HOUR_MS, scale)


def comfort_metrics(device_type: DeviceType) -> frozenset[str]:
    """Points that discomfort is computed of; none where the type declares no comfort."""
    if device_type.comfort is None:
        return frozenset()
    reached = frozenset[str]().union(*(device_type.inputs(name) for name in device_type.comfort.names))
    return reached & device_type.index.keys()
