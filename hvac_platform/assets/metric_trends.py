"""metric_trends: slow degradation, one partition a device."""

from collections.abc import Iterator

import dagster as dg
import numpy as np
from pydantic import Field

from hvac_platform.assets.anomaly_events import anomaly_events
from hvac_platform.assets.common import OWNERS, RETRIES, registered, tell_failures
from hvac_platform.assets.plots import line_plot
from hvac_platform.assets.windowed_snapshots import windowed_snapshots
from hvac_platform.config import LONGEST_DAYS
from hvac_platform.io_managers.table_output import Metadata, TableOutput, table_output
from hvac_platform.monitoring.degradation import HISTORY_DAYS, Degradation, degradation_sentence, metric_unit
from hvac_platform.monitoring.passes import DegradationPass
from hvac_platform.partitions import devices
from hvac_platform.resources import PlatformResource
from hvac_platform.stores.batches import TableBatch
from hvac_platform.timestamps import day_start, parse_instant

PLOTTED, LINES = 6, 3


class TrendsConfig(dg.Config):
    """How far back to look."""

    days_back: int = Field(HISTORY_DAYS, ge=1, le=LONGEST_DAYS, description="Days of history")
    until: str | None = Field(None, description="End of the history, ISO 8601; the device's newest reading when absent")


@dg.asset(
    partitions_def=devices,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[
        dg.AssetDep(windowed_snapshots, partition_mapping=dg.AllPartitionMapping()),
        dg.AssetDep(anomaly_events, partition_mapping=dg.AllPartitionMapping()),
    ],
    group_name="learning",
    kinds={"scylladb", "sqlite", "numpy"},
    owners=OWNERS,
    io_manager_key="store",
    metadata={"table": "metric_trends"},
    retry_policy=RETRIES,
)
def metric_trends(context: dg.AssetExecutionContext, config: TrendsConfig, platform: PlatformResource) -> TableOutput:
    """Slow degradation in `metric_trends`: metrics that depart more every day from what the others imply, and time left.

    Why: a profile learns what is new, so a machine that wears for weeks never looks odd to it. The first days of the last
    thirty are what the later ones are compared with, in daily medians; computed every night after the profiles.
    """
    unknown: list[str] = []
    found = DegradationPass(
        platform.store,
        registered(context, platform.store, unknown),
        platform.settings,
        days_back=config.days_back,
        until_ms=parse_instant(config.until) if config.until else None,
    )
    found.refused += unknown

    def tell(degradation: Degradation) -> None:
        for sentence in _sentences(degradation):
            context.log.warning("%s: %s", degradation.device.device_id, sentence)

    found.on_found = tell

    def batches(metadata: Metadata) -> Iterator[TableBatch]:
        yield from found.batches()
        tell_failures(context, metadata, found)
        worn = [degradation for degradation in found.found if degradation.degrading]
        metadata.update(devices=len(found.found), devices_degrading=len(worn), too_few_days=len(found.refused))
        if worn:
            told = [f"- **{w.device.device_id}**: {sentence}" for w in worn for sentence in _sentences(w)]
            metadata["degradation"] = dg.MetadataValue.md("\n".join(told[:200]))
            metadata["deviations"] = dg.MetadataValue.md(
                "Daily medians in standard deviations of a normal window.\n\n"
                + "\n\n".join(f"**{w.device.device_id}**\n\n{_plot(w)}" for w in worn[:PLOTTED])
            )
        if found.refused:
            metadata["refused"] = dg.MetadataValue.md("\n".join(f"- {reason}" for reason in found.refused[:200]))

    return table_output(batches)


def _sentences(degradation: Degradation) -> list[str]:
    return [
        degradation_sentence(
            *(t.metric, metric_unit(degradation.device, t.metric), t.deviation, t.sigmas, t.per_day),
            *(int(t.since.timestamp() * 1000), t.days_to_limit),
        )
        for t in degradation.degrading
        if t.since is not None
    ]


def _plot(degradation: Degradation) -> str:
    shown = [t.metric for t in degradation.degrading[:LINES]]
    times = np.array([day_start(day) for day in degradation.days], dtype=np.int64)
    return line_plot({name: degradation.sigmas[name].to_numpy(dtype=np.float64) for name in shown}, times)
