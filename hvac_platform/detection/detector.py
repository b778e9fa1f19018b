"""The detector: what normal looks like for one device, and how surprising each row of its metrics is.

A row is judged from three sides, each calibrated on data that it was not fitted to:

- *now*: Hotelling's T² of the state and its recent change, and the distance to the nearest normal states;
- *for some time*: T² and the largest conditional deviation of averages over about 10 and 30 rows (multivariate EWMA
  control chart: Lowry, Woodall, Champ and Rigdon, Technometrics 34, 1992);
- *too still*: a live sensor that repeats itself.

Pure: tables and arrays in, tables out. docs/detection.md has the formulas.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hvac_platform.detection.alarms import budget_limit, persistent_level, persists, room_for_variation
from hvac_platform.detection.attribution import conditional_sigmas, pair_contributions
from hvac_platform.detection.choosing_metrics import MOST_METRICS, NOT_CHOSEN, chosen_metrics
from hvac_platform.detection.frozen import Repetition, fit_repetition
from hvac_platform.detection.modes import MOST_SWITCHES, Switch, find_switches, mode_codes, rows_in_mode
from hvac_platform.detection.nearest import mean_nearest_distance, state_embeddings
from hvac_platform.detection.observations import (
    GAP_INTERVALS,
    LONGEST_MS,
    SHORTEST_MS,
    Observations,
    Stretch,
    UnusableMetricsError,
    numeric_columns,
    observe,
    record_labels,
)
from hvac_platform.detection.reference import Memory, Stuck, Trace, trace
from hvac_platform.detection.rules import evaluate_rules, rule_lookback_ms
from hvac_platform.detection.scaling import Scale, robust_scale
from hvac_platform.detection.smoothing import ewma
from hvac_platform.detection.state import DetectorState, Record, memory_of, packed, plain, unpacked
from hvac_platform.detection.surprise import Surprise, fit_surprise, towards
from hvac_platform.detection.whitening import HOURS, MINUTES, Drift, Whitening, fit_whitening
from hvac_platform.devices.registry import DeviceType
from hvac_platform.devices.registry import device_type as registered_type
from hvac_platform.snapshots import SnapshotSeries

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]
Int64 = NDArray[np.int64]
Segments = pd.Series | Sequence[object] | NDArray[np.generic]

#: Of what a detector learns and how; one that was fitted under another number should be fitted again.
VERSION = 2
LEAST_ROWS = 50
LEAST_KNOWN = 0.5
FOLDS = 5
NORMAL_STATES = 1000
NORMAL_SURPRISE = 2.5
CLOCK_DAYS = 2.0
DRIFT_FROM_MS = 6 * 3_600_000
"""From trainings of so long on, what wandered is taken for weather and load, which will wander on."""
DAY_MS = 86_400_000
CAP = 5.0
ALARM_CAP = 10.0
SCORE_WEIGHT = 0.5
CLEANINGS, LEAST_CALM = 8, 0.7
"""Rows of the training that alarm by its own limits are left out of a second calibration, and so on, up to three in ten."""
PRESENT = 0.5
LEAST_LIMIT = 1.3
ROOM_SHORT = {"now": 2.0, "sustained": 1.75}
LEAST_MODE_ROWS, LEAST_MODE_EPISODES, ENTERED_ROWS = 500, 5, 10
"""A mode is calibrated by itself from so many rows in so many episodes on; its first ten rows each time by themselves."""
RULE_LEVEL = 3
MOST_RULE_ROWS = 1500
COUNTER_STEPS = 20
NAMED = 20  # so many metrics are named in an error
CARRIED_ROWS = 50  # a smoothed surprise of longer ago counts for nothing
RECENT_ROWS, SETTLED_ROWS, SUSTAINED_ROWS = 10, 20, 30
SLOW_ROWS_FROM_MS = 10_000

NOW = ("profile", "neighbours")
SUSTAINED = ("sustained profile 10", "sustained metric 10", "sustained profile 30", "sustained metric 30")


@dataclass(frozen=True, slots=True)
class Examination:
    """n rows of a record from all sides; m metrics.

    Attributes:
        table: what :meth:`FittedDetector.score` says of them, without rules.
        ratio: float64 [n], the largest of the statistics that alarm, in proportion to its limit.
        expected: float64 [n, m], what the other metrics imply of each, in its unit.
        sigmas: float64 [n, m], conditional deviation of each, signed; 0 where a reading is missing.
        vectors: float32 [n, 2m + 3], unit vectors as :meth:`FittedDetector.embed` gives them.
        settling: float64 [n], while levels settle after an episode, how odd the state alone is in proportion to the limit:
            more than that nothing that rests on levels should be believed. Infinite where they have settled.
        silent: bool [n], rows without any reading.
    """

    table: pd.DataFrame
    ratio: Float64
    expected: Float64
    sigmas: Float64
    vectors: Float32
    settling: Float64
    silent: Bool


@dataclass(frozen=True, slots=True)
class FittedDetector:
    """What normal looks like for one device; made by :func:`fit_detector`, never changed.

    Attributes:
        metric_names: the m metrics that it judges.
        left_out: columns of the training that it doesn't judge, with the reason.
        device_type: name of the device type whose rules count too, or None.
        interval_ms: usual time between rows.
        false_alarms_per_day: budget that the limits hold.
        scale: robust centre and spread of each metric.
        levels: covariance of the scaled metrics.
        states: covariance of the state and its recent change.
        averages: covariances of the two sustained averages.
        normal: float32 [k, 2m + 3], embeddings of normal states.
        clock: whether the hour of the day is part of them.
        surprises: calibration of each statistic.
        limits: surprise above which ``now`` and ``sustained`` alarm.
        switches: what tells the machine's operating modes apart.
        within: calibration of each statistic within a mode, by the mode's number (plus 8 for the rows in which it was just
            entered); what is too rare for one is absent.
        repetition: how the metrics usually repeat themselves.
        memory: where the training ended.
        recent_times_ms: int64 [r], last rows of the training, for rules.
        recent_values: float64 [r, m], their readings.
        version: of the method that it was fitted by.
    """

    metric_names: tuple[str, ...]
    left_out: Mapping[str, str]
    device_type: str | None
    interval_ms: int
    false_alarms_per_day: float
    scale: Scale
    levels: Whitening
    states: Whitening
    averages: tuple[Whitening, Whitening]
    normal: Float32
    clock: bool
    surprises: Mapping[str, Surprise]
    limits: Mapping[str, float]
    switches: tuple[Switch, ...]
    within: Mapping[str, Mapping[str, Surprise]]
    repetition: Repetition
    memory: Memory
    recent_times_ms: NDArray[np.int64]
    recent_values: Float64
    version: int = VERSION

    def score(
        self,
        metrics: pd.DataFrame,
        *,
        segments: Segments | None = None,
        maintenance: Sequence[tuple[pd.Timestamp, pd.Timestamp]] = (),
    ) -> pd.DataFrame:
        """Judge rows of metrics. Row i rests on rows up to i alone.

        What is remembered carries on from the end of the training when the first row follows it within five intervals (and
        carries the same segment label, where both have labels). It starts afresh at each other segment and gap.

        Args:
            metrics: n rows, UTC DatetimeIndex increasing within each segment, with at least the metrics of the training.
            segments: label of the record of each row.
            maintenance: spans [from, until) in which nothing alarms.

        Returns:
            n rows with the index of ``metrics``:
            ``score``: surprise, 0 to 5; 2 means that one normal row in a hundred is as odd. NaN for a row without readings.
            ``is_anomalous``: whether it alarms.
            ``profile_similarity``: cosine to the centre of normal, c/√(c² + T²).
            ``neighbour_distance``: mean cosine distance to the five nearest normal states.
            ``top_metric``: metric that speaks most against the row.
            ``observed``, ``expected``: that metric's reading, and what the others imply, in its unit.
            ``reason``: ``now``, ``sustained``, ``frozen`` or ``rule`` where it alarms, else empty.

        Raises:
            UnusableMetricsError: the table isn't as described.
        """
        return self.advance(metrics, segments=segments, maintenance=maintenance)[0]

    def advance(
        self,
        metrics: pd.DataFrame,
        state: DetectorState | None = None,
        *,
        segments: Segments | None = None,
        maintenance: Sequence[tuple[pd.Timestamp, pd.Timestamp]] = (),
    ) -> tuple[pd.DataFrame, DetectorState]:
        """Judge the next rows, and say where that leaves each record: for rows that come a few at a time.

        Calls that pass on each other's state give together what :meth:`score` gives of all rows at once.

        Args:
            metrics: n rows, as for :meth:`score`.
            state: what the call before returned; None carries on from the end of the training.
            segments: label of the record of each row.
            maintenance: spans [from, until) in which nothing alarms.

        Returns:
            The table that :meth:`score` returns, and the state after the last row.

        Raises:
            UnusableMetricsError: the table isn't as described, or has rows that the state has seen already.
        """
        self._check(metrics)
        labels = record_labels(segments, metrics)
        training = Record(self.memory, self.recent_times_ms, self.recent_values)
        following = DetectorState((training,), begun=False) if state is None else state
        begun = following.begun
        tables, positions = [], []
        record: Record | None
        for number, label in enumerate(dict.fromkeys(labels)):
            rows = np.flatnonzero(labels == label) if label is not None else np.arange(len(metrics))
            part = metrics.iloc[rows]
            if not begun and number == 0 and None in (label, self.memory.label):
                record, following = training, DetectorState()  # there is no telling the two records apart
            else:
                record = following.of(label)
            observations = observe(part, self.metric_names, None if label is None else labels[rows], self.interval_ms)
            if begun and record is not None:
                self._check_state(record, observations)
            table, record = self._advance_record(part.index, observations, record, maintenance)
            following = following.with_record(record)
            tables.append(table)
            positions.append(rows)
        if not tables:
            return _frame(metrics.index, {name: np.zeros(0) for name in _COLUMNS}), following
        if len(tables) == 1:
            return tables[0], following
        back = np.argsort(np.concatenate(positions), kind="stable")
        return pd.concat(tables).iloc[back].set_axis(metrics.index), following

    def _check_state(self, record: Record, observations: Observations) -> None:
        if len(record.memory.last) != len(self.metric_names):
            raise UnusableMetricsError(
                f"the state is of {len(record.memory.last)} metrics, the detector of {len(self.metric_names)}: "
                "pass the state that this detector returned"
            )
        if int(observations.times_ms[0]) <= record.memory.time_ms:
            first, last = (
                pd.Timestamp(t, unit="ms", tz="UTC") for t in (int(observations.times_ms[0]), record.memory.time_ms)
            )
            raise UnusableMetricsError(f"{first} was judged before, the state is of {last}: pass only later rows")

    def examine(self, metrics: pd.DataFrame) -> Examination:
        """Everything there is to say of rows of one record: what :meth:`score` says, and what it rests on.

        Rows that follow the end of the training carry on from there. Rules are left out of account.

        Args:
            metrics: n >= 1 rows, as for :meth:`score`.

        Raises:
            UnusableMetricsError: the table isn't as described.
        """
        self._check(metrics)
        observations = observe(metrics, self.metric_names, None, self.interval_ms)
        if not len(observations.times_ms):
            raise UnusableMetricsError("no rows: there is nothing to examine")
        training = Record(self.memory, self.recent_times_ms, self.recent_values)
        record = training if self._follows(observations, self.memory) else None
        before = None if record is None else record.memory
        followed = self._trace(observations, before)
        judged = self._judge(observations, followed, before)
        no_rules = np.zeros(len(metrics), dtype=np.bool_)
        sigmas = conditional_sigmas(self.levels.deviations(followed.level), self.levels.precision)
        return Examination(
            table=_frame(metrics.index, self._columns(observations, followed, judged, no_rules, ())),
            ratio=np.where(followed.silent, 0.0, judged["ratio"]),
            expected=self._expected(followed),
            sigmas=np.where(np.isfinite(observations.values), sigmas, 0.0),
            vectors=self._vectors(observations, followed),
            settling=np.where(
                followed.age < settled_rows(self.interval_ms), followed.oddity / self.limits["now"], np.inf
            ),
            silent=followed.silent,
        )

    def _advance_record(
        self,
        index: pd.Index,
        observations: Observations,
        record: Record | None,
        maintenance: Sequence[tuple[pd.Timestamp, pd.Timestamp]],
    ) -> tuple[pd.DataFrame, Record]:
        """Judge rows of one record that follow what is remembered of it, if they do."""
        if record is not None and not self._follows(observations, record.memory):
            record = None
        before = None if record is None else record.memory
        followed = self._trace(observations, before)
        judged = self._judge(observations, followed, before)
        columns = self._columns(observations, followed, judged, self._rules(observations, record), maintenance)
        last = observations.stretches[-1]
        earlier = record if len(observations.stretches) == 1 else None
        memory = replace(
            followed.memory,
            fast=_last_two(None if earlier is None else earlier.memory.fast, judged["fast"][last.start :]),
            slow=_last_two(None if earlier is None else earlier.memory.slow, judged["slow"][last.start :]),
            smoothed=judged["smoothed"][-1],
            mode=int(judged["modes"][-1]),
            mode_rows=int(judged["since"][-1]),
        )
        return _frame(index, columns), self._remembered(memory, observations, earlier)

    def _columns(
        self,
        observations: Observations,
        followed: Trace,
        judged: Mapping[str, Any],
        rules: Bool,
        maintenance: Sequence[tuple[pd.Timestamp, pd.Timestamp]],
    ) -> dict[str, Any]:
        """Columns of the table that :meth:`score` returns."""
        anomalous = (judged["now"] | judged["sustained"] | judged["frozen"] | rules) & ~followed.silent
        for start, end in maintenance:
            inside = (observations.times_ms >= _epoch_ms(start)) & (observations.times_ms < _epoch_ms(end))
            anomalous &= ~inside
        reason = np.select(
            [judged["frozen"], judged["now"], judged["sustained"], rules], ["frozen", "now", "sustained", "rule"], ""
        )
        top = judged["top"]
        each = np.arange(len(top))
        return {
            "score": np.where(followed.silent, np.nan, judged["score"]),
            "is_anomalous": anomalous,
            "profile_similarity": judged["similarity"],
            "neighbour_distance": judged["distance"],
            "top_metric": np.array(self.metric_names, dtype=object)[top],
            "observed": observations.values[each, top],
            "expected": self._expected(followed)[each, top],
            "reason": np.where(anomalous, reason, "").astype(object),
        }

    def _remembered(self, memory: Memory, observations: Observations, earlier: Record | None) -> Record:
        """The memory of the last row, and the rows before it that rules need."""
        last = observations.stretches[-1]
        declared = registered_type(self.device_type) if self.device_type else None
        if declared is None:
            return Record(memory, np.zeros(0, dtype=np.int64), np.zeros((0, len(self.metric_names))))
        times, values = observations.times_ms[last.start : last.stop], observations.values[last.start : last.stop]
        if earlier is not None:
            times, values = np.r_[earlier.recent_times_ms, times], np.vstack([earlier.recent_values, values])
        since = memory.time_ms - rule_lookback_ms(declared, self.interval_ms) - self.interval_ms
        first = int(np.searchsorted(times, since))
        return Record(memory, times[first:], values[first:])

    def explain(self, row: pd.Series) -> pd.DataFrame:
        """What each metric of one row would be if the others are right, most deviating metric first.

        Args:
            row: readings by metric, as ``metrics.iloc[i]`` gives them; missing ones are left out.

        Returns:
            One row a metric: ``observed``, ``expected`` (its conditional expectation) and ``usual`` (median of the
            training), in the metric's unit; ``sigmas`` (conditional deviation, signed); ``direction`` (high, low or as
            expected).

        Raises:
            UnusableMetricsError: the row has none of the detector's metrics.
        """
        values = pd.to_numeric(row.reindex(list(self.metric_names)), errors="coerce").to_numpy(dtype=np.float64)
        values = np.where(np.isfinite(values), values, np.nan)
        if not np.isfinite(values).any():
            raise UnusableMetricsError(
                f"the row has no reading of {', '.join(self.metric_names)}: pass a row of metrics, as metrics.iloc[i]"
            )
        single = Observations(
            values[None, :], np.zeros(1, dtype=np.int64), (Stretch(0, 1, None),), np.zeros(1, dtype=np.int64), 1
        )
        followed = self._trace(single, None)
        expected = self._expected(followed)[0]
        deviations = self.levels.deviations(followed.level)
        sigmas = conditional_sigmas(deviations, self.levels.precision)[0]
        table = pd.DataFrame(
            {
                "observed": values,
                "expected": expected,
                "usual": self.scale.centre,
                "sigmas": sigmas,
                "direction": np.select([sigmas > 3.0, sigmas < -3.0], ["high", "low"], "as expected"),
            },
            index=pd.Index(self.metric_names, name="metric"),
        )
        known = table[np.isfinite(values)]
        ordered: pd.DataFrame = known.reindex(known["sigmas"].abs().sort_values(ascending=False, kind="stable").index)
        return ordered

    def deviations(self, metrics: pd.DataFrame, *, segments: Segments | None = None) -> pd.DataFrame:
        """Observed less expected value of every metric, in its unit: n rows, one column a metric; NaN where missing.

        Expected is what the other metrics imply, so load and weather are accounted for.
        """
        self._check(metrics)
        observations = observe(metrics, self.metric_names, segments, self.interval_ms)
        if not len(observations.order):
            return pd.DataFrame(columns=list(self.metric_names), index=metrics.index, dtype=np.float64)
        before = self.memory if self._continues(observations) else None
        followed = self._trace(observations, before)
        deviations = observations.values - self._expected(followed)
        back = np.argsort(observations.order, kind="stable")
        return pd.DataFrame(deviations[back], index=metrics.index, columns=list(self.metric_names))

    def sigmas(self, metrics: pd.DataFrame, *, segments: Segments | None = None) -> pd.DataFrame:
        """Conditional deviation of every metric in standard deviations of this device's normal, signed; n rows.

        Missing readings count as what the others imply, so as 0.
        """
        self._check(metrics)
        observations = observe(metrics, self.metric_names, segments, self.interval_ms)
        if not len(observations.order):
            return pd.DataFrame(columns=list(self.metric_names), index=metrics.index, dtype=np.float64)
        followed = self._trace(observations, self.memory if self._continues(observations) else None)
        sigmas = conditional_sigmas(self.levels.deviations(followed.level), self.levels.precision)
        back = np.argsort(observations.order, kind="stable")
        return pd.DataFrame(sigmas[back], index=metrics.index, columns=list(self.metric_names))

    def embed(self, metrics: pd.DataFrame, *, segments: Segments | None = None) -> Float32:
        """Unit vectors float32 [n, 2m + 3] of rows of metrics: neighbours are found by their cosine."""
        self._check(metrics)
        observations = observe(metrics, self.metric_names, segments, self.interval_ms)
        before = self.memory if self._continues(observations) else None
        followed = self._trace(observations, before)
        return self._vectors(observations, followed)[np.argsort(observations.order, kind="stable")]

    def _vectors(self, observations: Observations, followed: Trace) -> Float32:
        """Embeddings of the rows, against the level that each departs from less, as the alarm takes it."""
        by_adapted = self.states.apply(followed.against_adapted())
        by_plausible = self.states.apply(followed.against_plausible())
        nearer = np.linalg.norm(by_adapted, axis=1) <= np.linalg.norm(by_plausible, axis=1)
        white = np.where(nearer[:, None], by_adapted, by_plausible)
        return state_embeddings(white, observations.times_ms, clock=self.clock)

    @property
    def conditional_spread(self) -> dict[str, float]:
        """By metric, the standard deviation of a normal row about what the other metrics imply, in the metric's unit."""
        units = self.scale.spread * self.levels.scale.spread
        spread = units / np.sqrt(np.diag(self.levels.precision))
        return dict(zip(self.metric_names, spread.tolist(), strict=True))

    @property
    def similarity_limit(self) -> float:
        """Cosine to the centre of normal at which Hotelling's T² alone reaches the limit of what alarms now."""
        distance = self.surprises["profile"].statistic_at(self.limits["now"])
        return float(1.0 / np.sqrt(1.0 + distance**2 / (2.0 * len(self.metric_names))))

    @property
    def encoder_version(self) -> str:
        """Fingerprint of what :meth:`embed` rests on, 12 hexadecimal digits: vectors of different ones can't be compared."""
        parts = (self.metric_names, self.clock, self.scale, self.levels, self.states)
        return hashlib.blake2b(msgspec.msgpack.encode(packed(parts)), digest_size=6).hexdigest()

    def to_bytes(self) -> bytes:
        """The detector in few bytes, for a column of a table: arrays as they are in memory, compressed."""
        return zlib.compress(msgspec.msgpack.encode(packed(self)), level=1)

    @classmethod
    def from_bytes(cls, content: bytes) -> FittedDetector:
        """The detector of :meth:`to_bytes`."""
        return _detector_of(unpacked(msgspec.msgpack.decode(zlib.decompress(content))))

    def to_document(self) -> dict[str, Any]:
        """The detector as plain values, for JSON."""
        document: dict[str, Any] = plain(self)
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> FittedDetector:
        """The detector of a document."""
        return _detector_of(document)

    def _check(self, metrics: pd.DataFrame) -> None:
        names = numeric_columns(metrics)
        missing = [name for name in self.metric_names if name not in names]
        if missing:
            raise UnusableMetricsError(
                f"columns missing that the detector was fitted on: {', '.join(missing)}; a metric that is not "
                f"reported is a column of NaN"
            )

    def _trace(self, observations: Observations, before: Memory | None) -> Trace:
        stuck = Stuck(self.repetition, self.limits["frozen"])
        return trace(observations, self.scale, self.levels, self.surprises["level"], before, stuck)

    def _continues(self, observations: Observations) -> bool:
        """Whether the first rows carry on from the end of the training."""
        if not observations.stretches:
            return False
        label = observations.stretches[0].label
        same = label is None or self.memory.label is None or label == self.memory.label
        return same and self._follows(observations, self.memory)

    def _follows(self, observations: Observations, memory: Memory) -> bool:
        return 0 < int(observations.times_ms[0]) - memory.time_ms <= GAP_INTERVALS * self.interval_ms

    def _judge(self, observations: Observations, followed: Trace, before: Memory | None) -> dict[str, Any]:
        statistics = _statistics(followed, observations.times_ms, self.states, self.averages, self.normal, self.clock)
        codes, since = _modes(self.switches, self.scale, self.metric_names, followed, observations, before)
        surprise = _surprise(self.surprises, statistics, self.within, _situations(codes, since))
        fast, slow, smoothed = _combined(
            surprise, followed.age, followed.oddity, observations.stretches, before, self.interval_ms
        )
        score, present = smoothed[:, 0], smoothed[:, 1]
        still = self.repetition.surprise(observations.values, followed.runs)
        stillest = still.max(axis=1)
        earlier = (np.zeros(2), np.zeros(2)) if before is None else (before.fast, before.slow)
        now, sustained = np.zeros(len(fast), dtype=np.bool_), np.zeros(len(fast), dtype=np.bool_)
        for position, stretch in enumerate(observations.stretches):
            rows = slice(stretch.start, stretch.stop)
            fast_before, slow_before = earlier if position == 0 else (np.zeros(2), np.zeros(2))
            now[rows] = persists(fast[rows], self.limits["now"], fast_before)
            sustained[rows] = persists(slow[rows], self.limits["sustained"], slow_before)
        sustained &= present > PRESENT
        frozen = stillest > self.limits["frozen"]
        adapted = pair_contributions(self.states.deviations(followed.against_adapted()), self.states.precision)
        against = pair_contributions(self.states.deviations(followed.against_plausible()), self.states.precision)
        immediate = np.where((statistics["adapted wins"] > 0)[:, None], adapted, against).argmax(axis=1)
        lasting = np.abs(
            conditional_sigmas(self.averages[0].deviations(followed.sustained[0]), self.averages[0].precision)
        ).argmax(axis=1)
        more_now = fast / self.limits["now"] >= slow / self.limits["sustained"]
        top = np.where(frozen, still.argmax(axis=1), np.where(more_now, immediate, lasting))
        c = np.sqrt(2.0 * len(self.metric_names))
        ratio = np.maximum.reduce(
            [
                fast / self.limits["now"],
                np.where(present > PRESENT, slow / self.limits["sustained"], 0.0),
                np.minimum(stillest / self.limits["frozen"], ALARM_CAP),
            ]
        )
        return {
            "ratio": ratio,
            "score": np.maximum(score, np.where(frozen, np.minimum(stillest, CAP), 0.0)),
            "now": now,
            "sustained": sustained,
            "frozen": frozen,
            "similarity": c / np.sqrt(c**2 + statistics["alarm profile"] ** 2),
            "distance": statistics["alarm neighbours"],
            "top": top,
            "fast": fast,
            "slow": slow,
            "smoothed": smoothed,
            "modes": codes,
            "since": since,
        }

    def _expected(self, followed: Trace) -> Float64:
        """What the other metrics imply of each, in the metrics' units, float64 [n, m]."""
        deviations = self.levels.deviations(followed.usual)
        implied = deviations - (deviations @ self.levels.precision) / np.diag(self.levels.precision)
        z = (implied + self.levels.mean) * self.levels.scale.spread + self.levels.scale.centre
        expected: Float64 = z * self.scale.spread + self.scale.centre
        return expected

    def _rules(self, observations: Observations, record: Record | None) -> Bool:
        declared = registered_type(self.device_type) if self.device_type else None
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
            verdicts = evaluate_rules(_series(declared, self.metric_names, times, values, self.interval_ms), declared)
            severe = verdicts.anomalous & (verdicts.level <= RULE_LEVEL)
            fired[stretch.start : stretch.stop] = severe[context:]
        return fired


