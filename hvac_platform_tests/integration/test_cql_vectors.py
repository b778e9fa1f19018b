"""Vector search by the index of a live Cassandra: what was just written, flushed, changed or flagged is found."""

from __future__ import annotations

import secrets
import time

import numpy as np
import pytest

from devtools.services.base import DEFAULT_FOLDER, free_port
from devtools.services.cassandra import Cassandra
from hvac_platform.stores import cql_nearest
from hvac_platform.stores.base import Device, EmbeddingError, StoreError, TableSlice
from hvac_platform.stores.cql import CqlSettings, CqlStore
from hvac_platform.stores.cql_nearest import NearestQuery
from hvac_platform.stores.vectors import decoded_vectors
from hvac_platform.timestamps import DAY_MS, day_start

DATE = "2026-06-10"
START_MS = day_start(DATE)
WINDOW_MS = 60_000
METHOD = "m"
BAD_VECTORS = {
    "zero": np.zeros((1, 384)),
    "NaN": np.full((1, 384), np.nan),
    "infinite": np.full((1, 384), np.inf),
    "beyond float32": np.full((1, 384), 1e300),
    "infinitely long": np.full((1, 384), 1e30),
    "without length": np.full((1, 384), 1e-30),
    "too short": np.ones((1, 383)),
    "too long": np.ones((1, 385)),
    "one dimension": np.ones(384),
    "ragged": [[1.0] * 384, [1.0]],
    "text": [["x"] * 384],
}


@pytest.fixture(scope="module")
def cassandra(tmp_path_factory):
    node = Cassandra(DEFAULT_FOLDER / "cache", tmp_path_factory.mktemp("cassandra"), free_port())
    node.up()
    yield node
    node.down()


@pytest.fixture(scope="module")
def store(cassandra):
    keyspace = f"hvac_{secrets.token_hex(4)}"
    opened = CqlStore(CqlSettings(("127.0.0.1",), port=cassandra.port, keyspace=keyspace, replication_factor=1))
    yield opened
    opened.close()


@pytest.fixture
def device(store):
    """A device that no other test uses."""
    name = f"d-{secrets.token_hex(4)}"
    store.register_devices([Device(name, "rooftop_unit", "building-A", "bldg-001", START_MS, START_MS, 0)])
    return name


def unit_vectors(n, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, 384)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def times(n, first_ms=START_MS):
    return first_ms + np.arange(n, dtype=np.int64) * WINDOW_MS


def write_snapshots(store, device, times_ms):
    n = len(times_ms)
    store.upsert(
        "device_state_snapshots",
        {
            "device_id": [device] * n,
            "snapshot_time": times_ms,
            "window_ms": [WINDOW_MS] * n,
            "metrics": [{"a": 1.0}] * n,
            "metric_summary": [{}] * n,
            "completeness": np.ones(n),
            "revision": [1] * n,
        },
    )


def embed(store, device, times_ms, vectors, method=METHOD):
    n = len(times_ms)
    keys = {"device_id": [device] * n, "snapshot_time": times_ms}
    store.update("device_state_snapshots", {**keys, "embedding": vectors, "embedding_method": [method] * n})


def flag(store, device, times_ms, flags):
    keys = {"device_id": [device] * len(times_ms), "snapshot_time": times_ms}
    store.update("device_state_snapshots", {**keys, "is_anomalous": flags})


def by_index(store, device, vector, k=1, **options):
    """Neighbours of one vector by the index alone: an exact pass fails the test."""
    query = NearestQuery(device, vector[None, :], k, METHOD, **options)
    days = [date for _, date in store._device_dates(cql_nearest._slice(query))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store._nearest, "_pass_over", lambda *_: pytest.fail("fell back to the exact pass"))
        return store._nearest._by_index(query, days)


def flush(store, cassandra, table="snapshot_vectors"):
    """Memtables to disk, by the table's own flush period."""
    keyspace = store._client.settings.keyspace
    folder = next((cassandra.folder / "data" / "data" / keyspace).glob(f"{table}-*"))
    before = set(folder.glob("*-Data.db"))
    store._client.execute_once(f"ALTER TABLE {keyspace}.{table} WITH memtable_flush_period_in_ms = 500", timeout=30)
    deadline = time.monotonic() + 30
    while not set(folder.glob("*-Data.db")) - before:
        assert time.monotonic() < deadline, "nothing was flushed"
        time.sleep(0.1)
    store._client.execute_once(f"ALTER TABLE {keyspace}.{table} WITH memtable_flush_period_in_ms = 0", timeout=30)


