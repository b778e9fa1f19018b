"""What docs/vector-search.md says, done."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from hvac_platform.detection.nearest import CLOCK_WEIGHT, padded, state_embeddings
from hvac_platform.stores.embedded import EmbeddedStore
from hvac_platform_tests.stores.store_contract import embed, snapshots

PAGE = (Path(__file__).parents[2] / "docs" / "vector-search.md").read_text()
HOUR_MS = 3_600_000


def test_the_cosine_of_two_states_of_equal_length_is_their_distance_and_that_of_their_hours():
    generator = np.random.default_rng(5)
    white = generator.normal(size=(2, 8))
    white *= 3.0 / np.linalg.norm(white, axis=1, keepdims=True)
    vectors = state_embeddings(white, np.array([3 * HOUR_MS, 9 * HOUR_MS]), clock=True).astype(np.float64)
    length = 8 + 3.0**2 + CLOCK_WEIGHT**2
    apart = ((white[0] - white[1]) ** 2).sum() + 32 * (1 - np.cos(2 * np.pi * 6 / 24))
    assert 1 - vectors[0] @ vectors[1] == pytest.approx(apart / (2 * length), abs=1e-6)


def test_the_query_of_the_embedded_store_gives_what_the_store_gives(tmp_path):
    store = EmbeddedStore(tmp_path / "store.db")
    vectors = padded(
        state_embeddings(np.random.default_rng(1).normal(size=(40, 6)), np.zeros(40, dtype=np.int64), clock=False)
    )
    times = list(range(0, 40 * 60_000, 60_000))
    store.upsert("device_state_snapshots", snapshots("CH-001", times))
    embed(store, "CH-001", times, vectors, method="state-1")
    query = re.search(r"^SELECT [^;]* MATCH [^;]*", PAGE, re.MULTILINE)
    assert query is not None
    rows = list(store._connection.execute(query[0], (vectors[7].tobytes(),)))
    found = store.nearest("CH-001", vectors[7:8], 10, embedding_method="state-1", normal_only=True)
    assert [time_ms for time_ms, _, _ in rows] == found.times_ms[0].tolist()
    np.testing.assert_allclose([1 - distance for _, _, distance in rows], found.similarity[0], atol=1e-6)
    store.close()
