"""False alarms and recall on machines with habits: the parts ``habits``, ``season``, ``small`` and ``slow``.

What was chosen was chosen on seeds 1 to 499; the seeds that are reported are from 500 on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hvac_platform.detection import fit_detector
from hvac_platform.detection.evaluation import score_faults
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.simulation.faults import Fault, plan_faults
from hvac_platform.simulation.fleet_simulation import SIMULATED_TYPES, FleetSimulation
from hvac_platform.simulation.habits import Habits, SetpointChange
from hvac_platform.simulation.occupancy import Schedule, ScheduleChange
from hvac_platform.simulation.recording import Instrument, Recording
from hvac_platform.simulation.sensors import SENSORS
from hvac_platform.simulation.weather import Climate, Spell

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

DAY_MS, HOUR_MS, MINUTE_MS = 86_400_000, 3_600_000, 60_000
PARTS = ("habits", "season", "small", "slow")
SEEDS = (501, 502, 503, 504)
START_DATES = ("2026-07-06", "2026-04-13", "2026-10-05", "2026-01-12")  # Mondays
TRAIN_DAYS, TEST_DAYS, FAULTS_PER_DAY = 7, 3, 5.0
SEASON_DAYS = 28
READING_MS = 10_000
WEEKDAYS = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Situation:
    """What is simulated: habits and climate that may depend on where the judged days begin and on the devices.

    Attributes:
        habits: by the first judged moment and the devices.
        climate: by the first judged moment.
        train_days: days learned.
    """

    habits: Callable[[int, Sequence[FleetDevice]], Habits] = lambda cut, fleet: Habits()
    climate: Callable[[int], Climate | None] = lambda cut: None
    train_days: int = TRAIN_DAYS


@dataclass(frozen=True)
class Machine:
    """One machine: what to learn from, what to judge, and what was wrong."""

    name: str
    device_type: str
    seed: int
    train: pd.DataFrame
    test: pd.DataFrame
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class Told:
    """What was said of a machine: alarm of each judged row."""

    machine: Machine
    alarm: Bool

    @property
    def days(self) -> float:
        """Length of what was judged."""
        return len(self.machine.test) * MINUTE_MS / DAY_MS

    def figures(self) -> tuple[int, int, int, list[int], NDArray[np.int64]]:
        """False alarms, faults found, faults missed, delays in ms, and [tp, fp, fn] of rows."""
        times_ms = self.machine.test.index.as_unit("ms").asi8
        spans = [(f.start_ms, f.end_ms, f.recovered_ms) for f in self.machine.faults]
        scored = score_faults(times_ms, self.alarm, spans, window_ms=MINUTE_MS)
        faulty, recovering = np.zeros(len(times_ms), dtype=bool), np.zeros(len(times_ms), dtype=bool)
        for start, end, recovered in spans:
            faulty |= (times_ms + MINUTE_MS > start) & (times_ms < end)
            recovering |= (times_ms >= end) & (times_ms < recovered)
        normal = ~faulty & ~recovering
        rows = np.array([(self.alarm & faulty).sum(), (self.alarm & normal).sum(), (~self.alarm & faulty).sum()])
        return scored.false_alarms, scored.found, scored.missed, list(scored.delays_ms), rows


def _recording(**options: object) -> Situation:
    recording = Recording(**options)  # type: ignore[arg-type]
    return Situation(lambda cut, fleet: Habits(recording=recording))


def _instruments(offset: float, noise_factor: float) -> Situation:
    """One sensor of each device is another from the first judged moment on; offset in units of its noise."""

    def habits(cut: int, fleet: Sequence[FleetDevice]) -> Habits:
        changed = []
        for device in fleet:
            sensors = SENSORS[device.device_type]
            metric = next(name for name, sensor in sensors.items() if sensor.lively)
            changed.append(Instrument(device.device_id, metric, cut, offset * sensors[metric].noise, noise_factor))
        return Habits(recording=Recording(instruments=tuple(changed)))

    return Situation(habits)


def _setpoints(cut: int, fleet: Sequence[FleetDevice]) -> Habits:
    return Habits(setpoint_changes=tuple(SetpointChange(device.device_id, cut, 1.0) for device in fleet))


SITUATIONS: Mapping[str, Situation] = {
    "no habits": Situation(),
    "change of value": _recording(increment_noises=4.0),
    "10 % missing": _recording(missing=0.1),
    "rounded to 3 sigma": _recording(resolution_noises=3.0),
    "every 5 minutes": _recording(intervals_s={name: 300 for kind in SENSORS.values() for name in list(kind)[::2]}),
    "weekend, learned Mon-Fri": Situation(lambda cut, fleet: Habits(Schedule(working_days=WEEKDAYS)), train_days=5),
    "office, learned 14 days": Situation(lambda cut, fleet: Habits(Schedule(working_days=WEEKDAYS)), train_days=14),
    "2 h earlier": Situation(lambda cut, fleet: Habits(Schedule(changes=(ScheduleChange(cut, 2.0),)))),
    "10 °F warmer": Situation(climate=lambda cut: Climate(spells=(Spell(cut, cut + 4 * DAY_MS, 10.0),))),
    "setpoint moved by 1": Situation(_setpoints),
    "sensor replaced": _instruments(5.0, 1.0),
    "sensor 4 x noisier": _instruments(0.0, 4.0),
}


def machines(
    seed: int,
    start: str,
    situation: Situation,
    *,
    rate: float = 0.0,
    size: float = 1.0,
    test_days: int = TEST_DAYS,
    faults: Sequence[Fault] = (),
) -> Iterator[Machine]:
    """One machine of each type: days to learn from, days to judge, as means of a minute."""
    begin = int(pd.Timestamp(start, tz="UTC").timestamp() * 1000)
    cut = begin + situation.train_days * DAY_MS
    end = cut + test_days * DAY_MS
    fleet = [FleetDevice(f"{kind}-{seed}", kind) for kind in SIMULATED_TYPES]
    plan = [*plan_faults(fleet, cut + 3 * HOUR_MS, end, seed=seed, rate=rate, size=size), *faults]
    simulation = FleetSimulation(
        fleet, seed=seed, faults=plan, climate=situation.climate(cut), habits=situation.habits(cut, fleet)
    )
    parts = [
        simulation.advance(np.arange(day, day + DAY_MS, READING_MS, dtype=np.int64))
        for day in range(begin, end, DAY_MS)
    ]
    for i, device in enumerate(fleet):
        means = np.concatenate([_means(part[i].values) for part in parts])
        index = pd.to_datetime(np.arange(begin, end, MINUTE_MS), unit="ms", utc=True)
        table = pd.DataFrame(means, index=index, columns=list(parts[0][i].metric_names))
        faults = tuple(f for f in plan if f.device_id == device.device_id)
        at = situation.train_days * DAY_MS // MINUTE_MS
        yield Machine(device.device_id, device.device_type, seed, table.iloc[:at], table.iloc[at:], faults)


def _means(readings: Float64) -> Float64:
    """Means of the readings of each minute, float64 [t / 6, m]; NaN where there is none."""
    per_minute = MINUTE_MS // READING_MS
    grouped = readings.reshape(-1, per_minute, readings.shape[1])
    count = np.isfinite(grouped).sum(axis=1)
    means = np.nansum(grouped, axis=1) / np.maximum(count, 1)
    return np.where(count > 0, means, np.nan)


def told(machine: Machine) -> Told:
    """What the detector says of a machine, fitted with its defaults and without a device type."""
    return Told(machine, fit_detector(machine.train).score(machine.test)["is_anomalous"].to_numpy())


def row_of(said: Sequence[Told]) -> dict[str, float]:
    """Figures over some machines: false alarms a device-day, of the worst seed and machine, and faults found."""
    figures = [one.figures() for one in said]
    days = sum(one.days for one in said)
    rates = np.array([false / one.days for one, (false, *_) in zip(said, figures, strict=True)])
    seeds = np.array([one.machine.seed for one in said])
    found, missed = sum(f[1] for f in figures), sum(f[2] for f in figures)
    delays = [delay for f in figures for delay in f[3]]
    tp, fp, fn = np.sum([f[4] for f in figures], axis=0).tolist()
    return {
        "false alarms a day": sum(f[0] for f in figures) / days,
        "worst seed": max(float(rates[seeds == seed].mean()) for seed in np.unique(seeds)),
        "worst machine": float(rates.max()),
        "rows": fp / (days * DAY_MS / MINUTE_MS),
        "found": found / (found + missed) if found + missed else float("nan"),
        "by chance": by_chance(said) if found + missed else float("nan"),
        "delay, windows": float(np.median(delays)) / MINUTE_MS if delays else float("nan"),
        "F1": float(2 * tp / max(1, 2 * tp + fp + fn)) if found + missed else float("nan"),
    }


def by_chance(said: Sequence[Told]) -> float:
    """Share of the faults that would be found were they half a day away from where they are, outside any other fault."""
    hits = count = 0
    for one in said:
        times_ms = one.machine.test.index.as_unit("ms").asi8
        faulty = np.zeros(len(times_ms), dtype=bool)
        for fault in one.machine.faults:
            faulty |= (times_ms >= fault.start_ms) & (times_ms < fault.recovered_ms)
        for fault in one.machine.faults:
            shift = DAY_MS // 2 if fault.start_ms + DAY_MS // 2 < times_ms[-1] else -DAY_MS // 2
            inside = (times_ms >= fault.start_ms + shift) & (times_ms < fault.end_ms + shift) & ~faulty
            count += bool(inside.any())
            hits += bool((one.alarm & inside).any())
    return hits / max(1, count)


def worst_of(said: Sequence[Told]) -> str:
    """The machine with the most false alarms, in words."""
    worst = max(said, key=lambda one: one.figures()[0] / one.days)
    return f"{worst.machine.name} {worst.figures()[0] / worst.days:.1f} a day"


Part = Callable[[Sequence[int]], dict[str, list[Told]]]


def _all(seeds: Sequence[int], situation: Situation, **options: float) -> list[Told]:
    return [
        told(machine)
        for i, seed in enumerate(seeds)
        for machine in machines(seed, START_DATES[i % len(START_DATES)], situation, **options)  # type: ignore[arg-type]
    ]


def habits(seeds: Sequence[int]) -> dict[str, list[Told]]:
    """Sound machines in every situation for three days, and faults in some of them."""
    rows = {name: _all(seeds, situation) for name, situation in SITUATIONS.items()}
    for name in ("no habits", "change of value", "10 % missing"):
        rows[f"{name}, faults"] = _all(seeds, SITUATIONS[name], rate=FAULTS_PER_DAY)
    return rows


def season(seeds: Sequence[int]) -> dict[str, list[Told]]:
    """28 sound days after seven learned, week by week, never fitted again."""
    whole = _all(seeds, Situation(), test_days=SEASON_DAYS)
    week = 7 * DAY_MS // MINUTE_MS
    rows: dict[str, list[Told]] = {}
    for k in range(SEASON_DAYS // 7):
        part = slice(k * week, (k + 1) * week)
        rows[f"week {k + 1}, never fitted again"] = [
            Told(replace(one.machine, test=one.machine.test.iloc[part]), one.alarm[part]) for one in whole
        ]
    return rows


def small(seeds: Sequence[int]) -> dict[str, list[Told]]:
    """Faults at their full size, a half, a quarter and a tenth of it."""
    return {
        f"size {size:g}": _all(seeds, Situation(), rate=FAULTS_PER_DAY, size=size) for size in (1.0, 0.5, 0.25, 0.1)
    }


def slow(seeds: Sequence[int]) -> dict[str, list[Told]]:
    """One fault a machine that creeps in over fourteen days, judged by a detector that isn't fitted again."""
    said = []
    for i, seed in enumerate(seeds):
        begin = int(pd.Timestamp(START_DATES[i % len(START_DATES)], tz="UTC").timestamp() * 1000)
        cut = begin + TRAIN_DAYS * DAY_MS
        fleet = [FleetDevice(f"{kind}-{seed}", kind) for kind in SIMULATED_TYPES]
        creeping = [
            Fault(d.device_id, "fouling", cut, cut + 14 * DAY_MS, None, 0.5, 14 * DAY_MS / MINUTE_MS) for d in fleet
        ]
        said += [told(m) for m in machines(seed, START_DATES[i % 4], Situation(), test_days=14, faults=creeping)]
    return {"fouling to one half over 14 days": said}


PART_OF: Mapping[str, Part] = {"habits": habits, "season": season, "small": small, "slow": slow}
