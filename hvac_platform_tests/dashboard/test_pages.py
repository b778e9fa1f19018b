"""Every page through its callbacks: over a simulated day, an empty store, none at all, and one that is down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from hvac_platform.config import Settings
from hvac_platform.dashboard.app import make_app, route
from hvac_platform.dashboard.formatting import at_site
from hvac_platform.dashboard.pages.incident import why
from hvac_platform.dashboard.source import Source
from hvac_platform.detection.methods import method_names
from hvac_platform.monitoring import lifecycle
from hvac_platform.monitoring.data_loss import DataLoss
from hvac_platform.monitoring.incidents import data_loss_incident
from hvac_platform.monitoring.normal_course import Departure, NormalCourse
from hvac_platform.stores.base import Store, StoreError
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import DevicePoint, Incident, StoredGrade
from hvac_platform.timestamps import DAY_MS, days_before
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS
from hvac_platform_tests.dashboard.conftest import (
    EVIL,
    START_MS,
    YESTERDAY,
    BrokenStore,
    Browser,
    CountingStore,
    copy_databases,
    settings_of,
)
from hvac_platform_tests.monitoring import metered

PAGES = {
    "fleet-cards.children": {},
    "device-message.children": {"device_id__data": "CH-001"},
    "incidents-table.children": {},
    "incident-content.children": {"incident_id__data": ["CH-001", START_MS + 20 * HOUR_MS]},
    "plant-content.children": {},
    "methods-content.children": {},
    "replay-message.children": {"replay_id__data": ["CH-001", None]},
    "what-if-content.children": {"what_if_device__value": "CH-001"},
    "ingestion-freshness.children": {},
}


class FixedSource(Source):
    """A source with a store of the test's own."""

    def __init__(self, settings: Settings, store: Any) -> None:
        super().__init__(settings)
        self.fixed = store

    def store(self) -> Store | None:
        return self.fixed  # type: ignore[no-any-return]


@pytest.fixture
def browser(filled: Path) -> Browser:
    return Browser(make_app(settings_of(filled)))


def test_the_fleet_shows_every_device_with_status_values_and_units(browser: Browser) -> None:
    answer = browser.ask("fleet-cards.children")
    text = str(answer["fleet-cards.children"])
    for words in ("CH-001", "RTU-001", "incident open", "▲ warning", "kW", "°F", "ago", "building-B", "svg+xml"):
        assert words in text
    totals = str(answer["fleet-totals.children"])
    assert "0 critical, 1 warning, 0 info" in totals
    assert "rejected messages" in totals
    assert answer["fleet-where.children"] == "1 to 3 of 3 devices"
    assert {o["value"] for o in answer["fleet-type.options"]} >= {"chiller", "rooftop_unit"}


def test_the_fleet_is_filtered(browser: Browser) -> None:
    assert browser.ask("fleet-cards.children", fleet_type__value="chiller")["fleet-shown.data"] == ["CH-001"]
    silent = browser.ask("fleet-cards.children", fleet_status__value="incident open")
    assert silent["fleet-shown.data"] == ["CH-001"]
    assert "passes the filters" in browser.text("fleet-cards.children", fleet_building__value="nowhere")


def test_the_fleet_is_a_table_in_the_order_that_is_chosen(browser: Browser) -> None:
    def shown(**chosen_: str | None) -> list[str]:
        devices: list[str] = browser.ask("fleet-cards.children", fleet_view__value="table", **chosen_)[
            "fleet-shown.data"
        ]
        return devices

    answer = browser.ask("fleet-cards.children", fleet_view__value="table", fleet_order__value="device")
    text = json.dumps(answer["fleet-cards.children"], ensure_ascii=False)
    for words in (
        "CH-001",
        "chiller",
        "building-B",
        "incident open",
        "▲ warning",
        " ago",
        '"aria-sort": "ascending"',
    ):
        assert words in text
    assert "svg+xml" not in text, "what cards show of the last hour is not read"
    assert shown()[0] == "CH-001", "the most urgent first"
    assert shown(fleet_order__value="device") == sorted(shown())
    assert shown(fleet_order__value="type")[:2] == ["CH-001", "RTU-001"]
    assert shown(fleet_order__value="longest not heard of")[0] in ("CH-001", "RTU-001", EVIL)
    assert shown(fleet_order__value="nonsense") == shown()
    assert shown(fleet_search__value="rtu") == ["RTU-001"]
    assert "passes the filters" in browser.text(
        "fleet-cards.children", fleet_view__value="table", fleet_type__value="x"
    )


