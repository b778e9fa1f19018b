"""Exponentially weighted moving averages of many metrics at once."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

_BLOCK = 64


@lru_cache(maxsize=16)
def _kernel(weight: float) -> tuple[Float64, Float64]:
    """Weights of a block's rows in its averages, float64 [64, 64], and of the average before it, float64 [64, 1]."""
    lags = np.subtract.outer(np.arange(_BLOCK), np.arange(_BLOCK))
    kernel = np.where(lags >= 0, weight * (1.0 - weight) ** np.maximum(lags, 0), 0.0)
    decay = (1.0 - weight) ** np.arange(1, _BLOCK + 1, dtype=np.float64)[:, None]
    return np.asarray(kernel, dtype=np.float64), np.asarray(decay, dtype=np.float64)


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
    if len(values) == 1:  # as live windows come
        return weight * values + (1.0 - weight) * start
    kernel, decay = _kernel(weight)
    averaged = np.empty_like(values)
    whole, (n, m) = len(values) // _BLOCK, values.shape
    last = whole * _BLOCK
    np.matmul(kernel, values[:last].reshape(whole, _BLOCK, m), out=averaged[:last].reshape(whole, _BLOCK, m))
    np.matmul(kernel[: n - last, : n - last], values[last:], out=averaged[last:])
    before = start
    for first in range(0, n, _BLOCK):
        averaged[first : first + _BLOCK] += decay[: n - first] * before
        before = averaged[min(first + _BLOCK, n) - 1]
    return averaged


def restarted(
    averaged: Float64, weight: float, restarts: NDArray[np.bool_], start: Float64, gathered_rows: int = 0
) -> Float64:
    """An average as if it had begun anew on every row of ``restarts``, without bias towards the first value.

    k rows after a restart at row p the recursion has gathered y_i - (1 - weight)^k · y_{p-1} since then, with a total weight
    of 1 - (1 - weight)^k; their ratio weighs the rows since p as the average does, and no row counts for more than it should
    (Kingma and Ba, Adam, 2015, section 3, correct a moving average in the same way).

    Args:
        averaged: float64 [n, m] from :func:`ewma`.
        weight: its weight.
        restarts: bool [n].
        start: float64 [m], the average before the first row.
        gathered_rows: rows that ``start`` has gathered since a restart before the first row; then ``start`` is their
            weighted sum, the mean times :func:`gathered_weight`. 0 where nothing has begun anew.

    >>> plain = ewma(np.array([[8.0], [1.0], [3.0]]), 0.5, np.zeros(1))
    >>> restarted(plain, 0.5, np.array([False, True, False]), np.zeros(1)).ravel().round(3).tolist()
    [4.0, 1.0, 2.333]
    """
    if not len(averaged) or not (gathered_rows or restarts.any()):
        return averaged
    rows = np.arange(len(averaged))
    latest = np.maximum.accumulate(np.where(restarts, rows, -1))
    corrected = averaged.copy()
    if gathered_rows:
        earlier = np.flatnonzero(latest < 0)
        corrected[earlier] /= gathered_weight(weight, gathered_rows + 1 + earlier)[:, None]
    since = np.flatnonzero(latest >= 0)
    at = latest[since]
    before = np.where((at > 0)[:, None], averaged[np.maximum(at - 1, 0)], start)
    total = gathered_weight(weight, since - at + 1)[:, None]
    corrected[since] = (averaged[since] - (1.0 - total) * before) / total
    return corrected


def gathered_weight(weight: float | Float64, rows: NDArray[np.int64] | np.int64) -> Float64:
    """Total weight 1 - (1 - weight)^k of the last k rows in an average."""
    return np.asarray(1.0 - (1.0 - weight) ** rows, dtype=np.float64)
