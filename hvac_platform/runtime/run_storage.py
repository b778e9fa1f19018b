"""Dagster's own storage kept small: runs that nobody needs any more, with all their files.

Dagster deletes the rows of a run and leaves its event log (a SQLite file of 100 to 300 kB a run) and its captured output
behind, which at a run every few seconds are gigabytes a day. It rests on names of files of Dagster's SQLite storage;
storage on a server has no files of runs.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import dagster as dg

from hvac_platform.runtime.dagster_private import event_log_folder, output_folder

PAGE = 500
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
STRAY_SECONDS = 3600
"""Files of a run that Dagster doesn't know are left alone for so long: it may be about to be created."""
_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHARD_ENDINGS = (".db", ".db-wal", ".db-shm", ".db-journal")


def expired_runs(instance: dg.DagsterInstance, cutoff: float, most_bytes: int | None = None) -> list[str]:
    """Ids of finished runs that may go: those created before an instant, and the oldest of what is too much.

    Deleting the only run that materialized a partition would un-materialize it, so the newest successful run of each job,
    selection and partition (or range) stays however old it is.

    Args:
        instance: Dagster's.
        cutoff: epoch seconds.
        most_bytes: most bytes of files that runs may have together; no limit when absent.
    """
    kept: set[tuple[object, ...]] = set()
    expired: list[str] = []
    cursor: str | None = None
    total = 0
    while records := instance.get_run_records(limit=PAGE, cursor=cursor):
        for record in records:
            run = record.dagster_run
            tags = (run.tags.get("dagster/partition"), *(run.tags.get(tag) for tag in RANGE_TAGS))
            key = (run.job_name, frozenset(run.asset_selection or ()), *tags)
            total += sum(size_of(path) for path in run_files(instance, run.run_id)) if most_bytes is not None else 0
            if not run.is_finished:
                continue
            if run.is_success and key not in kept:
                kept.add(key)
            elif record.create_timestamp.timestamp() < cutoff or (most_bytes is not None and total > most_bytes):
                expired.append(run.run_id)
        cursor = records[-1].dagster_run.run_id
    return expired


def delete_runs(instance: dg.DagsterInstance, run_ids: list[str]) -> int:
    """Delete runs, their event logs and their captured output; returns the bytes of the files that are gone."""
    freed = 0
    for run_id in run_ids:
        files = run_files(instance, run_id)
        freed += sum(map(size_of, files))
        instance.delete_run(run_id)
        for path in files:
            remove(path)
    return freed


def stray_files(instance: dg.DagsterInstance) -> list[Path]:
    """Files of runs that Dagster doesn't know any more, such as earlier versions left behind."""
    found: dict[str, list[Path]] = {}
    for path in (*_shards(instance), *_outputs(instance)):
        named = _RUN_ID.match(path.name)
        if named:
            found.setdefault(named[0], []).append(path)
    known = {run_id for run_id in found if instance.has_run(run_id)}
    old = time.time() - STRAY_SECONDS
    return [path for run_id, paths in found.items() if run_id not in known for path in paths if _changed(path) < old]


def run_files(instance: dg.DagsterInstance, run_id: str) -> list[Path]:
    """Event log and captured output of one run, as far as they are files."""
    events, output = event_log_folder(instance), output_folder(instance)
    paths = [events / f"{run_id}{ending}" for ending in _SHARD_ENDINGS] if events is not None else []
    return [path for path in (*paths, *([output / run_id] if output is not None else [])) if path.exists()]


def size_of(path: Path) -> int:
    """Bytes on disk of a file, or of all files below a folder; 0 when it is gone."""
    with suppress(OSError):
        if path.is_dir():
            return sum(size_of(inside) for inside in path.iterdir())
        return path.stat().st_blocks * 512
    return 0


def remove(path: Path) -> None:
    """Remove a file or a folder; nothing when it is gone."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _changed(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return time.time()


def _shards(instance: dg.DagsterInstance) -> Iterator[Path]:
    folder = event_log_folder(instance)
    if folder is not None and folder.exists():
        yield from (path for path in folder.iterdir() if path.name.endswith(_SHARD_ENDINGS))


def _outputs(instance: dg.DagsterInstance) -> Iterator[Path]:
    folder = output_folder(instance)
    if folder is not None and folder.exists():
        yield from (path for path in folder.iterdir() if path.is_dir())
