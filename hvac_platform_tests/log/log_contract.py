"""What every message log promises, whatever it is built on."""

from __future__ import annotations

import os
import secrets
import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from hvac_platform.log.base import (
    KEEP_FOREVER,
    MAX_RECORD_BYTES,
    LogError,
    MessageLog,
    OffsetBeyondEndError,
    OffsetOutOfRangeError,
    UnknownPartitionError,
    UnknownTopicError,
)
from hvac_platform.log.partitioner import partition_for

PARTITIONS = 3


def stored(log, topic, partition, start=None, end=None, max_records=50_000):
    """(offset, key, value, timestamp) of each record of a range; by default of all."""
    start = log.begin_offsets(topic)[partition] if start is None else start
    end = log.end_offsets(topic)[partition] if end is None else end
    return [
        record
        for batch in log.read(topic, partition, start, end, max_records)
        for record in zip(batch.offsets.tolist(), batch.keys, batch.values, batch.timestamps_ms.tolist(), strict=True)
    ]


def numbered(count, *, first=0, at_ms=0):
    """Records with one key, whose values count."""
    return [(b"k", b"%d" % i, at_ms + i) for i in range(first, first + count)]


class AsPlainLists(RuleBasedStateMachine):
    """Whatever the order of operations, a log answers as three Python lists would. Who uses it calls ``begin``."""

    EMPTY_RECORDS = True
    times = st.integers(0, 1_000)
    numbers = st.integers(0, PARTITIONS - 1)
    records = st.tuples(st.none() | st.binary(max_size=3), st.none() | st.binary(max_size=5), times)

    def begin(self, log, topic):
        self.log, self.topic = log, topic
        self.log._keyless_turn = 0  # random by design, and a test that is run again must do the same again
        self.model = {partition: [] for partition in range(PARTITIONS)}
        self.begins = dict.fromkeys(self.model, 0)
        self.commits = {}

    def possible(self, records):
        return [r for r in records if self.EMPTY_RECORDS or r[:2] != (None, None)]

    def appended(self, appended, records_of):
        """Take over what an append is to have done."""
        assert appended == {p: (len(self.model[p]), len(records)) for p, records in records_of.items() if records}
        for partition, records in records_of.items():
            self.model[partition] += records

    @rule(records=st.lists(records, max_size=12))
    def append_by_key(self, records):
        records = self.possible(records)
        appended = self.log.append(self.topic, records)
        place = {record[0]: partition_for(record[0], PARTITIONS) for record in records if record[0] is not None}
        records_of = {p: [record for record in records if place.get(record[0]) == p] for p in self.model}
        if any(key is None for key, _, _ in records):
            # Where the records without a key go is the log's choice, but they go together and keep their order.
            (chosen,) = (p for p in self.model if appended.get(p, (0, 0))[1] > len(records_of[p]))
            records_of[chosen] = [record for record in records if place.get(record[0], chosen) == chosen]
        self.appended(appended, records_of)

    @rule(partition=numbers, records=st.lists(records, max_size=12))
    def append_to_partition(self, partition, records):
        records = self.possible(records)
        self.appended(self.log.append_to_partition(self.topic, partition, records), {partition: records})

    @rule(partition=numbers, max_records=st.integers(1, 20), data=st.data())
    def read_exactly_the_range(self, partition, max_records, data):
        end = data.draw(st.integers(self.begins[partition], len(self.model[partition])))
        start = data.draw(st.integers(self.begins[partition], end))
        batches = list(self.log.read(self.topic, partition, start, end, max_records))
        assert all(0 < len(batch) <= max_records for batch in batches)
        assert [offset for batch in batches for offset in batch.offsets] == list(range(start, end))
        assert stored(self.log, self.topic, partition, start, end, max_records) == [
            (offset, *self.model[partition][offset]) for offset in range(start, end)
        ]

    @rule(timestamp_ms=times)
    def find_a_time(self, timestamp_ms):
        assert self.log.offsets_for_time(self.topic, timestamp_ms) == {
            p: next((o for o in range(self.begins[p], len(of)) if of[o][2] >= timestamp_ms), None)
            for p, of in self.model.items()
        }

    @rule(group=st.sampled_from("ab"), offsets=st.dictionaries(numbers, st.integers(0, 99)))
    def commit(self, group, offsets):
        self.log.commit(f"{self.topic}-{group}", self.topic, offsets)
        self.commits.setdefault(group, {}).update(offsets)

    @rule(group=st.sampled_from("ab"))
    def look_up_what_is_committed(self, group):
        assert self.log.committed(f"{self.topic}-{group}", self.topic) == self.commits.get(group, {})

    @invariant()
    def bounds_agree(self):
        if hasattr(self, "model"):
            ends = {partition: len(records) for partition, records in self.model.items()}
            assert self.log.begin_offsets(self.topic) == self.begins
            assert self.log.end_offsets(self.topic) == ends


