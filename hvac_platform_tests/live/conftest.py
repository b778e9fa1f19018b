"""A live Dagster over a week of simulated history, for the tests of this folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devtools import PROJECT_ROOT
from devtools.services.base import free_port
from hvac_platform.config import load_settings
from hvac_platform.devices.fleet import default_fleet
from hvac_platform.runtime.connections import open_log
from hvac_platform.runtime.live import HOST, start_dagster, stop, wait_until_ready
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.simulation.streaming import stream_history
from hvac_platform.timestamps import day_of, day_start, days_before, now_ms

INTERVAL_MS = 300_000
LOCATION = "hvac_platform"
PROXIED = "hvac.example.com"
"""Name of a proxy before the pages."""


@dataclass
class LiveDagster:
    url: str
    home: Path
    first_day: str
    last_day: str
    messages: int

    def query(self, document: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": document, "variables": variables}).encode()
        request = urllib.request.Request(self.url + "/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            result = json.load(answer)
        assert "errors" not in result, result["errors"]
        return result["data"]


@pytest.fixture(scope="package")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDagster]:
    home = tmp_path_factory.mktemp("live")
    shutil.copy(PROJECT_ROOT / "dagster.yaml", home)
    before = dict(os.environ)
    os.environ["HVAC_HOME"] = str(home)
    today = day_of(now_ms())
    first, last = days_before(today, 7), days_before(today, 1)
    settings = load_settings()
    log = open_log(settings)
    messages = 0
    for _, messages in stream_history(  # noqa: B007 - the last count is wanted
        log,
        settings.kafka_topic,
        FleetSimulation(default_fleet(), seed=7),
        default_fleet(),
        day_start(first),
        day_start(today),
        INTERVAL_MS,
    ):
        pass
    assert messages == 7 * 71 * np.ceil(86_400_000 / INTERVAL_MS)
    port = free_port()
    log_file = home / "live.log"
    environment = {"HVAC_HOME": str(home), "HVAC_ALLOWED_HOSTS": PROXIED}
    dagster = start_dagster(home, PROJECT_ROOT / "workspace.yaml", port, environment, log_file)
    try:
        wait_until_ready([dagster], port, log_file)
        yield LiveDagster(f"http://{HOST}:{port}", home, first, last, messages)
    finally:
        stop([dagster])
        os.environ.clear()
        os.environ.update(before)


def run_hvac(home: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hvac_platform.cli", *arguments]
    done = subprocess.run(
        command, env={**os.environ, "HVAC_HOME": str(home)}, capture_output=True, text=True, timeout=300
    )
    if check:
        assert done.returncode == 0, done.stderr + done.stdout
    return done
