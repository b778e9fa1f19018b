"""Small fleets and spans for the simulation's tests."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.simulation.fleet_simulation import SIMULATED_TYPES, FleetSimulation, SimulatedReadings

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000

TYPES = tuple(SIMULATED_TYPES)


def midnight(date: str) -> int:
    return int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp() * 1000)


def span(start_ms: int, hours: float, interval_s: int = 60) -> NDArray[np.int64]:
    return start_ms + np.arange(round(hours * 3600 / interval_s), dtype=np.int64) * interval_s * 1000


def fleet(per_type: int = 1, types: tuple[str, ...] = TYPES) -> list[FleetDevice]:
    return [FleetDevice(f"{t}-{i}", t) for t in types for i in range(per_type)]


def simulate(devices, times, *, seed=1, faults=()) -> dict[str, SimulatedReadings]:
    return {r.device.device_id: r for r in FleetSimulation(devices, seed=seed, faults=faults).advance(times)}


def column(readings: SimulatedReadings, metric: str) -> NDArray[np.float64]:
    return readings.values[:, readings.metric_names.index(metric)]
