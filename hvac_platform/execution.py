"""Run the platform's jobs in this process: what the daemon would launch, for commands and demonstrations."""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from hvac_platform.assets.consumer_offsets import tell_the_group
from hvac_platform.config import load_settings
from hvac_platform.definitions import defs
from hvac_platform.garbage import garbage_seldom_looked_for
from hvac_platform.ingestion.ownership import give_all_back
from hvac_platform.resources import PlatformResource
from hvac_platform.runtime.connections import LEASES, open_store
from hvac_platform.schedules import partition_tags
from hvac_platform.sensors.kafka_ingestion import plan_tick
from hvac_platform.timestamps import now_ms

ELSEWHERE, WAIT_SECONDS = "is being ingested by", 1.0
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class RunFailedError(Exception):
    """A run failed; the message says which step and why."""


def open_instance(folder: Path) -> dg.DagsterInstance:
    """Dagster instance of the ``dagster.yaml`` in a folder; its relative paths are relative to the working directory.

    Two processes that make Dagster's storage at once would fail, so each waits for the other here.
    """
    lock = folder / ".dagster" / "opening.lock"
    try:
        lock.parent.mkdir(exist_ok=True)
        with lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            return dg.DagsterInstance.from_config(str(folder))
    except OSError as error:
        raise RunFailedError(f"Dagster's storage in {lock.parent} can't be used: {error.strerror or error}") from error


def run_job(
    name: str,
    instance: dg.DagsterInstance,
    tags: Mapping[str, str],
    run_config: Mapping[str, Any] | None = None,
) -> dg.ExecuteInProcessResult:
    """Execute a job in this process, quietly.

    Raises:
        RunFailedError: a step failed.
        KeyboardInterrupt: it was interrupted; Dagster takes SIGTERM for that too.
    """
    partition = tags.get("dagster/partition")
    for noisy in ("dagster", "sqlalchemy.pool"):  # the second tells of an interrupt with a traceback
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    result = defs.resolve_job_def(name).execute_in_process(
        instance=instance,
        partition_key=partition,
        tags={k: v for k, v in tags.items() if k != "dagster/partition"},
        run_config={**(run_config or {}), **QUIET},
        raise_on_error=False,
    )
    if not result.success:
        if any(map(_was_interrupted, result.all_events)):
            give_all_back(open_store(load_settings()), result.run_id, LEASES)
            raise KeyboardInterrupt
        failures = [event for event in result.all_events if event.is_step_failure]
        reasons = [f"{e.step_key}: {_root_message(e.step_failure_data.error)}" for e in failures]
        raise RunFailedError(f"run {result.run_id} of {name} failed: " + ("; ".join(reasons) or "see its log"))
    return result


def _was_interrupted(event: dg.DagsterEvent) -> bool:
    """Whether a step or a run failed because this process was asked to end."""
    if event.is_step_failure:
        error = event.step_failure_data.error
    elif event.is_job_failure:
        error = event.job_failure_data.error
    else:
        return False
    while error is not None and error.cls_name not in ("DagsterExecutionInterruptedError", "KeyboardInterrupt"):
        error = error.cause
    return error is not None


def _root_message(error: Any) -> str:
    """First line of the error below Dagster's own: what it came from in turn says less to a user."""
    while (
        error is not None
        and error.cause is not None
        and (error.cls_name or "").startswith(("Dagster", "RetryRequested"))
    ):
        error = error.cause
    return str(error.message).strip().splitlines()[0] if error is not None else "unknown error"


def _said(done: dg.ExecuteInProcessResult, name: str, otherwise: int) -> int:
    """A count of messages that a run gives itself."""
    said = [
        event.materialization.metadata[name].value
        for event in done.get_asset_materialization_events()
        if event.asset_key is not None
        and event.asset_key.path == ["raw_metrics"]
        and name in event.materialization.metadata
    ]
    return int(said[0]) if said and isinstance(said[0], int) else otherwise


def ingest_everything(
    instance: dg.DagsterInstance,
    platform: PlatformResource,
    *,
    reject_ahead: bool = False,
    on_wait: Callable[[str], object] = lambda _: None,
    on_rejected: Callable[[int], object] = lambda _: None,
) -> Iterator[int]:
    """Run what the ingestion sensor would launch, one run after the other, until nothing is left.

    Yields the messages that each run took in; a run whose ranges another process has taken in meanwhile yields nothing.

    A partition that another process ingests is left to it, and waited for. What has failed is tried at once, where the
    sensor would wait longer after each failure.

    Args:
        instance: Dagster's.
        platform: store and log.
        reject_ahead: reject messages of the future although this machine's clock may be wrong.
        on_wait: told why it waits, each second.
        on_rejected: told of each run how many of its messages became dead letters.

    Raises:
        RunFailedError: a run failed; what it concerned is ingested by the next call.
    """
    while True:
        planned, waiting = plan_tick(instance, platform, now_ms(), reject_ahead=reject_ahead, at_once=True)
        if planned:
            for run, request in planned:
                with garbage_seldom_looked_for():
                    done = run_job("ingestion", instance, request.tags or {}, request.run_config)
                if (taken := _said(done, "messages", run.messages)) > 0:
                    on_rejected(_said(done, "rejected", 0))
                    yield taken
        elif not waiting:
            tell_the_group(platform)
            return
        elif all(ELSEWHERE in reason for reason in waiting):
            on_wait("; ".join(waiting))
            time.sleep(WAIT_SECONDS)
        else:
            raise RunFailedError("; ".join(reason for reason in waiting if ELSEWHERE not in reason))


def build_profiles(instance: dg.DagsterInstance, device_ids: list[str], *, until: str | None = None) -> None:
    """Build profiles of devices that are next to one another in the order of registration, in one run."""
    run_job(
        "profiles",
        instance,
        partition_tags(device_ids[0], device_ids[-1]),
        {"ops": {"device_profiles": {"config": {"until": until} if until else {}}}},
    )


def judge_days(instance: dg.DagsterInstance, first: str, last: str) -> None:
    """Judge some days and report on them, in one run each."""
    run_job("detection", instance, partition_tags(first, last))
    run_job("report", instance, partition_tags(first, last))
