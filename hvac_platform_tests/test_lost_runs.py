"""Runs that a dead platform left behind are told to be dead; those of living processes are not."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from hvac_platform.lost_runs import BEGINS_WITHIN_SECONDS, end_lost_ingestion, end_runs_of_a_dead_platform
from hvac_platform.runs import HOME_TAG, PARTITION_TAG
from hvac_platform.sensors.kafka_ingestion import pending_partitions
from hvac_platform.timestamps import now_ms


def launched(instance, job="detection", status=dg.DagsterRunStatus.STARTED):
    """A run that a daemon launched."""
    origin = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="hvac_platform.definitions"))
    return create_run_for_test(
        instance,
        job_name=job,
        status=status,
        remote_job_origin=RemoteRepositoryOrigin(origin, "hvac_platform").get_job_origin(job),
    )


@pytest.mark.parametrize(
    ("status", "dead"),
    [
        (dg.DagsterRunStatus.NOT_STARTED, True),  # killed between creating the run and starting it
        (dg.DagsterRunStatus.STARTING, True),
        (dg.DagsterRunStatus.STARTED, True),
        (dg.DagsterRunStatus.CANCELING, True),
        (dg.DagsterRunStatus.QUEUED, False),  # the next daemon launches it
        (dg.DagsterRunStatus.SUCCESS, False),
        (dg.DagsterRunStatus.CANCELED, False),
    ],
)
def test_whatever_a_dead_daemon_may_leave_behind_is_known_to_be_dead(instance, platform, status, dead):
    run = launched(instance, status=status)
    assert end_runs_of_a_dead_platform(instance, platform, now_ms()) == ([run.run_id] if dead else [])
    assert end_runs_of_a_dead_platform(instance, platform, now_ms()) == []


def test_a_run_that_a_command_executes_in_its_own_process_is_left_alone(instance, platform):
    create_run_for_test(instance, job_name="ingestion", status=dg.DagsterRunStatus.STARTED)
    assert end_runs_of_a_dead_platform(instance, platform, now_ms()) == []


def test_a_run_that_a_killed_command_made_and_never_began_holds_nothing_up(instance, platform):
    made = create_run_for_test(
        instance,
        job_name="ingestion",
        status=dg.DagsterRunStatus.NOT_STARTED,
        tags={HOME_TAG: platform.home, PARTITION_TAG.format(0): "0"},
    )
    assert set(pending_partitions(instance, platform, now_ms())) == {0}
    assert end_lost_ingestion(instance, platform, now_ms()) == []
    later = now_ms() + 1000 * (BEGINS_WITHIN_SECONDS + 1)
    assert end_lost_ingestion(instance, platform, later) == [made.run_id]
    assert pending_partitions(instance, platform, later) == {}


def test_a_run_that_owns_a_partition_lives_for_as_long_as_it_does(instance, platform):
    run = launched(instance, "ingestion")
    lease = platform.store.take_lease(platform.topic, 0, run.run_id, at=0)
    assert end_runs_of_a_dead_platform(instance, platform, now_ms()) == []
    platform.store.release_lease(lease)
    assert end_runs_of_a_dead_platform(instance, platform, now_ms()) == [run.run_id]