def fit_detector(
    metrics: pd.DataFrame,
    *,
    device_type: str | DeviceType | None = None,
    segments: Segments | None = None,
    false_alarms_per_day: float = 1.0,
) -> FittedDetector:
    """Learn what normal looks like for one device.

    A few per cent of faulty rows do no harm; nobody has to find them first.

    Args:
        metrics: n >= 50 mostly normal rows, UTC DatetimeIndex, one numeric column a metric under any name; NaN where
            missing. Of more than 190 columns :func:`~hvac_platform.detection.choosing_metrics.chosen_metrics` takes so
            many. Any interval from 1 s to 15 min (up to 1 h it works, with less to learn from).
        device_type: name of a device type, or one; its declared ranges steady the scales of short histories, and its rules
            alarm too. Without it everything is learned.
        segments: label of the record that each row belongs to; rows of different records are never compared in sequence.
        false_alarms_per_day: budget.

    Raises:
        UnusableMetricsError: the table can't be learned from; the message says why.
    """
    declared = registered_type(device_type) if isinstance(device_type, str) else device_type
    if not 0 < false_alarms_per_day < float("inf"):
        raise UnusableMetricsError(f"false_alarms_per_day must be positive, not {false_alarms_per_day}")
    names, left_out = _judged_columns(metrics, declared)
    observations = observe(metrics, names, segments)
    if not SHORTEST_MS <= observations.interval_ms <= LONGEST_MS:
        raise UnusableMetricsError(
            f"rows are {observations.interval_ms / 1000:g} s apart; intervals from 1 s to 1 h can be judged"
        )
    scale = robust_scale(observations.values, *_declared_ranges(declared, names))
    z = scale.apply(observations.values)
    span_ms = int(observations.times_ms.max() - observations.times_ms.min())
    drift = HOURS if span_ms >= DRIFT_FROM_MS else MINUTES
    # What a metric should read given the others: weather moves them together, which is just what that rests on.
    levels = fit_whitening(np.where(np.isfinite(z), z, 0.0))
    ordinary = fit_surprise(np.linalg.norm(levels.apply(np.clip(np.where(np.isfinite(z), z, 0.0), -8.0, 8.0)), axis=1))
    followed = trace(observations, scale, levels, ordinary, None)
    heard = np.flatnonzero(~followed.silent)
    if len(heard) < LEAST_ROWS:
        raise UnusableMetricsError(f"{len(heard)} rows with readings, at least {LEAST_ROWS} are needed")
    clock = span_ms >= CLOCK_DAYS * DAY_MS

    switches = find_switches(observations.values[heard], names)
    codes, since = _modes(switches, scale, names, followed, observations, None)
    situations = _situations(codes, since)
    held_out = _cross_fitted(followed, observations.times_ms, heard, clock, drift)
    # Averages remember a fault for much longer than it lasts. What began anew after it is as clean as the rows are.
    states = fit_whitening(followed.against_plausible()[heard], drift)
    averages = tuple(fit_whitening(average[heard], drift) for average in followed.cleared)
    normal = _normal_states(states, followed.against_plausible()[heard], observations.times_ms[heard], clock)

    repetition = fit_repetition(observations.values, followed.runs)
    each = false_alarms_per_day / 2.0
    rows_per_day = DAY_MS / observations.interval_ms
    room = {name: room_for_variation(short, span_ms, len(heard)) for name, short in ROOM_SHORT.items()}
    # Faults in the training raise the limits that would find their like: what alarms by the limits doesn't calibrate them.
    calm = heard
    for _ in range(1 + CLEANINGS):
        surprises = {name: fit_surprise(held_out[f"alarm {name}"][calm]) for name in (*NOW, *SUSTAINED)}
        within = _within_modes(surprises, held_out, calm, situations)
        surprise = _surprise(surprises, held_out, within, situations)
        fast, slow, _ = _combined(
            surprise, followed.age, followed.oddity, observations.stretches, None, observations.interval_ms
        )
        alarming = {"now": _level(fast, observations), "sustained": _level(slow, observations)}
        limits = {
            name: room[name] * max(LEAST_LIMIT, budget_limit(level[calm], observations.interval_ms, each))
            for name, level in alarming.items()
        }
        odd = np.any([level > limits[name] for name, level in alarming.items()], axis=0)
        ordinary_rows = heard[~odd[heard]]
        if len(ordinary_rows) == len(calm) or len(ordinary_rows) < LEAST_CALM * len(heard):
            break
        calm = ordinary_rows
    limits |= {
        # Bonferroni over metrics and rows, at a tenth of the budget: runs are rare events with a known probability.
        "frozen": float(np.log10(10.0 * len(names) * rows_per_day / false_alarms_per_day)),
    }
    keep = 0
    if declared is not None:
        keep = min(MOST_RULE_ROWS, rule_lookback_ms(declared, observations.interval_ms) // observations.interval_ms + 1)
        last = observations.stretches[-1]
        keep = min(keep, last.stop - last.start)
    # What is remembered is what the final model says of the last rows, not what it said before it had seen them.
    end = slice(max(observations.stretches[-1].start, len(fast) - CARRIED_ROWS), len(fast))
    statistics = _statistics(followed, observations.times_ms, states, averages, normal, clock, end)
    fast, slow, smoothed = _combined(
        _surprise(surprises, statistics, within, situations[end]),
        followed.age[end],
        followed.oddity[end],
        (Stretch(0, end.stop - end.start, None),),
        None,
        observations.interval_ms,
    )
    memory = replace(
        followed.memory,
        fast=np.r_[0.0, 0.0, fast][-2:],
        slow=np.r_[0.0, 0.0, slow][-2:],
        smoothed=smoothed[-1],
        mode=int(codes[-1]),
        mode_rows=int(since[-1]),
    )
    return FittedDetector(
        metric_names=tuple(names),
        left_out=left_out,
        device_type=None if declared is None else declared.name,
        interval_ms=observations.interval_ms,
        false_alarms_per_day=false_alarms_per_day,
        scale=scale,
        levels=levels,
        states=states,
        averages=(averages[0], averages[1]),
        normal=normal,
        clock=clock,
        surprises={**surprises, "level": ordinary},
        limits=limits,
        switches=switches,
        within=within,
        repetition=repetition,
        memory=memory,
        recent_times_ms=observations.times_ms[len(observations.times_ms) - keep :],
        recent_values=observations.values[len(observations.values) - keep :],
    )


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
    last: Float64 = np.r_[np.zeros(2) if before is None else before, surprise][-2:]
    return last


def _epoch_ms(time: pd.Timestamp) -> int:
    return int(pd.Timestamp(time).timestamp() * 1000)


def _judged_columns(metrics: pd.DataFrame, declared: DeviceType | None) -> tuple[list[str], dict[str, str]]:
    """Columns to judge, and why others are not."""
    names = numeric_columns(metrics)
    if len(metrics) < LEAST_ROWS:
        raise UnusableMetricsError(f"{len(metrics)} rows, at least {LEAST_ROWS} normal ones are needed")
    left_out: dict[str, str] = {}
    kept: list[str] = []
    moving = False
    for name in names:
        column = metrics[name].to_numpy(dtype=np.float64, na_value=np.nan)
        column = column[np.isfinite(column)]
        counter = declared is not None and name in declared.metric_names and declared.point(name).kind == "counter"
        if len(column) < LEAST_KNOWN * len(metrics):
            left_out[name] = f"known in {len(column)} of {len(metrics)} rows, half is needed"
        elif counter or _counts(column):
            left_out[name] = "a counter: it never returns to where it was"
        else:
            kept.append(name)
            moving |= bool(np.ptp(column) > 0)
    if not kept:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:NAMED])
        raise UnusableMetricsError(f"no metric can be judged ({reasons})")
    if not moving:
        raise UnusableMetricsError(f"nothing to learn: all of {', '.join(kept[:NAMED])} are constant")
    points = declared.metric_names if declared is not None else ()
    chosen = chosen_metrics(metrics[kept].to_numpy(dtype=np.float64, na_value=np.nan), kept, points, MOST_METRICS)
    for name in kept if len(chosen) < len(kept) else ():
        if name not in set(chosen):
            left_out[name] = NOT_CHOSEN
    return chosen, left_out


