"""From records of the log to rows of the store: readings, dead letters, the live buffer, the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hvac_platform.ahead import ahead
from hvac_platform.io_managers.slices import TableBatch, TouchedWindows
from hvac_platform.stores.base import Device
from hvac_platform.streams.base import MessageLog, RecordBatch
from hvac_platform.streams.messages import DecodedBatch, Rejected, decode_batch
from hvac_platform.streams.ranges import OffsetRange
from hvac_platform.streams.registration import TypeClaims, type_claims
from hvac_platform.streams.windows import touched_windows
from hvac_platform.timestamps import DAY_MS, day_start, window_floor

BATCH_MESSAGES = 20_000
"""Decoded and written together; the next ones are read meanwhile."""
BUFFER_MS = 3_600_000

Settle = Callable[[list[TypeClaims]], list[Device]]
"""From what the messages of a batch say of devices to what is registered of them."""


@dataclass
class IngestionCounts:
    """What came of some records."""

    messages: int = 0
    accepted: int = 0
    rejected: int = 0
    skipped: int = 0
    devices: set[str] = field(default_factory=set)
    reasons: dict[str, int] = field(default_factory=dict)

    def add(self, decoded: DecodedBatch, rejected: Sequence[Rejected]) -> None:
        """Count one batch."""
        self.messages += len(decoded.offsets) + len(rejected)
        self.accepted += len(decoded.offsets)
        self.rejected += len(rejected)
        self.devices.update(decoded.device_id)
        for bad in rejected:
            reason = bad.reason[:80]
            if reason in self.reasons or len(self.reasons) < 20:
                self.reasons[reason] = self.reasons.get(reason, 0) + 1

    @property
    def rejected_share(self) -> float:
        """Share of messages that were rejected."""
        return self.rejected / self.messages if self.messages else 0.0


def ingest_ranges(
    log: MessageLog,
    topic: str,
    ranges: Sequence[OffsetRange],
    *,
    now_ms: int,
    window_ms: int,
    register: Callable[[list[Device]], None],
    counts: IngestionCounts,
    settle: Settle | None = None,
) -> Iterator[TableBatch]:
    """Rows of exactly these ranges, batch by batch; memory is two batches.

    Readings come with the windows that they touch. Every record ends up either in a row or in a dead letter.

    Args:
        log: the message log.
        topic: its topic.
        ranges: what to read.
        now_ms: the present; messages over an hour ahead of it are rejected.
        window_ms: length of a window.
        register: called with the devices of each batch before its rows are written.
        counts: filled as batches pass.
        settle: gives the devices of a batch the types that they are registered with.
    """
    for wanted in ranges:
        counts.skipped += wanted.skipped
        # Says that the range is the unit, even if no good message comes of it.
        yield TableBatch({}, touched=TouchedWindows(topic, wanted.partition, wanted.start, {}, {}))
        read = log.read(topic, wanted.partition, wanted.start, wanted.end, BATCH_MESSAGES)
        for batch, (decoded, rejected) in ahead((batch, decode_batch(batch, now_ms=now_ms)) for batch in read):
            counts.add(decoded, rejected)
            yield from _rows(batch, decoded, rejected, now_ms, window_ms, register, settle, only=None)


def replay_days(
    log: MessageLog,
    topic: str,
    days: Sequence[str],
    *,
    now_ms: int,
    window_ms: int,
    register: Callable[[list[Device]], None],
    counts: IngestionCounts,
    settle: Settle | None = None,
) -> Iterator[TableBatch]:
    """Rows of some consecutive UTC days as far as the log still has them, without touched windows (the day is the unit).

    Readings that arrived late, after the log's next midnight, are in the store already if they were ever ingested, since a
    replay never deletes. Rows of other days that lie in between are left to their own day's replay.
    """
    start_ms, end_ms = day_start(days[0]), day_start(days[-1]) + DAY_MS
    starts, ends = log.offsets_for_time(topic, start_ms), log.offsets_for_time(topic, end_ms)
    log_ends = log.end_offsets(topic)
    for partition in log.partitions(topic):
        start, end = starts[partition], ends[partition]
        if start is None:
            continue
        read = log.read(topic, partition, start, log_ends[partition] if end is None else end, BATCH_MESSAGES)
        for batch, (decoded, rejected) in ahead((batch, decode_batch(batch, now_ms=now_ms)) for batch in read):
            counts.add(decoded, rejected)
            yield from _rows(batch, decoded, rejected, now_ms, window_ms, register, settle, only=(start_ms, end_ms))


def _rows(
    batch: RecordBatch,
    decoded: DecodedBatch,
    rejected: Sequence[Rejected],
    now_ms: int,
    window_ms: int,
    register: Callable[[list[Device]], None],
    settle: Settle | None,
    only: tuple[int, int] | None,
) -> Iterator[TableBatch]:
    if rejected:
        yield TableBatch(dead_letter_columns(batch, rejected, now_ms), table="dead_letters")
    if not len(decoded.offsets):
        return
    devices = registered_devices(decoded, batch.partition)
    claims = type_claims(devices, decoded.device_id, decoded.device_type)
    register(settle(claims) if settle is not None else [claim.device for claim in claims])
    columns = reading_columns(decoded)
    touched = None
    if only is None:
        touched = TouchedWindows(
            topic=batch.topic,
            partition=batch.partition,
            sequence=int(batch.offsets[0]),
            starts_ms=touched_windows(decoded.device_id, decoded.timestamps_ms, window_ms),
            latest_ms={d.device_id: d.last_seen for d in devices},
        )
    else:
        inside = (decoded.timestamps_ms >= only[0]) & (decoded.timestamps_ms < only[1])
        if not inside.all():
            columns = _masked(columns, inside)
    yield TableBatch(columns, touched=touched)
    live = buffer_columns(decoded, now_ms, window_ms)
    if live is not None:
        yield TableBatch(live, table="metric_aggregation_buffer")


def reading_columns(decoded: DecodedBatch) -> dict[str, Any]:
    """Columns of ``device_metrics_raw``."""
    return {
        "device_id": decoded.device_id,
        "timestamp": decoded.timestamps_ms,
        "metric_name": decoded.metric_name,
        "metric_value": decoded.metric_value,
        "unit": decoded.unit,
    }


def dead_letter_columns(batch: RecordBatch, rejected: Sequence[Rejected], now_ms: int) -> dict[str, Any]:
    """Columns of ``dead_letters``."""
    n = len(rejected)
    return {
        "topic": [batch.topic] * n,
        "kafka_partition": [batch.partition] * n,
        "record_offset": [bad.offset for bad in rejected],
        "record_time": [bad.timestamp_ms for bad in rejected],
        "record_key": [bad.key for bad in rejected],
        "record_value": [bad.value for bad in rejected],
        "reason": [bad.reason for bad in rejected],
        "rejected_at": [now_ms] * n,
    }


def buffer_columns(decoded: DecodedBatch, now_ms: int, window_ms: int) -> dict[str, Any] | None:
    """Columns of ``metric_aggregation_buffer`` for readings of the last hour; None when there are none."""
    recent = np.flatnonzero(decoded.timestamps_ms > now_ms - BUFFER_MS)
    if not len(recent):
        return None
    recent = recent[np.argsort(decoded.timestamps_ms[recent], kind="stable")]
    floors = window_floor(decoded.timestamps_ms, window_ms).tolist()
    latest = {(decoded.device_id[i], floors[i], decoded.metric_name[i]): i for i in recent.tolist()}
    rows = list(latest.values())
    return {
        "device_id": [decoded.device_id[i] for i in rows],
        "window_start": [floors[i] for i in rows],
        "metric_name": [decoded.metric_name[i] for i in rows],
        "metric_value": decoded.metric_value[rows],
        "last_updated": decoded.timestamps_ms[rows],
    }


def registered_devices(decoded: DecodedBatch, partition: int) -> list[Device]:
    """Devices of a batch, with what their last message says of them."""
    last_row = {device_id: i for i, device_id in enumerate(decoded.device_id)}
    code_of = {device_id: code for code, device_id in enumerate(last_row)}
    codes = np.fromiter(map(code_of.__getitem__, decoded.device_id), dtype=np.int64, count=len(decoded.device_id))
    first = np.full(len(code_of), np.iinfo(np.int64).max)
    last = np.full(len(code_of), np.iinfo(np.int64).min)
    np.minimum.at(first, codes, decoded.timestamps_ms)
    np.maximum.at(last, codes, decoded.timestamps_ms)
    return [
        Device(
            device_id,
            decoded.device_type[row],
            decoded.location[row],
            decoded.building_id[row],
            int(first[code_of[device_id]]),
            int(last[code_of[device_id]]),
            partition,
        )
        for device_id, row in last_row.items()
    ]


def _masked(columns: dict[str, Any], mask: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any]:
    rows = np.flatnonzero(mask).tolist()
    return {
        name: values[mask] if isinstance(values, np.ndarray) else [values[i] for i in rows]
        for name, values in columns.items()
    }


def days_label(days: Sequence[str]) -> str:
    """Days for a log line: one, or the first and the last."""
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else "no day"
