"""The harness, with a small server of its own: no download, no Java."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request

import pytest

from devtools.services import base, maven
from devtools.services.__main__ import main
from devtools.services.base import Service, ServiceError, free_port, process_identity, require_tools
from hvac_platform.runtime.live import HOST

ENDS = "import sys; print('no such luck'); sys.exit(3)"


class Web(Service):
    """Python's web server."""

    name = "web"
    default_port = 8000
    program = None

    def fetch(self):
        pass

    def prepare(self):
        pass

    def command(self):
        if self.program is not None:
            return [sys.executable, "-c", self.program]
        return [sys.executable, "-m", "http.server", "--bind", HOST, str(self.port)]

    def answers(self):
        with urllib.request.urlopen(f"http://{HOST}:{self.port}", timeout=2) as answer:
            return answer.status == 200

    @property
    def settings(self):
        return {}


@pytest.fixture
def web(tmp_path):
    service = Web(tmp_path / "cache", tmp_path / "web", free_port())
    yield service
    service.kill()


def again(web, port=None):
    """The same service as another process sees it."""
    return Web(web.cache, web.folder, port)


def test_it_is_started_once_found_again_and_stopped(web):
    web.up()
    running = web.running()
    other = again(web)
    assert not other.start()
    other.wait_until_ready()
    assert other.running() == running
    assert other.port == web.port
    assert other.down()
    assert web.running() is None
    assert not web.down()
    other.up()  # on the port of the last time
    assert other.running().ports == running.ports
    other.kill()


def test_a_killed_server_is_started_again(web):
    web.up()
    first = web.running()
    web.kill()
    assert web.running() is None
    web.up()
    assert web.running().pid != first.pid


def test_a_server_that_ends_shows_the_end_of_its_log(web):
    web.program = ENDS
    with pytest.raises(ServiceError, match=r"web ended while it was starting; (.|\n)*no such luck"):
        web.up()


def test_a_server_that_never_answers_is_given_up(web, monkeypatch):
    monkeypatch.setattr(base, "READY_SECONDS", 1)
    web.program = "import time; print('thinking', flush=True); time.sleep(60)"
    with pytest.raises(ServiceError, match=r"did not answer on port \d+ within 1 s(.|\n)*thinking"):
        web.up()


def test_a_taken_port_is_named(web, tmp_path):
    web.up()
    with pytest.raises(ServiceError, match=rf"web can't have port {web.port}.*--port web=PORT"):
        Web(tmp_path, tmp_path / "other", web.port).up()
    with pytest.raises(ServiceError, match=f"runs on port {web.port} already"):
        again(web, free_port()).up()


def test_another_process_with_the_same_pid_is_left_alone(web):
    web.up()
    web.down()
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    record = json.loads((web.folder / "process.json").read_text()) | {"pid": stranger.pid}
    (web.folder / "process.json").write_text(json.dumps(record))
    assert again(web).running() is None
    assert not again(web).down()
    assert stranger.poll() is None
    identity = process_identity(stranger.pid)
    assert identity
    stranger.kill()
    while process_identity(stranger.pid) == identity:  # until then a zombie, which counts as gone
        time.sleep(0.01)
    stranger.wait()


def test_missing_programs_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match=r"kafka needs java, mvn .*apt-get install openjdk-17-jre-headless maven"):
        maven.fetch_jars("kafka", tmp_path, oldest_java=17)
    with pytest.raises(ServiceError, match="ollama needs go on"):
        require_tools("ollama", "go")


def test_the_command_shows_and_refuses(tmp_path, capsys):
    assert main(["status", "kafka", "--folder", str(tmp_path)]) == 1
    assert capsys.readouterr().out == "kafka      stopped\n"
    assert main(["down", "--folder", str(tmp_path), "kafka"]) == 0
    for wrong in (["up", "mongodb"], ["up", "--port", "kafka=x"], ["sideways"]):
        with pytest.raises(SystemExit):
            main(wrong)