def _counts(column: Float64) -> bool:
    """Whether a metric only ever grows, on many occasions: run hours, meter readings."""
    steps = np.diff(column)
    grows = np.count_nonzero(steps > 0)
    return bool(grows > max(COUNTER_STEPS, 0.02 * len(steps)) and not np.any(steps < 0))


def _declared_ranges(declared: DeviceType | None, names: Sequence[str]) -> tuple[Float64 | None, Float64 | None]:
    if declared is None:
        return None, None
    ranges = [declared.point(n).normal if n in declared.metric_names else None for n in names]
    bounds = np.array([(np.nan, np.nan) if r is None else r for r in ranges], dtype=np.float64)
    return bounds[:, 0], bounds[:, 1]


def _statistics(
    followed: Trace,
    times_ms: NDArray[np.int64],
    states: Whitening,
    averages: Sequence[Whitening],
    normal: Float32,
    clock: bool,
    rows: NDArray[np.int64] | slice = slice(None),
) -> dict[str, Float64]:
    """Uncalibrated statistics of some rows, each float64 [n].

    For the alarm a row counts as odd only as far as it is odd against levels and averages of both kinds: those that take
    readings as they are forgive a slow drift, those that began anew forgive what a past fault has left in the others.
    """
    times = times_ms[rows]
    by_adapted = states.apply(followed.against_adapted()[rows])
    by_plausible = states.apply(followed.against_plausible()[rows])
    found = {"profile": np.linalg.norm(by_adapted, axis=1)}
    anew = {"profile": np.linalg.norm(by_plausible, axis=1)}
    found["neighbours"] = mean_nearest_distance(state_embeddings(by_adapted, times, clock=clock), normal)
    anew["neighbours"] = found["neighbours"].copy()
    differ = np.flatnonzero(np.abs(by_adapted - by_plausible).max(axis=1, initial=0.0) > 1e-3)
    embedded = state_embeddings(by_plausible[differ], times[differ], clock=clock)
    anew["neighbours"][differ] = mean_nearest_distance(embedded, normal)
    for k, whitening in enumerate(averages):
        names = SUSTAINED[2 * k : 2 * k + 2]
        found |= dict(zip(names, _distances(whitening, followed.sustained[k][rows]), strict=True))
        anew |= dict(zip(names, _distances(whitening, followed.cleared[k][rows]), strict=True))
    found |= {f"alarm {name}": np.minimum(found[name], anew[name]) for name in anew}
    return found | {"adapted wins": (found["profile"] <= anew["profile"]).astype(np.float64)}


