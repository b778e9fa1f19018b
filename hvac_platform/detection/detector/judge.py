"""Judging rows of metrics under a detector: all at once, a few at a time, or from all sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hvac_platform.detection.alarms import persists
from hvac_platform.detection.attribution import conditional_sigmas, pair_contributions
from hvac_platform.detection.detector.explain import check_columns, expected, followed_by, follows, vectors
from hvac_platform.detection.detector.state import DetectorState, Record
from hvac_platform.detection.detector.statistics import (
    ALARM_CAP,
    CAP,
    Departures,
    combined,
    departures_of,
    modes_of,
    row_statistics,
    settled_rows,
    situations_of,
    surprises_of,
)
from hvac_platform.detection.observations import (
    Observations,
    Segments,
    UnusableMetricsError,
    observe,
    record_labels,
    since_row,
)
from hvac_platform.detection.reference import Memory, Trace
from hvac_platform.detection.rules import evaluate_rules, rule_lookback_ms
from hvac_platform.devices.registry import DeviceType
from hvac_platform.devices.registry import device_type as registered_type
from hvac_platform.snapshots import SnapshotSeries

if TYPE_CHECKING:
    from hvac_platform.detection.detector.model import FittedDetector

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

PRESENT = 0.5
"""A sustained alarm holds only while the row itself is still at least so surprising, so it ends with its cause."""
RULE_LEVEL = 3
"""Rules less severe than urgent don't alarm in the detector: they are told by the method of rules."""


@dataclass(frozen=True, slots=True)
class Examination:
    """n rows of a record from all sides; m metrics.

    Attributes:
        columns: what :meth:`FittedDetector.score` says of them, without rules; n values each.
        ratio: float64 [n], the largest of the statistics that alarm, in proportion to its limit.
        expected: float64 [n, m], what the other metrics imply of each, in its unit.
        top: int64 [n], the metric that speaks most against the row.
        sigmas: float64 [n, m], conditional deviation of each, signed; 0 where a reading is missing.
        vectors: float32 [n, 2m + 3], unit vectors as :meth:`FittedDetector.embed` gives them.
        settling: float64 [n], while levels settle after an episode, how odd the state alone is in proportion to the limit:
            more than that nothing that rests on levels should be believed. Infinite where they have settled.
        silent: bool [n], rows without any reading.
        times_ms: int64 [n], epoch milliseconds.
    """

    columns: Mapping[str, Any]
    ratio: Float64
    expected: Float64
    top: Int64
    sigmas: Float64
    vectors: Float32
    settling: Float64
    silent: Bool
    times_ms: Int64

    @property
    def table(self) -> pd.DataFrame:
        """The columns as a table, one row a time."""
        return _frame(pd.DatetimeIndex(pd.to_datetime(self.times_ms, unit="ms", utc=True)), self.columns)


@dataclass(frozen=True, slots=True)
class Judged:
    """n rows of observations judged.

    Attributes:
        ratio: float64 [n], the largest of the statistics that alarm, in proportion to its limit.
        score: float64 [n], 0 to 5.
        now: bool [n], alarms by the row itself.
        sustained: bool [n], alarms by averages over some rows.
        frozen: bool [n], alarms by a metric that repeats itself.
        similarity: float64 [n], cosine to the centre of normal.
        distance: float64 [n], mean cosine distance to the five nearest normal states.
        top: int64 [n], the metric that speaks most against the row.
        fast: float64 [n], surprise of the row itself.
        slow: float64 [n], surprise of the averages.
        smoothed: float64 [n, 2], smoothed score and fast surprise.
        modes: int64 [n], operating mode; -1 where it is unknown.
        since: int64 [n], rows since it was entered.
    """

    ratio: Float64
    score: Float64
    now: Bool
    sustained: Bool
    frozen: Bool
    similarity: Float64
    distance: Float64
    top: Int64
    fast: Float64
    slow: Float64
    smoothed: Float64
    modes: Int64
    since: Int64


