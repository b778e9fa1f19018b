"""What docs/vector-search.md says, done."""

from __future__ import annotations

import numpy as np
import pytest

from hvac_platform.detection.nearest import CLOCK_WEIGHT, state_embeddings

HOUR_MS = 3_600_000


def test_the_cosine_of_two_states_of_equal_length_is_their_distance_and_that_of_their_hours():
    generator = np.random.default_rng(5)
    white = generator.normal(size=(2, 8))
    white *= 3.0 / np.linalg.norm(white, axis=1, keepdims=True)
    vectors = state_embeddings(white, np.array([3 * HOUR_MS, 9 * HOUR_MS]), clock=True).astype(np.float64)
    length = 8 + 3.0**2 + CLOCK_WEIGHT**2
    apart = ((white[0] - white[1]) ** 2).sum() + 32 * (1 - np.cos(2 * np.pi * 6 / 24))
    assert 1 - vectors[0] @ vectors[1] == pytest.approx(apart / (2 * length), abs=1e-6)
