"""anomaly_events: what is wrong, and why."""

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from hvac_platform.assets.common import ARRIVING, OWNERS, RETRIES, tell_failures
from hvac_platform.assets.device_profiles import device_profiles
from hvac_platform.assets.snapshot_embeddings import snapshot_embeddings
from hvac_platform.detection.consensus import compare
from hvac_platform.detection.methods import method_names
from hvac_platform.io_managers.slices import TableBatch, TableOutput
from hvac_platform.monitoring.isolation import DeviceFailure, device_failure
from hvac_platform.monitoring.judging import judge_device, judgement_batches, needs_judging
from hvac_platform.partitions import daily
from hvac_platform.resources import PlatformResource
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
    registered = {d.device_id: d for d in platform.store.devices()}
    totals = {"windows": 0, "left_open": 0, "consensus": 0, **dict.fromkeys(method_names(), 0)}
    output = TableOutput(iter(()))

    def batches() -> Iterator[TableBatch]:
        failed: dict[str, DeviceFailure] = {}
        done: set[str] = set()
        for date in context.partition_keys:
            start_ms, end_ms = day_windows(date, platform.settings.window_ms)
            for day in platform.store.device_days(date, date):
                if day.device_id not in registered or (config.devices and day.device_id not in config.devices):
                    continue
                if config.unjudged_only and not needs_judging(day):
                    continue
                began = now_ms()
                try:
                    judgement = judge_device(
                        platform.store,
                        registered[day.device_id],
                        platform.encoders,
                        platform.settings,
                        start_ms,
                        end_ms,
                        now_ms=began,
                        unjudged_only=config.unjudged_only,
                        similarity_threshold=config.similarity_threshold,
                        sigma_threshold=config.sigma_threshold,
                    )
                    yield from judgement_batches(judgement)
                except Exception as error:  # whatever it is, it is the error of this device; its windows stay unjudged
                    failed.setdefault(day.device_id, device_failure(day.device_id, error))
                    continue
                done.add(day.device_id)
                if judgement.left_open == 0:
                    platform.store.mark_judged([(day.device_id, date)], began)
                result = compare({m: v.anomalous for m, v in judgement.verdicts.items()})
                totals["windows"] += result.windows
                totals["left_open"] += judgement.left_open
                totals["consensus"] += result.consensus
                for method, count in result.anomalies.items():
                    totals[method] += count
                if result.any_method:
                    context.log.info(
                        "%s %s: %d of %d windows anomalous (%s), %d by consensus",
                        *(day.device_id, date, result.any_method, result.windows),
                        ", ".join(f"{m} {n}" for m, n in result.anomalies.items()),
                        result.consensus,
                    )
        tell_failures(context, output, list(failed.values()), len(done))
        output.metadata.update(
            windows_judged=totals["windows"],
            windows_left_open=totals["left_open"],
            anomalous_by_consensus=totals["consensus"],
            **{f"anomalous_by_{m}": totals[m] for m in method_names()},
        )

    output.batches = batches()
    return output
