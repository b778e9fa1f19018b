"""How far ingestion is, and which windows it touched."""

from __future__ import annotations

from dataclasses import dataclass

from hvac_platform.stores.records.record import Record

LONGEST_LEASE_MS = 60_000


@dataclass(frozen=True, slots=True)
class LedgerEntry(Record):
    """How far one partition of a topic is durably in, and who owns it."""

    TABLE = "ingestion_ledger"

    topic: str
    kafka_partition: int
    next_offset: int
    run_id: str
    updated_at: int
    watermark: int | None
    skipped_offsets: int
    log_id: str | None = None
    log_since: int | None = None
    holder: str | None = None
    held_until: int | None = None
    fence: int = 0
    failures: int = 0
    failed_at: int | None = None
    error: str | None = None
    range_limit: int | None = None
    open_since: int | None = None
    caught_up_at: int | None = None

    def held_by(self, now_ms: int) -> str | None:
        """Who owns the partition at an instant; None when nobody does, or the lease has lapsed.

        A lease that ends far in the future was written by a clock that has since been set back: it counts as lapsed.
        """
        if self.holder is None or self.held_until is None:
            return None
        return self.holder if now_ms < self.held_until <= now_ms + LONGEST_LEASE_MS else None


@dataclass(frozen=True, slots=True)
class TouchedDevice(Record):
    """Windows of one device that one batch of a run touched.

    Attributes:
        run_id: first run of a chain of retries.
        sequence: first offset of the batch.
        window_starts: int64 little-endian, epoch milliseconds.
        latest: latest event time of the device in the batch.
    """

    TABLE = "touched_windows"

    run_id: str
    sequence: int
    device_id: str
    topic: str
    kafka_partition: int
    window_starts: bytes
    latest: int
    written_at: int
