"""A store of before version 8 becomes a packed one by itself: whole, whatever happens meanwhile, and much smaller."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import apsw
import numpy as np
import pytest

from hvac_platform.access.users import digest, user_of_token, users
from hvac_platform.stores import repacking
from hvac_platform.stores.base import Device, StoreError, TableSlice
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform.stores.plain_tables import to_sql
from hvac_platform.stores.repacking import PlainStore
from hvac_platform.stores.salvage import open_damaged, salvage
from hvac_platform.stores.tables import table, tables
from hvac_platform.timestamps import DAY_MS
from hvac_platform_tests.conftest import DAY, MINUTE_MS, all_succeed, rows, start_process
from hvac_platform_tests.stores.store_contract import T0, profile, raw, snapshots, unit_vectors

SEVENTH = Path(__file__).with_name("store_7.sql").read_text(encoding="utf-8")
EIGHTH = Path(__file__).with_name("store_8.sql").read_text(encoding="utf-8")
NINTH = Path(__file__).with_name("store_9.sql").read_text(encoding="utf-8")
TENTH = Path(__file__).with_name("store_10.sql").read_text(encoding="utf-8")
ELEVENTH = Path(__file__).with_name("store_11.sql").read_text(encoding="utf-8")
METHODS = ("profile", "rules", "vector")


def seventh(path):
    """A store of version 7, with a plain table in place of its vector index, whose extension is not installed any more."""
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    before, _, after = SEVENTH.partition("CREATE VIRTUAL TABLE")
    connection.execute(before + after.partition(";")[2])
    name = "device_state_embedding_idx"
    connection.execute(
        "CREATE TABLE " + name + " (rowid INTEGER PRIMARY KEY, device_id, snapshot_time, embedding_method, "
        "is_anomalous, embedding)"
    )
    connection.pragma("user_version", 7)
    return connection


def index_without_its_extension(connection):
    """Make the vector index what it is where nobody has loaded its extension."""
    connection.execute("PRAGMA writable_schema=ON")
    connection.execute("DELETE FROM sqlite_master WHERE name='device_state_embedding_idx'")
    connection.execute(
        "INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql) VALUES ('table', 'device_state_embedding_idx', "
        "'device_state_embedding_idx', 0, "
        "'CREATE VIRTUAL TABLE device_state_embedding_idx USING vec0 (embedding FLOAT[384])')"
    )
    connection.execute("PRAGMA writable_schema=RESET")


def write(connection, name, columns):
    """Rows into a table that has a column for each of the catalogue's."""
    values = [to_sql(table(name).columns[column].type, listed) for column, listed in columns.items()]
    connection.executemany(
        f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", zip(*values, strict=True)
    )


