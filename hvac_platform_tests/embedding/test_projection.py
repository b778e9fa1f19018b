"""Vectors on a plane: what differs most is told apart, and the same vectors give the same map."""

from __future__ import annotations

import numpy as np

from hvac_platform.embedding.projection import LEAST_VECTORS, plane_of


def groups(n: int = 200, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around two centres, and which is which."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, 2, n)
    centres = np.zeros((2, 384))
    centres[0, 3], centres[1, 200] = 1.0, 1.0
    vectors = centres[which] + 0.02 * rng.normal(size=(n, 384))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), which


def test_groups_that_are_apart_stay_apart_along_the_first_axis() -> None:
    vectors, which = groups()
    plane = plane_of(vectors)
    assert plane is not None
    places = plane.of(vectors)
    assert places.shape == (200, 2)
    first, second = places[which == 0, 0], places[which == 1, 0]
    assert max(first.min(), second.min()) - min(first.max(), second.max()) > 1.0
    assert plane.shares[0] > 0.7 > plane.shares[1] > 0
    np.testing.assert_allclose(plane.axes.T @ plane.axes, np.eye(2), atol=1e-9)


def test_distances_on_the_plane_are_none_that_there_are_not() -> None:
    vectors, _ = groups()
    plane = plane_of(vectors)
    assert plane is not None
    places = plane.of(vectors)
    real = np.linalg.norm(vectors[:50, None] - vectors[None, 50:], axis=2)
    drawn = np.linalg.norm(places[:50, None] - places[None, 50:], axis=2)
    assert (drawn <= real + 1e-6).all()


def test_a_map_is_not_mirrored_by_the_order_of_its_vectors() -> None:
    vectors, _ = groups()
    one, other = plane_of(vectors), plane_of(vectors[::-1])
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(one.of(vectors)[:, 0], other.of(vectors)[:, 0], atol=1e-3)


def test_too_few_vectors_and_such_as_are_all_the_same_make_no_map() -> None:
    vectors, _ = groups()
    assert plane_of(vectors[: LEAST_VECTORS - 1]) is None
    assert plane_of(np.repeat(vectors[:1], 100, axis=0)) is None
    assert plane_of(np.zeros((0, 384), dtype=np.float32)) is None
