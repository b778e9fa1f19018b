"""From records of the log to rows of the store: readings, dead letters, the live buffer, the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np

from hvac_platform.coding import Coded, coded_as
from hvac_platform.ingestion.messages import DecodedBatch, Rejected, decode_batch
from hvac_platform.ingestion.prefetch import ahead
from hvac_platform.ingestion.ranges import OffsetRange
from hvac_platform.ingestion.registration import TypeClaims, type_claims
from hvac_platform.ingestion.windows import touched_windows, windows_of_readings
from hvac_platform.log.base import KEPT_BYTES, LogError, MessageLog, OffsetOutOfRangeError, RecordBatch, Unreadable
from hvac_platform.stores.base import Device
from hvac_platform.stores.batches import TableBatch, TouchedWindows
from hvac_platform.stores.window_lengths import WindowOf
from hvac_platform.timestamps import DAY_MS, day_start, window_floor

BATCH_MESSAGES = 60_000
"""Decoded and written together; the next ones are read meanwhile."""
BUFFER_MS = 3_600_000
MOST_TOLD = 100
"""Metrics of devices that came in other units than their own, and are told by name."""
REASON_LENGTH = 120
"""Reasons are counted by their beginning."""

Settle = Callable[[list[TypeClaims]], list[Device]]
"""From what the messages of a batch say of devices to what is registered of them."""
Refuse = Callable[[Sequence[str]], tuple[set[str], str]]
"""From the device ids of a batch to those whose messages are set aside, and why."""
Look = Callable[[DecodedBatch, Sequence[Rejected]], object]
"""Told of the readings of a batch that is to be taken in, and of its messages that are not."""
Gone = Callable[[int, int, int], object]
"""Told of a partition and offsets [first, last) of it that the log no longer had when they were to be read."""


@dataclass
class IngestionCounts:
    """What came of some records."""

    messages: int = 0
    accepted: int = 0
    rejected: int = 0
    unreadable: int = 0
    skipped: int = 0
    devices: set[str] = field(default_factory=set)
    reasons: dict[str, int] = field(default_factory=dict)
    other_units: set[str] = field(default_factory=set)

    def add(self, decoded: DecodedBatch, rejected: Sequence[Rejected], unreadable: Sequence[Unreadable] = ()) -> None:
        """Count one batch."""
        lost = sum(one.last_offset - one.first_offset + 1 for one in unreadable)
        self.messages += decoded.messages + len(rejected) + lost
        self.accepted += decoded.messages
        self.rejected += len(rejected) + lost
        self.unreadable += lost
        self.devices.update(coded_as(decoded.device_id).names)
        for device, metric, unit in sorted(decoded.told_units) if len(self.other_units) < MOST_TOLD else ():
            self.other_units.add(f"{device}: {metric} in {unit}")
        reasons = [bad.reason for bad in rejected] + [one.reason for one in unreadable]
        for reason in (text[:REASON_LENGTH] for text in reasons):
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
    window_of: WindowOf,
    register: Callable[[list[Device]], None],
    counts: IngestionCounts,
    gone: Gone = lambda *_: None,
    reading: Callable[[int | None], object] = lambda _: None,
    check_clock: Callable[[int, Sequence[Rejected], int], object] = lambda *_: None,
    settle: Settle | None = None,
    refuse: Refuse | None = None,
    look: Look = lambda *_: None,
) -> Iterator[TableBatch]:
    """Rows of exactly these ranges, batch by batch; memory is two batches.

    Readings come with the windows that they touch. Every record ends up either in a row or in a dead letter; what somebody
    or retention deletes before it is read is counted and told.

    Args:
        log: the message log.
        topic: its topic.
        ranges: what to read.
        now_ms: the present; messages over an hour ahead of it are rejected.
        window_of: length of the windows of each device.
        register: called with the devices of each batch before its rows are written.
        counts: filled as batches pass.
        gone: told of offsets of a range that are no longer in the log.
        reading: told of each partition when its turn comes, and of None at the end.
        check_clock: called with partition, rejected and number of messages of each batch; raises where it may be the clock
            that is wrong, and nothing of the batch is written then.
        settle: gives the devices of a batch the types that they are registered with.
        refuse: says which devices of a batch are not taken in.
        look: sees what is in each batch before its devices are registered.
    """
    for wanted in ranges:
        reading(wanted.partition)
        counts.skipped += wanted.skipped
        # Says that the range is the unit, even if no good message comes of it.
        yield TableBatch({}, touched=TouchedWindows(topic, wanted.partition, wanted.start, {}, {}))
        if wanted.set_aside:
            yield _set_aside(log, topic, wanted, now_ms, counts)
            continue
        for batch, decoded, rejected in _read(log, topic, wanted, now_ms, counts, gone):
            check_clock(wanted.partition, rejected, len(batch))
            decoded, rejected = _without_refused(batch, decoded, rejected, refuse)
            counts.add(decoded, rejected, batch.unreadable)
            look(decoded, rejected)
            yield from _rows(batch, decoded, rejected, now_ms, window_of, register, settle, only=None)
    reading(None)


def _read(
    log: MessageLog, topic: str, wanted: OffsetRange, now_ms: int, counts: IngestionCounts, gone: Gone
) -> Iterator[tuple[RecordBatch, DecodedBatch, list[Rejected]]]:
    """Batches of a range, decoded; where the log's begin has passed a record before it was read, on from there."""
    start = wanted.start
    while start < wanted.end:
        try:
            read = log.read(topic, wanted.partition, start, wanted.end, BATCH_MESSAGES)
            yield from ahead((batch, *decode_batch(batch, now_ms=now_ms)) for batch in read)
            return
        except OffsetOutOfRangeError as error:
            start = min(error.begin, wanted.end)
            counts.skipped += start - error.requested
            gone(wanted.partition, error.requested, start)


