"""Which metrics of a very wide device are judged: a detector's time and memory grow with the square of their number."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.nearest import DIMENSION

MOST_METRICS = (DIMENSION - 3) // 2
"""What an embedding holds. Fitting to a week of minutes takes 6 s and 0.5 GB with so many, 13 s and 0.8 GB with 300."""
NOT_CHOSEN = (
    f"not among the {MOST_METRICS} that are judged: declared points come first, then the most complete and varying"
)


def chosen_metrics(
    values: NDArray[np.float64], names: Sequence[str], declared: Collection[str], most: int = MOST_METRICS
) -> list[str]:
    """At most so many of m metrics, in the order in which they are given; all of them where they are no more.

    Declared points come first. Others follow by the share of rows in which they are known, to the per cent, then by
    how much they vary: standard deviation over itself and the mean's size, which no unit changes; then by name.

    >>> rows = np.array([[1.0, 5.0, 2.0], [1.0, 9.0, 2.1]])
    >>> chosen_metrics(rows, ["still", "moving", "declared"], {"declared"}, 2)
    ['moving', 'declared']

    Args:
        values: float64 [n, m], readings; NaN where missing.
        names: m names.
        declared: points of the device type.
        most: how many.
    """
    if len(names) <= most:
        return list(names)
    known = np.isfinite(values)
    count = known.sum(axis=0)
    held = np.where(known, values, 0.0)
    mean = held.sum(axis=0) / np.maximum(count, 1)
    spread = np.sqrt(np.where(known, (held - mean) ** 2, 0.0).sum(axis=0) / np.maximum(count, 1))
    varying = spread / np.maximum(spread + np.abs(mean), np.finfo(np.float64).tiny)
    complete = np.round(100 * count / max(1, len(values)))
    order = sorted(range(len(names)), key=lambda j: (names[j] not in declared, -complete[j], -varying[j], names[j]))
    kept = set(order[:most])
    return [name for j, name in enumerate(names) if j in kept]
