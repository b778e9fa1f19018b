"""A simulation that goes on later streams the same machines: the store keeps their seed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from hvac_platform.cli.main import app
from hvac_platform.cli.running import LIVE_SIMULATOR
from hvac_platform.simulation.fleet_seed import FIRST_SEED, SIMULATION_SEED
from hvac_platform.stores.base import TableSlice
from hvac_platform.stores.embedded import EmbeddedStore

FLEET = "RTU-001:rooftop_unit,CH-001:chiller,CT-001:cooling_tower"
HISTORY = ("--start", "2026-06-10", "--end", "2026-06-11")
HOURS_AFTER = ("--start", "2026-06-11T06:00", "--end", "2026-06-11T09:00")


def hvac(*arguments: str) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result


def simulated(*options: str) -> Result:
    return hvac("simulate", "--devices", FLEET, "--interval", "60", *options)


def remembered_seed(home: Path) -> str | None:
    store = EmbeddedStore(home / "store.db")
    try:
        return store.remembered().get(SIMULATION_SEED)
    finally:
        store.close()


def share_of_anomalous_windows(home: Path) -> dict[str, float]:
    """By device: judged windows of the hours after the history that some method calls anomalous."""
    hvac("ingest")
    hvac("detect", "--from", "2026-06-11T06:00", "--until", "2026-06-11T09:00")
    store = EmbeddedStore(home / "store.db")
    try:
        shares = {}
        for device in store.devices():
            rows = TableSlice("device_state_snapshots", ("is_anomalous",), device.device_id, 1_781_157_600_000)
            flags = [bool(flag) for batch in store.scan(rows) for flag in batch["is_anomalous"]]
            assert len(flags) == 180
            shares[device.device_id] = sum(flags) / len(flags)
        return shares
    finally:
        store.close()


@pytest.fixture
def learned(home: Path) -> Path:
    """A home with a day of machines of another seed than the default, and profiles of them."""
    simulated(*HISTORY, "--seed", "2026")
    hvac("ingest")
    hvac("profiles", "build")
    return home


def test_the_same_machines_go_on_and_stay_healthy(learned: Path) -> None:
    assert "warning" not in simulated(*HOURS_AFTER).output
    shares = share_of_anomalous_windows(learned)
    assert max(shares.values()) < 0.1, shares


def test_other_machines_under_the_same_ids_are_told_in_one_line_and_look_ill(learned: Path) -> None:
    said = simulated(*HOURS_AFTER, "--seed", "7").stderr.splitlines()
    (warning,) = [line for line in said if line.startswith("warning: ")]
    assert "seed 2026" in warning
    assert "--seed 7" in warning
    shares = share_of_anomalous_windows(learned)
    assert min(shares.values()) > 0.5, shares
    assert "warning" not in simulated("--duration", "0").output, "from now on these are the machines"
    assert remembered_seed(learned) == "7"


def test_what_the_platform_streams_by_itself_are_the_machines_of_its_store() -> None:
    assert "--seed" not in LIVE_SIMULATOR


@pytest.mark.parametrize(("options", "seed"), [((), str(FIRST_SEED)), (("--seed", "12"), "12")])
def test_the_first_simulation_is_remembered(home: Path, options: tuple[str, ...], seed: str) -> None:
    simulated("--duration", "0", *options)
    assert remembered_seed(home) == seed
    assert "warning" not in simulated("--duration", "0", "--seed", seed).output
    assert remembered_seed(home) == seed