def _without_refused(
    batch: RecordBatch, decoded: DecodedBatch, rejected: list[Rejected], refuse: Refuse | None
) -> tuple[DecodedBatch, list[Rejected]]:
    """The good messages of devices that are taken in, and the rejected with those of the others."""
    refused, reason = (set[str](), "") if refuse is None else refuse(coded_as(decoded.device_id).names)
    if not refused:
        return decoded, rejected
    taken = np.fromiter((device_id not in refused for device_id in decoded.device_id), bool, len(decoded))
    if decoded.messages < len(decoded):  # of a message with several readings all are set aside where one is
        taken &= ~np.isin(decoded.offsets, decoded.offsets[~taken])
    places = np.searchsorted(batch.offsets, np.unique(decoded.offsets[~taken])).tolist()
    letters = [
        Rejected(int(batch.offsets[i]), int(batch.timestamps_ms[i]), batch.keys[i], batch.values[i] or b"", reason)
        for i in places
    ]
    return decoded.rows(np.flatnonzero(taken)), sorted([*rejected, *letters], key=lambda bad: bad.offset)


def _set_aside(log: MessageLog, topic: str, wanted: OffsetRange, now_ms: int, counts: IngestionCounts) -> TableBatch:
    """The dead letter of a message that no run could take in."""
    reason = (
        "every run that took it in failed; the ledger held the partition back at it, and docs/recovery.md says more"
    )
    letters: list[Rejected] = []
    lost: list[Unreadable] = []
    try:
        for batch in log.read(topic, wanted.partition, wanted.start, wanted.end, 1):
            lost += batch.unreadable
            letters += [
                Rejected(offset, time_ms, key, value or b"", reason)
                for offset, time_ms, key, value in zip(
                    batch.offsets.tolist(), batch.timestamps_ms.tolist(), batch.keys, batch.values, strict=True
                )
            ]
    except LogError as error:
        lost = [Unreadable(wanted.start, wanted.end - 1, now_ms, b"", None, f"it can't be read: {error}")]
    counts.messages += wanted.end - wanted.start
    counts.rejected += wanted.end - wanted.start
    counts.unreadable += wanted.end - wanted.start
    counts.reasons[reason[:REASON_LENGTH]] = counts.reasons.get(reason[:REASON_LENGTH], 0) + 1
    return TableBatch(dead_letter_columns(topic, wanted.partition, letters, lost, now_ms), table="dead_letters")


