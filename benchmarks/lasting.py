"""What is new and lasts, and what is wrong and lasts: which of the two the platform learns, and how soon.

Run: ``.venv/bin/python -m benchmarks.lasting changes faults season --cases 40``. Each case is one simulated machine under
the platform's own work: every day is judged by what was learned by the midnight before; every night its profile is built.

- ``changes``: a setpoint is moved, a schedule is shifted, a sensor is replaced; said is how many are quiet on the third day.
- ``noise``: a sensor is four times noisier from one day on; said is the same of these, and how many are told of once.
- ``faults``: a fault that nobody flags goes on for ten days; said is how many of those that alarmed were learned away.
- ``season``: 28 days without a fault after 7 learned; said are false alarms a day and the share of flagged windows by week,
  and how many incidents a device-day have so many points of urgency or more.
- ``load``: faults of a quarter of today's size to the whole; said is the urgency of their incidents 30 minutes later.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvac_platform.config import Settings
from hvac_platform.detection.evaluation import score_faults
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.monitoring.judging import Judgement, judgement_batches, ready_to_judge
from hvac_platform.monitoring.passes import IncidentsPass, LearningOptions, LearningPass, Span, write_pass
from hvac_platform.runtime.connections import make_encoders
from hvac_platform.simulation import makeup_air_unit
from hvac_platform.simulation.device_group import DeviceGroup
from hvac_platform.simulation.faults import FAULT_KINDS, Fault, kinds_for
from hvac_platform.simulation.fleet_simulation import SIMULATED_TYPES, FleetSimulation
from hvac_platform.simulation.sensors import SENSORS
from hvac_platform.stores.base import Device
from hvac_platform.stores.batches import write_batch
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident
from hvac_platform.timestamps import DAY_MS

Float64 = NDArray[np.float64]

START_MS = 1_777_593_600_000  # 2026-05-01T00:00Z
WINDOW_MS, HOUR_MS = 300_000, 3_600_000  # five minutes: a case in seconds
LEARNED_DAYS, CHANGE_DAYS, FAULT_DAYS, SEASON_DAYS = 7, 4, 10, 28
QUIET_SHARE = 0.01
"""A day is quiet with at most so many of its windows flagged, a quarter of an hour of a whole day."""
ALARMING_SHARE = 0.02

#: What holds a machine's setpoint in the simulation, and by how much it is moved, in its unit.
SETPOINTS = {
    "rooftop_unit": (("_cooling_setpoint", 1.0), ("_heating_setpoint", 1.0)),
    "makeup_air_unit": (("_HEATING_TARGET_F", 1.0), ("_COOLING_TARGET_F", 1.0)),
    "chiller": (("_setpoint", 1.0),),
    "cooling_tower": (("_approach_setpoint", 1.0),),
    "air_compressor": (("_setpoint", 3.0),),
}
EARLIER_HOURS = 2.0
NOISIER = 4.0


@dataclass(frozen=True)
class Machine:
    """Readings of one machine: float64 [n, m] by window, from ``START_MS`` on."""

    device: FleetDevice
    names: tuple[str, ...]
    values: Float64


def simulated(
    device: FleetDevice,
    seed: int,
    days: float,
    faults: tuple[Fault, ...] = (),
    *,
    from_row: int | None = None,
    change: Callable[[DeviceGroup], None] = lambda _: None,
) -> Machine:
    """One reading a window, so many days; from a row on with something changed in the machine itself."""
    times = np.arange(START_MS, START_MS + round(days * DAY_MS), WINDOW_MS, dtype=np.int64)
    simulation = FleetSimulation([device], seed=seed, faults=faults)
    if from_row is None:
        (readings,) = simulation.advance(times)
        return Machine(device, readings.metric_names, readings.values)
    (before,) = simulation.advance(times[:from_row])
    change(simulation._groups[0])
    (after,) = simulation.advance(times[from_row:])
    return Machine(device, before.metric_names, np.concatenate([before.values, after.values]))


def changed(device: FleetDevice, seed: int, days: float, what: str, from_row: int, rng: np.random.Generator) -> Machine:
    """A machine of which something changes for good at a row: its setpoint, its schedule, or a sensor."""
    kind = device.device_type
    if what == "setpoint":
        sign = float(rng.choice([-1.0, 1.0]))
        module = makeup_air_unit if kind == "makeup_air_unit" else None
        usual = {name: getattr(module, name) for name, _ in SETPOINTS[kind]} if module else {}

        def moved(group: DeviceGroup) -> None:
            for name, step in SETPOINTS[kind]:
                setattr(module or group, name, getattr(module or group, name) + sign * step)

        try:
            return simulated(device, seed, days, from_row=from_row, change=moved)
        finally:
            for name, value in usual.items():
                setattr(module, name, value)
    if what == "schedule":

        def earlier(group: DeviceGroup) -> None:
            group._shift = group._shift - EARLIER_HOURS  # type: ignore[attr-defined]

        return simulated(device, seed, days, from_row=from_row, change=earlier)
    whole = simulated(device, seed, days)
    values = whole.values.copy()
    if what == "noise":
        name = str(rng.choice([n for n, s in SENSORS[kind].items() if s.lively]))
        sensor, j = SENSORS[kind][name], whole.names.index(name)
        values[from_row:, j] += rng.normal(0.0, sensor.noise * np.sqrt(NOISIER**2 - 1.0), len(values) - from_row)
        return Machine(device, whole.names, values)
    metrics = [n for n, s in SENSORS[kind].items() if s.bias]
    name = str(rng.choice(metrics))
    sensor, j = SENSORS[kind][name], whole.names.index(name)
    noise = rng.normal(0.0, sensor.noise * rng.uniform(0.5, 1.5), len(values) - from_row)
    values[from_row:, j] += rng.choice([-1.0, 1.0]) * sensor.bias * rng.uniform(0.1, 0.4) + noise
    values[from_row : from_row + int(rng.integers(3, 12)), j] = np.nan  # while it is exchanged
    return Machine(device, whole.names, values)


def worked(
    machine: Machine, days: int, settings: Settings, folder: Path, *, learn_last: bool = True
) -> Iterator[tuple[int, Judgement, EmbeddedStore]]:
    """Each day after the learned ones: its number, what was said of it, and the store after the night that follows."""
    store = EmbeddedStore(folder / "store.db")
    encoders = make_encoders(settings, store)
    kind = machine.device
    per_day = DAY_MS // WINDOW_MS

    def device_at(day: int) -> Device:
        end = START_MS + day * DAY_MS
        return Device(kind.device_id, kind.device_type, "", "", START_MS, end - 1, 0)

    def put(first: int, last: int) -> None:
        last = min(last, len(machine.values))
        times = START_MS + np.arange(first, last, dtype=np.int64) * WINDOW_MS
        rows = [
            {name: value for name, value in zip(machine.names, row, strict=True) if value == value}
            for row in machine.values[first:last].tolist()
        ]
        store.upsert(
            "device_state_snapshots",
            {
                "device_id": [kind.device_id] * len(rows),
                "snapshot_time": times,
                "window_ms": [WINDOW_MS] * len(rows),
                "metrics": rows,
                "metric_summary": [{name: [6, v, v, v] for name, v in row.items()} for row in rows],
                "completeness": [1.0] * len(rows),
                "revision": [1] * len(rows),
            },
        )

    def night(day: int) -> None:
        device = device_at(day)
        store.register_devices([device])
        write_pass(LearningPass(store, encoders, settings, [device], LearningOptions(until_ms=START_MS + day * DAY_MS)))

    try:
        put(0, LEARNED_DAYS * per_day)
        night(LEARNED_DAYS)
        for day in range(LEARNED_DAYS, LEARNED_DAYS + days):
            put(day * per_day, (day + 1) * per_day)
            begin, end = START_MS + day * DAY_MS, START_MS + (day + 1) * DAY_MS
            store.register_devices([device_at(day + 1)])
            judgement = ready_to_judge(
                store, device_at(day + 1), encoders, settings, begin, end, now_ms=end + DAY_MS
            ).judge()
            for batch in judgement_batches(judgement):
                write_batch(store, "anomaly_events", batch)
            if ARGS.incidents:
                write_pass(IncidentsPass(store, settings, [Span(device_at(day + 1), begin, end)], now_ms=end))
            if learn_last:
                night(day + 1)
            yield day - LEARNED_DAYS, judgement, store
    finally:
        store.close()


def notices(store: EmbeddedStore) -> list[str]:
    """What the platform has told of lasting changes: state and evidence of each."""
    try:
        from hvac_platform.stores.records import LastingChange
    except ImportError:  # a version from before there were any
        return []
    return [f"{one.state}: {'; '.join(e['said'] for e in one.evidence)}" for one in LastingChange.read(store)]


def load_case(case: int) -> dict[str, object]:
    """One machine with a fault that began half an hour ago: the urgency of its incident, 0 where there is none."""
    rng = np.random.default_rng([case, 77])
    types = tuple(SIMULATED_TYPES)
    kind, seed = types[case % len(types)], 500 + case if ARGS.report else 1 + case
    device = FleetDevice(f"{kind}-{seed}", kind)
    name = str(rng.choice([k for k in kinds_for(kind) if k != "efficiency_degradation"]))
    spec, magnitude, metric = FAULT_KINDS[name], float(rng.choice([0.25, 0.5, 1.0])), None
    if spec.of_a_sensor:
        metric = str(
            rng.choice([n for n, s in SENSORS[kind].items() if s.bias and (name != "stuck_sensor" or s.lively)])
        )
    size = magnitude * (SENSORS[kind][metric].bias if name == "sensor_bias" and metric else 1.0)
    start = START_MS + LEARNED_DAYS * DAY_MS + round(float(rng.uniform(8, 17)) * HOUR_MS) // WINDOW_MS * WINDOW_MS
    machine = simulated(
        device, seed, LEARNED_DAYS + 1, (Fault(device.device_id, name, start, start + 2 * HOUR_MS, metric, size),)
    )
    settings = Settings(_env_file=None, hvac_window_seconds=WINDOW_MS // 1000)  # type: ignore[call-arg]
    rows = (start + HOUR_MS // 2 - START_MS) // WINDOW_MS
    points = 0.0
    with tempfile.TemporaryDirectory(dir=ARGS.folder) as folder:
        short = Machine(device, machine.names, machine.values[:rows])
        for _, _, store in worked(short, 1, settings, Path(folder), learn_last=False):
            points = max((i.urgency or 0.0 for i in Incident.read(store) if i.ended_at > start), default=0.0)
    return {"part": "load", "case": case, "type": kind, "what": name, "magnitude": magnitude, "urgency": points}


def one_case(what: str, case: int) -> dict[str, object]:
    """One machine of a part, chosen by the number of the case."""
    if what == "load":
        return load_case(case)
    rng = np.random.default_rng([case, len(what)])
    types = tuple(SIMULATED_TYPES)
    kind, seed = types[case % len(types)], 500 + case if ARGS.report else 1 + case
    device = FleetDevice(f"{kind}-{seed}", kind)
    begin = LEARNED_DAYS * DAY_MS + round(float(rng.uniform(0, 20)) * HOUR_MS)
    from_row = begin // WINDOW_MS
    told: dict[str, object] = {"part": what, "case": case, "type": kind, "seed": seed}
    if what in ("changes", "noise"):
        sort = "noise" if what == "noise" else ("setpoint", "schedule", "sensor")[case // len(types) % 3]
        days, told["what"] = CHANGE_DAYS, sort
        machine = changed(device, seed, LEARNED_DAYS + days, sort, from_row, rng)
    elif what == "faults":
        name = str(rng.choice(kinds_for(kind)))
        days = FAULT_DAYS
        spec, magnitude = FAULT_KINDS[name], float(rng.choice([0.5, 0.75, 1.0]))
        metric = None
        if spec.of_a_sensor:
            metric = str(
                rng.choice([n for n, s in SENSORS[kind].items() if s.bias and (name != "stuck_sensor" or s.lively)])
            )
            if name == "sensor_bias":
                magnitude *= SENSORS[kind][metric].bias * float(rng.choice([-1.0, 1.0]))
        fault = Fault(
            device.device_id, name, START_MS + begin, START_MS + (LEARNED_DAYS + days) * DAY_MS, metric, magnitude
        )
        told |= {"what": name, "metric": metric, "magnitude": magnitude}
        machine = simulated(device, seed, LEARNED_DAYS + days, (fault,))
    else:
        days = SEASON_DAYS
        told["what"] = "no fault"
        machine = simulated(device, seed, LEARNED_DAYS + days)
    settings = Settings(_env_file=None, hvac_window_seconds=WINDOW_MS // 1000)  # type: ignore[call-arg]
    shares: list[float] = []
    ruled: list[float] = []
    alarms: list[int] = []
    said: list[str] = []
    points: list[float] = []
    with tempfile.TemporaryDirectory(dir=ARGS.folder) as folder:
        for day, judgement, store in worked(machine, days, settings, Path(folder)):
            flagged = judgement.anomalous
            times = START_MS + (LEARNED_DAYS + day) * DAY_MS + np.arange(len(flagged), dtype=np.int64) * WINDOW_MS
            shares.append(round(float(flagged.mean()), 4))
            ruled.append(round(float(judgement.verdicts["rules"].anomalous.mean()), 4))
            alarms.append(score_faults(times, flagged, [], window_ms=WINDOW_MS).false_alarms)
            said = notices(store)
            if ARGS.incidents:
                points = [i.urgency or 0.0 for i in Incident.read(store) if i.parent_id is None]
    return told | {"share": shares, "by_rules": ruled, "alarms": alarms, "notices": said, "urgency": points}


def summary(what: str, rows: list[dict[str, object]]) -> str:
    """The part in one line."""
    if what == "load":
        points = np.array([row["urgency"] for row in rows], dtype=np.float64)
        levels = (0.1, *range(20, 80, 10))
        return "load: share of faults at or above " + ", ".join(f"{u:g}: {(points >= u).mean():.2f}" for u in levels)
    shares = np.array([row["share"] for row in rows], dtype=np.float64)
    alarms = np.array([row["alarms"] for row in rows], dtype=np.float64)
    if what in ("changes", "noise"):
        seen = shares[:, :2].max(axis=1) > QUIET_SHARE
        quiet = shares[:, 3] <= QUIET_SHARE  # the change comes within the first day: the fourth is its third whole day
        ruled = np.array([row["by_rules"] for row in rows], dtype=np.float64)[:, 3] > QUIET_SHARE  # never learned
        once = np.mean([len(row["notices"]) == 1 for row in rows])  # type: ignore[arg-type]
        return (
            f"{what}: {len(rows)}, seen {int(seen.sum())}, quiet on the third whole day {quiet.mean():.2f} "
            f"(of those seen {quiet[seen].mean():.2f}, where no rule fires {quiet[seen & ~ruled].mean():.2f}), "
            f"told of once {once:.2f}; alarms a day {', '.join(f'{day:.1f}' for day in alarms.mean(axis=0))}"
        )
    if what == "faults":
        seen = shares[:, 1] > ALARMING_SHARE
        away = seen & (shares[:, -1] < ALARMING_SHARE)
        return (
            f"faults: {len(rows)}, alarming on the first whole day {int(seen.sum())}, "
            f"learned away by day {FAULT_DAYS}: {int(away.sum())} ({away.sum() / max(1, seen.sum()):.2f})"
        )
    weeks = [slice(7 * w, 7 * w + 7) for w in range(4)]
    return (
        "season: alarms a day by week "
        + ", ".join(f"{alarms[:, w].mean():.2f}" for w in weeks)
        + "; share of windows "
        + ", ".join(f"{shares[:, w].mean():.2%}" for w in weeks)
        + f"; worst machine {alarms.mean(axis=1).max():.2f} a day, {shares.mean(axis=1).max():.1%}"
    )


def main() -> None:
    """Run the parts that were asked for; a line of JSON a case, then a line a part."""
    global WINDOW_MS
    WINDOW_MS = ARGS.window_seconds * 1000
    for what in ARGS.parts:
        rows = []
        ARGS.incidents |= what == "load"
        for case in range(ARGS.first, ARGS.first + ARGS.cases):
            began = time.process_time()
            row = one_case(what, case)
            rows.append(row)
            print(json.dumps(row | {"cpu_s": round(time.process_time() - began, 1)}), flush=True)
        print(summary(what, rows), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=["changes", "noise", "faults", "season", "load"])
    parser.add_argument("--cases", type=int, default=15)
    parser.add_argument("--window-seconds", type=int, default=WINDOW_MS // 1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--report", action="store_true", help="seeds from 500 on, those that figures are reported on")
    parser.add_argument("--incidents", action="store_true", help="compute incidents too, with their urgency")
    parser.add_argument(
        "--folder", default=None, help="where stores are made; the system's temporary folder when absent"
    )
    ARGS = parser.parse_args()
    main()
