"""windowed_snapshots: the state of a device over each window."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import dagster as dg

from hvac_platform.assets.common import OWNERS, RETRIES
from hvac_platform.assets.standing import stood
from hvac_platform.ingestion.completing import Completing
from hvac_platform.ingestion.prefetch import ahead
from hvac_platform.ingestion.snapshotting import EmbeddingCounts
from hvac_platform.io_managers.table_output import Metadata, TableOutput, table_output
from hvac_platform.partitions import daily
from hvac_platform.resources import PlatformResource
from hvac_platform.stores.batches import DeviceSlices, TableBatch
from hvac_platform.stores.window_lengths import WindowLengths
from hvac_platform.timestamps import days_of


@dataclass
class Embedded:
    """What a run embedded with the snapshots that it wrote: how many, and of which UTC days."""

    counts: EmbeddingCounts = field(default_factory=EmbeddingCounts)
    days: set[str] = field(default_factory=set)


_embedded: dict[str, Embedded] = {}


def embedded_with(run_id: str) -> Embedded | None:
    """What a run of this process embedded already; None where it is still to be done."""
    return _embedded.get(run_id)


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
    from the raw rows, so a replay changes nothing and a late reading corrects its own window. Where the encoder works in
    this process, a row is written once, with its embedding.
    """
    store, encoders = platform.store, platform.encoders
    lengths = WindowLengths(store, platform.settings.window_ms)
    types = {device.device_id: device.device_type for device in store.devices()}
    completing = Completing(store, encoders if encoders.learned else None, lengths.of)
    embedded, counts = Embedded(), completing.snapshots
    _embedded.clear()

    def batches(metadata: Metadata) -> Iterator[TableBatch]:
        made = completing.batches_of(raw_metrics, types, embedded.counts)
        for batch in ahead(made, parallel=store.parallel):
            embedded.days.update(days_of(batch.columns["snapshot_time"]))
            yield batch
        if encoders.learned:
            _embedded[context.run.run_id] = embedded
        if (standing := stood(context.run.run_id)) is not None:
            counts.add(standing.snapshots)
        context.log.info("%d windows, %d of them partial", counts.windows, counts.partial)
        metadata.update(
            windows=counts.windows, partial=counts.partial, window_seconds=platform.settings.hvac_window_seconds
        )

    return table_output(batches)
