"""A rooftop unit whose compressor sticks, as the platform knows it hour by hour: what the walk of an operator is tested on.

All of it happens in June 2025, on a clock that the tests set, so that it is the same story on every day.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path

import pytest

from devtools import PROJECT_ROOT
from hvac_platform import timestamps
from hvac_platform.devices.fleet import default_fleet
from hvac_platform.execution import build_profiles, ingest_everything, judge_days
from hvac_platform.monitoring import lifecycle
from hvac_platform.resources import PlatformResource
from hvac_platform.simulation.faults import Fault
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.simulation.streaming import stream_history
from hvac_platform.stores.base import Device
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident, Snapshot
from hvac_platform.timestamps import day_of, day_start
from hvac_platform_tests.conftest import HOUR_MS, MINUTE_MS, enter_home, open_dagster
from hvac_platform_tests.dashboard.conftest import copy_databases, incident

DEVICE, OTHER = "RTU-001", "CH-001"
LEARNED_FROM = day_start("2025-06-10")
STICKS = day_start("2025-06-13") + 6 * HOUR_MS
NOTICED = STICKS + 14 * HOUR_MS
"""Somebody looks at the dashboard."""
REPAIRED, RESOLVED = NOTICED + 20 * MINUTE_MS, NOTICED + 40 * MINUTE_MS
LATER = RESOLVED + 32 * HOUR_MS


class Clock:
    """The present, as the platform in this process knows it."""

    def __init__(self, patch: pytest.MonkeyPatch, at_ms: int) -> None:
        self.at_ms = at_ms
        clock = self

        class Then(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:
                return datetime.fromtimestamp(clock.at_ms / 1000, tz or UTC)

        patch.setattr(timestamps, "datetime", Then)


@dataclass(frozen=True)
class Story:
    """What is known when the fault is noticed, and what comes after.

    Attributes:
        noticed: folder with the store as it is then.
        after: windows of the device from then on.
    """

    noticed: Path
    after: list[Snapshot]

    def begin(self, folder: Path) -> EmbeddedStore:
        """A store of one's own, as it is when the fault is noticed."""
        copy_databases(self.noticed, folder)
        return EmbeddedStore(folder / "store.db")

    def go_on(self, store: EmbeddedStore, clock: Clock, until_ms: int) -> None:
        """Time passes, and the windows come in."""
        come = [one for one in self.after if clock.at_ms <= one.snapshot_time < until_ms]
        store.upsert(Snapshot.TABLE, Snapshot.columns(come))
        store.connection.execute("UPDATE devices SET last_seen=?", (until_ms,))
        clock.at_ms = until_ms


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Three days learned, a compressor that sticks for fourteen hours, its repair, and a day and a half after it."""
    home, noticed = tmp_path_factory.mktemp("story"), tmp_path_factory.mktemp("noticed")
    shutil.copy(PROJECT_ROOT / "dagster.yaml", home)
    with pytest.MonkeyPatch.context() as patch:
        enter_home(home, patch.setenv, lambda name: patch.delenv(name, raising=False), patch.chdir)
        clock = Clock(patch, NOTICED)
        platform = PlatformResource()
        fleet = [device for device in default_fleet() if device.device_id == DEVICE]
        simulation = FleetSimulation(fleet, seed=3, faults=[Fault(DEVICE, "compressor_stuck_on", STICKS, REPAIRED)])
        for begin_ms, end_ms in ((LEARNED_FROM, NOTICED), (NOTICED, LATER)):
            clock.at_ms = end_ms
            for _ in stream_history(platform.log, platform.topic, simulation, fleet, begin_ms, end_ms, MINUTE_MS):
                pass
            with open_dagster(home) as instance:
                for _ in ingest_everything(instance, platform):
                    pass
                if end_ms == NOTICED:
                    build_profiles(instance, [DEVICE], until=day_of(STICKS))
                    judge_days(instance, day_of(STICKS), day_of(NOTICED))
            if end_ms == NOTICED:
                _another_incident(platform.store)
                copy_databases(home, noticed)
        after = Snapshot.read(platform.store, DEVICE, (NOTICED, LATER))
        yield Story(noticed, after)


def _another_incident(store: EmbeddedStore) -> None:
    """On another machine, of less weight: whoever looks has to choose."""
    store.register_devices([Device(OTHER, "chiller", "building-B", "bldg-002", LEARNED_FROM, NOTICED, 0)])
    lesser = incident(OTHER, NOTICED - HOUR_MS, severity="info", level=4, urgency=20.0)
    store.upsert(Incident.TABLE, Incident.columns([lesser]))
    rules = lifecycle.Rules(HOUR_MS * 24)
    lifecycle.write_steps(store, [lifecycle.after_pass(None, lesser, rules, NOTICED)], NOTICED)
