"""``python -m devtools.services up`` leaves servers behind that go on when the command has ended; ``down`` ends them."""

import socket
import subprocess
import sys

from devtools import PROJECT_ROOT
from devtools.services.base import DEFAULT_FOLDER, free_port
from hvac_platform.runtime.live import HOST


def services(*arguments):
    command = [sys.executable, "-m", "devtools.services", *arguments]
    return subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=180)


def test_a_server_goes_on_after_the_command_that_started_it_until_it_is_stopped(tmp_path):
    (tmp_path / "cache").symlink_to(DEFAULT_FOLDER / "cache")
    port, where = free_port(), ["--folder", str(tmp_path)]
    started = services("up", "kafka", *where, "--port", f"kafka={port}")
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        with socket.create_connection((HOST, port), timeout=5):
            pass
        assert services("status", "kafka", *where).returncode == 0
    finally:
        stopped = services("down", "kafka", *where)
    assert "stopped" in stopped.stdout
    assert services("status", "kafka", *where).returncode == 1
