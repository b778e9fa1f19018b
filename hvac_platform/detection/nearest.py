"""Distance of a state to the nearest normal states, in the space of embeddings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]

NEAREST = 5
DIMENSION = 384
CLOCK_WEIGHT = 4.0
DAY_MS = 86_400_000
_CHUNK = 1024


def state_embeddings(white: Float64, times_ms: NDArray[np.int64], *, clock: bool) -> Float32:
    """Unit vectors float32 [n, p + 3] of n states: [c, white, 4·sin h, 4·cos h] / ‖·‖ with c = √p, h the hour angle in UTC.

    Without the clock part the cosine to [1, 0, …] is c / √(c² + T²): Mahalanobis distance as an angle.

    Args:
        white: float64 [n, p], white coordinates.
        times_ms: int64 [n].
        clock: whether the hour counts; it can't where the training saw less than two days of it.
    """
    n, p = white.shape
    angle = 2.0 * np.pi * (times_ms % DAY_MS) / DAY_MS
    weight = CLOCK_WEIGHT if clock else 0.0
    parts = np.empty((n, p + 3))
    parts[:, 0] = np.sqrt(p)
    parts[:, 1 : p + 1] = white
    parts[:, p + 1] = weight * np.sin(angle)
    parts[:, p + 2] = weight * np.cos(angle)
    parts /= np.linalg.norm(parts, axis=1, keepdims=True)
    return parts.astype(np.float32)


def padded(embeddings: Float32) -> Float32:
    """Embeddings with zeros up to 384 numbers, as the vector index stores them; cosines don't change.

    Raises:
        ValueError: more than 384 numbers, that is more than 190 metrics.
    """
    n, p = embeddings.shape
    if p > DIMENSION:
        raise ValueError(f"{p} numbers a state, the vector index holds {DIMENSION}")
    return np.concatenate([embeddings, np.zeros((n, DIMENSION - p), dtype=np.float32)], axis=1)


def mean_nearest_distance(queries: Float32, normal: Float32) -> Float64:
    """Mean cosine distance to the five nearest normal states, float64 [n] in [0, 2].

    Args:
        queries: float32 [n, q], unit vectors.
        normal: float32 [k, q], unit vectors, k >= 1.
    """
    k = min(NEAREST, len(normal))
    result = np.empty(len(queries))
    for first in range(0, len(queries), _CHUNK):
        cosine = queries[first : first + _CHUNK] @ normal.T
        rows, sums = np.arange(len(cosine)), np.zeros(len(cosine))
        for _ in range(k):  # to look for the largest, which takes many numbers at a time, is faster than to sort
            nearest = cosine.argmax(axis=1)
            sums += cosine[rows, nearest]
            cosine[rows, nearest] = -np.inf
        result[first : first + _CHUNK] = 1.0 - sums / k
    return np.maximum(result, 0.0)
