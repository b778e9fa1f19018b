"""What docs/security.md tells to do: its commands and its nginx files, run."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from devtools import PROJECT_ROOT
from hvac_platform.runtime.live import HOST, require_guard, start, start_dashboard, stop, wait_until_ready
from hvac_platform_tests.live.conftest import PROXIED, LiveDagster, free_port
from hvac_platform_tests.live.test_webserver import wait_for

TEXT = (PROJECT_ROOT / "docs" / "security.md").read_text()
BEFORE_THE_PLATFORM, BEFORE_THE_CHART = re.findall(r"^```nginx\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
DASHBOARD = "dashboard.example.com"
PASSWORD = "of a test"
LOGGED_IN = {"Authorization": "Basic " + base64.b64encode(f"name:{PASSWORD}".encode()).decode()}
AS_JSON = {"Content-Type": "application/json"}
VERSION = json.dumps({"query": "{ version }"})
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Protocol": "graphql-ws",
}

Ask = Callable[..., tuple[int, str]]


class NamedConnection(http.client.HTTPSConnection):
    """A connection to this machine that asks for a name, as a browser does whose name service leads here."""

    def __init__(self, name: str, port: int) -> None:
        super().__init__(name, port, timeout=60)
        self.trusting = ssl._create_unverified_context()

    def connect(self) -> None:
        self.host, name = HOST, self.host
        http.client.HTTPConnection.connect(self)
        self.sock = self.trusting.wrap_socket(self.sock, server_hostname=name)


@contextmanager
def nginx(folder: Path, configuration: str, **replaced: str) -> Iterator[Ask]:
    """An nginx of the document's file, on a port of its own."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None or shutil.which("openssl") is None:
        pytest.skip("no nginx or no openssl on this machine")
    port = free_port()
    certificate = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={PROXIED}"]
    files = ["-keyout", str(folder / "hvac.key"), "-out", str(folder / "hvac.crt")]
    subprocess.run(["openssl", *certificate, *files], check=True, capture_output=True)
    hashed = subprocess.run(["openssl", "passwd", "-6", PASSWORD], check=True, capture_output=True, text=True).stdout
    (folder / "hvac.htpasswd").write_text(f"name:{hashed}")
    folder.chmod(0o755)
    text = configuration.replace("/etc/nginx/", f"{folder}/").replace("listen 443", f"listen {HOST}:{port}")
    for old, new in replaced.items():
        text = text.replace(old, new)
    user = "user root;" if os.geteuid() == 0 else ""
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {paths}\n{text}\n}}"
    )
    command = [program, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    started = start("nginx", command, folder, {}, folder / "nginx.log")

    def ask(
        method: str, target: str, body: str | None = None, *, name: str = PROXIED, **headers: Any
    ) -> tuple[int, str]:
        connection = NamedConnection(name, port)
        try:
            connection.request(method, target, body, {"Host": name, **headers})
            answer = connection.getresponse()
            return answer.status, "" if answer.status == 101 else answer.read().decode()
        finally:
            connection.close()

    def answers() -> bool:
        assert started.process.poll() is None, (folder / "nginx.log").read_text() + (folder / "error.log").read_text()
        try:
            return ask("GET", "/") is not None
        except OSError:
            return False

    try:
        wait_for("nginx", answers, 30)
        yield ask
    finally:
        stop([started])


def test_a_proxy_with_a_log_in_shows_the_pages_to_others(live: LiveDagster, tmp_path: Path) -> None:
    assert f"HVAC_ALLOWED_HOSTS={PROXIED},{DASHBOARD} hvac up --dashboard" in TEXT
    port = free_port()
    environment = {"HVAC_HOME": str(live.home), "HVAC_ALLOWED_HOSTS": f"{PROXIED},{DASHBOARD}"}
    dashboard = start_dashboard(live.home, port, environment, tmp_path / "dashboard.log")
    try:
        wait_until_ready([dashboard], port, tmp_path / "dashboard.log", page="healthz")
        servers = {f"{HOST}:3000": urlsplit(live.url).netloc, f"{HOST}:8050": f"{HOST}:{port}"}
        with nginx(tmp_path, BEFORE_THE_PLATFORM, **servers) as ask:
            own = {**LOGGED_IN, "Origin": f"https://{PROXIED}", "Sec-Fetch-Site": "same-origin"}
            assert ask("GET", "/server_info")[0] == 401
            assert ask("GET", "/server_info", **LOGGED_IN)[0] == 200
            status, said = ask("POST", "/graphql", VERSION, **AS_JSON, **own)
            assert (status, "version" in said) == (200, True)
            assert ask("GET", "/graphql", **HANDSHAKE, **own)[0] == 101
            foreign = {**own, "Origin": "https://evil.example"}
            assert ask("POST", "/graphql", VERSION, **AS_JSON, **foreign)[0] == 403
            assert ask("GET", "/graphql", **HANDSHAKE, **foreign)[0] == 403
            assert ask("GET", "/healthz", name=DASHBOARD)[0] == 401
            assert ask("GET", "/healthz", name=DASHBOARD, **LOGGED_IN) == (200, '{"store": "ok"}')
    finally:
        stop([dashboard])


def test_an_ingress_does_the_guards_part_before_the_charts_own_server(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "server_info").write_text("{}")
    stand_in = [sys.executable, "-c", STAND_IN, str(port)]
    backend = start("stand-in", stand_in, tmp_path, {}, tmp_path / "stand-in.log")
    try:
        wait_until_ready([backend], port, tmp_path / "stand-in.log")
        with nginx(tmp_path, BEFORE_THE_CHART, **{"hvac-dagster-webserver": f"{HOST}:{port}"}) as ask:
            own = {"Origin": f"https://{PROXIED}"}
            assert ask("GET", "/server_info")[0] == 200
            assert ask("POST", "/graphql", VERSION, **AS_JSON, **own)[0] == 200
            assert ask("GET", "/graphql?query=mutation")[0] == 405
            assert ask("POST", "/graphql", VERSION, **AS_JSON, Origin="https://evil.example")[0] == 403
            assert ask("POST", "/report_asset_check/x", "{}", **AS_JSON, Origin="null")[0] == 403
            assert ask("GET", "/graphql", **HANDSHAKE, Origin="https://evil.example")[0] == 403
            assert ask("GET", "/graphql", **HANDSHAKE, **own)[0] == 200  # the stand-in knows no websockets
            with pytest.raises(OSError, match=r"(?i)unrecognized.name|handshake"):
                ask("GET", "/server_info", name="evil.example")
    finally:
        stop([backend])


STAND_IN = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"{}")
    do_POST = do_GET
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_program_asks_as_in_the_document(live: LiveDagster) -> None:
    (command,) = re.findall(r"^curl (-H .+) http://127.0.0.1:3000(/\S+)$", TEXT, re.MULTILINE)
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    line = f"curl --silent --fail {command[0]} {live.url}{command[1]}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert "version" in json.loads(done.stdout)["data"]


def test_the_guarded_server_of_compose_and_of_the_celery_recipe_starts_by_itself(tmp_path: Path) -> None:
    assert "python -m hvac_platform.runtime.guarded_dagster webserver -w workspace.yaml" in TEXT
    compose = yaml.safe_load((PROJECT_ROOT / "docker-compose.yml").read_text())["services"]["webserver"]["command"]
    port = free_port()
    changed = {"--host=0.0.0.0": f"--host={HOST}", "--port=3000": f"--port={port}"}
    assert changed.keys() < set(compose)
    options = [changed.get(word, word) for word in compose[1:] if not word.startswith("--workspace")]
    shutil.copy(PROJECT_ROOT / "dagster.yaml", tmp_path)
    log = tmp_path / "log"
    started = start("webserver", [sys.executable, *options, "--empty-workspace"], tmp_path, {}, log)
    try:
        wait_until_ready([started], port, log)
        require_guard(port)
    finally:
        stop([started])


def test_a_wrong_host_in_the_setting_ends_the_start_with_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hvac_platform.runtime.guarded_dagster", "webserver", "--empty-workspace"]
    environment = {**os.environ, "HVAC_ALLOWED_HOSTS": "https://x/"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith("hvac: HVAC_ALLOWED_HOSTS=")
