"""A store of many devices with a day behind them: copies of ten simulated ones, made in a minute or two."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from hvac_platform.devices.fleet import FleetDevice, fleet_of_size
from hvac_platform.embedding.state import StateEncoder
from hvac_platform.ingestion.windows import aggregate_windows, snapshot_columns
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.series import series_from_columns
from hvac_platform.timestamps import DAY_MS

SIMULATED = 10
WINDOW_MS = 60_000


def fill_with_copies(
    store: Store, devices: int, start_ms: int, *, days: float = 1.0, interval_ms: int = 60_000
) -> None:
    """Snapshots of some days with embeddings, and the registry, for as many devices as are asked for.

    Args:
        store: an empty one.
        devices: how many; each is a copy of one of ten.
        start_ms: start of the first window.
        days: of history.
        interval_ms: distance of the readings that the windows of 60 s rest on.
    """
    end_ms = start_ms + round(days * DAY_MS)
    fleet = fleet_of_size(devices)
    for simulated, columns in _simulated(fleet[:SIMULATED], start_ms, end_ms, interval_ms):
        n = len(columns["device_id"])
        for twin in fleet[fleet.index(simulated) :: SIMULATED]:
            assert twin.device_type == simulated.device_type
            store.upsert("device_state_snapshots", {**columns, "device_id": [twin.device_id] * n})
    store.register_devices(
        [
            Device(d.device_id, d.device_type, d.location, d.building_id, start_ms, end_ms - interval_ms, 0)
            for d in fleet
        ]
    )


def copy_rows(store: EmbeddedStore, table: str, original: str, copy: str, where: str = "TRUE") -> None:
    """The rows that a table has of a device, for another device too.

    Args:
        store: where.
        table: its name.
        original: id of the device that has rows.
        copy: id of the device that gets them.
        where: condition in SQL on the rows.
    """
    columns = [row[1] for row in store.connection.execute(f"PRAGMA table_info({table})")]  # derived ones are not there
    others = ", ".join(name for name in columns if name != "device_id")
    store.connection.execute(
        f"INSERT INTO {table} (device_id, {others}) SELECT ?, {others} FROM {table} WHERE device_id=? AND {where}",
        (copy, original),
    )


def _simulated(
    fleet: list[FleetDevice], start_ms: int, end_ms: int, interval_ms: int
) -> Iterator[tuple[FleetDevice, dict[str, Any]]]:
    """Rows of ``device_state_snapshots`` of each device, as ingestion makes them."""
    simulation = FleetSimulation(fleet, seed=3)
    times = np.arange(start_ms, end_ms, interval_ms, dtype=np.int64)
    for device, readings in zip(fleet, simulation.advance(times), strict=True):
        assert readings.device == device
        m = len(readings.metric_names)
        aggregate = aggregate_windows(
            np.repeat(readings.times_ms, m),
            list(readings.metric_names) * len(readings.times_ms),
            readings.values.ravel(),
            WINDOW_MS,
        )
        columns = snapshot_columns(device.device_id, aggregate, WINDOW_MS)
        series = series_from_columns(device.device_id, device.device_type, columns)
        encoder = StateEncoder()
        vectors = encoder.encode(series)
        good = np.isfinite(vectors).all(axis=1)
        assert good.all()
        yield device, {**columns, "embedding": vectors, "embedding_method": [encoder.method] * len(series)}
