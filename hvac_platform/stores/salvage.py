"""What can still be read of a damaged embedded store, brought into a new one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import msgspec

from hvac_platform.stores.base import EmbeddingError, StoreError, TableSlice
from hvac_platform.stores.copying import writable
from hvac_platform.stores.embedded import EmbeddedStore, version_of
from hvac_platform.stores.repacking import PACKED_SINCE, PlainStore, read_plain
from hvac_platform.stores.tables import Table, tables
from hvac_platform.timestamps import DAY_MS

ROWS_AT_ONCE = 5_000
SMALLEST_MS = 60_000
"""A stretch of time so short that can't be read is given up."""
LEFT_OUT = frozenset({"ingestion_ledger", "touched_windows", "metric_aggregation_buffer", "embedding_backlog"})
"""Without a ledger everything that the log still has is ingested again, which fills holes and makes these anew."""
UNREADABLE = (apsw.CorruptError, apsw.NotADBError, apsw.IOError, apsw.ConstraintError, apsw.MismatchError)
GARBLED = (ValueError, TypeError, msgspec.MsgspecError, EmbeddingError)


@dataclass
class Salvage:
    """What was found, by table.

    Attributes:
        rows: rows that were brought over.
        lost: stretches that could not be read, or could not be read to the end.
    """

    rows: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)


def open_damaged(path: Path) -> EmbeddedStore | PlainStore:
    """A damaged store as it is: one of a version before the packed form is read in its own form, not upgraded first.

    Raises:
        StoreError: nothing of it can be read; the message says what to do.
    """
    try:
        found = version_of(path)
        return read_plain(path, found) if 0 < found < PACKED_SINCE else EmbeddedStore(path)
    except (StoreError, *UNREADABLE) as error:
        aside = path.with_name(f"{path.name}.damaged")
        raise StoreError(
            f"nothing of {path} can be read ({error.__cause__ or error}): move it away, mv {path} {aside}, and hvac ingest "
            "makes a store anew from what the log still has; profiles, labels and incidents that were in it alone are lost"
        ) from error


def salvage(damaged: EmbeddedStore | PlainStore, new: EmbeddedStore) -> Salvage:
    """Copy every row that can be read, but not the ledger: ``hvac ingest`` then fills the holes from the log.

    Raises:
        StoreError: the registry of devices can't be read, or the new store can't be written.
    """
    try:
        devices = damaged.devices()
    except UNREADABLE as error:
        raise StoreError(
            f"not even the devices of {damaged.location} can be read ({error}): move it away and ingest what the log has"
        ) from error
    new.register_devices(devices)
    spans = {d.device_id: (d.first_seen // DAY_MS * DAY_MS, (d.last_seen // DAY_MS + 1) * DAY_MS) for d in devices}
    found = Salvage()
    for name, target in tables().items():
        if name in LEFT_OUT or name in ("devices", "device_days"):
            continue
        for rows in _slices(name, target, spans):
            _copy(damaged, new, rows, found)
    return found


def _slices(name: str, target: Table, spans: dict[str, tuple[int, int]]) -> Iterator[TableSlice]:
    if "device_id" not in target.key:
        yield TableSlice(name)
        return
    for device_id, (start, end) in spans.items():
        yield TableSlice(name, (), device_id, *((start, end) if target.time_column is not None else ()))


def _copy(damaged: EmbeddedStore | PlainStore, new: EmbeddedStore, rows: TableSlice, found: Salvage) -> None:
    """Copy a slice; where it can't be read to the end, each half of its time on its own, at last up to the damage."""
    try:
        copied = _copied(damaged, new, rows, ROWS_AT_ONCE)
    except (*UNREADABLE, *GARBLED):
        if rows.start_ms is None or rows.end_ms is None or rows.end_ms - rows.start_ms <= SMALLEST_MS:
            _up_to_the_damage(damaged, new, rows, found)
            return
        middle = (rows.start_ms + rows.end_ms) // 2
        _copy(damaged, new, TableSlice(rows.table, (), rows.device_id, rows.start_ms, middle), found)
        _copy(damaged, new, TableSlice(rows.table, (), rows.device_id, middle, rows.end_ms), found)
        return
    found.rows[rows.table] += copied


def _copied(damaged: EmbeddedStore | PlainStore, new: EmbeddedStore, rows: TableSlice, at_once: int) -> int:
    return sum(
        new.upsert(rows.table, part)
        for batch in damaged.scan(rows, batch_rows=at_once)
        for part in writable(rows.table, batch)
    )


def _up_to_the_damage(
    damaged: EmbeddedStore | PlainStore, new: EmbeddedStore, rows: TableSlice, found: Salvage
) -> None:
    """Copy the rows before the first that can't be read."""
    found.lost[rows.table] += 1
    try:
        for batch in damaged.scan(rows, batch_rows=1):
            for part in writable(rows.table, batch):
                found.rows[rows.table] += new.upsert(rows.table, part)
    except (*UNREADABLE, *GARBLED):
        pass
