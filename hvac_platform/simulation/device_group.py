"""All simulated devices of one type, advanced together: what the five machines have in common.

A machine is simulated in three steps, each a method of its class:

1. ``drive``: what acts on it from outside (weather, load, faults), for a block of control steps at once;
2. ``integrate``: its state (temperatures, integrators, hysteresis), step by step, with little in the loop;
3. ``observe``: what its sensors would show without noise, computed from both for the sampled steps at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.devices.registry import device_types
from hvac_platform.simulation.faults import SENTINEL, Fault
from hvac_platform.simulation.habits import SetpointChange
from hvac_platform.simulation.occupancy import Schedule
from hvac_platform.simulation.randomness import LatticeNoise, LoadNoise, entropy, generator
from hvac_platform.simulation.sensors import SENSORS
from hvac_platform.simulation.weather import DAY_S, OutdoorAir, Weather

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

#: Interval at which controllers act and states advance. Readings between steps show the latest step.
CONTROL_STEP_S = 10
CONTROL_STEP_MS = CONTROL_STEP_S * 1000
STEP_HOURS = CONTROL_STEP_S / 3600.0
#: Steps are computed in blocks aligned to absolute time, whatever span is asked for: so chunks cannot change values.
STEPS_PER_BLOCK = 360
BLOCK_MS = STEPS_PER_BLOCK * CONTROL_STEP_MS

#: A value in the state loop: a float when the group has one device, an array [d] otherwise. Both know the arithmetic,
#: comparisons and ``&`` and ``|`` that loops are made of, and a float is ten times as fast as an array of one.
State = Any


def lag(time_constant_s: float) -> float:
    """Share of the way that a first-order lag goes in one control step: 1 - exp(-dt/tau), exact for constant input."""
    return float(1.0 - np.exp(-CONTROL_STEP_S / time_constant_s))


def smoothstep(values: Float64) -> Float64:
    """Rises from 0 at 0 to 1 at 1 without a kink: 3x² - 2x³."""
    x = np.clip(values, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def working_hours(hours: Float64, start: float | Float64, end: float | Float64, ramp: float) -> Float64:
    """Activity from 0 at night to 1 by day, rising over ``ramp`` hours from ``start`` and falling until ``end``."""
    return smoothstep((hours - start) / ramp) * smoothstep((end - hours) / ramp)


@dataclass(frozen=True, slots=True)
class Outdoors:
    """What all devices of a fleet share in a block of control steps; S = STEPS_PER_BLOCK steps.

    Attributes:
        times_ms: int64 [S], epoch milliseconds.
        hours: float64 [S], site hour.
        schedule_hours: float64 [S], hour by the clock of the site's schedule.
        air: outdoor air.
    """

    times_ms: Int64
    hours: Float64
    schedule_hours: Float64
    air: OutdoorAir

    @classmethod
    def of_block(cls, weather: Weather, start_ms: int, schedule: Schedule | None = None) -> Outdoors:
        """The block that starts at ``start_ms``; without a schedule, machines go by the site hour."""
        times_ms = start_ms + np.arange(STEPS_PER_BLOCK, dtype=np.int64) * CONTROL_STEP_MS
        times_s = times_ms / 1000.0
        hours = weather.site_hour(times_s)
        by_schedule = hours if schedule is None else schedule.hours(times_ms)
        return cls(times_ms, hours, by_schedule, weather.sample(times_s))


@dataclass(frozen=True, slots=True)
class Block:
    """A block of control steps: S = STEPS_PER_BLOCK steps, d devices.

    Attributes:
        times_s: float64 [S], seconds since the epoch.
        hours: float64 [S, 1], site hour.
        schedule_hours: float64 [S, 1], hour by the clock of the site's schedule.
        dry_bulb: float64 [S, 1], °F.
        wet_bulb: float64 [S, 1], °F.
        humidity_ratio: float64 [S, 1], lb/lb.
        setpoint_change: float64 [S, d], by how much setpoints have been moved, in their unit.
        faults: severity [S, d] of each fault kind that is active in the block.
        none: zeros [S, d], the severity of the others.
        fed: by medium, its temperature as others of the plant deliver it, float64 [S, d], °F; NaN where nobody does.
    """

    times_s: Float64
    hours: Float64
    schedule_hours: Float64
    dry_bulb: Float64
    wet_bulb: Float64
    humidity_ratio: Float64
    setpoint_change: Float64
    faults: Mapping[str, Float64]
    none: Float64
    fed: Mapping[str, Float64] = field(default_factory=dict)

    def delivered(self, medium: str, otherwise: Float64) -> Float64:
        """Temperature of a medium as it arrives, float64 [S, d], °F; ``otherwise`` for devices that nobody feeds."""
        if medium not in self.fed:
            return otherwise
        return np.where(np.isfinite(self.fed[medium]), self.fed[medium], otherwise)

    def fault(self, kind: str) -> Float64:
        """Severity of a fault kind, float64 [S, d]; zeros where there is none."""
        return self.faults.get(kind, self.none)

    def swing(self, kind: str, period_s: float) -> Float64:
        """Square wave of +severity and -severity while a fault is active, float64 [S, d]."""
        if kind not in self.faults:
            return self.none
        half = np.floor(self.times_s / (period_s / 2.0)).astype(np.int64) % 2
        return self.faults[kind] * np.where(half == 0, 1.0, -1.0)[:, None]


class DeviceGroup(ABC):
    """Devices of one type; d devices, m metrics.

    Args:
        devices: devices of this type.
        seed: seed of the simulation; a device's individuality, load and noise come from it and the device's id alone.
        faults: faults of these devices.
    """

    device_type: ClassVar[str]
    #: Offsets of a correlated deviation at severity 1, in the metrics' units: small enough to stay in normal ranges,
    #: in a combination that the machine's physics does not produce.
    correlated_offsets: ClassVar[Mapping[str, float]]
    #: What machines of the type deliver to those that they feed: the medium, and the series with its temperature.
    delivers: ClassVar[tuple[str, str] | None] = None

    def __init__(self, devices: Sequence[FleetDevice], seed: int, faults: Sequence[Fault]) -> None:
        self.devices = tuple(devices)
        ids = [device.device_id for device in self.devices]
        self._faults = [(ids.index(fault.device_id), fault) for fault in faults]
        self._setpoint_changes: tuple[tuple[int, SetpointChange], ...] = ()
        self._held: dict[Fault, float] = {}
        self._measurement = [generator(seed, i, "measurement") for i in ids]
        self._individuality = [generator(seed, i, "individuality") for i in ids]
        self._load = LoadNoise([entropy(seed, i, "load") for i in ids])
        self._drift = LatticeNoise([entropy(seed, i, "drift") for i in ids], knot_seconds=45 * DAY_S)
        kind = device_types()[self.device_type]
        sensors = SENSORS[self.device_type]
        self.metric_names = kind.metric_names
        self.units = tuple(point.unit for point in kind.points)
        self._noise = np.array([sensors[name].noise for name in self.metric_names])
        self._decimals = [sensors[name].decimals for name in self.metric_names]
        self._normal = {point.name: point.normal or (-np.inf, np.inf) for point in kind.points}
        bounds = [point.hard or (-np.inf, np.inf) for point in kind.points]
        self._hard_low, self._hard_high = (np.array(side) for side in zip(*bounds, strict=True))
        # Calibration is never perfect: each instrument has a small constant error of its own.
        self._offset = (
            np.stack([g.uniform(-1.0, 1.0, len(self.metric_names)) for g in self._individuality]) * self._noise
        )
        self._states: tuple[State, ...] = ()
        self._start_ms = 0
        self._series: dict[str, Float64] = {}

    @abstractmethod
    def drive(self, block: Block) -> dict[str, Float64]:
        """Everything from outside that acts on the machines: series by name, each float64 [S, d]."""

    @abstractmethod
    def initial_states(self) -> Mapping[str, float | Float64]:
        """States at the start by name, each a float or float64 [d]; near normal, so that warming up is short."""

    @abstractmethod
    def integrate(self, drive: Mapping[str, Float64], states: tuple[State, ...]) -> list[tuple[State, ...]]:
        """States after each step of a block, each a tuple in the order of ``initial_states``."""

    @abstractmethod
    def observe(self, series: Mapping[str, Float64]) -> dict[str, Float64]:
        """True value of every metric, float64 [k, d], from drive and states at k steps, each float64 [k, d]."""

    def operate(self, changes: Iterable[SetpointChange]) -> None:
        """Have setpoints of these devices moved at times that are still to come."""
        columns = {device.device_id: column for column, device in enumerate(self.devices)}
        self._setpoint_changes = tuple((columns[c.device_id], c) for c in changes if c.device_id in columns)

    def individual(self, low: float, high: float) -> Float64:
        """One uniform draw per device, float64 [d]: what makes one machine differ from the next of its type."""
        return np.array([g.uniform(low, high) for g in self._individuality])

    def loop_values(self, *values: float | Float64) -> list[State]:
        """Parameters as the state loop takes them."""
        if len(self.devices) > 1:
            return list(values)
        return [float(np.asarray(v).reshape(-1)[0]) for v in values]

    def loop_rows(self, *series: NDArray[Any]) -> Iterable[tuple[State, ...]]:
        """Series [S, d] as the state loop takes them: one tuple a step."""
        if len(self.devices) > 1:
            return zip(*series, strict=True)
        return zip(*(s[:, 0].tolist() for s in series), strict=True)

    def extremes(self) -> tuple[Callable[[State, State], State], Callable[[State, State], State]]:
        """Minimum and maximum of two values of the state loop."""
        return (np.minimum, np.maximum) if len(self.devices) > 1 else (min, max)

    def sample(self, times_ms: Int64) -> Float64:
        """Readings at ascending ``times_ms`` [k], all within the block last advanced to: float64 [d, k, m]."""
        steps = (times_ms - self._start_ms) // CONTROL_STEP_MS
        series = {name: values[steps] for name, values in self._series.items()}
        truth = self.observe(series)
        self._deviate(truth, times_ms)
        readings = np.stack([g.standard_normal((len(steps), len(self.metric_names))) for g in self._measurement])
        readings *= self._noise
        readings += self._offset[:, None, :]
        for i, name in enumerate(self.metric_names):
            readings[:, :, i] += truth[name].T
        self._bias(readings, times_ms)
        np.clip(readings, self._hard_low, self._hard_high, out=readings)
        for i, decimals in enumerate(self._decimals):
            readings[:, :, i] = np.round(readings[:, :, i], decimals)
        self._fail(readings, times_ms)
        return readings

    def delivered(self) -> Float64:
        """Temperature of what the devices deliver in the block last advanced to, float64 [S, d], °F.

        Raises:
            ValueError: machines of the type deliver nothing.
        """
        if self.delivers is None:
            raise ValueError(f"a {self.device_type} delivers nothing")
        return self._series[self.delivers[1]]

    def advance(self, outdoors: Outdoors, fed: Mapping[str, Float64] | None = None) -> None:
        """Compute the next block of control steps, from the state after the one before.

        Args:
            outdoors: what all devices share.
            fed: what others deliver, see ``Block.fed``.
        """
        block = self._block(outdoors, fed or {})
        shape = block.none.shape
        drive = {name: np.ascontiguousarray(np.broadcast_to(v, shape)) for name, v in self.drive(block).items()}
        initial = self.initial_states()
        if not self._states:
            self._states = tuple(self.loop_values(*(np.broadcast_to(v, shape[1:]) + 0.0 for v in initial.values())))
        history = self.integrate(drive, self._states)
        self._states = history[-1]
        states = np.array(history, dtype=np.float64).reshape(shape[0], len(initial), shape[1])
        self._series = drive | {name: states[:, i, :] for i, name in enumerate(initial)}
        self._start_ms = int(outdoors.times_ms[0])

    def _block(self, outdoors: Outdoors, fed: Mapping[str, Float64]) -> Block:
        times_ms = outdoors.times_ms
        shape = (STEPS_PER_BLOCK, len(self.devices))
        severity: dict[str, Float64] = {}
        for column, fault in self._faults:
            if fault.start_ms <= times_ms[-1] and fault.end_ms > times_ms[0]:
                severity.setdefault(fault.kind, np.zeros(shape))[:, column] += fault.intensity(times_ms)
        return Block(
            times_s=times_ms / 1000.0,
            hours=outdoors.hours[:, None],
            schedule_hours=outdoors.schedule_hours[:, None],
            dry_bulb=outdoors.air.dry_bulb[:, None],
            wet_bulb=outdoors.air.wet_bulb[:, None],
            humidity_ratio=outdoors.air.humidity_ratio[:, None],
            setpoint_change=self._setpoint_change(times_ms),
            faults=severity,
            none=np.zeros(shape),
            fed=fed,
        )

    def _setpoint_change(self, times_ms: Int64) -> Float64:
        moved = np.zeros((len(times_ms), len(self.devices)))
        for column, change in self._setpoint_changes:
            moved[times_ms >= change.from_ms, column] = change.change
        return moved

    def load_noise(self, block: Block) -> Float64:
        """How each device's load wanders, float64 [S, d] in [-1, 1]."""
        return self._load.sample(block.times_s)

    def slow_drift(self, block: Block) -> Float64:
        """Degradation and dirt that come and go over months, float64 [S, d] in [0, 1]."""
        return 0.5 + 0.5 * self._drift.sample(block.times_s)

    def _active(self, kind: str, times_ms: Int64) -> Iterable[tuple[int, Fault, NDArray[np.bool_]]]:
        for column, fault in self._faults:
            if fault.kind == kind:
                inside = (times_ms >= fault.start_ms) & (times_ms < fault.end_ms)
                if inside.any():
                    yield column, fault, inside

    def _deviate(self, truth: dict[str, Float64], times_ms: Int64) -> None:
        """Correlated deviations: several metrics move together, none out of its normal range."""
        for column, fault, inside in self._active("correlated_deviation", times_ms):
            severity = fault.intensity(times_ms)[inside]
            for name, offset in self.correlated_offsets.items():
                low, high = self._normal[name]
                margin = 0.02 * (high - low)
                true = truth[name][inside, column]
                moved = np.clip(true + severity * offset, low + margin, high - margin)
                # Where the truth is near or beyond its range there is no room to move, but no reason to move back.
                further = (moved - true) * offset > 0
                truth[name][inside, column] = np.where(further, moved, true)

    def _bias(self, readings: Float64, times_ms: Int64) -> None:
        for column, fault, inside in self._active("sensor_bias", times_ms):
            readings[column, inside, self._column(fault)] += fault.intensity(times_ms)[inside]

    def _fail(self, readings: Float64, times_ms: Int64) -> None:
        for column, fault, inside in self._active("stuck_sensor", times_ms):
            metric = self._column(fault)
            held = self._held.setdefault(fault, float(readings[column, np.argmax(inside), metric]))
            readings[column, inside, metric] = held
        for column, fault, inside in self._active("sensor_failure", times_ms):
            readings[column, inside, self._column(fault)] = SENTINEL

    def _column(self, fault: Fault) -> int:
        return self.metric_names.index(str(fault.metric))
