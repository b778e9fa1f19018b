"""The ingestion run that stands: what Dagster shows of it while it goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import dagster as dg

from hvac_platform.assets.common import IngestionConfig
from hvac_platform.assets.ingestion_run import run_registry, tell_taken_in
from hvac_platform.ingestion.standing import Moved, StandingIngestion
from hvac_platform.io_managers.table_output import Metadata, TableOutput, table_output
from hvac_platform.partitions import daily
from hvac_platform.resources import PlatformResource
from hvac_platform.runs import HOME_TAG, STANDING_TAG
from hvac_platform.stores.batches import TableBatch, TouchedWindows

TOLD_SECONDS = 60.0
"""How often a day's materializations are logged while its readings arrive."""
NO_OFFSET = -1
READY_TAG = "hvac/ready"
"""``yes`` for a run of detection that has worked out what it needs to judge the next window at once."""
_stood: dict[str, StandingIngestion] = {}


def stood(run_id: str) -> StandingIngestion | None:
    """What a run of this process did while it stood, for what its later steps say of it."""
    return _stood.get(run_id)


@dataclass
class _Day:
    """What a standing run has done for one UTC day since its materializations were logged last."""

    ranges: int = 0
    messages: int = 0
    accepted: int = 0
    rejected: int = 0
    windows: int = 0
    waiting: int = 0


@dataclass
class DaysTold:
    """Logs materializations of the days that a standing run adds to, each at most once a minute.

    Args:
        context: of the run.
        assets: keys of raw readings, snapshots, embeddings and the ledger.
    """

    context: dg.AssetExecutionContext
    assets: tuple[dg.AssetKey, dg.AssetKey, dg.AssetKey, dg.AssetKey]
    _days: dict[str, _Day] = field(default_factory=dict)
    _told: dict[str, float] = field(default_factory=dict)

    def add(self, moved: Moved) -> None:
        """Count a step; a message's day is known by its readings only, so what was rejected counts for each of them."""
        for day in {*moved.days, *moved.written}:
            counted = self._days.setdefault(day, _Day())
            counted.ranges += moved.taken.end > moved.taken.start
            counted.messages += moved.counts.messages
            counted.accepted += moved.counts.accepted
            counted.rejected += moved.counts.rejected
            counted.windows += moved.written.get(day, 0)
            counted.waiting = moved.waiting
        self.tell()

    def tell(self, *, all_of_it: bool = False) -> None:
        """Log what is due."""
        now = time.monotonic()
        for day in list(self._days):
            if all_of_it or now - self._told.get(day, -TOLD_SECONDS) >= TOLD_SECONDS:
                self._log(day, self._days.pop(day))
                self._told[day] = now

    def _log(self, day: str, counted: _Day) -> None:
        if not daily.has_partition_key(day):
            return
        raw, windows, embeddings, ledger = self.assets
        seen = {"ranges": counted.ranges, "messages": counted.messages, "waiting": counted.waiting}
        rows: dict[dg.AssetKey, dict[str, int]] = {
            raw: {**seen, "accepted": counted.accepted, "rejected": counted.rejected}
        }
        if counted.windows:
            rows |= {windows: {"windows": counted.windows}, embeddings: {"windows": counted.windows}}
        if counted.ranges:
            rows[ledger] = seen
        for key, metadata in rows.items():
            self.context.log_event(dg.AssetMaterialization(key, partition=day, metadata=metadata))
        self.context.log.info(
            "%s: %d ranges, %d messages, %d accepted, %d rejected, %d windows complete, %d messages waiting",
            *(day, counted.ranges, counted.messages, counted.accepted, counted.rejected, counted.windows),
            counted.waiting,
        )


def another_stands(context: dg.AssetExecutionContext, platform: PlatformResource, **tags: str) -> bool:
    """Whether another run of the same job, with some tags, stands by now; runs that wait in the queue don't count."""
    ours = {HOME_TAG: platform.home, STANDING_TAG: "yes", **tags}
    running = dg.RunsFilter(job_name=context.job_name, tags=ours, statuses=[dg.DagsterRunStatus.STARTED])
    return any(run.run_id != context.run.run_id for run in context.instance.get_runs(running, limit=3))


def stand(context: dg.AssetExecutionContext, config: IngestionConfig, platform: PlatformResource) -> TableOutput:
    """Take in range after range until the run's time is over; rows, snapshots, embeddings and the ledger.

    The loop writes by itself, through the same writer as the IO manager; what it returns is what is to be said of it all.
    """
    raw = context.asset_key
    others = tuple(dg.AssetKey(name) for name in ("windowed_snapshots", "snapshot_embeddings", "consumer_offsets"))
    told = DaysTold(context, (raw, *others))
    run_id, registry = context.run.run_id, run_registry(context, platform)
    standing = StandingIngestion(
        platform.store,
        platform.log,
        platform.topic,
        platform.settings,
        platform.encoders,
        platform.leases,
        run_id,
        registry,
        planned=config.offset_ranges(),
        reject_ahead=config.reject_ahead,
        until=time.monotonic() + 60 * platform.settings.hvac_run_minutes,
        succeeds=config.succeeds,
        taken_over=partial(another_stands, context, platform),
        on_moved=told.add,
        on_trouble=lambda line: context.log.warning("%s", line),
    )
    _stood.clear()
    _stood[run_id] = standing
    try:
        standing.run()
    except Exception:  # the partitions stay owned until the failure is recorded
        told.tell(all_of_it=True)
        raise
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        context.log.info("the run was asked to end; what it has taken in is in, and the next one goes on from there")
        standing.let_go()
    told.tell(all_of_it=True)

    def batches(metadata: Metadata) -> Iterator[TableBatch]:
        yield TableBatch({}, touched=TouchedWindows(platform.topic, 0, NO_OFFSET, {}, {}))  # nothing is left to do
        tell_taken_in(metadata, standing.counts, registry, made_again=standing.made_again)
        metadata.update(
            windows=standing.snapshots.windows,
            partial=standing.snapshots.partial,
            embeddings=standing.embedded.encoded,
            waiting=standing.embedded.waiting,
        )

    return table_output(batches)
