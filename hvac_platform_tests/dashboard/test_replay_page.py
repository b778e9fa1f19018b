"""A past span played back: what is read once, what is refused, and how the browser plays it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hvac_platform.access.roles import Role
from hvac_platform.access.users import add_user
from hvac_platform.dashboard.app import make_app
from hvac_platform.dashboard.pages.incident import around
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import AnomalyEvent, Incident
from hvac_platform.stores.series import verdict_series
from hvac_platform.timestamps import DAY_MS, iso, now_ms
from hvac_platform_tests.conftest import HOUR_MS
from hvac_platform_tests.dashboard.conftest import (
    EVIL,
    START_MS,
    YESTERDAY,
    Browser,
    CountingStore,
    copy_databases,
    settings_of,
)
from hvac_platform_tests.dashboard.test_access import Visitor
from hvac_platform_tests.dashboard.test_accessibility import Served
from hvac_platform_tests.dashboard.test_browser import chromium
from hvac_platform_tests.dashboard.test_pages import FixedSource

OPENED_AT = START_MS + 20 * HOUR_MS
MINUTE_MS = 60_000


@pytest.fixture
def browser(filled: Path) -> Browser:
    return Browser(make_app(settings_of(filled)))


def read(browser: Browser, device_id: str = "CH-001", name: str | None = None, **values: Any) -> dict[str, Any]:
    return browser.ask("replay-data.data", replay_id__data=[device_id, name], **values)


def whole_day(browser: Browser, **values: Any) -> dict[str, Any]:
    return read(browser, replay_from__value=YESTERDAY, replay_until__value=f"{YESTERDAY}T23:59", **values)


def test_an_incident_is_played_from_where_it_began_with_its_margins(filled: Path, browser: Browser) -> None:
    (incident,) = Incident.read(EmbeddedStore(filled / "store.db"), "CH-001")
    answer = read(browser, name=str(OPENED_AT))
    data = answer["replay-data.data"]
    assert (data["start"], data["end"]) == around(incident)
    assert data["at"] == OPENED_AT
    assert answer["replay-from.value"] == iso(data["start"])[:19].replace(" ", "T")
    assert [line[0] for line in data["lines"]] == ["power", "coefficient of performance"], "the metrics that moved"
    dashed = [trace for trace in data["metrics"]["data"] if "normal would have been" in trace["name"]]
    assert [trace["yaxis"] for trace in dashed] == [line[2] for line in data["lines"]]
    assert "Dashed: what would have been normal" in json.dumps(answer["replay-message.children"])
    begins = next(entry for entry in data["said"] if entry[2])
    assert begins[0] == OPENED_AT + MINUTE_MS, "it shows when its first window was complete"
    assert begins[1].startswith("Incident begins, warning: ")
    assert begins[2] == f"/incident/CH-001/{OPENED_AT}"


def test_an_incident_that_is_longer_than_a_replay_is_played_from_its_beginning(filled: Path, tmp_path: Path) -> None:
    copy_databases(filled, tmp_path)
    store = EmbeddedStore(tmp_path / "store.db")
    ended = START_MS + 30 * DAY_MS
    store.update(Incident.TABLE, {"device_id": ["CH-001"], "started_at": [OPENED_AT], "ended_at": [ended]})
    answer = read(Browser(make_app(settings_of(tmp_path))), name=str(OPENED_AT))
    data = answer["replay-data.data"]
    assert data["start"] < data["at"] == OPENED_AT
    assert data["end"] - data["start"] <= 7 * DAY_MS
    assert f"the incident goes on until {iso(ended)}" in json.dumps(answer["replay-message.children"])


def test_without_a_span_the_last_hours_with_data_are_played(browser: Browser) -> None:
    data = read(browser)["replay-data.data"]
    assert data["end"] - data["start"] == 6 * HOUR_MS
    assert data["end"] <= START_MS + DAY_MS + MINUTE_MS


def test_what_is_played_is_what_was_judged(filled: Path, browser: Browser) -> None:
    store = EmbeddedStore(filled / "store.db")
    data = whole_day(browser)["replay-data.data"]
    events = AnomalyEvent.read(store, "CH-001", (START_MS, START_MS + DAY_MS))
    assert sum((end - start) // MINUTE_MS for start, end, _ in data["anomalous"]) == len(events) > 0
    assert data["anomalous"] == sorted(data["anomalous"])
    times = [entry[0] for entry in data["said"]]
    assert times == sorted(times)
    first = next(entry for entry in data["said"] if not entry[2])
    assert first[0] == events[0].detected_at + MINUTE_MS, "nothing is said before the window was complete"
    assert len({entry[1].partition(":")[2] for entry in data["said"]}) < len(events), "a reason is said once"
    judged = verdict_series(store, "CH-001", (START_MS, START_MS + DAY_MS))
    drawn = {trace["name"]: trace for trace in data["scores"]["data"]}
    assert drawn.keys() == judged.keys()
    for trace in (*data["scores"]["data"], *data["metrics"]["data"]):
        assert trace["x"] == sorted(trace["x"]), "the browser looks for a moment by halves"
        assert len(trace["x"]) == len(trace["y"])
    for name, axis in data["metrics"]["layout"].items():
        assert not name.startswith("yaxis") or len(axis["range"]) == 2, "axes hold still while it is played"


def test_metrics_are_chosen(browser: Browser) -> None:
    answer = whole_day(browser, replay_metrics__value=["cop", "cop", "no such", 7])
    assert [line[0] for line in answer["replay-data.data"]["lines"]] == ["coefficient of performance"]
    assert {one["value"] for one in answer["replay-metrics.options"]} > {"cop", "power_consumption"}


@pytest.mark.parametrize(
    ("start", "until", "says"),
    [
        (YESTERDAY, "", "Enter both times"),
        ("soon", "later", "a time looks like"),
        (f"{YESTERDAY}T06:00", f"{YESTERDAY}T06:00", "The end is not after the start"),
        ("2020-01-01", "2020-01-20", "This span is 19 d long; a replay may be 7 d"),
        ("2020-01-01", "2020-01-02", "No snapshots between"),
        ("x" * 1_000, "9" * 1_000, "a time looks like"),
    ],
)
def test_a_span_that_cannot_be_played_is_told(browser: Browser, start: str, until: str, says: str) -> None:
    answer = read(browser, replay_from__value=start, replay_until__value=until)
    assert says in json.dumps(answer["replay-message.children"])
    assert answer["replay-data.data"] is None
    assert answer["replay-body.hidden"] is True


def test_no_device_and_no_incident_are_told(browser: Browser) -> None:
    assert "No device of this name" in json.dumps(read(browser, "CH-999"))
    assert "no such incident" in json.dumps(read(browser, name="1"))


def test_a_device_without_a_profile_and_with_a_hostile_name_is_played(browser: Browser) -> None:
    data = read(browser, EVIL)["replay-data.data"]
    assert data["scores"]["data"] == [] or data["lines"]
    assert "<a href" not in json.dumps(data["metrics"])


def test_a_span_is_read_once(filled: Path) -> None:
    store = CountingStore(EmbeddedStore(filled / "store.db"))
    settings = settings_of(filled)
    whole_day(Browser(make_app(settings, source=FixedSource(settings, store))))
    assert sum("device_state_snapshots" in call for call in store.calls) == 1
    assert sum("snapshot_verdicts" in call for call in store.calls) == 1
    assert len(store.calls) < 10


def test_what_would_have_been_normal_is_computed_once_for_a_span(filled: Path) -> None:
    """It takes most of the time of a read, and other metrics of the span need no other."""
    store = CountingStore(EmbeddedStore(filled / "store.db"))
    settings = settings_of(filled)
    browser = Browser(make_app(settings, source=FixedSource(settings, store)))

    def snapshots_read(*metrics: str) -> int:
        store.calls.clear()
        data = read(browser, name=str(OPENED_AT), replay_metrics__value=list(metrics))["replay-data.data"]
        assert any("normal would have been" in trace["name"] for trace in data["metrics"]["data"])
        return sum("device_state_snapshots" in call for call in store.calls)

    assert snapshots_read() > 1
    assert snapshots_read("load", "cop") == 1


def test_an_address_names_the_span_and_a_device_leads_to_its_own(browser: Browser) -> None:
    """The page of a device leads to the range that it shows, of which a replay plays the last seven days."""
    asked = {"device_id__data": "CH-001", "device_range__value": "custom"}
    day = {"device_from_entered__data": YESTERDAY, "device_until_entered__data": f"{YESTERDAY}T18:00"}
    href = browser.ask("device-replay.href", **asked, **day)["device-replay.href"]
    assert href == f"/replay/CH-001?from={YESTERDAY}T00:00:00&until={YESTERDAY}T18:00:00"
    path, _, search = href.partition("?")
    page = browser.ask("page.children", where__pathname=path, where__search=f"?{search}")
    assert [f"{YESTERDAY}T{hour}:00:00" in json.dumps(page) for hour in ("00", "18")] == [True, True]
    longer = {
        "device_from_entered__data": iso(START_MS - 20 * DAY_MS),
        "device_until_entered__data": f"{YESTERDAY}T18:00",
    }
    href = browser.ask("device-replay.href", **asked, **longer)["device-replay.href"]
    assert f"from={iso(START_MS + 18 * HOUR_MS - 7 * DAY_MS)[:10]}T18:00:00&" in href


def test_who_sees_another_building_plays_nothing_of_this_one(filled: Path, tmp_path: Path) -> None:
    copy_databases(filled, tmp_path)
    store = EmbeddedStore(tmp_path / "store.db")
    for device, building in (("CH-001", "north"), ("RTU-001", "south")):
        store.connection.execute("UPDATE devices SET building_id=? WHERE device_id=?", (building, device))
    ben = Visitor(make_app(settings_of(tmp_path)), add_user(store, "ben", Role.VIEWER, ["south"], now_ms()))
    assert "No device of this name" in json.dumps(read(ben, "CH-001", str(OPENED_AT)))
    assert read(ben, "RTU-001")["replay-data.data"]["lines"]


def points(page: Any) -> int:
    """Points that the figure of the metrics shows."""
    return int(page.evaluate("() => document.querySelector('#replay-figure .js-plotly-plot').data[0].x.length"))


def test_it_is_played_paused_and_moved_in_a_browser(filled: Path) -> None:
    wrong: list[str] = []
    asked: list[str] = []
    with Served(make_app(settings_of(filled))) as url, chromium() as browser:
        for width in (1280, 390):
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.set_default_timeout(60_000)
            page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
            page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
            page.on("request", lambda request: asked.append(request.post_data or ""))
            page.goto(f"{url}/incident/CH-001/{OPENED_AT}")
            page.get_by_role("link", name="Replay it").click()
            page.locator("#replay-figure .js-line").first.wait_for(state="attached")
            clock = page.locator("#replay-clock")
            assert clock.inner_text() == iso(OPENED_AT)
            read_once = len(asked)
            page.get_by_label("600×").check()
            player = page.get_by_role("region", name="Player")
            before = points(page)
            shows = "document.querySelector('#replay-figure .js-plotly-plot').data[0].x.length"
            player.get_by_role("button", name="Play").click()
            page.wait_for_function(f"n => {shows} > n", arg=before)
            player.get_by_role("button", name="Pause").click()
            held = clock.inner_text()
            assert held > iso(OPENED_AT)
            page.wait_for_timeout(1_000)
            assert clock.inner_text() == held
            assert page.get_by_text("Incident begins, warning").count() == 1
            slider = page.get_by_role("slider", name="Moment")
            slider.focus()
            page.keyboard.press("Home")
            page.wait_for_function(f"n => {shows} < n", arg=before)
            start = clock.inner_text()
            assert slider.get_attribute("aria-valuetext") == start
            assert page.get_by_text("Incident begins, warning").count() == 0
            page.keyboard.press("ArrowRight")
            page.wait_for_function("was => document.querySelector('#replay-clock').innerText !== was", arg=start)
            assert clock.inner_text() == iso(OPENED_AT - HOUR_MS // 2 + MINUTE_MS), "a key moves it by a window"
            moved = clock.inner_text()
            assert page.get_by_text("Nothing yet.").count() == 1
            assert not any("replay-" in body for body in asked[read_once:]), "playing asks the server nothing"
            page.get_by_role("button", name="Metrics").click()
            page.get_by_role("dialog", name="Metrics").get_by_text("load").first.click()
            page.wait_for_function("() => document.querySelector('#replay-values').innerText.startsWith('load')")
            assert clock.inner_text() == moved, "other metrics leave the moment where it is"
            page.keyboard.press("Escape")
            assert page.evaluate("() => document.documentElement.scrollWidth") <= width
            page.close()
    assert wrong == []
