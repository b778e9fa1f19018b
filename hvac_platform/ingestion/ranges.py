"""Offset ranges: what to ingest next, which UTC days it concerns, and the run key it gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2s

from hvac_platform.log.base import MessageLog
from hvac_platform.log.identity import was_made_again
from hvac_platform.stores.base import LedgerEntry
from hvac_platform.timestamps import DAY_MS, day_of, day_start

FIRST_RETRY_SECONDS = 10
LONGEST_RETRY_SECONDS = 600
SEARCH_SECONDS = 1
"""Pause between ever shorter ranges, in search of a message that no run can take in."""
MOST_DAYS = 31  # a run over daily partitions far apart would claim all days between


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Half-open range of offsets of one partition.

    Attributes:
        partition: partition of the topic.
        start: first offset.
        end: first offset not included.
        skipped: offsets just before ``start`` that retention removed unread.
        log_id: identity of the log that the offsets count in; empty where it doesn't matter.
        apart: whether a run over it should read nothing else, because runs over it have failed.
        set_aside: whether its message goes to the dead letters unread, because every run over it has failed.
    """

    partition: int
    start: int
    end: int
    skipped: int = 0
    log_id: str = ""
    apart: bool = False
    set_aside: bool = False

    @property
    def key(self) -> str:
        """Part of the run key: ``p:start-end``."""
        return f"{self.partition}:{self.start}-{self.end}"


def next_ranges(
    entries: Mapping[int, LedgerEntry],
    begin: Mapping[int, int],
    end: Mapping[int, int],
    max_messages: int,
    log_id: str = "",
    told: Mapping[int, int] | None = None,
) -> list[OffsetRange]:
    """The next range of every partition that has something new.

    A range starts where the ledger stands, whatever was launched before: a failed run can't make a gap. Where retention
    has passed the ledger by, it starts at the log's begin and says how many offsets are gone. In a log that was made again
    it starts at the begin. After a failure that the messages may have caused it is as short as the ledger says.

    Args:
        entries: the ledger by partition; a partition without an entry starts at the log's begin.
        begin: first offset that the log still has.
        end: first offset that the log doesn't have yet.
        max_messages: longest range.
        log_id: identity of the log.
        told: how far the log was told that it is in, where it keeps that.

    >>> [r.key for r in next_ranges({}, {0: 0, 1: 2}, {0: 9, 1: 2}, 3)]
    ['0:0-3']
    """
    ranges = []
    for partition in sorted(end):
        entry = entries.get(partition)
        if entry is not None and was_made_again(entry, log_id, end[partition], (told or {}).get(partition)):
            entry = None
        stands_at = begin[partition] if entry is None else entry.next_offset
        start = max(stands_at, begin[partition])
        limit = entry.range_limit if entry is not None else None
        most = max_messages if limit is None else min(max(limit, 1), max_messages)
        stop = min(end[partition], start + most)
        left_open = entry is not None and entry.open_since is not None  # by a run that did not live to complete them
        if stop > start or start > stands_at or left_open:
            ranges.append(
                OffsetRange(
                    partition,
                    start,
                    stop,
                    skipped=start - stands_at,
                    log_id=log_id,
                    apart=entry is not None and (entry.failures > 0 or limit is not None),
                    set_aside=limit == 0,
                )
            )
    return ranges


def retry_delay(entry: LedgerEntry, now: int) -> float:
    """Seconds until a partition may be tried again; 0 or less when it may go now."""
    if not entry.failures or entry.failed_at is None:
        return 0.0
    searching = entry.range_limit is not None
    delay = SEARCH_SECONDS if searching else FIRST_RETRY_SECONDS * 2 ** min(entry.failures - 1, 20)
    return float(entry.failed_at / 1000 + min(delay, LONGEST_RETRY_SECONDS) - now / 1000)


def gone_message(topic: str, partition: int, first: int, last: int) -> str:
    """What is told of offsets [first, last) that are gone, in one line."""
    return (
        f"partition {partition} of {topic}: {last - first} offsets, {first} to {last - 1}, were removed by retention or by "
        "somebody before they were read"
    )