class MessageLogContract:
    """Tests of a log that the fixture ``log`` gives, with the topic ``topic`` of three partitions in it."""

    examples, steps = 80, 25
    """Of the comparison with plain lists; fewer where a server is asked."""

    empty_records = True
    """False where a record needs a key or a value: kafka-python sends none with neither, so it is refused in words."""

    @pytest.fixture
    def topic(self):
        """A name that no other test uses."""
        return f"metrics-{secrets.token_hex(6)}"

    def another(self, log):
        """One more client of the same log."""
        raise NotImplementedError

    def lose(self, log, topic, partition, before):
        """Let the oldest records go, as retention does."""
        raise NotImplementedError

    def make_again(self, log, topic):
        """Delete the topic and create it with as many partitions."""
        raise NotImplementedError

    def machine(self, log):
        """The comparison with plain lists, with what else this log can do."""
        empty = self.empty_records

        class Machine(AsPlainLists):
            EMPTY_RECORDS = empty

            @initialize()
            def create(self):
                topic = f"lists-{secrets.token_hex(6)}"
                assert log.create_topic(topic, PARTITIONS, KEEP_FOREVER)
                self.begin(log, topic)

        return Machine

    # -- topics --------------------------------------------------------------------------------------------------------

    def test_it_is_a_message_log(self, log, topic):
        assert isinstance(log, MessageLog)
        assert log.partitions(topic) == [0, 1, 2]
        assert log.begin_offsets(topic) == log.end_offsets(topic) == log.high_watermarks(topic) == {0: 0, 1: 0, 2: 0}
        assert log.append(topic, []) == {}
        assert log.append_to_partition(topic, 1, []) == {}

    def test_creating_a_topic_twice_changes_nothing(self, log, topic):
        log.append_to_partition(topic, 2, numbered(1))
        assert log.create_topic(topic, partitions=8) is False
        assert log.end_offsets(topic) == {0: 0, 1: 0, 2: 1}

    @pytest.mark.parametrize("name", ["", "a b", "é", "..", "x" * 250, "a/b"])
    def test_topic_names_are_kafkas(self, log, name):
        with pytest.raises(LogError, match="topic name"):
            log.create_topic(name)

    def test_topics_are_apart_in_records_offsets_and_commits(self, log, topic):
        other = f"{topic}.other_TOPIC-2"
        assert log.create_topic(other, 5, KEEP_FOREVER) is True
        assert log.partitions(other) == [0, 1, 2, 3, 4]
        log.append_to_partition(topic, 1, numbered(3))
        log.append_to_partition(other, 1, numbered(2, first=7))
        log.commit("group", other, {1: 2})
        assert (log.end_offsets(topic)[1], log.end_offsets(other)[1]) == (3, 2)
        assert [value for _, _, value, _ in stored(log, other, 1)] == [b"7", b"8"]
        assert log.committed("group", topic) == {}

    def test_a_topic_has_an_identity_that_every_client_sees_and_no_other_topic_has(self, log, topic):
        log.create_topic(f"{topic}-other", 1, KEEP_FOREVER)
        client = self.another(log)
        assert log.identity(topic) == client.identity(topic) != ""
        assert log.identity(f"{topic}-other") != log.identity(topic)
        client.close()

    def test_a_topic_that_is_made_again_is_another_one_and_begins_anew(self, log, topic):
        log.append_to_partition(topic, 0, numbered(5))
        before = log.identity(topic)
        self.make_again(log, topic)
        assert log.identity(topic) not in ("", before)
        assert log.begin_offsets(topic) == log.end_offsets(topic) == {0: 0, 1: 0, 2: 0}
        with pytest.raises(OffsetBeyondEndError):
            log.read(topic, 0, 0, 5)
        assert log.append_to_partition(topic, 0, numbered(1, first=9)) == {0: (0, 1)}
        assert [value for _, _, value, _ in stored(log, topic, 0)] == [b"9"]

    def test_errors_say_what_to_do(self, log, topic):
        with pytest.raises(LogError, match="at least 1 partition"):
            log.create_topic("other", partitions=0)
        with pytest.raises(LogError, match="retention_ms"):
            log.create_topic("other", retention_ms=-2)
        for missing in (
            lambda: log.partitions("nothing"),
            lambda: log.identity("nothing"),
            lambda: log.begin_offsets("nothing"),
            lambda: log.end_offsets("nothing"),
            lambda: log.high_watermarks("nothing"),
            lambda: log.losing("nothing"),
            lambda: log.offsets_for_time("nothing", 0),
            lambda: log.read("nothing", 0, 0, 0),
            lambda: log.append("nothing", numbered(1)),
            lambda: log.append("nothing", []),
            lambda: log.append_to_partition("nothing", 0, numbered(1)),
            lambda: log.committed("group", "nothing"),
            lambda: log.commit("group", "nothing", {0: 1}),
        ):
            with pytest.raises(UnknownTopicError, match="create_topic"):
                missing()
        for missing in (
            lambda: log.read(topic, 3, 0, 0),
            lambda: log.append_to_partition(topic, 3, numbered(1)),
            lambda: log.commit("group", topic, {3: 0}),
        ):
            with pytest.raises(UnknownPartitionError, match="partitions 0 to 2, not 3"):
                missing()
        with pytest.raises(OffsetBeyondEndError, match="ends at 0"):
            log.read(topic, 0, 0, 1)
        with pytest.raises(LogError, match="over the 1048576"):
            log.append(topic, [(b"k", b"x" * MAX_RECORD_BYTES, 0)])
        with pytest.raises(LogError, match="before 1970"):
            log.append(topic, [(b"k", b"v", -1)])
        with pytest.raises(LogError, match="can't commit"):
            log.commit("group", topic, {0: -1})
        with pytest.raises(ValueError, match="after its end"):
            log.read(topic, 0, 2, 1)
        with pytest.raises(ValueError, match="max_records"):
            log.read(topic, 0, 0, 0, max_records=0)

    # -- appending -----------------------------------------------------------------------------------------------------

    def test_a_refused_append_leaves_nothing(self, log, topic):
        with pytest.raises(LogError):
            log.append(topic, [*numbered(100), (b"other", b"v", -1)])
        assert sum(log.end_offsets(topic).values()) == 0

    def test_records_come_back_as_they_were_sent(self, log, topic):
        records = [(b"k", b"v", 7), (b"", b"", 0), (b"tombstone", None, 5), (b"\xff\x00", "°F".encode(), 10**12)]
        records += [(None, b"no key", 8), (None, b"", 9)]
        assert log.append_to_partition(topic, 1, records) == {1: (0, 6)}
        assert stored(log, topic, 1) == [(offset, *record) for offset, record in enumerate(records)]
        (batch,) = log.read(topic, 1, 0, 6)
        assert (batch.topic, batch.partition, batch.headers, batch.unreadable) == (topic, 1, [], [])
        assert batch.offsets.dtype == batch.timestamps_ms.dtype == np.int64

    def test_a_record_with_neither_key_nor_value_is_kept_or_refused_in_words(self, log, topic):
        if self.empty_records:
            assert log.append_to_partition(topic, 0, [(None, None, 5)]) == {0: (0, 1)}
            assert stored(log, topic, 0) == [(0, None, None, 5)]
        else:
            with pytest.raises(LogError, match="needs a key or a value"):
                log.append_to_partition(topic, 0, [(None, None, 5)])
            assert log.end_offsets(topic)[0] == 0

    def test_what_was_appended_is_there_for_every_client_and_after_a_reopening(self, log, topic):
        client = self.another(log)
        assert client.create_topic(topic) is False
        log.append_to_partition(topic, 0, numbered(30))
        assert client.end_offsets(topic) == client.high_watermarks(topic) == {0: 30, 1: 0, 2: 0}
        assert client.append_to_partition(topic, 0, numbered(5, first=30)) == {0: (30, 5)}
        client.commit("group", topic, {0: 35})
        client.close()
        log.close()
        reopened = self.another(log)
        assert [value for _, _, value, _ in stored(reopened, topic, 0)] == [b"%d" % i for i in range(35)]
        assert reopened.committed("group", topic) == {0: 35}
        reopened.close()

    def test_keys_choose_the_partition_and_keep_their_order(self, log, topic):
        records = [(b"device-%d" % (i % 20), b"%d" % i, i) for i in range(500)]
        appended = log.append(topic, records)
        expected = {
            partition: [record for record in records if partition_for(record[0], 3) == partition]
            for partition in range(3)
        }
        assert appended == {partition: (0, len(of)) for partition, of in expected.items()}
        for partition, of in expected.items():
            assert [record[1:] for record in stored(log, topic, partition)] == of

    def test_records_without_keys_stay_together_and_move_on(self, log, topic):
        used = []
        for turn in range(3):
            (partition,) = log.append(topic, [(None, b"%d" % i, turn) for i in range(50)])
            used.append(partition)
        assert sorted(used) == [0, 1, 2]
        assert log.end_offsets(topic) == {0: 50, 1: 50, 2: 50}

    def test_the_largest_record_fits(self, log, topic):
        values = [os.urandom(MAX_RECORD_BYTES - 1), b"small", os.urandom(700_000), os.urandom(900_000)]
        log.append_to_partition(topic, 0, [(b"k", value, 0) for value in values])
        assert [value for _, _, value, _ in stored(log, topic, 0)] == values

    def test_threads_share_a_log(self, log, topic):
        def append():
            for _ in range(20):
                log.append_to_partition(topic, 0, numbered(3))
                seen.append(len(stored(log, topic, 0)))

        seen = []
        threads = [threading.Thread(target=append) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(seen) == 80
        assert Counter(value for _, _, value, _ in stored(log, topic, 0)) == {b"0": 80, b"1": 80, b"2": 80}

    # -- reading -------------------------------------------------------------------------------------------------------

    def test_ranges_are_exact_in_batches_of_at_most_max_records(self, log, topic):
        log.append_to_partition(topic, 0, numbered(1_000))
        for start, end in ((0, 1_000), (0, 1), (999, 1_000), (137, 138), (137, 643), (500, 500), (1_000, 1_000)):
            for max_records in (1, 7, 100, 50_000):
                if (end - start) / max_records > 100:
                    continue
                batches = list(log.read(topic, 0, start, end, max_records))
                assert all(0 < len(batch) <= max_records for batch in batches)
                assert [offset for batch in batches for offset in batch.offsets] == list(range(start, end))
                assert [value for batch in batches for value in batch.values] == [b"%d" % i for i in range(start, end)]

    def test_reads_interleave_and_may_be_abandoned(self, log, topic):
        for partition in range(3):
            log.append_to_partition(topic, partition, numbered(30, first=100 * partition))
        readers = [log.read(topic, partition, 0, 30, max_records=10) for partition in (0, 1, 2, 0)]
        first = [next(reader) for reader in readers]
        second = [next(reader) for reader in reversed(readers)]
        assert [batch.values[0] for batch in first] == [b"0", b"100", b"200", b"0"]
        assert [batch.values[0] for batch in second] == [b"10", b"210", b"110", b"10"]
        del readers
        assert len(stored(log, topic, 0)) == 30

    def test_a_range_is_checked_by_the_call_and_not_by_the_first_batch(self, log, topic):
        log.append_to_partition(topic, 0, numbered(3))
        with pytest.raises(OffsetBeyondEndError) as raised:
            log.read(topic, 0, 1, 4)
        assert (raised.value.topic, raised.value.partition) == (topic, 0)
        assert (raised.value.requested, raised.value.end) == (4, 3)

    def test_records_that_are_gone_are_a_gap_that_readers_are_told_of(self, log, topic):
        log.append_to_partition(topic, 0, [(None, os.urandom(1_000), 1_000) for _ in range(25)])
        log.append_to_partition(topic, 0, [(None, b"new", 10**12)] * 5)
        slow_reader = log.read(topic, 0, 0, 30, max_records=1)
        self.lose(log, topic, 0, before=25)
        assert (log.begin_offsets(topic), log.end_offsets(topic)) == ({0: 25, 1: 0, 2: 0}, {0: 30, 1: 0, 2: 0})
        with pytest.raises(OffsetOutOfRangeError) as raised:
            log.read(topic, 0, 3, 30)
        assert (raised.value.requested, raised.value.begin) == (3, 25)
        with pytest.raises(OffsetOutOfRangeError) as raised:
            list(slow_reader)
        assert (raised.value.requested, raised.value.begin) == (0, 25)
        assert [offset for offset, *_ in stored(log, topic, 0)] == list(range(25, 30))
        for wanted, first in ((0, 25), (1_000, 25), (1_001, 25), (10**12, 25), (10**12 + 1, None)):
            assert log.offsets_for_time(topic, wanted) == {0: first, 1: None, 2: None}

    def test_a_reader_that_is_overtaken_gets_what_was_read_before_it_is_told(self, log, topic):
        for first in range(0, 600, 10):
            log.append_to_partition(topic, 0, [(b"%d" % n, os.urandom(10_000), n) for n in range(first, first + 10)])
        reader = log.read(topic, 0, 0, 600, max_records=7)
        seen = next(reader).offsets.tolist()
        self.lose(log, topic, 0, before=600)

        def read_on():
            for batch in reader:
                seen.extend(batch.offsets.tolist())

        with pytest.raises(OffsetOutOfRangeError) as raised:
            read_on()
        assert seen == list(range(raised.value.requested))
        assert raised.value.begin == 600

    def test_a_partition_that_lost_all_keeps_its_offset(self, log, topic):
        log.append_to_partition(topic, 1, numbered(3))
        self.lose(log, topic, 1, before=3)
        assert log.begin_offsets(topic)[1] == log.end_offsets(topic)[1] == 3
        assert log.append_to_partition(topic, 1, numbered(1)) == {1: (3, 1)}

    def test_a_time_is_found_among_timestamps_in_any_order(self, log, topic):
        random = np.random.default_rng(4)
        times = {0: random.integers(0, 1_000, 400).tolist(), 1: [5, 5, 900, 5, 5], 2: []}
        for partition, timestamps in times.items():
            for first in range(0, len(timestamps), 40):  # several record batches
                log.append_to_partition(topic, partition, [(b"k", b"v", t) for t in timestamps[first : first + 40]])
        for wanted in (-5, 0, 1, 5, 6, 500, 899, 900, 901, 990, 998, 999, 1_000, 10**13):
            assert log.offsets_for_time(topic, wanted) == {
                partition: next((offset for offset, t in enumerate(timestamps) if t >= wanted), None)
                for partition, timestamps in times.items()
            }, wanted

    # -- groups, and all together --------------------------------------------------------------------------------------

    def test_committed_offsets_are_by_group_and_partition(self, log, topic):
        group = f"group-{secrets.token_hex(4)}"
        assert log.committed(group, topic) == {}
        log.commit(group, topic, {0: 5, 2: 0})
        log.commit(group, topic, {2: 7})
        log.commit(group, topic, {})
        assert log.committed(group, topic) == {0: 5, 2: 7}
        assert log.committed(f"{group}-other", topic) == {}

    def test_a_closed_log_says_so(self, log, topic):
        log.close()
        log.close()
        with pytest.raises(LogError, match="closed"):
            log.end_offsets(topic)

    def test_whatever_the_order_of_operations_it_answers_as_plain_lists_would(self, log):
        how = settings(
            max_examples=self.examples,
            stateful_step_count=self.steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(self.machine(log), settings=how)
