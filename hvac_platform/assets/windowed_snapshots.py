"""windowed_snapshots: the state of a device over each window."""

from collections.abc import Iterator

import dagster as dg
import numpy as np

from hvac_platform.assets.common import OWNERS, RETRIES
from hvac_platform.devices.registry import device_type
from hvac_platform.io_managers.slices import DeviceSlices, TableBatch, TableOutput
from hvac_platform.partitions import daily
from hvac_platform.resources import PlatformResource
from hvac_platform.streams.windows import aggregate_windows, snapshot_columns


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
    window_ms = platform.settings.window_ms
    types = {d.device_id: d.device_type for d in platform.store.devices()}
    counted = {"windows": 0, "partial": 0}
    output = TableOutput(iter(()))

    def batches() -> Iterator[TableBatch]:
        for part in raw_metrics:
            rows = part.columns("timestamp", "metric_name", "metric_value")
            if not rows["timestamp"]:
                continue
            aggregate = aggregate_windows(
                np.array(rows["timestamp"], dtype=np.int64), rows["metric_name"], np.array(rows["metric_value"]), window_ms
            )
            declared = device_type(types.get(part.device_id, ""))
            columns = snapshot_columns(
                part.device_id, aggregate, window_ms, len(declared.metric_names) if declared else 0
            )
            counted["windows"] += len(aggregate.starts_ms)
            counted["partial"] += int((columns["completeness"] < 1).sum())
            yield TableBatch(columns)
        context.log.info("%d windows, %d of them partial so far", counted["windows"], counted["partial"])
        output.metadata.update(**counted, window_seconds=window_ms // 1000)

    output.batches = batches()
    return output
