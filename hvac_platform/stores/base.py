"""What every store can do. The assets, the IO manager and the commands know this protocol only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hvac_platform.snapshots import Neighbours
from hvac_platform.stores.metric_maps import MetricMaps
from hvac_platform.stores.records.ledger import LedgerEntry as LedgerEntry
from hvac_platform.stores.records.registry import Device as Device
from hvac_platform.stores.records.registry import DeviceDay as DeviceDay
from hvac_platform.stores.tables import TableSlice as TableSlice

Columns = Mapping[str, Any]
"""Rows as columns: one sequence or array a column, all of one length. Vectors are a float32 array [n, 384]."""


def gathered(columns: Sequence[str], batches: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Batches of rows as one; columns of maps may be :class:`MetricMaps`."""
    read = list(batches)
    return {name: _below([batch[name] for batch in read]) for name in columns}


def _below(parts: Sequence[Any]) -> Any:
    if parts and all(isinstance(part, MetricMaps) for part in parts):
        return MetricMaps([grid for part in parts for grid in part.grids])
    return list(chain.from_iterable(parts))


class StoreError(Exception):
    """The store can't do what was asked; the message says what to do.

    Attributes:
        refused: whether the store answers, and refuses what it was given; False where it is the store that fails.
    """

    refused = False


class RefusedError(StoreError):
    """The store answers, and refuses what it was given."""

    refused = True


class EmbeddingError(StoreError, ValueError):
    """A vector that must never be stored: zero, not finite, or of a wrong length."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Ownership of one partition of a topic, with its fencing number."""

    topic: str
    partition: int
    holder: str
    fence: int


UNJUDGED_COLUMNS = ("device_id", "snapshot_time", "window_ms", "revision")


