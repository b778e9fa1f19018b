"""Days judged in processes are those that one process judges, to the last digit, whatever is judged beside them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devtools import PROJECT_ROOT
from hvac_platform.config import load_settings
from hvac_platform.devices.fleet import fleet_of_size
from hvac_platform.monitoring.passes.base import spans_of_days
from hvac_platform.runtime.judging_processes import SPANS_A_PROCESS, judging_elsewhere
from hvac_platform.simulation.faults import Fault
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.records import StoredProfile
from hvac_platform.stores.tables import tables
from hvac_platform.timestamps import DAY_MS, day_of, iso
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS, enter_home, rows
from hvac_platform_tests.monitoring.machines import learn, simulated_windows

BROKEN = "CH-001"
FIRST_MS = MIDNIGHT_MS - 8 * DAY_MS
WINDOW_MS = 600_000
OF_THE_RUN = ("judged_at", "updated_at", "set_at", "since")


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Path:
    """Eight days of four devices, learned from, with a fault in them; the profile of one device can't be read."""
    home = tmp_path_factory.mktemp("learned")
    with pytest.MonkeyPatch.context() as patch:
        enter_home(home, patch.setenv, lambda name: patch.delenv(name, raising=False), patch.chdir)
        patch.setenv("HVAC_WINDOW_SECONDS", str(WINDOW_MS // 1000))
        store = EmbeddedStore(home / "store.db")
        fleet = fleet_of_size(4)
        faults = [Fault(device.device_id, "novel", FIRST_MS + 6 * HOUR_MS, FIRST_MS + 7 * HOUR_MS) for device in fleet]
        devices = simulated_windows(store, fleet, FIRST_MS, MIDNIGHT_MS, faults=faults, window_ms=WINDOW_MS)
        assert BROKEN in devices
        for device in devices.values():
            learn(store, device)
        store.update(StoredProfile.TABLE, {"device_id": [BROKEN], "detector": [b"no detector"]})
        store.close()
    return home


def judged(home: Path, processes: int) -> tuple[dict[str, list[tuple]], str]:
    """What the store holds after `hvac detect` has judged all days of all devices, and what it said of failures."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "hvac_platform.cli", "detect", "--json"),
            *("--from", iso(FIRST_MS), "--until", iso(MIDNIGHT_MS)),
        ],
        cwd=home,
        env={
            "HVAC_HOME": str(home),
            "PYTHONPATH": str(PROJECT_ROOT),
            "HVAC_PROFILE_PROCESSES": str(processes),
            "HVAC_WINDOW_SECONDS": str(WINDOW_MS // 1000),
        },
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 1, done.stderr  # one device can't be judged
    assert f"{BROKEN}: " in done.stderr
    store = EmbeddedStore(home / "store.db")
    contents = {name: rows(store, name, without=OF_THE_RUN) for name in tables()}
    store.close()
    return contents, done.stdout


def test_equal_to_the_last_digit_though_a_day_rests_on_the_flags_of_the_one_before(learned, tmp_path):
    one, two = (Path(shutil.copytree(learned, tmp_path / name)) for name in ("one", "two"))
    first, again = judged(one, 1), judged(one, 1)
    assert len(first[0]["snapshot_verdicts"]) == 3 * 3 * 8 * 144
    assert first[0]["snapshot_verdicts"] != again[0]["snapshot_verdicts"], (
        "what was flagged is left out of history then"
    )
    assert judged(two, 2) == first
    assert judged(two, 2) == again


def test_processes_are_started_for_many_days_of_several_devices(home):
    store = EmbeddedStore(home / "store.db")
    simulated_windows(store, fleet_of_size(2), FIRST_MS, FIRST_MS + HOUR_MS)
    devices = store.devices()
    settings = load_settings().model_copy(update={"hvac_profile_processes": 2})
    (one, other) = list(spans_of_days(devices, [day_of(FIRST_MS)], settings))
    assert judging_elsewhere(settings, [one, other]) is None
    assert judging_elsewhere(settings, [one] * 2 * SPANS_A_PROCESS) is None, "its days come one after the other"
    assert judging_elsewhere(settings, [one, other] * SPANS_A_PROCESS) is not None
