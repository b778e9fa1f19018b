"""Readings of one device as arrays: what a table of metrics must be, and where its unbroken stretches are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hvac_platform.detection.pace import heard_ms, pace_of

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
Segments = pd.Series | Sequence[object] | NDArray[np.generic]
"""Label of the record that each row belongs to."""

GAP_INTERVALS = 5  # a longer silence than this many intervals ends what is remembered of the rows before
LARGEST = 1e100  # readings beyond it are as far off as can be; their squares still are numbers
CARRIED_ROWS, MOST_CARRIED_ROWS = 10, 1440
"""For so many rows a missing reading counts as the metric's last one; for more where the metric's pace is slower."""
SHORTEST_MS, LONGEST_MS = 1_000, 3_600_000  # intervals that are judged; meant for 1 s to 15 min


class UnusableMetricsError(ValueError):
    """The table of metrics can't be learned from or scored; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows [start, stop) without a gap, of one record.

    Attributes:
        start: first row.
        stop: first row after it.
        label: the segment's label as text, or None where there are no segments.
    """

    start: int
    stop: int
    label: str | None


@dataclass(frozen=True, slots=True)
class Observations:
    """n rows of m metrics, record by record.

    Attributes:
        values: float64 [n, m]; NaN where a reading is missing (also for infinite ones).
        times_ms: int64 [n], epoch milliseconds UTC.
        stretches: unbroken stretches, in order; together they cover all rows.
        order: int64 [n], the row of the caller's table that each row came from.
        interval_ms: usual time between rows.
    """

    values: Float64
    times_ms: Int64
    stretches: tuple[Stretch, ...]
    order: Int64
    interval_ms: int


def observe(
    metrics: pd.DataFrame,
    names: Sequence[str],
    segments: Segments | None,
    interval_ms: int | None = None,
) -> Observations:
    """Arrays of a table, its records one after the other, split where more than five intervals are missing.

    Args:
        metrics: n rows with a UTC DatetimeIndex, increasing within each record.
        names: columns to take.
        segments: label of the record that each row belongs to; None for a single record.
        interval_ms: usual time between rows; the median of the table's own when absent.

    Raises:
        UnusableMetricsError: the index or the segments are not as described.
    """
    times_ms = _times(metrics)
    labels = _labels(segments, metrics)
    order = np.arange(len(metrics), dtype=np.int64)
    texts: NDArray[np.object_] | None = None
    if labels is not None:
        codes, _ = pd.factorize(labels)
        order = np.argsort(codes, kind="stable").astype(np.int64)
        times_ms, texts = times_ms[order], labels[order]
    same = np.ones(max(0, len(order) - 1), dtype=np.bool_) if texts is None else texts[1:] == texts[:-1]
    steps = np.diff(times_ms)
    if np.any(steps[same] <= 0):
        at = int(np.flatnonzero(same & (steps <= 0))[0])
        when = pd.Timestamp(int(times_ms[at + 1]), unit="ms", tz="UTC")
        kind = "appears twice" if steps[at] == 0 else "comes after a later time"
        raise UnusableMetricsError(f"{when} {kind}: sort the index and drop duplicates (within each segment)")
    if interval_ms is None:
        interval_ms = int(np.median(steps[same])) if same.any() else LONGEST_MS
    values = metrics.loc[:, list(names)].to_numpy(dtype=np.float64, na_value=np.nan)[order]
    if texts is None:
        return observations_of(times_ms, values, interval_ms)
    breaks = np.flatnonzero(~same | (steps > GAP_INTERVALS * interval_ms)) + 1
    bounds = [0, *breaks.tolist(), len(order)] if len(order) else []
    stretches = tuple(Stretch(a, b, str(texts[a])) for a, b in pairwise(bounds))
    return Observations(_bounded(values), times_ms, stretches, order, interval_ms)


def since_row(observations: Observations, row: int) -> Observations:
    """Without the rows before one."""
    return Observations(
        observations.values[row:],
        observations.times_ms[row:],
        tuple(
            Stretch(max(0, part.start - row), part.stop - row, part.label)
            for part in observations.stretches
            if part.stop > row
        ),
        observations.order[row:],
        observations.interval_ms,
    )


def observations_of(times_ms: Int64, values: Float64, interval_ms: int) -> Observations:
    """Observations of a single record whose times are known to be in order.

    Args:
        times_ms: int64 [n], increasing.
        values: float64 [n, m].
        interval_ms: usual time between rows.
    """
    n = len(times_ms)
    breaks = (np.flatnonzero(np.diff(times_ms) > GAP_INTERVALS * interval_ms) + 1).tolist()
    bounds = [0, *breaks, n] if n else []
    stretches = tuple(Stretch(a, b, None) for a, b in pairwise(bounds))
    return Observations(_bounded(values), times_ms, stretches, np.arange(n, dtype=np.int64), interval_ms)


def _bounded(values: Float64) -> Float64:
    """Readings that can be squared; NaN for infinite ones."""
    bounded: Float64 = np.where(np.isfinite(values), np.clip(values, -LARGEST, LARGEST), np.nan)
    return bounded


def numeric_columns(metrics: pd.DataFrame) -> list[str]:
    """Names of the numeric columns, each once.

    Raises:
        UnusableMetricsError: no table, no numeric column, or a column name twice.
    """
    if not isinstance(metrics, pd.DataFrame):
        raise UnusableMetricsError(f"metrics must be a pandas DataFrame, not {type(metrics).__name__}")
    repeated = metrics.columns[metrics.columns.duplicated()]
    if len(repeated):
        raise UnusableMetricsError(f"column {repeated[0]!r} appears twice")
    names = [c for c in metrics.columns if pd.api.types.is_numeric_dtype(metrics[c])]
    if not names:
        raise UnusableMetricsError("no numeric column: each metric is one column of numbers")
    return names


def record_labels(segments: Segments | None, metrics: pd.DataFrame) -> NDArray[np.object_]:
    """Label of the record of each row as text, object [n]; all None without segments.

    Raises:
        UnusableMetricsError: the segments don't label each row.
    """
    labels = _labels(segments, metrics)
    if labels is None:
        return np.full(len(metrics), None, dtype=object)
    return np.array([str(label) for label in labels.tolist()], dtype=object)


def carried_forward(values: Float64, stretches: Sequence[Stretch], limits: Int64) -> Float64:
    """Missing readings replaced by the metric's last one of the same stretch, float64 [n, m].

    Args:
        values: float64 [n, m].
        stretches: of the rows.
        limits: int64 [m], so many rows old a reading of each metric may be.
    """
    known = np.isfinite(values)
    if len(values) == 1 or known.all():
        return values
    rows = np.arange(len(values))[:, None]
    begins = np.zeros(len(values), dtype=np.int64)
    for stretch in stretches:
        begins[stretch.start : stretch.stop] = stretch.start
    last = np.maximum.accumulate(np.where(known, rows, -1), axis=0)
    usable = (last >= begins[:, None]) & (rows - last <= limits)
    filled: Float64 = np.where(usable, np.take_along_axis(values, np.maximum(last, 0), axis=0), np.nan)
    return filled


def carry_limits(times_ms: Int64, values: Float64, interval_ms: int) -> Int64:
    """For how many rows the last reading of each metric says where it is, int64 [m], by the pace of its readings.

    Args:
        times_ms: int64 [n], of a record in order.
        values: float64 [n, m]; NaN where there is no reading.
        interval_ms: usual time between rows.
    """
    known = np.isfinite(values)
    if known.all():
        return np.full(values.shape[1], CARRIED_ROWS)
    heard = heard_ms(times_ms, interval_ms)
    paces = [pace_of(heard, known[:, j].astype(np.int64), interval_ms) for j in range(values.shape[1])]
    rows = [CARRIED_ROWS if pace is None else pace.carried_windows(interval_ms) for pace in paces]
    return np.clip(np.array(rows, dtype=np.int64), CARRIED_ROWS, MOST_CARRIED_ROWS)


def _times(metrics: pd.DataFrame) -> Int64:
    index = metrics.index
    if not isinstance(index, pd.DatetimeIndex):
        raise UnusableMetricsError(f"the index must be a DatetimeIndex in UTC, not {type(index).__name__}")
    if index.tz is None:
        raise UnusableMetricsError("the index has no timezone: use index.tz_localize('UTC') if its times are UTC")
    if index.hasnans:
        raise UnusableMetricsError("the index has missing times: drop those rows")
    times: Int64 = index.tz_convert("UTC").as_unit("ms").asi8
    return times


def _labels(segments: Segments | None, metrics: pd.DataFrame) -> NDArray[np.object_] | None:
    if segments is None:
        return None
    labels = np.asarray(segments, dtype=object)
    if labels.shape != (len(metrics),):
        raise UnusableMetricsError(f"segments has shape {labels.shape}, one label a row is needed: ({len(metrics)},)")
    if pd.isna(labels).any():
        raise UnusableMetricsError("segments has missing labels")
    return labels
