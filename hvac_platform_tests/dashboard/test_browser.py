"""The dashboard as it is served, in a browser: pages open, nothing comes from elsewhere, nothing hostile runs."""

from __future__ import annotations

import faulthandler
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from hvac_platform.dashboard.app import make_app
from hvac_platform.dashboard.pages import device
from hvac_platform.demo import place_tariffs
from hvac_platform.demo_alerts import OPERATOR, operator_path
from hvac_platform.monitoring import lifecycle
from hvac_platform.runtime.live import start_dashboard, stop, wait_until_ready
from hvac_platform.stores.records import Incident
from hvac_platform.timestamps import iso
from hvac_platform_tests.conftest import HOUR_MS
from hvac_platform_tests.dashboard.conftest import EVIL, START_MS, Served, settings_of
from hvac_platform_tests.dashboard.story import DEVICE, LATER, NOTICED, RESOLVED, Clock, Story, story
from hvac_platform_tests.live.conftest import free_port

__all__ = ["story"]

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
MOST_CLICKS = 5
"""From the link that the demonstration prints to the right incident acknowledged, by who has read nothing."""
PAGES = {
    "/": "incident open",
    "/?view=table": "worst incident",
    "/device/CH-001": "Normal snapshots",
    f"/device/{quote(EVIL, safe='')}": "There is no profile of this device yet",
    "/incidents": "fouled condenser",
    f"/incident/CH-001/{START_MS + 20 * HOUR_MS}": "Similar past incidents",
    "/methods": "By day and device",
    f"/replay/CH-001/{START_MS + 20 * HOUR_MS}": "What was said up to the moment",
    "/what-if": "Choose a device, or",
    "/ingestion": "Dead letters",
}


@pytest.fixture(scope="module")
def served(filled: Path) -> Iterator[str]:
    port = free_port()
    log = filled / "dashboard.log"
    started = start_dashboard(filled, port, {"HVAC_HOME": str(filled)}, log)
    try:
        wait_until_ready([started], port, log, page="healthz")
        yield f"http://127.0.0.1:{port}"
    finally:
        stop([started])


def test_it_is_served_with_its_health_and_listens_on_loopback(served: str) -> None:
    with urllib.request.urlopen(f"{served}/healthz", timeout=20) as answer:
        assert answer.read() == b'{"store": "ok"}'
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


