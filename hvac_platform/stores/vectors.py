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


class NearestSearch:
    """Exact k nearest by cosine over blocks of stored vectors, for many queries at once.

    Memory is one block and n x k results; the work is one matrix product a block.
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
        similarity = (self._queries[:, used] @ block.T) / lengths
        if self._exclude_ms and self._query_times is not None:
            near = np.abs(self._query_times[:, None] - times_ms[None, :]) < self._exclude_ms
            similarity[near] = -np.inf
        take = min(self._k, similarity.shape[1])
        best = np.argpartition(-similarity, take - 1, axis=1)[:, :take]
        rows = np.arange(len(similarity))[:, None]
        merged = np.concatenate([self._similarity, similarity[rows, best]], axis=1)
        times = np.concatenate([self._times, times_ms[best]], axis=1)
        flags = np.concatenate([self._anomalous, anomalous[best]], axis=1)
        order = np.argsort(-merged, axis=1, kind="stable")[:, : self._k]
        self._similarity, self._times, self._anomalous = merged[rows, order], times[rows, order], flags[rows, order]
        return self

    def result(self) -> Neighbours:
        """What was found so far."""
        similarity = self._similarity.astype(np.float64)
        absent = ~np.isfinite(similarity)
        similarity[absent] = np.nan
        times = np.where(absent, -1, self._times)
        return Neighbours(times, similarity, self._anomalous & ~absent)


def decoded_vectors(blobs: Iterable[bytes]) -> NDArray[np.float32]:
    """Little-endian float32 blobs as an array [n, 384]."""
    return np.frombuffer(b"".join(blobs), dtype="<f4").reshape(-1, EMBEDDING_DIMENSION)
