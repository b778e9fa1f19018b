"""windowed_snapshots: the state of a device over each window."""

from collections.abc import Iterator

import dagster as dg

from hvac_platform.assets.common import OWNERS, RETRIES
from hvac_platform.assets.standing import stood
from hvac_platform.ingestion.prefetch import ahead
from hvac_platform.ingestion.snapshotting import SnapshotCounts, snapshot_batches
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
def windowed_snapshots(
    context: dg.AssetExecutionContext, platform: PlatformResource, raw_metrics: DeviceSlices
) -> TableOutput:
    """Mean of every metric over each window (60 s by default) with count, min, max and last, in `device_state_snapshots`.

    Why: detectors judge states, not single readings. Exactly the windows that new readings touched are recomputed, always
    from the raw rows, so a replay changes nothing and a late reading corrects its own window.
    """
    lengths = WindowLengths(platform.store, platform.settings.window_ms)
    counts = SnapshotCounts()

    def batches(metadata: Metadata) -> Iterator[TableBatch]:
        yield from ahead(snapshot_batches(raw_metrics, lengths.of, counts), parallel=platform.store.parallel)
        if (standing := stood(context.run.run_id)) is not None:
            counts.add(standing.snapshots)
        context.log.info("%d windows, %d of them partial", counts.windows, counts.partial)
        metadata.update(
            windows=counts.windows, partial=counts.partial, window_seconds=platform.settings.hvac_window_seconds
        )

    return table_output(batches)
