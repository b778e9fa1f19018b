"""Scores of the detector on recorded conditions, kept so that a change of structure can show that it changed no number.

    python -m hvac_platform_tests.detection.golden_scores write     # before the change
    python -m hvac_platform_tests.detection.golden_scores compare   # after it: equal to the last digit, or which differ

The kept file is one machine's; another's linear algebra rounds otherwise, so the test of it leaves room for that.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hvac_platform.detection import fit_detector
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.simulation.faults import Fault
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform_tests.conftest import HOUR_MS, MINUTE_MS
from hvac_platform_tests.detection.records import machine

KEPT = Path(__file__).with_name("golden_scores.npz")
START_MS = 1_783_296_000_000  # 2026-07-06
TYPES = ("air_compressor", "chiller", "cooling_tower", "makeup_air_unit", "rooftop_unit")
KEPT_EVERY = 7
"""Every seventh row is kept, which all rows before it have a part in."""


def simulated(device_type: str, seed: int, hours: int, minutes: int) -> pd.DataFrame:
    """A device's metrics with a wrong mode and a stuck sensor near the end."""
    begin = START_MS + (hours - 16) * HOUR_MS
    times = np.arange(START_MS, START_MS + hours * HOUR_MS, minutes * MINUTE_MS)
    device = FleetDevice("D", device_type)
    (plain,) = FleetSimulation([device], seed=seed).advance(times)
    metric = next(n for n in plain.metric_names if "temp" in n)
    faults = [
        Fault("D", "wrong_mode", begin, begin + 2 * HOUR_MS),
        Fault("D", "stuck_sensor", begin + 6 * HOUR_MS, begin + 8 * HOUR_MS, metric),
    ]
    (readings,) = FleetSimulation([device], seed=seed, faults=faults).advance(times)
    index = pd.to_datetime(readings.times_ms, unit="ms", utc=True)
    return pd.DataFrame(readings.values, index=index, columns=list(readings.metric_names))


def records() -> dict[str, tuple[pd.DataFrame, int, str | None]]:
    """Records by name: a table, how many of its rows are for the training, the device type or None."""
    found: dict[str, tuple[pd.DataFrame, int, str | None]] = {"machine": (machine(2100), 1500, None)}
    found["machine at 1 s"] = (machine(2100, seed=3, interval="1s"), 1500, None)
    for number, device_type in enumerate(TYPES):
        found[device_type] = (simulated(device_type, 40 + number, 64, 1), 48 * 60, device_type)
        found[f"{device_type} at 5 min"] = (simulated(device_type, 60 + number, 136, 5), 120 * 12, None)
    holes = simulated("chiller", 50, 64, 1)
    holes.iloc[100:160, :4] = np.nan
    holes.iloc[3000:3040] = np.nan
    found["chiller with holes"] = (holes.drop(index=holes.index[3300:3400]), 48 * 60, "chiller")
    return found


def golden_scores() -> dict[str, NDArray[np.float64]]:
    """What the detector says of every record, by record and column."""
    kept: dict[str, NDArray[np.float64]] = {}
    for name, (table, training, device_type) in records().items():
        detector = fit_detector(table.iloc[:training], device_type=device_type)
        scored = detector.score(table.iloc[training:])
        halves, state = [], None
        for part in (table.iloc[training : training + 100], table.iloc[training + 100 :]):
            judged, state = detector.advance(part, state)
            halves.append(judged)
        pd.testing.assert_frame_equal(pd.concat(halves), scored)
        examined = detector.examine(table.iloc[training:])
        rows = slice(None, None, KEPT_EVERY)
        for column in ("score", "is_anomalous", "profile_similarity", "neighbour_distance", "observed", "expected"):
            kept[f"{name}: {column}"] = scored[column].to_numpy(dtype=np.float64)[rows]
        kept[f"{name}: top_metric"] = scored["top_metric"].map(detector.metric_names.index).to_numpy(np.float64)[rows]
        kept[f"{name}: reason"] = scored["reason"].map(len).to_numpy(np.float64)[rows]
        kept[f"{name}: ratio"] = examined.ratio[rows]
        kept[f"{name}: sigmas"] = examined.sigmas[rows].ravel()[::5]
        kept[f"{name}: vectors"] = examined.vectors[rows].astype(np.float64).ravel()[::11]
        kept[f"{name}: limits"] = np.array([detector.limits[k] for k in sorted(detector.limits)])
        encoded = detector.from_bytes(detector.to_bytes()).score(table.iloc[training:])
        pd.testing.assert_frame_equal(encoded, scored)
    return kept


def main() -> int:
    """Write or compare the kept file."""
    found = golden_scores()
    if sys.argv[1:] == ["write"]:
        np.savez_compressed(KEPT, **found)
        print(f"{len(found)} arrays, {sum(a.size for a in found.values())} numbers")
        return 0
    with np.load(KEPT) as kept:
        differ = [n for n in kept if not np.array_equal(kept[n], found.get(n, np.zeros(0)), equal_nan=True)]
        missing = sorted(set(kept) ^ set(found))
    print(f"{len(found)} arrays, {len(differ)} differ", *differ, *missing, sep="\n")
    return bool(differ or missing)


if __name__ == "__main__":
    sys.exit(main())
