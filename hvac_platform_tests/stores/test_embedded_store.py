"""The embedded store does what every store does, and what SQLite asks for: its DDL, whole transactions, many processes."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace

import apsw
import numpy as np
import pytest

from hvac_platform.shipped import SCHEMA_DIRECTORY
from hvac_platform.stores.base import RefusedError, StoreError
from hvac_platform.stores.embedded import EmbeddedStore, said_in_words
from hvac_platform.stores.packed import PACKED
from hvac_platform.stores.salvage import open_damaged
from hvac_platform.stores.tables import tables
from hvac_platform.timestamps import DAY_MS
from hvac_platform_tests.conftest import DAY, MINUTE_MS, all_succeed, processes, rows, start_process
from hvac_platform_tests.stores.store_contract import (
    DEVICE,
    T0,
    StoreContract,
    embed,
    profile,
    raw,
    snapshots,
    unit_vectors,
)


class TestEmbeddedStore(StoreContract):
    """The store is the shared fixture."""

    many_queries = 9


# -- schema ------------------------------------------------------------------------------------------------------------

SQL_TYPES = {
    **dict.fromkeys(("text", "map", "json"), "TEXT"),
    **dict.fromkeys(("bigint", "timestamp", "boolean"), "INTEGER"),
    **dict.fromkeys(("blob", "vector"), "BLOB"),
    "double": "REAL",
}


@pytest.fixture
def database(store):
    """The same file, seen by plain SQL."""
    connection = apsw.Connection(store.location, flags=apsw.SQLITE_OPEN_READONLY)
    yield connection
    connection.close()


PACKED_TYPES = {"layout": "INTEGER", "encoder": "INTEGER", "cells": "BLOB", "state": "BLOB", "embedding": "BLOB"}


@pytest.mark.parametrize("name", tables())
def test_the_catalogue_and_the_ddl_agree_on_columns_types_and_key(database, name):
    described = list(database.execute(f"PRAGMA table_xinfo({name})"))
    columns = {row[1]: row[2] for row in described}
    catalogue, packed = tables()[name], PACKED.get(name, {})
    whole = {c.name: SQL_TYPES[c.type] for c in catalogue.columns.values() if c.name not in packed}
    holding = {column for held in packed.values() for column in held.split(", ")}
    assert columns == whole | {column: PACKED_TYPES[column] for column in holding}
    key = [name for _, name in sorted((row[5], row[1]) for row in described if row[5])]
    assert key == [name for name in catalogue.key if name not in packed]


def test_the_ddl_has_no_table_that_the_catalogue_lacks_but_for_the_vocabulary():
    script = (SCHEMA_DIRECTORY / "embedded" / "store.sql").read_text(encoding="utf-8")
    assert set(re.findall(r"CREATE TABLE (\w+)", script)) == {*tables(), "vocabulary"}


@pytest.mark.parametrize("table", tables().values(), ids=lambda table: table.name)
def test_every_table_of_the_catalogue_is_coherent(table):
    assert set(table.partition + table.clustering) <= set(table.columns)
    assert table.time_column is None or table.columns[table.time_column].type == "timestamp"
    assert table.description
    assert all(column.description for column in table.columns.values())


# -- transactions --------------------------------------------------------------------------------------------------------


def test_a_write_that_fails_half_way_writes_nothing_and_blocks_nothing(store):
    with pytest.raises(RefusedError, match=r"metric_value has no value"):
        store.upsert("device_metrics_raw", raw("d", [T0, T0 + 1, T0 + 2], [1.0, None, 3.0]))
    spans = {
        "device_id": ["d", "d"],
        "starts_at": [1, 2],
        "ends_at": [2, None],
        "note": ["", ""],
        "added_at": [1, 1],
    }
    with pytest.raises(apsw.ConstraintError):
        store.upsert("maintenance_spans", spans)
    assert store.count("device_metrics_raw") == store.count("maintenance_spans") == 0
    assert store.device_days(DAY, DAY) == []
    other = EmbeddedStore(store.location)
    other.upsert("device_metrics_raw", raw("d", [T0], [1.0]))
    other.close()
    assert store.count("device_metrics_raw") == 1


# -- time to live ------------------------------------------------------------------------------------------------------


def test_purge_removes_what_was_written_longer_ago_than_its_time_to_live(store, monkeypatch):
    now = T0 + 200 * DAY_MS
    for age_days in (100, 40, 1):
        written = now - age_days * DAY_MS
        monkeypatch.setattr("hvac_platform.stores.embedded.now_ms", lambda written=written: written)
        day = [T0 + age_days * DAY_MS]
        store.upsert("device_metrics_raw", raw("d", day, [1.0]))
        store.upsert("device_state_snapshots", snapshots("d", day, embedding=unit_vectors(1), embedding_method=["m"]))
        store.upsert("device_profiles", profile(f"{age_days}"))
    assert store.purge(now) == {"device_metrics_raw": 2, "device_state_snapshots": 1}
    assert rows(store, "device_metrics_raw", "timestamp") == [(T0 + DAY_MS,)]
    assert rows(store, "device_state_snapshots", "snapshot_time") == [(T0 + DAY_MS,), (T0 + 40 * DAY_MS,)]
    assert store.count("device_profiles") == 3
    found = store.nearest("d", unit_vectors(1), 5, embedding_method="m").times_ms[0]
    assert sorted(t for t in found.tolist() if t >= 0) == [T0 + DAY_MS, T0 + 40 * DAY_MS]
    assert store.purge(now) == {}


def test_readings_of_a_metric_that_nobody_has_sent_are_asked_for_without_reading_any(store, monkeypatch):
    store.upsert("device_metrics_raw", raw("d", [T0 + 1_000 * i for i in range(100)], [1.0] * 100))
    monkeypatch.setattr("hvac_platform.stores.packed.readings.PackedReadings.unpack", None)  # whatever is read fails
    assert rows(store, "device_metrics_raw", "timestamp", equals=(("metric_name", "nobody's"),)) == []
    with pytest.raises(TypeError):
        rows(store, "device_metrics_raw", "timestamp")


# -- devices that report what has changed ------------------------------------------------------------------------------


def test_other_metrics_at_each_instant_come_back_and_take_no_list_each(store, monkeypatch, say):
    monkeypatch.setattr("hvac_platform.stores.packed.vocabulary.MOST_LISTS", 50)
    generator = np.random.default_rng(2)
    names = np.array([f"point_{i:02d}" for i in range(30)])
    sent, rows_at = {}, []
    for i in range(600):
        for name in names[generator.random(30) < 0.3].tolist():
            sent[T0 + 1_000 * i, name] = float(np.round(generator.normal(50, 9), 1))
            rows_at.append((T0 + 1_000 * i, name))
    columns = raw("d", [at for at, _ in rows_at], [sent[key] for key in rows_at])
    columns["metric_name"] = [name for _, name in rows_at]
    half = len(rows_at) // 2
    for part in (slice(half, None), slice(0, half), slice(half - 100, half + 100)):
        store.upsert("device_metrics_raw", {name: values[part] for name, values in columns.items()})
    found = rows(store, "device_metrics_raw", "timestamp", "metric_name", "metric_value")
    assert {(at, name): value for at, name, value in found} == sent
    assert store.count("device_metrics_raw") == len(sent)
    of_one = rows(store, "device_metrics_raw", "timestamp", "metric_value", equals=(("metric_name", "point_07"),))
    assert of_one == [(at, value) for (at, name), value in sorted(sent.items()) if name == "point_07"]
    ((lists,),) = store.connection.execute("SELECT count(*) FROM vocabulary")
    ((taken,),) = store.connection.execute("SELECT sum(length(cells)) FROM device_metrics_raw")
    say(f"{lists} lists, {taken / len(sent):.1f} bytes a reading")
    assert lists <= 50 + len(names)
    times = [T0 + MINUTE_MS * i for i in range(200)]
    states = [dict.fromkeys(names[generator.random(30) < 0.5].tolist(), 1 / (i + 1)) for i in range(200)]
    summary = [{name: [3.0, value, value + 1, value] for name, value in state.items()} for state in states]
    store.upsert("device_state_snapshots", snapshots("d", times, metrics=states, metric_summary=summary))
    assert rows(store, "device_state_snapshots", "metrics", "metric_summary") == list(zip(states, summary, strict=True))


# -- many processes ----------------------------------------------------------------------------------------------------


def _write_much(path, process):
    """Each process writes rows of its own, rows that all write, devices, snapshots with vectors and the ledger."""
    store = EmbeddedStore(path)
    for batch in range(10):
        times = [T0 + process * 10_000_000 + batch * 100 + i for i in range(100)]
        store.upsert("device_metrics_raw", raw(f"d{process}", times, [1.0] * 100))
        store.upsert("device_metrics_raw", raw("shared", [T0 + batch], [float(process)]))
        store.register_devices([replace(DEVICE, first_seen=100 - process, last_seen=200 + process)])
        times = [T0 + (batch * 20 + i) * MINUTE_MS for i in range(20)]
        store.upsert("device_state_snapshots", snapshots(f"d{process}", times))
        embed(store, f"d{process}", times, unit_vectors(20, process))
        while True:
            entry = store.ledger("t").get(0)
            start = entry.next_offset if entry else 0
            if store.advance_ledger("t", 0, start, start + 1, run_id=str(process), watermark=None):
                break
    store.close()


def _create_together(barrier, folder, number, rounds):
    """At the same moment as the others, create a store that isn't there and write to it."""
    for turn in range(rounds):
        barrier.wait(60)
        store = EmbeddedStore(f"{folder}/{turn}.db")
        store.upsert("device_metrics_raw", raw("d", [T0 + number], [1.0]))
        store.close()