def test_a_vector_that_comes_after_its_snapshot_is_found_at_once(store, device):
    vectors = unit_vectors(100)
    write_snapshots(store, device, times(100))
    embed(store, device, times(100), vectors)
    for row in (0, 42, 99):
        found = by_index(store, device, vectors[row], k=3)
        assert found.times_ms[0, 0] == times(100)[row]
        assert found.similarity[0, 0] == pytest.approx(1.0, abs=1e-6)


def test_a_state_is_found_by_its_direction_whatever_the_lengths_of_vectors(store, device):
    vectors = unit_vectors(100, seed=4) * np.geomspace(0.01, 100, 100, dtype=np.float32)[:, None]
    write_snapshots(store, device, times(100))
    embed(store, device, times(100), vectors)
    for row in (0, 50, 99):
        found = by_index(store, device, 7 * vectors[row], k=3)
        assert found.times_ms[0, 0] == times(100)[row]
        assert found.similarity[0, 0] == pytest.approx(1.0, abs=1e-6)
    columns = TableSlice("device_state_snapshots", ("embedding",), device, START_MS, START_MS + DAY_MS)
    (stored,) = (batch["embedding"] for batch in store.scan(columns))
    assert np.array_equal(decoded_vectors(stored), vectors)


def test_an_index_on_the_snapshots_themselves_would_miss_it(store, device):
    """Why vectors have a table of their own; when a later Cassandra passes this, the table can go."""
    keyspace = store._client.settings.keyspace
    store._client.execute_once(
        f"CREATE CUSTOM INDEX IF NOT EXISTS direct_idx ON {keyspace}.device_state_snapshots (embedding) "
        "USING 'StorageAttachedIndex' WITH OPTIONS = {'similarity_function': 'cosine'}",
        timeout=60,
    )
    try:
        vectors = unit_vectors(20, seed=1)
        write_snapshots(store, device, times(20))
        embed(store, device, times(20), vectors)
        direct = store._client.prepare(
            f"SELECT snapshot_time FROM {keyspace}.device_state_snapshots WHERE device_id=? AND date=? "
            "ORDER BY embedding ANN OF ? LIMIT 3"
        )
        arguments = (device, "2026-06-10", vectors[7].astype(">f4").tobytes())
        assert list(store._client.execute(direct, arguments)) == []
        assert by_index(store, device, vectors[7]).times_ms[0, 0] == times(20)[7]
    finally:
        store._client.execute_once(f"DROP INDEX {keyspace}.direct_idx", timeout=60)


def test_flushed_changed_and_flagged_states_are_found_as_they_are_now(store, device, cassandra):
    vectors = unit_vectors(60, seed=2)
    changed = unit_vectors(60, seed=3)
    write_snapshots(store, device, times(60))
    embed(store, device, times(60), vectors)
    flush(store, cassandra)
    assert by_index(store, device, vectors[10]).times_ms[0, 0] == times(60)[10]

    # A late reading: the snapshot and its vector are written again, over a row on disk and then over one in the memtable.
    for new in (changed[10], unit_vectors(1, seed=4)[0]):
        write_snapshots(store, device, times(60)[10:11])
        embed(store, device, times(60)[10:11], new[None, :])
        found = by_index(store, device, new)
        assert (found.times_ms[0, 0], found.similarity[0, 0]) == (times(60)[10], pytest.approx(1.0, abs=1e-6))
        assert by_index(store, device, vectors[10]).similarity[0, 0] < 0.9

    # Flagged by an update, then encoded again: the flag stays, and so does the vector.
    flag(store, device, times(60)[20:21], [True])
    assert by_index(store, device, vectors[20]).anomalous[0, 0]
    assert by_index(store, device, vectors[20], normal_only=True).times_ms[0, 0] != times(60)[20]
    embed(store, device, times(60)[20:21], changed[20:21])
    assert by_index(store, device, changed[20]).times_ms[0, 0] == times(60)[20]
    flush(store, cassandra)
    flag(store, device, times(60)[20:21], [False])
    assert by_index(store, device, changed[20], normal_only=True).times_ms[0, 0] == times(60)[20]


def test_states_are_found_after_the_node_restarts(store, device, cassandra):
    vectors = unit_vectors(30, seed=5)
    write_snapshots(store, device, times(30))
    embed(store, device, times(30), vectors)
    cassandra.down()
    cassandra.up()
    assert by_index(store, device, vectors[3]).times_ms[0, 0] == times(30)[3]


