"""The dashboard as it is served, in a browser: pages open, nothing comes from elsewhere, nothing hostile runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from hvac_platform.access.roles import Role
from hvac_platform.access.users import add_user
from hvac_platform.monitoring import lifecycle
from hvac_platform.runtime.live import start_dashboard, stop, wait_until_ready
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import Incident
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.conftest import HOUR_MS
from hvac_platform_tests.dashboard.conftest import EVIL, START_MS, copy_databases
from hvac_platform_tests.live.conftest import free_port

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
PAGES = {
    "/": "incident open",
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
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


def test_every_page_opens_in_a_browser(served: str, tmp_path: Path) -> None:
    wrong: list[str] = []
    with chromium() as browser:
        for width in (1280, 768, 390):
            for path, words in PAGES.items():
                page = browser.new_page(viewport={"width": width, "height": 900})
                page.on("request", lambda request: wrong.extend(elsewhere(request.url, served)))
                page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
                page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
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
                if width < 800:  # a table is a list there, and no part of it is off the screen
                    beyond = page.evaluate(
                        "() => [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length"
                    )
                    assert beyond == 0, f"{path} has tables that are scrolled sideways"
                page.close()
    assert wrong == []


def elsewhere(url: str, served: str) -> list[str]:
    return [] if url.startswith((served, "data:", "blob:")) else [url]


def test_an_operator_walks_from_the_card_to_resolved_in_a_browser(filled: Path, tmp_path: Path) -> None:
    """The link that logs in, what needs attention, its incident, acknowledged and resolved: four clicks."""
    copy_databases(filled, tmp_path)
    store = EmbeddedStore(tmp_path / "store.db")
    (incident,) = Incident.read(store, "CH-001")
    lifecycle.snooze(store, incident, now_ms() + HOUR_MS, by="kim", at_ms=now_ms())
    token = add_user(store, "ana", Role.OPERATOR, None, now_ms())
    port, log = free_port(), tmp_path / "dashboard.log"
    started = start_dashboard(tmp_path, port, {"HVAC_HOME": str(tmp_path)}, log)
    try:
        wait_until_ready([started], port, log, page="healthz")
        for width in (1280, 390):
            with chromium() as browser:
                page = browser.new_page(viewport={"width": width, "height": 900})
                page.goto(f"http://127.0.0.1:{port}/log-in#token={token}", wait_until="domcontentloaded")
                attention = page.get_by_role("region", name="Needs attention")
                attention.get_by_text("Check pressure drop").or_(
                    attention.get_by_text("far from its usual")
                ).first.wait_for()
                attention.get_by_role("link", name="CH-001").click()
                page.get_by_label("Note, for any of these").fill("on my way")
                page.get_by_role("button", name="Acknowledge").click()
                page.get_by_text("Acknowledge: done by ana").wait_for()
                page.get_by_text("acknowledged by ana: on my way").first.wait_for()
                page.get_by_role("button", name="Resolve").click()
                page.get_by_text("Resolve: done by ana").wait_for()
                page.get_by_role("button", name="Reopen").click()
                page.get_by_text("Reopen: done by ana").wait_for()
                assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    finally:
        stop([started])
    made = [one.transition for one in lifecycle.history_of(store, incident) if one.actor == "ana"]
    assert made == ["acknowledged", "resolved", "reopened"] * 2