def test_processes_may_create_the_store_at_the_same_moment(home):
    together, rounds = 5, 12
    barrier = processes.Barrier(together)
    all_succeed(
        [start_process(home, _create_together, barrier, str(home), number, rounds) for number in range(together)]
    )
    for turn in range(rounds):
        store = EmbeddedStore(home / f"{turn}.db")
        assert store.count("device_metrics_raw") == together
        store.close()


def test_processes_that_write_at_once_lose_nothing(home):
    path = str(home / "store.db")
    all_succeed([start_process(home, _write_much, path, number) for number in range(4)])
    store = EmbeddedStore(path)
    assert [store.count("device_metrics_raw", f"d{number}") for number in range(4)] == [1_000] * 4
    assert store.count("device_metrics_raw", "shared") == 10
    assert store.ledger("t")[0].next_offset == 40
    assert [(d.first_seen, d.last_seen) for d in store.devices()] == [(97, 203)]
    for number in range(4):
        found = store.nearest(f"d{number}", unit_vectors(1), 250, embedding_method="m").times_ms[0]
        assert (found >= 0).sum() == 200
    store.close()
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("begin", [b"", b"SQLite format 3\0"])
def test_of_a_store_of_which_nothing_can_be_read_salvage_says_what_to_do(tmp_path, begin):
    path = tmp_path / "store.db"
    path.write_bytes(begin + bytes(range(256)) * 200)
    with pytest.raises(StoreError, match=r"nothing of .*: move it away, mv .*, and hvac ingest makes a store anew"):
        open_damaged(path)


def test_a_store_that_can_not_be_opened_says_that_the_disk_is_full_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("hvac_platform.stores.embedded.disk_is_full", lambda _: False)
    with (
        pytest.raises(StoreError, match=r"disk I/O error. Is HVAC_HOME a writable"),
        said_in_words(tmp_path / "store.db"),
    ):
        raise apsw.IOError("disk I/O error")
    monkeypatch.setattr("hvac_platform.stores.embedded.disk_is_full", lambda folder: folder == tmp_path)
    with pytest.raises(StoreError, match=r"The disk of .* is full: free some"), said_in_words(tmp_path / "store.db"):
        raise apsw.IOError("disk I/O error")
