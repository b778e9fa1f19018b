"""Dagster's pages as `hvac up` serves them, asked by their own pages, by other pages and under other names."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from hvac_platform.runtime.live import HOST, LiveError, require_guard
from hvac_platform_tests.live.conftest import LOCATION, LiveDagster

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
REBOUND = "--host-resolver-rules=MAP evil.example 127.0.0.1"
SENSOR = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION, "sensorName": "kafka_ingestion"}
STATE = (
    "query($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor { sensorState { id status } } } }"
)
START = "mutation($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename } }"
ATTACKS = """async ({url, stop}) => {
    const body = JSON.stringify({query: stop});
    const get = url + "/graphql?query=" + encodeURIComponent(stop);
    const told = {};
    const attempt = async (name, ask) => {
        try { const answer = await ask(); told[name] = answer.type + " " + answer.status; }
        catch (error) { told[name] = "failed"; }
    };
    await attempt("GET no-cors", () => fetch(get, {mode: "no-cors"}));
    await attempt("GET cors", () => fetch(get));
    await attempt("POST text/plain", () => fetch(url + "/graphql", {method: "POST", mode: "no-cors", body}));
    await attempt("POST disguised", () => fetch(url + "/graphql", {
        method: "POST", mode: "no-cors", body, headers: {"Content-Type": "text/plain; application/json"}}));
    await attempt("POST query", () => fetch(get, {method: "POST", mode: "no-cors"}));
    await attempt("POST JSON", () => fetch(url + "/graphql", {
        method: "POST", body, headers: {"Content-Type": "application/json"}}));
    await new Promise(done => { const i = new Image(); i.onload = i.onerror = done; i.src = get; });
    told.websocket = await new Promise(done => {
        const socket = new WebSocket(url.replace("http", "ws") + "/graphql", "graphql-ws");
        socket.onopen = () => done("open");
        socket.onerror = () => done("refused");
    });
    return told;
}"""
FORM = """({url, stop}) => {
    const form = document.createElement("form");
    form.method = "POST"; form.enctype = "text/plain"; form.action = url + "/graphql";
    const field = document.createElement("input");
    field.name = '{"query": ' + JSON.stringify(stop) + ', "x": "'; field.value = '"}';
    form.append(field); document.body.append(form); form.submit();
}"""


@contextmanager
def page_elsewhere() -> Iterator[int]:
    """A web page of somebody else on another port of this machine."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<p>a page</p>")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def chromium() -> Iterator[Any]:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("CI has no Chromium, so the guard was not tried with a browser")
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=[*FLAGS, REBOUND])
        yield browser
        browser.close()


def sensor(live: LiveDagster) -> dict[str, str]:
    return live.query(STATE, s=SENSOR)["sensorOrError"]["sensorState"]  # type: ignore[no-any-return]


def stop_document(live: LiveDagster) -> str:
    return f"mutation {{ stopSensor(id: {json.dumps(sensor(live)['id'])}) {{ __typename }} }}"


def ask(live: LiveDagster, method: str, target: str, body: str | None = None, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(HOST, urlsplit(live.url).port or 0, timeout=60)
    try:
        connection.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.fixture
def running(live: LiveDagster) -> Iterator[LiveDagster]:
    assert sensor(live)["status"] == "RUNNING"
    yield live
    live.query(START, s=SENSOR)


def test_a_mutation_by_get_is_refused_and_a_query_answered(running: LiveDagster) -> None:
    status, said = ask(running, "GET", f"/graphql?query={quote(stop_document(running))}")
    assert (status, "POST" in said) == (405, True)
    assert ask(running, "GET", f"/graphql?query={quote('{ version }')}")[0] == 200
    assert sensor(running)["status"] == "RUNNING"


def test_another_origin_another_kind_of_body_and_another_host_are_refused(running: LiveDagster) -> None:
    stop = json.dumps({"query": stop_document(running)})
    as_json = {"Content_Type": "application/json"}
    assert ask(running, "POST", "/graphql", stop, **as_json, Origin="http://evil.example")[0] == 403
    assert ask(running, "POST", "/graphql", stop, **as_json, Sec_Fetch_Site="cross-site")[0] == 403
    assert ask(running, "POST", "/graphql", stop, Content_Type="text/plain; application/json")[0] == 415
    assert ask(running, "POST", f"/graphql?query={quote(stop_document(running))}")[0] == 415
    status, said = ask(running, "POST", "/graphql", stop, **as_json, Host="evil.example")
    assert (status, "HVAC_ALLOWED_HOSTS" in said) == (403, True)
    wipe = "/report_asset_materialization/raw_metrics"
    assert ask(running, "POST", wipe, "{}", **as_json, Origin="http://evil.example")[0] == 403
    assert sensor(running)["status"] == "RUNNING"


def test_pages_elsewhere_change_nothing_in_a_browser(running: LiveDagster) -> None:
    given = {"url": running.url, "stop": stop_document(running)}
    with page_elsewhere() as port, chromium() as browser:
        for attacker in (f"http://{HOST}:{port}", f"http://localhost:{port}", f"http://evil.example:{port}"):
            page = browser.new_page()
            page.goto(attacker)
            told = page.evaluate(ATTACKS, given)
            assert told["websocket"] == "refused", told
            assert told["GET cors"] == told["POST JSON"] == "failed", told
            page.evaluate(FORM, given)
            page.wait_for_url(f"{running.url}/graphql")
            assert "may not ask" in page.inner_text("body")
            page.close()
        rebound = browser.new_page()
        answer = rebound.goto(running.url.replace(HOST, "evil.example"))
        assert answer.status == 403
    assert sensor(running)["status"] == "RUNNING"


@pytest.mark.parametrize("host", [HOST, "localhost"])
def test_its_own_pages_work_with_their_switches_and_subscriptions(running: LiveDagster, host: str) -> None:
    url = running.url.replace(HOST, host)
    refused: list[str] = []
    heard: list[str] = []
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.on("response", lambda r: refused.append(f"{r.status} {r.url}") if r.status in (403, 405, 415) else None)
        page.on("websocket", lambda w: w.on("framereceived", lambda frame: heard.append(str(frame))))
        page.goto(f"{url}/locations/{LOCATION}/sensors/kafka_ingestion", wait_until="domcontentloaded")
        switch = page.get_by_role("checkbox").or_(page.get_by_role("switch")).first
        switch.wait_for(state="attached", timeout=60_000)
        with page.expect_response(
            lambda r: (
                "graphql" in r.url and "stopSensor" in (r.request.post_data or "").replace("StopSensor", "stopSensor")
            )
        ) as answered:
            switch.dispatch_event("click")
        assert answered.value.status == 200
        page.wait_for_timeout(2_000)
    assert refused == []
    assert any("connection_ack" in frame for frame in heard)
    assert sensor(running)["status"] == "STOPPED"


def test_pages_without_the_guard_are_noticed_at_the_start(live: LiveDagster) -> None:
    require_guard(urlsplit(live.url).port or 0)
    with page_elsewhere() as port, pytest.raises(LiveError, match="without the request guard"):
        require_guard(port)
