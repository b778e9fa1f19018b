"""kafka_ingestion: turns new offsets of the topic into ingestion runs."""

from collections.abc import Sequence

import dagster as dg

from hvac_platform.assets.common import ingestion_run_config
from hvac_platform.ingestion.ranges import DayFinder, OffsetRange, PlannedRun, next_ranges, plan_runs, retry_delay
from hvac_platform.jobs import ingestion_job
from hvac_platform.log.identity import made_again_message, told_offsets, was_made_again
from hvac_platform.lost_runs import began_at, end_lost_ingestion, is_past, partitions_of
from hvac_platform.resources import PlatformResource
from hvac_platform.runs import HOME_TAG, LAUNCHED, PARTITION_TAG, RANGES_TAG, RUNNING, STANDING_TAG, SUCCEEDS_TAG
from hvac_platform.schedules import partition_tags
from hvac_platform.stores.base import LedgerEntry
from hvac_platform.timestamps import day_of, day_start, now_ms

TICK_SECONDS = 10
"""A tick costs Dagster a tenth of a processor second. A run that stands needs none; one that was killed is followed by the
next within 20 s: 5 s of its lease, 10 s to the tick, and its launch."""
LEAD_SECONDS = 45
"""A run takes up to so long from its request to its first range on a busy machine."""
PACE_SECONDS = 15
"""A run has a fixed cost of seconds and a window takes a minute, so a partition gets no more than one in this time."""
ASK_AGAIN_MS = 30_000
"""So long the run that owns all partitions is left alone, unless it loses one or is about to end."""
NEWEST_RUNS = 50

NOT_OVER = [dg.DagsterRunStatus.QUEUED, *LAUNCHED, *RUNNING]


