"""Whether a fault in a plant is one incident with the right root: the part ``plant`` of ``make bench-quality``.

Each scenario is a plant of its own: one or two towers, two to five chillers, air handlers, a lag, a season, a fault of
random kind and size; in one of five two unrelated faults at once, which must stay two. Profiles are learned, windows
judged and incidents made as the assets do it, on an embedded store. What was chosen was chosen on seeds 1 to 499; those
that are reported are from 500 on.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hvac_platform.config import Settings
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.devices.topology import Topology, topology_of
from hvac_platform.ingestion.snapshotting import EmbeddingCounts
from hvac_platform.monitoring.judging import judgement_batches, ready_to_judge
from hvac_platform.monitoring.learning import learn_profile, lesson_batches
from hvac_platform.monitoring.passes import IncidentsPass, Span, write_pass
from hvac_platform.runtime.connections import make_encoders
from hvac_platform.simulation.faults import FAULT_KINDS, Fault, kinds_for
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.simulation.plant import Plant
from hvac_platform.simulation.sensors import SENSORS
from hvac_platform.stores.base import Device
from hvac_platform.stores.batches import write_batch
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident
from hvac_platform.timestamps import DAY_MS

FIRST_SEED, SCENARIOS = 500, 50
START_DATES = ("2026-07-06", "2026-04-13", "2026-10-05", "2026-01-12")
LEARNED_DAYS, JUDGED_HOURS = 3, 14
FELT = {
    "cooling_tower": ("fan_failure", "fouling", "efficiency_degradation", "wrong_mode"),
    "chiller": ("compressor_stuck_off", "compressor_stuck_on", "wrong_mode", "low_flow"),
}
"""Kinds of fault that move what a machine gives to others; of so many of the scenarios the fault is one of these."""
FELT_SHARE = 0.7
WINDOW_MS, HOUR_MS, MINUTE_MS = 120_000, 3_600_000, 60_000


@dataclass(frozen=True)
class Scenario:
    """A plant and what befalls it.

    Attributes:
        seed: decides everything.
        fleet: its machines.
        topology: which feeds which.
        lag_minutes: time constant of what is delivered.
        start_ms: begin of what is learned.
        faults: one, or two that have nothing to do with each other.
    """

    seed: int
    fleet: tuple[FleetDevice, ...]
    topology: Topology
    lag_minutes: float
    start_ms: int
    faults: tuple[Fault, ...]

    @property
    def cut_ms(self) -> int:
        """Begin of what is judged."""
        return self.start_ms + LEARNED_DAYS * DAY_MS

    @property
    def end_ms(self) -> int:
        """End of it."""
        return self.cut_ms + JUDGED_HOURS * HOUR_MS


def scenario(seed: int) -> Scenario:
    """The scenario of a seed; one in five has two faults."""
    rng = np.random.default_rng([seed, 17])
    chillers = int(rng.integers(2, 6))
    towers = 1 if chillers < 4 else int(rng.integers(1, 3))
    fleet = [FleetDevice(f"CT-{i + 1}", "cooling_tower", "", "b-1") for i in range(towers)]
    feeds: dict[str, list[str]] = {device.device_id: [] for device in fleet}
    for i in range(chillers):
        name = f"CH-{i + 1}"
        fleet.append(FleetDevice(name, "chiller", "", "b-1"))
        feeds[f"CT-{i % towers + 1}"].append(name)
        feeds[name] = []
        if rng.random() < 0.4:
            kind, short = (("makeup_air_unit", "MAU"), ("rooftop_unit", "RTU"))[int(rng.integers(2))]
            fleet.append(FleetDevice(f"{short}-{i + 1}", kind, "", "b-1"))
            feeds[name].append(f"{short}-{i + 1}")
    start_ms = int(pd.Timestamp(START_DATES[int(rng.integers(4))], tz="UTC").timestamp() * 1000)
    begin = start_ms + LEARNED_DAYS * DAY_MS + round(float(rng.uniform(8.0, 10.0)) * HOUR_MS) // 1000 * 1000
    able = [d for d in fleet if d.device_type in ("cooling_tower", "chiller")]
    weights = np.array([3.0 / towers if d.device_type == "cooling_tower" else 2.0 / chillers for d in able])
    first = able[int(rng.choice(len(able), p=weights / weights.sum()))]
    struck = [first]
    if seed % 5 == 4:
        others = [d for d in able if d is not first]
        struck.append(others[int(rng.integers(len(others)))])
    faults = tuple(
        _fault(device, begin + i * round(float(rng.uniform(0.0, 60.0))) * MINUTE_MS, rng)
        for i, device in enumerate(struck)
    )
    return Scenario(seed, tuple(fleet), topology_of(feeds), float(rng.uniform(2.0, 15.0)), start_ms, faults)


def _fault(device: FleetDevice, start_ms: int, rng: np.random.Generator) -> Fault:
    kinds = kinds_for(device.device_type)
    if rng.random() < FELT_SHARE:
        kinds = tuple(kind for kind in kinds if kind in FELT[device.device_type])
    kind = kinds[int(rng.integers(len(kinds)))]
    end_ms = start_ms + round(float(rng.uniform(60.0, 180.0))) * MINUTE_MS
    size = float(rng.uniform(0.4, 1.0))
    if not FAULT_KINDS[kind].of_a_sensor:
        return Fault(device.device_id, kind, start_ms, end_ms, None, size)
    sensors = SENSORS[device.device_type]
    able = [name for name, sensor in sensors.items() if sensor.bias > 0 and (sensor.lively or kind != "stuck_sensor")]
    metric = able[int(rng.integers(len(able)))]
    if kind == "sensor_bias":
        size *= sensors[metric].bias * float(rng.choice((-1.0, 1.0)))
    return Fault(device.device_id, kind, start_ms, end_ms, metric, size)


def run(case: Scenario, folder: Path) -> EmbeddedStore:
    """The platform over a scenario; the store with its incidents."""
    named = folder / "fleet.json"
    named.write_text(json.dumps({"feeds": {k: list(v) for k, v in case.topology.feeds.items()}}))
    settings = Settings(  # type: ignore[call-arg]
        _env_file=None, hvac_home=folder, hvac_fleet=named, hvac_window_seconds=WINDOW_MS // 1000
    )
    store = EmbeddedStore(folder / "store.db")
    encoders = make_encoders(settings, store)
    times = np.arange(case.start_ms, case.end_ms, WINDOW_MS, dtype=np.int64)
    plant = Plant(case.topology, case.lag_minutes)
    simulation = FleetSimulation(case.fleet, seed=case.seed, faults=case.faults, plant=plant)
    devices = []
    for readings in simulation.advance(times):
        machine, n = readings.device, len(times)
        rows = [dict(zip(readings.metric_names, row, strict=True)) for row in readings.values.tolist()]
        store.upsert(
            "device_state_snapshots",
            {
                "device_id": [machine.device_id] * n,
                "snapshot_time": times,
                "window_ms": [WINDOW_MS] * n,
                "metrics": rows,
                "metric_summary": [{name: [6, v, v, v] for name, v in row.items()} for row in rows],
                "completeness": [1.0] * n,
                "revision": [1] * n,
            },
        )
        first, last = int(times[0]), int(times[-1]) + WINDOW_MS - 1
        devices.append(Device(machine.device_id, machine.device_type, "", machine.building_id, first, last, 0))
    store.register_devices(devices)
    for device in devices:
        lesson = learn_profile(store, device, encoders, settings, until_ms=case.cut_ms)
        for batch in lesson_batches(store, device, lesson, EmbeddingCounts()):
            write_batch(store, "device_profiles", batch)
        judgement = ready_to_judge(
            store, device, encoders, settings, case.cut_ms, case.end_ms, now_ms=case.end_ms + DAY_MS
        ).judge()
        for batch in judgement_batches(judgement):
            write_batch(store, "anomaly_events", batch)
    spans = [Span(device, case.cut_ms, case.end_ms) for device in devices]
    write_pass(IncidentsPass(store, settings, spans, now_ms=case.end_ms))
    return store


def begun_during(case: Scenario, incidents: Sequence[Incident]) -> list[Incident]:
    """Incidents that began in the faults of a scenario or while machines recovered from them."""
    begin = min(fault.start_ms for fault in case.faults) - 10 * MINUTE_MS
    end = max(fault.recovered_ms for fault in case.faults)
    return [incident for incident in incidents if begin <= incident.started_at < end]


def told_roots(case: Scenario, incidents: Sequence[Incident]) -> list[str]:
    """Devices that the incidents of a scenario's faults are told to have their root in, one an incident that stands alone.

    Incidents that began before the first fault, or after all of them were over, are none of theirs.
    """
    during = begun_during(case, incidents)
    by_id = {incident.incident_id: incident for incident in incidents}
    roots = {}
    for incident in during:
        parent = by_id[incident.parent_id] if incident.parent_id is not None else incident
        named = re.search(r"root ([^;)]+)", parent.cause) if parent.scope == "plant" else None
        roots[parent.incident_id] = named[1] if named else parent.device_id
    return sorted(roots.values())


def is_right(case: Scenario, roots: Sequence[str]) -> bool:
    """Whether there is one incident for each fault, on the device at fault, and no other."""
    return list(roots) == sorted(fault.device_id for fault in case.faults)


def plant_figures(seeds: Sequence[int]) -> dict[str, dict[str, float]]:
    """Share of scenarios that are told right, of one fault and of two, and felt by others; prints those that are not."""
    said: list[tuple[Scenario, bool, bool]] = []
    for seed in seeds:
        case, began = scenario(seed), time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            store = run(case, Path(folder))
            incidents = Incident.read(store)
            store.close()
        roots = told_roots(case, incidents)
        devices = {incident.device_id for incident in begun_during(case, incidents)}
        said.append((case, is_right(case, roots), len(devices) > len(case.faults)))
        if not said[-1][1]:
            struck = ", ".join(f"{f.device_id} {f.kind} ({f.magnitude:.2f})" for f in case.faults)
            took = f"{time.monotonic() - began:.0f} s"
            print(f"seed {seed}: {struck}; told {', '.join(roots) or 'nothing'} ({took})", flush=True)
    rows = {}
    groups = {
        "one fault": [ok for case, ok, _ in said if len(case.faults) == 1],
        "two faults": [ok for case, ok, _ in said if len(case.faults) == 2],
        "felt by other devices": [ok for _, ok, felt in said if felt],
        "all": [ok for _, ok, _ in said],
    }
    for name, right in groups.items():
        rows[name] = {"scenarios": float(len(right)), "right": float(np.mean(right)) if right else float("nan")}
    return rows