def _distances(whitening: Whitening, average: Float64) -> tuple[Float64, Float64]:
    """Root of T², and the largest conditional deviation of any metric, of n averages; each float64 [n]."""
    deviations = whitening.deviations(average)
    largest = np.abs(conditional_sigmas(deviations, whitening.precision)).max(axis=1)
    return np.linalg.norm(deviations @ whitening.root, axis=1), largest


def _modes(
    switches: Sequence[Switch],
    scale: Scale,
    names: Sequence[str],
    followed: Trace,
    observations: Observations,
    before: Memory | None,
) -> tuple[Int64, Int64]:
    """Mode of each row (-1: unknown), and rows since it was entered; int64 [n] each."""
    values = np.where(followed.unknown, np.nan, scale.undone(followed.level))
    codes = mode_codes(switches, values, names)
    known = None if before is None or before.mode is None else (before.mode, before.mode_rows)
    return codes, rows_in_mode(codes, [stretch.start for stretch in observations.stretches], known)


def _situations(codes: Int64, since: Int64) -> Int64:
    """What a row is calibrated among, int64 [n]: its mode, and whether that was entered so lately that levels lag behind."""
    return np.where((codes >= 0) & (since < ENTERED_ROWS), codes + (1 << MOST_SWITCHES), codes)


