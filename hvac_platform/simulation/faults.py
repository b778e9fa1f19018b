"""Faults: what can break, when it does (plans), and the labels that say so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.simulation.randomness import generator
from hvac_platform.simulation.sensors import SENSORS

Float64 = NDArray[np.float64]

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000

#: A fault that would have less than this of the span left is not planned.
SHORTEST_MS = 5 * MINUTE_MS

#: What a failed sensor sends.
SENTINEL = -999.0


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One way in which a machine or its sensors fail.

    Attributes:
        description: what happens, in words.
        device_types: types that it applies to.
        minutes: shortest and longest duration in a plan.
        onset_minutes: time from the start to full effect; 0 is sudden, None is gradual over the fault's whole length.
        recovery_minutes: how long the machine may need after the end until it runs as if nothing had been.
        utc_hours: first and last hour of the day (UTC) in which the fault may start in a plan: a compressor that is not
            wanted cannot be seen to be missing.
        of_a_sensor: True where one sensor is at fault and the machine is not.
    """

    description: str
    device_types: frozenset[str]
    minutes: tuple[float, float] = (20.0, 90.0)
    onset_minutes: float | None = 0.0
    recovery_minutes: float = 90.0
    utc_hours: tuple[float, float] = (0.0, 24.0)
    of_a_sensor: bool = False


_ALL = frozenset(SENSORS)

