"""kill -9 of ingestion at any moment: what is in is in once, what is not in follows, nothing is lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from itertools import combinations

import dagster as dg
import numpy as np
import pytest

from hvac_platform.config import CONSUMER_GROUP
from hvac_platform.execution import ingest_everything
from hvac_platform.ingestion import decoding, ranges
from hvac_platform.ingestion.messages import decode_batch
from hvac_platform.lost_runs import ENDS_WITHIN_SECONDS, OWNS_AFTER_SECONDS, end_lost_ingestion
from hvac_platform.resources import PlatformResource
from hvac_platform.stores import ledger as ledger_module
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.conftest import (
    BAD_VALUES,
    MIDNIGHT_MS,
    MINUTE_MS,
    all_succeed,
    bad,
    contents,
    open_dagster,
    readings,
    rows,
    start_process,
)

WINDOW_MS = 60_000


def messages():
    """Three devices around midnight: out of order, late, duplicate and bad ones among them."""
    generator = random.Random(7)
    good = [
        record
        for device, kind in (("RTU-001", "rooftop_unit"), ("MAU-001", "makeup_air_unit"), ("lathe", "lathe"))
        for record in readings(device, MIDNIGHT_MS - 4 * MINUTE_MS, 8, device_type=kind)
    ]
    wrong = [bad(kind, MIDNIGHT_MS, key) for kind in BAD_VALUES for key in (b"RTU-001", b"MAU-001")]
    late = [*readings("RTU-001", MIDNIGHT_MS - 3 * 3_600_000, 2), *good[::9]]
    everything = good + wrong
    generator.shuffle(everything)
    return everything + late, len({r[1] for r in good + late}), len(wrong)


# -- the process that dies ----------------------------------------------------------------------------------------------


def _ingest(deadly_write=None, inside=False, batch_messages=40, lease_seconds=1):
    """Body of a process: do what the sensor would, and die at some write of the store, before or after its commit."""
    decoding.BATCH_MESSAGES = batch_messages  # several writes for each partition
    ranges.FIRST_RETRY_SECONDS = 0
    ledger_module.LEASE_SECONDS = lease_seconds
    platform = PlatformResource()
    written = 0
    original = EmbeddedStore._write

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    @contextlib.contextmanager
    def counted(store):
        nonlocal written
        if threading.current_thread() is not threading.main_thread():  # renews leases, at its own pace
            with original(store):
                yield
            return
        with original(store):
            yield
            written += 1
            if inside and written == deadly_write:
                die()
        if written == deadly_write:
            die()

    EmbeddedStore._write = counted
    commit = platform.log.__class__.commit

    def deadly_commit(*arguments):
        if deadly_write == "commit of the group":
            die()
        commit(*arguments)

    platform.log.__class__.commit = deadly_commit
    with open_dagster(platform.settings.hvac_home) as instance:
        list(ingest_everything(instance, platform))
    (platform.settings.hvac_home / "writes").write_text(str(written))


def killed(home, *arguments):
    """Let a process run into its kill."""
    process = start_process(home, _ingest, *arguments)
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    return process


# -- what must hold -----------------------------------------------------------------------------------------------------


def in_the_log(platform, upto):
    """Good readings and rejected offsets of the log below some offsets by partition, counted by hand."""
    good, rejected = set(), set()
    for partition, end in upto.items():
        for batch in platform.log.read(platform.topic, partition, 0, end):
            decoded, refused = decode_batch(batch, now_ms=now_ms())
            good |= set(
                zip(
                    decoded.device_id,
                    decoded.timestamps_ms.tolist(),
                    decoded.metric_name,
                    decoded.metric_value.tolist(),
                    strict=True,
                )
            )
            rejected |= {(partition, r.offset) for r in refused}
    return good, rejected


def assert_all_in(platform, upto):
    """Every good message below the offsets is in once, with its window and vector; every bad one is a dead letter."""
    good, rejected = in_the_log(platform, upto)
    store = platform.store
    stored = Counter(rows(store, "device_metrics_raw", "device_id", "timestamp", "metric_name", "metric_value"))
    assert good <= set(stored)
    assert set(stored.values()) <= {1}
    letters = rows(store, "dead_letters", "kafka_partition", "record_offset")
    assert rejected <= set(letters)
    assert len(letters) == len(set(letters))
    embedded = {
        (device, start): summary
        for device, start, summary, blob in rows(
            store, "device_state_snapshots", "device_id", "snapshot_time", "metric_summary", "embedding"
        )
        if blob is not None and np.isfinite(np.frombuffer(blob, "<f4")).all()
    }
    for device, at_ms, metric, _ in good:
        assert embedded[device, at_ms - at_ms % WINDOW_MS][metric][0] >= 1
    return len(good), len(rejected)


def ledger(platform):
    return {p: entry.next_offset for p, entry in platform.store.ledger(platform.topic).items()}


def progress(platform):
    """Readings, snapshots, snapshots with a vector, offsets that the ledger counts as in."""
    vectors = rows(platform.store, "device_state_snapshots", "embedding")
    embedded = sum(blob is not None for (blob,) in vectors)
    return platform.store.count("device_metrics_raw"), len(vectors), embedded, sum(ledger(platform).values())


@pytest.fixture
def filled(home, platform):
    """The platform with all messages in its log, and how many of them are good and bad."""
    records, good, wrong = messages()
    for first in range(0, len(records), 100):
        platform.log.append(platform.topic, records[first : first + 100])
    found = in_the_log(platform, platform.log.end_offsets(platform.topic))
    assert [len(part) for part in found] == [good, wrong]
    return platform, good, wrong


@pytest.fixture
def expected(tmp_path):
    """Tables after one undisturbed run over the same messages."""
    records, _, _ = messages()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HVAC_HOME", str(tmp_path / "undisturbed"))
        platform = PlatformResource()
        for first in range(0, len(records), 100):
            platform.log.append(platform.topic, records[first : first + 100])
        with dg.DagsterInstance.ephemeral() as instance:
            list(ingest_everything(instance, platform))
        return contents(platform.store)


def ended(instance, platform):
    """Runs that are told to be dead once they have had the time to own their partitions, and to end after a move."""
    patience = max(OWNS_AFTER_SECONDS, ENDS_WITHIN_SECONDS) + 1
    return end_lost_ingestion(instance, platform, now_ms() + 1000 * patience)


def test_a_killed_run_holds_its_partitions_until_its_lease_ends_and_no_hand_is_needed(home, filled):
    platform, good, _ = filled
    killed(home, 12, False, 40, 5)
    with open_dagster(home) as instance:
        (dead,) = instance.get_runs()
        assert dead.status == dg.DagsterRunStatus.STARTED
        waited = []
        list(ingest_everything(instance, platform, on_wait=waited.append))
        assert set(waited) <= {
            "; ".join(f"partition {p} is being ingested by run {dead.run_id[:8]}" for p in some)
            for n in (1, 2, 3)
            for some in combinations(range(3), n)
        }
        assert waited
        assert ended(instance, platform) == [dead.run_id]
        assert ended(instance, platform) == []
    assert assert_all_in(platform, platform.log.end_offsets(platform.topic))[0] == good


def stop_between_writes(pid, home):
    """SIGSTOP at a moment at which the process holds no file's write lock: nobody else could write until it wakes."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        if not any(is_locked(path) for path in home.rglob("*.db")):
            return
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.005)


