"""Covariance of a device's normal states, and the directions in which it is one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.scaling import Scale, robust_scale
from hvac_platform.detection.surprise import fit_surprise

Float64 = NDArray[np.float64]

FIT_CLIP = 6.0
SHRINKAGE_SHARE = 0.1
RIDGE = 1e-4
CORE_SHARE = 0.9
CORE_STEPS = 3
ORDINARY = 2.5
LEAST_SPREAD = 1e-6


@dataclass(frozen=True, slots=True)
class Drift:
    """How far directions that wandered during training are trusted to stay: the covariance of block means counts so often.

    Attributes:
        blocks: contiguous blocks of the training.
        weight: how often the covariance of their means is added to that of the states.
    """

    blocks: int
    weight: float


#: Within minutes a process wanders a little; within hours and days weather and load do, by far more than a week can show.
MINUTES, HOURS = Drift(4, 5.0), Drift(7, 100.0)


@dataclass(frozen=True, slots=True)
class Whitening:
    """An affine map to coordinates in which normal states have unit covariance; p features.

    Attributes:
        scale: robust scale of the features.
        mean: float64 [p], of the scaled features.
        root: float64 [p, p], symmetric Σ^(-1/2).
        precision: float64 [p, p], Σ^(-1).
    """

    scale: Scale
    mean: Float64
    root: Float64
    precision: Float64

    def deviations(self, features: Float64) -> Float64:
        """Scaled features less their mean, float64 [n, p]."""
        centred: Float64 = self.scale.apply(features) - self.mean
        return centred

    def apply(self, features: Float64) -> Float64:
        """White coordinates, float64 [n, p]; their squared length is Hotelling's T²."""
        white: Float64 = self.deviations(features) @ self.root
        return white


def oas_shrinkage(covariance: Float64, n: int) -> float:
    """Weight of the target under which a shrunk covariance comes nearest the true one, for Gaussian data, in [0, 1].

    Oracle approximating shrinkage: Chen, Wiesel, Eldar and Hero, IEEE Trans. Signal Process. 58, 2010, eq. 23.

    Args:
        covariance: sample covariance, float64 [p, p].
        n: rows that it rests on.
    """
    p = len(covariance)
    squares, trace = float((covariance**2).sum()), float(np.trace(covariance))
    numerator = (1.0 - 2.0 / p) * squares + trace**2
    denominator = (n + 1.0 - 2.0 / p) * (squares - trace**2 / p)
    return 1.0 if denominator <= 0 else min(1.0, numerator / denominator)


def fit_whitening(features: Float64, drift: Drift = MINUTES, errors: Float64 | None = None) -> Whitening:
    """Robust, shrunk covariance of n normal states, and its inverse square root.

    Features are put on a robust scale and clipped at ±6. The sample covariance is shrunk to its diagonal by a tenth of the
    oracle approximating weight and gets a ridge of 1e-4 of the mean variance. A multiple of the covariance of block means
    is added: directions that wandered during training will wander on, by more than the training has shown, so they must
    count less.

    A few per cent of faulty rows in the training must not widen what counts as normal, and they hide behind each other when
    all are taken at once. So, as in the minimum covariance determinant estimate (Rousseeuw and Van Driessen,
    Technometrics 41, 1999), the fit is repeated three times on the 90 % of rows with the lowest T², and then
    once on all rows that are ordinary by the result, so that what is rare but normal comes back.

    Args:
        features: float64 [n, p] in robust sigmas of the metrics, finite, in order of time.
        drift: how much they wander.
        errors: float64 [p], standard deviations that the training doesn't show and that count beside those it does.
    """
    scale = robust_scale(features)
    # The change of a metric that never moved is rounding, which must not become the unit that it is measured in.
    scale = Scale(scale.centre, np.where(scale.spread < LEAST_SPREAD, 1.0, scale.spread))
    clipped = np.clip(scale.apply(features), -FIT_CLIP, FIT_CLIP)
    unseen = np.zeros(features.shape[1]) if errors is None else (errors / scale.spread) ** 2
    kept = clipped
    for step in range(CORE_STEPS + 2):
        mean = kept.mean(axis=0)
        covariance = _covariance(kept - mean, drift) + np.diag(unseen)
        centred = clipped - mean
        squared = np.einsum("ij,ij->i", centred @ np.linalg.inv(covariance), centred)
        distance = np.sqrt(np.maximum(squared, 0.0))
        if step < CORE_STEPS:
            kept = clipped[distance <= np.quantile(distance, CORE_SHARE)]
        elif step == CORE_STEPS:
            # However heavy the tail is, it belongs to what varies: only what is odd beside it is left out.
            kept = clipped[fit_surprise(distance, most_shape=np.inf).of(distance) <= ORDINARY]
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors / np.sqrt(values)) @ vectors.T
    return Whitening(scale, mean, root, root @ root)


def _covariance(centred: Float64, drift: Drift) -> Float64:
    n, p = centred.shape
    sample = centred.T @ centred / n
    variances = np.diag(np.diag(sample))
    share = SHRINKAGE_SHARE * oas_shrinkage(sample, n)
    means = np.stack([block.mean(axis=0) for block in np.array_split(centred, drift.blocks)])
    wandered = (means - means.mean(axis=0)).T @ (means - means.mean(axis=0)) / drift.blocks
    ridge = RIDGE * max(float(np.trace(sample)) / p, 1e-6) * np.eye(p)
    shrunk: Float64 = (1.0 - share) * sample + share * variances + ridge + drift.weight * wandered
    return shrunk
