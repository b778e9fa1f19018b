"""The pace of a point: how often its readings come, and from which silence on it has stopped.

Points of one machine are read at their own intervals, and many are sent only when their value has changed. What is usual of
a point is learned from its own readings, so neither a slow point nor one that rests is taken for one that has stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hvac_platform.snapshots import SnapshotSeries

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

MISSED_INTERVALS = 5
"""A point that is read regularly has stopped when so many of its readings are missing."""
LEAST_WINDOWS = 5
"""Fewer windows without a reading are never called a stop."""
LONGEST_SILENCES = 2
"""A point that is sent on change has stopped after so many times the longest silence that was learned."""
LEAST_READINGS = 8
"""Windows with a reading that a pace is learned from."""
REGULAR_RATIO, REGULAR_SHARE = 3.5, 0.95
"""Readings are regular where nearly all gaps between them are a few of the usual one, as where one in ten is lost.

Of gaps at random (exponential, as of changes that come independently) one in eleven is longer than that."""
BESIDE_SHARE = 0.1
"""So far, or a window, a gap may be from a multiple of the interval; gaps at random seldom are so near."""
RARE_STOPS, RARE_SHARE = 2, 0.0002
"""So many gaps that would be stops, or such a share of all, a regular point may have had; with more it rests at times."""
ALONE_RATIO, LEAST_GAPS = 3, 20
"""Of a point that is sent on change, one silence three times as long as any other was a stop, and is not learned."""
IN_TIME = 1.5
"""A reading that comes after so many of its point's intervals shows that the device was heard all the time."""
HEARD_SHARE = 0.5
"""Of the time in which a point was silent, the device must have been heard for so much."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How the readings of one point come.

    Attributes:
        interval_ms: usual time between two readings, milliseconds.
        longest_ms: longest time between two readings in the history, where the device itself was heard.
        regular: readings come at the interval; else when the value changes.
    """

    interval_ms: int
    longest_ms: int
    regular: bool

    def patience_ms(self, window_ms: int) -> int:
        """From so long a silence on the point has stopped."""
        usual = MISSED_INTERVALS * self.interval_ms if self.regular else LONGEST_SILENCES * self.longest_ms
        return max(usual, LEAST_WINDOWS * window_ms)

    def carried_windows(self, window_ms: int) -> int:
        """For so many windows after a reading it still says where the point is."""
        return -(-self.patience_ms(window_ms) // window_ms)

    def expected(self, window_ms: int) -> float:
        """Readings that a window should hold; 0 where a window may hold none."""
        return window_ms // self.interval_ms if self.regular and self.interval_ms <= window_ms else 0.0


def learn_paces(series: SnapshotSeries) -> dict[str, Pace]:
    """Paces of the metrics that have enough readings, from n windows of a device.

    Where windows hold several readings, the interval is a window's length by their usual number. Otherwise it is the usual
    time from one window with a reading to the next. Windows of which the device has none at all don't count as silence of a
    point: then it was the device that was not heard.
    """
    if len(series) < LEAST_READINGS:
        return {}
    heard = heard_ms(series.times_ms, series.window_ms)
    return {
        name: pace
        for j, name in enumerate(series.metric_names)
        if (pace := pace_of(heard, series.count[:, j], series.window_ms)) is not None
    }


def with_longest_rests(paces: Mapping[str, Pace], before: Mapping[str, Pace]) -> dict[str, Pace]:
    """Paces with the longest rest that was known before of a point that is sent on change: a week may not have its like."""

    def kept(pace: Pace, known: Pace | None) -> Pace:
        if known is None or known.regular or pace.regular or known.longest_ms <= pace.longest_ms:
            return pace
        return replace(pace, longest_ms=known.longest_ms)

    return {name: kept(pace, before.get(name)) for name, pace in paces.items()}


def heard_ms(times_ms: Int64, window_ms: int, due_ms: Int64 | int = 0) -> Int64:
    """Time in which a device was heard up to each window, int64 [n]: a gap between two windows counts as a usual step.

    Args:
        times_ms: int64 [n], window starts.
        window_ms: length of a window.
        due_ms: int64 [n - 1], longest time that may lie between two windows all the same: what ends it comes no sooner.
    """
    if not len(times_ms):
        return np.zeros(0, dtype=np.int64)
    steps = np.diff(times_ms)
    usual = max(window_ms, int(np.median(steps))) if len(steps) else window_ms
    silent = (steps > np.maximum(LEAST_WINDOWS * usual, due_ms)) | (steps <= 0)
    heard: Int64 = np.r_[0, np.cumsum(np.where(silent, usual, steps))]
    return heard


def pace_of(heard: Int64, count: Int64, window_ms: int) -> Pace | None:
    """Pace of one point, or None where it has too few readings.

    Args:
        heard: int64 [n] from :func:`heard_ms`.
        count: int64 [n], readings of the point in each window.
        window_ms: length of a window.
    """
    rows = np.flatnonzero(count > 0)
    if len(rows) < LEAST_READINGS:
        return None
    held, gaps = float(np.median(count[rows])), np.sort(np.diff(heard[rows]))
    usual = int(gaps[len(gaps) // 2])
    interval = max(1, round(window_ms / held)) if held >= 2 and usual <= window_ms else usual
    beside = np.abs(gaps - usual * np.round(gaps / usual))  # of a reading that is lost, the gap is twice the interval
    steady = float(np.mean((gaps <= REGULAR_RATIO * usual) & (beside <= max(window_ms, BESIDE_SHARE * usual))))
    patience = Pace(interval, usual, regular=True).patience_ms(window_ms)
    long = int(np.count_nonzero(gaps >= patience))
    if steady >= REGULAR_SHARE and long <= max(RARE_STOPS, RARE_SHARE * len(gaps)):
        return Pace(interval, int(gaps[len(gaps) - 1 - long]), regular=True)
    if len(gaps) >= LEAST_GAPS and gaps[-1] >= ALONE_RATIO * gaps[-2]:
        gaps = gaps[:-1]
    return Pace(interval, int(gaps[-1]), regular=False)


def silences(times_ms: Int64, count: Int64, window_ms: int, since_ms: Int64 | None = None) -> Int64:
    """Silence of each point at the end of each window, int64 [n, m] in milliseconds: 0 where the window has a reading.

    Args:
        times_ms: int64 [n], window starts, ascending; a window that is not there has no reading of any point.
        count: int64 [n, m], readings of each window.
        window_ms: length of a window.
        since_ms: int64 [m], end of the window with the last reading before the first window; the first window's start, where
            it is absent: what was before is not known.
    """
    n = len(times_ms)
    if not n:
        return np.zeros(count.shape, dtype=np.int64)
    rows = np.arange(n)[:, None]
    last = np.maximum.accumulate(np.where(count > 0, rows, -1), axis=0)
    before = np.full(count.shape[1], times_ms[0]) if since_ms is None else np.minimum(since_ms, times_ms[0])
    since = np.where(last >= 0, times_ms[np.maximum(last, 0)] + window_ms, before)
    quiet: Int64 = np.where(count > 0, 0, times_ms[:, None] + window_ms - since)
    return quiet


def counts_of(series: SnapshotSeries, names: Sequence[str]) -> Int64:
    """Readings of some metrics in each window, int64 [n, len(names)]; 0 where the series has none."""
    place = {name: j for j, name in enumerate(series.metric_names)}
    there = [i for i, name in enumerate(names) if name in place]
    count = np.zeros((len(series), len(names)), dtype=np.int64)
    count[:, there] = series.count[:, [place[names[i]] for i in there]]
    return count


def stale(
    series: SnapshotSeries,
    names: Sequence[str],
    paces: Mapping[str, Pace],
    last_read_ms: Mapping[str, int] | None = None,
    first: int = 0,
) -> Bool:
    """Metrics of which nothing has come for longer than their pace allows, at ends of windows; bool [n - first, len(names)].

    A metric without a pace counts as read regularly in every window.

    Args:
        series: n windows.
        names: the metrics.
        paces: by metric.
        last_read_ms: end of the window with the last reading before the series, by metric, as far as it is known.
        first: the first window that is asked for; the answer has no row of those before it.
    """
    if not len(series):
        return np.zeros((0, len(names)), dtype=np.bool_)
    begin = int(series.times_ms[0])
    since = np.minimum(np.array([(last_read_ms or {}).get(name, begin) for name in names], dtype=np.int64), begin)
    count = counts_of(series, names)
    if first:
        there = count[:first] > 0
        last = series.times_ms[first - 1 - there[::-1].argmax(axis=0)] + series.window_ms
        since = np.where(there.any(axis=0), last, since)
    quiet = silences(series.times_ms[first:], count[first:], series.window_ms, since)
    steady = Pace(series.window_ms, series.window_ms, regular=True)
    patience = np.array([paces.get(name, steady).patience_ms(series.window_ms) for name in names], dtype=np.int64)
    found: Bool = quiet >= patience
    return found


def read_share(series: SnapshotSeries, paces: Mapping[str, Pace]) -> Float64:
    """Share of what the paces let expect that each window has, float64 [n]; a metric counts for as much as any other.

    Of a point that is read in every window its readings are counted; any other is there while it is not stale.
    """
    names = tuple(paces)
    if not names or not len(series):
        return np.ones(len(series))
    expected = np.array([paces[name].expected(series.window_ms) for name in names])
    counted = np.minimum(1.0, counts_of(series, names) / np.maximum(expected, 1.0))
    share: Float64 = np.where(expected > 0, counted, ~stale(series, names, paces)).mean(axis=1)
    return share


def last_readings(series: SnapshotSeries, before: Mapping[str, int] | None = None) -> dict[str, int]:
    """End of the last window with a reading of each metric, in ms; where there is none, what was known before."""
    found = dict(before or {})
    if not len(series):
        return found
    there = series.count > 0
    last = series.times_ms[len(series) - 1 - there[::-1].argmax(axis=0)] + series.window_ms
    known = np.asarray(there.any(axis=0)).tolist()
    found |= {
        name: end for name, end, is_known in zip(series.metric_names, last.tolist(), known, strict=True) if is_known
    }
    return found


@dataclass(frozen=True, slots=True)
class Stop:
    """Points that stopped together, [start_ms, end_ms).

    Attributes:
        metrics: the points, in the order of their names.
        start_ms: end of the last window with a reading of them.
        end_ms: start of the first window with a reading after it, or the end of the observation while it goes on.
        over: whether readings came again.
    """

    metrics: tuple[str, ...]
    start_ms: int
    end_ms: int
    over: bool


def stops(
    times_ms: Int64,
    count: Int64,
    names: Sequence[str],
    paces: Mapping[str, Pace],
    window_ms: int,
    *,
    until_ms: int,
    since_ms: Mapping[str, int] | None = None,
    retired_ms: Mapping[str, int] | None = None,
) -> list[Stop]:
    """Spans in which points were silent for longer than their pace allows while the device was heard, by their start.

    Points whose last reading came in the same window stopped together; where they come back at different times, that is
    several stops. The whole device's silence is none of a point: where nothing came, or only what comes at a slower pace,
    in less time than that takes, it isn't known which of them have stopped.

    Args:
        times_ms: int64 [n], window starts, ascending.
        count: int64 [n, m].
        names: m metrics; one without a pace is left out.
        paces: by metric.
        window_ms: length of a window.
        until_ms: end of the observation: end of the last complete window of the device.
        since_ms: end of the window with the last reading before the first window, by metric, where that is known.
        retired_ms: when a point was retired, by metric: a stop is over then.
    """
    found: dict[tuple[int, int, bool], list[str]] = {}
    # A gap that a slow point ends in its own time is none.
    slow = np.array([paces[name].interval_ms if name in paces else 0 for name in names], dtype=np.int64)
    due = IN_TIME * (np.where(count[1:] > 0, slow, 0).max(axis=1, initial=0) + window_ms)
    heard = heard_ms(times_ms, window_ms, due.astype(np.int64))
    for j, name in enumerate(names):
        pace = paces.get(name)
        if pace is None or not len(times_ms):
            continue
        rows = np.flatnonzero(count[:, j] > 0)
        ends = times_ms[rows] + window_ms
        begin = (since_ms or {}).get(name)
        begins = ends if begin is None or (len(ends) and ends[0] <= begin) else np.r_[begin, ends]
        if not len(begins):
            continue
        nexts = np.r_[times_ms[rows] if len(begins) > len(rows) else times_ms[rows][1:], until_ms]
        patience = pace.patience_ms(window_ms)
        for i in np.flatnonzero(nexts - begins >= patience).tolist():
            start, end = int(begins[i]), int(nexts[i])
            first, last = np.searchsorted(times_ms, start), np.searchsorted(times_ms, end) - 1
            if last <= first or heard[last] - heard[first] < HEARD_SHARE * patience - window_ms:
                continue
            over, until = i < len(begins) - 1, (retired_ms or {}).get(name)
            if until is not None and start >= until:
                continue
            if until is not None and end >= until:
                end, over = until, True
            found.setdefault((start, end, over), []).append(name)
    return [Stop(tuple(sorted(metrics)), start, end, over) for (start, end, over), metrics in sorted(found.items())]
