"""Whether data flow: for each partition how far the log and the ledger are, who owns it, and what is wrong.

One look can't tell messages that have just arrived from messages that nobody takes in, so :class:`FlowWatch` compares looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from hvac_platform.ingestion.messages import format_timestamp
from hvac_platform.log.base import MessageLog
from hvac_platform.log.identity import told_offsets, was_made_again
from hvac_platform.stores.base import LedgerEntry, Store

STANDS_STILL_MS = 90_000
"""Messages that wait for so long while nobody owns their partition are not being ingested: a run takes half a minute."""
OWNED_STANDS_STILL_MS = 900_000
"""The same while a run owns the partition; a long range takes minutes."""
TRANSACTION_STANDS_STILL_MS = 900_000
"""A transaction that is open for longer than Kafka's default ``transaction.max.timeout.ms`` hangs."""

State = Literal["all in", "ingested", "waiting", "standing still", "failing", "made again", "losing", "gone"]
TROUBLES: frozenset[State] = frozenset({"standing still", "failing", "made again", "losing"})


@dataclass(frozen=True, slots=True)
class PartitionFlow:
    """One partition of the topic at one moment.

    Attributes:
        partition: its number.
        begin: first offset that the log has; None where the log has no such partition (any more).
        end: offset of the next message.
        ledger: first offset that is not in yet; None before the first run.
        waiting: messages between ledger and end.
        skipped: offsets that retention removed unread.
        watermark: latest event time that is in, epoch milliseconds.
        moved_at: when the ledger moved last, epoch milliseconds.
        holder: run that owns the partition.
        state: all in; ingested (a run owns it); waiting; standing still; failing; made again (another log than the
            ledger's); losing (the log removes messages before their time); gone (the log has no such partition).
        said: what is wrong, in one line; empty when nothing is.
        passed: offsets behind the ledger that the log no longer has; the next run counts them among the skipped.
        uncommitted: records of a producer's open transaction and behind it; nobody reads them before it ends.
    """

    partition: int
    begin: int | None
    end: int | None
    ledger: int | None
    waiting: int
    skipped: int
    watermark: int | None
    moved_at: int | None
    holder: str | None
    state: State
    said: str = ""
    passed: int = 0
    uncommitted: int = 0

    @property
    def ok(self) -> bool:
        """Whether data flow here, as far as one look can tell."""
        return self.state not in TROUBLES

    def document(self) -> dict[str, Any]:
        """For programs: times as RFC 3339."""
        times = {"watermark": self.watermark, "moved_at": self.moved_at}
        texts = {name: None if at is None else format_timestamp(at) for name, at in times.items()}
        return {**asdict(self), **texts, "ok": self.ok}


def flows(log: MessageLog, store: Store | None, topic: str, now_ms: int) -> list[PartitionFlow]:
    """Every partition that the log or the ledger has, by number.

    Raises:
        UnknownTopicError: there is no such topic.
    """
    ledger: Mapping[int, LedgerEntry] = {} if store is None else store.ledger(topic)
    log_id, begins, ends = log.identity(topic), log.begin_offsets(topic), log.end_offsets(topic)
    told, highest, losing = told_offsets(log, topic), log.high_watermarks(topic), log.losing(topic)
    begun = any(entry.log_id == log_id for entry in ledger.values())
    found = []
    for p in sorted({*ends, *ledger}):
        flow = _flow(p, begins.get(p), ends.get(p), ledger.get(p), log_id, told.get(p), now_ms, begun=begun)
        flow = replace(flow, uncommitted=max(0, highest.get(p, 0) - ends.get(p, 0)))
        if losing and flow.ok and flow.state != "gone":
            flow = replace(flow, state="losing", said="; ".join(filter(None, (losing, flow.said))))
        found.append(flow)
    return found


def _flow(
    partition: int,
    begin: int | None,
    end: int | None,
    entry: LedgerEntry | None,
    log_id: str,
    told: int | None,
    now_ms: int,
    *,
    begun: bool,
) -> PartitionFlow:
    plain = PartitionFlow(
        partition,
        begin,
        end,
        None if entry is None else entry.next_offset,
        0,
        0 if entry is None else entry.skipped_offsets,
        None if entry is None else entry.watermark,
        entry.updated_at if entry is not None and entry.run_id else None,
        None if entry is None else entry.held_by(now_ms),
        "all in",
    )
    if begin is None or end is None:
        return replace(plain, state="gone", said="the log has no such partition any more; what is in stays in")
    if entry is not None and was_made_again(entry, log_id, end, told):
        said = (
            f"another log than the one that the ledger counts in up to {entry.next_offset}: it is read from its begin"
        )
        if end == begin and begun:  # of the new log others have been read; here nothing came yet
            return plain
        return replace(plain, waiting=end - begin, state="made again" if end > begin else "all in", said=said)
    stands = begin if entry is None else entry.next_offset
    waiting, passed = end - max(begin, stands), max(0, begin - stands)
    gone = f"{passed} offsets from {stands} on were removed from the log before they were read" if passed else ""
    known = replace(plain, waiting=waiting, passed=passed, said=gone)
    if not waiting and not passed:
        return known
    if entry is not None and entry.error is not None and entry.failures:
        return replace(known, state="failing", said="; ".join(filter(None, (_failure(entry), gone))))
    return replace(known, state="ingested" if known.holder else "waiting")


def _failure(entry: LedgerEntry) -> str:
    times = "once" if entry.failures == 1 else f"{entry.failures} times"
    said = f"failed {times} at offset {entry.next_offset}: {entry.error}"
    if entry.range_limit is not None:
        said += f"; the message that is the cause is searched for, {max(1, entry.range_limit)} at a time"
    return said


class FlowWatch:
    """Tells messages that wait from messages that nobody takes in, by looking again and again.

    Args:
        seen: what an earlier watch has seen, see :attr:`seen`.
    """

    def __init__(self, seen: Mapping[str, Sequence[int]] | None = None) -> None:
        self.seen: dict[str, list[int]] = {p: list(values) for p, values in (seen or {}).items()}
        """By partition, as text: where the ledger stood, and since when messages have been waiting there."""

    def look(self, found: Sequence[PartitionFlow], now_ms: int) -> list[PartitionFlow]:
        """The same partitions, those that stand still named so."""
        seen, told = {}, []
        for flow in found:
            stands = -1 if flow.ledger is None else flow.ledger
            since = now_ms
            if flow.waiting or flow.passed or flow.uncommitted:
                before = self.seen.get(str(flow.partition))
                since = before[1] if before is not None and before[0] == stands else now_ms
                seen[str(flow.partition)] = [stands, since]
            patience = OWNED_STANDS_STILL_MS if flow.holder else STANDS_STILL_MS
            if flow.state in ("waiting", "ingested", "made again") and now_ms - since >= patience:
                minutes = (now_ms - since) / 60_000
                said = f"{flow.waiting} messages have been waiting for {minutes:.0f} min and the ledger does not move"
                told.append(replace(flow, state="standing still", said="; ".join(filter(None, (said, flow.said)))))
            elif flow.state == "all in" and flow.uncommitted and now_ms - since >= TRANSACTION_STANDS_STILL_MS:
                minutes = (now_ms - since) / 60_000
                said = (
                    f"{flow.uncommitted} records have waited for {minutes:.0f} min for a transaction that its producer "
                    "has not ended: Kafka hides them until then"
                )
                told.append(replace(flow, state="standing still", said=said))
            elif flow.state == "made again":
                told.append(replace(flow, state="waiting"))  # it is about to be read
            else:
                told.append(flow)
        self.seen = seen
        return told
