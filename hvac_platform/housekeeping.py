"""Upkeep: rows past their time to live, log records past their retention, runs that nobody needs any more."""

from datetime import timedelta

import dagster as dg
from pydantic import Field

from hvac_platform.log.embedded import EmbeddedLog
from hvac_platform.resources import PlatformResource
from hvac_platform.runtime.run_storage import delete_runs, expired_runs, remove, size_of, stray_files
from hvac_platform.timestamps import now_ms, to_datetime
from hvac_platform.upkeep_time import reached, upkeep_time


class UpkeepConfig(dg.Config):
    """How upkeep goes."""

    accept_jump: bool = Field(
        False, description="Go on although time has jumped by days since the last upkeep: the clock is right"
    )


@dg.op(description="Delete rows past their table's time to live.")
def purge_expired_rows(context: dg.OpExecutionContext, platform: PlatformResource, config: UpkeepConfig) -> None:
    """What CQL does by itself, for the embedded store."""
    at, trouble = upkeep_time(platform.store, now_ms(), accept_jump=config.accept_jump)
    if trouble:
        context.log.error("%s", trouble)
    deleted = platform.store.purge(at)
    context.log.info("purged %s, as of %s", deleted or "nothing", f"{to_datetime(at):%Y-%m-%d %H:%M}Z")
    context.add_output_metadata(dict(deleted))


@dg.op(description="Delete log records past the topic's retention, as far as they are in.")
def apply_log_retention(context: dg.OpExecutionContext, platform: PlatformResource) -> None:
    """Kafka deletes by itself; in the embedded log each partition goes as far as the ledger: nothing is lost unread."""
    log = platform.log
    if not isinstance(log, EmbeddedLog):
        return
    at = reached(platform.store, now_ms())
    log_id = log.identity(platform.topic)
    ledger = platform.store.ledger(platform.topic)
    ingested = {p: entry.next_offset for p, entry in ledger.items() if entry.log_id in (None, log_id)}
    context.log.info("removed %s records", log.apply_retention(platform.topic, at, ingested) or "no")


@dg.op(description="Delete old finished runs with their files; the newest of each job and partition stays.")
def delete_old_runs(context: dg.OpExecutionContext, platform: PlatformResource) -> None:
    """Keeps run storage bounded under a run every few seconds."""
    settings = platform.settings
    cutoff = to_datetime(now_ms()) - timedelta(days=settings.hvac_keep_runs_days)
    expired = expired_runs(context.instance, cutoff.timestamp(), settings.hvac_keep_runs_mb * 1_000_000)
    freed = delete_runs(context.instance, expired)
    strays = stray_files(context.instance)
    freed += sum(map(size_of, strays))
    for path in strays:
        remove(path)
    context.log.info(
        "deleted %d runs from before %s or beyond %d MB, and %d files of runs that are gone: %.1f MB",
        *(len(expired), f"{cutoff:%Y-%m-%d %H:%M}Z", settings.hvac_keep_runs_mb, len(strays), freed / 1e6),
    )
    context.add_output_metadata({"runs": len(expired), "stray_files": len(strays), "freed_mb": round(freed / 1e6, 1)})
