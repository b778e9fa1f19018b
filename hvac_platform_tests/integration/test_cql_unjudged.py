"""Unjudged windows on a real Cassandra: all of them are found, and what nobody wrote to is not read again."""

from __future__ import annotations

import itertools
import secrets
from types import SimpleNamespace

import numpy as np
import pytest

from hvac_platform.stores import cql_unjudged
from hvac_platform.stores.base import Device, TableSlice
from hvac_platform.stores.cql import CqlSettings, CqlStore
from hvac_platform.stores.cql_schema import SCHEMA_VERSION
from hvac_platform.stores.cql_unjudged import FEW_LEFT, SKEW_MS, SLOT_MS
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform_tests.conftest import MIDNIGHT_MS, MINUTE_MS
from hvac_platform_tests.stores.store_contract import snapshots

NOON_MS = MIDNIGHT_MS + 720 * MINUTE_MS
FLEET = [f"D-{i:03}" for i in range(FEW_LEFT + 20)]


@pytest.fixture(scope="module")
def settings(node):
    return CqlSettings(("127.0.0.1",), port=node.port, keyspace=f"hvac_{secrets.token_hex(4)}", replication_factor=1)


@pytest.fixture(scope="module")
def opened(settings):
    opened = CqlStore(settings)
    yield opened
    opened.close()


@pytest.fixture
def store(opened, settings, clock):
    """Without a window: marks are of the whole fleet, so tests can't share them."""
    for table in ("device_state_snapshots", "unjudged_marks", "device_days"):
        opened._client.execute_once(f"TRUNCATE {settings.keyspace}.{table}", timeout=60)
    return opened


@pytest.fixture
def clock(monkeypatch):
    """The present of the marks; it stands still until it is moved."""
    present = SimpleNamespace(ms=NOON_MS, moved=lambda ms: setattr(present, "ms", present.ms + ms))
    monkeypatch.setattr(cql_unjudged, "now_ms", lambda: present.ms)
    return present


@pytest.fixture
def asked(store, monkeypatch):
    """What was sent to the server, and the rows that came back."""
    seen = SimpleNamespace(statements=0, rows=0)
    run = store._client.run

    def counted(calls, **how):
        results = [list(result) for result in run(calls, **how)]
        seen.statements += len(results)
        seen.rows += sum(map(len, results))
        return results

    monkeypatch.setattr(store._client, "run", counted)
    return seen


def write(store, devices, start_ms, windows=1, revision=7):
    times = [start_ms + i * MINUTE_MS for i in range(windows)]
    rows = snapshots("", times * len(devices), revision=[revision] * (windows * len(devices)))
    store.upsert("device_state_snapshots", rows | {"device_id": [device for device in devices for _ in times]})


def judge(store, devices, start_ms, windows=1, revision=7):
    times = [start_ms + i * MINUTE_MS for i in range(windows)]
    columns = {
        "device_id": [device for device in devices for _ in times],
        "snapshot_time": times * len(devices),
        "judged_revision": [revision] * (windows * len(devices)),
    }
    store.update("device_state_snapshots", columns)


def unjudged(store, *where):
    """Device, start and revision of each."""
    batches = list(store.unjudged(*where))
    names = ("device_id", "snapshot_time", "revision")
    return sorted(itertools.chain.from_iterable(zip(*(batch[n] for n in names), strict=True) for batch in batches))


def settle(store, clock):
    """Read all through, late enough that what was just written is not taken for new."""
    clock.moved(SKEW_MS + 1)
    found = unjudged(store)
    clock.moved(SKEW_MS + 1)
    return found


def test_where_nothing_was_written_one_statement_says_so(store, clock, asked):
    write(store, FLEET, NOON_MS, 30)
    judge(store, FLEET, NOON_MS, 30)
    assert settle(store, clock) == []
    asked.statements = asked.rows = 0
    assert unjudged(store) == []
    assert (asked.statements, asked.rows) == (1, 1)


def test_new_windows_of_a_fleet_are_found_by_few_statements(store, clock, asked):
    write(store, FLEET, MIDNIGHT_MS, 65)
    judge(store, FLEET, MIDNIGHT_MS, 65)
    settle(store, clock)
    new = MIDNIGHT_MS + 65 * MINUTE_MS
    write(store, FLEET, new)
    asked.statements = asked.rows = 0
    assert unjudged(store) == [(device, new, 7) for device in FLEET]
    assert asked.statements == 3 + 3  # marks of all, of the day, of the ten minutes; fifty devices a statement
    assert asked.rows == 1 + 7 + (1 + 6) * len(FLEET)
    asked.statements = asked.rows = 0
    assert unjudged(store, FLEET[3], MIDNIGHT_MS, new + 10 * MINUTE_MS) == [(FLEET[3], new, 7)]
    assert (asked.statements, asked.rows) == (2, 7 + 6)


def test_a_device_that_is_left_is_looked_at_and_no_other(store, clock, asked):
    write(store, FLEET, NOON_MS, 40)
    judge(store, FLEET[1:], NOON_MS, 40)
    left = [(FLEET[0], NOON_MS + i * MINUTE_MS, 7) for i in range(40)]
    assert settle(store, clock) == left
    asked.statements = asked.rows = 0
    assert unjudged(store) == left
    assert (asked.statements, asked.rows) == (3, 1 + 4 + 40)
    judge(store, FLEET[:1], NOON_MS, 40)
    assert settle(store, clock) == []
    asked.statements = 0
    assert unjudged(store) == []
    assert asked.statements == 1


