"""The dashboard as it is served, asked by others and asked for too much: it answers, and neither memory nor log grow."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from waitress.adjustments import Adjustments

from hvac_platform.dashboard.app import make_app
from hvac_platform.dashboard.front import LONGEST_BODY, LONGEST_LIST, LONGEST_TEXT
from hvac_platform.dashboard.log_lines import LONGEST_LINE
from hvac_platform.dashboard.pages.device import MOST_METRICS
from hvac_platform.dashboard.serving import Parser
from hvac_platform.runtime.live import StartedProcess, start_dashboard, stop, wait_until_ready
from hvac_platform_tests.dashboard.conftest import Browser, settings_of
from hvac_platform_tests.live.conftest import free_port

HOST = "127.0.0.1"
UPDATE = "/_dash-update-component"
LARGEST_ANSWER = 3_000_000


@dataclass
class Served:
    port: int
    log: Path
    started: StartedProcess

    def ask(
        self, method: str, target: str, body: bytes | Iterator[bytes] | None = None, **headers: str
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        try:
            connection.request(method, target, body, {n.replace("_", "-"): v for n, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def post(self, document: Any, **headers: str) -> tuple[int, bytes]:
        return self.ask("POST", UPDATE, json.dumps(document).encode(), Content_Type="application/json", **headers)

    def peak_memory(self) -> int:
        """Most bytes that the process has had in memory."""
        lines = Path(f"/proc/{self.started.process.pid}/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


@pytest.fixture(scope="module")
def served(filled: Path) -> Iterator[Served]:
    port, log = free_port(), filled / "bounded.log"
    environment = {"HVAC_HOME": str(filled), "HVAC_ALLOWED_HOSTS": "hvac.example.com"}
    started = start_dashboard(filled, port, environment, log)
    try:
        wait_until_ready([started], port, log, page="healthz")
        yield Served(port, log, started)
    finally:
        stop([started])


def test_other_hosts_and_other_pages_are_refused(served: Served) -> None:
    for target in ("/", "/healthz", "/_dash-layout", "/_dash-dependencies", "/assets/dashboard.css", "/nowhere"):
        assert served.ask("GET", target, Host="evil.example")[0] == 403
    assert served.ask("GET", "/healthz", Host=f"localhost:{served.port}")[0] == 200
    assert served.ask("GET", "/healthz", Host="hvac.example.com")[0] == 200
    assert served.post({}, Origin="http://127.0.0.1:1")[0] == 403
    assert served.post({}, Sec_Fetch_Site="same-site")[0] == 403
    assert served.ask("POST", UPDATE, b"{}", Content_Type="text/plain")[0] == 415


def test_what_can_not_even_be_read_is_told_as_a_problem_too(served: Served) -> None:
    connection = http.client.HTTPConnection(HOST, served.port, timeout=60)
    connection.request("GET", "/api/v1/devices", headers={"X-Long": "x" * 40_000})
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    assert (answer.status, answer.getheader("Content-Type")) == (431, "application/problem+json")
    assert (said["status"], said["title"]) == (431, "Request Header Fields Too Large")
    assert said["detail"] == "the headers are longer than 32,768 bytes"


def test_the_address_that_it_listens_on_is_known(filled: Path) -> None:
    client = make_app(settings_of(filled), host="10.1.2.3").server.test_client()
    assert client.get("/healthz", headers={"Host": "10.1.2.3:8050"}).status_code == 200
    assert client.get("/healthz", headers={"Host": "10.1.2.4:8050"}).status_code == 403


def test_hundreds_of_half_open_connections_leave_it_reachable(served: Served) -> None:
    with ExitStack() as held:
        for number in range(400):
            half = held.enter_context(socket.create_connection((HOST, served.port), timeout=30))
            if number % 2:
                half.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")  # and the end never comes
        with urllib.request.urlopen(f"http://{HOST}:{served.port}/healthz", timeout=30) as answer:
            assert answer.status == 200


def test_a_connection_that_says_nothing_is_closed(served: Served) -> None:
    with socket.create_connection((HOST, served.port), timeout=60) as silent:
        silent.sendall(b"GET / HTTP/1.1\r\n")
        assert silent.recv(1) == b""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_body_of_a_hundred_megabytes_costs_neither_memory_nor_log(served: Served) -> None:
    assert served.post({})[0] != 413
    before, logged = served.peak_memory(), served.log.stat().st_size
    for announced in (True, False):
        with socket.create_connection((HOST, served.port), timeout=60) as sender:
            length = b"Content-Length: 100000000\r\n" if announced else b"Transfer-Encoding: chunked\r\n"
            sender.sendall(f"POST {UPDATE} HTTP/1.1\r\nHost: localhost\r\n".encode() + length)
            sender.sendall(b"Content-Type: application/json\r\n\r\n")
            part = b"x" * 100_000
            try:
                for _ in range(1_000):
                    sender.sendall(part if announced else b"186a0\r\n" + part + b"\r\n")
            except OSError:
                pass  # it has stopped listening, as it should
            else:
                pytest.fail("all of it was taken")
    assert served.peak_memory() - before < 40_000_000
    assert served.log.stat().st_size - logged < 3 * LONGEST_LINE
    body = json.dumps("x" * LONGEST_BODY).encode()
    assert served.ask("POST", UPDATE, body, Content_Type="application/json")[0] == 413


@pytest.mark.parametrize(
    "value", [["cop"] * (LONGEST_LIST + 1), "x" * (LONGEST_TEXT + 1), {str(n): 0 for n in range(LONGEST_LIST + 1)}]
)
def test_lists_and_texts_longer_than_any_page_has_are_refused(served: Served, value: Any) -> None:
    status, said = served.post({"inputs": [{"id": "device-metrics", "property": "value", "value": value}]})
    assert status == 400
    assert b"may" in said


@pytest.mark.parametrize(
    "document",
    [
        {},
        [1],
        7,
        {"output": 3},
        {"output": "page.children", "inputs": [{"id": "where", "property": "pathname", "value": {}}]},
    ],
)
def test_what_no_page_sends_is_refused_in_one_line(served: Served, document: Any) -> None:
    before = served.log.stat().st_size
    status, body = served.post(document)
    assert status < 500, body
    assert b"Traceback" not in served.log.read_bytes()[before:]


@pytest.mark.parametrize("coding", ["xchunked", "gzip, chunked", "identity"])
def test_a_transfer_coding_that_is_none_is_a_fault_of_who_sent_it(served: Served, coding: str) -> None:
    with socket.create_connection((HOST, served.port), timeout=60) as sender:
        sender.sendall(f"POST {UPDATE} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: {coding}\r\n\r\n".encode())
        assert sender.recv(100).startswith(b"HTTP/1.1 400 ")


def test_nesting_without_end_is_refused(served: Served) -> None:
    body = b"[" * 200_000 + b"]" * 200_000
    assert served.ask("POST", UPDATE, body, Content_Type="application/json")[0] == 400


def test_one_metric_many_times_is_drawn_once_and_many_metrics_up_to_a_bound(filled: Path) -> None:
    browser = Browser(make_app(settings_of(filled)))
    once = browser.ask("device-figure.figure", device_id__data="CH-001", device_metrics__value=["cop"])
    often = browser.ask("device-figure.figure", device_id__data="CH-001", device_metrics__value=["cop"] * LONGEST_LIST)
    assert often["device-figure.figure"] == once["device-figure.figure"]
    every = [entry["value"] for entry in once["device-metrics.options"]]
    answer = browser.text("device-figure.figure", device_id__data="CH-001", device_metrics__value=every * 10)
    assert len(answer) < LARGEST_ANSWER
    drawn = json.loads(answer)["device-figure.figure"]["layout"]
    assert sum(name.startswith("yaxis") for name in drawn) == min(MOST_METRICS, len(every))


def test_what_a_browser_sent_fills_no_log(served: Served) -> None:
    """Dash puts the outputs and the inputs that it does not know into its error."""
    logged = served.log.stat().st_size
    names = [f"{'x' * (LONGEST_TEXT - 10)}{n}" for n in range(100)]
    references = [{"id": name, "property": "y"} for name in names]
    document = {"output": "..".join(["", *names, ""])[:LONGEST_TEXT], "outputs": references, "inputs": references}
    status, _ = served.post({**document, "changedPropIds": names})
    assert status == 400
    added = served.log.read_bytes()[logged:]
    assert b"a callback was refused" in added
    assert len(added) <= LONGEST_LINE + 100


def test_a_port_in_use_is_told_with_the_process_that_has_it(served: Served, filled: Path) -> None:
    command = [sys.executable, "-m", "hvac_platform.cli", "dashboard", "--port", str(served.port)]
    environment = {**os.environ, "HVAC_HOME": str(filled)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert f"process {served.started.process.pid} (" in done.stderr


def test_a_request_that_could_not_be_read_has_a_path_for_who_writes_to_the_log() -> None:
    """The server names the path where who sent a request has gone before its answer, of headers that are too long too."""
    assert Parser(Adjustments()).path == ""