def filled(path, devices=3, windows=200):
    """A store of version 7 with readings, snapshots with and without a vector, verdicts and a profile of each device."""
    connection = seventh(path)
    generator = np.random.default_rng(1)
    connection.execute("BEGIN")
    for number in range(devices):
        device = f"RTU-{number:03d}"
        connection.execute(
            "INSERT INTO devices VALUES (?, 'rooftop_unit', 'roof', 'b', ?, ?, 0)",
            (device, T0, T0 + windows * MINUTE_MS),
        )
        times = [T0 + i * MINUTE_MS for i in range(windows)]
        for metric, values in (
            ("t", np.round(generator.normal(20, 1, windows), 1)),
            ("h", np.round(72_000 + np.arange(windows) / 60, 2)),
            ("x", generator.normal(size=windows)),
        ):
            write(connection, "device_metrics_raw", raw(device, times, values, metric))
        states = [{"t": float(i), "x": 1 / (i + 1)} | ({"h": 1.0} if i % 7 else {}) for i in range(windows)]
        summary = [{name: [6.0, value, value + 1, value] for name, value in state.items()} for state in states]
        half = windows // 2
        whole = snapshots(device, times, metrics=states, metric_summary=summary)
        first = {name: values[:half] for name, values in whole.items()}
        judged = {"judged_revision": first["revision"], "is_anomalous": [i % 9 == 0 for i in range(half)]}
        vectors = {"embedding": unit_vectors(half, number), "embedding_method": ["state-2/abc"] * half}
        write(connection, "device_state_snapshots", first | vectors | judged | {"anomaly_score": [0.25] * half})
        write(connection, "device_state_snapshots", {name: values[half:] for name, values in whole.items()})
        for method in METHODS:
            said = [["hot"] if i % 9 == 0 and method == "rules" else [] for i in range(half)]
            write(
                connection,
                "snapshot_verdicts",
                {
                    "device_id": [device] * half,
                    "snapshot_time": times[:half],
                    "method": [method] * half,
                    "score": generator.random(half),
                    "anomalous": [bool(reasons) for reasons in said],
                    "level": [2 if reasons else 0 for reasons in said],
                    "reasons": said,
                    "metrics": [["t"] if reasons else [] for reasons in said],
                    "profile_version": [0 if method == "rules" else 7] * half,
                    "revision": first["revision"],
                },
            )
        write(connection, "device_profiles", profile(device))
        connection.execute("INSERT INTO device_days VALUES (?, ?, 11, 12, 13)", (device, DAY))
    connection.execute(
        "INSERT INTO ingestion_ledger (topic, kafka_partition, next_offset, run_id, updated_at) "
        "VALUES ('t', 0, 42, 'r', 1)"
    )
    connection.execute(
        "INSERT INTO metric_aggregation_buffer VALUES ('RTU-000', ?, 't', 1.5, ?)", (T0 + DAY_MS, T0 + DAY_MS)
    )
    connection.execute("COMMIT")
    index_without_its_extension(connection)
    return connection


def contents(store):
    """Every row of every table."""
    found = {}
    for name in tables():
        batches = list(store.scan(TableSlice(name)))
        found[name] = {
            column: [value for batch in batches for value in batch[column]] for column in table(name).columns
        }
    return found


