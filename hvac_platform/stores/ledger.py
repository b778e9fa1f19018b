"""Who owns a partition of the topic, and how far it is in: leases and moves of the ledger, on any store.

A row of ``ingestion_ledger`` is the only place where that stands, and it changes by compare-and-set only. A lease lasts
:data:`LEASE_SECONDS` and is renewed each second. Each one has a higher fencing number (``fence``) than the one before, and
the ledger moves only with the newest: a holder that was paused for longer than its lease can do no harm when it wakes
(Kleppmann, "How to do distributed locking", 2016). Two runs over one partition are therefore safe; only one counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from hvac_platform.stores.base import Lease, LedgerEntry
from hvac_platform.timestamps import now_ms

LEASE_SECONDS = 5
"""A killed run's partition is free after so long. Renewed each second, so a pause of a few seconds loses nothing."""
ENDED_WITHOUT_A_WORD = "{holder} ended without a word"


class LedgerKeeping(ABC):
    """Leases and moves of the ledger; a store gives the reading and the compare-and-set."""

    @abstractmethod
    def settled_ledger(self, topic: str) -> dict[int, LedgerEntry]:
        """Ledger entries of a topic, with any change that is under way brought to its end first."""

    @abstractmethod
    def swap_ledger(
        self, topic: str, partition: int, expected: Mapping[str, Any] | None, changes: Mapping[str, Any]
    ) -> bool:
        """Change columns of one entry if others have the values expected; None expects that there is no entry yet.

        Returns whether it was changed. A ``held_until`` among the changes lapses by itself after :data:`LEASE_SECONDS`.
        """

    def take_lease(self, topic: str, partition: int, holder: str, *, at: int) -> Lease | None:
        """Own a partition; None while somebody else does.

        Args:
            topic: topic.
            partition: its partition.
            holder: who owns it from now on, a run's id.
            at: where the ledger begins if the partition has no entry yet.
        """
        entry = self.settled_ledger(topic).get(partition)
        if entry is None:
            first = {"next_offset": at, "run_id": "", "updated_at": now_ms(), "skipped_offsets": 0}
            self.swap_ledger(topic, partition, None, {**first, "fence": 0, "failures": 0})
            entry = self.settled_ledger(topic)[partition]
        if entry.held_by(now_ms()) not in (None, holder):
            return None
        changes: dict[str, Any] = {
            "fence": entry.fence + 1,
            "holder": holder,
            "held_until": now_ms() + 1000 * LEASE_SECONDS,
        }
        if entry.holder is not None and entry.holder != holder:
            said = ENDED_WITHOUT_A_WORD.format(holder=f"run {entry.holder[:8]}")
            changes |= {"failures": entry.failures + 1, "failed_at": now_ms(), "error": said}
        if not self.swap_ledger(topic, partition, {"fence": entry.fence}, changes):
            return None
        return Lease(topic, partition, holder, entry.fence + 1)

    def renew_lease(self, lease: Lease) -> bool:
        """Own the partition for another :data:`LEASE_SECONDS`; False when somebody else has taken it over."""
        until = now_ms() + 1000 * LEASE_SECONDS
        return self.swap_ledger(lease.topic, lease.partition, {"fence": lease.fence}, {"held_until": until})

    def release_lease(self, lease: Lease) -> bool:
        """Let go of the partition; False when somebody else has it by now."""
        free = {"holder": None, "held_until": None}
        return self.swap_ledger(lease.topic, lease.partition, {"fence": lease.fence}, free)

    def note_failure(self, lease: Lease, error: str, *, range_limit: int | None = None) -> bool:
        """Record that the holder failed at the next offset, and let go; False when somebody else has the partition.

        Args:
            lease: what the holder owned.
            error: what it said.
            range_limit: most messages of the next range, where the messages may be the cause; None leaves it as it is.
        """
        entry = self.settled_ledger(lease.topic)[lease.partition]
        changes: dict[str, Any] = {
            "failures": entry.failures + 1,
            "failed_at": now_ms(),
            "error": error,
            "holder": None,
            "held_until": None,
        }
        if range_limit is not None:
            changes["range_limit"] = range_limit
        return self.swap_ledger(lease.topic, lease.partition, {"fence": lease.fence}, changes)

    def adopt_log(self, lease: Lease, log_id: str, next_offset: int | None = None) -> bool:
        """Record which log the offsets count in.

        Args:
            lease: what the caller owns.
            log_id: identity of the log.
            next_offset: where a log that was made again is read from; None leaves the ledger where it stands.
        """
        changes: dict[str, Any] = {"log_id": log_id}
        if next_offset is not None:
            changes |= {
                "next_offset": next_offset,
                "watermark": None,  # what the old log reached says nothing of the new one
                "log_since": now_ms(),
                "updated_at": now_ms(),
                "range_limit": None,
                "caught_up_at": None,
            }
        return self.swap_ledger(lease.topic, lease.partition, {"fence": lease.fence}, changes)

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
        """
        entry = self.settled_ledger(topic).get(partition)
        if entry is not None and (entry.next_offset != start or (fence is None and entry.held_by(now_ms()))):
            return False
        reached = [w for w in (watermark, entry.watermark if entry else None) if w is not None]
        changes: dict[str, Any] = {
            "next_offset": end,
            "run_id": run_id,
            "updated_at": now_ms(),
            "watermark": max(reached, default=None),
            "skipped_offsets": skipped + (entry.skipped_offsets if entry else 0),
            "failures": 0,
            "failed_at": None,
            "error": None,
            "open_since": open_since,
        }
        if caught_up_at is not None:
            changes["caught_up_at"] = caught_up_at
        if entry is None:
            return fence is None and self.swap_ledger(topic, partition, None, {**changes, "fence": 0})
        if entry.range_limit is not None and end > start:
            # What follows may hold what failed, so it comes in steps that grow again.
            changes["range_limit"] = None if end - start >= LONGEST_STEP else 2 * max(entry.range_limit, 1)
        owned = entry.fence if fence is None else fence
        return self.swap_ledger(topic, partition, {"next_offset": start, "fence": owned}, changes)


LONGEST_STEP = 100_000
"""Messages of a range that went in after which the caution that follows a failure is over."""
