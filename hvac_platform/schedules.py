"""Schedules: detection every minute, profiles and report every night, upkeep every hour."""

import dagster as dg

from hvac_platform.ingestion.decoding import days_label
from hvac_platform.jobs import detection_job, housekeeping_job, profiles_job, report_job
from hvac_platform.monitoring.pending import latest_stretch, pending
from hvac_platform.partitions import daily, devices
from hvac_platform.resources import PlatformResource
from hvac_platform.timestamps import day_of, days_before, now_ms

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
    description="Judge the windows that are complete and not judged yet; a skip says why.",
)
def detection_schedule(
    context: dg.ScheduleEvaluationContext, platform: PlatformResource
) -> dg.RunRequest | dg.SkipReason:
    """One run over the latest consecutive days that have something to judge; earlier ones come with the next ticks."""
    active = context.instance.get_run_records(dg.RunsFilter(job_name=detection_job.name, statuses=ACTIVE), limit=1)
    if active:
        return dg.SkipReason(f"detection run {active[0].dagster_run.run_id[:8]} is still going")
    found = pending(platform.store, platform.settings, now_ms())
    days = [date for date in found.by_day if daily.has_partition_key(date)]
    if not days:
        return dg.SkipReason(
            "no complete, unjudged windows"
            + (f": {found.waiting} device-days have windows that are still open" if found.waiting else "")
        )
    stretch = latest_stretch(days)
    context.log.info("unjudged windows on %s", days_label(stretch))
    return dg.RunRequest(
        tags=partition_tags(stretch[0], stretch[-1]),
        run_config={
            "ops": {
                "anomaly_events": {"config": {"unjudged_only": True}},
                "incidents": {"config": {"only_changed": True}},
            }
        },
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
