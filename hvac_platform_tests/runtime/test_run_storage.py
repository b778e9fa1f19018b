"""Dagster's storage: what is deleted leaves no file, what somebody may need stays, and the whole is bounded."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
import uuid

import dagster as dg
import pytest
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage

from hvac_platform.execution import ingest_everything, run_job
from hvac_platform.runtime.dagster_private import KeptEnginesStorage
from hvac_platform.runtime.run_storage import STRAY_SECONDS, delete_runs, expired_runs, run_files, size_of, stray_files
from hvac_platform_tests.conftest import NOON_MS, readings


def ingested(instance, platform, runs):
    """Real runs over the same day, oldest first."""
    ids = []
    for n in range(runs):
        platform.log.append(platform.topic, readings("RTU-001", NOON_MS + n * 60_000, 1))
        list(ingest_everything(instance, platform))
        ids.append(instance.get_runs(limit=1)[0].run_id)
    return ids


@pytest.fixture
def no_pause_between_runs(monkeypatch):
    monkeypatch.setattr("hvac_platform.sensors.kafka_ingestion.PACE_SECONDS", 0)


pytestmark = pytest.mark.usefixtures("no_pause_between_runs")


def test_a_deleted_run_leaves_no_file_and_frees_what_it_took(instance, platform):
    first, second = ingested(instance, platform, 2)
    files = run_files(instance, first)
    assert any(path.name == f"{first}.db" for path in files)
    expected = sum(map(size_of, files))
    assert delete_runs(instance, [first]) == expected > 50_000
    assert run_files(instance, first) == []
    assert instance.get_run_by_id(first) is None
    assert run_files(instance, second)
    assert instance.all_logs(second)


def test_runs_beyond_the_limit_go_oldest_first_but_the_newest_of_each_partition_stays(instance, platform):
    ids = ingested(instance, platform, 5)
    one = max(sum(map(size_of, run_files(instance, run_id))) for run_id in ids)
    assert expired_runs(instance, cutoff=0.0) == []
    assert expired_runs(instance, cutoff=0.0, most_bytes=int(2.5 * one)) == list(reversed(ids[:3]))
    assert expired_runs(instance, cutoff=0.0, most_bytes=0) == list(reversed(ids[:4]))
    assert expired_runs(instance, cutoff=time.time() + 1) == list(reversed(ids[:4]))


def test_upkeep_brings_storage_down_to_the_limit_and_takes_what_earlier_versions_left(
    home, instance, platform, monkeypatch
):
    ids = ingested(instance, platform, 6)
    events = run_files(instance, ids[0])[0].parent
    strays = [events / f"{uuid.uuid4()}{ending}" for ending in (".db", ".db-wal", ".db-shm")]
    captured = home / ".dagster" / "storage" / str(uuid.uuid4()) / "compute_logs"
    captured.mkdir(parents=True)
    young = events / f"{uuid.uuid4()}.db"
    for path in (*strays, young):
        path.write_bytes(b"left behind")
    old = time.time() - STRAY_SECONDS - 60
    for path in (*strays, captured.parent):
        os.utime(path, (old, old))
    monkeypatch.setenv("HVAC_KEEP_RUNS_MB", "10")
    monkeypatch.setattr("hvac_platform.housekeeping.expired_runs", lambda i, cutoff, most: expired_runs(i, cutoff, 0))
    result = run_job("housekeeping", instance, {})
    assert {run.run_id for run in instance.get_runs()} == {ids[-1], result.run_id}
    assert not any(path.exists() for path in strays)
    assert young.exists()
    kept = {path.name.partition(".")[0] for path in events.iterdir() if path.name != "index.db"}
    assert kept - {"index"} == {ids[-1], result.run_id, young.name.removesuffix(".db")}


def test_files_of_runs_that_dagster_knows_are_no_strays_however_old(instance, platform):
    (run_id,) = ingested(instance, platform, 1)
    long_ago = time.time() - 10 * 86_400
    for path in run_files(instance, run_id):
        os.utime(path, (long_ago, long_ago))
    assert stray_files(instance) == []


def test_storage_that_has_no_files_of_runs_is_left_alone():
    with dg.DagsterInstance.ephemeral() as instance:
        assert stray_files(instance) == []
        assert run_files(instance, str(uuid.uuid4())) == []


@pytest.mark.parametrize("links", [True, False])
def test_the_event_log_of_a_run_is_made_as_dagster_makes_it_even_where_files_cannot_be_linked(
    tmp_path, monkeypatch, links
):
    def refused(*_):
        raise OSError(errno.EPERM, "no links on this file system")

    if not links:
        monkeypatch.setattr(os, "link", refused)
    ours = KeptEnginesStorage(str(tmp_path / "ours")).event_log_storage
    theirs = SqliteEventLogStorage(str(tmp_path / "theirs"))
    looked_at = []
    for storage in (ours, theirs):
        assert storage.get_logs_for_run("r1") == []
        file = storage.path_for_shard("r1")
        with sqlite3.connect(file) as connection:
            schema = sorted(connection.execute("SELECT type, name, sql FROM sqlite_master"))
            revision = connection.execute("SELECT version_num FROM alembic_version").fetchall()
            mode = connection.execute("PRAGMA journal_mode").fetchall()
        connection.close()
        looked_at.append((schema, revision, mode, os.stat(file).st_mode))
        assert {name.partition(".")[2] for name in os.listdir(os.path.dirname(file))} <= {"db", "db-wal", "db-shm"}
    assert looked_at[0] == looked_at[1]