def _within_modes(
    surprises: Mapping[str, Surprise], statistics: Mapping[str, Float64], rows: Int64, situations: Int64
) -> dict[str, dict[str, Surprise]]:
    """Calibration of each statistic within each situation that is common enough, by its number.

    Args:
        surprises: calibration on all rows.
        statistics: held-out statistics of all rows, each float64 [n].
        rows: int64 [k], rows to calibrate on.
        situations: int64 [n], that of each row.
    """
    present = situations[rows]
    entered = present[np.r_[True, present[1:] != present[:-1]]]
    within = {}
    for situation in np.unique(present).tolist():
        members = rows[present == situation]
        if len(members) >= LEAST_MODE_ROWS and np.count_nonzero(entered == situation) >= LEAST_MODE_EPISODES:
            within[str(situation)] = {
                name: towards(fit_surprise(statistics[f"alarm {name}"][members]), overall, len(members))
                for name, overall in surprises.items()
            }
    return within


def _surprise(
    surprises: Mapping[str, Surprise],
    statistics: Mapping[str, Float64],
    within: Mapping[str, Mapping[str, Surprise]],
    situations: Int64,
) -> dict[str, Float64]:
    """Surprise of every statistic, also as the alarm takes it, each float64 [n]; within the mode where it is calibrated."""
    found: dict[str, Float64] = {}
    members = {situation: np.flatnonzero(situations == int(situation)) for situation in within}
    for prefix in ("", "alarm "):
        for name in (*NOW, *SUSTAINED):
            statistic = statistics[f"{prefix}{name}"]
            surprise = surprises[name].of(statistic)
            for situation, rows in members.items():
                surprise[rows] = within[situation][name].of(statistic[rows])
            found[f"{prefix}{name}"] = surprise
    return found


