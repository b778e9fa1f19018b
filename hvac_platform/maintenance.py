"""Upkeep: rows past their time to live, log records past their retention, runs that nobody needs any more."""

from datetime import timedelta

import dagster as dg

from hvac_platform.resources import PlatformResource
from hvac_platform.streams.embedded import EmbeddedLog
from hvac_platform.timestamps import now_ms, to_datetime

PAGE = 500
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


@dg.op(description="Delete rows past their table's time to live.")
def purge_expired_rows(context: dg.OpExecutionContext, platform: PlatformResource) -> None:
    """What CQL does by itself, for the embedded store."""
    deleted = platform.store.purge(now_ms())
    context.log.info("purged %s", deleted or "nothing")
    context.add_output_metadata(dict(deleted))


@dg.op(description="Delete log records past the topic's retention, once they are all in.")
def apply_log_retention(context: dg.OpExecutionContext, platform: PlatformResource) -> None:
    """Kafka deletes by itself; the embedded log waits until the ledger has passed, so that nothing is lost unread."""
    log = platform.log
    if not isinstance(log, EmbeddedLog):
        return
    ledger, ends = platform.store.ledger(platform.topic), log.end_offsets(platform.topic)
    if any(ledger[p].next_offset < end if p in ledger else end > 0 for p, end in ends.items()):
        context.log.info("messages are waiting for ingestion; retention waits for them")
        return
    context.log.info("removed %s records", log.apply_retention(platform.topic, now_ms()))


@dg.op(description="Delete old finished runs; the newest of each job and partition stays.")
def delete_old_runs(context: dg.OpExecutionContext, platform: PlatformResource) -> None:
    """Keeps run storage bounded under a run every few seconds.

    Deleting the only run that materialized a partition would un-materialize it, so the newest successful run of each job,
    selection and partition (or range) stays however old it is.
    """
    cutoff = to_datetime(now_ms()) - timedelta(days=platform.settings.hvac_keep_runs_days)
    deleted = len(expired := expired_runs(context.instance, cutoff.timestamp()))
    for run_id in expired:
        context.instance.delete_run(run_id)
    context.log.info("deleted %d runs from before %s", deleted, f"{cutoff:%Y-%m-%d %H:%M}Z")


def expired_runs(instance: dg.DagsterInstance, cutoff: float) -> list[str]:
    """Ids of finished runs that were created before an instant (epoch seconds) and may go."""
    kept: set[tuple[object, ...]] = set()
    expired: list[str] = []
    cursor: str | None = None
    while records := instance.get_run_records(limit=PAGE, cursor=cursor):
        for record in records:
            run = record.dagster_run
            tags = (run.tags.get("dagster/partition"), *(run.tags.get(tag) for tag in RANGE_TAGS))
            key = (run.job_name, frozenset(run.asset_selection or ()), *tags)
            if not run.is_finished:
                continue
            if run.is_success and key not in kept:
                kept.add(key)
            elif record.create_timestamp.timestamp() < cutoff:
                expired.append(run.run_id)
        cursor = records[-1].dagster_run.run_id
    return expired
