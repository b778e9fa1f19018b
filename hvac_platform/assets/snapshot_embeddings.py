"""snapshot_embeddings: one unit vector a snapshot."""

from collections.abc import Iterator

import dagster as dg

from hvac_platform.assets.common import OWNERS, RETRIES
from hvac_platform.io_managers.slices import DeviceSlices, TableBatch, TableOutput
from hvac_platform.partitions import daily
from hvac_platform.resources import PlatformResource
from hvac_platform.streams.snapshotting import embedding_batches


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
    finite and non-zero.
    """
    encoder = platform.encoder
    types = {d.device_id: d.device_type for d in platform.store.devices()}
    output = TableOutput(iter(()))

    def batches() -> Iterator[TableBatch]:
        encoded = 0
        for batch in embedding_batches(windowed_snapshots, types, encoder):
            encoded += len(batch.columns["snapshot_time"])
            yield batch
        context.log.info("%d snapshots encoded by %s", encoded, encoder.method)
        output.metadata.update(embeddings=encoded, embedding_method=encoder.method)

    output.batches = batches()
    return output