def test_a_port_in_use_and_debugging_for_others_are_refused(served: str, filled: Path) -> None:
    port = served.rsplit(":", 1)[1]
    for options, says in (
        (["--port", port], "--port"),
        (["--host", "0.0.0.0", "--port", str(free_port()), "--debug"], "--debug"),
    ):
        command = [sys.executable, "-m", "hvac_platform.cli", "dashboard", *options]
        environment = {**os.environ, "HVAC_HOME": str(filled)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        assert says in done.stderr
        assert "Traceback" not in done.stderr


PATIENCE_MS = 120_000
"""Of a page on a machine that runs other tests, servers and their browsers."""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; the test is skipped where there is none, and fails in CI."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("CI has no Chromium, so the pages were not looked at")
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser: Any = playwright.chromium.launch(executable_path=program, args=FLAGS)
        new_page = browser.new_page

        def patient_page(**options: Any) -> Any:
            page = new_page(**options)
            page.set_default_timeout(PATIENCE_MS)
            return page

        browser.new_page = patient_page
        try:
            yield browser
        except BaseException:
            tell_what_was_there(browser)
            raise
        browser.close()


def tell_what_was_there(browser: Any) -> None:
    """The pages as they are read when a test fails, and what each thread of a server in this process does."""
    faulthandler.dump_traceback(2, all_threads=True)
    for page in [page for context in browser.contexts for page in context.pages]:
        try:
            print(f"{page.url} shows:\n{page.locator('body').inner_text(timeout=10_000)}")
        except Exception as error:
            print(f"{page.url} shows nothing: {error}")


def test_the_address_remembers_what_is_chosen_of_the_fleet(served: str) -> None:
    """By keyboard alone: who comes back to the address, or is sent it, sees the same."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(served)
        page.locator("#fleet-cards article").first.wait_for(timeout=60_000)
        page.get_by_label("cards").focus()
        page.keyboard.press("ArrowRight")
        page.locator("#fleet-cards table").wait_for(timeout=60_000)
        page.get_by_label("Search").focus()
        page.keyboard.type("ch-0")
        page.wait_for_function("() => location.search === '?view=table&search=ch-0'")
        page.wait_for_function("() => document.querySelectorAll('#fleet-cards tbody tr').length === 1")
        page.reload()
        page.locator("#fleet-cards tbody").get_by_role("link", name="CH-001").click(timeout=60_000)
        page.get_by_text("Normal snapshots").wait_for(timeout=60_000)
        page.go_back()
        page.locator("#fleet-cards tbody tr").wait_for(timeout=60_000)
        assert page.get_by_label("Search").input_value() == "ch-0"
        assert page.locator("#fleet-cards tbody tr").count() == 1
        page.close()


def test_every_page_opens_in_a_browser(served: str, tmp_path: Path) -> None:
    wrong: list[str] = []
    with chromium() as browser:
        for width in (1280, 768, 390):
            for path, words in PAGES.items():
                page = browser.new_page(viewport={"width": width, "height": 900})
                page.on("request", lambda request: wrong.extend(elsewhere(request.url, served)))
                page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
                page.on(
                    "console", lambda m: wrong.append(f"{m.text} {m.location['url']}") if m.type == "error" else None
                )
                page.on("dialog", lambda dialog: (wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
                page.goto(served + path, wait_until="domcontentloaded")
                page.get_by_text(words).first.wait_for(timeout=60_000)
                if path == "/":
                    page.locator("#fleet-cards").get_by_role("link", name="CH-001").click()
                    page.get_by_text("Normal snapshots").wait_for(timeout=60_000)
                    assert page.url.endswith("/device/CH-001")
                if path.startswith("/device/CH"):
                    page.locator("#device-figure .main-svg").first.wait_for(timeout=60_000)
                    page.keyboard.press("Tab")
                    assert page.evaluate("() => document.activeElement.tagName") != "BODY"
                # Callables and not strings: the pages forbid the evaluation of strings.
                assert page.evaluate("() => document.documentElement.scrollWidth") <= width, f"{path} is too wide"
                assert page.locator(".failure").count() == 0
                # Where there is no room for it, a table is a list: no part of it is off the screen.
                beyond = page.evaluate(
                    "() => [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length"
                )
                assert beyond == 0, f"{path} has tables that are scrolled sideways at {width}"
                cut = page.evaluate(
                    """() => [...document.querySelectorAll('.js-plotly-plot .annotation-text')].filter(e =>
                        e.getBoundingClientRect().right > e.closest('.js-plotly-plot').getBoundingClientRect().right
                    ).map(e => e.textContent)"""
                )
                assert cut == [], f"{path} cuts titles of figures at {width}"
                page.close()
    assert wrong == []


RANGES = """() => Object.fromEntries([...document.querySelectorAll('.js-plotly-plot')].map(plot =>
    [plot.closest('[id]').id, [plot._fullLayout.xaxis, plot._fullLayout.yaxis].map(axis => axis.range.map(String))]))"""


@pytest.mark.parametrize(
    ("path", "zoomed"),
    [
        ("/device/CH-001", ["device-scores", "device-figure"]),
        (f"/incident/CH-001/{START_MS + 20 * HOUR_MS}", ["incident-scores", "incident-figure"]),
    ],
)
def test_what_somebody_zooms_into_stays_at_refreshes_on_both_axes(
    filled: Path, monkeypatch: pytest.MonkeyPatch, path: str, zoomed: list[str]
) -> None:
    """Axes that have a range and axes that find theirs, at refreshes that draw everything anew."""
    monkeypatch.setattr(device, "HOLD_MS", 1)
    with Served(make_app(settings_of(filled))) as url, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 2400})
        page.goto(f"{url}{path}")
        for graph in zoomed:
            area = page.locator(f"#{graph} .nsewdrag[data-subplot='xy']")
            if graph.endswith("figure"):
                area = page.locator(f"#{graph} .nsewdrag").first
            area.wait_for()
            whole = page.evaluate(RANGES)[graph]
            box = area.bounding_box()
            assert box is not None
            page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.2 * box["height"])
            page.mouse.down()
            page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.8 * box["height"], steps=8)
            page.mouse.up()
            page.wait_for_timeout(500)
            assert all(now != before for now, before in zip(page.evaluate(RANGES)[graph], whole, strict=True))
        was = page.evaluate(RANGES)
        for _ in range(3):
            with page.expect_response(lambda answer: f"{zoomed[0]}.figure" in (answer.request.post_data or "")):
                pass
        page.wait_for_timeout(500)
        now = page.evaluate(RANGES)
        assert {graph: now[graph] for graph in zoomed} == {graph: was[graph] for graph in zoomed}
        page.close()


def test_what_is_typed_in_a_hurry_on_a_slow_browser_stays_in_order_and_counts_when_it_is_entered(served: str) -> None:
    """By Enter, or when the field is left."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{served}/device/CH-001")
        page.locator("#device-figure .main-svg").first.wait_for()
        page.get_by_label("custom").check()
        page.get_by_text("Enter both times").wait_for()
        page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 6})
        for label, text in (("From (UTC)", iso(START_MS)[:16]), ("Until (UTC)", iso(START_MS + HOUR_MS)[:16])):
            page.get_by_label(label).click()
            page.keyboard.type(text)
            assert page.get_by_label(label).input_value() == text
        page.get_by_text("Enter both times").wait_for()
        page.keyboard.press("Enter")
        page.get_by_text(f"{iso(START_MS)} to {iso(START_MS + HOUR_MS)}").wait_for()
        page.goto(f"{served}/what-if")
        page.get_by_label("False alarms a day and device").click()
        page.keyboard.type("0,1250")
        page.keyboard.press("Tab")
        page.get_by_text("such as 0.5").wait_for()
        assert page.get_by_label("False alarms a day and device").input_value() == "0,1250"
        page.close()


