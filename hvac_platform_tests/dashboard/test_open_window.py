"""The newest readings are on the page before their window is complete."""

import numpy as np

from hvac_platform.dashboard.pages.device import render
from hvac_platform.dashboard.reading import open_window, with_open_window
from hvac_platform.ingestion import standing as standing_module
from hvac_platform.stores.series import read_series
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.conftest import MINUTE_MS, reading, readings
from hvac_platform_tests.ingestion.test_standing import standing, take_all


def test_a_reading_of_an_open_window_is_the_last_point_and_the_newest_value(platform):
    now = now_ms()
    start = now - now % MINUTE_MS
    platform.log.append(platform.topic, readings("RTU-001", start - 5 * MINUTE_MS, 3))
    platform.log.append(platform.topic, [reading("RTU-001", now, "supply_air_temp", 63.5)])
    take_all(standing(platform))
    (device,) = platform.store.devices()
    snapshots = read_series(platform.store, "RTU-001", "rooftop_unit", start - 10 * MINUTE_MS, now + 1)
    assert len(snapshots) == 3
    shown = with_open_window(snapshots, open_window(platform.store, device, MINUTE_MS, now), device, MINUTE_MS, now + 1)
    assert shown.times_ms[-1] == start
    assert shown.column("supply_air_temp")[-1] == 63.5
    assert np.isnan(shown.column("fan_speed")[-1])
    page = render(platform.store, "RTU-001", MINUTE_MS, "1 h", None, None, [], at_ms=now)
    assert "63.5" in str(page.tables)
    assert "still open" in str(page.message)


def test_once_the_window_is_complete_it_is_a_snapshot_like_any_other(platform, monkeypatch):
    now = now_ms()
    platform.log.append(platform.topic, [reading("RTU-001", now, "supply_air_temp", 63.5)])
    one = standing(platform)
    take_all(one)
    monkeypatch.setattr(standing_module, "now_ms", lambda: now + 2 * MINUTE_MS)
    take_all(one)
    page = render(platform.store, "RTU-001", MINUTE_MS, "1 h", None, None, [], at_ms=now + 2 * MINUTE_MS)
    assert "still open" not in str(page.message)
    assert "63.5" in str(page.tables)
