"""Vectors of states on a plane: the two directions in which normal states differ most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

LEAST_VECTORS = 50
"""Fewer say little of how states differ."""
DIMENSIONS = 2


@dataclass(frozen=True, slots=True)
class Plane:
    """Where vectors are laid onto.

    Attributes:
        centre: float64 [d], mean of the vectors that it was made of.
        axes: float64 [d, 2], orthonormal, the direction of most variance first.
        shares: of their variance that lies along each axis, 0 to 1.
    """

    centre: Float64
    axes: Float64
    shares: tuple[float, float]

    def of(self, vectors: Float32) -> Float64:
        """Places of vectors [n, d] on the plane, float64 [n, 2]."""
        return (vectors.astype(np.float64) - self.centre) @ self.axes


def plane_of(vectors: Float32) -> Plane | None:
    """The plane in which vectors differ most (principal components); None where they are too few or all the same.

    The larger part of each axis points to where its components are positive, so that a map isn't mirrored by chance.

    Args:
        vectors: float32 [n, d], d >= 2, finite.

    >>> rng = np.random.default_rng(0)
    >>> wide = rng.normal(size=(200, 1)) * [[3.0, 4.0, 0.0]] + rng.normal(size=(200, 3)) * 0.01
    >>> plane = plane_of(wide.astype(np.float32))
    >>> np.round(plane.axes[:, 0], 2).tolist(), round(plane.shares[0], 2)
    ([0.6, 0.8, 0.0], 1.0)
    """
    if len(vectors) < LEAST_VECTORS:
        return None
    centre = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors - centre.astype(np.float32)
    variances, directions = np.linalg.eigh((centred.T @ centred).astype(np.float64))  # ascending
    whole = float(variances.clip(0).sum())
    if whole <= 1e-9 * len(vectors):
        return None
    axes = directions[:, ::-1][:, :DIMENSIONS]
    axes = axes * np.where(axes.sum(axis=0) < 0, -1.0, 1.0)
    first, second = (float(max(0.0, variance) / whole) for variance in variances[::-1][:DIMENSIONS])
    return Plane(centre, axes, (first, second))
