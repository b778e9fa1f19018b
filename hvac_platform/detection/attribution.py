"""Which metric departs from what the others imply: conditional expectation in a Gaussian model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

OUTLYING = 8.0
ROUNDS = 4
SWEEPS = 4


def conditional_sigmas(deviations: Float64, precision: Float64) -> Float64:
    """How many conditional standard deviations each feature is from its expectation given all others; float64 [n, p].

    With y = x - μ and P = Σ^(-1): E[y_j | others] = y_j - (P y)_j / P_jj with variance 1 / P_jj, so the answer is
    (P y)_j / √P_jj (Rue and Held, Gaussian Markov Random Fields, 2005, theorem 2.3).

    Args:
        deviations: float64 [n, p], y.
        precision: float64 [p, p], P.
    """
    sigmas: Float64 = (deviations @ precision) / np.sqrt(np.diag(precision))
    return sigmas


def pair_contributions(deviations: Float64, precision: Float64) -> Float64:
    """How far metric j's two features together are from what all others imply, float64 [n, m].

    Features j and m + j belong to metric j. With G the pair, T² falls by (Py)_G' (P_GG)^(-1) (Py)_G when both are left out;
    that is the squared Mahalanobis distance of the pair from its conditional expectation. Its root is returned.

    Args:
        deviations: float64 [n, 2m].
        precision: float64 [2m, 2m].
    """
    m = len(precision) // 2
    gradient = deviations @ precision
    first, second = gradient[:, :m], gradient[:, m:]
    diagonal = np.diag(precision)
    a, d = diagonal[:m], diagonal[m:]
    b = precision[np.arange(m), np.arange(m) + m]
    squared = (d * first**2 - 2.0 * b * first * second + a * second**2) / (a * d - b**2)
    return np.sqrt(np.maximum(squared, 0.0))


def imputed(deviations: Float64, precision: Float64, unknown: Bool) -> Float64:
    """Deviations with the unknown features replaced by their conditional expectation given the rest, float64 [n, p].

    Gauss-Seidel sweeps: each unknown feature in turn is set to its expectation given all others.

    Args:
        deviations: float64 [n, p]; what stands in unknown places doesn't matter.
        precision: float64 [p, p].
        unknown: bool [n, p].
    """
    result: Float64 = np.where(unknown, 0.0, deviations)
    rows = np.flatnonzero(unknown.any(axis=1))
    if not len(rows):
        return result
    part, hidden = result[rows], unknown[rows]
    columns = np.flatnonzero(hidden.any(axis=0))
    for _ in range(SWEEPS):
        for j in columns:
            at = hidden[:, j]
            part[at, j] -= (part[at] @ precision[j]) / precision[j, j]
    result[rows] = part
    return result


def plausible(deviations: Float64, precision: Float64) -> tuple[Float64, NDArray[np.int64]]:
    """States with outlying features replaced by what the others imply, and how many of each row were.

    The feature with the largest conditional deviation beyond 8 is declared unknown and imputed; then the next, up to four.

    Args:
        deviations: float64 [n, p].
        precision: float64 [p, p].
    """
    result = deviations.copy()
    replaced = np.zeros(len(deviations), dtype=np.int64)
    rows = np.flatnonzero((np.abs(conditional_sigmas(deviations, precision)) > OUTLYING).any(axis=1))
    unknown = np.zeros((len(rows), deviations.shape[1]), dtype=np.bool_)
    for _ in range(ROUNDS):
        if not len(rows):
            break
        sigmas = np.where(unknown, 0.0, np.abs(conditional_sigmas(result[rows], precision)))
        worst = sigmas.argmax(axis=1)
        outlying = sigmas[np.arange(len(rows)), worst] > OUTLYING
        if not outlying.any():
            break
        unknown[np.flatnonzero(outlying), worst[outlying]] = True
        result[rows] = imputed(deviations[rows], precision, unknown)
    replaced[rows] = unknown.sum(axis=1)
    return result, replaced
