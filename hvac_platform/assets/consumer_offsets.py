"""consumer_offsets: the ledger, moved last."""

import dagster as dg

from hvac_platform.assets.common import OWNERS, RETRIES, IngestionConfig
from hvac_platform.assets.snapshot_embeddings import snapshot_embeddings
from hvac_platform.config import CONSUMER_GROUP
from hvac_platform.io_managers.store_io_manager import chain_of, touched_watermarks
from hvac_platform.partitions import daily
from hvac_platform.resources import PlatformResource


@dg.asset(
    partitions_def=daily,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[snapshot_embeddings],
    group_name="ingestion",
    kinds={"kafka", "scylladb", "sqlite"},
    owners=OWNERS,
    metadata={"table": "ingestion_ledger"},
    retry_policy=RETRIES,
)
def consumer_offsets(
    context: dg.AssetExecutionContext, config: IngestionConfig, platform: PlatformResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """How far each partition of the topic is in, in `ingestion_ledger`, and the group's committed offsets.

    Why last: the ledger moves only when raw rows, snapshots and embeddings of the range are all durable. A crash before
    that means the same range again, which upserts make harmless. A backfill carries no ranges and moves nothing.
    """
    watermarks = touched_watermarks(platform.store, chain_of(context.run))
    entries, begins = platform.store.ledger(platform.topic), platform.log.begin_offsets(platform.topic)
    for r in config.offset_ranges():
        if r.partition not in entries and r.start - r.skipped > begins[r.partition]:
            context.log.warning("partition %d: nothing before %d is in, the ledger stays empty", r.partition, r.start)
            continue
        advanced = platform.store.advance_ledger(
            platform.topic,
            r.partition,
            r.start - r.skipped,
            r.end,
            run_id=context.run.run_id,
            watermark=watermarks.get(r.partition),
            skipped=r.skipped,
        )
        if not advanced:
            stands = r.start - r.skipped
            context.log.warning("partition %d: the ledger is not at %d, left as it is", r.partition, stands)
    committed = platform.log.committed(CONSUMER_GROUP, platform.topic)
    ledger = platform.store.ledger(platform.topic)
    # Also those of an earlier run that died between the ledger and the group.
    differing = {p: entry.next_offset for p, entry in ledger.items() if committed.get(p) != entry.next_offset}
    if differing:
        platform.log.commit(CONSUMER_GROUP, platform.topic, differing)
    ends = platform.log.end_offsets(platform.topic)
    lag = sum(end - (ledger[p].next_offset if p in ledger else 0) for p, end in ends.items())
    return dg.MaterializeResult(
        metadata={
            "lag": lag,
            **{f"next_offset_{p}": entry.next_offset for p, entry in sorted(ledger.items())},
            "dagster/row_count": len(ledger),
            "dagster/table_name": "ingestion_ledger",
        }
    )
