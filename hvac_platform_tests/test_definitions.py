"""The contract with everything outside: names of assets, jobs, schedules, sensors and checks don't change by accident."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

import hvac_platform.detection
import hvac_platform.embedding
import hvac_platform.simulation
from devtools import PROJECT_ROOT
from hvac_platform.definitions import defs
from hvac_platform.partitions import daily, devices
from hvac_platform.stores.tables import tables
from hvac_platform.timestamps import day_of, days_before, now_ms

BRIDGES = {"hvac_platform.simulation.streaming", "hvac_platform.embedding.ollama"}
"""Modules between the science and what is outside: the log, a model's server."""

repository = defs.get_repository_def()
graph = repository.asset_graph

# asset → group, what it is made from, partitions, table
ASSETS = {
    "iot_metrics": ("ingestion", set(), None, None),
    "raw_metrics": ("ingestion", {"iot_metrics"}, daily, "device_metrics_raw"),
    "windowed_snapshots": ("ingestion", {"raw_metrics"}, daily, "device_state_snapshots"),
    "snapshot_embeddings": ("ingestion", {"windowed_snapshots"}, daily, "device_state_snapshots"),
    "consumer_offsets": ("ingestion", {"snapshot_embeddings"}, daily, "ingestion_ledger"),
    "device_profiles": ("learning", {"snapshot_embeddings"}, devices, "device_profiles"),
    "metric_trends": ("learning", {"windowed_snapshots", "anomaly_events"}, devices, "metric_trends"),
    "anomaly_events": ("detection", {"snapshot_embeddings", "device_profiles"}, daily, "anomaly_events"),
    "incidents": ("detection", {"anomaly_events"}, daily, "incidents"),
    "detection_report": ("detection", {"incidents"}, daily, "detection_reports"),
    "what_if": ("detection", {"anomaly_events"}, None, None),
    "alert_outbox": ("detection", {"incidents"}, None, "alert_outbox"),
}
JOBS = {
    "ingestion": {"raw_metrics", "windowed_snapshots", "snapshot_embeddings", "consumer_offsets"},
    "profiles": {"device_profiles", "metric_trends"},
    "detection": {"anomaly_events", "incidents"},
    "report": {"detection_report"},
    "backfill": {
        "raw_metrics",
        "windowed_snapshots",
        "snapshot_embeddings",
        "anomaly_events",
        "incidents",
        "detection_report",
    },
    "housekeeping": set(),
}
SCHEDULES = {
    "detection_schedule": ("* * * * *", "detection"),
    "nightly_profiles": ("30 0 * * *", "profiles"),
    "nightly_report": ("40 0 * * *", "report"),
    "hourly_housekeeping": ("17 * * * *", "housekeeping"),
}
SENSORS = {"kafka_ingestion": "ingestion"} | dict.fromkeys(
    ["ingestion_watch", "run_failure", "run_success", "alert_delivery"]
)
CHECKS = {
    ("raw_metrics", "few_messages_rejected"),
    ("raw_metrics", "no_offsets_lost"),
    ("consumer_offsets", "data_flow"),
    ("windowed_snapshots", "snapshots_not_empty"),
    ("snapshot_embeddings", "vectors_are_sane"),
    ("snapshot_embeddings", "every_snapshot_embedded"),
    ("device_profiles", "profiles_are_current"),
    ("device_profiles", "candidates_are_promoted"),
    ("device_profiles", "points_are_good"),
    ("device_profiles", "every_device_learned"),
    ("metric_trends", "every_device_examined"),
    ("anomaly_events", "every_device_judged"),
    ("incidents", "every_device_grouped"),
    ("alert_outbox", "alerts_are_delivered"),
}


EXTERNAL = {"iot_metrics", "alert_outbox"}
"""What no run of Dagster's makes."""


def names(keys):
    return {key.to_user_string() for key in keys}


def test_the_assets_are_these():
    assert names(graph.get_all_asset_keys()) == set(ASSETS)


@pytest.mark.parametrize("name", ASSETS)
def test_an_asset_has_its_group_parents_partitions_and_table(name):
    asset = graph.get(dg.AssetKey(name))
    group, parents, partitions, table = ASSETS[name]
    assert asset.group_name == group
    assert names(asset.parent_keys) == parents
    assert asset.partitions_def == partitions
    assert asset.metadata.get("table") == table
    assert table is None or table in tables()


@pytest.mark.parametrize("name", ASSETS)
def test_an_asset_tells_its_story_kinds_and_owner(name):
    asset = graph.get(dg.AssetKey(name))
    assert asset.owners == ["team:hvac-platform"]
    assert asset.kinds
    assert len(asset.description) > 80
    assert name == "iot_metrics" or "Why" in asset.description


