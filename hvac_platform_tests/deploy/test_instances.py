"""Dagster's instance files: what may run at once, and what happens to the place of a run that was killed."""

from __future__ import annotations

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from dagster._core.storage.dagster_run import DagsterRun
from dagster._utils.tags import TagConcurrencyLimitsCounter

from devtools import PROJECT_ROOT
from hvac_platform.config import Settings
from hvac_platform.jobs import ingestion_job
from hvac_platform.sensors.kafka_ingestion import PARTITION_TAG

PARTITIONS = Settings.model_fields["kafka_partitions"].default
FILES = ["dagster.yaml", "deploy/docker/dagster.yaml", "deploy/celery/dagster.yaml"]


def document(file):
    return yaml.safe_load((PROJECT_ROOT / file).read_text())


def helm_as_instance():
    """What the Helm values say of concurrency and monitoring, in the words of an instance file."""
    values = document("deploy/kubernetes/values.yaml")
    runs = values["concurrency"]["runs"]
    return {
        "concurrency": {
            "runs": {
                "max_concurrent_runs": runs["maxConcurrentRuns"],
                "tag_concurrency_limits": runs["tagConcurrencyLimits"],
            },
        },
        "run_monitoring": {
            "enabled": values["dagsterDaemon"]["runMonitoring"]["enabled"],
            "start_timeout_seconds": values["dagsterDaemon"]["runMonitoring"]["startTimeoutSeconds"],
        },
    }


INSTANCES = {**{file: document(file) for file in FILES}, "deploy/kubernetes/values.yaml": helm_as_instance()}


def ingestion(*partitions):
    """An ingestion run over some partitions of the topic, tagged as the sensor does it."""
    return DagsterRun(
        job_name="ingestion", tags={**ingestion_job.tags, **{PARTITION_TAG.format(p): "0" for p in partitions}}
    )


def blocked(file, run, *in_progress):
    limits = INSTANCES[file]["concurrency"]["runs"]["tag_concurrency_limits"]
    return TagConcurrencyLimitsCounter(limits, list(in_progress)).is_blocked(run)


@pytest.mark.parametrize("file", FILES)
def test_dagster_accepts_the_file(file, tmp_path, monkeypatch):
    for name, value in {
        "DAGSTER_POSTGRES_HOST": "postgres",
        "DAGSTER_POSTGRES_PORT": "5432",
        "DAGSTER_POSTGRES_DB": "dagster",
        "DAGSTER_POSTGRES_USER": "dagster",
        "DAGSTER_POSTGRES_PASSWORD": "p",
        "CELERY_BROKER_URL": "redis://broker/0",
        "CELERY_RESULT_BACKEND": "redis://broker/1",
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "dagster.yaml").write_text((PROJECT_ROOT / file).read_text())
    config, _ = dagster_instance_config(str(tmp_path))
    assert config["run_monitoring"]["enabled"]


@pytest.mark.parametrize("file", INSTANCES)
def test_runs_of_different_partitions_go_at_once(file):
    """Two of one partition are told apart by the lease in the ledger, which needs no limit here."""
    assert INSTANCES[file]["concurrency"]["runs"]["max_concurrent_runs"] >= 3
    assert not blocked(file, ingestion(1), ingestion(0))
    assert not blocked(file, ingestion(1))


@pytest.mark.parametrize("file", [file for file in INSTANCES if file != "dagster.yaml"])
def test_on_servers_every_partition_can_be_ingested_at_once_with_room_for_detection(file):
    others = [ingestion(p) for p in range(PARTITIONS - 1)]
    assert not blocked(file, ingestion(PARTITIONS - 1), *others)
    everything = [*others, ingestion(PARTITIONS - 1)]
    assert not blocked(file, DagsterRun(job_name="detection", tags={"hvac/job": "detection"}), *everything)
    assert INSTANCES[file]["concurrency"]["runs"]["max_concurrent_runs"] > PARTITIONS


@pytest.mark.parametrize("file", INSTANCES)
def test_a_run_that_never_begins_is_given_up(file):
    """It would keep its place among the runs that may go at once for ever."""
    monitoring = INSTANCES[file]["run_monitoring"]
    assert monitoring["enabled"]
    assert 0 < monitoring["start_timeout_seconds"] <= 300
