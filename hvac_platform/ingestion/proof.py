"""The ledger's proof: what it counts as in is in the tables, each message of the last ranges looked for by itself.

A run counts what it did; this asks the log and the tables, and believes neither run nor ledger:

    offsets passed = accepted + duplicates + dead letters + not records

where a duplicate is a reading that another message of the range brought too, and offsets without a record are those of
transactions and of what compaction removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.ingestion.messages import decode_batch
from hvac_platform.ingestion.windows import window_ranges
from hvac_platform.log.base import LogError, MessageLog, OffsetOutOfRangeError
from hvac_platform.stores.base import Store, TableSlice
from hvac_platform.stores.records import DeadLetter, Reading
from hvac_platform.timestamps import day_of, iso, window_floor

MOST_OFFSETS, MOST_AT_A_LOOK = 5_000, 20_000
"""Of a partition at one look: by a command, and by the sensor, which looks each half minute at what is new."""
TOGETHER_MS = 60_000
"""Readings are looked for by spans of so long, those next to one another together."""

Key = tuple[str, int, str]
"""Device, time of the reading in epoch milliseconds, metric."""


@dataclass(frozen=True, slots=True)
class RangeProof:
    """What became of the offsets of one range.

    Attributes:
        partition: of the topic.
        start: first offset.
        end: first offset not included.
        accepted: readings that are in the store.
        duplicates: messages that brought a reading which another one of the range brought too.
        dead_letters: messages that are kept as rejected.
        not_records: offsets that hold no record.
        missing: messages that are in no table.
        first_missing: the first of them, for people; empty where there is none.
    """

    partition: int
    start: int
    end: int
    accepted: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    not_records: int = 0
    missing: int = 0
    first_missing: str = ""

    @property
    def ok(self) -> bool:
        """Whether every offset is accounted for."""
        counted = self.accepted + self.duplicates + self.dead_letters + self.not_records
        return self.missing == 0 and counted == self.end - self.start

    @property
    def said(self) -> str:
        """One line for people."""
        if self.start == self.end:
            return "the log has nothing of what was taken in"
        span = f"offsets {self.start} to {self.end - 1}"
        if not self.ok:
            return f"{self.missing} messages of {span} count as in and are in no table; the first: {self.first_missing}"
        parts = {"duplicates": self.duplicates, "dead letters": self.dead_letters, "not records": self.not_records}
        others = "".join(f" + {n} {name}" for name, n in parts.items() if n)
        return f"{span}: {self.accepted} readings{others}, each in its table"

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "ok": self.ok}


def prove(log: MessageLog, store: Store, topic: str, partition: int, start: int, end: int, now_ms: int) -> RangeProof:
    """Look for each message of a range in the tables, as far as the log has it to the end.

    Args:
        log: the message log.
        store: the tables.
        topic: of the log.
        partition: of the topic.
        start: first offset; the proof begins later where retention has passed it.
        end: first offset not included.
        now_ms: the present, by which messages of the future are told.

    Raises:
        LogError: the range can't be read.
    """
    try:
        return _prove(log, store, topic, partition, start, end, now_ms)
    except OffsetOutOfRangeError as error:  # meanwhile
        return prove(log, store, topic, partition, min(error.begin, end), end, now_ms)


def _prove(log: MessageLog, store: Store, topic: str, partition: int, start: int, end: int, now_ms: int) -> RangeProof:
    if start == end:
        return RangeProof(partition, end, end)
    wanted: dict[Key, int] = {}
    letters: dict[
        int, int
    ] = {}  # offsets of the dead letters that there should be, with how many messages each stands for
    written: dict[int, int] = {}  # timestamps of records by offset: a letter lies on its record's day
    good = records = 0
    for batch in log.read(topic, partition, start, end):
        decoded, rejected = decode_batch(batch, now_ms=now_ms)
        records += len(batch)
        good += decoded.messages
        written |= zip(batch.offsets.tolist(), batch.timestamps_ms.tolist(), strict=True)
        keys = zip(decoded.device_id, decoded.timestamps_ms.tolist(), decoded.metric_name, strict=True)
        for key, offset in zip(keys, decoded.offsets.tolist(), strict=True):
            wanted.setdefault(key, offset)
        letters |= {bad.offset: 1 for bad in rejected}
        for lost in batch.unreadable:  # they share one letter
            letters[lost.first_offset] = lost.last_offset - lost.first_offset + 1
            written[lost.first_offset] = lost.timestamp_ms
            records += letters[lost.first_offset]
    there = _readings_there(store, wanted)
    bringing = set(wanted.values())  # a message of another producer may bring several readings
    absent = {offset: key for key, offset in wanted.items() if key not in there}
    days = {day_of(max(0, written[offset])) for offset in (*letters, *absent)}
    known = _letters_there(store, topic, partition, days, start, end)
    # What was ahead of the clock when it was rejected may be good by now: then its letter is there, and no reading.
    unfound = {
        offset: f"{d} {metric} of {iso(at)}" for offset, (d, at, metric) in absent.items() if offset not in known
    }
    unfound |= {offset: "a message that can't be a reading" for offset in letters if offset not in known}
    missing = sum(letters.get(offset, 1) for offset in unfound)
    first = min(unfound, default=None)
    return RangeProof(
        partition,
        start,
        end,
        accepted=len(bringing) - len(absent),
        duplicates=good - len(bringing),
        dead_letters=sum(letters.values()) + len(absent) - missing,
        not_records=end - start - records,
        missing=missing,
        first_missing="" if first is None else f"{unfound[first]} at offset {first}",
    )


def newest_proofs(
    log: MessageLog,
    store: Store,
    topic: str,
    now_ms: int,
    *,
    since: Mapping[int, int] | None = None,
    most: int = MOST_OFFSETS,
) -> list[RangeProof]:
    """Proofs of the newest offsets that the ledger has passed, of every partition that the log has.

    Args:
        log: the message log.
        store: ledger and tables.
        topic: of the log.
        now_ms: the present.
        since: by partition, offsets before this were proven before.
        most: of each partition; what lies before is left out.
    """
    log_id, begins, ends = log.identity(topic), log.begin_offsets(topic), log.end_offsets(topic)
    proofs = []
    for partition, entry in sorted(store.ledger(topic).items()):
        if partition not in ends or not entry.run_id or (entry.log_id and entry.log_id != log_id):
            continue
        end = min(entry.next_offset, ends[partition])
        before = (since or {}).get(partition, 0)
        start = max(begins[partition], end - most, before if before <= end else 0)  # the log may have been made again
        if start >= end:
            proofs.append(RangeProof(partition, end, end))
            continue
        try:
            proofs.append(prove(log, store, topic, partition, start, end, now_ms))
        except LogError as error:
            proofs.append(
                RangeProof(partition, start, end, missing=end - start, first_missing=f"not readable: {error}")
            )
    return proofs


class LedgerWatch:
    """Proves what the ledger has passed since the last look, and looks again at what could not be proven.

    Args:
        proven: what an earlier watch has proven, see :attr:`proven`.
        unproven: what it could not prove, see :attr:`unproven`.
    """

    def __init__(
        self, proven: Mapping[str, int] | None = None, unproven: Mapping[str, Sequence[int]] | None = None
    ) -> None:
        self.proven: dict[str, int] = dict(proven or {})
        """By partition, as text: offsets before this have been looked at."""
        self.unproven: dict[str, list[int]] = {p: list(span) for p, span in (unproven or {}).items()}
        """By partition, as text: the earliest range [start, end) of which something is missing."""

    def look(self, log: MessageLog, store: Store, topic: str, now_ms: int) -> list[RangeProof]:
        """Proofs of new offsets, at most 20,000 of a partition, and of the ranges that are still unproven."""
        since = {int(p): offset for p, offset in self.proven.items()}
        proofs = newest_proofs(log, store, topic, now_ms, since=since, most=MOST_AT_A_LOOK)
        begins = log.begin_offsets(topic)
        for text, (start, end) in list(self.unproven.items()):
            if begins.get(int(text), end) >= end:  # nobody can tell any more
                del self.unproven[text]
                continue
            again = prove(log, store, topic, int(text), max(start, begins[int(text)]), end, now_ms)
            if again.ok:
                del self.unproven[text]
            proofs.append(again)
        for proof in proofs:
            text = str(proof.partition)
            if proof.end > proof.start and [proof.start, proof.end] != self.unproven.get(text):
                self.proven[text] = proof.end
            if not proof.ok:
                self.unproven.setdefault(text, [proof.start, proof.end])
        return proofs


def _readings_there(store: Store, keys: Mapping[Key, int]) -> set[Key]:
    """Those of some readings that the store has, whatever their value: a later message may have corrected it."""
    times: dict[str, list[int]] = {}
    for device_id, at_ms, _ in keys:
        times.setdefault(device_id, []).append(at_ms)
    there: set[Key] = set()
    for device_id, listed in times.items():
        starts: NDArray[np.int64] = np.unique(window_floor(np.array(listed, dtype=np.int64), TOGETHER_MS))
        for span in window_ranges(starts, TOGETHER_MS):
            for batch in store.scan(TableSlice(Reading.TABLE, ("timestamp", "metric_name"), device_id, *span)):
                there.update(zip(repeat(device_id), batch["timestamp"], batch["metric_name"], strict=False))
    return there


def _letters_there(store: Store, topic: str, partition: int, days: set[str], start: int, end: int) -> set[int]:
    """Offsets of the dead letters of a range, on some UTC days."""
    found: set[int] = set()
    for day in sorted(days):
        where = {"topic": topic, "date": day}
        for batch in DeadLetter.batches(store, only=("kafka_partition", "record_offset"), equals=where):
            found.update(
                letter.record_offset
                for letter in batch
                if letter.kafka_partition == partition and start <= letter.record_offset < end
            )
    return found
