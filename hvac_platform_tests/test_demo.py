"""The demonstration: no hole lies between its history and what it shows live."""

from __future__ import annotations

import io

from rich.console import Console

from hvac_platform.config import load_settings
from hvac_platform.demo import go_on_until_now, place_tariffs, print_costs
from hvac_platform.devices.fleet import default_fleet
from hvac_platform.resources import PlatformResource
from hvac_platform.stores.records import Incident, Snapshot
from hvac_platform.timestamps import DAY_MS, day_start
from hvac_platform_tests.conftest import DAY, HOUR_MS, MIDNIGHT_MS, MINUTE_MS
from hvac_platform_tests.monitoring.metered import draws, incident, metered_chiller

HOURS = 2


def test_the_present_day_is_taken_in_and_judged_until_now(home, platform: PlatformResource, instance) -> None:
    start_ms, fleet = day_start(DAY), default_fleet()[:1]
    until_ms = start_ms + HOURS * 60 * MINUTE_MS + 25_000
    taken = go_on_until_now(Console(quiet=True), fleet=fleet, now=lambda: until_ms)
    assert taken == sum(platform.log.end_offsets(platform.topic).values()) > 0
    windows = Snapshot.read(platform.store, fleet[0].device_id, only=("snapshot_time", "revision", "judged_revision"))
    starts = [window.snapshot_time for window in windows]
    assert starts == list(range(start_ms, starts[-1] + 1, MINUTE_MS))
    assert starts[-1] >= start_ms + (HOURS * 60 - 2) * MINUTE_MS
    assert all(window.judged_revision == window.revision for window in windows[:-2])


def test_it_says_what_faults_cost_at_prices_that_are_told_to_be_an_example(home, platform, monkeypatch) -> None:
    """Six hours at 40 kW beyond 100: 960 kWh a day at 0.12 USD, at 0.19 from noon to eight, for it is Monday in Chicago."""
    metered_chiller(platform.store)
    draws(platform.store, MIDNIGHT_MS, MIDNIGHT_MS + 6 * HOUR_MS, 140.0)
    platform.store.upsert(
        Incident.TABLE, Incident.columns([incident(MIDNIGHT_MS, 6), incident(MIDNIGHT_MS + DAY_MS, 1)])
    )
    monkeypatch.setenv("HVAC_TARIFFS", str(place_tariffs(home)))
    console = Console(record=True, width=120, file=io.StringIO())
    print_costs(load_settings(), platform.store, (MIDNIGHT_MS, MIDNIGHT_MS + 2 * DAY_MS), console)
    told = " ".join(console.export_text().split())
    assert "What 1 of 2 incidents cost" in told
    assert f"{960 * (16 * 0.12 + 8 * 0.19) / 24:.2f} USD" in told
    assert " a day at example prices" in told
    assert "Prices are those of" in told
