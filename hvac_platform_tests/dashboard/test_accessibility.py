"""Every page by axe-core, as an operator: light and dark, on a desktop and on a phone, no serious violation."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import waitress
from axe_playwright_python.sync_playwright import Axe
from dash import Dash

from hvac_platform.access.roles import Role
from hvac_platform.access.users import add_user
from hvac_platform.dashboard.app import PAGES, make_app
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.conftest import HOUR_MS
from hvac_platform_tests.dashboard.conftest import EVIL, START_MS, BrokenStore, settings_of
from hvac_platform_tests.dashboard.test_browser import chromium
from hvac_platform_tests.dashboard.test_pages import FixedSource

WIDTHS, SCHEMES = (1280, 390), ("light", "dark")
PARTS = {"<device>": "CH-001", "<number>": str(START_MS + 20 * HOUR_MS)}
MORE = (f"/device/{quote(EVIL, safe='')}", "/incident/CH-001/1", "/nowhere")
"""A device without a profile, an incident that is gone, and no page at all."""
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], "resultTypes": ["violations"]}
GRAVE = ("serious", "critical")


class Served:
    """A dashboard in a thread."""

    def __init__(self, app: Dash) -> None:
        self.server: Any = waitress.create_server(app.server, host="127.0.0.1", port=0, threads=4)
        self.url = f"http://127.0.0.1:{self.server.effective_port}"
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> str:
        self.thread.start()
        return self.url

    def __exit__(self, *_: object) -> None:
        self.server.close()
        self.server.task_dispatcher.shutdown()


def addresses() -> list[str]:
    """An address of every page; a page with a part that the test has nothing for fails."""
    return ["/".join(PARTS[part] if part.startswith("<") else part for part in page.split("/")) for page in PAGES]


@pytest.fixture
def with_operator(filled: Path, tmp_path: Path) -> Iterator[tuple[str, str]]:
    for file in filled.glob("*.db*"):
        shutil.copy(file, tmp_path)
    store = EmbeddedStore(tmp_path / "store.db")
    token = add_user(store, "ana", Role.OPERATOR, None, now_ms())
    store.close()
    with Served(make_app(settings_of(tmp_path))) as url:
        yield url, token


def settled(page: Any) -> None:
    """Wait until a page has read what it shows, and has drawn it."""
    page.wait_for_function("() => !document.querySelector('._dash-loading, [data-dash-is-loading]')", timeout=60_000)
    page.locator("main h1, main .empty").first.wait_for(timeout=60_000)
    page.wait_for_load_state("networkidle")
    page.wait_for_function("() => !document.querySelector('main')?.innerText.includes('reading …')", timeout=60_000)


def violations(page: Any, where: str) -> list[str]:
    """What axe-core finds in both schemes; the page is not loaded anew for the other one."""
    found = []
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        for one in Axe().run(page, options=RULES).response["violations"]:
            nodes = [f"{node['target']} {node['html'][:160]} {node['failureSummary'][:300]}" for node in one["nodes"]]
            found.append(f"{one['impact']}: {one['id']} on {where}, {scheme}: {len(nodes)}: {nodes[:3]}")
    return found


def grave(found: list[str]) -> list[str]:
    return [one for one in found if one.startswith(GRAVE)]


def test_no_page_has_a_serious_violation(with_operator: tuple[str, str]) -> None:
    url, token = with_operator
    found: list[str] = []
    with chromium() as browser:
        for width in WIDTHS:
            # axe-core is put into the page, which the page's policy forbids to all others.
            page = browser.new_page(viewport={"width": width, "height": 900}, bypass_csp=True)
            page.goto(f"{url}/log-in")
            found += violations(page, f"/log-in at {width}")
            page.goto("about:blank")
            page.goto(f"{url}/log-in#token={token}")
            page.locator("#fleet-cards article").first.wait_for(timeout=60_000)
            for path in [*addresses(), *MORE]:
                page.goto(url + path)
                settled(page)
                found += violations(page, f"{path} at {width}")
            page.close()
    open("/dev/shm/axe.txt", "w").write("\n".join(found))
    assert grave(found) == []


def test_a_store_that_is_down_is_said_without_a_serious_violation(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    found: list[str] = []
    with Served(make_app(settings, source=FixedSource(settings, BrokenStore()))) as url, chromium() as browser:
        for width in WIDTHS:
            page = browser.new_page(viewport={"width": width, "height": 900}, bypass_csp=True)
            page.goto(f"{url}/methods")
            page.locator(".failure").first.wait_for(timeout=60_000)
            found += violations(page, f"failure at {width}")
    open("/dev/shm/axe2.txt", "w").write("\n".join(found))
    assert grave(found) == []
