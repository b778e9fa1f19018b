"""Schedules: detection every minute, profiles and report every night, upkeep every hour."""

import dagster as dg

from hvac_platform.ingestion.decoding import days_label
from hvac_platform.jobs import detection_job, housekeeping_job, profiles_job, report_job
from hvac_platform.lost_runs import began_at, is_past
from hvac_platform.monitoring.pending import latest_stretch, pending
from hvac_platform.partitions import daily, devices
from hvac_platform.resources import PlatformResource
from hvac_platform.runs import HOME_TAG, STANDING_TAG
from hvac_platform.timestamps import day_of, days_before, now_ms

NEXT_TICK_SECONDS = 100
"""A tick comes each minute, and a run takes a while to begin."""
ARRIVING_MS = 120_000
ONLY_CHANGED = {"config": {"only_changed": True}}
ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def partition_tags(first: str, last: str) -> dict[str, str]:
    """Tags that give a run one partition, or a range of them in a single run."""
    if first == last:
        return {"dagster/partition": first}
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


@dg.schedule(
    cron_schedule="* * * * *",
    job=detection_job,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=(
        "Judge windows as they become complete: a run stands for HVAC_RUN_MINUTES, and the next is launched before it ends; "
        "a skip says why."
    ),
)
def detection_schedule(
    context: dg.ScheduleEvaluationContext, platform: PlatformResource
) -> dg.RunRequest | dg.SkipReason:
    """One run that stands; where runs don't, one over the latest consecutive days that have something to judge."""
    now, minutes = now_ms(), platform.settings.hvac_run_minutes
    active = context.instance.get_run_records(dg.RunsFilter(job_name=detection_job.name, statuses=ACTIVE), limit=20)
    active = [r for r in active if r.dagster_run.tags.get(HOME_TAG, platform.home) == platform.home]
    standing = [record for record in active if STANDING_TAG in record.dagster_run.tags]
    if active and not standing:
        return dg.SkipReason(f"detection run {active[0].dagster_run.run_id[:8]} is still going")
    # The next one is asked for before the last one ends, with the last tick that comes in time.
    ending = [is_past(began_at(record), 60 * minutes - NEXT_TICK_SECONDS, now) for record in standing]
    if standing and not all(ending):
        return dg.SkipReason(f"run {standing[0].dagster_run.run_id[:8]} is judging")
    found = pending(platform.store, platform.settings, now)
    days = [date for date in found.by_day if daily.has_partition_key(date)]
    if minutes > 0 and (days or ending or _arriving(platform, now)):
        today = day_of(now)
        return dg.RunRequest(
            tags={**partition_tags(today, today), HOME_TAG: platform.home, STANDING_TAG: "yes"},
            run_config={"ops": {"anomaly_events": {"config": {"standing": True}}, "incidents": ONLY_CHANGED}},
        )
    if not days:
        return dg.SkipReason(
            "no complete, unjudged windows"
            + (f": {found.waiting} device-days have windows that are still open" if found.waiting else "")
        )
    stretch = latest_stretch(days)
    context.log.info("unjudged windows on %s", days_label(stretch))
    return dg.RunRequest(
        tags=partition_tags(stretch[0], stretch[-1]),
        run_config={"ops": {"anomaly_events": {"config": {"unjudged_only": True}}, "incidents": ONLY_CHANGED}},
    )


def _arriving(platform: PlatformResource, now: int) -> bool:
    """Whether readings have come in lately, so that windows are about to be complete."""
    return any(
        now - entry.updated_at < ARRIVING_MS for entry in platform.store.ledger(platform.topic).values() if entry.run_id
    )


@dg.schedule(
    cron_schedule="30 0 * * *",
    job=profiles_job,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Rebuild the profiles of all devices in one run.",
)
def nightly_profiles(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """A range over the devices' partitions: one run for the whole fleet."""
    ordered = context.instance.get_dynamic_partitions(str(devices.name))
    if not ordered:
        return dg.SkipReason("no devices are registered yet")
    return dg.RunRequest(tags=partition_tags(ordered[0], ordered[-1]))


@dg.schedule(
    cron_schedule="40 0 * * *",
    job=report_job,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Report on the day before.",
)
def nightly_report() -> dg.RunRequest:
    """Yesterday's comparison of the methods."""
    return dg.RunRequest(partition_key=days_before(day_of(now_ms()), 1))


@dg.schedule(
    cron_schedule="17 * * * *",
    job=housekeeping_job,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Delete expired rows, old log records and old runs.",
)
def hourly_housekeeping() -> dg.RunRequest:
    """Upkeep."""
    return dg.RunRequest()


schedules = [detection_schedule, nightly_profiles, nightly_report, hourly_housekeeping]