class Store(Protocol):
    """Tables of the catalogue, the registry, the ledger and the nearest-neighbour search."""

    @property
    def location(self) -> str:
        """Where the store is, for people: a path or hosts and keyspace."""
        ...

    @property
    def parallel(self) -> bool:
        """Whether several threads may use it at once."""
        ...

    @property
    def states_at_once(self) -> int:
        """So many snapshots are read at once where all of them are wanted: their memory is a few megabytes."""
        ...

    def apply_schema(self, *, dry_run: bool = False) -> list[str]:
        """Bring the schema to the current version; returns what was (or would be) done."""
        ...

    def schema_versions(self) -> tuple[int, int]:
        """(version found, version that this code needs)."""
        ...

    def upsert(self, table: str, columns: Columns) -> int:
        """Write whole rows by key; returns how many.

        Raises:
            EmbeddingError: a vector is zero, not finite or of a wrong length. Nothing is written.
        """
        ...

    def update(self, table: str, columns: Columns) -> int:
        """Write some columns of rows that exist; returns how many rows were given."""
        ...

    def delete(self, table: str, keys: Columns) -> None:
        """Delete rows by their whole key."""
        ...

    def scan(self, rows: TableSlice, *, batch_rows: int = 50_000) -> Iterator[dict[str, list[Any]]]:
        """Read rows in key order, at most ``batch_rows`` at a time."""
        ...

    def scan_spans(
        self, table: str, columns: Sequence[str], spans: Mapping[str, tuple[int, int]]
    ) -> dict[str, list[Any]]:
        """Rows of several devices, each in a span of its own, by device and time: what many scans would find, at once.

        Args:
            table: one that is kept by device and has a time column.
            columns: to read; ``device_id`` must be among them.
            spans: first instant included and first excluded, epoch milliseconds, by device.

        Returns:
            The columns, empty ones where there is no row.
        """
        ...

    def count(self, table: str, device_id: str | None = None) -> int:
        """Number of rows of a table, or of one device in it."""
        ...

    def register_devices(self, devices: Sequence[Device]) -> list[str]:
        """Add or refresh devices (first seen is the earliest, last seen the latest); returns the ids that are new.

        The length of the windows of a device that is there already stays as it is.
        """
        ...

    def devices(self) -> list[Device]:
        """All registered devices by id."""
        ...

    def device_days(self, start: str, end: str, device_id: str | None = None) -> list[DeviceDay]:
        """Device-days with data from one date to another, both included, by device and date."""
        ...

    def unjudged(
        self, device_id: str | None = None, start_ms: int | None = None, end_ms: int | None = None
    ) -> Iterator[dict[str, list[Any]]]:
        """Windows whose content is not what was judged, of all devices or of one, by device and time.

        Batches of the columns of :data:`UNJUDGED_COLUMNS`; no row of any other window is read, as far as the store can.

        Args:
            device_id: the device; all when absent.
            start_ms: earliest window start.
            end_ms: first window start no longer included.
        """
        ...

    def ledger(self, topic: str) -> dict[int, LedgerEntry]:
        """Ledger entries of a topic by partition."""
        ...

    def settled_ledger(self, topic: str) -> dict[int, LedgerEntry]:
        """The same, with any change that is under way brought to its end first."""
        ...

    def take_lease(self, topic: str, partition: int, holder: str, *, at: int) -> Lease | None:
        """Own a partition of a topic for a few seconds, renewable; None while somebody else does.

        ``at`` is where the ledger begins if the partition has no entry yet.
        """
        ...

    def renew_lease(self, lease: Lease) -> bool:
        """Own it for another while; False when somebody else has taken it over."""
        ...

    def release_lease(self, lease: Lease) -> bool:
        """Let go of it; False when somebody else has it by now."""
        ...

    def note_failure(self, lease: Lease, error: str, *, range_limit: int | None = None) -> bool:
        """Record that the holder failed at the next offset, and let go; see ``ingestion_ledger.range_limit``."""
        ...

    def adopt_log(self, lease: Lease, log_id: str, next_offset: int | None = None) -> bool:
        """Record which log the offsets count in; with ``next_offset``, begin there, for the log was made again."""
        ...

    def advance_ledger(
        self,
        topic: str,
        partition: int,
        start: int,
        end: int,
        *,
        run_id: str,
        watermark: int | None,
        skipped: int = 0,
        fence: int | None = None,
        open_since: int | None = None,
        caught_up_at: int | None = None,
    ) -> bool:
        """Move the ledger from ``start`` to ``end``; where both are the same, only what is beside it changes.

        ``open_since`` is the start of the earliest window whose readings are in and whose snapshot is yet to be written;
        everything that the log had at ``caught_up_at`` is in (None leaves that as it is).

        Returns False, and changes nothing, when the ledger stands elsewhere than at ``start`` (no entry counts as
        ``start``), or when the lease with this fencing number is not the newest; without one, when anybody has a lease.
        So neither a replay of an old range nor a holder that lost its lease ever moves it.
        """
        ...

    def remembered(self) -> dict[str, str]:
        """Settings that the store was made with, by name."""
        ...

    def remember(self, name: str, value: str) -> None:
        """Record a setting that the store was made with, in place of what was recorded before."""
        ...

    def nearest(
        self,
        device_id: str,
        queries: NDArray[np.float32],
        k: int,
        *,
        embedding_method: str,
        start_ms: int | None = None,
        end_ms: int | None = None,
        normal_only: bool = False,
        query_times_ms: NDArray[np.int64] | None = None,
        exclude_ms: int = 0,
    ) -> Neighbours:
        """The k most similar stored states of one device, by cosine, within one embedding method.

        Args:
            device_id: whose states.
            queries: float32 [n, 384].
            k: how many for each query.
            embedding_method: encoder that wrote the stored vectors.
            start_ms: earliest state considered.
            end_ms: first time no longer considered.
            normal_only: leave flagged states out.
            query_times_ms: int64 [n], used with ``exclude_ms``.
            exclude_ms: states closer in time than this to their query are left out (a state is not its own history).
        """
        ...

    def purge(self, now_ms: int) -> dict[str, int]:
        """Delete rows whose time to live is over; returns rows deleted by table."""
        ...

    def close(self) -> None:
        """Release the connection."""
        ...
