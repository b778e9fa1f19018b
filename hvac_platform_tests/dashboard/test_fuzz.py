"""Some hundred of the requests of benchmarks.fuzz to a dashboard as it is served; and what is broken is counted as such."""

from __future__ import annotations

import random
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from benchmarks import fuzz
from hvac_platform.runtime.live import stop
from hvac_platform_tests.dashboard.conftest import copy_databases
from hvac_platform_tests.live.conftest import free_port

REQUESTS = 400


def test_no_request_breaks_the_dashboard(filled: Path, tmp_path: Path) -> None:
    copy_databases(filled, tmp_path)
    port = free_port()
    target = fuzz.target_of(tmp_path, port, random.Random(1))
    started, log = fuzz.served(tmp_path, port)
    try:
        fuzz.fuzz(target, REQUESTS)
        assert fuzz.faults(target, started, log) == []
    finally:
        stop([started])
    assert target.counted.requests == REQUESTS
    assert target.counted.by_kind.keys() == {*fuzz.SHARES, "API, by schemathesis", "log-ins"}
    for kind in ("callbacks", "paths", "API, by schemathesis"):
        assert target.counted.by_kind[kind]["200"] > 0.1 * target.counted.by_kind[kind].total(), "not all is refused"


class Fragile(BaseHTTPRequestHandler):
    """A server that fails, says too much, or says nothing."""

    def do_GET(self) -> None:
        if self.path == "/silent":
            return
        self.send_response(500 if self.path == "/failing" else 200)
        self.end_headers()
        self.wfile.write(b"Traceback (most recent call last)" if self.path == "/telling" else b"fine")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the class above
        pass


def test_what_is_broken_is_counted() -> None:
    with HTTPServer((fuzz.HOST, 0), Fragile) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        target = fuzz.Target(server.server_port, ["hvac_x"], ["CH-001"], ["CH-001/1"], random.Random(1))
        for path in ("/fine", "/failing", "/telling", "/silent"):
            target.ask("paths", f"GET {path} HTTP/1.1")
        server.shutdown()
    assert target.counted.by_kind == {"paths": {"200": 2, "500": 1, "closed": 1}}
    assert [fault for fault, _ in target.counted.broken] == ["answer 500", "a traceback in the answer"]
