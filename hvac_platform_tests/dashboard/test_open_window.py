"""The newest readings are on the page before their window is complete."""

import numpy as np
from dash import no_update

from hvac_platform.dashboard.app import make_app
from hvac_platform.dashboard.kept_zoom import sent
from hvac_platform.dashboard.pages.device import Asked, render
from hvac_platform.dashboard.reading import open_window, with_open_window
from hvac_platform.ingestion import standing as standing_module
from hvac_platform.stores.base import Device
from hvac_platform.stores.records import MaintenanceSpan
from hvac_platform.stores.series import read_series
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.conftest import MINUTE_MS, reading, readings
from hvac_platform_tests.dashboard.conftest import Browser
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
    page = render(platform.store, "RTU-001", platform.settings, Asked("1 h"), at_ms=now)
    assert "63.5" in str(page.newest)
    dotted = {trace["name"]: trace["y"] for trace in page.metrics["data"] if "still open" in trace["name"]}
    assert dotted["supply air temperature, still open"][-1] == 63.5
    assert dotted["fan speed, still open"] == []
    assert "still open" in str(page.message)


def test_the_open_window_of_a_device_has_the_length_of_its_windows(platform):
    now, five = now_ms(), 5 * MINUTE_MS
    start = now - now % five
    platform.store.register_devices([Device("RTU-001", "rooftop_unit", "", "", now, now, 0, window_ms=five)])
    platform.log.append(platform.topic, readings("RTU-001", start - 4 * five, 15, every_ms=MINUTE_MS))
    platform.log.append(platform.topic, [reading("RTU-001", now, "supply_air_temp", 63.5)])
    take_all(standing(platform))
    page = render(platform.store, "RTU-001", platform.settings, Asked("1 h"), at_ms=now)
    assert "3 windows of 300 s" in str(page.message)
    assert "63.5" in str(page.newest)
    (dotted,) = [trace["x"] for trace in page.metrics["data"] if trace["name"] == "supply air temperature, still open"]
    assert dotted[-1] == start


def test_once_the_window_is_complete_it_is_a_snapshot_like_any_other(platform, monkeypatch):
    now = now_ms()
    platform.log.append(platform.topic, [reading("RTU-001", now, "supply_air_temp", 63.5)])
    one = standing(platform)
    take_all(one)
    monkeypatch.setattr(standing_module, "now_ms", lambda: now + 2 * MINUTE_MS)
    take_all(one)
    page = render(platform.store, "RTU-001", platform.settings, Asked("1 h"), at_ms=now + 2 * MINUTE_MS)
    assert "still open" not in str(page.message)
    assert "63.5" in str(page.newest)


def test_a_refresh_brings_only_what_is_new(platform, monkeypatch):
    now = now_ms()
    start = now - now % MINUTE_MS
    one = standing(platform)
    platform.log.append(platform.topic, readings("RTU-001", start - 5 * MINUTE_MS, 3))
    platform.log.append(platform.topic, [reading("RTU-001", start, "supply_air_temp", 63.5)])
    take_all(one)

    def page(shown, at_ms=start + 10_000):
        return render(platform.store, "RTU-001", platform.settings, Asked("1 h"), at_ms=at_ms, shown=shown)

    first = page(None)
    assert isinstance(first.metrics, dict)
    platform.log.append(platform.topic, [reading("RTU-001", start + 10_000, "supply_air_temp", 64.25)])
    take_all(one)
    second = page(first.shown)
    changes = {tuple(o["location"]): o["params"]["value"] for o in second.metrics.to_plotly_json()["operations"]}
    place = [trace["name"] for trace in first.metrics["data"]].index("supply air temperature, still open")
    assert changes["data", place, "y"][-1] == 64.25
    assert changes["layout", "xaxis", "autorangeoptions"]["maxallowed"] == start + 10_000
    assert "64.2" in str(second.newest)
    unchanged = (second.message, second.marks, second.tables, second.options, second.shown)
    assert all(part is no_update for part in unchanged)
    work = MaintenanceSpan("RTU-001", start, start + 60 * MINUTE_MS, "coil cleaning", 0)
    platform.store.upsert(MaintenanceSpan.TABLE, MaintenanceSpan.columns([work]))
    assert "coil cleaning" in str(page(first.shown).tables), "who has entered it sees it"
    platform.store.delete(MaintenanceSpan.TABLE, MaintenanceSpan.columns([work]))
    assert isinstance(page({**first.shown, "state": "of another page"}).metrics, dict)
    assert isinstance(page(first.shown, at_ms=start + MINUTE_MS).metrics, dict), "a minute later in any case"
    monkeypatch.setattr(standing_module, "now_ms", lambda: now + 2 * MINUTE_MS)
    take_all(one)
    assert isinstance(page(first.shown).metrics, dict), "the window is complete"


def test_a_refresh_leaves_the_axes_so_that_a_zoom_is_kept(platform):
    now = now_ms()
    start = now - now % MINUTE_MS
    platform.log.append(platform.topic, readings("RTU-001", start - 5 * MINUTE_MS, 3))
    take_all(standing(platform))
    first, later, wider = (
        render(platform.store, "RTU-001", platform.settings, Asked(span), at_ms=at)
        for span, at in (("1 h", start), ("1 h", start + MINUTE_MS), ("6 h", start))
    )
    assert later.shown["axes"] == first.shown["axes"] != wider.shown["axes"]
    for figure in (later.strips, later.metrics):
        assert sent(figure, again=False)["layout"]["xaxis"].keys() >= {"autorangeoptions"}
        places = {tuple(o["location"]) for o in sent(figure, again=True).to_plotly_json()["operations"]}
        assert {("data",), ("layout", "xaxis", "autorangeoptions")} <= places
        assert not places & {("layout",), ("layout", "xaxis"), ("layout", "xaxis", "range"), ("layout", "yaxis2")}


def test_what_the_browser_sends_back_is_not_trusted(platform):
    now = now_ms()
    platform.log.append(platform.topic, [reading("RTU-001", now, "supply_air_temp", 63.5)])
    take_all(standing(platform))
    state = render(platform.store, "RTU-001", platform.settings, Asked(), at_ms=now).shown["state"]
    for wrong in (
        {"metrics": 7},
        {"metrics": ["cop"] * 500, "ends": [[]] * 500},
        {"metrics": ["supply_air_temp"], "ends": ["<b>"]},
        {"metrics": ["supply_air_temp"], "ends": [[1, 2, 3]]},
    ):
        page = render(platform.store, "RTU-001", platform.settings, Asked(), at_ms=now, shown={"state": state, **wrong})
        assert "<b>" not in str(page.metrics)


def test_what_can_not_wait_is_on_the_page_at_once(platform):
    now = now_ms()
    platform.log.append(platform.topic, [reading("RTU-001", now, "supply_air_temp", -999.0)])
    take_all(standing(platform))
    browser = Browser(make_app(platform.settings))
    page = browser.ask("device-urgent.children", device_id__data="RTU-001")
    assert "the mark of a broken sensor" in str(page["device-urgent.children"])
    assert "still open" in str(page["device-urgent.children"])
    fleet = str(browser.ask("fleet-cards.children")["fleet-cards.children"])
    assert "urgent reading" in fleet
    assert "the mark of a broken sensor (not judged yet)" in fleet