@pytest.mark.parametrize("name", sorted(set(ASSETS) - EXTERNAL))
def test_an_asset_says_where_its_code_is(name):
    references = graph.get(dg.AssetKey(name)).metadata["dagster/code_references"].code_references
    assert [Path(r.file_path).name for r in references] == [f"{name}.py"]


@pytest.mark.parametrize("name", sorted(set(ASSETS) - EXTERNAL))
def test_a_backfill_is_one_run(name):
    """One asset without the policy would fan the backfill of all out, a run for each day."""
    assert graph.get(dg.AssetKey(name)).backfill_policy == dg.BackfillPolicy.single_run()


def test_the_topic_and_the_outbox_are_external():
    assert {name for name in ASSETS if not graph.get(dg.AssetKey(name)).is_executable} == EXTERNAL


def test_the_jobs_are_these():
    found = {job.name: names(job.asset_layer.selected_asset_keys) for job in repository.get_all_jobs()}
    assert {name: assets for name, assets in found.items() if not name.startswith("__")} == JOBS


def test_a_backfill_from_the_job_is_one_run():
    """All of the job has days and the policy of one run, so the dialog has nothing to take apart."""
    selected = defs.resolve_job_def("backfill").asset_layer.selected_asset_keys
    assert {graph.get(key).partitions_def for key in selected} == {daily}
    assert {graph.get(key).backfill_policy for key in selected} == {dg.BackfillPolicy.single_run()}


def test_the_schedules_are_these_and_run():
    assert {s.name: (s.cron_schedule, s.job_name) for s in repository.schedule_defs} == SCHEDULES
    assert {s.default_status for s in repository.schedule_defs} == {dg.DefaultScheduleStatus.RUNNING}


def test_the_sensors_are_these_and_run():
    found = {s.name: s.job_name if s.has_jobs else None for s in repository.sensor_defs}
    assert found == SENSORS
    assert {s.default_status for s in repository.sensor_defs} == {dg.DefaultSensorStatus.RUNNING}


def test_the_checks_are_these():
    assert {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys} == CHECKS


def test_everything_says_what_it_is_for():
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    for one in [*jobs, *repository.schedule_defs, *repository.sensor_defs]:
        assert one.description, one.name
    for key in graph.asset_check_keys:
        said = graph.get_check_spec(key).description
        assert said, key.name
        assert said.endswith((".", "minute.")), f"{key.name} is told in a sentence"
        assert len(said.split()) >= 5, f"{key.name} is told in a sentence"


def test_today_is_a_daily_partition_and_tomorrow_is_not():
    today = day_of(now_ms())
    assert daily.has_partition_key(today)
    assert daily.has_partition_key("2020-01-01")
    assert not daily.has_partition_key(days_before(today, -2))


def test_runs_execute_in_process():
    assert defs.executor is dg.in_process_executor
    for name in JOBS:
        assert defs.resolve_job_def(name).executor_def is dg.in_process_executor


@pytest.fixture(scope="module")
def clean_environment(tmp_path_factory):
    """An environment with storage and home of its own."""
    folder = tmp_path_factory.mktemp("validate")
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return os.environ | {"DAGSTER_HOME": str(folder), "HVAC_HOME": str(folder / "home")}


def test_the_workspace_loads_as_dagster_loads_it(clean_environment):
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"]
    done = subprocess.run(
        command, cwd=PROJECT_ROOT, env=clean_environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Validation successful for code location hvac_platform" in done.stdout + done.stderr


def test_the_science_knows_no_dagster_and_no_database():
    """Detection, embedding and simulation take and give arrays."""
    modules = [
        module.name
        for package in (hvac_platform.detection, hvac_platform.embedding, hvac_platform.simulation)
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
        if module.name not in BRIDGES
    ]
    assert len(modules) > 15
    code = f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\n" + (
        "foreign = {'dagster', 'apsw', 'kafka', 'confluent_kafka', 'cassandra', 'ollama'}\n"
        "print(sorted(foreign & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_what_the_assets_use_of_the_science_does_without_pandas():
    """Only the detector takes tables, and it is imported when it is asked for."""
    used = ("rules", "profile", "neighbours", "consensus", "calibration", "evaluation")
    code = (
        f"import importlib, sys\nfor name in {used}: importlib.import_module('hvac_platform.detection.' + name)\n"
        "print('pandas' in sys.modules)\nfrom hvac_platform.detection import fit_detector\nprint('pandas' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]
