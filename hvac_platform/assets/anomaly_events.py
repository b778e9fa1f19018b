"""anomaly_events: what is wrong, and why."""

from collections.abc import Iterator, Sequence

import dagster as dg
from pydantic import Field

from hvac_platform.assets.common import ARRIVING, OWNERS, RETRIES, tell_failures
from hvac_platform.assets.device_profiles import device_profiles
from hvac_platform.assets.snapshot_embeddings import snapshot_embeddings
from hvac_platform.detection.consensus import Comparison
from hvac_platform.detection.methods import method_names
from hvac_platform.io_managers.table_output import Metadata, TableOutput, table_output
from hvac_platform.monitoring.judging import Judgement, first_reason
from hvac_platform.monitoring.passes import DetectionPass, Span
from hvac_platform.monitoring.pending import pending
from hvac_platform.partitions import daily
from hvac_platform.resources import PlatformResource
from hvac_platform.stores.batches import TableBatch
from hvac_platform.timestamps import day_windows, now_ms


class DetectionConfig(dg.Config):
    """What to judge and how strictly."""

    unjudged_only: bool = Field(False, description="Only windows that are new or have changed since they were judged")
    devices: list[str] = Field(default_factory=list, description="Devices to judge; empty means all")
    similarity_threshold: float | None = Field(
        None, ge=-1, le=1, description="Fixed limit in place of the calibrated one, e.g. 0.85"
    )
    sigma_threshold: float | None = Field(
        None, ge=0.1, le=1e6, description="Fixed limit in place of the calibrated one, e.g. 3.0"
    )


@dg.asset(
    partitions_def=daily,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[
        snapshot_embeddings,
        dg.AssetDep(device_profiles, partition_mapping=dg.AllPartitionMapping()),
    ],
    group_name="detection",
    kinds={"scylladb", "sqlite", "numpy"},
    owners=OWNERS,
    io_manager_key="store",
    metadata={"table": "anomaly_events"},
    retry_policy=RETRIES,
    freshness_policy=ARRIVING,
)
def anomaly_events(
    context: dg.AssetExecutionContext, config: DetectionConfig, platform: PlatformResource
) -> TableOutput:
    """Anomalous windows with score, methods, reasons and metrics in `anomaly_events`; all verdicts in `snapshot_verdicts`.

    Why: three independent methods (rules of the device type, similarity to the device's profile, vector search in its
    history) judge every complete window; where two agree it is a consensus. Keys are (device, window), so judging again
    rewrites the same events, and takes back those that no longer hold.
    """
    found = DetectionPass(
        platform.store,
        platform.encoders,
        platform.settings,
        list(_spans(context.partition_keys, config, platform)),
        unjudged_only=config.unjudged_only,
        similarity_threshold=config.similarity_threshold,
        sigma_threshold=config.sigma_threshold,
    )

    def tell(span: Span, judgement: Judgement, result: Comparison) -> None:
        if not result.any_method:
            return
        context.log.info(
            "%s %s: %d of %d windows anomalous (%s), %d by consensus; from %s: %s",
            *(span.device.device_id, span.day, result.any_method, result.windows),
            ", ".join(f"{m} {n}" for m, n in result.anomalies.items()),
            result.consensus,
            *first_reason(judgement),
        )

    found.on_judgement = tell

    def batches(metadata: Metadata) -> Iterator[TableBatch]:
        yield from found.batches()
        tell_failures(context, metadata, found)
        metadata.update(
            windows_judged=found.windows,
            windows_left_open=found.left_open,
            anomalous_by_consensus=found.consensus,
            **{f"anomalous_by_{m}": found.anomalies[m] for m in method_names()},
        )

    return table_output(batches)


def _spans(dates: Sequence[str], config: DetectionConfig, platform: PlatformResource) -> Iterator[Span]:
    """Device-days of the run that have windows to judge."""
    store, settings = platform.store, platform.settings
    known = {d.device_id: d for d in store.devices()}
    by_day = pending(store, settings, now_ms()).by_day if config.unjudged_only else None
    for date in dates:
        start_ms, end_ms = day_windows(date, settings.window_ms)
        ids = by_day.get(date, []) if by_day is not None else [day.device_id for day in store.device_days(date, date)]
        for device_id in ids:
            if device_id in known and (not config.devices or device_id in config.devices):
                yield Span(known[device_id], start_ms, end_ms, date)