def plain(path):
    """The same file, read as it is."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    found = contents(PlainStore(connection, path))
    version = connection.pragma("user_version")
    connection.close()
    return version, found


def test_every_row_is_there_as_it_was_in_a_fraction_of_the_space(tmp_path, say):
    path = tmp_path / "store.db"
    filled(path, windows=1_440).close()
    before, size = plain(path)[1], path.stat().st_size
    store = EmbeddedStore(path)
    assert store.schema_versions() == (12, 12)
    after = contents(store)
    for name, columns in before.items():
        assert after[name] == columns, name
    store.close()
    say(f"{size / 1e6:.1f} MB before, {path.stat().st_size / 1e6:.1f} MB after")
    assert path.stat().st_size < size / 4
    assert [file.name for file in tmp_path.iterdir()] == ["store.db"]


def test_what_lay_in_the_wal_of_the_old_store_is_there_too(tmp_path):
    path = tmp_path / "store.db"
    connection = filled(path)
    connection.execute("PRAGMA wal_autocheckpoint=0")
    write(connection, "device_metrics_raw", raw("RTU-001", [T0 + DAY_MS], [7.0], "late"))
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.close()
    assert (tmp_path / "store.db-wal").stat().st_size > 0
    store = EmbeddedStore(path)
    assert (T0 + DAY_MS, "late", 7.0) in rows(store, "device_metrics_raw", "timestamp", "metric_name", "metric_value")
    store.close()


def test_a_store_that_another_process_has_open_is_refused_by_its_number_and_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("hvac_platform.stores.repacking.BUSY_TIMEOUT_MS", 200)
    path = tmp_path / "store.db"
    connection = filled(path)
    list(connection.execute("SELECT count(*) FROM devices"))
    with pytest.raises(StoreError, match=r"schema version 7 and must be upgraded, but .* open: stop it"):
        EmbeddedStore(path)
    connection.close()
    assert plain(path)[0] == 7
    EmbeddedStore(path).close()


def _open(path):
    EmbeddedStore(path).close()


def test_of_processes_that_open_it_at_once_one_upgrades_and_the_others_wait(home):
    path = home / "old.db"
    filled(path, devices=20, windows=400).close()
    before = plain(path)[1]
    all_succeed([start_process(home, _open, str(path)) for _ in range(4)])
    store = EmbeddedStore(path)
    assert contents(store) == before
    store.close()


def test_an_upgrade_that_is_killed_goes_on_where_it_was_and_the_old_file_is_whole_until_then(home, say):
    path = home / "old.db"
    filled(path, devices=30, windows=400).close()
    before = plain(path)[1]
    generator, kills = random.Random(3), 0
    while kills < 8:
        process = start_process(home, _open, str(path))
        time.sleep(generator.uniform(0.1, 0.9))
        process.kill()
        process.join(60)
        if process.exitcode != -signal.SIGKILL:
            break
        kills += 1
        if (home / "old.db.upgrading").exists():
            assert plain(path) == (7, before)
    say(f"killed {kills} times")
    assert kills
    store = EmbeddedStore(path)
    assert contents(store) == before
    store.close()
    assert not [file.name for file in home.iterdir() if "upgrad" in file.name]


def test_rows_of_a_device_that_no_registry_knows_come_over_too(tmp_path):
    path = tmp_path / "store.db"
    connection = filled(path)
    write(connection, "device_metrics_raw", raw("stranger", [T0], [1.0]))
    connection.close()
    store = EmbeddedStore(path)
    assert store.count("device_metrics_raw", "stranger") == 1
    store.close()


def test_nobody_else_gets_into_the_old_store_while_it_is_copied(tmp_path, monkeypatch):
    """A store of the first version is copied, and a process that opened and closed it would lose its locks on it."""
    asking = "import apsw, sys; apsw.Connection(sys.argv[1]).execute('CREATE TABLE written_meanwhile (x)')"
    refused, copy = [], repacking._copy

    def copy_beside_another(old, path, made, tell):
        asked = subprocess.run([sys.executable, "-c", asking, str(path)], capture_output=True, text=True)
        refused.append("database is locked" in asked.stderr)
        return copy(old, path, made, tell)

    monkeypatch.setattr(repacking, "_copy", copy_beside_another)
    filled(tmp_path / "seventh.db").close()
    EmbeddedStore(tmp_path / "seventh.db").close()
    first_version(tmp_path / "first.db")
    EmbeddedStore(tmp_path / "first.db").close()
    assert refused == [True, True]


def first_version(path):
    first = seventh(path)
    first.execute("DROP TABLE embedding_backlog; DROP TRIGGER device_state_embedding_withdrawn; PRAGMA user_version=1")
    first.execute("DROP TABLE incidents; DROP TABLE maintenance_spans; DROP TABLE metric_trends")
    first.execute("DROP TABLE store_settings; DROP TABLE method_reports; DROP INDEX device_state_unjudged")
    first.execute("INSERT INTO devices VALUES ('d', 'rooftop_unit', '', '', 1, 5, 0)")
    window = "(device_id, snapshot_time, window_ms, metrics, metric_summary, completeness, revision)"
    verdict = "(device_id, snapshot_time, method, revision, score, anomalous, level, reasons, metrics, profile_version)"
    for revision, judged in ((1, [1, 1, 1]), (2, [1, 1, 1]), (3, [3, 3]), (4, [4, 4, 3]), (5, [])):
        first.execute(
            f"INSERT INTO device_state_snapshots {window} VALUES ('d', {revision}, 1, '{{}}', '{{}}', 1, {revision})"
        )
        for method, seen in zip(("rules", "profile", "vector"), judged, strict=False):
            values = f"('d', {revision}, '{method}', {seen}, 0, 0, 0, '[]', '[]', 0)"
            first.execute(f"INSERT INTO snapshot_verdicts {verdict} VALUES {values}")
    for method in METHODS:
        first.execute(f"ALTER TABLE detection_reports ADD COLUMN {method} INTEGER NOT NULL DEFAULT 0")
    report = "(date, device_id, windows, rules, profile, vector, consensus, any_method)"
    first.execute(f"INSERT INTO detection_reports {report} VALUES ('{DAY}', 'd', 60, 1, 2, 3, 0, 6)")
    for name, columns in (
        ("ingestion_ledger", ("log_id", "log_since", "holder", "held_until", "fence")),
        ("ingestion_ledger", ("failures", "failed_at", "error", "range_limit", "open_since", "caught_up_at")),
        ("dead_letters", ("record_length", "record_sha256")),
        ("device_profiles", ("detector", "fit", "energy", "modes")),
        ("device_state_snapshots", ("judged_revision",)),
        ("detection_reports", ("incidents", "energy_kwh", "expected_kwh", "excess_kwh")),
    ):
        for column in columns:
            first.execute(f"ALTER TABLE {name} DROP COLUMN {column}")
    index_without_its_extension(first)
    first.close()


def test_a_store_of_the_first_version_is_upgraded_as_well(tmp_path):
    first_version(tmp_path / "first.db")
    upgraded = EmbeddedStore(tmp_path / "first.db")
    found = rows(upgraded, "method_reports", "date", "device_id", "method", "windows", "anomalous", "alone")
    assert [batch["revision"] for batch in upgraded.unjudged()] == [[2, 3, 4, 5]]
    upgraded.close()
    counts = {"profile": 2, "rules": 1, "vector": 3}
    assert found == [(DAY, "d", method, 60, count, None) for method, count in counts.items()]


INCIDENT = {
    name: [value]
    for name, value in (
        *(("device_id", "d"), ("started_at", T0), ("ended_at", T0 + MINUTE_MS), ("incident_id", f"d/{T0}")),
        *(("status", "closed"), ("severity", "info"), ("level", 4), ("windows", 1), ("peak_score", 1.5)),
        *(("methods", {"rules": 1}), ("rules", ["r-1"]), ("metrics", []), ("reasons", []), ("signature", {})),
        *(("kinds", []), ("similar", []), ("scope", "local"), ("cause", ""), ("excess_kwh", None)),
        *(
            ("device_type", "chiller"),
            ("location", ""),
            ("building_id", "b"),
            ("updated_at", 1),
            ("label", "worn belt"),
        ),
    )
}


def shape(connection):
    """Columns of every table of a file, in no order."""
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
    asked = 'SELECT name, type, "notnull", pk FROM pragma_table_xinfo(?)'
    return {name: set(connection.execute(asked, (name,))) for name in names if not name.startswith("sqlite_")}


def eighth(path):
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.execute(EIGHTH)
    connection.pragma("user_version", 8)
    return connection


def ninth(path):
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.execute(NINTH)
    connection.pragma("user_version", 9)
    return connection


def test_devices_of_version_9_have_windows_of_the_stores_length(tmp_path):
    connection = ninth(tmp_path / "store.db")
    connection.execute("INSERT INTO devices VALUES ('CH-001', 'chiller', 'roof', 'b', 1, 2, 0)")
    connection.close()
    store, new = EmbeddedStore(tmp_path / "store.db"), EmbeddedStore(tmp_path / "new.db")
    assert store.schema_versions() == (12, 12)
    assert shape(store.connection) == shape(new.connection)
    assert store.devices() == [Device("CH-001", "chiller", "roof", "b", 1, 2, 0, window_ms=None)]
    store.close()
    new.close()


def test_a_store_of_version_10_gets_users_and_keeps_the_rest(tmp_path):
    connection = apsw.Connection(str(tmp_path / "store.db"))
    connection.pragma("journal_mode", "wal")
    connection.execute(TENTH)
    connection.pragma("user_version", 10)
    connection.execute("INSERT INTO devices VALUES ('CH-001', 'chiller', 'roof', 'b', 1, 2, 0, 300000)")
    connection.close()
    store, new = EmbeddedStore(tmp_path / "store.db"), EmbeddedStore(tmp_path / "new.db")
    assert store.schema_versions() == (12, 12)
    assert shape(store.connection) == shape(new.connection)
    assert store.devices() == [Device("CH-001", "chiller", "roof", "b", 1, 2, 0, window_ms=300_000)]
    assert store.count("users") == 0
    store.close()
    new.close()


def test_users_of_version_11_keep_their_tokens_and_have_no_password(tmp_path):
    connection = apsw.Connection(str(tmp_path / "store.db"))
    connection.pragma("journal_mode", "wal")
    connection.execute(ELEVENTH)
    connection.pragma("user_version", 11)
    connection.execute("INSERT INTO users VALUES ('all', 'ana', 'viewer', NULL, ?, 1, NULL)", (digest("hvac_x"),))
    connection.close()
    store, new = EmbeddedStore(tmp_path / "store.db"), EmbeddedStore(tmp_path / "new.db")
    assert store.schema_versions() == (12, 12)
    assert shape(store.connection) == shape(new.connection)
    (kept,) = users(store)
    assert user_of_token([kept], "hvac_x") == kept
    assert kept.password_argon2 is None
    store.close()
    new.close()


@pytest.mark.parametrize("older", [seventh, eighth], ids=["version 7", "version 8"])
def test_incidents_of_a_version_before_have_no_parent_and_what_people_said_stays(tmp_path, older):
    connection = older(tmp_path / "store.db")
    write(connection, "incidents", INCIDENT)
    if older is seventh:
        index_without_its_extension(connection)
    connection.close()
    store, new = EmbeddedStore(tmp_path / "store.db"), EmbeddedStore(tmp_path / "new.db")
    assert store.schema_versions() == (12, 12)
    assert shape(store.connection) == shape(new.connection)
    found = contents(store)
    assert found["incidents"] == INCIDENT | {"parent_id": [None], "urgency": [None]}
    assert found["incident_handling"]["incident_id"] == []
    store.close()
    new.close()


def test_a_disk_that_is_too_small_is_told_and_the_old_store_stays(tmp_path, small_disk):
    path = small_disk / "store.db"
    filled(tmp_path / "made.db", devices=4, windows=500).close()
    path.write_bytes((tmp_path / "made.db").read_bytes())
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize - 300_000))
    before = plain(path)
    with pytest.raises(StoreError, match=r"the disk is full: .* can't be upgraded, it is as it was; free some space"):
        EmbeddedStore(path)
    assert plain(path) == before
    filler.unlink()
    store = EmbeddedStore(path)
    assert contents(store) == before[1]
    store.close()


@pytest.mark.parametrize("room", [0.9, 1.1, 1.4, 1.9])
def test_whatever_room_there_is_the_store_is_whole_and_more_room_lets_it_be_upgraded(tmp_path, small_disk, room):
    path, made = small_disk / "store.db", tmp_path / "made.db"
    filled(made, devices=2, windows=400).close()
    path.write_bytes(made.read_bytes())
    before = plain(made)[1]
    EmbeddedStore(made).close()
    left = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (left - int(room * made.stat().st_size)))
    store = None
    with contextlib.suppress(StoreError):
        store = EmbeddedStore(path)
    if store is None:
        assert plain(path) == (7, before)
        filler.unlink()
        store = EmbeddedStore(path)
    assert contents(store) == before
    store.close()


def test_a_look_into_the_unfinished_file_costs_nothing(tmp_path):
    path = tmp_path / "store.db"
    filled(path).close()
    before = plain(path)[1]
    unfinished = tmp_path / "store.db.upgrading"
    EmbeddedStore(unfinished).close()
    looking = apsw.Connection(str(unfinished))
    reading = looking.execute("SELECT count(*) FROM sqlite_master")
    with pytest.raises(StoreError, match=r"is open elsewhere|locked"):
        EmbeddedStore(path)
    assert plain(path) == (7, before)
    reading.close()
    looking.close()
    store = EmbeddedStore(path)
    assert contents(store) == before
    store.close()


def _die_in_the_middle(path):
    """Copy a part, then end at once."""
    copied = 0

    def dying(old, new, rows):
        nonlocal copied
        copied += 1
        if copied > 4:
            os._exit(9)
        copy(old, new, rows)

    copy, repacking._copy_rows = repacking._copy_rows, dying
    EmbeddedStore(path)


def test_what_was_written_to_the_old_store_after_a_kill_counts(home):
    path = home / "old.db"
    filled(path).close()
    process = start_process(home, _die_in_the_middle, str(path))
    process.join(60)
    assert process.exitcode == 9
    assert (home / "old.db.upgrading").exists()
    corrected = apsw.Connection(str(path))
    corrected.pragma("journal_mode", "wal")
    corrected.execute("UPDATE device_metrics_raw SET metric_value=777.5 WHERE device_id='RTU-000' AND metric_name='t'")
    corrected.close()
    before = plain(path)[1]
    store = EmbeddedStore(path)
    assert contents(store) == before
    store.close()


def test_another_store_in_the_place_of_the_one_whose_upgrade_was_killed_gets_nothing_of_it(home):
    path = home / "old.db"
    filled(path).close()
    process = start_process(home, _die_in_the_middle, str(path))
    process.join(60)
    path.unlink()
    filled(path, devices=1, windows=3).close()
    before = plain(path)[1]
    store = EmbeddedStore(path)
    assert contents(store) == before
    store.close()


def test_a_link_stays_one_and_the_file_keeps_its_mode(tmp_path):
    (tmp_path / "big").mkdir()
    (tmp_path / "home").mkdir()
    target, link = tmp_path / "big" / "store.db", tmp_path / "home" / "store.db"
    filled(target).close()
    target.chmod(0o600)
    link.symlink_to(target)
    EmbeddedStore(link).close()
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in link.parent.iterdir()] == ["store.db"]
    store = EmbeddedStore(target)
    assert store.schema_versions() == (12, 12)
    store.close()


def test_a_damaged_store_of_before_is_told_and_what_can_be_read_is_brought_over(tmp_path):
    path = tmp_path / "store.db"
    filled(path, devices=2, windows=600).close()
    before = plain(path)[1]
    whole = bytearray(path.read_bytes())
    for page in range(60, len(whole) // 4096, 40):
        whole[page * 4096 : page * 4096 + 512] = b"\xff" * 512
    path.write_bytes(whole)
    with pytest.raises(StoreError, match=r"is damaged .*docs/recovery\.md"):
        EmbeddedStore(path)
    assert path.read_bytes()[100:] == whole[100:]  # all but the header, which says how it was opened last
    assert not list(tmp_path.glob("*.upgrading*"))
    damaged, new = open_damaged(path), EmbeddedStore(tmp_path / "new.db")
    found = salvage(damaged, new)
    assert found.lost
    brought = set(rows(new, "device_metrics_raw", "device_id", "timestamp", "metric_name", "metric_value"))
    columns = before["device_metrics_raw"]
    names = ("device_id", "timestamp", "metric_name", "metric_value")
    assert brought <= set(zip(*(columns[name] for name in names), strict=True))
    assert len(brought) > len(columns["device_id"]) / 2
    new.close()


def test_a_damaged_profile_costs_no_other_device_its_own(tmp_path):
    path, names = tmp_path / "store.db", [f"RTU-{i}" for i in range(6)]
    store = EmbeddedStore(path)
    store.register_devices([Device(name, "rooftop_unit", "", "", 0, DAY_MS, 0) for name in names])
    marks = {name: name.encode() * 3_000 for name in names}  # each reaches over many pages
    profile = {"device_type": "rooftop_unit", "location": "", "building_id": "", "embedding_method": "state-1"}
    counts = dict.fromkeys(("profile_version", "snapshot_count", "span_start", "span_end", "last_seen"), 1)
    times = dict.fromkeys(("profile_created_at", "profile_updated_at"), 1)
    vector = np.ones((1, 384), dtype=np.float32)
    for name, detector in marks.items():
        row = {"device_id": name, **profile, **counts, **times, "detector": detector}
        whole = {key: [value] for key, value in row.items()} | {"profile_embedding": vector}
        store.upsert("device_profiles", whole | {"metric_stats": [{}], "calibration": [{}]})
    store.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    store.close()
    content = bytearray(path.read_bytes())
    inside = content.find(marks["RTU-2"][:600]) // 4096 + 1
    content[inside * 4096 : inside * 4096 + 4096] = b"\xff" * 4096
    path.write_bytes(content)
    new = EmbeddedStore(tmp_path / "new.db")
    found = salvage(open_damaged(path), new)
    assert found.lost["device_profiles"] >= 1
    kept = {row[0] for row in rows(new, "device_profiles", "device_id")}
    assert len(kept) >= len(names) - 2
    assert {"RTU-0", "RTU-5"} <= kept
    new.close()
