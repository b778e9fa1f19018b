"""A fleet of simulated devices: readings for any span of time, chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.simulation.air_compressor import AirCompressors
from hvac_platform.simulation.chiller import Chillers
from hvac_platform.simulation.cooling_tower import CoolingTowers
from hvac_platform.simulation.device_group import BLOCK_MS, DeviceGroup, Outdoors
from hvac_platform.simulation.faults import FAULT_KINDS, Fault
from hvac_platform.simulation.habits import Habits
from hvac_platform.simulation.makeup_air_unit import MakeupAirUnits
from hvac_platform.simulation.plant import Pipes, Plant, in_order
from hvac_platform.simulation.recording import Recorder, Recording
from hvac_platform.simulation.rooftop_unit import RooftopUnits
from hvac_platform.simulation.sensors import SENSORS
from hvac_platform.simulation.weather import Climate, Weather
from hvac_platform.timestamps import DAY_MS

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_GROUPS: tuple[type[DeviceGroup], ...] = (RooftopUnits, MakeupAirUnits, Chillers, CoolingTowers, AirCompressors)

#: Simulation class of each device type that can be simulated.
SIMULATED_TYPES: Mapping[str, type[DeviceGroup]] = MappingProxyType({group.device_type: group for group in _GROUPS})

#: Blocks computed before the first reading, so that no start-up transient is seen.
_WARM_UP_BLOCKS = 4
#: So many devices run through two days in a second.
FEW_DEVICES = 100
HOUR_MS = 3_600_000

#: Up to so many devices of a type each device's states advance as plain numbers, beyond it together as arrays: below,
#: the overhead of array operations costs more than going through the devices one after the other.
_FEW = 10


@dataclass(frozen=True, slots=True)
class SimulatedReadings:
    """Readings of one device; t times, m metrics.

    Attributes:
        device: the device.
        times_ms: int64 [t], epoch milliseconds UTC.
        metric_names: m names in the order of the device type's points.
        units: m units for display.
        values: float64 [t, m]; NaN where the recording has none.
    """

    device: FleetDevice
    times_ms: Int64
    metric_names: tuple[str, ...]
    units: tuple[str, ...]
    values: Float64


class FleetSimulation:
    """Simulates a fleet.

    The same seed gives the same values, whether a span is asked for at once or in chunks and whatever other devices
    the fleet has, those of the plant that feed a device aside. All devices stand in one climate and share its weather.

    Args:
        devices: the fleet; ids must differ and types be simulated ones.
        seed: seed of weather, individuality of devices, loads and sensor noise.
        faults: what breaks, and when.
        climate: where the fleet stands.
        habits: schedules, changes of setpoints, and how readings are logged; none unless told otherwise.
        plant: which machines feed which; each runs by itself unless told otherwise.

    Raises:
        ValueError: a device id twice, a type without simulation, or a fault of an unknown device or not of its type; a
            habit of a device or metric that there isn't, or a plant of one.

    >>> fleet = FleetSimulation([FleetDevice("RTU-001", "rooftop_unit")], seed=1)
    >>> readings, = fleet.advance(np.arange(0, 600_000, 60_000))
    >>> readings.values.shape
    (10, 14)
    """

    def __init__(
        self,
        devices: Sequence[FleetDevice],
        *,
        seed: int,
        faults: Sequence[Fault] = (),
        climate: Climate | None = None,
        habits: Habits | None = None,
        plant: Plant | None = None,
    ) -> None:
        self.devices = tuple(devices)
        types = {device.device_id: device.device_type for device in self.devices}
        if len(types) < len(self.devices):
            raise ValueError("a device id appears twice in the fleet")
        if unknown := sorted(set(types.values()) - SIMULATED_TYPES.keys()):
            raise ValueError(f"no simulation of {', '.join(unknown)}; simulated are {', '.join(SIMULATED_TYPES)}")
        for fault in faults:
            _check(fault, types.get(fault.device_id))
        self.faults = tuple(faults)
        self._weather = Weather(seed, climate)
        self._groups: list[DeviceGroup] = []
        for device_type, group in SIMULATED_TYPES.items():
            members = [device for device in self.devices if device.device_type == device_type]
            size = 1 if len(members) <= _FEW else len(members)
            for first in range(0, len(members), size):
                together = members[first : first + size]
                ids = {device.device_id for device in together}
                self._groups.append(group(together, seed, [fault for fault in faults if fault.device_id in ids]))
        habits = habits or Habits()
        _check_habits(habits, types)
        self._schedule = habits.schedule
        for one in self._groups:
            one.operate(habits.setpoint_changes)
        self._recorders = {
            device.device_id: Recorder(habits.recording, device.device_id, device.device_type, one.metric_names, seed)
            for one in self._groups
            for device in one.devices
            if habits.recording != Recording()
        }
        self._pipes = Pipes(plant or Plant())
        if unknown := sorted(self._pipes.plant.topology.devices - types.keys()):
            raise ValueError(f"a plant of devices that are not in the fleet: {', '.join(unknown)}")
        self._block_start_ms: int | None = None
        self._latest_ms: int | None = None

    def advance(self, times_ms: Int64) -> list[SimulatedReadings]:
        """Readings at ``times_ms`` [t], strictly increasing and after those of the last call; in the order of devices.

        Raises:
            ValueError: times that do not increase.
        """
        times_ms = np.asarray(times_ms, dtype=np.int64)
        if len(times_ms) == 0:
            return self._readings(times_ms, [])
        if np.any(np.diff(times_ms) <= 0) or (self._latest_ms is not None and times_ms[0] <= self._latest_ms):
            raise ValueError("times must increase strictly, also from one call to the next")
        self._latest_ms = int(times_ms[-1])
        starts = times_ms // BLOCK_MS * BLOCK_MS
        values = [np.empty((len(g.devices), len(times_ms), len(g.metric_names))) for g in self._groups]
        for block_start in range(int(starts[0]), int(starts[-1]) + 1, BLOCK_MS):
            self._catch_up(block_start)
            here = slice(int(np.searchsorted(starts, block_start)), int(np.searchsorted(starts, block_start, "right")))
            for group, readings in zip(self._groups, values, strict=True):
                if here.start < here.stop:
                    readings[:, here] = group.sample(times_ms[here])
        return self._readings(times_ms, values)

    def run_in(self, present_ms: int) -> None:
        """Let machines run from yesterday's midnight (UTC) on, so that what starts goes on where others of today stand.

        Large fleets run for the last hour: they are near normal then, and are not waited for.
        """
        few = len(self.devices) <= FEW_DEVICES
        self.advance(np.array([(present_ms // DAY_MS - 1) * DAY_MS if few else present_ms - HOUR_MS], dtype=np.int64))

    def _catch_up(self, block_start: int) -> None:
        """Advance every group to the block that starts at ``block_start``, from wherever it is."""
        first = (
            block_start - _WARM_UP_BLOCKS * BLOCK_MS
            if self._block_start_ms is None
            else self._block_start_ms + BLOCK_MS
        )
        for start in range(first, block_start + 1, BLOCK_MS):
            outdoors = Outdoors.of_block(self._weather, start, self._schedule)
            self._advance_plant(outdoors)
        self._block_start_ms = block_start

    def _advance_plant(self, outdoors: Outdoors) -> None:
        """Advance every group by a block, those that feed others first."""
        feeding = self._pipes.plant.topology.feeds
        delivered: dict[str, tuple[str, Float64]] = {}
        for group in in_order(self._groups):
            group.advance(outdoors, self._pipes.fed(group.devices, delivered) if delivered else None)
            if group.delivers is not None and any(device.device_id in feeding for device in group.devices):
                series = group.delivered()
                for column, device in enumerate(group.devices):
                    if device.device_id in feeding:
                        delivered[device.device_id] = group.delivers[0], series[:, column]

    def _readings(self, times_ms: Int64, values: Sequence[Float64]) -> list[SimulatedReadings]:
        by_id: dict[str, SimulatedReadings] = {}
        for i, group in enumerate(self._groups):
            for row, device in enumerate(group.devices):
                device_values = values[i][row] if values else np.empty((0, len(group.metric_names)))
                if device.device_id in self._recorders:
                    device_values = self._recorders[device.device_id].record(times_ms, device_values)
                by_id[device.device_id] = SimulatedReadings(
                    device, times_ms, group.metric_names, group.units, device_values
                )
        return [by_id[device.device_id] for device in self.devices]


def _check_habits(habits: Habits, types: Mapping[str, str]) -> None:
    told = {change.device_id for change in habits.setpoint_changes}
    told |= {instrument.device_id for instrument in habits.recording.instruments}
    if unknown := sorted(told - types.keys()):
        raise ValueError(f"habits of devices that are not in the fleet: {', '.join(unknown)}")


def _check(fault: Fault, device_type: str | None) -> None:
    if device_type is None:
        raise ValueError(f"fault {fault.kind}: device {fault.device_id} is not in the fleet")
    if device_type not in FAULT_KINDS[fault.kind].device_types:
        raise ValueError(f"fault {fault.kind} does not apply to a {device_type} ({fault.device_id})")
    if fault.metric is not None and fault.metric not in SENSORS[device_type]:
        raise ValueError(f"fault {fault.kind} of {fault.device_id}: a {device_type} has no metric {fault.metric!r}")