def advance(
    detector: FittedDetector,
    metrics: pd.DataFrame,
    state: DetectorState | None = None,
    *,
    segments: Segments | None = None,
    maintenance: Sequence[tuple[pd.Timestamp, pd.Timestamp]] = (),
) -> tuple[pd.DataFrame, DetectorState]:
    """See :meth:`FittedDetector.advance`."""
    check_columns(detector, metrics)
    labels = record_labels(segments, metrics)
    training = Record(detector.memory, detector.recent_times_ms, detector.recent_values)
    following = DetectorState((training,), begun=False) if state is None else state
    begun = following.begun
    tables, positions = [], []
    record: Record | None
    for number, label in enumerate(dict.fromkeys(labels)):
        rows = np.flatnonzero(labels == label) if label is not None else np.arange(len(metrics))
        part = metrics.iloc[rows]
        if not begun and number == 0 and None in (label, detector.memory.label):
            record, following = training, DetectorState()  # there is no telling the two records apart
        else:
            record = following.of(label)
        observations = observe(
            part, detector.metric_names, None if label is None else labels[rows], detector.interval_ms
        )
        if begun and record is not None:
            _check_state(detector, record, observations)
        table, record = _advance_record(detector, part.index, observations, record, maintenance)
        following = following.with_record(record)
        tables.append(table)
        positions.append(rows)
    if not tables:
        return _frame(metrics.index, {name: np.zeros(0) for name in _COLUMNS}), following
    if len(tables) == 1:
        return tables[0], following
    back = np.argsort(np.concatenate(positions), kind="stable")
    return pd.concat(tables).iloc[back].set_axis(metrics.index), following


def examine(detector: FittedDetector, metrics: pd.DataFrame) -> Examination:
    """See :meth:`FittedDetector.examine`."""
    check_columns(detector, metrics)
    observations = observe(metrics, detector.metric_names, None, detector.interval_ms)
    if not len(observations.times_ms):
        raise UnusableMetricsError("no rows: there is nothing to examine")
    return examine_rows(detector, observations, detector.memory)[0]


def examine_rows(
    detector: FittedDetector, observations: Observations, before: Memory | None, wanted_from: int = 0
) -> tuple[Examination, Memory]:
    """Rows of a single record from all sides, and what is remembered at the last of them.

    Args:
        detector: of the device.
        observations: n rows, at least one.
        before: what is remembered of the rows before, if these follow them.
        wanted_from: first row that is asked for. Rows long before it move the levels and are not examined themselves, so the
            examination begins at it or some rows before.
    """
    if before is not None and not follows(detector, observations, before):
        before = None
    followed = followed_by(detector, observations, before)
    modes = modes_of(detector.switches, detector.scale, detector.metric_names, followed, observations, before)
    start = max(0, wanted_from - FORGOTTEN_ROWS)
    if start:
        observations, followed, before = since_row(observations, start), followed.since(start), None
        modes = modes[0][start:], modes[1][start:]
    departures = departures_of(followed, detector.states)
    judged = judge_rows(detector, observations, followed, departures, before, modes)
    no_rules = np.zeros(len(observations.values), dtype=np.bool_)
    implied = expected(detector, followed)
    sigmas = conditional_sigmas(detector.levels.deviations(followed.level), detector.levels.precision)
    examined = Examination(
        columns=columns_of(detector, observations, followed.silent, implied, judged, no_rules, ()),
        ratio=np.where(followed.silent, 0.0, judged.ratio),
        expected=implied,
        top=judged.top,
        sigmas=np.where(np.isfinite(observations.values), sigmas, 0.0),
        vectors=vectors(detector, observations, departures),
        settling=np.where(
            followed.age < settled_rows(detector.interval_ms), followed.state_surprise / detector.limits["now"], np.inf
        ),
        silent=followed.silent,
        times_ms=observations.times_ms,
    )
    return examined, _memory_after(observations, followed, judged, before)


def _memory_after(observations: Observations, followed: Trace, judged: Judged, before: Memory | None) -> Memory:
    """What is remembered at the last row."""
    last = observations.stretches[-1]
    earlier = before if len(observations.stretches) == 1 else None
    return replace(
        followed.memory,
        fast=_last_two(None if earlier is None else earlier.fast, judged.fast[last.start :]),
        slow=_last_two(None if earlier is None else earlier.slow, judged.slow[last.start :]),
        smoothed=judged.smoothed[-1],
        mode=int(judged.modes[-1]),
        mode_rows=int(judged.since[-1]),
    )


def _check_state(detector: FittedDetector, record: Record, observations: Observations) -> None:
    if len(record.memory.last) != len(detector.metric_names):
        raise UnusableMetricsError(
            f"the state is of {len(record.memory.last)} metrics, the detector of {len(detector.metric_names)}: "
            "pass the state that this detector returned"
        )
    if int(observations.times_ms[0]) <= record.memory.time_ms:
        first, last = (
            pd.Timestamp(t, unit="ms", tz="UTC") for t in (int(observations.times_ms[0]), record.memory.time_ms)
        )
        raise UnusableMetricsError(f"{first} was judged before, the state is of {last}: pass only later rows")


