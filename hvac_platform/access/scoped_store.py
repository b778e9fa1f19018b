"""A store as somebody sees it who may see some buildings: devices elsewhere are not there.

It is the one place that keeps them out: pages, callbacks, the API and searches read through it, and know of no buildings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.access.users import UserError
from hvac_platform.snapshots import Neighbours
from hvac_platform.stores.base import Columns, Device, DeviceDay, Store, TableSlice
from hvac_platform.stores.records.ledger import LedgerEntry
from hvac_platform.stores.tables import table

DEVICE = "device_id"


class ScopedStore:
    """Reads and writes of the devices of some buildings, of one request: which those are is asked once.

    Tables that are of no device (the ledger, dead letters, the outbox, users) are empty here.

    Args:
        store: the whole one.
        buildings: ids of what is seen.
    """

    def __init__(self, store: Store, buildings: frozenset[str]) -> None:
        self._store, self._buildings = store, buildings
        self._devices: list[Device] | None = None

    # -- what passes -------------------------------------------------------------------------------------------------

    @property
    def location(self) -> str:
        """Where the store is, for people."""
        return self._store.location

    @property
    def parallel(self) -> bool:
        """Whether several threads may use it at once."""
        return self._store.parallel

    @property
    def states_at_once(self) -> int:
        """So many snapshots are read at once."""
        return self._store.states_at_once

    def schema_versions(self) -> tuple[int, int]:
        """(version found, version that this code needs)."""
        return self._store.schema_versions()

    def remembered(self) -> dict[str, str]:
        """Settings that the store was made with."""
        return self._store.remembered()

    # -- what is of devices ------------------------------------------------------------------------------------------

    def devices(self) -> list[Device]:
        """Registered devices of the buildings."""
        if self._devices is None:
            self._devices = [d for d in self._store.devices() if d.building_id in self._buildings]
        return self._devices

    def scan(self, rows: TableSlice, *, batch_rows: int = 50_000) -> Iterator[dict[str, Any]]:
        """Rows of devices that are seen."""
        columns = table(rows.table).columns
        if DEVICE not in columns or rows.table in OF_THE_SITE:
            return
        for batch in self._own(rows, batch_rows):
            for name in SAYS_OTHERS.keys() & batch.keys():
                batch[name] = [SAYS_OTHERS[name](value, self._seen()) for value in batch[name]]
            yield batch

    def scan_spans(
        self, table: str, columns: Sequence[str], spans: Mapping[str, tuple[int, int]]
    ) -> dict[str, list[Any]]:
        """Rows of devices that are seen, each in a span of its own."""
        seen = self._seen()
        found = self._store.scan_spans(table, columns, {one: span for one, span in spans.items() if one in seen})
        return found | {
            name: [SAYS_OTHERS[name](value, seen) for value in found[name]]
            for name in SAYS_OTHERS.keys() & found.keys()
        }

    def _own(self, rows: TableSlice, batch_rows: int) -> Iterator[dict[str, Any]]:
        """Rows of devices that are seen, as they are."""
        if rows.device_id is not None:
            if rows.device_id in self._seen():
                yield from self._store.scan(rows, batch_rows=batch_rows)
        elif table(rows.table).partition[0] == DEVICE and rows.table != "devices":
            for device in self.devices():
                yield from self._store.scan(replace(rows, device_id=device.device_id), batch_rows=batch_rows)
        else:
            yield from self._filtered(rows, batch_rows)

    def _filtered(self, rows: TableSlice, batch_rows: int) -> Iterator[dict[str, Any]]:
        """Rows of a table that is not kept by device, those of others left out."""
        seen, wanted = self._seen(), rows.columns
        asked = rows if not wanted or DEVICE in wanted else replace(rows, columns=(*wanted, DEVICE))
        for batch in self._store.scan(asked, batch_rows=batch_rows):
            mine = [i for i, device_id in enumerate(batch[DEVICE]) if device_id in seen]
            if mine:
                yield {name: [batch[name][i] for i in mine] for name in (wanted or batch)}

    def count(self, table: str, device_id: str | None = None) -> int:
        """Number of rows of devices that are seen."""
        if device_id is not None:
            return self._store.count(table, device_id) if device_id in self._seen() else 0
        return sum(self._store.count(table, one.device_id) for one in self.devices())

    def device_days(self, start: str, end: str, device_id: str | None = None) -> list[DeviceDay]:
        """Device-days of devices that are seen."""
        if device_id is not None and device_id not in self._seen():
            return []
        return [day for day in self._store.device_days(start, end, device_id) if day.device_id in self._seen()]

    def unjudged(
        self, device_id: str | None = None, start_ms: int | None = None, end_ms: int | None = None
    ) -> Iterator[dict[str, list[Any]]]:
        """Unjudged windows of devices that are seen."""
        for one in self.devices() if device_id is None else ():
            yield from self._store.unjudged(one.device_id, start_ms, end_ms)
        if device_id is not None and device_id in self._seen():
            yield from self._store.unjudged(device_id, start_ms, end_ms)

    def nearest(self, device_id: str, queries: NDArray[np.float32], k: int, **how: Any) -> Neighbours:
        """The most similar states of a device that is seen.

        Raises:
            UserError: it is not.
        """
        self._require([device_id])
        return self._store.nearest(device_id, queries, k, **how)

    # -- writes ------------------------------------------------------------------------------------------------------

    def upsert(self, table: str, columns: Columns) -> int:
        """Write rows of devices that are seen.

        Raises:
            UserError: one is of another.
        """
        self._require_own(columns)
        return self._store.upsert(table, columns)

    def update(self, table: str, columns: Columns) -> int:
        """Write some columns of rows of devices that are seen.

        Raises:
            UserError: one is of another.
        """
        self._require_own(columns)
        return self._store.update(table, columns)

    def delete(self, table: str, keys: Columns) -> None:
        """Delete rows of devices that are seen.

        Raises:
            UserError: one is of another.
        """
        self._require_own(keys)
        self._store.delete(table, keys)

    # -- what is of the whole site -----------------------------------------------------------------------------------

    def ledger(self, topic: str) -> dict[int, LedgerEntry]:
        """Nothing: partitions are of the whole site."""
        return {}

    def settled_ledger(self, topic: str) -> dict[int, LedgerEntry]:
        """Nothing."""
        return {}

    def __getattr__(self, name: str) -> Any:
        """Everything else that a store can do is for people of the whole site."""
        if hasattr(Store, name):
            raise UserError(f"{name} is of the whole site")
        raise AttributeError(name)

    def _seen(self) -> frozenset[str]:
        return frozenset(device.device_id for device in self.devices())

    def _require_own(self, columns: Mapping[str, Any]) -> None:
        if DEVICE not in columns:
            raise UserError("what is of no device is of the whole site")
        self._require(columns[DEVICE])

    def _require(self, device_ids: Sequence[str]) -> None:
        if not set(device_ids) <= self._seen():
            raise UserError("a device of another building")


def _without_others(similar: Any, seen: frozenset[str]) -> Any:
    """Past incidents that one resembles, those of devices that are seen."""
    return similar and [one for one in similar if one.get(DEVICE) in seen]


def _unless_of_others(incident_id: str | None, seen: frozenset[str]) -> str | None:
    """The id of an incident, which begins with its device, where that is seen."""
    return incident_id if incident_id and incident_id.rpartition("/")[0] in seen else None


def _details(details: Any, seen: frozenset[str]) -> Any:
    """What belongs to a transition, without ids of others' incidents."""
    if not isinstance(details, Mapping):
        return details
    return {
        name: _unless_of_others(value, seen) if name in ("parent", "into") else value for name, value in details.items()
    }


def _key(key: str, seen: frozenset[str]) -> str:
    """Key of a transition; that of one which has to do with another incident ends with the id of that."""
    name, _, of = key.partition("/")
    return name if name in OF_TWO and _unless_of_others(of, seen) is None else key


def _without_where(cause: str, _seen: frozenset[str]) -> str:
    """The cause of an event of many devices, without how many there are and where."""
    return cause.partition(" (")[0] if cause else cause


OF_TWO = ("joined", "merged")
SAYS_OTHERS: Mapping[str, Callable[[Any, frozenset[str]], Any]] = {
    "similar": _without_others,
    "parent_id": _unless_of_others,
    "continues": _unless_of_others,
    "details": _details,
    "transition_key": _key,
    "cause": _without_where,
}
"""Columns of a device's own rows that may name devices elsewhere."""
OF_THE_SITE = frozenset({"alert_outbox"})
"""Tables whose rows name devices and are of the whole site all the same: one message may be of many."""
