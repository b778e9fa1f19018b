"""Ingestion that stands: what arrives is in at once, a snapshot is written when its window is complete, nothing is lost."""

import os
import signal
import time

import apsw
import dagster as dg
import numpy as np
import pytest

from hvac_platform.execution import ingest_everything
from hvac_platform.ingestion import ranges
from hvac_platform.ingestion import standing as standing_module
from hvac_platform.ingestion.proof import newest_proofs
from hvac_platform.ingestion.standing import Registry, StandingIngestion
from hvac_platform.log.base import LogError
from hvac_platform.resources import PlatformResource
from hvac_platform.stores import ledger as ledger_module
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.window_lengths import WindowLengths
from hvac_platform.timestamps import now_ms
from hvac_platform_tests.conftest import (
    BAD_VALUES,
    MIDNIGHT_MS,
    MINUTE_MS,
    bad,
    contents,
    open_dagster,
    reading,
    readings,
    rows,
    start_process,
)


def standing(platform, holder="standing", *, lasts=60.0, **options):
    """A standing ingestion over the platform's store and log."""
    lengths = WindowLengths(platform.store, platform.settings.window_ms)
    registry = Registry(platform.store, lambda _: None, lambda _: None, platform.settings.hvac_max_devices, lengths)
    return StandingIngestion(
        platform.store,
        platform.log,
        platform.topic,
        platform.settings,
        platform.encoders,
        platform.leases,
        holder,
        registry,
        until=time.monotonic() + lasts,
        **options,
    )


def take_all(one, times=20):
    """Steps until nothing is left to do."""
    for _ in range(times):
        if not one.step():
            return
    raise AssertionError("it still finds something to do")


def ledger(platform):
    return {p: entry.next_offset for p, entry in platform.store.ledger(platform.topic).items()}


def recent(device_id, minutes, *, ends_ago_ms=0):
    """Readings each ten seconds up to some time ago."""
    start = now_ms() - ends_ago_ms - minutes * MINUTE_MS
    return readings(device_id, start - start % 10_000, minutes)


def history():
    good = [r for d in ("RTU-001", "MAU-001", "lathe") for r in readings(d, MIDNIGHT_MS - 4 * MINUTE_MS, 8)]
    wrong = [bad(kind, MIDNIGHT_MS, key) for kind in BAD_VALUES for key in (b"RTU-001", b"MAU-001")]
    return good, wrong


@pytest.fixture
def expected(tmp_path):
    """Tables after runs of one range each over the same history."""
    good, wrong = history()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HVAC_HOME", str(tmp_path / "by_ranges"))
        other = PlatformResource()
        other.log.append(other.topic, good + wrong)
        with dg.DagsterInstance.ephemeral() as instance:
            list(ingest_everything(instance, other))
        return contents(other.store)


def test_it_leaves_the_same_tables_as_runs_of_one_range_each(platform, expected):
    good, wrong = history()
    platform.log.append(platform.topic, good + wrong)
    one = standing(platform)
    take_all(one)
    one.let_go()
    assert ledger(platform) == platform.log.end_offsets(platform.topic)
    assert contents(platform.store) == expected
    assert one.counts.accepted == len(good)
    assert one.counts.rejected == len(wrong)


def test_in_many_small_steps_the_tables_are_the_same(platform, expected, monkeypatch):
    monkeypatch.setattr(standing_module, "STEP_MESSAGES", 7)
    good, wrong = history()
    one = standing(platform)
    for first in range(0, len(good + wrong), 90):
        platform.log.append(platform.topic, (good + wrong)[first : first + 90])
        take_all(one, 200)
    assert contents(platform.store) == expected


