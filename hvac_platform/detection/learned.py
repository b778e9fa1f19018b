"""Snapshots under a fitted detector: the same judgement of a window whether it comes alone or with a whole day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hvac_platform.detection.alarms import PERSISTENCE_WINDOWS
from hvac_platform.detection.attribution import conditional_sigmas
from hvac_platform.detection.detector import Examination, FittedDetector
from hvac_platform.detection.detector.judge import examine_rows
from hvac_platform.detection.detector.side_by_side import examine_side_by_side
from hvac_platform.detection.observations import Stretch, carried_forward, observations_of
from hvac_platform.detection.reasons import Deviation, deviations_of, titled, told, value_shown
from hvac_platform.detection.reference import Memory
from hvac_platform.detection.verdicts import Verdicts
from hvac_platform.devices.registry import DeviceType
from hvac_platform.snapshots import SnapshotSeries, select

Float64 = NDArray[np.float64]

BLOCK_WINDOWS = 360
CONTEXT_WINDOWS = 240
"""The slowest average forgets at 3 % a window: 0.07 % of it is left after so many."""
URGENT_RATIO = 2.0
IMPLIED = "{title} {observed} where the other metrics imply {expected} ({sigmas})"


@dataclass(frozen=True, slots=True)
class Learned:
    """k windows under a detector of m metrics.

    Attributes:
        times_ms: int64 [k], window starts.
        anomalous: bool [k].
        ratio: float64 [k], score of the alarm; 1 is the limit.
        similarity: float64 [k], cosine to the centre of normal.
        surprise: float64 [k], -log10 of the share of normal windows that are as odd; NaN without readings.
        reason: object [k], ``now``, ``sustained`` or ``frozen``; empty where normal.
        top: int64 [k], the metric that speaks most against the window.
        observed: float64 [k, m], means of the window.
        expected: float64 [k, m], what the other metrics imply of each.
        sigmas: float64 [k, m], conditional deviations.
        vectors: float32 [k, 2m + 3], state embeddings without the zeros that end them when stored; NaN without readings.
        settling: float64 [k], bound on scores that rest on recent levels, while those settle; else infinite.
    """

    times_ms: NDArray[np.int64]
    anomalous: NDArray[np.bool_]
    ratio: Float64
    similarity: Float64
    surprise: Float64
    reason: NDArray[np.object_]
    top: NDArray[np.int64]
    observed: Float64
    expected: Float64
    sigmas: Float64
    vectors: NDArray[np.float32]
    settling: Float64

    def take(self, rows: NDArray[np.int64] | slice) -> Learned:
        """Some of the windows."""
        return Learned(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def frame_of(series: SnapshotSeries) -> pd.DataFrame:
    """Means of the snapshots as a table for :func:`~hvac_platform.detection.fit_detector`: n rows, one column a metric."""
    index = pd.DatetimeIndex(pd.to_datetime(series.times_ms, unit="ms", utc=True))
    return pd.DataFrame(series.mean, index=index, columns=list(series.metric_names))


def block_start(time_ms: int, window_ms: int) -> int:
    """Start of the block of windows that a window lies in; blocks are aligned to the epoch.

    >>> block_start(6 * 3_600_000 + 60_000, 60_000) == 6 * 3_600_000
    True
    """
    return time_ms - time_ms % (BLOCK_WINDOWS * window_ms)


def context_start(time_ms: int, window_ms: int) -> int:
    """First window that the judgement of a window rests on."""
    return block_start(time_ms, window_ms) - CONTEXT_WINDOWS * window_ms


@dataclass(frozen=True, slots=True)
class Carried:
    """What the judgement of a window leaves for that of the next one.

    Attributes:
        block: number of the block of windows that it lies in; what is remembered ends with it.
        memory: what the detector remembers at it.
        recent: the last windows as they were judged, up to and with it: as many as persistence looks back on.
    """

    block: int
    memory: Memory
    recent: Learned

    @property
    def time_ms(self) -> int:
        """Start of the last window judged."""
        return int(self.recent.times_ms[-1])

    def leads_to(self, first_ms: int, last_ms: int, window_ms: int) -> bool:
        """Whether the judgement of windows that start between two instants, both included, can go on from it."""
        return first_ms > self.time_ms and last_ms // (BLOCK_WINDOWS * window_ms) == self.block


def examine_windows(
    series: SnapshotSeries, wanted: NDArray[np.bool_], detector: FittedDetector, carried: Carried | None = None
) -> tuple[Learned, Carried | None]:
    """Judge some windows of a series.

    What a detector remembers begins at the block's start less 240 windows, whichever windows are asked for. So a window's
    judgement depends on it and on what came before it alone: live, minute by minute, and in a backfill it is the same.

    Args:
        series: n snapshots, from :func:`context_start` of the first wanted one, or with ``carried`` from the first of its
            recent windows.
        wanted: bool [n], k of them.
        detector: of the device.
        carried: what the call for the windows before returned, if it :meth:`leads to <Carried.leads_to>` these.

    Returns:
        The windows judged, and what to pass on; None where nothing was judged.
    """
    values = values_of(series, detector.metric_names)
    blocks = series.times_ms // (BLOCK_WINDOWS * series.window_ms)
    recent = _nothing(len(detector.metric_names)) if carried is None else carried.recent
    judged = [recent]
    new = wanted if carried is None else wanted & (series.times_ms > carried.time_ms)
    for block in dict.fromkeys(blocks[new].tolist()):
        if carried is not None and carried.block == block:
            begin, memory = carried.time_ms + 1, carried.memory
        else:
            begin, memory = (block * BLOCK_WINDOWS - CONTEXT_WINDOWS) * series.window_ms, detector.memory
        last = int(np.flatnonzero(new & (blocks == block))[-1])
        rows = slice(int(np.searchsorted(series.times_ms, begin)), last + 1)
        observations = observations_of(series.times_ms[rows], values[rows], detector.interval_ms)
        own = int(np.searchsorted(blocks[rows], block))  # the rows before the block are its context
        examined, memory = examine_rows(detector, observations, memory, own)
        given = len(examined.times_ms)
        judged.append(_learned(examined, values[rows][-given:]).take(slice(own - len(values[rows]) + given, None)))
        recent = _joined([recent, judged[-1].take(slice(-PERSISTENCE_WINDOWS, None))])
        recent = recent.take(slice(-PERSISTENCE_WINDOWS, None))
        carried = Carried(block, memory, recent)
    known, times = _joined(judged), series.times_ms[wanted]
    if not np.array_equal(known.times_ms, times):
        known = known.take(np.searchsorted(known.times_ms, times))
    return known, carried


def examine_newest(
    newest: Sequence[tuple[SnapshotSeries, FittedDetector, Carried]],
) -> list[tuple[Learned, Carried] | None]:
    """What :func:`examine_windows` says of the last window of each series, of many devices at once.

    Args:
        newest: series of different devices, with their detectors and what the judgement of the window before returned.

    Returns:
        Of each device its recent windows with the last one, and what to pass on; None where it has to be judged by itself.
    """
    found: list[tuple[Learned, Carried] | None] = [None] * len(newest)
    rows, values = [], []
    for i, (series, detector, carried) in enumerate(newest):
        last = len(series) - 1
        new = last < 1 or int(series.times_ms[last - 1]) <= carried.time_ms < int(series.times_ms[last])
        if new and int(series.times_ms[last]) // (BLOCK_WINDOWS * series.window_ms) == carried.block:
            rows.append(i)
            values.append(values_of(select(series, slice(last, None)), detector.metric_names))
    times = [newest[i][0].times_ms[-1:] for i in rows]
    detectors = [newest[i][1] for i in rows]
    observations = [
        observations_of(time, value, detector.interval_ms)
        for time, value, detector in zip(times, values, detectors, strict=True)
    ]
    examined = examine_side_by_side(detectors, observations, [newest[i][2].memory for i in rows])
    for i, value, answer in zip(rows, values, examined, strict=True):
        if answer is not None:
            carried = newest[i][2]
            known = _joined([carried.recent, _learned(answer[0], value)])
            found[i] = known, Carried(carried.block, answer[1], known.take(slice(-PERSISTENCE_WINDOWS, None)))
    return found


def values_of(series: SnapshotSeries, names: Sequence[str]) -> Float64:
    """Means of some metrics, float64 [n, len(names)]; NaN where the series has none."""
    place = {name: j for j, name in enumerate(series.metric_names)}
    values = np.full((len(series), len(names)), np.nan)
    there = [j for j, name in enumerate(names) if name in place]
    values[:, there] = series.mean[:, [place[names[j]] for j in there]]
    return values


def residuals_of(series: SnapshotSeries, detector: FittedDetector) -> Float64:
    """How far each reading is from what the others imply, float64 [n, m] in conditional deviations; NaN where there is none.

    Of the readings as they are, without what is remembered of those before.
    """
    values = values_of(series, detector.metric_names)
    whole = (Stretch(0, len(values), None),)
    z = detector.scale.apply(carried_forward(values, whole, detector.carry))
    sigmas = conditional_sigmas(detector.levels.deviations(np.nan_to_num(z)), detector.levels.precision)
    return np.where(np.isfinite(values), sigmas, np.nan)


def _learned(examined: Examination, values: Float64) -> Learned:
    columns = examined.columns
    vectors = examined.vectors
    if examined.silent.any():
        vectors = np.where(examined.silent[:, None], np.float32(np.nan), vectors)
    return Learned(
        times_ms=examined.times_ms,
        anomalous=np.asarray(columns["is_anomalous"], dtype=np.bool_),
        ratio=examined.ratio,
        similarity=np.asarray(columns["profile_similarity"], dtype=np.float64),
        surprise=np.asarray(columns["score"], dtype=np.float64),
        reason=np.asarray(columns["reason"], dtype=object),
        top=examined.top,
        observed=values,
        expected=examined.expected,
        sigmas=examined.sigmas,
        vectors=vectors,
        settling=examined.settling,
    )


def _joined(parts: Sequence[Learned]) -> Learned:
    if len(parts) == 1:
        return parts[0]
    return Learned(*(np.concatenate([getattr(p, f) for p in parts]) for f in Learned.__dataclass_fields__))


def _nothing(m: int) -> Learned:
    none, grid = np.zeros(0), np.zeros((0, m))
    return Learned(
        times_ms=np.zeros(0, dtype=np.int64),
        anomalous=np.zeros(0, dtype=np.bool_),
        ratio=none,
        similarity=none,
        surprise=none,
        reason=np.zeros(0, dtype=object),
        top=np.zeros(0, dtype=np.int64),
        observed=grid,
        expected=grid,
        sigmas=grid,
        vectors=np.zeros((0, 2 * m + 3), dtype=np.float32),
        settling=none,
    )


def learned_verdicts(learned: Learned, detector: FittedDetector, device_type: DeviceType | None) -> Verdicts:
    """Verdict of profile similarity on examined windows, with what moved and what it should have been.

    Level is 3 (urgent) where the alarm is beyond twice its limit, else 4.
    """
    k = len(learned.times_ms)
    reasons: list[tuple[str, ...]] = [()] * k
    metrics: list[tuple[str, ...]] = [()] * k
    for i in np.flatnonzero(learned.anomalous).tolist():
        top = detector.metric_names[int(learned.top[i])]
        if learned.reason[i] == "frozen":
            value = value_shown(top, float(learned.observed[i, int(learned.top[i])]), device_type)
            reasons[i] = (f"{titled(top, device_type)} stands still at {value}, which it never did for so long",)
            metrics[i] = (top,)
        else:
            since = "for some time " if learned.reason[i] == "sustained" else ""
            reasons[i], metrics[i] = told(
                implied_deviations(learned, detector, i), device_type, IMPLIED, first=top, since=since
            )
    level = np.where(learned.anomalous, np.where(learned.ratio > URGENT_RATIO, 3, 4), 0).astype(np.int8)
    return Verdicts("profile", learned.times_ms, learned.ratio, learned.anomalous, level, reasons, metrics)


def implied_deviations(learned: Learned, detector: FittedDetector, row: int) -> list[Deviation]:
    """How far each metric of a window is from what the other metrics imply, the farthest first."""
    unit = np.array(list(detector.conditional_spread.values()))
    return deviations_of(detector.metric_names, learned.observed[row], learned.expected[row], unit)
