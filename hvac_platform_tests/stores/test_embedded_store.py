"""The embedded store does what the protocol says: whole writes by key, exact neighbours, a forward ledger."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace

import apsw
import numpy as np
import pytest
import sqlite_vec
from hypothesis import given, settings
from hypothesis import strategies as st

from hvac_platform.shipped import SCHEMA_DIRECTORY
from hvac_platform.stores.base import Device, EmbeddingError, TableSlice
from hvac_platform.stores.embedded import INDEXED_QUERIES, EmbeddedStore
from hvac_platform.stores.tables import tables
from hvac_platform.stores.vectors import decoded_vectors
from hvac_platform.timestamps import DAY_MS, day_start, now_ms
from hvac_platform_tests.conftest import (
    DAY,
    MIDNIGHT_MS,
    MINUTE_MS,
    NEXT_DAY,
    all_succeed,
    processes,
    rows,
    start_process,
)

T0 = day_start(DAY)


def unit_vectors(count, seed=0, dimension=5):
    """Unit vectors in few dimensions, so that some are near one another."""
    vectors = np.zeros((count, 384), dtype=np.float32)
    vectors[:, :dimension] = np.random.default_rng(seed).normal(size=(count, dimension))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def snapshots(times_ms, device_id="d", **columns):
    """Columns of whole snapshots without a vector."""
    n = len(times_ms)
    return {
        "device_id": [device_id] * n,
        "snapshot_time": list(times_ms),
        "window_ms": [MINUTE_MS] * n,
        "metrics": [{"t": float(i)} for i in range(n)],
        "metric_summary": [{"t": [1.0, 0.0, 2.0, 1.5]} for _ in range(n)],
        "completeness": [1.0] * n,
        "revision": list(range(n)),
        **columns,
    }


def profile(device_id="d", **columns):
    return {
        "device_id": [device_id],
        "device_type": ["rooftop_unit"],
        "location": [""],
        "building_id": [""],
        "profile_embedding": unit_vectors(1),
        "embedding_method": ["m"],
        "metric_stats": [{"t": {"mean": 1.0}}],
        "calibration": [{"sigma": 3.0}],
        **{name: [1] for name in ("profile_version", "snapshot_count", "span_start", "span_end", "profile_created_at")},
        "profile_updated_at": [1],
        "last_seen": [1],
        **columns,
    }


def raw(times_ms, values, device_id="d", metric="t"):
    n = len(times_ms)
    return {
        "device_id": [device_id] * n,
        "timestamp": list(times_ms),
        "metric_name": [metric] * n,
        "metric_value": list(values),
        "unit": [""] * n,
    }


def embed(store, times_ms, vectors, method="m", device_id="d"):
    n = len(times_ms)
    columns = {"device_id": [device_id] * n, "snapshot_time": list(times_ms), "embedding": vectors}
    store.update("device_state_snapshots", columns | {"embedding_method": [method] * n})


def flag(store, times_ms, flags):
    columns = {"device_id": ["d"] * len(times_ms), "snapshot_time": list(times_ms), "is_anomalous": list(flags)}
    store.update("device_state_snapshots", columns)


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


def test_an_unknown_table_is_named_with_those_that_exist(store):
    with pytest.raises(KeyError, match=r"no table 'metrics'; tables are device_metrics_raw, "):
        store.count("metrics")


def test_the_schema_is_applied_once(store):
    assert store.schema_versions() == (6, 6)
    assert store.apply_schema() == []


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
        ("ingestion_ledger", ("failures", "failed_at", "error", "range_limit")),
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


# -- rows --------------------------------------------------------------------------------------------------------------


def test_every_kind_of_column_comes_back_as_it_went_in(store):
    vectors = unit_vectors(1)
    written = snapshots(
        [T0],
        metrics=[{"ta": -999.0, "é": 1e-308}],
        metric_summary=[{"ta": [3, -999.0, 72.25, 70.0]}],
        completeness=[0.25],
        revision=[2**63 - 1],
        is_anomalous=[True],
        anomaly_score=[1.5],
        embedding=vectors,
        embedding_method=["state"],
    )
    store.upsert("device_state_snapshots", written)
    (batch,) = store.scan(TableSlice("device_state_snapshots"))
    assert set(batch) == set(tables()["device_state_snapshots"].columns)
    assert batch["date"] == [DAY]
    assert decoded_vectors(batch.pop("embedding")).tolist() == vectors.tolist()
    assert {name: batch[name] for name in written if name != "embedding"} == {
        name: values for name, values in written.items() if name != "embedding"
    }


def test_an_upsert_replaces_rows_by_key_and_leaves_the_others(store):
    store.upsert("device_metrics_raw", raw([T0, T0 + 1], [1.0, 2.0]))
    assert store.upsert("device_metrics_raw", raw([T0 + 1, T0 + 2], [20.0, 30.0])) == 2
    assert rows(store, "device_metrics_raw", "timestamp", "metric_value") == [(T0, 1.0), (T0 + 1, 20.0), (T0 + 2, 30.0)]


def test_a_snapshot_that_is_written_again_keeps_what_the_write_does_not_name(store):
    store.upsert("device_state_snapshots", snapshots([T0]))
    embed(store, [T0], unit_vectors(1))
    flag(store, [T0], [True])
    store.upsert("device_state_snapshots", snapshots([T0], revision=[7]))
    assert rows(store, "device_state_snapshots", "revision", "is_anomalous", "embedding_method") == [(7, True, "m")]


def test_a_dead_letter_keeps_its_first_version(store):
    def letter(reason, rejected_at):
        return {
            "topic": ["t"],
            "kafka_partition": [0],
            "record_offset": [5],
            "record_time": [T0],
            "record_key": [None],
            "record_value": [b"\x00\xff"],
            "reason": [reason],
            "rejected_at": [rejected_at],
        }

    store.upsert("dead_letters", letter("first", 1))
    store.upsert("dead_letters", letter("second", 2))
    assert rows(store, "dead_letters", "record_value", "reason", "rejected_at") == [(b"\x00\xff", "first", 1)]


def test_an_update_changes_named_columns_of_rows_that_exist_and_makes_no_row(store):
    store.upsert("device_state_snapshots", snapshots([T0, T0 + MINUTE_MS]))
    flag(store, [T0, T0 + 9 * MINUTE_MS], [True, True])
    assert rows(store, "device_state_snapshots", "snapshot_time", "revision", "is_anomalous") == [
        (T0, 0, True),
        (T0 + MINUTE_MS, 1, None),
    ]


def test_a_delete_takes_whole_keys(store):
    store.upsert("device_metrics_raw", raw([T0, T0 + 1], [1.0, 2.0]))
    store.delete("device_metrics_raw", {"device_id": ["d", "e"], "timestamp": [T0, T0 + 1], "metric_name": ["t", "t"]})
    assert rows(store, "device_metrics_raw", "timestamp") == [(T0 + 1,)]


def test_a_write_that_fails_half_way_writes_nothing_and_blocks_nothing(store):
    with pytest.raises(apsw.ConstraintError):
        store.upsert("device_metrics_raw", raw([T0, T0 + 1, T0 + 2], [1.0, None, 3.0]))
    assert store.count("device_metrics_raw") == 0
    assert store.device_days(DAY, DAY) == []
    other = EmbeddedStore(store.location)
    other.upsert("device_metrics_raw", raw([T0], [1.0]))
    other.close()
    assert store.count("device_metrics_raw") == 1


def test_columns_of_different_lengths_are_refused_whole(store):
    with pytest.raises(ValueError, match="zip"):
        store.upsert("device_metrics_raw", raw([T0, T0 + 1], [1.0]) | {"unit": ["", ""]})
    assert store.count("device_metrics_raw") == 0


@given(
    written=st.sets(st.tuples(st.sampled_from("abc"), st.integers(0, 40), st.sampled_from("xy")), max_size=60),
    device=st.none() | st.sampled_from("abcz"),
    start=st.none() | st.integers(0, 40),
    length=st.none() | st.integers(0, 40),
    metric=st.none() | st.sampled_from("xy"),
    batch_rows=st.integers(1, 70),
)
@settings(max_examples=60, deadline=None)
def test_a_scan_gives_exactly_the_slice_in_key_order(written, device, start, length, metric, batch_rows):
    store = EmbeddedStore(":memory:")
    for device_id, time, name in written:
        store.upsert("device_metrics_raw", raw([T0 + time], [1.0], device_id, name))
    low = None if start is None else T0 + start
    high = None if length is None else (low or T0) + length
    equals = () if metric is None else (("metric_name", metric),)
    wanted = TableSlice("device_metrics_raw", ("device_id", "timestamp", "metric_name"), device, low, high, equals)
    batches = [list(zip(*b.values(), strict=True)) for b in store.scan(wanted, batch_rows=batch_rows)]
    assert all(1 <= len(batch) <= batch_rows for batch in batches)
    assert [row for batch in batches for row in batch] == sorted(
        (d, T0 + t, m)
        for d, t, m in written
        if (device is None or d == device)
        and (low is None or T0 + t >= low)
        and (high is None or T0 + t < high)
        and (metric is None or m == metric)
    )
    store.close()


def test_count_is_of_a_table_or_of_one_device(store):
    store.upsert("device_metrics_raw", raw([T0, T0 + 1], [1.0, 2.0]))
    store.upsert("device_metrics_raw", raw([T0], [1.0], "e"))
    assert (store.count("device_metrics_raw"), store.count("device_metrics_raw", "d")) == (3, 2)


# -- days and registry -------------------------------------------------------------------------------------------------


def test_the_days_of_a_device_are_known_from_its_writes(store):
    store.upsert("device_metrics_raw", raw([MIDNIGHT_MS - 1, MIDNIGHT_MS], [1.0, 2.0]))
    store.upsert("device_state_snapshots", snapshots([MIDNIGHT_MS]))
    assert [d.date for d in store.device_days(DAY, NEXT_DAY)] == [DAY, NEXT_DAY]
    first, second = store.device_days(DAY, NEXT_DAY, "d")
    assert first.raw_written_at is not None
    assert first.snapshots_written_at is None
    assert second.snapshots_written_at is not None
    assert store.device_days(NEXT_DAY, NEXT_DAY) == [second]
    assert store.device_days(DAY, NEXT_DAY, "e") == []


def test_embeddings_and_flags_are_no_new_data_of_a_day(store):
    store.upsert("device_state_snapshots", snapshots([T0]))
    (before,) = store.device_days(DAY, DAY)
    embed(store, [T0], unit_vectors(1))
    flag(store, [T0], [True])
    assert store.device_days(DAY, DAY) == [before]


def test_a_judged_day_is_marked_as_such(store):
    store.upsert("device_state_snapshots", snapshots([T0, MIDNIGHT_MS]))
    store.mark_judged([("d", DAY), ("nobody", DAY)], 77)
    assert [d.judged_at for d in store.device_days(DAY, NEXT_DAY)] == [77, None]


DEVICE = Device("RTU-001", "rooftop_unit", "building-A", "bldg-001", 100, 200, 2)


def test_a_device_is_new_once_and_its_span_only_grows(store):
    assert store.register_devices([DEVICE, replace(DEVICE, device_id="AC-1")]) == ["RTU-001", "AC-1"]
    assert store.register_devices([replace(DEVICE, first_seen=150, last_seen=300, location="roof")]) == []
    assert store.register_devices([replace(DEVICE, first_seen=50, last_seen=60)]) == []
    assert store.register_devices([]) == []
    assert [d.device_id for d in store.devices()] == ["AC-1", "RTU-001"]
    known = store.devices()[1]
    assert (known.first_seen, known.last_seen, known.location) == (50, 300, "building-A")


# -- ledger ------------------------------------------------------------------------------------------------------------


@given(
    moves=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(0, 6), st.none() | st.integers(0, 9)))
)
@settings(max_examples=80, deadline=None)
def test_the_ledger_moves_only_from_where_it_stands(moves):
    store = EmbeddedStore(":memory:")
    stands: dict[int, int] = {}
    latest: dict[int, int] = {}
    for partition, start, length, watermark in moves:
        allowed = stands.get(partition, start) == start
        moved = store.advance_ledger("t", partition, start, start + length, run_id="r", watermark=watermark)
        assert moved == allowed
        if allowed:
            stands[partition] = start + length
            if watermark is not None:
                latest[partition] = max(watermark, latest.get(partition, 0))
    entries = store.ledger("t")
    assert {p: e.next_offset for p, e in entries.items()} == stands
    assert {p: e.watermark for p, e in entries.items() if e.watermark is not None} == latest
    assert store.ledger("another topic") == {}
    store.close()


def test_a_replay_of_an_old_range_changes_nothing_in_the_ledger(store):
    store.advance_ledger("t", 0, 0, 10, run_id="first", watermark=5)
    store.advance_ledger("t", 0, 10, 20, run_id="second", watermark=6)
    before = store.ledger("t")
    assert not store.advance_ledger("t", 0, 0, 10, run_id="replay", watermark=99, skipped=3)
    assert not store.advance_ledger("t", 0, 0, 30, run_id="replay", watermark=99)
    assert store.ledger("t") == before


def test_skipped_offsets_add_up(store):
    store.advance_ledger("t", 0, 0, 10, run_id="a", watermark=None, skipped=4)
    store.advance_ledger("t", 0, 10, 20, run_id="b", watermark=None)
    store.advance_ledger("t", 0, 20, 50, run_id="c", watermark=None, skipped=7)
    assert store.ledger("t")[0].skipped_offsets == 11


# -- vectors that must never be stored ---------------------------------------------------------------------------------


def _with(row, value):
    vectors = unit_vectors(3)
    vectors[row] = value
    return vectors


REFUSED = {
    "zero": (_with(1, 0.0), "embedding 1 is all zeros"),
    "NaN": (_with(2, [np.nan] + [0.1] * 383), "embedding 2 is not finite"),
    "infinite": (_with(0, [np.inf] + [0.1] * 383), "embedding 0 is not finite"),
    "over the range of float32": (np.full((3, 384), 1e300), "not finite"),
    "too short": (unit_vectors(3)[:, :383], r"shape \(3, 383\), expected \(n, 384\)"),
    "flat": (unit_vectors(3)[0], "shape"),
    "ragged": ([[1.0] * 384, [1.0] * 383, [1.0] * 384], "not an array of numbers"),
    "absent": ([None, None, None], "embedding"),
    "words": ([["x"] * 384] * 3, "not an array of numbers"),
}
TIMES = [T0, T0 + MINUTE_MS, T0 + 2 * MINUTE_MS]


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize(("vectors", "complaint"), REFUSED.values(), ids=REFUSED)
class TestRefusedVectors:
    def test_in_an_upsert(self, store, vectors, complaint):
        with pytest.raises(EmbeddingError, match=complaint):
            store.upsert("device_state_snapshots", snapshots(TIMES, embedding=vectors, embedding_method=["m"] * 3))
        assert store.count("device_state_snapshots") == 0
        assert store.device_days(DAY, DAY) == []

    def test_in_an_update(self, store, vectors, complaint):
        store.upsert("device_state_snapshots", snapshots(TIMES))
        with pytest.raises(EmbeddingError, match=complaint):
            embed(store, TIMES, vectors)
        assert rows(store, "device_state_snapshots", "embedding", "embedding_method") == [(None, None)] * 3

    def test_in_a_profile(self, store, vectors, complaint):
        with pytest.raises(EmbeddingError, match=complaint):
            store.upsert(
                "device_profiles",
                {k: v * 3 for k, v in profile().items() if k != "profile_embedding"}
                | {
                    "device_id": ["a", "b", "c"],
                    "profile_embedding": vectors,
                },
            )
        assert store.count("device_profiles") == 0

    def test_in_a_search(self, store, vectors, complaint):
        with pytest.raises(EmbeddingError, match=complaint):
            store.nearest("d", vectors, 1, embedding_method="m")


# -- nearest neighbours ------------------------------------------------------------------------------------------------


def by_hand(vectors, times, flags, queries, k, *, normal_only, exclude_ms, query_times, low, high):
    """The k nearest by a plain sort: (time, flag) lists and similarities."""
    found = []
    for query, query_time in zip(queries, query_times, strict=True):
        candidates = [
            (float(query @ v), t, f)
            for v, t, f in zip(vectors, times, flags, strict=True)
            if not (normal_only and f) and abs(t - query_time) >= exclude_ms and low <= t < high
        ]
        found.append(sorted(candidates, reverse=True)[:k])
    return found


@given(
    seed=st.integers(0, 2**32 - 1),
    stored=st.integers(0, 60),
    asked=st.integers(1, INDEXED_QUERIES),
    k=st.integers(1, 12),
    normal_only=st.booleans(),
    exclude=st.integers(0, 20),
    span=st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted),
)
@settings(max_examples=60, deadline=None)
def test_the_index_and_the_pass_over_the_table_find_the_true_neighbours(
    seed, stored, asked, k, normal_only, exclude, span
):
    generator = np.random.default_rng(seed)
    times = T0 + MINUTE_MS * np.arange(stored)
    vectors, flags = unit_vectors(stored, seed), generator.random(stored) < 0.3
    store = EmbeddedStore(":memory:")
    store.upsert("device_state_snapshots", snapshots(times.tolist()))
    store.upsert("device_state_snapshots", snapshots(times.tolist(), "another device"))
    embed(store, times.tolist(), vectors) if stored else None
    embed(store, times.tolist(), unit_vectors(stored, seed + 1), device_id="another device") if stored else None
    flag(store, times.tolist(), flags.tolist())
    if stored:  # one state is of another encoder, and one has no vector at all
        embed(store, times[:1].tolist(), vectors[:1], method="another method")
    queries = unit_vectors(asked, seed + 2)
    query_times = T0 + MINUTE_MS * generator.integers(0, 60, asked)
    limits = {"start_ms": T0 + span[0] * MINUTE_MS, "end_ms": T0 + span[1] * MINUTE_MS}
    options = {"normal_only": normal_only, "exclude_ms": exclude * MINUTE_MS, **limits}
    few = store.nearest("d", queries, k, embedding_method="m", query_times_ms=query_times, **options)
    repeated = INDEXED_QUERIES + 1
    many = store.nearest(
        "d",
        np.tile(queries, (repeated, 1)),
        k,
        embedding_method="m",
        query_times_ms=np.tile(query_times, repeated),
        **options,
    )
    expected = by_hand(
        *(vectors[1:], times[1:].tolist(), flags[1:].tolist(), queries, k),
        normal_only=normal_only,
        exclude_ms=exclude * MINUTE_MS,
        query_times=query_times.tolist(),
        low=limits["start_ms"],
        high=limits["end_ms"],
    )
    for found in (few, many):
        for i, candidates in enumerate(expected):
            n = len(candidates)
            assert found.times_ms[i].tolist() == [t for _, t, _ in candidates] + [-1] * (k - n)
            assert found.anomalous[i].tolist() == [f for _, _, f in candidates] + [False] * (k - n)
            np.testing.assert_allclose(found.similarity[i, :n], [s for s, _, _ in candidates], atol=1e-5)
            assert np.isnan(found.similarity[i, n:]).all()
    store.close()


def nearest_time(store, query, **options):
    """Time of the nearest state as the index and as the table see it; they must agree."""
    one = store.nearest("d", query[None], 1, embedding_method="m", **options).times_ms[0, 0]
    many = store.nearest("d", np.tile(query, (INDEXED_QUERIES + 1, 1)), 1, embedding_method="m", **options)
    assert set(many.times_ms[:, 0].tolist()) == {int(one)}
    return int(one)


class TestTheIndexFollowsTheTable:
    @pytest.fixture
    def axes(self, store):
        """Two states at right angles."""
        store.upsert("device_state_snapshots", snapshots(TIMES[:2]))
        embed(store, TIMES[:2], np.eye(2, 384, dtype=np.float32))
        return np.eye(3, 384, dtype=np.float32)

    def test_when_a_state_is_embedded_again(self, store, axes):
        embed(store, TIMES[:1], axes[2:])
        assert nearest_time(store, axes[2]) == TIMES[0]
        assert nearest_time(store, axes[0] + axes[1] / 2) == TIMES[1]

    def test_when_the_encoder_changes_but_not_the_vector(self, store, axes):
        embed(store, TIMES[:1], axes[:1], method="another")
        assert nearest_time(store, axes[0]) == TIMES[1]

    def test_when_a_state_is_flagged_and_cleared(self, store, axes):
        flag(store, TIMES[:1], [True])
        assert nearest_time(store, axes[0], normal_only=True) == TIMES[1]
        assert nearest_time(store, axes[0]) == TIMES[0]
        flag(store, TIMES[:1], [False])
        assert nearest_time(store, axes[0], normal_only=True) == TIMES[0]

    def test_when_a_flagged_state_is_embedded_again(self, store, axes):
        flag(store, TIMES[:1], [True])
        embed(store, TIMES[:1], axes[2:])
        assert nearest_time(store, axes[2], normal_only=True) == TIMES[1]

    def test_when_a_state_is_deleted(self, store, axes):
        store.delete("device_state_snapshots", {"device_id": ["d"], "snapshot_time": TIMES[:1]})
        assert nearest_time(store, axes[0]) == TIMES[1]

    def test_when_whole_states_are_written_with_their_vectors(self, store, axes):
        both = [TIMES[1], TIMES[2]]  # one is there, one is new
        columns = snapshots(both, embedding=axes[[1, 2]], embedding_method=["m", "m"], is_anomalous=[None, True])
        store.upsert("device_state_snapshots", columns)
        assert nearest_time(store, axes[2]) == TIMES[2]
        assert nearest_time(store, axes[1]) == TIMES[1]
        assert nearest_time(store, axes[2] + axes[1] / 2, normal_only=True) == TIMES[1]


def test_states_near_in_time_are_left_out_however_short_their_windows(store):
    """Half an hour around a state holds 3,600 windows of a second; the neighbours are beyond them."""
    device = [T0 + i * 1_000 for i in range(5_000)]
    store.upsert("device_state_snapshots", snapshots(device, window_ms=[1_000] * len(device)))
    vectors = np.zeros((len(device), 384), dtype=np.float32)
    angle = np.abs(np.arange(len(device)) - 2_500) / 5_000  # the nearer in time, the more alike
    vectors[:, 0], vectors[:, 1] = np.cos(angle), np.sin(angle)
    embed(store, device, vectors)
    query = {"query_times_ms": np.array([device[2_500]]), "exclude_ms": 2_200_000}
    found = store.nearest("d", vectors[2_500:2_501], 3, embedding_method="m", **query)
    assert sorted(abs(t - device[2_500]) for t in found.times_ms[0].tolist())[:2] == [2_200_000, 2_200_000]
    assert np.isfinite(found.similarity).all()


# -- time to live ------------------------------------------------------------------------------------------------------


def test_purge_removes_what_was_written_longer_ago_than_its_time_to_live(store, monkeypatch):
    now = T0 + 200 * DAY_MS
    for age_days in (100, 40, 1):
        written = now - age_days * DAY_MS
        monkeypatch.setattr("hvac_platform.stores.embedded.now_ms", lambda written=written: written)
        day = [T0 + age_days * DAY_MS]
        store.upsert("device_metrics_raw", raw(day, [1.0]))
        store.upsert("device_state_snapshots", snapshots(day, embedding=unit_vectors(1), embedding_method=["m"]))
        store.upsert("device_profiles", profile(f"{age_days}"))
    assert store.purge(now) == {"device_metrics_raw": 2, "device_state_snapshots": 1}
    assert rows(store, "device_metrics_raw", "timestamp") == [(T0 + DAY_MS,)]
    assert rows(store, "device_state_snapshots", "snapshot_time") == [(T0 + DAY_MS,), (T0 + 40 * DAY_MS,)]
    assert store.count("device_profiles") == 3
    found = store.nearest("d", unit_vectors(1), 5, embedding_method="m").times_ms[0]
    assert sorted(t for t in found.tolist() if t >= 0) == [T0 + DAY_MS, T0 + 40 * DAY_MS]
    assert store.purge(now) == {}


def test_old_data_that_was_written_just_now_stays(store):
    store.upsert("device_metrics_raw", raw([T0 - 1000 * DAY_MS], [1.0]))
    assert store.purge(now_ms()) == {}


# -- many processes ----------------------------------------------------------------------------------------------------


def _write_much(path, process):
    """Each process writes rows of its own, rows that all write, devices, snapshots with vectors and the ledger."""
    store = EmbeddedStore(path)
    for batch in range(10):
        times = [T0 + process * 10_000_000 + batch * 100 + i for i in range(100)]
        store.upsert("device_metrics_raw", raw(times, [1.0] * 100, f"d{process}"))
        store.upsert("device_metrics_raw", raw([T0 + batch], [float(process)], "shared"))
        store.register_devices([replace(DEVICE, first_seen=100 - process, last_seen=200 + process)])
        times = [T0 + (batch * 20 + i) * MINUTE_MS for i in range(20)]
        store.upsert("device_state_snapshots", snapshots(times, f"d{process}"))
        embed(store, times, unit_vectors(20, process), device_id=f"d{process}")
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
        store.upsert("device_metrics_raw", raw([T0 + number], [1.0]))
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
