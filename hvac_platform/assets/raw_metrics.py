"""raw_metrics: every accepted reading."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import dagster as dg

from hvac_platform.assets.common import ARRIVING, OWNERS, RETRIES, IngestionConfig
from hvac_platform.assets.ingestion_run import run_registry, tell_taken_in
from hvac_platform.assets.iot_metrics import iot_metrics
from hvac_platform.assets.standing import NO_OFFSET, stand
from hvac_platform.ingestion.clock import require_right_clock
from hvac_platform.ingestion.decoding import REASON_LENGTH, IngestionCounts, days_label, ingest_ranges, replay_days
from hvac_platform.ingestion.messages import Rejected
from hvac_platform.ingestion.ownership import claim
from hvac_platform.ingestion.ranges import gone_message
from hvac_platform.ingestion.registration import stranger_reason
from hvac_platform.ingestion.standing import open_windows
from hvac_platform.io_managers.table_output import Metadata, TableOutput, table_output
from hvac_platform.partitions import daily
from hvac_platform.resources import PlatformResource
from hvac_platform.runs import RANGES_TAG
from hvac_platform.stores.base import LedgerEntry
from hvac_platform.stores.batches import TableBatch, TouchedWindows
from hvac_platform.timestamps import now_ms

LEFT_OPEN = -2
"""Stands in place of an offset for windows that a run before left open."""


@dg.asset(
    partitions_def=daily,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[iot_metrics],
    group_name="ingestion",
    kinds={"kafka", "scylladb", "sqlite"},
    owners=OWNERS,
    io_manager_key="store",
    metadata={"table": "device_metrics_raw"},
    retry_policy=RETRIES,
    freshness_policy=ARRIVING,
)
def raw_metrics(context: dg.AssetExecutionContext, config: IngestionConfig, platform: PlatformResource) -> TableOutput:
    """Every accepted reading, upserted by device, time and metric into `device_metrics_raw`.

    Why: everything else is computed from these rows, so that late, duplicate and out-of-order messages come out right. A
    run reads exactly the offset ranges it was launched with; rejected messages go to `dead_letters` with the reason. A
    backfill has no ranges: it replays its days from the log, and where retention has removed them keeps the rows that are
    there.
    """
    if config.standing:
        return stand(context, config, platform)
    counts = IngestionCounts()
    wanted = config.offset_ranges()
    run_id = context.run.run_id
    owned = claim(
        platform.store,
        platform.log,
        platform.topic,
        wanted,
        run_id,
        platform.leases,
        planned=RANGES_TAG in context.run.tags,
    )
    for line in owned.left:
        context.log.warning("%s", line)
    for line in owned.troubles:
        context.log.error("%s", line)
    ranges = owned.ranges
    ledger = platform.store.ledger(platform.topic)
    left_open = {r.partition: since for r in ranges if (since := _open_since(ledger.get(r.partition))) is not None}
    registry = run_registry(context, platform)

    def gone(partition: int, first: int, last: int) -> None:
        context.log.error("%s", gone_message(platform.topic, partition, first, last))
        for lease, taken in platform.leases.of(run_id):  # for the move of the ledger
            if lease.partition == partition:
                platform.leases.works_on(lease, replace(taken, skipped=taken.skipped + last - first))

    common = {
        "now_ms": now_ms(),
        "window_of": registry.lengths.of,
        "counts": counts,
        "register": registry.register,
        "settle": registry.settle,
        "gone": gone,
        "refuse": registry.refuse,
    }
    for lost in (r for r in ranges if r.skipped):
        context.log.error("%s", gone_message(platform.topic, lost.partition, lost.start - lost.skipped, lost.start))

    def reading(partition: int | None) -> None:
        platform.leases.read(run_id, partition)

    def check_clock(partition: int, rejected: Sequence[Rejected], messages: int) -> None:
        if not config.reject_ahead:
            require_right_clock(partition, rejected, messages, platform.store.devices, now_ms())

    def batches(metadata: Metadata) -> Iterator[TableBatch]:
        days = list(context.partition_keys)
        if wanted:
            for partition, since in left_open.items():
                left = open_windows(platform.store, partition, since, registry.lengths.of)
                yield TableBatch({}, touched=TouchedWindows(platform.topic, partition, LEFT_OPEN, left, {}))
            if not ranges:  # the assets below must not take the whole day for what was read
                yield TableBatch({}, touched=TouchedWindows(platform.topic, wanted[0].partition, NO_OFFSET, {}, {}))
            yield from ingest_ranges(
                platform.log,
                platform.topic,
                ranges,
                reading=reading,
                check_clock=check_clock,
                look=registry.look,
                **common,  # type: ignore[arg-type]
            )
        else:
            yield from replay_days(platform.log, platform.topic, days, **common)  # type: ignore[arg-type]
        context.log.info(
            "%s: %d messages, %d accepted, %d rejected, %d devices",
            *(days_label(days), counts.messages, counts.accepted, counts.rejected, len(counts.devices)),
        )
        if (reason := stranger_reason(platform.settings.hvac_max_devices)[:REASON_LENGTH]) in counts.reasons:
            context.log.error("%d messages are set aside: %s", counts.reasons[reason], reason)
        if counts.unreadable:
            context.log.error(
                "%s: %d messages could not be read and are dead letters: %s",
                *(days_label(days), counts.unreadable, "; ".join(counts.reasons)),
            )
        tell_taken_in(metadata, counts, registry, made_again=len(owned.made_again))
        metadata["offset_ranges"] = ", ".join(r.key for r in ranges) or (
            "nothing left to do" if wanted else "replay of days"
        )

    return table_output(batches)


def _open_since(entry: LedgerEntry | None) -> int | None:
    """From where on a standing run left windows without their snapshots."""
    return None if entry is None else entry.open_since
