"""What all assets share: owners, retry policy, the config of ingestion runs."""

import sys
from collections.abc import Sequence
from datetime import timedelta

import dagster as dg
from pydantic import Field

from hvac_platform.ingestion.ownership import fail
from hvac_platform.ingestion.ranges import OffsetRange
from hvac_platform.io_managers.table_output import Metadata
from hvac_platform.monitoring.passes import Pass
from hvac_platform.runtime.device_runs import DEVICE_TAG
from hvac_platform.stores.base import Device, Store

OWNERS = ["team:hvac-platform"]

ARRIVING = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=1), warn_window=timedelta(minutes=15))
"""For what follows the stream: metrics arrive every few seconds, so an hour without any is an outage."""


class RetriesOfFailures(dg.RetryPolicy):
    """Steps are tried again when they fail, and not when they were asked to end.

    Dagster's own policy takes Ctrl-C, SIGTERM and *Terminate* for failures, so that a run goes on when it was stopped.
    """

    def calculate_delay(self, attempt_num: int) -> float:
        """Seconds until the next attempt; it is asked for while the error is dealt with."""
        stopped = sys.exc_info()[1]
        if isinstance(stopped, (dg.DagsterExecutionInterruptedError, KeyboardInterrupt)):
            raise stopped
        return float(super().calculate_delay(attempt_num))


RETRIES = RetriesOfFailures(max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


class OffsetRangeConfig(dg.Config):
    """One half-open range of offsets."""

    partition: int = Field(description="Partition of the topic")
    start: int = Field(description="First offset")
    end: int = Field(description="First offset not included")
    skipped: int = Field(0, description="Offsets before start that retention removed unread")
    log_id: str = Field("", description="Identity of the log that the offsets count in; empty when it doesn't matter")
    set_aside: bool = Field(
        False, description="Put the messages among the dead letters unread, because all runs failed"
    )


class IngestionConfig(dg.Config):
    """What an ingestion run reads. Without ranges it is a backfill: the days are replayed from the log or kept rows."""

    ranges: list[OffsetRangeConfig] = Field(default_factory=list, description="Offset ranges; empty for a backfill")
    reject_ahead: bool = Field(
        False, description="Reject messages of the future although this machine's clock may be what is wrong"
    )
    standing: bool = Field(
        False, description="Go on with what arrives for HVAC_RUN_MINUTES, in all partitions that nobody else ingests"
    )
    succeeds: bool = Field(
        False, description="Standing: wait for the partitions of the run before, whose time is ending"
    )

    def offset_ranges(self) -> list[OffsetRange]:
        """The ranges as the ingestion code takes them."""
        return [
            OffsetRange(r.partition, r.start, r.end, r.skipped, log_id=r.log_id, set_aside=r.set_aside)
            for r in self.ranges
        ]


def ingestion_run_config(
    ranges: tuple[OffsetRange, ...], *, reject_ahead: bool = False, standing: bool = False, succeeds: bool = False
) -> dict[str, object]:
    """Run config of an ingestion run over these ranges."""
    listed = [
        {
            "partition": r.partition,
            "start": r.start,
            "end": r.end,
            "skipped": r.skipped,
            "log_id": r.log_id,
            "set_aside": r.set_aside,
        }
        for r in ranges
    ]
    config = {"ranges": listed, "reject_ahead": reject_ahead, "standing": standing, "succeeds": succeeds}
    return {"ops": {name: {"config": config} for name in ("raw_metrics", "consumer_offsets")}}


@dg.failure_hook(name="tell_the_ledger", required_resource_keys={"platform"})
def tell_the_ledger(context: dg.HookContext) -> None:
    """Record in the ledger why a run failed, and free the partitions that it owned."""
    platform = context.resources.platform
    error = context.op_exception or RuntimeError("no reason was given")
    for line in fail(platform.store, context.run_id, error, platform.leases):
        context.log.error("%s", line)


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names for a line of a log.

    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def only_device(context: dg.AssetExecutionContext) -> str | None:
    """The one device that a run over days concerns, where somebody asked for it so; None where it concerns all."""
    return context.run.tags.get(DEVICE_TAG)


def registered(context: dg.AssetExecutionContext, store: Store, refused: list[str]) -> list[Device]:
    """The run's devices, of those that are registered; the others are refused with a reason."""
    known = {d.device_id: d for d in store.devices()}
    refused += [
        f"{key}: not in the registry; no reading of it was ever accepted"
        for key in context.partition_keys
        if key not in known
    ]
    return [known[key] for key in context.partition_keys if key in known]


def tell_failures(context: dg.AssetExecutionContext, metadata: Metadata, found: Pass) -> None:
    """Say of a run which devices it could not deal with; what it did for the others stands.

    Raises:
        dg.Failure: there were no others.
    """
    failed = list(found.failed.values())
    metadata["devices_failed"] = len(failed)
    for failure in failed:
        context.log.error("%s", failure)
    if not failed:
        return
    if not found.done and not found.refused:
        raise dg.Failure(f"every device failed: {'; '.join(map(str, failed[:5]))}", allow_retries=False)
    metadata["failures"] = dg.MetadataValue.md("\n".join(f"- {failure}" for failure in failed[:200]))
