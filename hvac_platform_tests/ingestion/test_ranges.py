"""What is ingested next: never a gap, never more than a run may hold, each part under the day it belongs to."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvac_platform.ingestion.ranges import DayFinder, OffsetRange, PlannedRun, next_ranges, plan_runs
from hvac_platform.log.embedded import EmbeddedLog
from hvac_platform.stores.base import LedgerEntry
from hvac_platform.timestamps import DAY_MS, day_of, day_start, days_before
from hvac_platform_tests.conftest import DAY, HOUR_MS, MIDNIGHT_MS, NEXT_DAY

TOPIC = "t"
FIRST_DAY_MS = day_start(days_before(DAY, 3))
NOW_MS = day_start(NEXT_DAY) + 12 * HOUR_MS


def standing(next_offset, **columns):
    """A ledger entry."""
    return LedgerEntry(TOPIC, 0, next_offset, "run", 0, None, 0, **columns)


class TestNextRanges:
    def test_a_range_starts_where_the_ledger_stands(self):
        assert next_ranges({0: standing(5)}, {0: 0}, {0: 9}, 100) == [OffsetRange(0, 5, 9)]

    def test_a_partition_without_an_entry_starts_at_the_logs_begin_and_has_lost_nothing(self):
        assert next_ranges({}, {0: 7}, {0: 9}, 100) == [OffsetRange(0, 7, 9)]

    def test_a_range_is_capped(self):
        assert next_ranges({}, {0: 0, 1: 0}, {0: 1_000, 1: 3}, 10) == [OffsetRange(0, 0, 10), OffsetRange(1, 0, 3)]

    def test_what_is_all_in_needs_no_range(self):
        assert next_ranges({0: standing(9)}, {0: 0, 1: 0}, {0: 9, 1: 0}, 100) == []

    def test_offsets_that_retention_removed_are_counted(self):
        assert next_ranges({0: standing(5)}, {0: 8}, {0: 9}, 100) == [OffsetRange(0, 8, 9, skipped=3)]

    def test_a_gap_is_told_even_when_nothing_is_left_to_read(self):
        assert next_ranges({0: standing(5)}, {0: 9}, {0: 9}, 100) == [OffsetRange(0, 9, 9, skipped=4)]

    def test_after_a_failure_a_partition_gets_a_run_of_its_own_and_a_shorter_one_where_messages_may_be_the_cause(self):
        (whole,) = next_ranges({0: standing(5, failures=1)}, {0: 0}, {0: 9}, 100)
        assert (whole.start, whole.end, whole.apart, whole.set_aside) == (5, 9, True, False)
        (half,) = next_ranges({0: standing(5, failures=1, range_limit=2)}, {0: 0}, {0: 9}, 100)
        assert (half.start, half.end, half.apart, half.set_aside) == (5, 7, True, False)
        (last,) = next_ranges({0: standing(5, failures=3, range_limit=0)}, {0: 0}, {0: 9}, 100)
        assert (last.start, last.end, last.apart, last.set_aside) == (5, 6, True, True)

    def test_a_log_of_another_identity_is_read_from_its_begin(self):
        (again,) = next_ranges({0: standing(5, log_id="old", range_limit=0)}, {0: 2}, {0: 9}, 100, "new")
        assert again == OffsetRange(0, 2, 9, log_id="new")

    def test_a_log_that_ends_before_the_ledger_is_another_one_whatever_its_identity(self):
        assert next_ranges({0: standing(50)}, {0: 0}, {0: 9}, 100) == [OffsetRange(0, 0, 9)]
        assert next_ranges({0: standing(50)}, {0: 0}, {0: 0}, 100) == []

    @given(
        begin=st.integers(0, 20),
        length=st.integers(0, 50),
        stands=st.none() | st.integers(0, 70),
        cap=st.integers(1, 30),
    )
    def test_following_the_ranges_reads_every_stored_offset_exactly_once(self, begin, length, stands, cap):
        end = begin + length
        stands = None if stands is None else min(stands, end)
        ledger = {} if stands is None else {0: standing(stands)}
        read, skipped = [], 0
        while ranges := next_ranges(ledger, {0: begin}, {0: end}, cap):
            (one,) = ranges
            assert one.end - one.start <= cap
            assert one.start - one.skipped == (ledger[0].next_offset if ledger else one.start)
            read += range(one.start, one.end)
            skipped += one.skipped
            ledger = {0: standing(one.end)}
        first = begin if stands is None else stands
        assert read == list(range(max(begin, first), end))
        assert skipped == max(0, begin - first)


@pytest.fixture
def log(tmp_path):
    opened = EmbeddedLog(tmp_path / "log.db", batch_records=3)
    opened.create_topic(TOPIC, 3)
    yield opened
    opened.close()


def fill(log, partition, times_ms):
    log.append_to_partition(TOPIC, partition, [(b"k", b"v", t) for t in times_ms])


def finder(log):
    return DayFinder(log, TOPIC, FIRST_DAY_MS, NOW_MS)


HOURS = st.lists(st.integers(-8 * 24, 60), min_size=1, max_size=40).map(
    lambda hours: [MIDNIGHT_MS + hour * HOUR_MS for hour in hours]
)


@given(times_ms=HOURS, batch_records=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_the_day_of_an_offset_is_the_day_that_event_time_has_reached_there(tmp_path_factory, times_ms, batch_records):
    """Out of order or not: the latest day seen up to the offset, between the first partition and today."""
    log = EmbeddedLog(tmp_path_factory.mktemp("log") / "log.db", batch_records=batch_records)
    log.create_topic(TOPIC, 1)
    fill(log, 0, times_ms)
    days = finder(log)
    for offset, reached in enumerate(itertools.accumulate(times_ms, max)):
        assert days.day(0, offset) == day_of(min(max(reached, FIRST_DAY_MS), NOW_MS))
    start = len(times_ms) // 2
    part = days.until_midnight(OffsetRange(0, start, len(times_ms), skipped=2))
    assert (part.start, part.skipped) == (start, 2)
    assert {days.day(0, offset) for offset in range(part.start, part.end)} == {days.day(0, start)}
    assert part.end == len(times_ms) or days.day(0, part.end) > days.day(0, start)
    log.close()


def test_an_empty_log_is_of_the_first_day(log):
    assert finder(log).day(0, 0) == day_of(FIRST_DAY_MS)


class TestPlanRuns:
    def plan(self, log, ranges, most):
        return plan_runs(TOPIC, ranges, finder(log), most)

    def test_partitions_of_one_day_share_a_run_while_they_fit(self, log):
        for partition in range(3):
            fill(log, partition, [MIDNIGHT_MS + i for i in range(10)])
        ranges = [OffsetRange(p, 0, 10) for p in range(3)]
        assert self.plan(log, ranges, 30) == [PlannedRun(TOPIC, NEXT_DAY, NEXT_DAY, tuple(ranges))]

    def test_a_backlog_gets_a_run_for_each_partition(self, log):
        for partition in range(3):
            fill(log, partition, [MIDNIGHT_MS + i for i in range(10)])
        ranges = [OffsetRange(p, 0, 10) for p in range(3)]
        assert self.plan(log, ranges, 29) == [PlannedRun(TOPIC, NEXT_DAY, NEXT_DAY, (r,)) for r in ranges]

    def test_a_range_is_cut_at_midnight(self, log):
        fill(log, 0, [MIDNIGHT_MS - 2, MIDNIGHT_MS - 1, MIDNIGHT_MS, MIDNIGHT_MS + 1])
        (run,) = self.plan(log, [OffsetRange(0, 0, 4)], 20)
        assert (run.first_day, run.last_day, run.ranges) == (DAY, DAY, (OffsetRange(0, 0, 2),))
        (run,) = self.plan(log, [OffsetRange(0, 2, 4)], 20)
        assert (run.first_day, run.last_day, run.ranges) == (NEXT_DAY, NEXT_DAY, (OffsetRange(0, 2, 4),))

    def test_a_few_messages_of_many_days_are_one_run_over_those_days(self, log):
        fill(log, 0, [MIDNIGHT_MS - 2 * DAY_MS, MIDNIGHT_MS - DAY_MS, MIDNIGHT_MS])
        (run,) = self.plan(log, [OffsetRange(0, 0, 3)], 20)
        assert (run.first_day, run.last_day, run.messages) == (days_before(DAY, 1), NEXT_DAY, 3)

    def test_partitions_that_are_at_different_days_get_runs_of_their_own(self, log):
        fill(log, 0, [MIDNIGHT_MS - 1] * 3)
        fill(log, 1, [MIDNIGHT_MS] * 3)
        runs = self.plan(log, [OffsetRange(0, 0, 3), OffsetRange(1, 0, 3)], 10)
        assert [(run.first_day, run.ranges) for run in runs] == [
            (DAY, (OffsetRange(0, 0, 3),)),
            (NEXT_DAY, (OffsetRange(1, 0, 3),)),
        ]

    def test_a_range_that_is_only_a_gap_still_gets_a_run(self, log):
        fill(log, 0, [MIDNIGHT_MS])
        gap = OffsetRange(0, 1, 1, skipped=1)
        assert [run.ranges for run in self.plan(log, [gap], 10)] == [(gap,)]

    @given(
        times=st.lists(HOURS, min_size=3, max_size=3),
        starts=st.lists(st.integers(0, 10), min_size=3, max_size=3),
        most=st.integers(1, 100),
    )
    @settings(max_examples=40, deadline=None)
    def test_every_partition_advances_within_the_limit_and_under_its_own_days(
        self, tmp_path_factory, times, starts, most
    ):
        log = EmbeddedLog(tmp_path_factory.mktemp("log") / "log.db", batch_records=3)
        log.create_topic(TOPIC, 3)
        for partition, times_ms in enumerate(times):
            fill(log, partition, times_ms)
        ends = {p: len(t) for p, t in enumerate(times)}
        ledger = {p: min(start, ends[p]) for p, start in enumerate(starts)}
        wanted = {
            r.partition: r
            for r in next_ranges({p: standing(at) for p, at in ledger.items()}, dict.fromkeys(ends, 0), ends, most)
        }
        runs = self.plan(log, list(wanted.values()), most)
        planned = [part for run in runs for part in run.ranges]
        assert sorted(part.partition for part in planned) == sorted(wanted)
        days = finder(log)
        for run in runs:
            assert run.messages == sum(part.end - part.start for part in run.ranges) <= most
            assert run.first_day <= run.last_day
            for part in run.ranges:
                assert part.start == wanted[part.partition].start
                assert part.start < part.end <= wanted[part.partition].end
                reached = {days.day(part.partition, offset) for offset in range(part.start, part.end)}
                assert min(reached) == run.first_day
                assert max(reached) == run.last_day
        log.close()


def test_a_run_key_says_topic_day_ranges_and_attempt():
    one = PlannedRun("iot-metrics", DAY, DAY, (OffsetRange(0, 5, 9), OffsetRange(2, 0, 7)))
    assert re.fullmatch(rf"iot-metrics\.\w{{6}}:{DAY}:0:5-9\+2:0-7#1", one.run_key(1, "home"))
    assert one.run_key(2) != one.run_key(1)
    several = PlannedRun("iot-metrics", DAY, NEXT_DAY, (OffsetRange(0, 5, 9),))
    assert re.fullmatch(rf"iot-metrics\.\w{{6}}:{DAY}\.\.{NEXT_DAY}:0:5-9#3", several.run_key(3))


def test_the_same_offsets_of_another_home_or_another_log_have_another_key():
    one = PlannedRun("t", DAY, DAY, (OffsetRange(0, 5, 9, log_id="a"),))
    other_log = PlannedRun("t", DAY, DAY, (OffsetRange(0, 5, 9, log_id="b"),))
    assert len({one.run_key(1, "home"), one.run_key(1, "other home"), other_log.run_key(1, "home")}) == 3


def test_a_partition_that_has_failed_shares_no_run(log):
    for partition in range(3):
        fill(log, partition, [day_start(DAY)] * 5)
    ranges = [OffsetRange(0, 0, 5), OffsetRange(1, 0, 5, apart=True), OffsetRange(2, 0, 5)]
    runs = plan_runs(TOPIC, ranges, finder(log), 100)
    assert sorted([r.partition for r in run.ranges] for run in runs) == [[0, 2], [1]]


def test_days_far_apart_do_not_share_a_run(tmp_path):
    log = EmbeddedLog(tmp_path / "far.db")
    log.create_topic(TOPIC, 1)
    old, new = day_start("2020-03-09"), day_start("2026-06-10")
    fill(log, 0, [old, old + HOUR_MS, new, new + HOUR_MS])
    days = DayFinder(log, TOPIC, day_start("2020-01-01"), new + DAY_MS)
    (first,) = plan_runs(TOPIC, [OffsetRange(0, 0, 4)], days, 100_000)
    assert (first.first_day, first.last_day, first.ranges) == ("2020-03-09", "2020-03-09", (OffsetRange(0, 0, 2),))
    (second,) = plan_runs(TOPIC, [OffsetRange(0, 2, 4)], days, 100_000)
    assert (second.first_day, second.last_day) == ("2026-06-10", "2026-06-10")