def _advance_record(
    detector: FittedDetector,
    index: pd.Index,
    observations: Observations,
    record: Record | None,
    maintenance: Sequence[tuple[pd.Timestamp, pd.Timestamp]],
) -> tuple[pd.DataFrame, Record]:
    """Judge rows of one record that follow what is remembered of it, if they do."""
    if record is not None and not follows(detector, observations, record.memory):
        record = None
    before = None if record is None else record.memory
    followed = followed_by(detector, observations, before)
    modes = modes_of(detector.switches, detector.scale, detector.metric_names, followed, observations, before)
    judged = judge_rows(detector, observations, followed, departures_of(followed, detector.states), before, modes)
    rules = rule_alarms(detector, observations, record)
    implied = expected(detector, followed)
    columns = columns_of(detector, observations, followed.silent, implied, judged, rules, maintenance)
    earlier = record if len(observations.stretches) == 1 else None
    memory = _memory_after(observations, followed, judged, before)
    return _frame(index, columns), _remembered(detector, memory, observations, earlier)


def columns_of(
    detector: FittedDetector,
    observations: Observations,
    silent: Bool,
    implied: Float64,
    judged: Judged,
    rules: Bool,
    maintenance: Sequence[tuple[pd.Timestamp, pd.Timestamp]],
) -> dict[str, Any]:
    """Columns of the table that :meth:`score` returns."""
    anomalous = (judged.now | judged.sustained | judged.frozen | rules) & ~silent
    for start, end in maintenance:
        inside = (observations.times_ms >= _epoch_ms(start)) & (observations.times_ms < _epoch_ms(end))
        anomalous &= ~inside
    reason = np.full(len(anomalous), "", dtype=object)
    for what, rows in (
        ("rule", rules),
        ("sustained", judged.sustained),
        ("now", judged.now),
        ("frozen", judged.frozen),
    ):
        reason[rows & anomalous] = what
    top = judged.top
    each = np.arange(len(top))
    return {
        "score": np.where(silent, np.nan, judged.score),
        "is_anomalous": anomalous,
        "profile_similarity": judged.similarity,
        "neighbour_distance": judged.distance,
        "top_metric": np.array(detector.metric_names, dtype=object)[top],
        "observed": observations.values[each, top],
        "expected": implied[each, top],
        "reason": reason,
    }


def _remembered(detector: FittedDetector, memory: Memory, observations: Observations, earlier: Record | None) -> Record:
    """The memory of the last row, and the rows before it that rules need."""
    last = observations.stretches[-1]
    declared = registered_type(detector.device_type) if detector.device_type else None
    if declared is None:
        return Record(memory, np.zeros(0, dtype=np.int64), np.zeros((0, len(detector.metric_names))))
    times, values = observations.times_ms[last.start : last.stop], observations.values[last.start : last.stop]
    if earlier is not None:
        times, values = np.r_[earlier.recent_times_ms, times], np.vstack([earlier.recent_values, values])
    since = memory.time_ms - rule_lookback_ms(declared, detector.interval_ms) - detector.interval_ms
    first = int(np.searchsorted(times, since))
    return Record(memory, times[first:], values[first:])