#: Fault kinds by name.
FAULT_KINDS: Mapping[str, FaultKind] = MappingProxyType(
    {
        "compressor_stuck_on": FaultKind(
            "the compressor or cooling stage runs at full capacity whatever the control asks for",
            frozenset({"rooftop_unit", "makeup_air_unit", "chiller", "air_compressor"}),
            recovery_minutes=150.0,
        ),
        "compressor_stuck_off": FaultKind(
            "the compressor does not start although the control asks for it",
            frozenset({"rooftop_unit", "chiller", "air_compressor"}),
            recovery_minutes=150.0,
            utc_hours=(11.0, 16.0),
        ),
        "sensor_failure": FaultKind(f"one sensor sends {SENTINEL:.0f}", _ALL, recovery_minutes=0.0, of_a_sensor=True),
        "stuck_sensor": FaultKind(
            "one sensor repeats its last reading to the digit", _ALL, recovery_minutes=0.0, of_a_sensor=True
        ),
        "efficiency_degradation": FaultKind(
            "capacity or efficiency falls gradually",
            _ALL,
            minutes=(150.0, 300.0),
            onset_minutes=None,
            recovery_minutes=150.0,
            utc_hours=(8.0, 15.0),
        ),
        "correlated_deviation": FaultKind(
            "several metrics drift together, each within its normal range",
            _ALL,
            onset_minutes=5.0,
            recovery_minutes=0.0,
        ),
        "wrong_mode": FaultKind(
            "the control is in the wrong mode: heating in cooling weather, night set-back by day, a fan left in hand",
            _ALL,
            recovery_minutes=150.0,
            utc_hours=(7.0, 19.0),
        ),
        "sensor_bias": FaultKind("one sensor is off by a constant", _ALL, recovery_minutes=0.0, of_a_sensor=True),
        "fan_failure": FaultKind(
            "the supply, tower or cooler fan stops",
            frozenset({"rooftop_unit", "makeup_air_unit", "cooling_tower", "air_compressor"}),
            recovery_minutes=150.0,
        ),
        "fouling": FaultKind("a filter, condenser, fill or cooler clogs", _ALL, onset_minutes=10.0),
        "low_flow": FaultKind(
            "air or water flow falls: slipping belt, closed damper, failing pump", _ALL, onset_minutes=2.0
        ),
        "novel": FaultKind("a control loop hunts: a periodic swing that no limit or relationship forbids", _ALL),
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one device: what is simulated, and the label of it.

    Attributes:
        device_id: the device.
        kind: one of FAULT_KINDS.
        start_ms: first moment of the fault, epoch milliseconds UTC.
        end_ms: first moment without it.
        metric: the sensor at fault, or None when the machine is.
        magnitude: severity from 0 to 1; for ``sensor_bias`` the signed offset in the metric's unit.
        onset_minutes: time to full effect where it isn't that of the kind: what creeps in over weeks.
    """

    device_id: str
    kind: str
    start_ms: int
    end_ms: int
    metric: str | None = None
    magnitude: float = 1.0
    onset_minutes: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise ValueError(f"unknown fault kind {self.kind!r}, known: {', '.join(FAULT_KINDS)}")
        if self.end_ms <= self.start_ms:
            raise ValueError(f"fault {self.kind} of {self.device_id} ends before it starts")
        if FAULT_KINDS[self.kind].of_a_sensor != (self.metric is not None):
            raise ValueError(f"fault {self.kind} of {self.device_id} has metric {self.metric!r}")

    @property
    def recovered_ms(self) -> int:
        """Moment from which the machine runs as if nothing had been; until then its data are not normal."""
        return self.end_ms + round(FAULT_KINDS[self.kind].recovery_minutes * MINUTE_MS)

    def intensity(self, times_ms: NDArray[np.int64]) -> Float64:
        """Severity at each time [t], float64 [t]: 0 outside, rising to ``magnitude`` over the kind's onset."""
        onset_minutes = FAULT_KINDS[self.kind].onset_minutes if self.onset_minutes is None else self.onset_minutes
        # A gradual fault reaches its full extent at 70 % of its length and stays there.
        onset_ms = 0.7 * (self.end_ms - self.start_ms) if onset_minutes is None else onset_minutes * MINUTE_MS
        active = (times_ms >= self.start_ms) & (times_ms < self.end_ms)
        elapsed = (times_ms - self.start_ms).astype(np.float64)
        grown = np.clip(elapsed / onset_ms, 0.02, 1.0) if onset_ms > 0 else np.ones(len(times_ms))
        return np.where(active, self.magnitude * grown, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """The fault as plain values for a labels file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Fault:
        """The fault of a labels file's entry."""
        return cls(
            device_id=str(values["device_id"]),
            kind=str(values["kind"]),
            start_ms=int(values["start_ms"]),
            end_ms=int(values["end_ms"]),
            metric=None if values.get("metric") is None else str(values["metric"]),
            magnitude=float(values.get("magnitude", 1.0)),
            onset_minutes=None if values.get("onset_minutes") is None else float(values["onset_minutes"]),
        )


def kinds_for(device_type: str, kinds: Collection[str] | None = None) -> tuple[str, ...]:
    """Fault kinds that apply to a device type, in the order of FAULT_KINDS; of ``kinds`` only when given."""
    if kinds is not None and (unknown := set(kinds) - FAULT_KINDS.keys()):
        raise ValueError(f"unknown fault kinds {', '.join(sorted(unknown))}, known: {', '.join(FAULT_KINDS)}")
    return tuple(k for k, v in FAULT_KINDS.items() if device_type in v.device_types and (kinds is None or k in kinds))


def plan_faults(
    devices: Sequence[FleetDevice],
    start_ms: int,
    end_ms: int,
    *,
    seed: int,
    rate: float,
    device_ids: Sequence[str] | None = None,
    kinds: Collection[str] | None = None,
    size: float = 1.0,
) -> list[Fault]:
    """Random faults over [start_ms, end_ms), in order of device and time.

    A device's faults follow one another with time to recover between, each wholly inside the span. Gaps are
    exponential with the mean that gives ``rate`` faults per device-day; a rate that leaves no room for recovery gives
    as many as fit.
    A device's plan depends on nothing but the seed and the device.

    Args:
        devices: the fleet; devices of types without simulation get no faults.
        start_ms: start of the span, epoch milliseconds UTC.
        end_ms: end of the span.
        seed: seed of the plan.
        rate: expected faults per device-day.
        device_ids: restricts faults to these devices.
        kinds: restricts faults to these kinds.
        size: factor on the size of the faults that have one; a compressor that is stuck is stuck.

    Raises:
        ValueError: unknown device ids or kinds, a negative rate, or a size that isn't above 0 and at most 1.
    """
    if rate < 0:
        raise ValueError(f"rate {rate} is negative")
    if not 0 < size <= 1:
        raise ValueError(f"size {size} isn't above 0 and at most 1")
    chosen = _chosen(devices, device_ids)
    plan: list[Fault] = []
    if rate == 0:
        return plan
    for device in chosen:
        applicable = kinds_for(device.device_type, kinds)
        if not applicable:
            continue
        rng = generator(seed, device.device_id, "fault plan")
        # A fault and its recovery take time in which no other starts: the waiting time is what the rate leaves over.
        occupied_ms = float(np.mean([_mean_occupied_ms(kind) for kind in applicable]))
        wait_ms = max(DAY_MS / rate - occupied_ms, 0.02 * DAY_MS / rate)
        time_ms = start_ms + rng.exponential(wait_ms)
        while time_ms < end_ms:
            fault = _draw(device, applicable, _whole_seconds(time_ms), rng)
            if fault is None:
                time_ms += HOUR_MS
                continue
            if end_ms - fault.start_ms < SHORTEST_MS:
                break
            # What is not over by the end of the span is cut off there.
            plan.append(replace(fault, end_ms=min(fault.end_ms, end_ms), magnitude=fault.magnitude * size))
            time_ms = fault.recovered_ms + rng.exponential(wait_ms)
    return plan


def plan_one_of_each(
    devices: Sequence[FleetDevice],
    start_ms: int,
    end_ms: int,
    *,
    seed: int,
    faults_per_device: int = 4,
    device_ids: Sequence[str] | None = None,
    kinds: Collection[str] | None = None,
    margin_ms: int = HOUR_MS,
) -> list[Fault]:
    """A schedule that gives each device several different faults, evenly spread over the span: for demonstrations.

    The span less ``margin_ms`` at either end is cut into equal slots, one fault each, none longer than its slot allows
    for recovery. Kinds go round over the fleet, so that a fleet of a few devices shows all of them.

    Args:
        devices: the fleet.
        start_ms: start of the span, epoch milliseconds UTC.
        end_ms: end of the span.
        seed: seed of durations and severities.
        faults_per_device: different faults each device gets, fewer if fewer kinds apply.
        device_ids: restricts faults to these devices.
        kinds: restricts faults to these kinds.
        margin_ms: time without faults at the start and the end of the span.
    """
    plan: list[Fault] = []
    shown: dict[str, int] = dict.fromkeys(FAULT_KINDS, 0)
    for device in _chosen(devices, device_ids):
        applicable = kinds_for(device.device_type, kinds)
        rng = generator(seed, device.device_id, "fault schedule")
        slots = min(faults_per_device, len(applicable))
        slot_ms = (end_ms - start_ms - 2 * margin_ms) / max(slots, 1)
        taken: set[str] = set()
        for slot in range(slots):
            slot_start = start_ms + margin_ms + slot * slot_ms
            fits = _fitting(set(applicable) - taken, slot_start, slot_ms)
            if not fits:
                continue
            # The kind seen least in the fleet so far; among equals a random one.
            kind = min(fits, key=_rarity(shown, rng))
            lateness = FAULT_KINDS[kind].recovery_minutes * MINUTE_MS
            shortest, longest = (m * MINUTE_MS for m in FAULT_KINDS[kind].minutes)
            duration = rng.uniform(shortest, min(longest, slot_ms - lateness))
            earliest, latest = _start_bounds(kind, slot_start, slot_start + slot_ms - lateness - duration)
            fault_start = _whole_seconds(rng.uniform(earliest, latest))
            fault_end = min(fault_start + _whole_seconds(duration), int(slot_start + slot_ms - lateness))
            plan.append(_fault(device, kind, fault_start, fault_end, rng))
            taken.add(kind)
            shown[kind] += 1
    return plan


def intermittent(fault: Fault, on_minutes: float, off_minutes: float) -> list[Fault]:
    """The same fault coming and going: there for ``on_minutes``, gone for ``off_minutes``, from its start to its end.

    >>> fault = Fault("D", "fouling", 0, 60 * MINUTE_MS)
    >>> [(f.start_ms // MINUTE_MS, f.end_ms // MINUTE_MS) for f in intermittent(fault, 10.0, 20.0)]
    [(0, 10), (30, 40)]

    Raises:
        ValueError: a duration that isn't positive.
    """
    if on_minutes <= 0 or off_minutes <= 0:
        raise ValueError("an intermittent fault needs positive durations")
    on_ms, off_ms = _whole_seconds(on_minutes * MINUTE_MS), _whole_seconds(off_minutes * MINUTE_MS)
    starts = range(fault.start_ms, fault.end_ms, on_ms + off_ms)
    return [replace(fault, start_ms=start, end_ms=min(start + on_ms, fault.end_ms)) for start in starts]


def _whole_seconds(milliseconds: float) -> int:
    """Rounded up, so that nothing starts before its time."""
    return -(-int(milliseconds) // 1000) * 1000


def _chosen(devices: Sequence[FleetDevice], device_ids: Sequence[str] | None) -> list[FleetDevice]:
    if device_ids is None:
        return list(devices)
    if unknown := set(device_ids) - {device.device_id for device in devices}:
        raise ValueError(f"devices not in the fleet: {', '.join(sorted(unknown))}")
    return [device for device in devices if device.device_id in device_ids]


def _mean_occupied_ms(kind: str) -> float:
    spec = FAULT_KINDS[kind]
    return (sum(spec.minutes) / 2 + spec.recovery_minutes) * MINUTE_MS


def _hour_allowed(kind: str, time_ms: float) -> bool:
    first, last = FAULT_KINDS[kind].utc_hours
    return first <= (time_ms % DAY_MS) / HOUR_MS < last


def _draw(device: FleetDevice, applicable: Iterable[str], start_ms: int, rng: np.random.Generator) -> Fault | None:
    """A fault that may start now, or None when no kind may."""
    candidates = [kind for kind in applicable if _hour_allowed(kind, start_ms)]
    if not candidates:
        return None
    kind = candidates[int(rng.integers(len(candidates)))]
    minutes = rng.uniform(*FAULT_KINDS[kind].minutes)
    return _fault(device, kind, start_ms, start_ms + _whole_seconds(minutes * MINUTE_MS), rng)


def _fault(device: FleetDevice, kind: str, start_ms: int, end_ms: int, rng: np.random.Generator) -> Fault:
    severity = float(round(rng.uniform(0.7, 1.0), 3))
    if not FAULT_KINDS[kind].of_a_sensor:
        return Fault(device.device_id, kind, start_ms, end_ms, None, severity)
    sensors = SENSORS[device.device_type]
    metrics = [
        name for name, sensor in sensors.items() if sensor.bias > 0 and (sensor.lively or kind != "stuck_sensor")
    ]
    metric = metrics[int(rng.integers(len(metrics)))]
    if kind == "sensor_bias":
        severity = float(round(severity * sensors[metric].bias * rng.choice((-1.0, 1.0)), 3))
    return Fault(device.device_id, kind, start_ms, end_ms, metric, severity)


def _start_bounds(kind: str, earliest: float, latest: float) -> tuple[float, float]:
    """The part of [earliest, latest] at which the kind may start; empty (latest < earliest) when there is none."""
    first, last = FAULT_KINDS[kind].utc_hours
    midnight = earliest // DAY_MS * DAY_MS
    for day in (midnight, midnight + DAY_MS):
        bounds = max(earliest, day + first * HOUR_MS), min(latest, day + last * HOUR_MS)
        if bounds[0] <= bounds[1]:
            return bounds
    return earliest, earliest - 1


def _fitting(kinds: Iterable[str], slot_start: float, slot_ms: float) -> list[str]:
    """Kinds whose shortest fault and recovery fit into the slot at an hour at which they show, in a fixed order."""
    fits = []
    for kind in FAULT_KINDS:
        spec = FAULT_KINDS[kind]
        spare = slot_ms - (spec.minutes[0] + spec.recovery_minutes) * MINUTE_MS
        # The longest duration must fit as well as the shortest, or the later draw could leave no room to start.
        longest = min(spec.minutes[1] * MINUTE_MS, slot_ms - spec.recovery_minutes * MINUTE_MS)
        latest = slot_start + slot_ms - spec.recovery_minutes * MINUTE_MS - longest
        earliest, bounded = _start_bounds(kind, slot_start, latest)
        if kind in kinds and spare >= 0 and earliest <= bounded:
            fits.append(kind)
    return fits


def _rarity(shown: Mapping[str, int], rng: np.random.Generator) -> Callable[[str], tuple[int, float]]:
    tie_break = {kind: float(rng.random()) for kind in FAULT_KINDS}
    return lambda kind: (shown[kind], tie_break[kind])