def test_what_the_address_says_is_chosen_of_the_fleet(browser: Browser) -> None:
    def page(search: str) -> dict[str, Any]:
        """Values of the elements of the page by id."""
        found: dict[str, Any] = {}

        def look(part: Any) -> None:
            if isinstance(part, list):
                for one in part:
                    look(one)
            elif isinstance(part, dict):
                of = part.get("props", {})
                if str(of.get("id", "")).startswith("fleet-"):
                    found[of["id"].removeprefix("fleet-")] = of.get("value")
                look(of.get("children"))

        look(browser.ask("page.children", where__pathname="/", where__search=search)["page.children"])
        return found

    said = page("?view=table&order=place&type=chiller&building=b%20%3Cb%3E&status=silent&search=CH")
    assert {name: said[name] for name in ("view", "order", "type", "building", "status", "search")} == {
        "view": "table",
        "order": "place",
        "type": "chiller",
        "building": "b <b>",
        "status": "silent",
        "search": "CH",
    }
    for odd in ("", "?view=&order=x&status=y", "?" + "a=1&" * 50, "?view=" + "x" * 1_900, "?%ff"):
        said = page(odd)
        assert (said["view"], said["order"], said["status"], said["search"]) == ("cards", None, None, None)


def test_a_device_shows_slow_wear_and_its_operating_modes(browser: Browser) -> None:
    tables = str(browser.ask("device-message.children", device_id__data="CH-001")["device-tables.children"])
    for words in (
        "Slow degradation",
        "+4.25",
        "+6.1",
        "+0.31",
        days_before(YESTERDAY, 9),
        "12",
        "Operating modes",
        "share of the time",
        "measured against",
    ):
        assert words in tables
    assert "> 365" in tables
    assert tables.count("+4.25") == 2  # what doesn't wear isn't shown
    tables = str(browser.ask("device-message.children", device_id__data="RTU-001")["device-tables.children"])
    assert "Not looked at yet" in tables


def test_a_device_shows_the_pace_and_the_grade_of_its_points(filled: Path, tmp_path: Path) -> None:
    copy_databases(filled, tmp_path)
    store = EmbeddedStore(tmp_path / "store.db")
    grade = StoredGrade(
        grade="poor", completeness=0.61, staleness=0.2, resolution=0.1, noise=None, stuck=0.0, out_of_range=0.003
    )
    known = {"device_id": "CH-001", "learned_from": 0, "learned_until": 1, "updated_at": 1}
    slow = {"metric": "cop", "interval_ms": 900_000, "longest_ms": 900_000, "regular": True}
    seldom = {"metric": "power_consumption", "interval_ms": 60_000, "longest_ms": 7_200_000, "regular": False}
    points = [
        DevicePoint(**known, **slow, grade=grade, retired_at=None),
        DevicePoint(**known, **seldom, grade=None, retired_at=5),
    ]
    store.upsert("device_points", DevicePoint.columns(points))
    store.close()
    browser = Browser(make_app(settings_of(tmp_path)))
    tables = str(browser.ask("device-message.children", device_id__data="CH-001")["device-tables.children"])
    for words in ("1 poor", "15 min", "61.0%", "20.0%", "on change, 2.0 h at most", "retired", "expected"):
        assert words in tables


