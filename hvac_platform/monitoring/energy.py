"""Energy of devices on the store: what a day took, and how much of it the device's state doesn't explain."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from hvac_platform.detection.energy import believable, electric_power, kwh
from hvac_platform.detection.learned import frame_of
from hvac_platform.detection.profile import Profile
from hvac_platform.devices.registry import device_type
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.series import read_series

POWER = "electric_power"
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class DayEnergy:
    """Energy of a span of time, in the windows where it can be compared, kWh."""

    actual_kwh: float
    expected_kwh: float
    excess_kwh: float


def power_frame(frame: pd.DataFrame, type_name: str) -> pd.DataFrame:
    """Believable readings of a device, beside its electric power as its type declares it (column ``electric_power``, kW)."""
    declared = device_type(type_name)
    if declared is None or declared.energy is None:
        return frame
    source = declared.energy.power or declared.energy.current
    wanted = [*declared.energy.drivers, *([source] if source else [])]
    complete = believable(frame.reindex(columns=list(dict.fromkeys([*frame.columns, *wanted]))), declared)
    return complete.assign(**{POWER: electric_power(complete, declared.energy)})


def span_energy(
    store: Store, device: Device, profile: Profile | None, window_ms: int, start_ms: int, end_ms: int
) -> DayEnergy | None:
    """Energy of a device in [start_ms, end_ms); None without a model, or where no window can be compared."""
    if profile is None or profile.energy is None:
        return None
    series = read_series(store, device.device_id, device.device_type, start_ms - HOUR_MS, end_ms)
    if not len(series):
        return None
    frame = power_frame(frame_of(series), device.device_type)
    expected, excess = profile.energy.expected(frame), profile.energy.excess(frame)
    inside = (series.times_ms >= start_ms) & excess.notna().to_numpy()
    if not inside.any():
        return None
    window = pd.Timedelta(milliseconds=window_ms)
    return DayEnergy(kwh(frame[POWER][inside], window), kwh(expected[inside], window), kwh(excess[inside], window))
