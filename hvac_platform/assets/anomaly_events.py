"""anomaly_events: what is wrong, and why."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import dagster as dg
from pydantic import Field

from hvac_platform.alerts.standing import StandingDelivery
from hvac_platform.assets.common import ARRIVING, OWNERS, RETRIES, only_device, tell_failures
from hvac_platform.assets.device_profiles import device_profiles
from hvac_platform.assets.snapshot_embeddings import snapshot_embeddings
from hvac_platform.assets.standing import READY_TAG, TOLD_SECONDS, another_stands
from hvac_platform.detection.consensus import Comparison
from hvac_platform.detection.methods import method_names
from hvac_platform.io_managers.table_output import Metadata, TableOutput, table_output
from hvac_platform.monitoring.counted import count_judged
from hvac_platform.monitoring.judging import Judgement, first_reason
from hvac_platform.monitoring.passes import DetectionPass, Span
from hvac_platform.monitoring.pending import pending
from hvac_platform.monitoring.standing import PassDone, StandingDetection
from hvac_platform.partitions import daily
from hvac_platform.resources import PlatformResource
from hvac_platform.runtime.connections import open_store
from hvac_platform.runtime.judging_processes import judging_elsewhere
from hvac_platform.stores.batches import TableBatch
from hvac_platform.timestamps import day_windows, now_ms


class DetectionConfig(dg.Config):
    """What to judge and how strictly."""

    unjudged_only: bool = Field(False, description="Only windows that are new or have changed since they were judged")
    standing: bool = Field(False, description="Go on with windows as they become complete, for HVAC_RUN_MINUTES")
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
    rewrites the same events, and takes back those that no longer hold. Whole days of many devices are judged in several
    processes (`HVAC_PROFILE_PROCESSES`).
    """
    if config.standing:
        return _stand(context, platform)
    only = only_device(context)
    chosen = frozenset(config.devices if only is None else [only])
    spans = list(_spans(context.partition_keys, chosen, config, platform))
    found = DetectionPass(
        platform.store,
        platform.encoders,
        platform.settings,
        spans,
        unjudged_only=config.unjudged_only,
        similarity_threshold=config.similarity_threshold,
        sigma_threshold=config.sigma_threshold,
        elsewhere=None if config.unjudged_only else judging_elsewhere(platform.settings, spans),
    )

    found.on_judgement = partial(_tell, context)

    def batches(metadata: Metadata) -> Iterator[TableBatch]:
        yield from found.batches()
        count_judged(platform.store, found.windows)
        tell_failures(context, metadata, found)
        metadata.update(
            windows_judged=found.windows,
            windows_left_open=found.left_open,
            windows_not_judged=found.not_judged,
            anomalous_by_consensus=found.consensus,
            **{f"anomalous_by_{m}": found.anomalies[m] for m in method_names()},
        )

    return table_output(batches)


def _tell(context: dg.AssetExecutionContext, span: Span, judgement: Judgement, result: Comparison) -> None:
    """Name device, day and reason where something is wrong."""
    if not result.any_method:
        return
    context.log.info(
        "%s %s: %d of %d windows anomalous (%s), %d by consensus; from %s: %s",
        *(span.device.device_id, span.day, result.any_method, result.windows),
        ", ".join(f"{m} {n}" for m, n in result.anomalies.items()),
        result.consensus,
        *first_reason(judgement),
    )


def _stand(context: dg.AssetExecutionContext, platform: PlatformResource) -> TableOutput:
    """Pass after pass until the run's time is over; what is done shows in the run's log and on the days' partitions."""
    settings = platform.settings
    delivery = StandingDelivery(settings, partial(open_store, settings))
    told = _DaysTold(context, delivery)
    standing = StandingDetection(
        platform.store,
        platform.encoders,
        platform.settings,
        until=time.monotonic() + 60 * platform.settings.hvac_run_minutes,
        taken_over=partial(another_stands, context, platform, **{READY_TAG: "yes"}),
        is_day=daily.has_partition_key,
        on_judgement=partial(_tell, context),
        on_pass=told.add,
        on_incidents=delivery.wake,
        on_trouble=lambda line: context.log.error("%s", line),
    )
    delivery.start()
    try:
        standing.warm()
        context.instance.add_run_tags(context.run.run_id, {READY_TAG: "yes"})  # the run before may end now
        standing.run()
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        context.log.info("the run was asked to end; the next one goes on with what is unjudged")
    finally:
        delivery.stop()
        told.tell(all_of_it=True)

    def batches(metadata: Metadata) -> Iterator[TableBatch]:
        metadata.update(
            windows_judged=standing.windows,
            incidents_computed=standing.incidents,
            alerts_sent=delivery.sent,
            devices_failed=len(told.failed),
            failures=dg.MetadataValue.md("\n".join(f"- {failure}" for failure in list(told.failed.values())[:200])),
        )
        yield from ()

    return table_output(batches)


@dataclass
class _DaysTold:
    """Logs materializations of the days that a standing run judges windows of, each at most once a minute; and alerts."""

    context: dg.AssetExecutionContext
    delivery: StandingDelivery
    failed: dict[str, str] = field(default_factory=dict)
    _days: dict[str, Counter[str]] = field(default_factory=dict)
    _told: dict[str, float] = field(default_factory=dict)

    def add(self, done: PassDone) -> None:
        """Count a pass; what it wrote is told at once."""
        self.delivery.wake()
        counted = self._days.setdefault(done.date, Counter())
        found = done.detection
        counted.update(
            passes=1,
            windows_judged=found.windows,
            anomalous_by_consensus=found.consensus,
            incidents_computed=done.incidents,
            **{f"anomalous_by_{m}": found.anomalies[m] for m in method_names()},
        )
        self.failed = {d: line for d, line in self.failed.items() if d not in found.done}
        self.failed |= {d: str(failure) for d, failure in found.failed.items()}
        self.context.log.debug("%s: %d windows judged in %.2f s", done.date, found.windows, done.seconds)
        self.tell()

    def tell(self, *, all_of_it: bool = False) -> None:
        """Log what is due."""
        for line in self.delivery.lines():
            self.context.log.info("%s", line)
        now = time.monotonic()
        for date in list(self._days):
            if not all_of_it and now - self._told.get(date, -TOLD_SECONDS) < TOLD_SECONDS:
                continue
            counted, self._told[date] = self._days.pop(date), now
            for key in (self.context.asset_key, dg.AssetKey("incidents")):
                self.context.log_event(dg.AssetMaterialization(key, partition=date, metadata=dict(counted)))
            self.context.log.info(
                "%s: %d windows judged in %d passes, %d incidents computed",
                *(date, counted["windows_judged"], counted["passes"], counted["incidents_computed"]),
            )


def _spans(
    dates: Sequence[str], chosen: frozenset[str], config: DetectionConfig, platform: PlatformResource
) -> Iterator[Span]:
    """Device-days of the run that have windows to judge; of all devices where none is chosen."""
    store, settings = platform.store, platform.settings
    known = {d.device_id: d for d in store.devices()}
    by_day = pending(store, settings, now_ms()).by_day if config.unjudged_only else None
    for date in dates:
        ids = by_day.get(date, []) if by_day is not None else [day.device_id for day in store.device_days(date, date)]
        for device_id in ids:
            if device_id in known and (not chosen or device_id in chosen):
                yield Span(known[device_id], *day_windows(date, known[device_id].window(settings)), date)
