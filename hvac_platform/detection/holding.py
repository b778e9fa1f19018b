"""Readings that are held until they have moved by a step (change of value): how far off they may be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

HELD_SHARE = 0.9
"""A metric is held where so many of its rows repeat the one before or are repeated by the next."""
LEAST_VALUES = 6
"""What is held at fewer values is a status or a few stages of a machine, and is exact."""
STEP_QUANTILE = 0.9
"""Of the steps between held values: what passes through on its way to the next is held for a row or two as well."""
LEAST_STEP = 2.5
"""In standard deviations: a metric whose usual step is smaller has shown where it goes. Independent readings step by 2.3."""
OFF_BY = 0.2
"""Standard deviation of what is held about what is measured, in steps. With 0.25 or more, a loop that hunts was missed."""


def holding_errors(values: Float64) -> Float64:
    """Standard deviation by which each metric may be off for being held, float64 [m], in its unit; 0 where it isn't.

    A metric that hardly varies and is logged on change stands at a few values for hours. Its training then shows which of
    them it happened to stand at, and not how far from the truth a held reading may be: by up to a step. So such a metric,
    whose usual step is larger than 2.5 standard deviations, is taken to be off by a fifth of its step.

    Args:
        values: float64 [n, m], NaN where missing.
    """
    errors = np.zeros(values.shape[1])
    for j in range(values.shape[1]):
        column = values[:, j]
        column = column[np.isfinite(column)]
        if len(column) < 2:
            continue
        last = np.flatnonzero(np.r_[column[1:] != column[:-1], True])
        length = np.diff(np.r_[-1, last])
        held = column[last][length > 1]
        if length[length > 1].sum() < HELD_SHARE * len(column) or len(np.unique(held)) < LEAST_VALUES:
            continue
        steps = np.abs(np.diff(held))
        step = float(np.quantile(steps[steps > 0], STEP_QUANTILE))
        if step > LEAST_STEP * float(column.std()):
            errors[j] = OFF_BY * step
    return errors