class DayFinder:
    """Which UTC day an offset belongs to, from the log's time index alone (no payload is read).

    The day of an offset is that of the latest midnight whose first record is at or before it: the day that the partition's
    event time has reached there. Late records beyond it belong to earlier days; they are found when they are read.
    """

    def __init__(self, log: MessageLog, topic: str, first_day_ms: int, now_ms: int) -> None:
        self._log, self._topic = log, topic
        self._first, self._last = first_day_ms // DAY_MS, max(now_ms, first_day_ms) // DAY_MS
        self._midnights: dict[int, dict[int, int | None]] = {}

    def _reached(self, partition: int, day: int) -> int | None:
        """First offset of the partition at or after that day's midnight."""
        if day not in self._midnights:
            self._midnights[day] = self._log.offsets_for_time(self._topic, day * DAY_MS)
        return self._midnights[day].get(partition)

    def day(self, partition: int, offset: int) -> str:
        """UTC day of an offset, between the first daily partition and today."""
        low, high = self._first, self._last
        while low < high:  # the first offset of a midnight grows with the midnight, so bisect
            middle = (low + high + 1) // 2
            reached = self._reached(partition, middle)
            if reached is not None and reached <= offset:
                low = middle
            else:
                high = middle - 1
        return day_of(low * DAY_MS)

    def within_days(self, wanted: OffsetRange, days: int) -> OffsetRange:
        """The part of a range before the first record that is this many days after its first day."""
        later = day_start(self.day(wanted.partition, wanted.start)) // DAY_MS + days
        reached = self._reached(wanted.partition, later) if later <= self._last else None
        if reached is not None and wanted.start < reached < wanted.end:
            return replace(wanted, end=reached)
        return wanted

    def until_midnight(self, wanted: OffsetRange) -> OffsetRange:
        """The part of a range before the first record of its next day."""
        return self.within_days(wanted, 1)


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One ingestion run: ranges of one or more partitions, and the days they concern."""

    topic: str
    first_day: str
    last_day: str
    ranges: tuple[OffsetRange, ...]

    @property
    def messages(self) -> int:
        """Messages in the ranges."""
        return sum(r.end - r.start for r in self.ranges)

    def run_key(self, attempt: int, home: str = "") -> str:
        """``topic:day:p:start-end#attempt``; Dagster never launches a run key twice, so a retry needs a new one.

        The home and the log are told apart by a few letters behind the topic: another home's ranges have the same offsets.
        """
        days = self.first_day if self.first_day == self.last_day else f"{self.first_day}..{self.last_day}"
        mark = blake2s(f"{home} {self.ranges[0].log_id}".encode(), digest_size=3).hexdigest()
        return f"{self.topic}.{mark}:{days}:{'+'.join(r.key for r in self.ranges)}#{attempt}"


def plan_runs(topic: str, ranges: Sequence[OffsetRange], days: DayFinder, max_messages: int) -> list[PlannedRun]:
    """Group ranges into runs.

    Ranges are cut at midnight. Those of one day share a run while together they stay within ``max_messages`` (a run has a
    fixed cost); a backlog gets a run for each partition, which can go in parallel.

    A partition over which runs have failed gets one of its own, so that it holds up no other.

    A short history of many days (an import of a year at 15 minutes) would make a run of almost nothing for every day, so a
    range is cut at midnight only where it holds at least a tenth of ``max_messages`` before it, or after a month.
    """
    together: dict[tuple[str, ...], list[OffsetRange]] = {}
    for whole in ranges:
        wanted = days.within_days(whole, MOST_DAYS)
        before_midnight = days.until_midnight(wanted)
        part = before_midnight if before_midnight.end - before_midnight.start >= max_messages // 10 else wanted
        first = days.day(part.partition, part.start)
        last = days.day(part.partition, max(part.end - 1, part.start))
        alone = (str(part.partition),) if part.apart else ()
        together.setdefault((first, max(first, last), *alone), []).append(part)
    runs: list[PlannedRun] = []
    for (first, last, *_), parts in sorted(together.items()):
        if sum(p.end - p.start for p in parts) <= max_messages:
            runs.append(PlannedRun(topic, first, last, tuple(parts)))
        else:
            runs += [PlannedRun(topic, first, last, (p,)) for p in parts]
    return runs
