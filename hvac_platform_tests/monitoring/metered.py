"""A chiller of which it is known what it should draw, for tests that calculate by hand what its incidents are worth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hvac_platform.detection.energy import EnergyModel
from hvac_platform.monitoring.incidents import blank_incident
from hvac_platform.stores.base import Device
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident, StoredProfile
from hvac_platform.timestamps import DAY_MS
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS

WINDOW_MS = 300_000
CHILLER = Device("CH-001", "chiller", "roof", "b-1", MIDNIGHT_MS, MIDNIGHT_MS + 9 * DAY_MS, 0)
EXPECTED_KW, BAND_KW = 100.0, 5.0


def model() -> EnergyModel:
    """A chiller that should draw 100 kW whatever it does."""
    drivers = ("chilled_water_flow_rate", "chilled_water_delta_t", "condenser_water_supply_temp")
    constant = np.zeros(10)
    constant[0] = EXPECTED_KW
    known = np.zeros((1, 3))
    return EnergyModel(
        "electric_power", drivers, False, np.zeros(3), np.ones(3) * 1e3, constant, known, 2.0, BAND_KW, 2.0, 0.02
    )


def draws(store: EmbeddedStore, start_ms: int, end_ms: int, kw: float, *, supply: float = 44.0, **more: float) -> None:
    """Windows of five minutes in which the chiller draws so much and supplies water of a temperature."""
    times = list(range(start_ms, end_ms, WINDOW_MS))
    state = {
        "power_consumption": kw,
        "chilled_water_supply_temp": supply,
        "compressor_status": 1.0,
        "chilled_water_flow_rate": 400.0,
        "chilled_water_delta_t": 10.0,
        "condenser_water_supply_temp": 80.0,
        **more,
    }
    store.upsert(
        "device_state_snapshots",
        {
            "device_id": [CHILLER.device_id] * len(times),
            "snapshot_time": times,
            "window_ms": [WINDOW_MS] * len(times),
            "metrics": [state] * len(times),
            "metric_summary": [{name: [5, v, v, v] for name, v in state.items()}] * len(times),
            "completeness": [1.0] * len(times),
            "revision": list(range(len(times))),
        },
    )


def incident(start_ms: int, hours: float, **changes: Any) -> Incident:
    found = blank_incident(CHILLER, start_ms, start_ms + round(hours * HOUR_MS), 3)
    kinds = [{"kind": "fouling", "title": "a filter clogs", "similarity": 0.9}]
    return replace(found, status="closed", windows=12, methods={"profile": 12}, kinds=kinds, updated_at=1, **changes)  # type: ignore[arg-type]


def metered_chiller(store: EmbeddedStore) -> None:
    """Register the chiller, and what it should draw."""
    store.register_devices([CHILLER])
    none: dict[str, Any] = dict.fromkeys(StoredProfile.all_but())
    profile = {
        **none,
        **dict.fromkeys(("location", "building_id"), ""),
        **dict.fromkeys(
            ("span_start", "span_end", "profile_created_at", "profile_updated_at", "last_seen"), MIDNIGHT_MS
        ),
        "device_id": CHILLER.device_id,
        "device_type": "chiller",
        "profile_version": 1,
        "snapshot_count": 100,
        "embedding_method": "state-2/test",
        "profile_embedding": np.ones(384, dtype=np.float32),
        "metric_stats": {},
        "calibration": {},
        "energy": model().to_document(),
    }
    store.upsert(StoredProfile.TABLE, StoredProfile.columns([StoredProfile(**profile)]))
