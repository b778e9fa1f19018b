"""kafka_ingestion: turns new offsets of the topic into ingestion runs."""

import dagster as dg

from hvac_platform.assets.common import ingestion_run_config
from hvac_platform.jobs import ingestion_job
from hvac_platform.resources import PlatformResource
from hvac_platform.schedules import ACTIVE, partition_tags
from hvac_platform.streams.ranges import DayFinder, OffsetRange, PlannedRun, next_ranges, plan_runs
from hvac_platform.timestamps import day_start, now_ms

PARTITION_TAG = "hvac/kafka_partition_{}"
RANGES_TAG = "hvac/offset_ranges"
TICK_SECONDS = 15  # a run has a fixed cost of seconds, and a window takes a minute
FIRST_RETRY_SECONDS = 10
LONGEST_RETRY_SECONDS = 600


@dg.sensor(
    job=ingestion_job,
    minimum_interval_seconds=TICK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Compares the ledger with the log's end offsets and requests runs over exactly the offsets in between. It reads no "
        "payload and keeps no cursor: the ledger is the cursor, so a failed run is followed by the same range again."
    ),
)
def kafka_ingestion(context: dg.SensorEvaluationContext, platform: PlatformResource) -> dg.SensorResult | dg.SkipReason:
    """One tick."""
    planned, waiting = plan_tick(context.instance, platform, now_ms())
    if not planned:
        return dg.SkipReason("; ".join(waiting) or f"no new offsets in {platform.topic}")
    return dg.SensorResult(run_requests=[request for _, request in planned])


def plan_tick(
    instance: dg.DagsterInstance, platform: PlatformResource, now: int
) -> tuple[list[tuple[PlannedRun, dg.RunRequest]], list[str]]:
    """Runs to request now, and why some partitions wait.

    A partition waits while a run over it is active, and for a while (10 s, doubling up to 10 minutes) after a run over its
    present start has failed.
    """
    settings, topic = platform.settings, platform.topic
    busy = active_partitions(instance)  # before the ledger: a run that ends in between has moved it by then
    ledger = platform.store.ledger(topic)
    ranges = next_ranges(
        {p: entry.next_offset for p, entry in ledger.items()},
        platform.log.begin_offsets(topic),
        platform.log.end_offsets(topic),
        settings.hvac_max_messages_per_run,
    )
    ready: list[OffsetRange] = []
    waiting: list[str] = []
    for wanted in ranges:
        if wanted.partition in busy:
            waiting.append(f"partition {wanted.partition} is being ingested by run {busy[wanted.partition][:8]}")
            continue
        seconds = retry_delay(instance, wanted, now)
        if seconds > 0:
            waiting.append(f"partition {wanted.partition} failed and is tried again in {seconds:.0f} s")
            continue
        ready.append(wanted)
    first_day = day_start(settings.hvac_start_date.isoformat())
    runs = plan_runs(topic, ready, DayFinder(platform.log, topic, first_day, now), settings.hvac_max_messages_per_run)
    return [(run, _request(instance, run)) for run in runs], waiting


def _request(instance: dg.DagsterInstance, run: PlannedRun) -> dg.RunRequest:
    ranges = "+".join(r.key for r in run.ranges)
    earlier = instance.get_runs_count(dg.RunsFilter(job_name=ingestion_job.name, tags={RANGES_TAG: ranges}))
    return dg.RunRequest(
        run_key=run.run_key(earlier + 1),
        run_config=ingestion_run_config(run.ranges),
        tags={
            **partition_tags(run.first_day, run.last_day),
            RANGES_TAG: ranges,
            **{PARTITION_TAG.format(r.partition): str(r.start) for r in run.ranges},
        },
    )


def active_partitions(instance: dg.DagsterInstance) -> dict[int, str]:
    """Partitions of the topic that a queued or running ingestion run concerns, with the run's id."""
    prefix = PARTITION_TAG.format("")
    active = instance.get_run_records(dg.RunsFilter(job_name=ingestion_job.name, statuses=ACTIVE))
    return {
        int(tag.removeprefix(prefix)): record.dagster_run.run_id
        for record in active
        for tag in record.dagster_run.tags
        if tag.startswith(prefix)
    }


def retry_delay(instance: dg.DagsterInstance, wanted: OffsetRange, now: int) -> float:
    """Seconds until a range may be tried again; 0 or less when it may go now."""
    tags = {PARTITION_TAG.format(wanted.partition): str(wanted.start)}
    failed = instance.get_run_records(
        dg.RunsFilter(job_name=ingestion_job.name, statuses=[dg.DagsterRunStatus.FAILURE], tags=tags), limit=10
    )
    if not failed:
        return 0.0
    ended = max(record.end_time or record.update_timestamp.timestamp() for record in failed)
    delay = min(FIRST_RETRY_SECONDS * 2 ** (len(failed) - 1), LONGEST_RETRY_SECONDS)
    return float(ended + delay - now / 1000)
