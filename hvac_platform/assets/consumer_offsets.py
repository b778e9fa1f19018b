"""consumer_offsets: the ledger, moved last."""

import dagster as dg

from hvac_platform.assets.common import OWNERS, RETRIES, IngestionConfig
from hvac_platform.assets.snapshot_embeddings import snapshot_embeddings
from hvac_platform.config import CONSUMER_GROUP
from hvac_platform.ingestion.ownership import give_back
from hvac_platform.ingestion.ranges import OffsetRange
from hvac_platform.io_managers.store_io_manager import chain_of, touched_ranges, touched_watermarks
from hvac_platform.log.base import MessageLog
from hvac_platform.log.embedded import EmbeddedLog
from hvac_platform.partitions import daily
from hvac_platform.resources import PlatformResource
from hvac_platform.stores.base import Lease, LedgerEntry


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
    run_id, topic = context.run.run_id, platform.topic
    chain = chain_of(context.run)
    watermarks, ingested = touched_watermarks(platform.store, chain), touched_ranges(platform.store, chain)
    owned = {lease.partition: lease for lease, _ in platform.leases.of(run_id)}
    skipped = {lease.partition: taken.skipped for lease, taken in platform.leases.of(run_id)}
    for r in () if config.standing else config.offset_ranges():  # a run that stands has moved it range by range
        lease = owned.get(r.partition)
        if lease is None and (r.partition, r.start) in ingested:  # by an earlier run of this chain, or a replay
            lease = _lease_where_it_stands(platform, run_id, r)
        if lease is None:
            context.log.warning("partition %d: the ledger is left as it is", r.partition)
            continue
        if isinstance(platform.log, EmbeddedLog):  # first: a log that knows of less than the ledger was put back
            platform.log.commit(CONSUMER_GROUP, topic, {r.partition: r.end})
        advanced = platform.store.advance_ledger(
            topic,
            r.partition,
            r.start - r.skipped,
            r.end,
            run_id=run_id,
            watermark=watermarks.get(r.partition),
            skipped=skipped.get(r.partition, r.skipped),
            fence=lease.fence,
        )
        give_back(platform.store, lease, platform.leases)
        if not advanced:
            context.log.warning("partition %d was taken over by another run; it goes on from where it was", r.partition)
    ends = platform.log.end_offsets(platform.topic)
    ledger = tell_the_group(platform)
    lag = sum(end - (ledger[p].next_offset if p in ledger else 0) for p, end in ends.items())
    return dg.MaterializeResult(
        metadata={
            "lag": lag,
            **{f"next_offset_{p}": entry.next_offset for p, entry in sorted(ledger.items())},
            "dagster/row_count": len(ledger),
            "dagster/table_name": "ingestion_ledger",
        }
    )


def tell_the_group(platform: PlatformResource) -> dict[int, LedgerEntry]:
    """Commit what the ledger says as the offsets of the group, also for an earlier run that died between the two.

    Returns:
        The ledger's entries of partitions that the log has.
    """
    log, topic = platform.log, platform.topic
    committed, present = log.committed(CONSUMER_GROUP, topic), set(log.partitions(topic))
    ledger = {p: entry for p, entry in platform.store.ledger(topic).items() if p in present}
    differing = {
        p: entry.next_offset
        for p, entry in ledger.items()
        if entry.run_id and committed.get(p) != entry.next_offset and not _was_put_back(log, committed.get(p), entry)
    }
    if differing:
        log.commit(CONSUMER_GROUP, topic, differing)
    return ledger


def _was_put_back(log: MessageLog, committed: int | None, entry: LedgerEntry) -> bool:
    """Whether an embedded log knows of less than the ledger: that must stay so until the partition is read anew."""
    return isinstance(log, EmbeddedLog) and committed is not None and committed < entry.next_offset


def _lease_where_it_stands(platform: PlatformResource, run_id: str, wanted: OffsetRange) -> Lease | None:
    """Ownership for the moment of the move, where the range is the one that the ledger waits for."""
    stands = wanted.start - wanted.skipped
    entry = platform.store.settled_ledger(platform.topic).get(wanted.partition)
    first = stands <= platform.log.begin_offsets(platform.topic)[wanted.partition] if entry is None else False
    if not first and (entry is None or entry.next_offset != stands):
        return None
    if entry is not None and wanted.log_id and entry.log_id and entry.log_id != wanted.log_id:
        return None
    return platform.store.take_lease(platform.topic, wanted.partition, run_id, at=stands)
