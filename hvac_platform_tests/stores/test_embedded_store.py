"""The embedded store does what every store does, and what SQLite asks for: its DDL, whole transactions, many processes."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace

import apsw
import pytest
import sqlite_vec

from hvac_platform.shipped import SCHEMA_DIRECTORY
from hvac_platform.stores.embedded import INDEXED_QUERIES, EmbeddedStore
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

    many_queries = INDEXED_QUERIES + 1


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


@pytest.mark.parametrize("name", tables())
def test_the_catalogue_and_the_ddl_agree_on_columns_types_and_key(database, name):
    described = list(database.execute(f"PRAGMA table_xinfo({name})"))
    columns = {row[1]: row[2] for row in described if row[1] != "id"}
    catalogue = tables()[name]
    assert columns == {c.name: SQL_TYPES[c.type] for c in catalogue.columns.values()}
    key = [name for _, name in sorted((row[5], row[1]) for row in described if row[5])]
    if key == ["id"]:  # the vector index needs a number for every row; the key is a constraint of its own
        ((index,),) = [(row[1],) for row in database.execute(f"PRAGMA index_list({name})") if row[3] == "u"]
        key = [row[2] for row in database.execute(f"PRAGMA index_info({index})")]
    assert key == list(catalogue.key)


def test_the_ddl_has_no_table_that_the_catalogue_lacks():
    script = (SCHEMA_DIRECTORY / "embedded" / "store.sql").read_text(encoding="utf-8")
    assert set(re.findall(r"CREATE TABLE (\w+)", script)) == set(tables())


@pytest.mark.parametrize("table", tables().values(), ids=lambda table: table.name)
def test_every_table_of_the_catalogue_is_coherent(table):
    assert set(table.partition + table.clustering) <= set(table.columns)
    assert table.time_column is None or table.columns[table.time_column].type == "timestamp"
    assert table.description
    assert all(column.description for column in table.columns.values())


def test_a_store_of_the_first_version_is_upgraded_when_it_is_opened(store, tmp_path):
    def schema(path):
        database = apsw.Connection(str(path))
        found = list(database.execute("SELECT type, name, sql FROM sqlite_master WHERE sql NOT NULL"))
        columns = {
            (name, *column)
            for kind, name, sql in found
            if kind == "table" and "VIRTUAL" not in sql
            for column in database.execute(f"PRAGMA table_info({name})")
        }
        return columns | {row for row in found if row[0] != "table"} | {name for _, name, _ in found}

    path = tmp_path / "first.db"
    EmbeddedStore(path).close()
    first = apsw.Connection(str(path))
    first.enable_load_extension(True)
    first.load_extension(sqlite_vec.loadable_path())
    first.execute("DROP TABLE embedding_backlog; DROP TRIGGER device_state_embedding_withdrawn; PRAGMA user_version=1")
    first.execute("DROP TABLE incidents; DROP TABLE maintenance_spans; DROP TABLE metric_trends")
    first.execute("DROP TABLE store_settings; DROP TABLE method_reports; DROP INDEX device_state_unjudged")
    window = "(device_id, snapshot_time, window_ms, metrics, metric_summary, completeness, revision)"
    verdict = "(device_id, snapshot_time, method, revision, score, anomalous, level, reasons, metrics, profile_version)"
    for revision, judged in ((1, [1, 1, 1]), (2, [1, 1, 1]), (3, [3, 3]), (4, [4, 4, 3]), (5, [])):
        first.execute(
            f"INSERT INTO device_state_snapshots {window} VALUES ('d', {revision}, 1, '{{}}', '{{}}', 1, {revision})"
        )
        for method, seen in zip(("rules", "profile", "vector"), judged, strict=False):
            values = f"('d', {revision}, '{method}', {seen}, 0, 0, 0, '[]', '[]', 0)"
            first.execute(f"INSERT INTO snapshot_verdicts {verdict} VALUES {values}")
    for method in ("rules", "profile", "vector"):
        first.execute(f"ALTER TABLE detection_reports ADD COLUMN {method} INTEGER NOT NULL DEFAULT 0")
    report = "(date, device_id, windows, rules, profile, vector, consensus, any_method)"
    first.execute(f"INSERT INTO detection_reports {report} VALUES ('{DAY}', 'd', 60, 1, 2, 3, 0, 6)")
    for table, columns in (
        ("ingestion_ledger", ("log_id", "log_since", "holder", "held_until", "fence")),
        ("ingestion_ledger", ("failures", "failed_at", "error", "range_limit", "open_since", "caught_up_at")),
        ("dead_letters", ("record_length", "record_sha256")),
        ("device_profiles", ("detector", "fit", "energy", "modes")),
        ("device_state_snapshots", ("judged_revision",)),
        ("detection_reports", ("incidents", "energy_kwh", "expected_kwh", "excess_kwh")),
    ):
        for column in columns:
            first.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    first.close()
    upgraded = EmbeddedStore(path)
    found = rows(upgraded, "method_reports", "date", "device_id", "method", "windows", "anomalous", "alone")
    assert [batch["revision"] for batch in upgraded.unjudged()] == [[2, 3, 4, 5]]
    upgraded.close()
    counts = {"profile": 2, "rules": 1, "vector": 3}
    assert found == [(DAY, "d", method, 60, count, None) for method, count in counts.items()]
    assert schema(path) == schema(store.location)


# -- transactions --------------------------------------------------------------------------------------------------------


def test_a_write_that_fails_half_way_writes_nothing_and_blocks_nothing(store):
    with pytest.raises(apsw.ConstraintError):
        store.upsert("device_metrics_raw", raw("d", [T0, T0 + 1, T0 + 2], [1.0, None, 3.0]))
    assert store.count("device_metrics_raw") == 0
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
