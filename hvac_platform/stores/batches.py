"""Rows on their way: batches to write, and lazy device-by-device slices to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hvac_platform.stores.base import Columns, Store, TableSlice
from hvac_platform.stores.records.record import Span

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class TouchedWindows:
    """Windows that a batch of readings of one partition touched: starts by device, and each device's latest reading."""

    topic: str
    partition: int
    sequence: int
    starts_ms: dict[str, NDArray[np.int64]]
    latest_ms: dict[str, int]


@dataclass(frozen=True, slots=True)
class TableBatch:
    """Rows to write.

    Attributes:
        columns: the rows.
        table: the table, where it isn't the asset's own.
        action: whole rows (upsert), some columns of rows that exist (update), or keys (delete).
        touched: windows that the rows touched, to be handed to the assets below.
    """

    columns: Columns
    table: str | None = None
    action: Literal["upsert", "update", "delete"] = "upsert"
    touched: TouchedWindows | None = None


def write_batch(store: Store, default_table: str, batch: TableBatch) -> int:
    """Write one batch to its table; returns its number of rows."""
    name = batch.table or default_table
    rows = len(next(iter(batch.columns.values()), ()))
    if rows:
        if batch.action == "delete":
            store.delete(name, batch.columns)
        elif batch.action == "update":
            store.update(name, batch.columns)
        else:
            store.upsert(name, batch.columns)
    return rows


@dataclass(frozen=True, slots=True)
class DeviceSlice:
    """Rows of one device in one half-open time range; nothing is read before it is asked for."""

    store: Store
    table: str
    device_id: str
    start_ms: int
    end_ms: int

    def batches(self, *columns: str) -> Iterator[dict[str, list[Any]]]:
        """The rows as columns, at most 50,000 at a time."""
        return self.store.scan(TableSlice(self.table, columns, self.device_id, self.start_ms, self.end_ms))

    @property
    def span(self) -> Span:
        """The range as records take it."""
        return self.start_ms, self.end_ms


@dataclass(frozen=True, slots=True)
class DeviceSlices:
    """A lazy, repeatable sequence of slices: memory doesn't grow with the fleet or with the number of days."""

    make: Callable[[], Iterator[DeviceSlice]]

    def __iter__(self) -> Iterator[DeviceSlice]:
        """Slices by device and time."""
        return self.make()

    def frame(self, *columns: str) -> pd.DataFrame:
        """Everything as one DataFrame, for assets and notebooks that ask for it."""
        import pandas as pd  # here, because commands that need no frame should start at once

        parts = [pd.DataFrame(batch) for part in self for batch in part.batches(*columns)]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(columns))
