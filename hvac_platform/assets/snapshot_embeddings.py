"""snapshot_embeddings: one unit vector a snapshot."""

from collections.abc import Iterator

import dagster as dg

from hvac_platform.assets.common import OWNERS, RETRIES
from hvac_platform.assets.standing import stood
from hvac_platform.assets.windowed_snapshots import embedded_with
from hvac_platform.ingestion.prefetch import ahead
from hvac_platform.ingestion.snapshotting import EmbeddingCounts, backlog_batches, embedding_batches
from hvac_platform.io_managers.store_io_manager import mark_other_days
from hvac_platform.io_managers.table_output import Metadata, TableOutput, table_output
from hvac_platform.partitions import daily
from hvac_platform.resources import PlatformResource
from hvac_platform.stores.batches import DeviceSlices, TableBatch
from hvac_platform.stores.window_lengths import WindowLengths


@dg.asset(
    partitions_def=daily,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="ingestion",
    kinds={"scylladb", "sqlite", "numpy"},
    owners=OWNERS,
    io_manager_key="store",
    metadata={"table": "device_state_snapshots"},
    retry_policy=RETRIES,
)
def snapshot_embeddings(
    context: dg.AssetExecutionContext, platform: PlatformResource, windowed_snapshots: DeviceSlices
) -> TableOutput:
    """384-float unit vector of every snapshot, in `device_state_snapshots.embedding` beside the name of its encoder.

    Why: nearness of vectors is nearness of states, which profile similarity and vector search rest on. Every vector is
    finite and non-zero. A device's own encoder is used as soon as its profile has one, and a general one before. While the
    encoder's server is unavailable, snapshots stay without one, the check fails, and the next run makes up for it:
    ingestion never waits for a model.
    """
    encoders, store = platform.encoders, platform.store
    types = {d.device_id: d.device_type for d in store.devices()}
    counts = EmbeddingCounts()

    def batches(metadata: Metadata) -> Iterator[TableBatch]:
        if (written := embedded_with(context.run.run_id)) is not None:
            counts.add(written.counts)
            mark_other_days(context, written.days, context.partition_keys, daily)
        else:
            yield from ahead(embedding_batches(windowed_snapshots, types, encoders, counts), parallel=store.parallel)
        lengths = WindowLengths(store, platform.settings.window_ms)
        yield from backlog_batches(store, types, encoders, lengths.of, counts)
        if (standing := stood(context.run.run_id)) is not None:
            counts.add(standing.embedded)
        encoder = "the devices' own encoders" if encoders.learned else encoders.common.method
        context.log.info("%d snapshots encoded by %s", counts.encoded, encoder)
        if counts.caught_up:
            context.log.info("%d of them had waited for it since an earlier run", counts.caught_up)
        if counts.refused:
            context.log.warning("%d snapshots can't be encoded by %s and stay without", counts.refused, encoder)
        if counts.outage:
            context.log.error(
                "%d snapshots are stored without an embedding, the next run makes up for it: %s",
                *(counts.waiting, counts.outage),
            )
        metadata.update(
            embeddings=counts.encoded,
            embedding_method=encoder,
            caught_up=counts.caught_up,
            refused=counts.refused,
            waiting=counts.waiting,
            outage=counts.outage or "none",
        )

    return table_output(batches)