def test_a_withdrawn_or_deleted_state_is_not_found(store, device):
    vectors = unit_vectors(10, seed=6)
    write_snapshots(store, device, times(10))
    embed(store, device, times(10), vectors)
    keys = {"device_id": [device], "snapshot_time": times(10)[4:5]}
    store.update("device_state_snapshots", {**keys, "embedding_method": [None]})
    assert times(10)[4] not in store.nearest(device, vectors[4:5], 9, embedding_method=METHOD).times_ms
    embed(store, device, times(10)[4:5], vectors[4:5])
    assert by_index(store, device, vectors[4]).times_ms[0, 0] == times(10)[4]
    store.delete("device_state_snapshots", keys)
    assert times(10)[4] not in store.nearest(device, vectors[4:5], 9, embedding_method=METHOD).times_ms


def test_days_are_merged_and_filters_starve_nothing(store, device):
    """Five days; the query's own hour is left out, half of the rest is flagged, and two other encoders wrote beside."""
    all_times = np.concatenate([times(200, START_MS + day * DAY_MS) for day in range(5)])
    vectors = unit_vectors(1000, seed=7)
    vectors[400:500] = vectors[400] + 0.01 * unit_vectors(100, seed=8)  # the query's neighbourhood in time
    write_snapshots(store, device, all_times)
    embed(store, device, all_times, vectors)
    embed(store, device, all_times[::7], vectors[::7], method="other")
    flag(store, device, all_times[1::2], [True] * 500)
    query = vectors[450:451] / np.linalg.norm(vectors[450])
    options = {
        "embedding_method": METHOD,
        "normal_only": True,
        "start_ms": int(all_times[100]),
        "end_ms": int(all_times[-50]),
        "query_times_ms": all_times[450:451],
        "exclude_ms": 3_600_000,
    }
    assert store._nearest.index_is_cheaper(NearestQuery(device, query, 10, METHOD), 5)
    found = store.nearest(device, query, 10, **options)
    allowed = (np.arange(1000) % 2 == 0) & (np.arange(1000) % 7 != 0)
    allowed &= (all_times >= options["start_ms"]) & (all_times < options["end_ms"])
    allowed &= np.abs(all_times - all_times[450]) >= 3_600_000
    cosine = np.where(allowed, vectors @ query[0] / np.linalg.norm(vectors, axis=1), -np.inf)
    best = np.argsort(-cosine)[:10]
    assert found.times_ms[0].tolist() == all_times[best].tolist()
    np.testing.assert_allclose(found.similarity[0], cosine[best], atol=1e-6)
    assert not found.anomalous.any()


def test_the_index_serves_few_queries_and_one_pass_serves_a_day_of_them():
    nearest = cql_nearest.CqlNearest(None, None, None, separate_vectors=True)
    few, day = (NearestQuery("d", np.ones((n, 384), dtype=np.float32), 10, METHOD) for n in (1, 1440))
    assert nearest.index_is_cheaper(few, 14)
    assert not nearest.index_is_cheaper(day, 14)
    over_all_days = cql_nearest.CqlNearest(None, None, None, separate_vectors=False)
    many = NearestQuery("d", np.ones((60, 384), dtype=np.float32), 10, METHOD)
    assert over_all_days.index_is_cheaper(many, 14)
    assert not nearest.index_is_cheaper(many, 14)


def test_without_its_index_the_answer_is_the_same(store, device, monkeypatch, caplog):
    vectors = unit_vectors(50, seed=9)
    write_snapshots(store, device, times(50))
    embed(store, device, times(50), vectors)
    expected = store.nearest(device, vectors[:1], 5, embedding_method=METHOD)
    keyspace = store._client.settings.keyspace
    monkeypatch.setattr(cql_nearest, "INDEX_PATIENCE_SECONDS", 0.5)
    store._client.execute_once(f"DROP INDEX {keyspace}.device_state_embedding_idx", timeout=60)
    try:
        found = store.nearest(device, vectors[:1], 5, embedding_method=METHOD)
    finally:
        done = store.apply_schema()
    assert "the vector index doesn't serve" in caplog.text
    assert found.times_ms.tolist() == expected.times_ms.tolist()
    assert done[0].startswith("create index device_state_embedding_idx")
    # The index is built in the background: what it gives meanwhile isn't taken for everything there is.
    store._nearest._index_rests_until = 0.0
    for _ in range(20):
        found = store.nearest(device, vectors[1:2], 5, embedding_method=METHOD)
        assert found.times_ms[0, 0] == times(50)[1]
    monkeypatch.setattr(cql_nearest, "INDEX_PATIENCE_SECONDS", 60.0)
    while len(store._nearest._candidates(NearestQuery(device, vectors[1:2], 5, METHOD), [DATE], [10])[0].times_ms) < 10:
        time.sleep(0.1)
    assert by_index(store, device, vectors[1]).times_ms[0, 0] == times(50)[1]