def _combined(
    surprise: Mapping[str, Float64],
    age: NDArray[np.int64],
    oddity: Float64,
    stretches: Sequence[Stretch],
    before: Memory | None,
    interval_ms: int,
) -> tuple[Float64, Float64, Float64]:
    """Fast and sustained surprise of the alarm, float64 [n]; smoothed score and fast surprise, float64 [n, 2].

    A level or an average that has only begun is as noisy as its first row, and lags less behind a drift than in the
    training. Until it has settled, the alarm believes it only as far as the state alone is odd.

    The score is the mean of both. Where rows are less than ten seconds apart it is the mean of all statistics as they are:
    what a past fault left in the averages is over within seconds there, and to leave it out would cost more than it mends.
    """
    fast = np.mean([np.minimum(surprise[f"alarm {name}"], ALARM_CAP) for name in NOW], axis=0)
    slow = np.mean([np.minimum(surprise[f"alarm {name}"], ALARM_CAP) for name in SUSTAINED], axis=0)
    fast = np.where(age < settled_rows(interval_ms), np.minimum(fast, oddity), fast)
    slow = np.where(age < SUSTAINED_ROWS, np.minimum(slow, oddity), slow)
    if interval_ms >= SLOW_ROWS_FROM_MS:
        mean = (np.minimum(fast, CAP) + np.minimum(slow, CAP)) / 2.0
    else:
        mean = np.mean([np.minimum(surprise[name], CAP) for name in (*NOW, *SUSTAINED)], axis=0)
    both = np.stack([mean, np.minimum(fast, CAP)], axis=1)
    smoothed = np.empty_like(both)
    for position, stretch in enumerate(stretches):
        rows = slice(stretch.start, stretch.stop)
        start = before.smoothed if before is not None and position == 0 else np.zeros(2)
        smoothed[rows] = ewma(both[rows], SCORE_WEIGHT, start)
    return fast, slow, smoothed


