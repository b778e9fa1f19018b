"""Exponentially weighted moving averages of many metrics at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

_BLOCK = 64


def ewma(values: Float64, weight: float, start: Float64) -> Float64:
    """y_i = (1 - weight) · y_{i-1} + weight · x_i, float64 [n, m] (Roberts, Technometrics 1, 1959).

    Blocks of rows are one product with a triangular matrix each, so there is no loop over rows.

    Args:
        values: float64 [n, m].
        weight: 0 < weight <= 1.
        start: float64 [m], the average before the first row.

    >>> ewma(np.array([[1.0], [1.0]]), 0.5, np.zeros(1)).ravel().tolist()
    [0.5, 0.75]
    """
    lags = np.subtract.outer(np.arange(_BLOCK), np.arange(_BLOCK))
    kernel = np.where(lags >= 0, weight * (1.0 - weight) ** np.maximum(lags, 0), 0.0)
    decay = (1.0 - weight) ** np.arange(1, _BLOCK + 1)[:, None]
    averaged = np.empty_like(values)
    before = start
    for first in range(0, len(values), _BLOCK):
        block = values[first : first + _BLOCK]
        k = len(block)
        averaged[first : first + k] = kernel[:k, :k] @ block + decay[:k] * before
        before = averaged[first + k - 1]
    return averaged


def restarted(averaged: Float64, values: Float64, weight: float, restarts: NDArray[np.bool_]) -> Float64:
    """An average as if it had begun anew, at the value itself, on every row of ``restarts``.

    The recursion is linear, so a restart at row p adds (x_p - y_p)(1 - weight)^(i-p) to row i >= p.

    Args:
        averaged: float64 [n, m] from :func:`ewma`.
        values: float64 [n, m] that it averages.
        weight: its weight.
        restarts: bool [n].
    """
    rows = np.arange(len(values))
    latest = np.maximum.accumulate(np.where(restarts, rows, -1))
    if not len(rows) or latest[-1] < 0:
        return averaged
    at = np.maximum(latest, 0)
    fading = np.where(latest >= 0, (1.0 - weight) ** (rows - at), 0.0)[:, None]
    corrected: Float64 = averaged + (values[at] - averaged[at]) * fading
    return corrected
