"""A device that was renamed or replaced: its history goes over to the new id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hvac_platform.stores.base import Device, Store, StoreError, TableSlice
from hvac_platform.stores.tables import Table, tables

LEFT = {"devices", "ingestion_ledger", "touched_windows", "alert_outbox"}
"""Tables whose rows stay: the registry has its own way, the others are of what happened under the old id."""
ROWS_AT_ONCE = 5_000


def rename_device(store: Store, device: Device, new_id: str) -> dict[str, int]:
    """Give the rows of a device to another id; of two rows with one key that of the new id stays.

    Rows are copied before any is removed, so what is interrupted is done by doing it again.

    Args:
        store: has the rows.
        device: under its old id.
        new_id: the id that it reports under now.

    Returns:
        Rows that went over, by table.

    Raises:
        StoreError: both ids are the same, or the new one is of a device of another type.
    """
    if new_id == device.device_id:
        raise StoreError(f"{new_id} has that name already")
    other = next((d for d in store.devices() if d.device_id == new_id), None)
    if other is not None and other.device_type != device.device_type:
        raise StoreError(
            f"{new_id} is a {other.device_type} and {device.device_id} a {device.device_type}: they are not one device"
        )
    mine = [t for t in tables().values() if "device_id" in t.columns and t.name not in LEFT]
    store.register_devices([replace(device, device_id=new_id) if other is None else _joined(device, other)])
    moved = {table.name: _copy(store, table, device.device_id, new_id) for table in mine}
    for table in mine:
        _remove(store, table, device.device_id)
    store.delete("devices", {"device_id": [device.device_id]})
    return moved


def _joined(old: Device, new: Device) -> Device:
    """The device under its new id, known since it was first heard under the old one."""
    return replace(new, first_seen=min(old.first_seen, new.first_seen), last_seen=max(old.last_seen, new.last_seen))


def _keys(table: Table) -> tuple[str, ...]:
    return (*table.partition, *table.clustering)


def _copy(store: Store, table: Table, old_id: str, new_id: str) -> int:
    written = [name for name in table.columns if not (name == "date" and table.time_column is not None)]
    keys = [name for name in _keys(table) if name in written]
    there: set[tuple[Any, ...]] = set()
    for batch in store.scan(TableSlice(table.name, tuple(keys), new_id), batch_rows=ROWS_AT_ONCE):
        there.update(zip(*(batch[name] for name in keys), strict=True))
    copied = 0
    for batch in store.scan(TableSlice(table.name, tuple(written), old_id), batch_rows=ROWS_AT_ONCE):
        rows = len(batch["device_id"])
        columns: dict[str, list[Any]] = {**batch, "device_id": [new_id] * rows}
        fresh = [i for i, key in enumerate(zip(*(columns[name] for name in keys), strict=True)) if key not in there]
        if fresh:
            store.upsert(table.name, _present(table, {n: [values[i] for i in fresh] for n, values in columns.items()}))
        copied += len(fresh)
    return copied


def _present(table: Table, columns: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Columns as they are written: a vector column that has none is left out."""
    import numpy as np

    found: dict[str, Any] = dict(columns)
    for name, values in columns.items():
        if table.columns[name].type == "vector":
            if any(value is None for value in values):
                del found[name]
            else:
                found[name] = np.stack([np.frombuffer(value, dtype="<f4") for value in values])
    return found


def _remove(store: Store, table: Table, old_id: str) -> None:
    keys = [name for name in _keys(table) if not (name == "date" and table.time_column is not None)]
    for batch in list(store.scan(TableSlice(table.name, tuple(keys), old_id), batch_rows=ROWS_AT_ONCE)):
        store.delete(table.name, batch)
