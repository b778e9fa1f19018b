"""The demonstration: no hole lies between its history and what it shows live."""

from __future__ import annotations

from rich.console import Console

from hvac_platform.demo import go_on_until_now
from hvac_platform.devices.fleet import default_fleet
from hvac_platform.resources import PlatformResource
from hvac_platform.stores.records import Snapshot
from hvac_platform.timestamps import day_start
from hvac_platform_tests.conftest import DAY, MINUTE_MS

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
