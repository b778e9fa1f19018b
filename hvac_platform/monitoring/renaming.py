"""A device that was renamed or replaced: its history goes over to the new id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from hvac_platform.stores.base import Device, Store, StoreError, TableSlice
from hvac_platform.stores.plain_tables import derived
from hvac_platform.stores.records import OutboxMessage
from hvac_platform.stores.tables import Table, tables
from hvac_platform.stores.vectors import decoded_vectors

LEFT = {"devices", "ingestion_ledger", "touched_windows", "alert_outbox"}
"""Tables whose rows aren't copied: the registry and the outbox have ways of their own, the others are of the log."""
ROWS_AT_ONCE = 5_000


def rename_device(store: Store, device: Device, new_id: str) -> dict[str, int]:
    """Give the rows of a device to another id; of two rows with one key that of the new id stays.

    Rows are copied before any is removed, so what is interrupted is done by doing it again. Incidents keep their ids, by
    which receivers of alerts know them.

    Args:
        store: has the rows.
        device: under its old id.
        new_id: the id that it reports under now.

    Returns:
        Rows that went over, by table.

    Raises:
        StoreError: both ids are the same, or the new one is of a device of another type or with other windows.
    """
    if new_id == device.device_id:
        raise StoreError(f"{new_id} has that name already")
    other = next((d for d in store.devices() if d.device_id == new_id), None)
    if other is not None and other.device_type != device.device_type:
        raise StoreError(
            f"{new_id} is a {other.device_type} and {device.device_id} a {device.device_type}: they are not one device"
        )
    if other is not None and other.window_ms != device.window_ms:
        raise StoreError(
            f"windows of {new_id} and of {device.device_id} have different lengths: give both one, see "
            "hvac devices window --help"
        )
    mine = [t for t in tables().values() if "device_id" in t.columns and t.name not in LEFT]
    store.register_devices([replace(device, device_id=new_id) if other is None else _joined(device, other)])
    moved = {table.name: _copy(store, table, device.device_id, new_id) for table in mine}
    _hand_over_alerts(store, device.device_id, new_id)
    for table in mine:
        _remove(store, table, device.device_id)
    store.delete("devices", {"device_id": [device.device_id]})
    return moved


def _joined(old: Device, new: Device) -> Device:
    """The device under its new id, known since it was first heard under the old one."""
    return replace(new, first_seen=min(old.first_seen, new.first_seen), last_seen=max(old.last_seen, new.last_seen))


def _copy(store: Store, table: Table, old_id: str, new_id: str) -> int:
    written = [name for name in table.columns if not derived(table, name)]
    there: set[tuple[Any, ...]] = set()
    for batch in store.scan(TableSlice(table.name, table.key, new_id), batch_rows=ROWS_AT_ONCE):
        there.update(zip(*(batch[name] for name in table.key), strict=True))
    copied = 0
    for batch in store.scan(TableSlice(table.name, tuple(written), old_id), batch_rows=ROWS_AT_ONCE):
        columns: dict[str, list[Any]] = {**batch, "device_id": [new_id] * len(batch["device_id"])}
        keys = zip(*(columns[name] for name in table.key), strict=True)
        fresh = [i for i, key in enumerate(keys) if key not in there]
        for rows, without in _alike(table, columns, fresh):
            part = {name: [values[i] for i in rows] for name, values in columns.items() if name not in without}
            store.upsert(table.name, {name: _writable(table, name, values) for name, values in part.items()})
        copied += len(fresh)
    return copied


def _hand_over_alerts(store: Store, old_id: str, new_id: str) -> None:
    """What waits in the outbox is delivered as the new device's, and what was sent stays the record of its incidents."""
    rows = OutboxMessage.read(store, None, equals={"device_id": old_id})
    if rows:
        store.upsert(OutboxMessage.TABLE, OutboxMessage.columns([replace(row, device_id=new_id) for row in rows]))


def _alike(
    table: Table, columns: Mapping[str, list[Any]], rows: list[int]
) -> Iterator[tuple[list[int], frozenset[str]]]:
    """Rows that have the same vectors, and the names of the columns that they have none in: a batch has all or none."""
    vectors = [name for name, column in table.columns.items() if column.type == "vector"]
    groups: dict[frozenset[str], list[int]] = {}
    for i in rows:
        groups.setdefault(frozenset(name for name in vectors if columns[name][i] is None), []).append(i)
    for without, members in groups.items():
        yield members, without


def _writable(table: Table, name: str, values: list[Any]) -> Any:
    """A column as it is written: a scan gives vectors as bytes."""
    return decoded_vectors(values) if table.columns[name].type == "vector" else values


def _remove(store: Store, table: Table, old_id: str) -> None:
    for batch in list(store.scan(TableSlice(table.name, table.key, old_id), batch_rows=ROWS_AT_ONCE)):
        store.delete(table.name, batch)
