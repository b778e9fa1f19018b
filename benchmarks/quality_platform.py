"""The platform's three methods on labelled faults, and wear over weeks: parts of ``make bench-quality``.

Here profiles are learned and windows judged as the assets do it, on an embedded store in a temporary folder: with rules of
the device type, and with vector search in what the store holds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hvac_platform.config import Settings
from hvac_platform.detection.consensus import votes
from hvac_platform.detection.methods import method_names
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.ingestion.snapshotting import EmbeddingCounts
from hvac_platform.monitoring.degradation import HISTORY_DAYS, device_degradation
from hvac_platform.monitoring.judging import ready_to_judge
from hvac_platform.monitoring.learning import learn_profile, lesson_batches
from hvac_platform.runtime.connections import make_encoders
from hvac_platform.simulation.faults import Fault
from hvac_platform.simulation.fleet_simulation import SIMULATED_TYPES, FleetSimulation
from hvac_platform.stores.base import Device
from hvac_platform.stores.batches import write_batch
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.timestamps import DAY_MS

METHODS = (*method_names(), "two or more", "any method")
WEAR_DAYS, SOUND_DAYS, WEAR_MAGNITUDE = 24, 9, 0.5
FULL_DAYS = (WEAR_DAYS - SOUND_DAYS) / 0.7  # a gradual fault has its full extent at 70 % of its length


class Labelled(Protocol):
    """What is needed of a record: what to learn from, what to judge."""

    @property
    def name(self) -> str: ...
    @property
    def device_type(self) -> str: ...
    @property
    def train(self) -> pd.DataFrame: ...
    @property
    def test(self) -> pd.DataFrame: ...


def put(store: EmbeddedStore, device_id: str, device_type: str, table: pd.DataFrame, window_ms: int) -> Device:
    """A table of means as snapshots of a device with nothing else known of it."""
    times = table.index.as_unit("ms").asi8
    rows, n = table.to_dict("records"), len(table)
    store.upsert(
        "device_state_snapshots",
        {
            "device_id": [device_id] * n,
            "snapshot_time": times,
            "window_ms": [window_ms] * n,
            "metrics": rows,
            "metric_summary": [{name: [6, v, v, v] for name, v in row.items()} for row in rows],
            "completeness": [1.0] * n,
            "revision": [1] * n,
        },
    )
    device = Device(device_id, device_type, "", "", int(times[0]), int(times[-1]) + window_ms - 1, 0)
    store.register_devices([device])
    return device


def judged(
    cases: Sequence[Labelled], window_ms: int
) -> Iterator[tuple[str, dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]]]]:
    """Score and alarm of every method, and of their consensus and union, on each record's rows to judge."""
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(_env_file=None, hvac_home=Path(folder))  # type: ignore[call-arg]
            store = EmbeddedStore(Path(folder) / "store.db")
            encoders = make_encoders(settings, store)
            device = put(store, case.name, case.device_type, pd.concat([case.train, case.test]), window_ms)
            start = int(case.test.index[0].timestamp() * 1000)
            lesson = learn_profile(store, device, encoders, settings, until_ms=start)
            for batch in lesson_batches(store, device, lesson, EmbeddingCounts()):
                write_batch(store, "device_profiles", batch)
            end = device.last_seen + 1
            verdicts = (
                ready_to_judge(store, device, encoders, settings, start, end, now_ms=end + DAY_MS).judge().verdicts
            )
            store.close()
        count = votes(verdicts)
        highest = np.max([v.score for v in verdicts.values()], axis=0)
        told: dict[str, Any] = {name: (v.score, v.anomalous) for name, v in verdicts.items()}
        second = np.sort([v.score for v in verdicts.values()], axis=0)[-2]
        yield case.name, told | {"two or more": (second, count >= 2), "any method": (highest, count >= 1)}


def wear_figures(seeds: Sequence[int], start_ms: int) -> dict[str, dict[str, float]]:
    """In how many machines wear is told, sound and worn, and how many days after it began.

    Each seed is a machine of every type over 24 days, once sound and once losing efficiency steadily from the tenth day on,
    to half of what the simulator calls full. Every machine is looked at on every third day.
    """
    rows: dict[str, dict[str, float]] = {}
    for name, worn in (("sound", False), ("losing efficiency", True)):
        found: list[float] = []
        for seed in seeds:
            fleet = [FleetDevice(f"{kind}-{seed}", kind) for kind in SIMULATED_TYPES]
            begin, end = start_ms + SOUND_DAYS * DAY_MS, start_ms + round((SOUND_DAYS + FULL_DAYS) * DAY_MS)
            faults = [Fault(d.device_id, "efficiency_degradation", begin, end, None, WEAR_MAGNITUDE) for d in fleet]
            simulation = FleetSimulation(fleet, seed=seed, faults=faults if worn else ())
            times = np.arange(start_ms, start_ms + WEAR_DAYS * DAY_MS, 60_000, dtype=np.int64)
            for readings in simulation.advance(times):
                index = pd.to_datetime(times, unit="ms", utc=True)
                table = pd.DataFrame(readings.values, index=index, columns=list(readings.metric_names))
                found.append(_days_until_told(table, readings.device))
        told = np.array([days for days in found if days == days])
        rows[name] = {
            "machines": float(len(found)),
            "told of": float(len(told)),
            "days after it began": float(np.median(told)) if worn and len(told) else float("nan"),
        }
    return rows


def _days_until_told(table: pd.DataFrame, machine: FleetDevice) -> float:
    """Days from the end of the sound ones until some metric counts as worn; NaN when none ever does."""
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddedStore(Path(folder) / "store.db")
        device = put(store, machine.device_id, machine.device_type, table, 60_000)
        first = device.first_seen
        try:
            for days in range(SOUND_DAYS + 3, WEAR_DAYS + 1, 3):
                wear = device_degradation(store, device, 60_000, days_back=HISTORY_DAYS, until_ms=first + days * DAY_MS)
                if wear.degrading:
                    return float(days - SOUND_DAYS)
        finally:
            store.close()
    return float("nan")