def test_an_open_window_has_readings_and_no_snapshot_until_it_is_complete(platform, monkeypatch):
    platform.log.append(platform.topic, recent("RTU-001", 3))
    one, began = standing(platform), now_ms()
    take_all(one)
    window = platform.settings.window_ms
    starts = {t - t % window for (t,) in rows(platform.store, "device_metrics_raw", "timestamp")}
    complete = {s for s in starts if s + window + platform.settings.allowed_lateness_ms <= began}
    assert complete < starts
    snapshots = {t for (t,) in rows(platform.store, "device_state_snapshots", "snapshot_time")}
    assert complete <= snapshots < starts
    (entry,) = [e for e in platform.store.ledger(platform.topic).values() if e.open_since is not None]
    assert entry.open_since == min(starts - snapshots)
    assert entry.next_offset == platform.log.end_offsets(platform.topic)[entry.kafka_partition]
    later = now_ms() + 2 * window
    monkeypatch.setattr(standing_module, "now_ms", lambda: later)
    take_all(one)  # nothing has arrived: the clock alone completes them
    assert {t for (t,) in rows(platform.store, "device_state_snapshots", "snapshot_time")} == starts
    after = platform.store.ledger(platform.topic)[entry.kafka_partition]
    assert after.open_since is None
    assert after.caught_up_at == later


def test_every_snapshot_has_its_vector(platform):
    platform.log.append(platform.topic, recent("RTU-001", 5, ends_ago_ms=5 * MINUTE_MS))
    take_all(standing(platform))
    vectors = [v for (v,) in rows(platform.store, "device_state_snapshots", "embedding")]
    assert len(vectors) >= 5
    assert all(v is not None and np.isfinite(np.frombuffer(v, "<f4")).all() for v in vectors)


def test_windows_that_a_killed_run_left_open_are_completed_by_the_next_of_either_kind(home, platform, instance):
    platform.log.append(platform.topic, recent("RTU-001", 2))
    take_all(standing(platform, "first"))  # and then nothing is heard of it
    left = {e.open_since for e in platform.store.ledger(platform.topic).values()} - {None}
    assert left
    release(platform)
    list(ingest_everything(instance, platform))
    window = platform.settings.window_ms
    starts = {t - t % window for (t,) in rows(platform.store, "device_metrics_raw", "timestamp")}
    assert {t for (t,) in rows(platform.store, "device_state_snapshots", "snapshot_time")} == starts
    assert {e.open_since for e in platform.store.ledger(platform.topic).values()} == {None}


def release(platform):
    """As if the leases of whoever owns something had lapsed."""
    for lease, _ in platform.leases.of("first"):
        platform.leases.let_go(lease)
        platform.store.swap_ledger(lease.topic, lease.partition, {"fence": lease.fence}, {"held_until": now_ms() - 1})


def test_a_late_reading_corrects_its_window_at_once(platform):
    start = now_ms() - now_ms() % MINUTE_MS - 30 * MINUTE_MS
    platform.log.append(platform.topic, readings("RTU-001", start, 5))
    one = standing(platform)
    take_all(one)
    before = dict(rows(platform.store, "device_state_snapshots", "snapshot_time", "revision"))
    platform.log.append(platform.topic, readings("RTU-001", start + MINUTE_MS + 5000, 1))
    take_all(one)
    after = dict(rows(platform.store, "device_state_snapshots", "snapshot_time", "revision"))
    assert {t for t in before if before[t] != after[t]} == {start + MINUTE_MS}


def test_two_at_once_share_the_partitions_and_the_second_takes_over_when_the_first_ends(platform):
    good, wrong = history()
    platform.log.append(platform.topic, good)
    first, second = standing(platform, "first"), standing(platform, "second", succeeds=True)
    take_all(first)
    take_all(second)
    assert {e.holder for e in platform.store.ledger(platform.topic).values()} == {"first"}
    first.let_go()
    platform.log.append(platform.topic, wrong)
    second._looked = -1e9
    take_all(second)
    assert {e.holder for e in platform.store.ledger(platform.topic).values()} == {"second"}
    assert ledger(platform) == platform.log.end_offsets(platform.topic)


def test_a_failure_is_tried_again_and_told_and_then_raised(platform, monkeypatch):
    platform.log.append(platform.topic, history()[0])
    monkeypatch.setattr(standing_module, "RETRY_SECONDS", 0.0)
    told = []

    def broken(*_):
        raise OSError("the disk has gone")

    one = standing(platform, on_trouble=told.append)
    with monkeypatch.context() as patch:
        patch.setattr(EmbeddedStore, "upsert", broken)
        with pytest.raises(OSError, match="the disk has gone"):
            one.run()
    assert len(told) >= standing_module.RETRIES
    assert all("the disk has gone" in line for line in told)
    assert set(ledger(platform).values()) == {0}