def test_an_index_that_answers_with_less_than_there_is_hides_nothing(store, device, monkeypatch):
    """As Cassandra's did for a moment after it was made anew: no error, and no rows, or some of them."""
    vectors = unit_vectors(50, seed=10)
    write_snapshots(store, device, times(50))
    embed(store, device, times(50), vectors)
    query = NearestQuery(device, vectors[:1], 5, METHOD)
    expected = store._nearest.by_pass(query)
    whole = store._nearest._candidates
    for kept in (0, 1, 7):

        def partial(*arguments, kept=kept):
            return [
                cql_nearest.Candidates(
                    part.times_ms[3 : 3 + kept], part.methods[3 : 3 + kept], part.vectors[3 : 3 + kept],
                    part.flags[3 : 3 + kept],
                )
                for part in whole(*arguments)
            ]  # fmt: skip

        monkeypatch.setattr(store._nearest, "_candidates", partial)
        found = store._nearest._by_index(query, [DATE])
        assert found.times_ms.tolist() == expected.times_ms.tolist()


@pytest.mark.parametrize("name", BAD_VECTORS)
def test_a_vector_that_would_destroy_the_node_is_refused_on_every_path(store, device, name):
    bad = BAD_VECTORS[name]
    write_snapshots(store, device, times(1))
    keys = {"device_id": [device], "snapshot_time": times(1)}
    good = unit_vectors(1)
    for write in (
        lambda: store.update("device_state_snapshots", {**keys, "embedding": bad, "embedding_method": [METHOD]}),
        lambda: store.upsert("device_state_snapshots", {**keys, "embedding": bad, "embedding_method": [METHOD]}),
        lambda: store.update("device_state_snapshots", {**keys, "embedding": bad}),
        lambda: store.upsert("device_profiles", {"device_id": [device], "profile_embedding": bad}),
        lambda: store.update("device_profiles", {"device_id": [device], "profile_embedding": bad}),
        lambda: store.nearest(device, bad, 3, embedding_method=METHOD),
    ):
        with pytest.raises(EmbeddingError):
            write()
    embeddings = TableSlice("device_state_snapshots", ("embedding",), device, START_MS, START_MS + DAY_MS)
    assert [batch["embedding"] for batch in store.scan(embeddings)] == [[None]]
    profiles = TableSlice("device_profiles", ("device_id",), device)
    assert list(store.scan(profiles)) == []
    embed(store, device, times(1), good)  # and nothing is broken
    assert store.nearest(device, good, 1, embedding_method=METHOD).times_ms[0, 0] == START_MS


def test_a_vector_needs_the_name_of_its_encoder(store, device):
    keys = {"device_id": [device], "snapshot_time": times(1)}
    with pytest.raises(StoreError, match="embedding_method"):
        store.update("device_state_snapshots", {**keys, "embedding": unit_vectors(1)})


def test_states_near_each_other_are_still_told_apart_on_disk(store, device, cassandra):
    """From 1,024 vectors on, Cassandra quantises what it writes; by dot product it then misses most of them."""
    directions, amounts = unit_vectors(6, seed=5), np.random.default_rng(6).normal(0, 0.1, (1_120, 5))
    states = directions[0] + amounts @ directions[1:]  # of a machine that varies in five ways
    states = (states / np.linalg.norm(states, axis=1, keepdims=True)).astype(np.float32)
    stored, queries = states[:1_100], states[1_100:]
    write_snapshots(store, device, times(1_100))
    embed(store, device, times(1_100), stored)
    flush(store, cassandra)
    exact = store._nearest.by_pass(NearestQuery(device, queries, 10, METHOD)).similarity
    found = np.array([by_index(store, device, query, k=10).similarity[0] for query in queries])
    assert (found >= exact[:, -1:] - 1e-6).mean() >= 0.95