def replay_days(
    log: MessageLog,
    topic: str,
    days: Sequence[str],
    *,
    now_ms: int,
    window_of: WindowOf,
    register: Callable[[list[Device]], None],
    counts: IngestionCounts,
    gone: Gone = lambda *_: None,
    settle: Settle | None = None,
    refuse: Refuse | None = None,
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
        wanted = OffsetRange(partition, start, log_ends[partition] if end is None else end)
        for batch, decoded, rejected in _read(log, topic, wanted, now_ms, counts, gone):
            decoded, rejected = _without_refused(batch, decoded, rejected, refuse)
            counts.add(decoded, rejected, batch.unreadable)
            yield from _rows(batch, decoded, rejected, now_ms, window_of, register, settle, only=(start_ms, end_ms))


def _rows(
    batch: RecordBatch,
    decoded: DecodedBatch,
    rejected: Sequence[Rejected],
    now_ms: int,
    window_of: WindowOf,
    register: Callable[[list[Device]], None],
    settle: Settle | None,
    only: tuple[int, int] | None,
) -> Iterator[TableBatch]:
    if rejected or batch.unreadable:
        letters = dead_letter_columns(batch.topic, batch.partition, rejected, batch.unreadable, now_ms)
        yield TableBatch(letters, table="dead_letters")
    if not len(decoded.offsets):
        return
    coded = coded_as(decoded.device_id)
    devices = registered_devices(decoded, coded, batch.partition)
    claims = type_claims(devices, coded, decoded.device_type)
    register(settle(claims) if settle is not None else [claim.device for claim in claims])
    columns = reading_columns(decoded)
    window_ms = windows_of_readings(coded, window_of)  # of devices that are registered by now
    touched = None
    if only is None:
        touched = TouchedWindows(
            topic=batch.topic,
            partition=batch.partition,
            sequence=int(batch.offsets[0]),
            starts_ms=touched_windows(coded, decoded.timestamps_ms, window_ms),
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


def dead_letter_columns(
    topic: str, partition: int, rejected: Sequence[Rejected], unreadable: Sequence[Unreadable], now_ms: int
) -> dict[str, Any]:
    """Columns of ``dead_letters``: at most :data:`KEPT_BYTES` of each value, with its length and hash.

    Records that can't be read share one letter, at the first of their offsets.
    """
    n = len(rejected) + len(unreadable)
    return {
        "topic": [topic] * n,
        "kafka_partition": [partition] * n,
        "record_offset": [*(bad.offset for bad in rejected), *(lost.first_offset for lost in unreadable)],
        "record_time": [
            max(0, at) for at in (*(bad.timestamp_ms for bad in rejected), *(u.timestamp_ms for u in unreadable))
        ],
        "record_key": [
            k and k[:KEPT_BYTES] for k in (*(bad.key for bad in rejected), *(lost.key for lost in unreadable))
        ],
        "record_value": [*(bad.value[:KEPT_BYTES] for bad in rejected), *(lost.stored for lost in unreadable)],
        "record_length": [*(len(bad.value) for bad in rejected), *(lost.length for lost in unreadable)],
        "record_sha256": [
            *(sha256(bad.value).hexdigest() for bad in rejected),
            *(lost.sha256 for lost in unreadable),
        ],
        "reason": [*(bad.reason for bad in rejected), *(lost.reason for lost in unreadable)],
        "rejected_at": [now_ms] * n,
    }


def buffer_columns(
    decoded: DecodedBatch, now_ms: int, window_ms: np.ndarray[Any, np.dtype[np.int64]]
) -> dict[str, Any] | None:
    """Columns of ``metric_aggregation_buffer`` for readings of the last hour; None when there are none.

    Args:
        decoded: n readings.
        now_ms: the present.
        window_ms: int64 [n], length of the windows of the device of each.
    """
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


def registered_devices(decoded: DecodedBatch, coded: Coded[str], partition: int) -> list[Device]:
    """Devices of a batch, with what their last message says of them.

    Args:
        decoded: at least one reading.
        coded: its device ids.
        partition: where it is from.
    """
    order = np.argsort(coded.codes, kind="stable")
    begins = np.searchsorted(coded.codes[order], np.arange(len(coded.names)))
    times = decoded.timestamps_ms[order]
    first, last = np.minimum.reduceat(times, begins), np.maximum.reduceat(times, begins)
    rows = order[np.append(begins[1:], len(order)) - 1]  # the last of each
    return [
        Device(
            device_id,
            decoded.device_type[row],
            decoded.location[row],
            decoded.building_id[row],
            since,
            until,
            partition,
        )
        for device_id, row, since, until in zip(coded.names, rows.tolist(), first.tolist(), last.tolist(), strict=True)
    ]


def _masked(columns: dict[str, Any], mask: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any]:
    rows = np.flatnonzero(mask)
    return {
        name: values[mask] if isinstance(values, np.ndarray) else coded_as(values).rows(rows)
        for name, values in columns.items()
    }


def days_label(days: Sequence[str]) -> str:
    """Days for a log line: one, or the first and the last."""
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else "no day"