def test_a_log_that_is_away_for_a_moment_is_waited_for(platform, expected, monkeypatch):
    good, wrong = history()
    platform.log.append(platform.topic, good + wrong)
    monkeypatch.setattr(standing_module, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(standing_module, "IDLE_SECONDS", 1.0)
    whole, failures, told = type(platform.log).end_offsets, iter(range(3)), []

    def sometimes(log, topic):
        if next(failures, None) is not None:
            raise LogError("no broker answers")
        return whole(log, topic)

    monkeypatch.setattr(type(platform.log), "end_offsets", sometimes)
    standing(platform, on_trouble=told.append).run()
    assert len(told) == 3
    assert contents(platform.store) == expected


def test_a_passing_failure_costs_nothing(platform, expected, monkeypatch):
    good, wrong = history()
    platform.log.append(platform.topic, good + wrong)
    monkeypatch.setattr(standing_module, "RETRY_SECONDS", 0.0)
    whole, failures = EmbeddedStore.upsert, iter(range(2))

    def sometimes(store, table, columns):
        if table == "device_state_snapshots" and next(failures, None) is not None:
            raise OSError("for a moment")
        return whole(store, table, columns)

    monkeypatch.setattr(EmbeddedStore, "upsert", sometimes)
    one = standing(platform)
    take_all(one)
    assert next(failures, None) is None
    assert contents(platform.store) == expected


def test_messages_of_a_log_made_again_are_read_from_its_begin(home, platform):
    platform.log.append(platform.topic, history()[0])
    one = standing(platform)
    take_all(one)
    kept = platform.store.count("device_metrics_raw")
    for path in home.glob("log.db*"):
        path.unlink()
    again = PlatformResource()
    fresh = [r for d in ("RTU-001", "MAU-001", "lathe") for r in readings(d, MIDNIGHT_MS + 60 * MINUTE_MS, 9)]
    again.log.append(again.topic, fresh)
    one.log, one._looked = again.log, -1e9
    take_all(one)
    assert again.store.count("device_metrics_raw") == kept + len(fresh)
    assert ledger(again) == again.log.end_offsets(again.topic)


@pytest.mark.parametrize("left", [0, 3])
def test_what_is_deleted_from_the_log_under_it_is_told_and_counted_and_it_goes_on(platform, left):
    first, _ = history()
    platform.log.append(platform.topic, first)
    told = []
    one = standing(platform, on_trouble=told.append)
    take_all(one)
    before = ledger(platform)
    lost = [r for d in ("RTU-001", "MAU-001", "lathe") for r in readings(d, MIDNIGHT_MS + 10 * MINUTE_MS, 3)]
    platform.log.append(platform.topic, lost)
    platform.log.apply_retention(platform.topic, now_ms())  # as an operator deletes records
    begins = platform.log.begin_offsets(platform.topic)
    assert any(begins[p] > at for p, at in before.items())
    platform.log.append(platform.topic, recent("RTU-001", 3)[:left])
    take_all(one)
    assert ledger(platform) == platform.log.end_offsets(platform.topic)
    skipped = {p: entry.skipped_offsets for p, entry in platform.store.ledger(platform.topic).items()}
    assert skipped == {p: begins[p] - at for p, at in before.items()}
    assert len(told) == sum(n > 0 for n in skipped.values())
    assert all("were removed by retention or by somebody before they were read" in line for line in told)
    assert platform.store.count("device_metrics_raw") == len(first) + left
    assert one.counts.skipped == len(lost)


def test_a_producer_that_makes_up_device_ids_gets_no_more_than_are_allowed(home, instance, monkeypatch):
    monkeypatch.setenv("HVAC_MAX_DEVICES", "10")
    platform, told = PlatformResource(), []
    good = readings("RTU-001", MIDNIGHT_MS, 5)
    made_up = [reading(f"SN-{n}", MIDNIGHT_MS + n) for n in range(200)]
    platform.log.append(platform.topic, good)
    one = standing(platform, on_trouble=told.append)
    take_all(one)
    platform.log.append(platform.topic, made_up)
    take_all(one)
    platform.log.append(platform.topic, readings("RTU-001", MIDNIGHT_MS + 5 * MINUTE_MS, 5) + made_up)
    take_all(one)
    assert platform.store.count("devices") == 10
    assert (one.counts.accepted, one.counts.rejected) == (2 * len(good) + 18, 400 - 18)
    assert len(told) == 1
    assert "HVAC_MAX_DEVICES=10" in told[0]
    letters = {offset_reason[1] for offset_reason in rows(platform.store, "dead_letters", "record_offset", "reason")}
    assert len(letters) == 1
    assert all(p.ok for p in newest_proofs(platform.log, platform.store, platform.topic, now_ms()))
    one.let_go()
    platform.log.append(platform.topic, made_up[:30])
    list(ingest_everything(instance, platform))  # a run over one range keeps to it too
    assert platform.store.count("devices") == 10
    monkeypatch.setenv("HVAC_MAX_DEVICES", "500")
    platform = PlatformResource()
    platform.log.append(platform.topic, made_up[:30])
    list(ingest_everything(instance, platform))
    assert platform.store.count("devices") >= 30


def stand_for(seconds):
    """Body of a process: stand."""
    ranges.FIRST_RETRY_SECONDS, ledger_module.LEASE_SECONDS = 0, 2
    standing(PlatformResource(), f"run-{os.getpid()}", lasts=seconds).run()


def pause_between_writes(pid, path):
    """SIGSTOP at a moment at which the process doesn't hold the write lock, which nobody else could get until it goes on."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(200)
        try:
            connection.execute("BEGIN IMMEDIATE; ROLLBACK")
            return
        except apsw.BusyError:
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.01)
        finally:
            connection.close()


def owners(platform):
    """Who owns something at this moment."""
    return {e.held_by(now_ms()) for e in platform.store.ledger(platform.topic).values()} - {None}


def test_killed_at_any_moment_nothing_is_lost_or_twice(home, expected, platform, say, monkeypatch):
    """SIGKILL again and again while messages arrive; the next one begins where the ledger stands."""
    monkeypatch.setattr(ranges, "FIRST_RETRY_SECONDS", 0)
    good, wrong = history()
    everything, kills = good + wrong, 8
    part = -(-len(everything) // kills)
    for kill in range(kills):
        process = start_process(home, stand_for, 60)
        while f"run-{process.pid}" not in owners(platform):
            assert process.is_alive()
            time.sleep(0.005)
        platform.log.append(platform.topic, everything[kill * part : (kill + 1) * part])
        process.join(0.08 * kill)
        os.kill(process.pid, signal.SIGKILL)
        process.join(30)
    with open_dagster(home) as instance:
        list(ingest_everything(instance, platform))
    assert contents(platform.store) == expected
    assert ledger(platform) == platform.log.end_offsets(platform.topic)
    say(f"{kills} kills", f"{len(good)} good messages are in once", f"{len(wrong)} bad ones are dead letters")


def test_runs_that_end_without_a_word_while_nothing_arrives_hold_nothing_up(platform):
    platform.log.append(platform.topic, history()[0])
    take_all(standing(platform, "first"))
    release(platform)
    take_all(standing(platform, "second"))
    assert {e.failures for e in platform.store.ledger(platform.topic).values()} == {0}
    assert owners(platform) == {"second"}


def test_one_that_was_stopped_for_longer_than_its_lease_moves_nothing_when_it_wakes(home, expected, platform):
    """SIGSTOP, as a paused virtual machine does it: another one takes over, and the sleeper goes on with what it gets."""
    good, wrong = history()
    sleeper = start_process(home, stand_for, 60)
    while owners(platform) != {f"run-{sleeper.pid}"}:
        assert sleeper.is_alive()
        time.sleep(0.005)
    pause_between_writes(sleeper.pid, platform.store.location)
    platform.log.append(platform.topic, good + wrong)
    one, deadline = standing(platform, "other"), time.monotonic() + 30
    while ledger(platform) != platform.log.end_offsets(platform.topic):
        assert time.monotonic() < deadline
        one._looked = -1e9
        one.step()
        time.sleep(0.05)
    os.kill(sleeper.pid, signal.SIGCONT)
    time.sleep(2)
    assert owners(platform) == {"other"}
    one.let_go()
    os.kill(sleeper.pid, signal.SIGKILL)
    sleeper.join(30)
    assert contents(platform.store) == expected