def settled_rows(interval_ms: int) -> int:
    """Rows after which a level that began anew counts like those of the training.

    An average with weight w lags 1/w - 1 = 9 rows behind a drift, one that began k rows ago by k·r^k/(1 - r^k) less,
    r = 1 - w: at 10 rows it has reached 40 % of its lag, at 20 rows 69 %. Where a row stands for ten seconds or
    more, load and weather drift noticeably within so many rows, and 20 are waited for; between faster rows they don't.
    """
    return SETTLED_ROWS if interval_ms >= SLOW_ROWS_FROM_MS else RECENT_ROWS


def _level(surprise: Float64, observations: Observations) -> Float64:
    return persistent_level(surprise, observations.stretches)


def _cross_fitted(
    followed: Trace, times_ms: NDArray[np.int64], heard: NDArray[np.int64], clock: bool, drift: Drift
) -> dict[str, Float64]:
    """Statistics of each row under a model that was fitted to other rows: five contiguous folds."""
    features = followed.against_plausible()
    folds = np.array_split(heard, FOLDS)
    result: dict[str, Float64] = {}
    for k, fold in enumerate(folds):
        others = np.concatenate([f for i, f in enumerate(folds) if i != k])
        states = fit_whitening(features[others], drift)
        averages = [fit_whitening(average[others], drift) for average in followed.cleared]
        normal = _normal_states(states, features[others], times_ms[others], clock)
        for name, values in _statistics(followed, times_ms, states, averages, normal, clock, fold).items():
            result.setdefault(name, np.zeros(len(times_ms)))[fold] = values
    return result


