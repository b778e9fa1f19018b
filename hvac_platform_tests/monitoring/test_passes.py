"""A command and the job that does the same leave equal stores: assets and commands are thin around one pass."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hvac_platform.cli.main import app
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.execution import build_profiles, ingest_everything, run_job
from hvac_platform.log.base import KEEP_FOREVER
from hvac_platform.monitoring.passes import Pass, write_pass
from hvac_platform.resources import PlatformResource
from hvac_platform.schedules import partition_tags
from hvac_platform.simulation.faults import Fault
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.simulation.streaming import stream_history
from hvac_platform.stores.base import StoreError, TableSlice
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.tables import tables
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS, NEXT_DAY, enter_home, open_dagster

CHILLERS = [f"CH-{n}" for n in range(1, 5)]
LATER = "2025-03-12"
OF_THE_RUN = {"updated_at", "judged_at", "profile_created_at", "profile_updated_at", "computed_at", "since", "at"} | {
    *("built_at", "decided_at")
}
"""Columns that say when something was done, which differs."""
LEFT_BY = {
    "detection": (
        *("snapshot_verdicts", "anomaly_events", "incidents", "device_state_snapshots", "device_days"),
        *("incident_handling", "incident_transitions", "alert_outbox"),
    ),
    "profiles": ("device_profiles", "device_state_snapshots"),
    "trends": ("metric_trends",),
}


def enter(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter_home(home, monkeypatch.setenv, lambda name: monkeypatch.delenv(name, raising=False), monkeypatch.chdir)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of four chillers of one building, learned from the first; on the second all lose flow at once."""
    home = tmp_path_factory.mktemp("learned")
    with pytest.MonkeyPatch.context() as patch:
        enter(home, patch)
        platform = PlatformResource()
        begin = MIDNIGHT_MS + 12 * HOUR_MS
        faults = [Fault(name, "low_flow", begin, begin + HOUR_MS) for name in CHILLERS]
        fleet = [FleetDevice(name, "chiller", "roof", "building-A") for name in CHILLERS]
        simulation = FleetSimulation(fleet, seed=5, faults=faults)
        platform.log.create_topic(platform.topic)
        span = (MIDNIGHT_MS - 24 * HOUR_MS, MIDNIGHT_MS + 24 * HOUR_MS)
        for _ in stream_history(platform.log, platform.topic, simulation, fleet, *span, 60_000):
            pass
        with open_dagster(home) as instance:
            list(ingest_everything(instance, platform))
            build_profiles(instance, list(instance.get_dynamic_partitions("devices")), until=NEXT_DAY)
        platform.store.close()
        platform.log.close()
    return home


@pytest.fixture
def two_homes(learned: Path, tmp_path: Path) -> tuple[Path, Path]:
    return tuple(Path(shutil.copytree(learned, tmp_path / name)) for name in ("by command", "by job"))  # type: ignore[return-value]


def command(home: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    enter(home, monkeypatch)
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def job(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, partitions: list[str] | None = None, config=None
) -> None:
    """Run a job over some partitions, or over all devices."""
    enter(home, monkeypatch)
    with open_dagster(home) as instance:
        keys = partitions or list(instance.get_dynamic_partitions("devices"))
        run_job(name, instance, partition_tags(keys[0], keys[-1]), config)


def content(home: Path, name: str) -> list[dict]:
    store = EmbeddedStore(home / "store.db")
    left_out = OF_THE_RUN | ({"details"} if name == "alert_outbox" else set())  # they have the time of the run too
    kept = [c for c in tables()[name].columns if c not in left_out]
    found = [
        dict(zip(kept, row, strict=True))
        for batch in store.scan(TableSlice(name))
        for row in zip(*(batch[c] for c in kept), strict=True)
    ]
    store.close()
    return found


def assert_equal(homes: tuple[Path, Path], job_name: str) -> None:
    for name in LEFT_BY[job_name]:
        by_command, by_job = (content(home, name) for home in homes)
        assert by_command, name
        assert by_command == by_job, name


def test_detection(two_homes, monkeypatch):
    said = command(two_homes[0], monkeypatch, "detect", "--from", NEXT_DAY, "--until", LATER, "--open-past")
    config = {"ops": {"incidents": {"config": {"open_past": True}}}}
    job(two_homes[1], monkeypatch, "detection", [NEXT_DAY], config)
    assert_equal(two_homes, "detection")
    assert {row["scope"] for row in content(two_homes[0], "incidents") if row["windows"] > 30} == {"fleet"}
    for home in two_homes:
        store = EmbeddedStore(home / "store.db")
        judged = {day.device_id: day.judged_at for day in store.device_days(NEXT_DAY, NEXT_DAY)}
        store.close()
        assert sorted(judged) == CHILLERS
        assert all(judged.values())
    assert "Anomalous windows by device" in said
    assert len(said.splitlines()) < 150


def test_what_is_not_recorded_changes_nothing(two_homes, learned, monkeypatch):
    command(two_homes[0], monkeypatch, "detect", "--from", NEXT_DAY, "--until", LATER, "--no-record")
    for name in LEFT_BY["detection"]:
        assert content(two_homes[0], name) == content(learned, name)


def test_profiles(two_homes, monkeypatch):
    command(two_homes[0], monkeypatch, "profiles", "build", "--until", NEXT_DAY, "--refit")
    config = {"ops": {"device_profiles": {"config": {"until": NEXT_DAY, "refit": True}}}}
    job(two_homes[1], monkeypatch, "profiles", config=config)
    assert_equal(two_homes, "profiles")


def test_trends(tmp_path, monkeypatch):
    """Sixteen days, a reading every five minutes."""
    home = tmp_path / "by command"
    home.mkdir()
    enter(home, monkeypatch)
    platform = PlatformResource()
    fleet = [FleetDevice("AC-1", "air_compressor")]
    platform.log.create_topic(platform.topic, retention_ms=KEEP_FOREVER)
    span = (MIDNIGHT_MS - 16 * 24 * HOUR_MS, MIDNIGHT_MS)
    for _ in stream_history(platform.log, platform.topic, FleetSimulation(fleet, seed=3), fleet, *span, 300_000):
        pass
    with open_dagster(home) as instance:
        list(ingest_everything(instance, platform))
    homes = home, Path(shutil.copytree(home, tmp_path / "by job"))
    command(homes[0], monkeypatch, "degradation")
    job(homes[1], monkeypatch, "profiles")
    assert_equal(homes, "trends")


class OneFails(Pass):
    """Three devices, of which one can't be dealt with."""

    table = "anomaly_events"

    def __init__(self, store, error):
        super().__init__(store)
        self.error = error

    def batches(self):
        for name in ("a", "b", "c"):
            with self.alone(name):
                if name == "b":
                    raise self.error
                yield from ()


def test_what_goes_wrong_with_one_device_costs_no_other(store):
    found, seen = OneFails(store, ValueError("a matrix is singular")), []
    found.on_device = seen.append
    write_pass(found)
    assert (found.done, seen) == ({"a", "c"}, ["a", "b", "c"])
    assert str(found.failed["b"]) == "b: ValueError: a matrix is singular"


def test_what_concerns_all_devices_ends_the_pass(store):
    with pytest.raises(StoreError, match="no disk"):
        write_pass(OneFails(store, StoreError("no disk")))
