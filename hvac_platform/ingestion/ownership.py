"""Who ingests what: a run owns the partitions that it reads by a lease in the ledger, renewed while the process lives.

Nothing here guesses whether another process is alive. A run that was killed stops renewing, and its partitions are free
five seconds later; one that was paused for longer finds that its lease is gone, and can't move the ledger.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import apsw

from hvac_platform.config import ConfigError
from hvac_platform.ingestion.clock import ClockError
from hvac_platform.ingestion.ranges import OffsetRange
from hvac_platform.log.base import LogError, MessageLog
from hvac_platform.log.identity import made_again_message, put_letters_away, told_offsets, was_made_again
from hvac_platform.stores.base import EmbeddingError, Lease, Store, StoreError
from hvac_platform.timestamps import now_ms

RENEW_SECONDS = 1.0
MOST_DEATHS = 25
"""So many runs over a single message may end without a word, one after the other, before it is set aside."""
LONGEST_ERROR = 500

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Held:
    lease: Lease
    wanted: OffsetRange
    lost: bool = False


class LeaseKeeper:
    """The leases that this process holds, renewed each second by a thread of their own until they are let go.

    Args:
        open_store: gives the store of the calling thread.
    """

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self._open_store = open_store
        self._held: dict[tuple[str, int], _Held] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._reading: dict[str, int] = {}

    def hold(self, lease: Lease, wanted: OffsetRange) -> None:
        """Renew a lease from now on."""
        with self._lock:
            self._held[lease.holder, lease.partition] = _Held(lease, wanted)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._renew, name="leases", daemon=True)
                self._thread.start()

    def of(self, holder: str) -> list[tuple[Lease, OffsetRange]]:
        """What a holder has, with the range that it reads."""
        with self._lock:
            return [(held.lease, held.wanted) for (name, _), held in self._held.items() if name == holder]

    def works_on(self, lease: Lease, wanted: OffsetRange) -> None:
        """Note which range a holder of a lease reads now."""
        with self._lock:
            held = self._held.get((lease.holder, lease.partition))
            if held is not None:
                held.wanted = wanted

    def is_lost(self, lease: Lease) -> bool:
        """Whether somebody else is known to have taken it over."""
        with self._lock:
            held = self._held.get((lease.holder, lease.partition))
            return held is None or held.lost or held.lease.fence != lease.fence

    def read(self, holder: str, partition: int | None) -> None:
        """Note which partition a holder reads now; None after the last."""
        if partition is None:
            self._reading.pop(holder, None)
        else:
            self._reading[holder] = partition

    def read_by(self, holder: str) -> int | None:
        """The partition that a holder reads now."""
        return self._reading.get(holder)

    def let_go(self, lease: Lease) -> None:
        """Renew it no longer."""
        with self._lock:
            self._held.pop((lease.holder, lease.partition), None)

    def let_all_go(self) -> None:
        """Renew none of them any longer."""
        with self._lock:
            self._held.clear()

    def _renew(self) -> None:
        while True:
            time.sleep(RENEW_SECONDS)
            with self._lock:
                present = list(self._held.values())
                if not present:
                    self._thread = None
                    return
            for held in present:
                if held.lost:
                    continue
                try:
                    held.lost = not self._open_store().renew_lease(held.lease)
                except (StoreError, apsw.Error) as error:  # tried again in a second; the lease may lapse meanwhile
                    logger.warning("lease of partition %d can't be renewed: %s", held.lease.partition, error)
                    continue
                if held.lost:
                    logger.warning("partition %d was taken over by another run", held.lease.partition)


@dataclass
class Claim:
    """What a run got of the ranges that it asked for.

    Attributes:
        ranges: to be ingested.
        left: why others are left alone, one line each.
        troubles: what must be told as an error.
        made_again: partitions whose log was made again since the ledger moved.
    """

    ranges: list[OffsetRange] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    made_again: list[int] = field(default_factory=list)


def claim(
    store: Store,
    log: MessageLog,
    topic: str,
    ranges: Sequence[OffsetRange],
    holder: str,
    keeper: LeaseKeeper,
    *,
    planned: bool,
) -> Claim:
    """Own the partitions of some ranges, as far as nobody else does.

    A range that starts elsewhere than where the ledger stands is left alone if it was planned (somebody else was faster),
    and is a replay otherwise, which needs no lease because it moves nothing.

    Args:
        store: holds the ledger.
        log: the message log.
        topic: its topic.
        ranges: what the run was launched for.
        holder: the run's id.
        keeper: renews what is got.
        planned: whether the ranges come from the ledger, not from a person.
    """
    got = Claim()
    log_id, begins, ends = log.identity(topic), log.begin_offsets(topic), log.end_offsets(topic)
    told = told_offsets(log, topic)
    for wanted in ranges:
        partition, stands = wanted.partition, wanted.start - wanted.skipped
        if partition not in ends or (wanted.log_id and wanted.log_id != log_id):
            got.left.append(f"partition {partition}: the log that the range {wanted.key} was planned for is gone")
            continue
        entry = store.settled_ledger(topic).get(partition)
        again = entry is not None and was_made_again(entry, log_id, ends[partition], told.get(partition))
        elsewhere = stands > begins[partition] if entry is None or again else entry.next_offset != stands
        if elsewhere and not planned:
            got.ranges.append(wanted)
            continue
        if elsewhere:
            got.left.append(f"partition {partition}: the range {wanted.key} is no longer what comes next")
            continue
        lease = store.take_lease(topic, partition, holder, at=stands)
        entry = store.settled_ledger(topic).get(partition)
        if lease is None or entry is None:
            owner = entry.held_by(now_ms()) if entry is not None else None
            got.left.append(f"partition {partition} is being ingested by run {(owner or 'of another process')[:8]}")
            continue
        keeper.hold(lease, wanted)
        if again and was_made_again(entry, log_id, ends[partition], told.get(partition)):
            got.troubles.append(made_again_message(topic, partition, entry, begins[partition]))
            got.made_again.append(partition)
            put_letters_away(store, topic, partition, now_ms())
            store.adopt_log(lease, log_id, wanted.start)
        elif entry.next_offset != stands:
            give_back(store, lease, keeper)
            got.left.append(f"partition {partition}: the range {wanted.key} is no longer what comes next")
            continue
        elif log_id and entry.log_id != log_id:
            store.adopt_log(lease, log_id)
        if entry.failures >= MOST_DEATHS and wanted.end - wanted.start <= 1:
            wanted = replace(wanted, set_aside=True)  # whatever it is, it ends every process that takes it in
            keeper.hold(lease, wanted)
        if entry.error is not None:
            got.troubles.append(f"partition {partition}: at offset {stands} before: {entry.error}")
        got.ranges.append(wanted)
    return got


def give_back(store: Store, lease: Lease, keeper: LeaseKeeper) -> None:
    """Let go of a partition."""
    keeper.let_go(lease)
    store.release_lease(lease)


def give_all_back(store: Store, holder: str, keeper: LeaseKeeper) -> None:
    """Let go of everything that a holder owns, as nobody failed: it was stopped."""
    for lease, _ in keeper.of(holder):
        give_back(store, lease, keeper)


def fail(store: Store, holder: str, error: BaseException, keeper: LeaseKeeper) -> list[str]:
    """Record that a run failed, by the partitions that it owned, and let go of them.

    Where the messages may be the cause, the next range is half as long, until it is one message; that one is set aside
    if it fails too. Where only one of several partitions was being read, the others have not failed.

    Returns:
        What was recorded, a line a partition.
    """
    cause = root_cause(error)
    said = f"{type(cause).__name__}: {' '.join(str(cause).split())}"[:LONGEST_ERROR]
    reading = keeper.read_by(holder)
    keeper.read(holder, None)
    told = []
    for lease, wanted in keeper.of(holder):
        keeper.let_go(lease)
        if reading not in (None, lease.partition):
            store.release_lease(lease)
            continue
        limit = (wanted.end - wanted.start) // 2 if may_be_the_messages(cause) else None
        store.note_failure(lease, said, range_limit=limit)
        step = (
            "" if limit is None else f"; the next run reads {limit} of its messages" if limit else "; it is set aside"
        )
        told.append(f"partition {lease.partition} at offset {wanted.start}: {said}{step}")
    return told


def root_cause(error: BaseException) -> BaseException:
    """What an error came from, below those of Dagster."""
    while error.__cause__ is not None and type(error).__module__.startswith("dagster"):
        error = error.__cause__
    return error


def may_be_the_messages(error: BaseException) -> bool:
    """Whether an error may come from what was read, not from a server, a disk or a clock that fails.

    Setting a message aside because a server was down would be wrong, so in doubt the error is the server's.
    """
    if isinstance(error, EmbeddingError):
        return True
    if isinstance(error, apsw.Error):
        return isinstance(error, (apsw.TooBigError, apsw.MismatchError, apsw.ConstraintError, apsw.RangeError))
    if isinstance(error, StoreError):
        return error.refused
    if type(error).__module__.startswith("dagster"):  # a run that was stopped, or a failure that somebody declared
        return False
    return not isinstance(error, (LogError, ClockError, ConfigError, OSError))