def _normal_states(states: Whitening, features: Float64, times_ms: NDArray[np.int64], clock: bool) -> Float32:
    """Embeddings of at most a thousand normal states; the oddest rows of the training are not among them."""
    white = states.apply(features)
    distance = np.linalg.norm(white, axis=1)
    ordinary = np.flatnonzero(fit_surprise(distance).of(distance) <= NORMAL_SURPRISE)
    chosen = ordinary[np.unique(np.linspace(0, len(ordinary) - 1, min(NORMAL_STATES, len(ordinary))).astype(np.int64))]
    return state_embeddings(white[chosen], times_ms[chosen], clock=clock)


def _series(
    declared: DeviceType, names: tuple[str, ...], times_ms: NDArray[np.int64], values: Float64, interval_ms: int
) -> SnapshotSeries:
    count = np.isfinite(values).astype(np.int64)
    return SnapshotSeries("", declared.name, times_ms, names, values, count, values, values, values, interval_ms)


def _floats(value: Any) -> Float64:
    return np.array(value, dtype=np.float64)


def _surprises_of(document: Mapping[str, Any]) -> dict[str, Surprise]:
    return {name: Surprise(_floats(s["body"]), s["shape"]) for name, s in document.items()}


def _whitening_of(document: Mapping[str, Any]) -> Whitening:
    scale = Scale(_floats(document["scale"]["centre"]), _floats(document["scale"]["spread"]))
    return Whitening(scale, _floats(document["mean"]), _floats(document["root"]), _floats(document["precision"]))


def _detector_of(document: Mapping[str, Any]) -> FittedDetector:
    repetition = document["repetition"]
    m = len(document["metric_names"])
    return FittedDetector(
        metric_names=tuple(document["metric_names"]),
        left_out=dict(document["left_out"]),
        device_type=document["device_type"],
        interval_ms=document["interval_ms"],
        false_alarms_per_day=document["false_alarms_per_day"],
        scale=Scale(_floats(document["scale"]["centre"]), _floats(document["scale"]["spread"])),
        levels=_whitening_of(document["levels"]),
        states=_whitening_of(document["states"]),
        averages=(_whitening_of(document["averages"][0]), _whitening_of(document["averages"][1])),
        normal=np.array(document["normal"], dtype=np.float32),
        clock=document["clock"],
        surprises=_surprises_of(document["surprises"]),
        limits=dict(document["limits"]),
        # Documents of version 1, from before modes were calibrated, have neither, nor the version.
        switches=tuple(Switch(**switch) for switch in document.get("switches", ())),
        within={code: _surprises_of(found) for code, found in document.get("within", {}).items()},
        repetition=Repetition(
            _floats(repetition["log_repeat"]),
            _floats(repetition["longest"]),
            tuple(_floats(places) for places in repetition["resting"]),
        ),
        memory=memory_of(document["memory"]),
        recent_times_ms=np.array(document["recent_times_ms"], dtype=np.int64),
        recent_values=_floats(document["recent_values"]).reshape(-1, m),
        version=document.get("version", 1),
    )
