"""Runs that Dagster believes to be under way although nobody executes them."""

from __future__ import annotations

import dagster as dg

from hvac_platform.resources import PlatformResource
from hvac_platform.runs import HOME_TAG, LAUNCHED, PARTITION_TAG, RUNNING, STANDING_TAG, SUCCEEDS_TAG

INGESTION = "ingestion"
OWNS_AFTER_SECONDS = 15
"""A run that began owns its partitions after this long at the latest; it has ended without a word if it does not."""
BEGINS_WITHIN_SECONDS = 60
"""A command executes the run that it has made at once; it was killed in between if the run has not begun by then."""
ENDS_WITHIN_SECONDS = 120
"""What follows the move of the ledger, checks above all, takes no longer."""

WAITS_SECONDS = 300
"""A run that is to take over from another one waits no longer for its partitions."""

GONE = "the process that executed this run is gone"


def partitions_of(run: dg.DagsterRun) -> list[int]:
    """Partitions of the topic that a run concerns."""
    prefix = PARTITION_TAG.format("")
    return [int(tag.removeprefix(prefix)) for tag in run.tags if tag.startswith(prefix)]


def began_at(record: dg.RunRecord) -> float:
    """When a run began, epoch seconds; when it was made, if that is not known."""
    return record.start_time or record.create_timestamp.timestamp()


def is_past(began: float, seconds: float, now: int) -> bool:
    """Whether so many seconds have gone since an instant (epoch seconds); ``now`` is epoch milliseconds."""
    return now / 1000 - began > seconds


def end_lost_ingestion(instance: dg.DagsterInstance, platform: PlatformResource, now: int) -> list[str]:
    """Mark ingestion runs of this platform as failed that go on and yet own none of their partitions, or never began.

    A run that was killed stays STARTED for ever in Dagster's eyes, and would keep its place among the runs that may go at
    once. Whether it is dead is not guessed: who lives renews a lease. Being wrong would do no harm, for two runs over one
    partition are safe. Runs of a daemon that never begin are left to Dagster's ``run_monitoring``, which knows how long a
    start takes; it knows nothing of those of a command.

    Returns:
        Ids of the runs.
    """
    statuses = [dg.DagsterRunStatus.NOT_STARTED, *RUNNING]
    records = instance.get_run_records(
        dg.RunsFilter(job_name=INGESTION, tags={HOME_TAG: platform.home}, statuses=statuses)
    )
    if not records:
        return []
    ledger = platform.store.ledger(platform.topic)
    lost = []
    for record in records:
        run = record.dagster_run
        if run.status == dg.DagsterRunStatus.NOT_STARTED:
            if run.remote_job_origin is None and is_past(began_at(record), BEGINS_WITHIN_SECONDS, now):
                instance.report_run_failed(run, GONE)
                lost.append(run.run_id)
            continue
        own = (
            list(ledger.values())
            if STANDING_TAG in run.tags
            else [ledger[p] for p in partitions_of(run) if p in ledger]
        )
        if any(entry.held_by(now) == run.run_id for entry in own):
            continue
        moved = [entry.updated_at / 1000 for entry in own if entry.run_id == run.run_id]
        began, patience = (max(moved), ENDS_WITHIN_SECONDS) if moved else (began_at(record), OWNS_AFTER_SECONDS)
        if SUCCEEDS_TAG in run.tags and not moved:
            patience = WAITS_SECONDS
        lapsed = any(entry.holder == run.run_id for entry in own)  # who ends lets go; this one has stopped renewing
        if lapsed or is_past(began, patience, now):
            instance.report_run_failed(run, GONE)
            lost.append(run.run_id)
    return lost


def end_runs_of_a_dead_platform(instance: dg.DagsterInstance, platform: PlatformResource, now: int) -> list[str]:
    """Mark runs as failed that a daemon launched, when it is known that no daemon of this instance lives.

    Runs that a command executes in its own process are not a daemon's; those of ingestion that own a partition are alive
    for as long as they do.

    Returns:
        Ids of the runs.
    """
    ledger = platform.store.ledger(platform.topic)
    owners = {entry.held_by(now) for entry in ledger.values()}
    lost = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=[*LAUNCHED, *RUNNING])):
        run = record.dagster_run
        if run.remote_job_origin is not None and run.run_id not in owners:
            instance.report_run_failed(run, GONE)
            lost.append(run.run_id)
    return lost