def judge_rows(
    detector: FittedDetector,
    observations: Observations,
    followed: Trace,
    departures: Departures,
    before: Memory | None,
    modes: tuple[Int64, Int64],
) -> Judged:
    """Both alarms, the score and what speaks most against each row of observations, whose modes are known."""
    statistics = row_statistics(
        followed, departures, observations.times_ms, detector.averages, detector.normal, detector.clock
    )
    codes, since = modes
    surprise = surprises_of(detector.surprises, statistics, detector.within, situations_of(codes, since))
    fast, slow, smoothed = combined(
        surprise,
        followed.age,
        followed.state_surprise,
        observations.stretches,
        before,
        detector.interval_ms,
        detector.contexts.factors(observations.times_ms),
    )
    score, present = smoothed[:, 0], smoothed[:, 1]
    still = followed.still
    stillest = still.max(axis=1)
    earlier = (np.zeros(2), np.zeros(2)) if before is None else (before.fast, before.slow)
    now, sustained = np.zeros(len(fast), dtype=np.bool_), np.zeros(len(fast), dtype=np.bool_)
    for position, stretch in enumerate(observations.stretches):
        rows = slice(stretch.start, stretch.stop)
        fast_before, slow_before = earlier if position == 0 else (np.zeros(2), np.zeros(2))
        now[rows] = persists(fast[rows], detector.limits["now"], fast_before)
        sustained[rows] = persists(slow[rows], detector.limits["sustained"], slow_before)
    sustained &= present > PRESENT
    frozen = stillest > detector.limits["frozen"]
    speaking = pair_contributions(departures.adapted.deviations, detector.states.precision)
    if departures.plausible is not departures.adapted:
        against = pair_contributions(departures.plausible.deviations, detector.states.precision)
        speaking = np.where((statistics["adapted wins"] > 0)[:, None], speaking, against)
    immediate = speaking.argmax(axis=1)
    lasting = np.abs(
        conditional_sigmas(detector.averages[0].deviations(followed.sustained[0]), detector.averages[0].precision)
    ).argmax(axis=1)
    more_now = fast / detector.limits["now"] >= slow / detector.limits["sustained"]
    top = np.where(frozen, still.argmax(axis=1), np.where(more_now, immediate, lasting))
    c = np.sqrt(2.0 * len(detector.metric_names))
    ratio = np.maximum.reduce(
        [
            fast / detector.limits["now"],
            np.where(present > PRESENT, slow / detector.limits["sustained"], 0.0),
            np.minimum(stillest / detector.limits["frozen"], ALARM_CAP),
        ]
    )
    return Judged(
        ratio=ratio,
        score=np.maximum(score, np.where(frozen, np.minimum(stillest, CAP), 0.0)),
        now=now,
        sustained=sustained,
        frozen=frozen,
        similarity=c / np.sqrt(c**2 + statistics["alarm profile"] ** 2),
        distance=statistics["alarm neighbours"],
        top=top,
        fast=fast,
        slow=slow,
        smoothed=smoothed,
        modes=codes,
        since=since,
    )


def rule_alarms(detector: FittedDetector, observations: Observations, record: Record | None) -> Bool:
    """Rows on which a rule of level 3 or more severe fires, bool [n]."""
    declared = registered_type(detector.device_type) if detector.device_type else None
    fired = np.zeros(len(observations.values), dtype=np.bool_)
    if declared is None:
        return fired
    for position, stretch in enumerate(observations.stretches):
        times, values = (
            observations.times_ms[stretch.start : stretch.stop],
            observations.values[stretch.start : stretch.stop],
        )
        context = 0
        if position == 0 and record is not None:
            context = len(record.recent_times_ms)
            times, values = np.r_[record.recent_times_ms, times], np.vstack([record.recent_values, values])
        verdicts = evaluate_rules(
            _series(declared, detector.metric_names, times, values, detector.interval_ms), declared
        )
        severe = verdicts.anomalous & (verdicts.level <= RULE_LEVEL)
        fired[stretch.start : stretch.stop] = severe[context:]
    return fired


FORGOTTEN_ROWS = 128
"""The score halves what it remembers at each row: of what was so long ago no bit is left. Alarms look back on less."""

_COLUMNS = (
    "score",
    "is_anomalous",
    "profile_similarity",
    "neighbour_distance",
    "top_metric",
    "observed",
    "expected",
    "reason",
)


def _frame(index: pd.Index, columns: Mapping[str, Any]) -> pd.DataFrame:
    table = pd.DataFrame({name: columns[name] for name in _COLUMNS}, index=index)
    return table.astype({"is_anomalous": bool, "top_metric": object, "reason": object})


def _last_two(before: Float64 | None, surprise: Float64) -> Float64:
    """Surprise of the last two rows of a record, which may have begun before these rows; float64 [2]."""
    last: Float64 = np.concatenate([np.zeros(2) if before is None else before, surprise])[-2:]
    return last


def _epoch_ms(time: pd.Timestamp) -> int:
    return int(pd.Timestamp(time).timestamp() * 1000)


def _series(
    declared: DeviceType, names: tuple[str, ...], times_ms: NDArray[np.int64], values: Float64, interval_ms: int
) -> SnapshotSeries:
    count = np.isfinite(values).astype(np.int64)
    return SnapshotSeries("", declared.name, times_ms, names, values, count, values, values, values, interval_ms)