def elsewhere(url: str, served: str) -> list[str]:
    return [] if url.startswith((served, "data:", "blob:")) else [url]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_an_operator_walks_from_the_card_to_what_the_repair_has_saved(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, scheme: str
) -> None:
    """The link that the demonstration prints, the card, the incident, acknowledged, repaired, resolved; what that saved."""
    clock = Clock(monkeypatch, NOTICED)
    store = story.begin(tmp_path)
    settings = settings_of(tmp_path, hvac_tariffs=place_tariffs(tmp_path))
    path = operator_path(settings)
    (incident,) = [one for one in Incident.read(store, DEVICE) if one.status == "open"]
    wrong: list[str] = []
    with Served(make_app(settings)) as url, chromium() as browser:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("console", lambda m: wrong.append(f"{m.text} {m.location['url']}") if m.type == "error" else None)
        look = partial(keep_screenshot, page, f"{width}-{scheme}")
        clicks = 0

        def click(what: Any) -> None:
            nonlocal clicks
            what.click()
            clicks += 1
            assert page.evaluate("() => document.documentElement.scrollWidth") <= width

        page.goto(f"{url}{path}", wait_until="domcontentloaded")
        attention = page.get_by_role("region", name="Needs attention")
        first = attention.get_by_role("listitem").first
        first.get_by_text("heating valve open").wait_for()
        first.get_by_text("Costs about").get_by_text("USD").wait_for()
        page.locator("#fleet-cards").get_by_text("incident open").first.wait_for()
        look("1-home")
        card = page.locator("#fleet-cards article").filter(has_text=DEVICE)
        click(card.get_by_role("link", name="incident open"))
        short = page.get_by_role("region", name="In short")
        short.get_by_text("Check first: compare the stage's command with its status").wait_for()
        short.get_by_text("Costs about").wait_for()
        page.locator("#incident-figures .main-svg").first.wait_for()
        look("2-incident")
        click(page.get_by_role("button", name="Acknowledge"))
        page.get_by_text(f"Acknowledge: done by {OPERATOR}").wait_for()
        assert (
            lifecycle.state_of(lifecycle.handling_of(store, [incident])[incident.incident_id], NOTICED)
            == "acknowledged"
        )
        assert clicks <= MOST_CLICKS
        look("3-acknowledged")

        story.go_on(store, clock, RESOLVED)
        page.get_by_label("Note, for any of these").fill("the contactor was welded, replaced")
        click(page.get_by_role("button", name="Resolve"))
        page.get_by_text(f"Resolve: done by {OPERATOR}").wait_for()
        page.get_by_text("the contactor was welded, replaced").first.wait_for()
        short.get_by_text("not known: 24 h after it was resolved are needed").wait_for()
        look("4-resolved")

        story.go_on(store, clock, LATER)
        page.reload(wait_until="domcontentloaded")
        saved = short.locator("dd")
        saved.get_by_text("kWh").wait_for()
        assert re.match(r"[\d.]+ USD \([\d.]+ to [\d.]+\)", saved.inner_text())
        assert short.get_by_text("Costs about").count() == 0, "it is over"
        page.locator("#incident-figures .main-svg").first.wait_for()
        look("5-savings")
        click(page.get_by_role("link", name="Fleet"))
        page.get_by_role("region", name="Needs attention").wait_for()
        assert page.get_by_role("region", name="Needs attention").get_by_role("link", name=DEVICE).count() == 0
        look("6-home")
    assert wrong == []
    made = [one.transition for one in lifecycle.history_of(store, incident) if one.actor == OPERATOR]
    assert made == ["acknowledged", "resolved"]


def keep_screenshot(page: Any, which: str, name: str) -> None:
    """A picture of the whole page in the folder that SCREENSHOTS names, for who wants to look."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}-{which}.png", full_page=True)
