"""Checks and exact search over unit vectors, shared by every store."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from hvac_platform.snapshots import EMBEDDING_DIMENSION, Neighbours
from hvac_platform.stores.base import EmbeddingError


def checked_vectors(vectors: object) -> NDArray[np.float32]:
    """Vectors as float32 [n, 384], every one finite and non-zero.

    A zero or NaN vector in a cosine index makes a Cassandra node unable to start again, so none may leave this process.

    Raises:
        EmbeddingError: naming the first bad row.
    """
    try:
        with np.errstate(over="ignore"):  # what overflows is infinite, and refused below
            array = np.asarray(vectors, dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise EmbeddingError(f"embeddings are not an array of numbers: {error}") from None
    if array.ndim != 2 or array.shape[1] != EMBEDDING_DIMENSION:
        raise EmbeddingError(f"embeddings have shape {array.shape}, expected (n, {EMBEDDING_DIMENSION})")
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        raise EmbeddingError(f"embedding {int(np.argmin(finite))} is not finite")
    nonzero = (array != 0).any(axis=1)
    if not nonzero.all():
        raise EmbeddingError(f"embedding {int(np.argmin(nonzero))} is all zeros")
    with np.errstate(over="ignore", under="ignore"):
        squared = np.einsum("ij,ij->i", array, array)
    measurable = np.isfinite(squared) & (squared >= np.finfo(np.float32).tiny)
    if not measurable.all():  # its length is 0 or infinite in float32, so its cosine is NaN: the same harm
        raise EmbeddingError(f"embedding {int(np.argmin(measurable))} has no length that a float can hold")
    return array


TILE = 1 << 18
"""Pairs of a query and a state that are compared at once: so many stay in the processor's cache."""

GROUP = 16
"""Columns side by side of which the least value is found first."""


class NearestSearch:
    """Exact k nearest by cosine over blocks of stored vectors, for many queries at once.

    Memory is one block, one tile and n x k results; the work is the matrix products of a block with all queries.
    """

    def __init__(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        query_times_ms: NDArray[np.int64] | None = None,
        exclude_ms: int = 0,
    ) -> None:
        n = len(queries)
        norms = np.linalg.norm(queries, axis=1, keepdims=True)
        self._queries = queries / norms
        self._k = k
        self._query_times = query_times_ms
        self._exclude_ms = exclude_ms
        self._similarity = np.full((n, k), -np.inf, dtype=np.float32)
        self._times = np.full((n, k), -1, dtype=np.int64)
        self._anomalous = np.zeros((n, k), dtype=bool)

    def add(
        self,
        times_ms: NDArray[np.int64],
        vectors: NDArray[np.float32],
        anomalous: NDArray[np.bool_],
        lengths: NDArray[np.float32] | None = None,
    ) -> NearestSearch:
        """Consider one block of stored states: times int64 [b], vectors float32 [b, 384], flags bool [b].

        Vectors may be shorter, where the rest of all of them is zeros; ``lengths`` [b] are theirs, worked out where absent.
        """
        if lengths is None:
            lengths = np.linalg.norm(vectors, axis=1)
        queries = self._queries[:, : vectors.shape[1]]
        used = np.flatnonzero(np.any(queries != 0, axis=0))  # state vectors are zero-padded: skip the padding
        block = vectors[:, used] if len(used) < vectors.shape[1] else vectors
        columns, chosen = np.ascontiguousarray(block.T), self._queries[:, used]
        at_once = max(1, TILE // max(1, len(times_ms)))
        for begin in range(0, len(chosen), at_once):
            tile = slice(begin, begin + at_once)
            distance = chosen[tile] @ columns  # of the cosine, its negative: the least are the nearest
            np.divide(distance, lengths, out=distance)
            np.negative(distance, out=distance)
            self._exclude(distance, tile, times_ms)
            self._keep_nearest(distance, tile, times_ms, anomalous)
        return self

    def _exclude(self, distance: NDArray[np.float32], tile: slice, times_ms: NDArray[np.int64]) -> None:
        """Put states around each query out of reach."""
        if not self._exclude_ms or self._query_times is None or not len(times_ms):
            return
        query_times = self._query_times[tile]
        reach = int(query_times.min()) - self._exclude_ms, int(query_times.max()) + self._exclude_ms
        around = np.flatnonzero((times_ms > reach[0]) & (times_ms < reach[1]))
        if len(around):
            first, last = int(around[0]), int(around[-1]) + 1
            near = np.abs(query_times[:, None] - times_ms[None, first:last]) < self._exclude_ms
            distance[:, first:last][near] = np.inf

    def _keep_nearest(
        self, distance: NDArray[np.float32], tile: slice, times_ms: NDArray[np.int64], anomalous: NDArray[np.bool_]
    ) -> None:
        """Of what was found before and of a block, the nearest of each query."""
        best = columns_of_least(distance, self._k)
        rows = np.arange(len(distance))[:, None]
        merged = np.concatenate([self._similarity[tile], -distance[rows, best]], axis=1)
        times = np.concatenate([self._times[tile], times_ms[best]], axis=1)
        flags = np.concatenate([self._anomalous[tile], anomalous[best]], axis=1)
        order = np.argsort(-merged, axis=1, kind="stable")[:, : self._k]
        self._similarity[tile], self._times[tile] = merged[rows, order], times[rows, order]
        self._anomalous[tile] = flags[rows, order]

    def result(self) -> Neighbours:
        """What was found so far."""
        similarity = self._similarity.astype(np.float64)
        absent = ~np.isfinite(similarity)
        similarity[absent] = np.nan
        times = np.where(absent, -1, self._times)
        return Neighbours(times, similarity, self._anomalous & ~absent)


def columns_of_least(values: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Columns of the k least values of each row, int [r, min(k, c)], in no order.

    They lie in the k groups of columns whose least values are least, and a minimum over columns side by side costs a
    fraction of what it costs to part all of them.

    >>> np.sort(columns_of_least(np.array([[3.0, 1.0, 2.0]], dtype=np.float32), 2)).tolist()
    [[1, 2]]
    """
    rows, columns = values.shape
    each = columns // GROUP
    if each <= 4 * k:
        return np.argpartition(values, min(k, columns) - 1, axis=1)[:, :k]
    grouped = each * GROUP
    minima = values[:, :grouped].reshape(rows, GROUP, each).min(axis=1)
    groups = np.argpartition(minima, k - 1, axis=1)[:, :k]
    candidates = (groups[:, :, None] + each * np.arange(GROUP)).reshape(rows, -1)
    rest = np.broadcast_to(np.arange(grouped, columns), (rows, columns - grouped))
    candidates = np.concatenate([candidates, rest], axis=1)
    among = np.take_along_axis(values, candidates, axis=1)
    return np.take_along_axis(candidates, np.argpartition(among, k - 1, axis=1)[:, :k], axis=1)


def decoded_vectors(blobs: Iterable[bytes]) -> NDArray[np.float32]:
    """Little-endian float32 blobs as an array [n, 384]."""
    return np.frombuffer(b"".join(blobs), dtype="<f4").reshape(-1, EMBEDDING_DIMENSION)
