"""Whether data flow is told from log and ledger: once, and by looking again and again."""

from __future__ import annotations

import pytest

from hvac_platform.ingestion.flow import (
    OWNED_STANDS_STILL_MS,
    STANDS_STILL_MS,
    TRANSACTION_STANDS_STILL_MS,
    FlowWatch,
    flows,
)
from hvac_platform.log.embedded import EmbeddedLog
from hvac_platform.stores.base import LedgerEntry
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.conftest import NOON_MS

TOPIC = "t"


@pytest.fixture
def log(tmp_path):
    opened = EmbeddedLog(tmp_path / "log.db")
    opened.create_topic(TOPIC, 2)
    opened.append_to_partition(TOPIC, 0, [(b"k", b"v", NOON_MS)] * 10)
    yield opened
    opened.close()


class Ledger:
    """Stands for a store that has these entries."""

    def __init__(self, *entries):
        self.entries = {entry.kafka_partition: entry for entry in entries}

    def ledger(self, topic):
        assert topic == TOPIC
        return self.entries


def entry(partition, next_offset, **columns):
    return LedgerEntry(TOPIC, partition, next_offset, "run", NOON_MS, NOON_MS, 0, **columns)


def states(log, *entries, now=None):
    return {f.partition: (f.state, f.waiting) for f in flows(log, Ledger(*entries), TOPIC, now or now_ms())}


def test_what_one_look_says(log):
    held = {"holder": "run", "held_until": now_ms() + 5_000}
    assert states(log) == {0: ("waiting", 10), 1: ("all in", 0)}
    assert states(log, entry(0, 4)) == {0: ("waiting", 6), 1: ("all in", 0)}
    assert states(log, entry(0, 10), entry(1, 0)) == {0: ("all in", 0), 1: ("all in", 0)}
    assert states(log, entry(0, 4, **held))[0] == ("ingested", 6)
    assert states(log, entry(0, 4, failures=2, error="no disk"))[0] == ("failing", 6)
    assert states(log, entry(0, 10, failures=2, error="no disk"))[0] == ("all in", 0)
    assert states(log, entry(0, 4, log_id="another"))[0] == ("made again", 10)
    assert states(log, entry(0, 400))[0] == ("made again", 10)
    assert states(log, entry(7, 3))[7] == ("gone", 0)


def test_records_that_are_gone_before_they_were_read_are_told_before_the_next_run_counts_them(log):
    log.apply_retention(TOPIC, now_ms())
    log.append_to_partition(TOPIC, 0, [(b"k", b"v", NOON_MS)] * 2)
    (flow, _) = flows(log, Ledger(entry(0, 4)), TOPIC, now_ms())
    assert (flow.state, flow.waiting, flow.passed) == ("waiting", 2, 6)
    assert flow.said == "6 offsets from 4 on were removed from the log before they were read"
    log.apply_retention(TOPIC, now_ms())
    watch, start = FlowWatch(), now_ms()
    assert states(log, entry(0, 4))[0] == ("waiting", 0)  # the ledger has still to pass them
    assert looked(watch, log, entry(0, 4), start)[0] == "waiting"
    assert looked(watch, log, entry(0, 4), start + STANDS_STILL_MS)[0] == "standing still"
    assert states(log, entry(0, 12))[0] == ("all in", 0)


def test_a_failure_is_told_with_what_was_said_and_how_the_search_goes(log):
    (flow, _) = flows(log, Ledger(entry(0, 4, failures=3, error="TypeError: 7", range_limit=8)), TOPIC, now_ms())
    assert flow.said == (
        "failed 3 times at offset 4: TypeError: 7; the message that is the cause is searched for, 8 at a time"
    )
    assert not flow.ok


def test_the_document_for_programs_has_times_as_rfc_3339(log):
    (flow, _) = flows(log, Ledger(entry(0, 4)), TOPIC, now_ms())
    document = flow.document()
    assert (document["moved_at"], document["watermark"]) == ("2025-03-10T12:00:00Z",) * 2
    assert (document["begin"], document["end"], document["ledger"], document["waiting"]) == (0, 10, 4, 6)


def looked(watch, log, ledger, now):
    return {f.partition: f.state for f in watch.look(flows(log, Ledger(ledger), TOPIC, now), now)}


def test_messages_that_wait_while_the_ledger_does_not_move_stand_still_after_a_while(log):
    watch, start = FlowWatch(), now_ms()
    assert looked(watch, log, entry(0, 4), start)[0] == "waiting"
    assert looked(watch, log, entry(0, 4), start + STANDS_STILL_MS - 1)[0] == "waiting"
    assert looked(watch, log, entry(0, 4), start + STANDS_STILL_MS)[0] == "standing still"
    assert looked(watch, log, entry(0, 5), start + STANDS_STILL_MS + 1)[0] == "waiting"  # it moved


def test_a_watch_goes_on_from_what_an_earlier_one_has_seen(log):
    first, start = FlowWatch(), now_ms()
    looked(first, log, entry(0, 4), start)
    assert looked(FlowWatch(first.seen), log, entry(0, 4), start + STANDS_STILL_MS)[0] == "standing still"


def test_a_run_that_owns_the_partition_has_longer(log):
    watch, start = FlowWatch(), now_ms()
    for after, state in ((0, "ingested"), (STANDS_STILL_MS, "ingested"), (OWNED_STANDS_STILL_MS, "standing still")):
        at = start + after
        assert looked(watch, log, entry(0, 4, holder="run", held_until=at + 5_000), at)[0] == state


class OpenTransaction:
    """The log, with records of a transaction behind its end."""

    def __init__(self, log, partition, records):
        self.log, self.partition, self.records = log, partition, records

    def __getattr__(self, name):
        return getattr(self.log, name)

    def high_watermarks(self, topic):
        ends = self.log.end_offsets(topic)
        return {**ends, self.partition: ends[self.partition] + self.records}


def test_records_behind_a_transaction_that_nobody_ends_are_told(log):
    watch, start, hidden = FlowWatch(), now_ms(), OpenTransaction(log, 0, 3)
    everything = entry(0, 10)
    for after, state in ((0, "all in"), (STANDS_STILL_MS, "all in"), (TRANSACTION_STANDS_STILL_MS, "standing still")):
        at = start + after
        flow = watch.look(flows(hidden, Ledger(everything), TOPIC, at), at)[0]
        assert (flow.state, flow.uncommitted) == (state, 3)
    assert "transaction" in flow.said
    assert looked(watch, log, everything, start + TRANSACTION_STANDS_STILL_MS + 1)[0] == "all in"  # it was ended


def test_a_log_that_was_made_again_is_no_trouble_while_it_is_about_to_be_read(log):
    watch, start = FlowWatch(), now_ms()
    assert looked(watch, log, entry(0, 400), start)[0] == "waiting"
    assert looked(watch, log, entry(0, 400), start + STANDS_STILL_MS)[0] == "standing still"