@dg.sensor(
    job=ingestion_job,
    minimum_interval_seconds=TICK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Compares the ledger with the log's end offsets and requests runs over exactly the offsets in between. It reads no "
        "payload, and the ledger is its cursor, so a failed run is followed by the same range again. A run stands for "
        "HVAC_RUN_MINUTES and goes on with what arrives; the next one is launched before it ends. Meanwhile a tick looks "
        "whether that run owns all partitions, and at nothing else."
    ),
)
def kafka_ingestion(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """One tick.

    It asks for no resource, and for the instance only where there may be something to do: to make either costs a tenth of a
    second each time, which is more than all ingestion of a small site.
    """
    platform, now = PlatformResource(), now_ms()
    if (run_id := still_stands(platform, context.cursor, now)) is not None:
        return dg.SkipReason(f"run {run_id[:8]} stands and takes in what arrives")
    for run_id in end_lost_ingestion(context.instance, platform, now):
        context.log.warning("run %s has ended without a word; its messages are ingested again", run_id[:8])
    for line in made_again(platform):
        context.log.error("%s", line)
    pending = pending_partitions(context.instance, platform, now)
    standing = platform.settings.hvac_run_minutes > 0
    planned, waiting = plan_tick(context.instance, platform, now, pending=pending, standing=standing)
    if (successor := next_standing_run(context.instance, platform, now)) is not None:
        return dg.SensorResult(run_requests=[successor, *(request for _, request in planned)])
    if not planned:
        if (run_id := owner_of_all(platform, now)) is not None and standing:
            record = context.instance.get_run_record_by_id(run_id)
            if record is not None:
                ends_ms = round(1000 * (began_at(record) + 60 * platform.settings.hvac_run_minutes - LEAD_SECONDS))
                context.update_cursor(f"{run_id} {min(now + ASK_AGAIN_MS, ends_ms)}")
        return dg.SkipReason("; ".join(waiting) or f"no new offsets in {platform.topic}")
    return dg.SensorResult(run_requests=[request for _, request in planned])


def owner_of_all(platform: PlatformResource, now: int) -> str | None:
    """The run that owns every partition of the topic; None where there is none."""
    ledger = platform.store.ledger(platform.topic)
    owners = {
        entry.held_by(now) if (entry := ledger.get(partition)) is not None else None
        for partition in platform.log.partitions(platform.topic)
    }
    return owners.pop() if len(owners) == 1 else None


def still_stands(platform: PlatformResource, cursor: str | None, now: int) -> str | None:
    """The run that a look of a moment ago has found to own all partitions, if it still does."""
    run_id, _, until = (cursor or "").partition(" ")
    if not until.isdigit() or now >= int(until):
        return None
    return run_id if owner_of_all(platform, now) == run_id else None


def plan_tick(
    instance: dg.DagsterInstance,
    platform: PlatformResource,
    now: int,
    *,
    pending: dict[int, str] | None = None,
    reject_ahead: bool = False,
    standing: bool = False,
    at_once: bool = False,
) -> tuple[list[tuple[PlannedRun, dg.RunRequest]], list[str]]:
    """Runs to request now, and why some partitions wait.

    A partition waits while a run owns it or was asked for, and for a while after a run over its present start has failed
    (10 s, doubling up to 10 minutes; 1 s while the message that is the cause is searched for).

    Args:
        instance: Dagster's.
        platform: store and log.
        now: epoch milliseconds.
        pending: why partitions wait that nobody owns, by partition.
        reject_ahead: passed on to the runs.
        standing: whether the runs go on with what arrives, see :mod:`hvac_platform.ingestion.standing`.
        at_once: what has failed is not waited for, since a person asks.
    """
    settings, topic = platform.settings, platform.topic
    log_id, told = platform.log.identity(topic), told_offsets(platform.log, topic)
    ledger = platform.store.ledger(topic)  # before the ends, so that it is never ahead of them in the same log
    begins, ends = platform.log.begin_offsets(topic), platform.log.end_offsets(topic)
    ready: list[OffsetRange] = []
    waiting: list[str] = []
    for wanted in next_ranges(ledger, begins, ends, settings.hvac_max_messages_per_run, log_id, told):
        entry = ledger.get(wanted.partition)
        if wanted.end == wanted.start and not wanted.skipped and entry is not None and entry.held_by(now) is not None:
            continue  # nothing waits: the windows that are open are those of whoever owns it
        reason = _why_it_waits(wanted, entry, pending or {}, now, at_once=at_once)
        if reason:
            waiting.append(reason)
        else:
            ready.append(wanted)
    first_day = day_start(settings.hvac_start_date.isoformat())
    runs = plan_runs(topic, ready, DayFinder(platform.log, topic, first_day, now), settings.hvac_max_messages_per_run)
    busy = {p for p, entry in ledger.items() if entry.held_by(now) is not None} | set(pending or {})
    # One run takes all partitions, also those in which nothing waits yet; a backlog is shared by one run for each.
    every = set(platform.log.partitions(topic)) if standing and len(runs) == 1 else set()
    idle = sorted(every - busy - {r.partition for r in ready})
    return [(run, _request(instance, platform, run, idle, reject_ahead, standing)) for run in runs], waiting


def next_standing_run(instance: dg.DagsterInstance, platform: PlatformResource, now: int) -> dg.RunRequest | None:
    """A run that takes over when those that stand are about to end; None while there is no need.

    It is asked for before they end, because a run takes a while to begin, and waits for their partitions.
    """
    ours = dg.RunsFilter(
        job_name=ingestion_job.name, tags={HOME_TAG: platform.home, STANDING_TAG: "yes"}, statuses=NOT_OVER
    )
    records = instance.get_run_records(ours)
    lasts = 60 * platform.settings.hvac_run_minutes - LEAD_SECONDS
    if not records or not all(
        r.dagster_run.status == dg.DagsterRunStatus.STARTED and is_past(began_at(r), lasts, now) for r in records
    ):
        return None
    owners = {entry.held_by(now) for entry in platform.store.ledger(platform.topic).values()}
    owning = [r.dagster_run.run_id for r in records if r.dagster_run.run_id in owners]
    if not owning:  # they have ended by themselves, or are about to
        return None
    before, today = max(owning), day_of(now)
    tags = {HOME_TAG: platform.home, STANDING_TAG: "yes", SUCCEEDS_TAG: before}
    attempts = instance.get_runs_count(dg.RunsFilter(job_name=ingestion_job.name, tags=tags))
    partitions = platform.log.partitions(platform.topic)
    return dg.RunRequest(
        run_key=f"{platform.topic}:{today}:after {before}#{attempts + 1}",
        run_config=ingestion_run_config((), standing=True, succeeds=True),
        tags={**partition_tags(today, today), **tags, **{PARTITION_TAG.format(p): "next" for p in partitions}},
    )


def _why_it_waits(
    wanted: OffsetRange, entry: LedgerEntry | None, pending: dict[int, str], now: int, *, at_once: bool
) -> str | None:
    holder = entry.held_by(now) if entry is not None else None
    if holder is not None:
        return f"partition {wanted.partition} is being ingested by run {holder[:8]}"
    if wanted.partition in pending:
        return f"partition {wanted.partition} {pending[wanted.partition]}"
    seconds = retry_delay(entry, now) if entry is not None and not at_once else 0.0
    if seconds > 0:
        said = entry.error if entry is not None else None
        return f"partition {wanted.partition} failed and is tried again in {seconds:.0f} s: {said}"
    return None


def made_again(platform: PlatformResource) -> list[str]:
    """What is to be told of partitions whose log is not the one that the ledger counts in."""
    topic, log = platform.topic, platform.log
    log_id, ledger = log.identity(topic), platform.store.ledger(topic)
    begins, ends, told = log.begin_offsets(topic), log.end_offsets(topic), told_offsets(log, topic)
    return [
        made_again_message(topic, p, entry, begins[p])
        for p, entry in sorted(ledger.items())
        if p in ends and was_made_again(entry, log_id, ends[p], told.get(p))
    ]


def _request(
    instance: dg.DagsterInstance,
    platform: PlatformResource,
    run: PlannedRun,
    idle: Sequence[int],
    reject_ahead: bool,
    standing: bool,
) -> dg.RunRequest:
    ranges = "+".join(r.key for r in run.ranges)
    tags = {HOME_TAG: platform.home, RANGES_TAG: ranges}
    earlier = instance.get_runs(dg.RunsFilter(job_name=ingestion_job.name, tags=tags), limit=NEWEST_RUNS)
    # By the highest number, not by how many there are: upkeep deletes old runs, and a used key is never launched.
    attempts = [_attempt(r.tags.get("dagster/run_key", "")) for r in earlier]
    return dg.RunRequest(
        run_key=run.run_key(max(attempts, default=0) + 1, platform.home),
        run_config=ingestion_run_config(run.ranges, reject_ahead=reject_ahead, standing=standing),
        tags={
            **({STANDING_TAG: "yes"} if standing else {}),
            **{PARTITION_TAG.format(p): "idle" for p in idle},
            **partition_tags(run.first_day, run.last_day),
            **tags,
            **{PARTITION_TAG.format(r.partition): str(r.start) for r in run.ranges},
        },
    )


def _attempt(run_key: str) -> int:
    number = run_key.rpartition("#")[2]
    return int(number) if number.isdigit() else 1


def pending_partitions(instance: dg.DagsterInstance, platform: PlatformResource, now: int) -> dict[int, str]:
    """Partitions of runs of this platform that are not over yet, whether they own them or not; or were a moment ago."""
    ours = dg.RunsFilter(job_name=ingestion_job.name, tags={HOME_TAG: platform.home})
    pending: dict[int, str] = {}
    for record in instance.get_run_records(ours, limit=NEWEST_RUNS):
        run, age = record.dagster_run, now / 1000 - record.create_timestamp.timestamp()
        if run.status in NOT_OVER:  # those that are dead were ended before
            reason = f"has been asked for by run {run.run_id[:8]}"
        elif run.is_success and STANDING_TAG not in run.tags and 0 <= age < PACE_SECONDS:
            reason = f"was ingested by run {run.run_id[:8]} {age:.0f} s ago; it gets a run each {PACE_SECONDS} s"
        else:
            continue
        for partition in partitions_of(run):
            pending.setdefault(partition, reason)
    return pending