def test_more_that_is_left_than_a_mark_names_is_found_all_the_same(store, clock):
    write(store, FLEET, NOON_MS)
    everything = [(device, NOON_MS, 7) for device in FLEET]
    assert settle(store, clock) == everything
    assert settle(store, clock) == everything
    judge(store, FLEET[5:], NOON_MS)
    assert settle(store, clock) == everything[:5]


def test_a_window_that_changes_or_whose_vector_came_late_is_unjudged_again(store, clock):
    write(store, ["d", "e"], NOON_MS, 3)
    judge(store, ["d", "e"], NOON_MS, 3)
    assert settle(store, clock) == []
    write(store, ["d"], NOON_MS, 3)  # the same content once more
    assert unjudged(store) == []
    write(store, ["d"], NOON_MS + MINUTE_MS, revision=8)
    assert unjudged(store) == [("d", NOON_MS + MINUTE_MS, 8)]
    judge(store, ["d"], NOON_MS + MINUTE_MS, revision=8)
    assert settle(store, clock) == []
    judge(store, ["e"], NOON_MS, revision=None)
    assert unjudged(store) == [("e", NOON_MS, 7)]
    assert unjudged(store, "e") == [("e", NOON_MS, 7)]


def test_a_mark_that_took_long_to_arrive_is_renewed(store, clock, monkeypatch):
    """Somebody may have read all through in between, and found nothing, for the windows were not marked yet."""
    write(store, ["d"], NOON_MS)
    judge(store, ["d"], NOON_MS)
    settle(store, clock)
    run, arrived = store._client.run, []

    def slow(calls, **how):
        if not arrived:
            clock.moved(3 * SKEW_MS)
        arrived.append(clock.ms)
        return run(calls, **how)

    monkeypatch.setattr(store._client, "run", slow)
    monkeypatch.setattr(cql_unjudged, "time", SimpleNamespace(monotonic=lambda: clock.ms / 1000))
    store._unjudged.note(["d"], [NOON_MS])
    assert len(arrived) == 2
    (mark,) = store._unjudged._read(["all"])
    assert mark.written_at == clock.ms


def test_random_writes_and_judgements_leave_what_the_embedded_store_has(store, clock, tmp_path):
    local = EmbeddedStore(tmp_path / "store.db")
    both, devices = (store, local), [f"d{i}" for i in range(6)]
    for each in both:
        each.register_devices([Device(device, "chiller", "", "", 0, 1, 0) for device in devices])
    draw = np.random.default_rng(5)
    for _ in range(60):
        some = draw.choice(devices, draw.integers(1, 4), replace=False).tolist()
        start = MIDNIGHT_MS + int(draw.integers(-40, 40)) * MINUTE_MS
        windows, revision = int(draw.integers(1, 25)), int(draw.integers(1, 3))
        action = str(draw.choice(["write", "judge", "open again"]))
        there = [d for d in some if local.count("device_state_snapshots", d)]
        new = [row for row in unjudged(local) if draw.random() < 0.7]
        for each in both:
            match action:
                case "write":
                    write(each, some, start, windows, revision)
                case "judge" if new:
                    names = ("device_id", "snapshot_time", "judged_revision")
                    columns = dict(zip(names, map(list, zip(*new, strict=True)), strict=True))
                    each.update("device_state_snapshots", columns)
                case "open again":
                    for device in there:
                        (found, *_) = each.scan(TableSlice("device_state_snapshots", ("snapshot_time",), device))
                        judge(each, [device], found["snapshot_time"][0], revision=None)
        clock.moved(int(draw.integers(0, 2 * SKEW_MS)))
        assert unjudged(store) == unjudged(local)
        assert unjudged(store, some[0], start, start + SLOT_MS) == unjudged(local, some[0], start, start + SLOT_MS)
    local.close()


def test_windows_of_version_7_are_marked_where_nobody_has_judged_them(store, settings):
    """Up to version 5 it was verdicts alone that said which revision was judged."""
    older = store
    older.register_devices([Device("d", "chiller", "", "", 0, 1, 0)])
    write(older, ["d"], NOON_MS, 9)
    judge(older, ["d"], NOON_MS, 3)
    verdicts = [(NOON_MS + i * MINUTE_MS, method) for i in range(3, 6) for method in ("rules", "profile", "vector")]
    columns = {
        "device_id": ["d"] * len(verdicts),
        "snapshot_time": [time_ms for time_ms, _ in verdicts],
        "method": [method for _, method in verdicts],
        "revision": [7] * len(verdicts),
    }
    older.upsert("snapshot_verdicts", columns)
    keyspace = settings.keyspace
    older._client.execute_once(f"DROP TABLE {keyspace}.unjudged_marks", timeout=60)
    older._client.execute(f"DELETE FROM {keyspace}.schema_versions WHERE version={SCHEMA_VERSION}")
    older._client.execute(f"INSERT INTO {keyspace}.schema_versions (version, applied_at) VALUES (7, 0)")
    upgraded = CqlStore(settings, create=False)
    assert "mark 3 windows that nobody has judged" in upgraded.apply_schema()
    assert unjudged(upgraded) == [("d", NOON_MS + i * MINUTE_MS, 7) for i in range(6, 9)]
    assert unjudged(upgraded, "d") == unjudged(upgraded)
    upgraded.close()