def is_locked(path):
    with contextlib.closing(sqlite3.connect(path, timeout=0.2, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
    return False


def test_a_run_that_was_stopped_for_longer_than_its_lease_moves_nothing_when_it_wakes(home, filled, expected):
    """SIGSTOP, as a paused virtual machine does it: another run takes over, and both end well."""
    platform, _, _ = filled
    sleeper = start_process(home, _ingest, None, False, 5)
    with open_dagster(home) as instance:
        while not any(entry.held_by(now_ms()) for entry in platform.store.ledger(platform.topic).values()):
            assert sleeper.is_alive()
            time.sleep(0.002)
        stop_between_writes(sleeper.pid, home)
        fences = {p: entry.fence for p, entry in platform.store.ledger(platform.topic).items()}
        list(ingest_everything(instance, platform))
        done = platform.store.ledger(platform.topic)
        assert all(done[p].fence > fence for p, fence in fences.items())
        os.kill(sleeper.pid, signal.SIGCONT)
        sleeper.join(120)
        after = platform.store.ledger(platform.topic)
    assert {p: entry.next_offset for p, entry in after.items()} == platform.log.end_offsets(platform.topic)
    assert {p: entry.run_id for p, entry in after.items()} == {p: entry.run_id for p, entry in done.items()}
    assert contents(platform.store) == expected


def test_two_ingesting_processes_at_once_share_the_work_and_neither_fails(home, filled, expected):
    platform, _, _ = filled
    all_succeed([start_process(home, _ingest) for _ in range(2)])
    assert ledger(platform) == platform.log.end_offsets(platform.topic)
    assert contents(platform.store) == expected
    with open_dagster(home) as instance:
        assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}


# The write at which to die, and whether before its commit: the first rows, among the rows, among snapshots, between the
# ledgers of two partitions, and between the ledger and the group's offsets.
STAGES = [
    (1, True),
    (14, False),
    (36, True),
    (18, False),
    (20, False),
    (22, True),
    (8, False),
    ("commit of the group", False),
]
RANDOM_KILLS = 2


def killed_at_random(home, instance, seconds):
    """Let a process begin a run, and kill it some time after."""
    process, before = start_process(home, _ingest), instance.get_runs_count()
    while instance.get_runs_count() == before and process.is_alive():
        time.sleep(0.002)
    process.join(seconds)
    process.kill()
    process.join(120)
    return process


def test_after_kills_at_every_stage_and_at_random_moments_nothing_is_lost_or_twice(
    home, filled, expected, monkeypatch, say
):
    monkeypatch.setattr(ranges, "FIRST_RETRY_SECONDS", 0)
    platform, good, wrong = filled
    ends, history = platform.log.end_offsets(platform.topic), []
    generator = random.Random()
    with open_dagster(home) as instance:
        for stage in [*STAGES, *(generator.uniform(0.1, 1.2) for _ in range(RANDOM_KILLS))]:
            if ledger(platform) == ends:  # a kill came too late: begin again, over the same tables
                platform.store.delete(
                    "ingestion_ledger", {"topic": [platform.topic] * 3, "kafka_partition": sorted(ends)}
                )
            if isinstance(stage, tuple):
                killed(home, *stage)
            else:
                killed_at_random(home, instance, stage)
            abandoned = len(ended(instance, platform))
            assert_all_in(platform, ledger(platform))  # the ledger is never ahead of the tables
            history.append((abandoned, *progress(platform)))
        platform.log.append(platform.topic, messages()[0][:1])
        list(ingest_everything(instance, platform))  # the sensor goes on
        assert ended(instance, platform) == []
        statuses = Counter(run.status.value for run in instance.get_runs())
    ends = platform.log.end_offsets(platform.topic)
    assert ledger(platform) == ends == platform.log.committed(CONSUMER_GROUP, platform.topic)
    assert assert_all_in(platform, ends)[0] == good
    assert contents(platform.store) == expected
    assert platform.store.count("dead_letters") == wrong
    assert sum(abandoned for abandoned, *_ in history) >= 5
    stages = [seen for _, *seen in history]
    assert any(raw < good and not snapshots for raw, snapshots, _, _ in stages)
    assert all(snapshots == vectors for _, snapshots, vectors, _ in stages)  # each is written once, with its vector
    assert any(snapshots and sum(ends.values()) > offsets for _, snapshots, _, offsets in stages)
    assert any(offsets for *_, offsets in stages)
    say(
        f"{len(history)} kills, {statuses['FAILURE']} runs died, {statuses['SUCCESS']} ended",
        f"{good} good messages are in once, {wrong} bad ones in dead_letters",
        "readings/snapshots/vectors/offsets after each kill: " + ", ".join("/".join(map(str, seen)) for seen in stages),
    )
