"""Writes what faults look like, by device type and kind: ``python -m benchmarks.signatures``.

Simulates each device type with faults of the machine on seeds that neither tuning nor the quality benchmark uses, fits a
detector on fault-free days, takes the signature of each fault's anomalous rows, and sums those of a kind up in a few unit
vectors (spherical k-means: Dhillon and Modha, Machine Learning 42, 2001). Files go to hvac_platform/devices/signatures.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from hvac_platform.detection import fit_detector
from hvac_platform.detection.fault_kinds import FOLDER
from hvac_platform.detection.signatures import signature
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.simulation.faults import FAULT_KINDS, Fault, plan_faults
from hvac_platform.simulation.fleet_simulation import SIMULATED_TYPES, FleetSimulation

Float64 = NDArray[np.float64]

SEEDS = tuple(range(41, 57))
START_DATES = ("2026-07-06", "2026-04-13", "2026-10-05", "2026-01-12")
TRAIN_DAYS, FAULT_DAYS, FAULTS_PER_DAY = 4, 6, 6.0
DAY_MS, HOUR_MS, MINUTE_MS, READING_MS = 86_400_000, 3_600_000, 60_000, 10_000
LARGEST_NUMBER, LEAST_INCIDENTS, ROUNDS = 4, 4, 20
MACHINE_KINDS = tuple(kind for kind, spec in FAULT_KINDS.items() if not spec.of_a_sensor)


class Incident(NamedTuple):
    """One simulated fault that was found: of which kind, on which seed, and its signature."""

    device_type: str
    seed: int
    kind: str
    signature: pd.Series


def incidents(seed: int, start_date: str) -> Iterator[Incident]:
    """Signatures of the faults of one device of each type that were found."""
    start = int(pd.Timestamp(start_date, tz="UTC").timestamp() * 1000)
    cut = start + TRAIN_DAYS * DAY_MS
    times = np.arange(start, cut + FAULT_DAYS * DAY_MS, READING_MS, dtype=np.int64)
    fleet = [FleetDevice(f"{kind}-{seed}", kind) for kind in SIMULATED_TYPES]
    plan = plan_faults(fleet, cut + HOUR_MS, int(times[-1]), seed=seed, rate=FAULTS_PER_DAY, kinds=MACHINE_KINDS)
    for readings in FleetSimulation(fleet, seed=seed, faults=plan).advance(times):
        begins = times[:: MINUTE_MS // READING_MS]
        means = readings.values.reshape(len(begins), MINUTE_MS // READING_MS, -1).mean(axis=1)
        index = pd.to_datetime(begins, unit="ms", utc=True)
        frame = pd.DataFrame(means, index=index, columns=list(readings.metric_names))
        device = readings.device
        fitted = fit_detector(frame[begins < cut], device_type=device.device_type)
        test = frame[begins >= cut]
        alarms, sigmas = fitted.score(test)["is_anomalous"].to_numpy(), fitted.sigmas(test)
        for fault in (f for f in plan if f.device_id == device.device_id):
            if (rows := alarms & inside(fault, test)).any():
                yield Incident(device.device_type, seed, fault.kind, signature(sigmas[rows]))


def inside(fault: Fault, frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Rows of one minute that a fault overlaps."""
    times_ms = frame.index.as_unit("ms").asi8  # type: ignore[attr-defined]
    return (times_ms + MINUTE_MS > fault.start_ms) & (times_ms < fault.end_ms)


def prototypes(signatures: Float64) -> Float64:
    """A few unit vectors near which all signatures [n, m] of a kind are, float64 [k, m]: one for four of them, four at most.

    Begins with the signature nearest to the mean, then each time with the one furthest from those before.
    """
    chosen = [int((signatures @ signatures.mean(axis=0)).argmax())]
    while len(chosen) < min(LARGEST_NUMBER, len(signatures) // LEAST_INCIDENTS):
        chosen.append(int((signatures @ signatures[chosen].T).max(axis=1).argmin()))
    centres = signatures[chosen]
    for _ in range(ROUNDS):
        nearest = (signatures @ centres.T).argmax(axis=1)
        sums = np.stack([signatures[nearest == k].sum(axis=0) for k in range(len(centres))])
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 0, sums / np.maximum(lengths, 1e-12), centres)
    return centres


def document(device_type: str, found: Sequence[Incident], seeds: Sequence[int]) -> str:
    """The YAML file of one type."""
    by_kind: dict[str, list[pd.Series]] = defaultdict(list)
    for incident in found:
        by_kind[incident.kind].append(incident.signature)
    kinds = {}
    for kind in (k for k in MACHINE_KINDS if k in by_kind):
        together = pd.DataFrame(by_kind[kind]).fillna(0.0)
        looks = prototypes(together.to_numpy())
        kinds[kind] = {
            "title": FAULT_KINDS[kind].description,
            "incidents": len(together),
            "signatures": [
                dict(zip(together.columns, (np.round(row, 3) + 0.0).tolist(), strict=True)) for row in looks
            ],
        }
    head = (
        f"# What faults of a {device_type.replace('_', ' ')} look like: conditional deviation of each metric, at unit "
        "length.\n"
        "# Written by benchmarks/signatures.py from simulated faults, not from recordings of real ones: "
        f"seeds {min(seeds)} to\n"
        f"# {max(seeds)}, {TRAIN_DAYS} fault-free days learned, then {FAULT_DAYS} days with {FAULTS_PER_DAY:.0f} faults a "
        "day, one row a minute.\n"
    )
    body = yaml.safe_dump(
        {"device_type": device_type, "kinds": kinds},
        sort_keys=False,
        allow_unicode=True,
        width=120,
        default_flow_style=None,
    )
    return head + body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    options = parser.parse_args()
    found: list[Incident] = []
    for i, seed in enumerate(options.seeds):
        found += incidents(seed, START_DATES[i % len(START_DATES)])
        print(f"seed {seed}: {len(found)} incidents so far")
    options.out.mkdir(parents=True, exist_ok=True)
    for device_type in SIMULATED_TYPES:
        own = [incident for incident in found if incident.device_type == device_type]
        (options.out / f"{device_type}.yaml").write_text(document(device_type, own, options.seeds), encoding="utf-8")


if __name__ == "__main__":
    main()
