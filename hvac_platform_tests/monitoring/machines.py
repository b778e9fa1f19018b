"""Machines with a history in the store, for tests of learning and judging."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hvac_platform.config import load_settings
from hvac_platform.ingestion.snapshotting import EmbeddingCounts, embedding_batches
from hvac_platform.monitoring.data_loss import Listening
from hvac_platform.monitoring.incident_windows import Grouping
from hvac_platform.monitoring.incidents import PastIncidents, incident_batches
from hvac_platform.monitoring.judging import judgement_batches, ready_to_judge
from hvac_platform.monitoring.learning import learn_profile, lesson_batches
from hvac_platform.runtime.connections import make_encoders
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.stores.base import Device
from hvac_platform.stores.batches import DeviceSlice, write_batch
from hvac_platform_tests.conftest import MINUTE_MS


def simulated_windows(store, fleet, start_ms, end_ms, *, faults=(), seed=3, silence_ms=0, window_ms=None, plant=None):
    """Snapshots of a simulated fleet straight into the store, six readings a window; the registered devices.

    Windows are of a minute, or have the length that the devices are then registered with.

    ``silence_ms`` from the start on nothing is written: the simulation runs in.
    """
    simulation = FleetSimulation(fleet, seed=seed, faults=list(faults), plant=plant)
    length = window_ms or MINUTE_MS
    times = np.arange(start_ms, end_ms, length // 6, dtype=np.int64)
    begins = times[::6]
    kept = begins >= start_ms + silence_ms
    for readings in simulation.advance(times):
        means = readings.values.reshape(len(begins), 6, -1).mean(axis=1)[kept]
        names, n = list(readings.metric_names), int(kept.sum())
        rows = [dict(zip(names, row, strict=True)) for row in means.tolist()]
        device = readings.device
        store.upsert(
            "device_state_snapshots",
            {
                "device_id": [device.device_id] * n,
                "snapshot_time": begins[kept],
                "window_ms": [length] * n,
                "metrics": rows,
                "metric_summary": [{name: [6, v, v, v] for name, v in row.items()} for row in rows],
                "completeness": [1.0] * n,
                "revision": list(range(n)),
            },
        )
        store.register_devices(
            [
                Device(
                    device.device_id,
                    device.device_type,
                    "roof",
                    "b-1",
                    int(begins[kept][0]),
                    int(begins[-1]) + length * 5 // 6,
                    0,
                    window_ms,
                )
            ]
        )
    return {d.device_id: d for d in store.devices()}


def encoders(store):
    """The encoders of the test's environment."""
    return make_encoders(load_settings(), store)


def embed(store, device, start_ms, end_ms):
    """What an ingestion run does with snapshots."""
    part = DeviceSlice(store, "device_state_snapshots", device.device_id, start_ms, end_ms)
    for batch in embedding_batches([part], {device.device_id: device.device_type}, encoders(store), EmbeddingCounts()):
        write_batch(store, "device_state_snapshots", batch)


def learn(store, device, **options):
    """Learn and write; what was learned."""
    lesson = learn_profile(store, device, encoders(store), load_settings(), **options)
    for batch in lesson_batches(store, device, lesson, EmbeddingCounts()):
        write_batch(store, "device_profiles", batch)
    return lesson


def judge(store, device, start_ms, end_ms, **options):
    """Judge and write, long after the windows; the judgement."""
    judgement = ready_to_judge(
        store, device, encoders(store), load_settings(), start_ms, end_ms, now_ms=end_ms + 10**9, **options
    ).judge()
    for batch in judgement_batches(judgement):
        write_batch(store, "anomaly_events", batch)
    return judgement


def gather_incidents(store, device, start_ms, end_ms, **options):
    """Compute and write incidents; the batches."""
    past = PastIncidents(store, 0)
    options.setdefault("losses", Listening(store, load_settings(), end_ms).data_losses(device, start_ms, end_ms))
    grouping = Grouping(device.window(load_settings()), load_settings().incident_quiet_ms)
    found = list(incident_batches(store, device, grouping, start_ms, end_ms, now_ms=end_ms, past=past, **options))
    for batch in found:
        write_batch(store, "incidents", batch)
    return found


def renamed(device, device_id):
    """Another device like it."""
    return replace(device, device_id=device_id)
