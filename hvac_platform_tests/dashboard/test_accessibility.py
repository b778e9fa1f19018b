"""Every page by axe-core, as an operator: light and dark, on a desktop and on a phone, no serious violation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe

from hvac_platform.access.roles import Role
from hvac_platform.access.users import add_user
from hvac_platform.dashboard.app import PAGES, make_app
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.conftest import HOUR_MS
from hvac_platform_tests.dashboard.conftest import EVIL, START_MS, BrokenStore, Served, copy_databases, settings_of
from hvac_platform_tests.dashboard.test_browser import chromium
from hvac_platform_tests.dashboard.test_pages import FixedSource

WIDTHS, SCHEMES = (1280, 390), ("light", "dark")
PARTS = {"<device>": "CH-001", "<number>": str(START_MS + 20 * HOUR_MS)}
MORE = ("/?view=table", f"/device/{quote(EVIL, safe='')}", "/incident/CH-001/1", "/nowhere")
"""A device without a profile, an incident that is gone, and no page at all."""
DROP_DOWNS = {"/incidents": "Severity", "/device/CH-001": "Metrics"}
"""Looked at when they are open, too: one choice, and several."""
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RULES = {"runOnly": TAGS, "resultTypes": ["violations"]}
GRAVE = ("serious", "critical")
DRAWN = """() => {
  const look = (part, property) => getComputedStyle(document.querySelector(part))[property];
  return {
    line: look("#device-figure .js-line", "stroke"),
    text: look("#device-figure .ytick text", "fill"),
    limit: look("#device-scores .shapelayer path[style*=dash]", "stroke"),
    grid: look("#device-figure .gridlayer path", "stroke"),
  };
}"""
"""The colours of parts of the figures as the browser draws them."""


def addresses() -> list[str]:
    """An address of every page; a page with a part that the test has nothing for fails."""
    return ["/".join(PARTS[part] if part.startswith("<") else part for part in page.split("/")) for page in PAGES]


@pytest.fixture
def with_operator(filled: Path, tmp_path: Path) -> Iterator[tuple[str, str]]:
    copy_databases(filled, tmp_path)
    store = EmbeddedStore(tmp_path / "store.db")
    token = add_user(store, "ana", Role.OPERATOR, None, now_ms())
    store.close()
    with Served(make_app(settings_of(tmp_path))) as url:
        yield url, token


def open_page(browser: Any, width: int) -> Any:
    """A page; axe-core is put into it, which the policy of the dashboard forbids to all others."""
    page = browser.new_page(viewport={"width": width, "height": 900}, bypass_csp=True)
    page.set_default_timeout(120_000)
    return page


def settle(page: Any) -> None:
    """Wait until a page has read what it shows, and has drawn it."""
    page.locator("main h1").first.wait_for()
    page.wait_for_function("() => !document.querySelector('main').innerText.includes('reading …')")
    page.wait_for_load_state("networkidle")


def grave_violations(page: Any, where: str) -> list[str]:
    """What axe-core finds in both schemes; the page is not loaded anew for the other one."""
    found = []
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        for one in Axe().run(page, options=RULES).response["violations"]:
            nodes = [f"{node['target']} {node['failureSummary'][:300]}" for node in one["nodes"][:3]]
            if one["impact"] in GRAVE:
                found.append(f"{one['id']}, {one['impact']}, on {where}, {scheme}: {nodes}")
    return found


def test_no_page_has_a_serious_violation(with_operator: tuple[str, str]) -> None:
    url, token = with_operator
    found: list[str] = []
    with chromium() as browser:
        for width in WIDTHS:
            page = open_page(browser, width)
            page.goto(f"{url}/log-in")
            found += grave_violations(page, f"/log-in at {width}")
            page.goto("about:blank")
            page.goto(f"{url}/log-in#token={token}")
            page.locator("#fleet-cards article").first.wait_for()
            for path in [*addresses(), *MORE]:
                page.goto(url + path)
                settle(page)
                found += grave_violations(page, f"{path} at {width}")
                if path.startswith("/device/"):
                    for summary in page.locator("details.acting > summary, details.map > summary").all():
                        summary.click()
                    page.locator("#device-map > *").first.wait_for()
                    found += grave_violations(page, f"{path} at {width} with its parts open")
                if path == "/what-if":
                    page.get_by_text("Other rules or parameters").click()
                    page.get_by_label("Rules, as YAML").fill("name: chiller\nparameters: {min_delta_t: 40}")
                    page.get_by_role("button", name="Try these rules").click()
                    page.get_by_text("1 of 1 devices read").wait_for()
                    found += grave_violations(page, f"{path} at {width} with what was tried")
                if path in DROP_DOWNS:
                    page.get_by_role("button", name=DROP_DOWNS[path]).click()
                    page.get_by_role("dialog", name=DROP_DOWNS[path]).get_by_role("searchbox").wait_for()
                    found += grave_violations(page, f"{DROP_DOWNS[path]} of {path} at {width}")
            page.close()
    assert found == []


def test_figures_are_drawn_in_the_colours_of_the_scheme(with_operator: tuple[str, str]) -> None:
    """The style sheet knows the colours of figures.py that it replaces."""
    url, token = with_operator
    drawn: dict[str, dict[str, str]] = {}
    with chromium() as browser:
        page = open_page(browser, 1280)
        page.goto(f"{url}/log-in#token={token}")
        page.locator("#fleet-cards article").first.wait_for()
        page.goto(f"{url}/device/CH-001")
        page.locator("#device-figure .js-line").first.wait_for(state="attached")
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            drawn[scheme] = page.evaluate(DRAWN)
    assert drawn["light"] == {
        "line": "rgb(0, 114, 178)",
        "text": "rgb(31, 41, 51)",
        "limit": "rgb(31, 41, 51)",
        "grid": "rgb(213, 221, 229)",
    }
    assert drawn["dark"] == {
        "line": "rgb(86, 180, 233)",
        "text": "rgb(227, 233, 239)",
        "limit": "rgb(227, 233, 239)",
        "grid": "rgb(53, 66, 79)",
    }


def test_a_store_that_is_down_is_said_without_a_serious_violation(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    found: list[str] = []
    with Served(make_app(settings, source=FixedSource(settings, BrokenStore()))) as url, chromium() as browser:
        for width in WIDTHS:
            page = open_page(browser, width)
            page.goto(f"{url}/methods")
            page.locator(".failure").first.wait_for()
            found += grave_violations(page, f"a failure at {width}")
    assert found == []
