"""What every store promises of leases and of moves of the ledger."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from hvac_platform.stores import ledger as ledger_module
from hvac_platform.timestamps import now_ms


class LedgerContract:
    """Tests of a store that the fixture ``store`` gives, with a topic of the test's own."""

    short = 1
    """Seconds of a short lease."""

    @pytest.fixture
    def topic(self, request):
        return f"t-{abs(hash(request.node.nodeid)) % 10**9}-{time.time_ns()}"

    @pytest.fixture
    def short_leases(self, monkeypatch):
        """Leases of a second or two."""
        monkeypatch.setattr(ledger_module, "LEASE_SECONDS", self.short)

    def entry(self, store, topic, partition=0):
        return store.settled_ledger(topic)[partition]

    def test_a_partition_has_one_owner_at_a_time(self, store, topic):
        lease = store.take_lease(topic, 0, "first run", at=7)
        assert (lease.topic, lease.partition, lease.holder, lease.fence) == (topic, 0, "first run", 1)
        assert store.take_lease(topic, 0, "second run", at=7) is None
        entry = self.entry(store, topic)
        assert (entry.next_offset, entry.held_by(now_ms()), entry.run_id) == (7, "first run", "")
        assert store.take_lease(topic, 1, "second run", at=0) is not None  # another partition is nobody's
        assert store.release_lease(lease)
        assert self.entry(store, topic).held_by(now_ms()) is None
        assert store.take_lease(topic, 0, "second run", at=99).fence == 2
        assert self.entry(store, topic).next_offset == 7

    def test_of_many_who_want_a_partition_at_once_one_gets_it(self, store, topic):
        if not store.parallel:
            pytest.skip("its connection is one thread's; processes are tested with the crash tests")
        got, barrier = [], threading.Barrier(8)

        def take(n):
            barrier.wait()
            got.append(store.take_lease(topic, 0, f"run {n}", at=0))

        threads = [threading.Thread(target=take, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(lease is not None for lease in got) == 1

    def test_the_owner_may_take_its_partition_again_as_a_step_that_is_tried_again_does(self, store, topic):
        first = store.take_lease(topic, 0, "run", at=0)
        again = store.take_lease(topic, 0, "run", at=0)
        assert again.fence == first.fence + 1
        assert not store.renew_lease(first)

    def test_a_lease_that_is_not_renewed_ends_and_the_next_owner_knows_of_it(self, store, topic, short_leases):
        lease = store.take_lease(topic, 0, "0123456789 run", at=0)
        time.sleep(0.7 * self.short)
        assert store.renew_lease(lease)
        time.sleep(0.4 * self.short)
        assert self.entry(store, topic).held_by(now_ms()) is not None
        time.sleep(1.2 * self.short)
        assert self.entry(store, topic).held_by(now_ms()) is None
        taken = store.take_lease(topic, 0, "next run", at=0)
        entry = self.entry(store, topic)
        assert (taken.fence, entry.failures, entry.error) == (2, 1, "run 01234567 ended without a word")

    def test_a_holder_that_lost_its_lease_can_do_nothing(self, store, topic, short_leases):
        lost = store.take_lease(topic, 0, "paused run", at=0)
        time.sleep(1.2 * self.short)
        taken = store.take_lease(topic, 0, "next run", at=0)
        assert not store.renew_lease(lost)
        assert not store.advance_ledger(topic, 0, 0, 5, run_id="paused run", watermark=None, fence=lost.fence)
        assert not store.note_failure(lost, "too late", range_limit=1)
        assert not store.adopt_log(lost, "another log", 0)
        assert not store.release_lease(lost)
        entry = self.entry(store, topic)
        assert (entry.next_offset, entry.fence, entry.range_limit, entry.log_id) == (0, taken.fence, None, None)
        assert store.advance_ledger(topic, 0, 0, 5, run_id="next run", watermark=3, fence=taken.fence)

    def test_a_lease_that_lapsed_and_nobody_took_goes_on(self, store, topic, short_leases):
        lease = store.take_lease(topic, 0, "slow run", at=0)
        time.sleep(1.2 * self.short)
        assert store.renew_lease(lease)
        assert store.advance_ledger(topic, 0, 0, 5, run_id="slow run", watermark=None, fence=lease.fence)

    def test_without_a_lease_the_ledger_moves_only_while_nobody_has_one(self, store, topic):
        assert store.advance_ledger(topic, 0, 0, 3, run_id="by hand", watermark=None)
        lease = store.take_lease(topic, 0, "run", at=0)
        assert not store.advance_ledger(topic, 0, 3, 4, run_id="by hand", watermark=None)
        assert store.release_lease(lease)
        assert store.advance_ledger(topic, 0, 3, 4, run_id="by hand", watermark=None)
        assert not store.advance_ledger(topic, 0, 3, 9, run_id="by hand", watermark=None)
        assert self.entry(store, topic).next_offset == 4

    def test_a_move_keeps_the_latest_watermark_counts_what_was_skipped_and_ends_the_failures(self, store, topic):
        lease = store.take_lease(topic, 0, "run", at=0)
        store.advance_ledger(topic, 0, 0, 5, run_id="run", watermark=1_000, skipped=2, fence=lease.fence)
        store.note_failure(lease, "no answer")
        entry = self.entry(store, topic)
        assert (entry.failures, entry.error, entry.holder) == (1, "no answer", None)
        lease = store.take_lease(topic, 0, "next run", at=0)
        assert store.advance_ledger(topic, 0, 5, 8, run_id="next run", watermark=500, skipped=1, fence=lease.fence)
        entry = self.entry(store, topic)
        assert (entry.next_offset, entry.run_id, entry.watermark, entry.skipped_offsets) == (8, "next run", 1_000, 3)
        assert (entry.failures, entry.error, entry.failed_at) == (0, None, None)

    def test_after_a_failure_that_messages_may_have_caused_ranges_grow_again_step_by_step(self, store, topic):
        lease = store.take_lease(topic, 0, "run", at=0)
        store.note_failure(lease, "TypeError", range_limit=4)
        at = 0
        for length, limit in ((4, 8), (8, 16), (2, 32), (ledger_module.LONGEST_STEP, None)):
            lease = store.take_lease(topic, 0, "run", at=0)
            assert store.advance_ledger(topic, 0, at, at + length, run_id="run", watermark=None, fence=lease.fence)
            assert store.release_lease(lease)
            at += length
            assert self.entry(store, topic).range_limit == limit
        lease = store.take_lease(topic, 0, "run", at=0)
        store.note_failure(lease, "TypeError", range_limit=0)
        lease = store.take_lease(topic, 0, "run", at=0)
        assert store.advance_ledger(topic, 0, at, at + 1, run_id="run", watermark=None, fence=lease.fence)
        assert self.entry(store, topic).range_limit == 2

    def test_a_log_that_was_made_again_begins_where_it_is_told(self, store, topic):
        lease = store.take_lease(topic, 0, "run", at=0)
        assert store.adopt_log(lease, "first log")
        store.advance_ledger(topic, 0, 0, 500, run_id="run", watermark=9_000, fence=lease.fence)
        entry = self.entry(store, topic)
        assert (entry.log_id, entry.log_since, entry.next_offset) == ("first log", None, 500)
        assert store.adopt_log(lease, "second log", 3)
        entry = self.entry(store, topic)
        assert (entry.log_id, entry.next_offset, entry.watermark) == ("second log", 3, None)
        assert entry.log_since is not None

    def test_a_lease_of_a_clock_that_was_set_back_is_none(self, store, topic):
        store.take_lease(topic, 0, "run", at=0)
        entry = self.entry(store, topic)
        in_two_days = replace(entry, held_until=now_ms() + 2 * 86_400_000)
        assert in_two_days.held_by(now_ms()) is None

    def test_settings_are_remembered_until_they_are_replaced(self, store, topic):
        store.remember(topic, "60")
        store.remember(topic, "1 second")
        assert store.remembered()[topic] == "1 second"
