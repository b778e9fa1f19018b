"""A plant: a tower delivers condenser water to chillers, a chiller chilled water to air handlers.

What arrives is the mean of what those that feed a device deliver (a common header), after a first-order lag: water in pipes,
basins and coils takes minutes to change. Nothing goes back: a tower's heat load is its own, whatever its chillers do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.devices.topology import NO_TOPOLOGY, Topology
from hvac_platform.simulation.device_group import DeviceGroup, lag
from hvac_platform.simulation.media import CHILLED_WATER, CONDENSER_WATER

Float64 = NDArray[np.float64]

TAKES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {CONDENSER_WATER: ("chiller",), CHILLED_WATER: ("rooftop_unit", "makeup_air_unit")}
)
"""Device types that a medium acts on; what else feeds what has no effect in a simulation."""
_ORDER = ("cooling_tower", "chiller")


@dataclass(frozen=True, slots=True)
class Plant:
    """How the machines of a fleet hang together; without a topology each runs by itself.

    Attributes:
        topology: what feeds what.
        lag_minutes: time constant with which what is delivered arrives.
    """

    topology: Topology = NO_TOPOLOGY
    lag_minutes: float = 5.0

    def __post_init__(self) -> None:
        if not self.lag_minutes > 0:
            raise ValueError(f"lag_minutes {self.lag_minutes} isn't positive")


@dataclass
class Pipes:
    """What arrives at the devices of a plant, block after block: the same however a span is divided into calls."""

    plant: Plant
    _arrived: dict[tuple[str, str], float] = field(default_factory=dict)

    def fed(self, devices: Sequence[FleetDevice], delivered: Mapping[str, tuple[str, Float64]]) -> dict[str, Float64]:
        """By medium, its temperature as it arrives at d devices of one type, float64 [S, d], °F; NaN where nobody feeds one.

        Args:
            devices: those that are fed, all of one type.
            delivered: by device that feeds, its medium and its temperature, float64 [S].
        """
        found: dict[str, Float64] = {}
        for column, device in enumerate(devices):
            sources = [
                delivered[one] for one in self.plant.topology.fed_by.get(device.device_id, ()) if one in delivered
            ]
            for medium in dict.fromkeys(medium for medium, _ in sources):
                if device.device_type not in TAKES[medium]:
                    continue
                header = np.mean([series for name, series in sources if name == medium], axis=0)
                arriving = found.setdefault(medium, np.full((len(header), len(devices)), np.nan))
                arriving[:, column] = self._lagged((device.device_id, medium), header)
        return found

    def _lagged(self, key: tuple[str, str], header: Float64) -> Float64:
        share = lag(60.0 * self.plant.lag_minutes)
        value = self._arrived.get(key, float(header[0]))
        series = []
        for target in header.tolist():
            value += share * (target - value)
            series.append(value)
        self._arrived[key] = value
        return np.array(series)


def in_order(groups: Iterable[DeviceGroup]) -> list[DeviceGroup]:
    """Groups in the order in which they can be advanced: those that feed before those that are fed."""
    place = {name: i for i, name in enumerate(_ORDER)}
    return sorted(groups, key=lambda group: place.get(group.device_type, len(_ORDER)))
