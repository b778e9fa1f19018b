"""Profiles learned in processes are those that one process learns, to the last digit, and in the same order."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devtools import PROJECT_ROOT
from hvac_platform.devices.fleet import fleet_of_size
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import StoredProfile
from hvac_platform.stores.tables import tables
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS, rows
from hvac_platform_tests.monitoring.machines import simulated_windows

DEVICES = 9
SHORT, BROKEN = "RTU-003", "CH-001"
OF_THE_RUN = ("profile_created_at", "profile_updated_at", "updated_at", "built_at", "decided_at")


@pytest.fixture(scope="module")
def unlearned(tmp_path_factory) -> Path:
    """Six hours of nine devices; one has reported for three minutes, the profile of another can't be read."""
    home = tmp_path_factory.mktemp("unlearned")
    store = EmbeddedStore(home / "store.db")
    fleet = fleet_of_size(DEVICES)
    assert {SHORT, BROKEN} <= {device.device_id for device in fleet}
    others = [device for device in fleet if device.device_id != SHORT]
    simulated_windows(store, others, MIDNIGHT_MS - 6 * HOUR_MS, MIDNIGHT_MS)
    simulated_windows(store, [d for d in fleet if d.device_id == SHORT], MIDNIGHT_MS - 180_000, MIDNIGHT_MS)
    store.close()
    run_build(home, BROKEN)
    store = EmbeddedStore(home / "store.db")
    store.update(StoredProfile.TABLE, {"device_id": [BROKEN], "detector": [b"no detector"]})
    store.close()
    return home


def run_build(home: Path, *arguments: str, processes: int = 1) -> subprocess.CompletedProcess[str]:
    """`hvac profiles build` in a home folder."""
    return subprocess.run(
        [sys.executable, "-m", "hvac_platform.cli", "profiles", "build", *arguments],
        cwd=home,
        env={"HVAC_HOME": str(home), "HVAC_PROFILE_PROCESSES": str(processes), "PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )


def built(home: Path, processes: int) -> tuple[list[dict], str]:
    """What it prints of all devices as JSON, and on standard error."""
    done = run_build(home, "--json", processes=processes)
    assert done.returncode == 1, done.stderr  # two devices could not be learned
    errors = [line for line in done.stderr.splitlines() if line.startswith("hvac: ")]  # not the progress with its time
    return json.loads(done.stdout), "\n".join(errors)


def test_equal_to_the_last_digit(unlearned, tmp_path):
    homes = [Path(shutil.copytree(unlearned, tmp_path / name)) for name in ("one", "two")]
    said = [built(home, processes) for home, processes in zip(homes, (1, 2), strict=True)]
    assert said[0] == said[1]
    rows_said, errors = said[1]
    assert [row["device"] for row in rows_said] == sorted(row["device"] for row in rows_said)
    assert len(rows_said) == DEVICES - 2
    assert f"{SHORT}: 3 normal snapshots" in errors
    assert f"{BROKEN}: " in errors
    contents = []
    for home in homes:
        store = EmbeddedStore(home / "store.db")
        contents.append({name: rows(store, name, without=OF_THE_RUN) for name in tables()})
        store.close()
    assert len(contents[0]["device_profiles"]) == DEVICES - 1
    assert contents[0] == contents[1]