def test_the_incident_of_a_data_loss_says_what_is_missing(filled: Path, tmp_path: Path) -> None:
    copy_databases(filled, tmp_path)
    store = EmbeddedStore(tmp_path / "store.db")
    device = next(d for d in store.devices() if d.device_id == "CH-001")
    loss = DataLoss(START_MS + HOUR_MS, START_MS + 2 * HOUR_MS, True, HOUR_MS // 12, 60_000)
    store.upsert("incidents", Incident.columns([data_loss_incident(device, [loss], status="closed", now_ms=0)]))
    store.close()
    browser = Browser(make_app(settings_of(tmp_path)))
    page = browser.text("incident-content.children", incident_id__data=["CH-001", START_MS + HOUR_MS])
    assert "Missing windows" in page
    assert "60 (data loss 60)" in page
    assert "while other devices were heard" in page
    assert "Likely kinds" not in page


@pytest.mark.parametrize("chosen", ["1 h", "6 h", "24 h", "7 d"])
def test_a_device_shows_charts_events_and_profile_in_every_range(browser: Browser, chosen: str) -> None:
    answer = browser.ask("device-message.children", device_id__data="CH-001", device_range__value=chosen)
    assert answer["device-body.hidden"] is False
    figure = answer["device-figure.figure"]
    assert len(figure["data"]) == 6
    assert any("kW" in note["text"] for note in figure["layout"]["annotations"])
    assert any(shape["yref"] == "y" for shape in figure["layout"]["shapes"]), "the normal band"
    assert {trace["name"] for trace in answer["device-scores.figure"]["data"]} == set(method_names())
    tables = str(answer["device-tables.children"])
    for words in ("Anomalous windows", "Normal snapshots", "Smallest similarity", "Incidents"):
        assert words in tables
    if chosen != "1 h":
        assert "1 × incident, warning" in answer["device-marks.children"]
    if chosen == "24 h":
        assert "1 × maintenance" in answer["device-marks.children"]


def test_chosen_metrics_are_drawn(browser: Browser) -> None:
    answer = browser.ask("device-message.children", device_id__data="CH-001", device_metrics__value=["cop"])
    assert [trace["name"] for trace in answer["device-figure.figure"]["data"]] == ["coefficient of performance"]


@pytest.mark.parametrize(
    ("start", "until", "says"),
    [
        (None, None, "Enter both times"),
        ("yesterday", "today", "A time looks like"),
        ("2026-01-02", "2026-01-01", "not after"),
        ("2020-01-01", "2026-01-01", "31 days"),
        ("2020-01-01", "2020-01-02", "no snapshots between"),
        ("2100-01-01", "2100-01-02", "no snapshots between"),
        ("9999-12-30", "9999-12-31", "no snapshots between"),
        ("0001-01-01", "0001-01-02", "no snapshots between 0001-01-01 00:00:00Z and 0001-01-02 00:00:00Z"),
        ("0001-01-01T00:00+05:00", "0001-01-02", "A time looks like"),
    ],
)
def test_a_custom_range_that_shows_nothing_says_why(
    browser: Browser, start: str | None, until: str | None, says: str
) -> None:
    asked = {"device_id__data": "CH-001", "device_range__value": "custom"}
    answer = browser.ask(
        "device-message.children", **asked, device_from_entered__data=start, device_until_entered__data=until
    )
    assert says.lower() in str(answer["device-message.children"]).lower()
    assert answer["device-body.hidden"] is True
    assert answer["device-custom.hidden"] is False


def test_a_custom_range_is_shown(browser: Browser) -> None:
    asked = {"device_id__data": "CH-001", "device_range__value": "custom"}
    answer = browser.ask(
        "device-message.children",
        **asked,
        device_from_entered__data=f"{YESTERDAY}T02:00",
        device_until_entered__data=f"{YESTERDAY}T03:00",
    )
    assert "60 windows of 60 s" in str(answer["device-message.children"])


def test_an_unknown_device_is_said(browser: Browser) -> None:
    assert "no device of this name" in browser.text("device-message.children", device_id__data="X").lower()


def test_incidents_are_listed_by_attention_and_filtered(browser: Browser) -> None:
    text = browser.text("incidents-table.children")
    assert text.index("/incident/CH-001/") < text.index("/incident/RTU-001/")
    assert "fouled condenser" in text
    assert "/incident/CH-001/" not in browser.text("incidents-table.children", incidents_severity__value="critical")
    assert "/incident/RTU-001/" not in browser.text("incidents-table.children", incidents_state__value="open")
    assert "/incident/CH-001/" not in browser.text("incidents-table.children", incidents_device__value="RTU-001")


def test_a_phone_finds_all_that_it_needs_to_install_the_dashboard(browser: Browser) -> None:
    assert b'<link rel="manifest" href="/assets/dashboard.webmanifest">' in browser.client.get("/").data
    answer = browser.client.get("/assets/dashboard.webmanifest")
    assert answer.mimetype == "application/manifest+json"
    manifest = json.loads(answer.data)
    assert (manifest["display"], manifest["start_url"]) == ("standalone", "/")
    assert {icon["sizes"] for icon in manifest["icons"]} == {"192x192", "512x512"}
    for icon in manifest["icons"]:
        assert browser.client.get(icon["src"]).mimetype == "image/png"


def test_times_of_an_incident_and_a_device_are_told_by_the_clock_of_the_building_too(
    filled: Path, tmp_path: Path
) -> None:
    device = next(d for d in EmbeddedStore(filled / "store.db").devices() if d.device_id == "CH-001")
    zone, alerts = "Asia/Kolkata", tmp_path / "alerts.yaml"
    alerts.write_text(f"timezone: America/New_York\nbuildings: {{{device.building_id}: {{timezone: {zone}}}}}\n")
    browser = Browser(make_app(settings_of(filled, hvac_alerts=alerts)))
    incident_page = browser.text("incident-content.children", incident_id__data=["CH-001", START_MS + 20 * HOUR_MS])
    assert at_site(START_MS + 20 * HOUR_MS, zone) in incident_page
    store = EmbeddedStore(filled / "store.db")
    (one,) = Incident.read(store, "CH-001")
    since = lifecycle.handling_of(store, [one])[one.incident_id].since
    lead = browser.text("incident-lead.children", incident_id__data=["CH-001", START_MS + 20 * HOUR_MS])
    assert f"since {at_site(since, zone)}" in lead, "what somebody reads first too"
    assert f"in {zone})" in browser.text("device-message.children", device_id__data="CH-001")


def test_an_incident_says_why_what_and_how_much(browser: Browser) -> None:
    text = browser.text("incident-content.children", incident_id__data=["CH-001", START_MS + 20 * HOUR_MS])
    similar = f"/incident/CH-001/{START_MS + 20 * HOUR_MS - DAY_MS}"
    for words in ("far from its usual", "ch-1 (", "fouled condenser", "0.91", "42.5 kWh", similar):
        assert words in text
    assert "this incident" in text
    assert "What was not normal" in text
    assert "spreads lower" in text
    assert "normal would have been" in text
    assert "turned out to be" in text
    for words in ("acknowledged by kim, since", "alex", "opened as warning", "acknowledged by kim: &lt;b&gt;on my way"):
        assert words.replace("&lt;", "<").replace("&gt;", ">") in text
    answer = browser.ask("incident-content.children", incident_id__data=["CH-001", 5])
    assert "no such incident" in str(answer["incident-content.children"])
    assert (answer["incident-lead.children"], answer["incident-acting.hidden"]) == ("", True)
    page = browser.text("page.children", where__pathname="/incident/CH-001/5")
    assert "Replay it" not in page


def test_methods_are_shown_by_day_and_device(browser: Browser) -> None:
    text = browser.text("methods-content.children")
    for words in (YESTERDAY, "consensus (2+)", "any method", "1,440", "/device/CH-001"):
        assert words in text
    assert "excess kWh" in text


@pytest.mark.parametrize("known", [True, False])
def test_energy_is_shown_where_there_is_some(tmp_path: Path, known: bool) -> None:
    store = EmbeddedStore(tmp_path / "store.db")
    counts = {key: [1] for key in ("windows", "consensus", "any_method", "incidents")}
    energy = {"energy_kwh": [120.0], "expected_kwh": [100.0], "excess_kwh": [15.0]} if known else {}
    store.upsert("detection_reports", {"date": [YESTERDAY], "device_id": ["a"], **counts, **energy})
    store.close()
    text = Browser(make_app(settings_of(tmp_path))).text("methods-content.children")
    assert ("used kWh" in text) is known
    assert ("excess kWh" in text) is known
    assert ("120.0" in text) is known


def test_ingestion_shows_lag_freshness_and_escaped_dead_letters(browser: Browser) -> None:
    answer = browser.ask("ingestion-freshness.children")
    assert "0 messages wait" in str(answer["ingestion-lag.children"])
    assert "/device/RTU-001" in str(answer["ingestion-freshness.children"])
    rejected = str(answer["ingestion-dead-letters.children"])
    assert "<script>alert(6)</script>\\\\x00\\\\xfe" in rejected
    assert "bytes)" in rejected
    assert "No snapshot waits" in str(answer["ingestion-backlog.children"])


@pytest.mark.parametrize("output", PAGES)
def test_without_any_store_every_page_says_how_to_begin_and_makes_none(tmp_path: Path, output: str) -> None:
    text = Browser(make_app(settings_of(tmp_path))).text(output, **PAGES[output])
    assert "o device has been registered yet" in text
    assert "hvac simulate" in text
    assert "hvac ingest" in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output", PAGES)
def test_an_empty_store_has_an_empty_state_on_every_page(tmp_path: Path, output: str) -> None:
    EmbeddedStore(tmp_path / "store.db").close()
    text = Browser(make_app(settings_of(tmp_path))).text(output, **PAGES[output])
    assert '"className": "empty"' in text


@pytest.mark.parametrize("output", PAGES)
def test_a_store_that_is_down_is_said_and_recovers(filled: Path, output: str) -> None:
    settings = settings_of(filled)
    source = FixedSource(settings, BrokenStore())
    browser = Browser(make_app(settings, source=source))
    text = browser.text(output, **PAGES[output])
    assert "StoreError: no host <b>answers</b>" in text  # a text node, which a browser does not read as HTML
    assert "hvac check" in text
    assert browser.client.get("/healthz").status_code == 503
    source.fixed = Source(settings).store()
    assert "StoreError" not in str(browser.ask(output, **PAGES[output])[output])
    assert browser.client.get("/healthz").status_code == 200


def test_a_schema_of_an_older_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    import apsw

    connection = apsw.Connection(str(tmp_path / "store.db"))
    connection.pragma("user_version", 1)
    connection.close()
    text = Browser(make_app(settings_of(tmp_path))).text("fleet-cards.children")
    assert "hvac schema apply" in text
    with pytest.raises(StoreError, match="version 1"):
        Source(settings_of(tmp_path)).store()


@pytest.mark.parametrize("output", PAGES)
def test_no_page_writes(filled: Path, output: str) -> None:
    settings = settings_of(filled)
    opened = Source(settings).store()
    assert opened is not None
    counting = CountingStore(opened)
    browser = Browser(make_app(settings, source=FixedSource(settings, counting)))
    assert "error-text" not in browser.text(output, **PAGES[output])
    assert counting.calls


def test_what_comes_from_outside_is_text_and_never_html_or_a_foreign_link(browser: Browser) -> None:
    answers = [
        browser.ask("fleet-cards.children"),
        browser.ask("device-message.children", device_id__data=EVIL),
        browser.ask("incident-content.children", incident_id__data=["CH-001", START_MS + 20 * HOUR_MS]),
        browser.ask("ingestion-freshness.children"),
    ]
    seen = 0
    for component in _components(answers):
        assert component["type"] not in {"Iframe", "Script", "Markdown", "Embed", "ObjectEl"}
        assert not component["props"].get("dangerously_allow_html")
        href = component["props"].get("href")
        if href is not None:
            seen += 1
            assert href.startswith(("/device/", "/incident/", "/replay/"))
            assert not set(href) & set("<>\"' ")
    assert seen > 5
    figure = answers[1]["device-figure.figure"]
    words = [note["text"] for note in figure["layout"]["annotations"]] + [t["name"] for t in figure["data"]]
    assert any("&lt;a href=" in text for text in words)
    assert not any("<" in text for text in words)
    assert "\u202e" not in str(answers)


def _components(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        inner = [c for v in value.values() for c in _components(v)]
        return [value, *inner] if {"type", "props", "namespace"} <= set(value) else inner
    return [c for v in value for c in _components(v)] if isinstance(value, list) else []


def test_addresses_lead_to_pages_also_with_slashes_in_ids() -> None:
    assert route(f"/device/{quote(EVIL, safe='')}").children[-1].data == EVIL
    assert route("/incident/a%2Fb/12").children[-1].data == ["a/b", "12"]
    for path in ("/device/", "/incident/a/b", "/incident/a/-1", "/incident/a/1.2.3", "/x/y/z"):
        assert route(path).children[0].children == "No such page"


def test_pages_turn_and_a_filter_goes_back_to_the_first(browser: Browser) -> None:
    assert browser.ask("fleet-page.data", fleet_next__n_clicks=1)["fleet-page.data"] == 1
    assert browser.ask("fleet-page.data", fleet_type__value="chiller", fleet_page__data=4)["fleet-page.data"] == 0


def test_refreshing_pauses_and_resumes(browser: Browser) -> None:
    paused = browser.ask("tick.disabled", pause__n_clicks=1, tick__disabled=False)
    assert (paused["tick.disabled"], paused["pause.children"]) == (True, "Resume")
    resumed = browser.ask("tick.disabled", pause__n_clicks=2, tick__disabled=True)
    assert (resumed["tick.disabled"], resumed["pause.children"]) == (False, "Pause")


def test_everything_comes_from_this_server(browser: Browser) -> None:
    answer = browser.client.get("/device/CH-001")
    page = answer.data.decode()
    assert 'src="http' not in page
    assert 'href="http' not in page
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert "unsafe-eval" not in policy
    assert browser.client.get("/assets/dashboard.css").status_code == 200


def test_an_incident_says_what_it_is_worth_in_energy_with_prices_in_money_and_what_its_repair_saved(
    tmp_path: Path,
) -> None:
    """Six hours at 40 kW beyond 100, then two days at 104: 960 kWh a day, and 36 kW less since."""
    store, over = EmbeddedStore(tmp_path / "store.db"), MIDNIGHT_MS + 6 * HOUR_MS
    metered.metered_chiller(store)
    metered.draws(store, MIDNIGHT_MS, over, 140.0)
    metered.draws(store, over, over + 2 * DAY_MS, 104.0)
    one = metered.incident(MIDNIGHT_MS, 6)
    store.upsert("incidents", Incident.columns([one]))
    opened = lifecycle.after_pass(None, replace(one, status="open"), lifecycle.Rules(10_000 * DAY_MS), over)
    lifecycle.write_steps(store, [opened], over)

    def page(**more: Any) -> str:
        browser = Browser(make_app(settings_of(tmp_path, hvac_window_seconds=300, **more)))
        return browser.text("incident-content.children", incident_id__data=["CH-001", MIDNIGHT_MS])

    said = page()
    for words in ("What it is worth", "Avoidable cost", "Comfort", "severity +25", "maintenance risk +", "cost +10"):
        assert words in said
    assert "960.0 kWh (840.0 to 1,080.0) a day, if all of a day were as the 6.0 h" in said
    assert "HVAC_TARIFFS names no file" in said
    assert "Saved since" not in said
    tariffs = tmp_path / "tariffs.yaml"
    tariffs.write_text("currency: EUR\nprice: 0.25\n")
    lifecycle.resolve(store, one, by="kim", at_ms=over)
    said = page(hvac_tariffs=tariffs)
    assert "240.00 EUR (210.00 to 270.00) a day" in said
    assert "HVAC_TARIFFS names no file" not in said
    assert "Saved since it was resolved" in said
    assert "432.00 EUR (" in said, "36 kW in 48 h at 0.25"
    tariffs.write_text("currency: EUR\n")
    said = page(hvac_tariffs=tariffs)
    assert "tariffs.yaml: line 1: price: is missing" in said, "a file that is wrong is told, and the energy is there"
    assert " kWh (" in said


def test_the_direction_in_which_a_metric_moved_is_that_of_the_table_below(filled: Path) -> None:
    """Of a state far from anything seen the signature has the other sign: what it says of one metric rests on all others."""
    (row,) = Incident.read(EmbeddedStore(filled / "store.db"), "CH-001")
    assert row.signature["power_consumption"] > 0
    lower = (Departure("power_consumption", 20.0, 60.0, -9.0), Departure("cop", 5.0, 5.01, -0.1))
    course = NormalCourse(np.zeros(0, dtype=np.int64), (), np.zeros((0, 0)), lower)
    assert "power (down), coefficient of performance" in str(why(row, "chiller", course))
    assert "performance (down)" not in str(why(row, "chiller", course)), "about as usual is no direction"
    assert "power (up), coefficient of performance (down)" in str(why(row, "chiller"))


def test_the_page_of_a_device_that_there_is_not_has_nothing_to_choose_or_to_do(filled: Path) -> None:
    browser = Browser(make_app(settings_of(filled)))
    asked = {"device_range__value": "24 h"}
    assert browser.ask("device-head.children", device_id__data="CH-001", **asked)["device-tools.hidden"] is False
    gone = browser.ask("device-head.children", device_id__data="CH-999", **asked)
    assert gone["device-tools.hidden"] is True
    assert "No device of this name is registered" in str(gone["device-message.children"])
