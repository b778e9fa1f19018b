"""Rejected messages."""

from __future__ import annotations

from dataclasses import dataclass

from hvac_platform.stores.records.record import Record


@dataclass(frozen=True, slots=True)
class DeadLetter(Record):
    """A rejected message, with at most 64 KiB of its value."""

    TABLE = "dead_letters"

    topic: str
    date: str
    kafka_partition: int
    record_offset: int
    record_time: int
    record_key: bytes | None
    record_value: bytes | None
    record_length: int | None
    record_sha256: str | None
    reason: str
    rejected_at: int
