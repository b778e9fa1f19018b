"""Rules: what can't be, or should not be, on a device of a known type.

Three kinds of rule judge a snapshot:

- *range*: a reading beyond the hard limits of its point, not finite, larger than any (1e30), or a value that marks a broken
  sensor (level 3);
- *frozen*: an analog sensor that repeats itself to the digit for ``frozen_windows`` windows while the machine runs and
  at least half of its other sensors move (level 4);
- *relationships*: the rules of the device type's YAML, e.g. a compressor that is on and draws no power.

Everything is causal: the verdict on a row rests on that row and rows before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numexpr as ne
import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.grades import LARGEST
from hvac_platform.detection.verdicts import Verdicts
from hvac_platform.devices.registry import (
    DAY_MEAN,
    MINUTES,
    PREVIOUS,
    DeviceType,
    Point,
    Rule,
    message_fields,
    show,
    variables,
)
from hvac_platform.snapshots import Float64, Int64, SnapshotSeries

Bool = NDArray[np.bool_]

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000

#: A longer gap between two snapshots ends whatever was holding.
GAP_WINDOWS = 3
#: A daily mean is known once this share of the day has snapshots.
DAY_COVERAGE = 0.5

RANGE_LEVEL = 3
URGENT_LEVEL = 2
FROZEN_LEVEL = 4


@dataclass(frozen=True, slots=True)
class _Finding:
    """Where one rule fired, and how to say so of a row; ``rule`` is the relationship that it is of, or None."""

    level: int
    fired: Bool
    sentence: Callable[[int], str]
    metrics: tuple[str, ...]
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Firing:
    """Where a relationship or a hard limit spoke against a device's snapshots.

    Attributes:
        rule: the relationship, or None for a hard limit.
        metrics: the metrics implicated.
        level: 1 to 4.
        fired: bool [n].
    """

    rule: Rule | None
    metrics: tuple[str, ...]
    level: int
    fired: Bool


def quantities(series: SnapshotSeries, device_type: DeviceType, names: Iterable[str]) -> dict[str, Float64]:
    """Values of points, parameters, derived quantities and conditions, float64 [n] each, as rules see them.

    Readings beyond hard limits and the marks of broken sensors are NaN; a condition is 1 where it holds, and 0 where it
    doesn't or can't be known.

    Args:
        series: n snapshots of one device.
        device_type: has the names.
        names: of what.
    """
    values = _Variables(series, device_type, _fresh(series), mask_out_of_range=True)
    return {name: np.broadcast_to(values[name].astype(np.float64), len(series)) for name in names}


def evaluate_rules(series: SnapshotSeries, device_type: DeviceType | None, rows: Int64 | None = None) -> Verdicts:
    """Judge each snapshot by the rules of its device type.

    A relationship is judged on the means of the windows. It fires when its condition has held for its ``for`` minutes
    up to and including the row's window. A gap of more than three windows, a missing input or an active ``suppress``
    condition starts the count anew; so a rule is silent where it can't know. A reading beyond its hard limits counts
    as missing, except for rules that say ``uses_out_of_range``.

    Args:
        series: snapshots of one device in time order, with ``rule_lookback_ms`` of history before the first row that
            matters.
        device_type: rules to use; None (an unknown type) leaves only the check that readings are finite.
        rows: int64 [k], ascending; verdicts are given on these alone. On all rows when absent.

    Returns:
        Verdicts of method ``rules``: score 0 where nothing fires, else 5 - level (1 for level 4 to 4 for level 1);
        level is the most severe, that is lowest, that fired; reasons with values and units, most severe first.
    """
    return _verdicts(series, _findings(series, device_type), rows)


def rule_scores(series: SnapshotSeries, device_type: DeviceType | None, rows: Int64) -> tuple[Float64, Bool]:
    """Scores and alarms of :func:`evaluate_rules` on k rows, float64 [k] and bool [k], without the reasons."""
    level = _levels(_findings(series, device_type), rows)
    return np.where(level > 0, 5.0 - level, 0.0), level > 0


def one_after_another(parts: Sequence[SnapshotSeries]) -> SnapshotSeries:
    """Series of several devices as one that rules judge as they judge each by itself.

    Each begins a whole number of days after the one before it has ended: nothing reaches from one into the next, and the
    hour of the day stays what it is.

    Args:
        parts: series with the same metrics in the same order and windows of the same length, none of them empty.
    """
    first = min(int(part.times_ms[0]) for part in parts)
    last = max(int(part.times_ms[-1]) for part in parts)
    step = (last - first + GAP_WINDOWS * parts[0].window_ms) // DAY_MS * DAY_MS + 2 * DAY_MS
    return replace(
        parts[0],
        device_id="",
        times_ms=np.concatenate([part.times_ms + step * i for i, part in enumerate(parts)]),
        mean=np.concatenate([part.mean for part in parts]),
        count=np.concatenate([part.count for part in parts]),
        minimum=np.concatenate([part.minimum for part in parts]),
        maximum=np.concatenate([part.maximum for part in parts]),
        last=np.concatenate([part.last for part in parts]),
        embeddings=None,
    )


def evaluate_urgent(series: SnapshotSeries, device_type: DeviceType | None) -> Verdicts:
    """Judge each snapshot by what can't wait: readings that can't be, and the rules of level 1 and 2.

    Args:
        series: snapshots as for :func:`evaluate_rules`, with ``rule_lookback_ms`` of :func:`urgent_part` before the first
            row that matters.
        device_type: rules to use, or None.
    """
    findings = _findings(series, None if device_type is None else urgent_part(device_type))
    return _verdicts(series, [finding for finding in findings if finding.level <= RANGE_LEVEL], None)


@lru_cache(maxsize=256)
def urgent_part(device_type: DeviceType, *, at_once: bool = False) -> DeviceType:
    """The device type with its rules of level 1 and 2 alone.

    Args:
        device_type: a type.
        at_once: as if they had no ``for`` and no ``suppress``: where even these don't fire on a row, the rules as they are
            don't either. It takes the row alone to see that, but for rules that name earlier windows, which then don't fire.
    """
    rules = [rule for rule in device_type.rules if rule.level <= URGENT_LEVEL]
    if at_once:
        rules = [replace(rule, for_minutes=0.0, suppress=()) for rule in rules]
    return replace(device_type, rules=tuple(rules))


@lru_cache(maxsize=1024)
def without_rules(device_type: DeviceType, standing: tuple[str, ...]) -> DeviceType:
    """The device type as it judges a device on which some rules are a standing condition: without these.

    Args:
        device_type: a type.
        standing: ids of rules; those of level 1 and 2 stay.
    """
    rules = tuple(rule for rule in device_type.rules if rule.level <= URGENT_LEVEL or rule.id not in standing)
    return replace(device_type, rules=rules)


def rule_firings(series: SnapshotSeries, device_type: DeviceType | None) -> list[Firing]:
    """Relationships and hard limits that fired anywhere in a series, of n snapshots as for :func:`evaluate_rules`."""
    return [
        Firing(f.rule, f.metrics, f.level, f.fired)
        for f in _findings(series, device_type)
        if f.rule is not None or f.level == RANGE_LEVEL
    ]


def _findings(series: SnapshotSeries, device_type: DeviceType | None) -> list[_Finding]:
    findings = _range_findings(series, device_type)
    if device_type is not None and len(series):
        fresh = _fresh(series)
        in_range = _Variables(series, device_type, fresh, mask_out_of_range=True)
        as_read = _Variables(series, device_type, fresh, mask_out_of_range=False)
        findings += _frozen_findings(series, device_type, in_range)
        for rule in device_type.rules:
            values = as_read if rule.uses_out_of_range else in_range
            finding = _rule_finding(rule, device_type, values)
            if finding is not None:
                findings.append(finding)
    return findings


MOST_LOOKBACKS = 1000
_lookbacks: dict[tuple[int, int], tuple[DeviceType, int]] = {}
"""By identity of the type, which can't be hashed; the type is kept beside, so no other one can have its identity."""


def rule_lookback_ms(device_type: DeviceType | None, window_ms: int = MINUTE_MS) -> int:
    """History that the verdict on a snapshot rests on, in milliseconds before the snapshot.

    Rows that are preceded by this much history get the same verdicts as with all of it.
    """
    if device_type is None:
        return 0
    key = id(device_type), window_ms
    known = _lookbacks.get(key)
    if known is None or known[0] is not device_type:
        if len(_lookbacks) >= MOST_LOOKBACKS:
            _lookbacks.clear()
        known = _lookbacks[key] = device_type, _lookback_ms(device_type, window_ms)
    return known[1]


def _lookback_ms(device_type: DeviceType, window_ms: int) -> int:
    needs = [device_type.frozen_windows * window_ms]
    for rule in device_type.rules:
        used = _reached(device_type, (rule.when, *rule.suppress, *message_fields(rule.message)))
        need = rule.for_minutes * MINUTE_MS
        if any(name.startswith(MINUTES) for name in used):
            need += device_type.memory_minutes * MINUTE_MS
        if any(name.startswith(DAY_MEAN) for name in used):
            need += DAY_MS
        if any(name.startswith(PREVIOUS) for name in used):
            need += GAP_WINDOWS * window_ms
        needs.append(round(need))
    return max(needs)


class _Variables:
    """Values of the names that expressions use, computed when first asked for: float64 or bool, [n] or a scalar."""

    def __init__(
        self, series: SnapshotSeries, device_type: DeviceType, fresh: Bool, *, mask_out_of_range: bool
    ) -> None:
        self.series, self.type, self.fresh = series, device_type, fresh
        self._mask = mask_out_of_range
        self._known: dict[str, Float64 | Bool] = {}

    def __getitem__(self, name: str) -> Float64 | Bool:
        if name not in self._known:
            self._known[name] = self._compute(name)
        return self._known[name]

    def evaluate(self, expression: str) -> Float64 | Bool:
        """The expression over all rows, [n]."""
        local = {name: self[name] for name in variables(expression)}
        return np.broadcast_to(ne.evaluate(expression, local_dict=local, global_dict={}), len(self.series))

    def truth(self, expression: str) -> Bool:
        """A boolean expression over all rows, bool [n]; false where an input is missing, whatever its operators."""
        result = self.evaluate(expression).astype(np.bool_)
        for name in _inputs(self.type, expression):
            result &= np.isfinite(self[name])
        return result

    def _compute(self, name: str) -> Float64 | Bool:
        series, device_type = self.series, self.type
        if name in device_type.index:
            return self._readings(name)
        if name in device_type.parameters:
            return np.asarray(device_type.parameters[name].value)
        if name in device_type.derived:
            return np.asarray(self.evaluate(device_type.derived[name].expression), dtype=np.float64)
        if name in device_type.conditions:
            return self.truth(device_type.conditions[name])
        if name == "hour":
            return np.asarray(series.times_ms % DAY_MS / HOUR_MS)
        if name.startswith(MINUTES):
            holds = self[name.removeprefix(MINUTES)].astype(np.bool_)
            minutes = _held_ms(holds, self.fresh, series) / MINUTE_MS
            return np.minimum(minutes, device_type.memory_minutes)
        if name.startswith(PREVIOUS):
            current = self[name.removeprefix(PREVIOUS)]
            return np.where(self.fresh, np.nan, np.roll(current, 1))
        return _day_mean(self[name.removeprefix(DAY_MEAN)].astype(np.float64), series)

    def _readings(self, name: str) -> Float64:
        """Window means; NaN where a reading marks a broken sensor or, with masking, is out of range."""
        series = self.series
        if name not in series.metric_names:
            return np.full(len(series), np.nan)
        j = series.metric_names.index(name)
        point = self.type.point(name)
        lowest, highest = series.minimum[:, j], series.maximum[:, j]
        unusable = ~np.isfinite(series.mean[:, j])
        for marker in _markers(self.type, point):
            unusable |= (lowest == marker) | (highest == marker)
        if self._mask and point.hard is not None:
            unusable |= (lowest < point.hard[0]) | (highest > point.hard[1])
        return np.where(unusable, np.nan, series.mean[:, j])


def _range_findings(series: SnapshotSeries, device_type: DeviceType | None) -> list[_Finding]:
    """Readings that are not finite, larger than any, mark a broken sensor, or are beyond hard limits."""
    index = {} if device_type is None else device_type.index
    points = [
        device_type.point(name) if device_type is not None and name in index else Point(name, name.replace("_", " "))
        for name in series.metric_names
    ]
    lowest = np.array([point.hard[0] if point.hard else -LARGEST for point in points])
    highest = np.array([point.hard[1] if point.hard else LARGEST for point in points])
    not_finite = (series.count > 0) & ~np.isfinite(series.mean)
    outside = (series.minimum < lowest) | (series.maximum > highest)

    findings = []
    for j in np.flatnonzero((not_finite | outside).any(axis=0)):
        point, minimum, maximum = points[j], series.minimum[:, j], series.maximum[:, j]
        markers = () if device_type is None else _markers(device_type, point)
        fired = not_finite[:, j] | outside[:, j]
        sentence = _range_sentence(point, markers, not_finite[:, j], minimum, maximum)
        findings.append(_Finding(RANGE_LEVEL, fired, sentence, (point.name,)))
    return findings


def _range_sentence(
    point: Point, markers: tuple[float, ...], not_finite: Bool, minimum: Float64, maximum: Float64
) -> Callable[[int], str]:
    def sentence(i: int) -> str:
        if not_finite[i]:
            return f"{point.title} is not a finite number"
        for marker in markers:
            if marker in (minimum[i], maximum[i]):
                return f"{point.title} reads {marker:g}, the mark of a broken sensor"
        if point.hard is None:
            digits = int(np.log10(max(abs(minimum[i]), abs(maximum[i])))) + 1
            return f"{point.title} reads a number of {digits} digits, which no sensor does"
        low, high = point.hard
        if minimum[i] < low:
            return f"{point.title} {point.show(minimum[i])} is below its hard limit {show(low, point.unit)}"
        return f"{point.title} {point.show(maximum[i])} is above its hard limit {show(high, point.unit)}"

    return sentence


def _frozen_findings(series: SnapshotSeries, device_type: DeviceType, values: _Variables) -> list[_Finding]:
    """Analog sensors that repeat themselves to the digit while the machine runs and its other sensors move.

    Not judged are points that may hold by nature (commands, statuses, counters), and a sensor at zero or at an end of
    its normal or hard range: a closed valve, a full damper, a saturated humidity, a motor at rest. A reading beyond
    hard limits is a finding already.
    """
    watched = [
        device_type.point(name)
        for name in series.metric_names
        if name in device_type.index and not device_type.point(name).may_hold
        if device_type.point(name).kind == "analog"
    ]
    if len(watched) < 2:
        return []
    columns = [series.metric_names.index(point.name) for point in watched]
    minimum, maximum = series.minimum[:, columns], series.maximum[:, columns]
    reported = np.isfinite(minimum)
    still = minimum == maximum
    changed = np.empty_like(still)
    changed[0] = True
    changed[1:] = minimum[1:] != minimum[:-1]
    long_ms = device_type.frozen_windows * series.window_ms
    held = _held_ms(still, values.fresh[:, None] | changed, series) >= long_ms
    if not held.any():
        return []

    moving = (reported & ~held).sum(axis=1)
    eligible = (moving > 0) & (2 * moving >= reported.sum(axis=1) - 1)
    if "running" in device_type.conditions:
        running = values["running"].astype(np.bool_)
        eligible &= _held_ms(running, values.fresh, series) >= long_ms
    findings = []
    for j in np.flatnonzero(held.any(axis=0)):
        point = watched[j]
        low, high = point.hard or (-np.inf, np.inf)
        inside = (minimum[:, j] > low) & (minimum[:, j] < high)
        fired = held[:, j] & eligible & inside & ~np.isin(minimum[:, j], [0.0, *(point.normal or ())])
        findings.append(_Finding(FROZEN_LEVEL, fired, _frozen_sentence(point, minimum[:, j], long_ms), (point.name,)))
    return findings


def _frozen_sentence(point: Point, readings: Float64, held_ms: int) -> Callable[[int], str]:
    def sentence(i: int) -> str:
        minutes = show(held_ms / MINUTE_MS, "min")
        return (
            f"{point.title} has not moved from {show(readings[i], point.unit)} for {minutes} or more "
            "while other sensors did"
        )

    return sentence


def _rule_finding(rule: Rule, device_type: DeviceType, values: _Variables) -> _Finding | None:
    """Where a relationship's rule fired, or None where it nowhere did."""
    if not _metrics_read(device_type, rule) <= set(values.series.metric_names):
        return None
    fault = values.truth(rule.when)
    for name in rule.suppress:
        if not fault.any():
            return None
        fault &= ~values[name].astype(np.bool_)
        # Where it is not known whether the rule is suppressed, it is.
        for needed in _inputs(device_type, name):
            fault &= np.isfinite(values[needed])
    fired = fault & (_held_ms(fault, values.fresh, values.series) >= rule.for_minutes * MINUTE_MS)
    if not fired.any():
        return None
    return _Finding(rule.level, fired, _rule_sentence(rule, device_type, values), rule.metrics, rule)


def _rule_sentence(rule: Rule, device_type: DeviceType, values: _Variables) -> Callable[[int], str]:
    shown = [(name, device_type.quantity(name)) for name in message_fields(rule.message)]
    columns = {name: np.broadcast_to(values[name], len(values.series)) for name, _ in shown}

    def sentence(i: int) -> str:
        words = {name: quantity.show(float(columns[name][i])) for name, quantity in shown if quantity is not None}
        return f"{rule.message.format(**words)} ({rule.id})"

    return sentence


def _levels(findings: list[_Finding], rows: Int64) -> NDArray[np.int8]:
    """The most severe level that fired on each of k rows, int8 [k]; 0 where nothing did."""
    level = np.zeros(len(rows), dtype=np.int8)
    for finding in sorted(findings, key=lambda f: f.level):
        level[finding.fired[rows] & (level == 0)] = finding.level
    return level


def _verdicts(series: SnapshotSeries, findings: list[_Finding], rows: Int64 | None) -> Verdicts:
    rows = np.arange(len(series)) if rows is None else rows
    level = _levels(findings, rows)
    reasons: list[tuple[str, ...]] = [()] * len(rows)
    metrics: list[tuple[str, ...]] = [()] * len(rows)
    for finding in sorted(findings, key=lambda f: f.level):
        for i in np.flatnonzero(finding.fired[rows]).tolist():
            reasons[i] = (*reasons[i], finding.sentence(int(rows[i])))
            metrics[i] = (*metrics[i], *(name for name in finding.metrics if name not in metrics[i]))
    anomalous = level > 0
    score = np.where(anomalous, 5.0 - level, 0.0)
    return Verdicts("rules", series.times_ms[rows], score, anomalous, level, reasons, metrics)


def _fresh(series: SnapshotSeries) -> Bool:
    """Rows that nothing precedes within three windows, bool [n]."""
    fresh = np.ones(len(series), dtype=np.bool_)
    fresh[1:] = np.diff(series.times_ms) > GAP_WINDOWS * series.window_ms
    return fresh


def _held_ms(holds: Bool, breaks: Bool, series: SnapshotSeries) -> Int64:
    """For how long ``holds`` has been true up to the end of each window, 0 where it is not.

    Args:
        holds: bool [n] or [n, k].
        breaks: same shape or broadcast to it, rows at which the count starts anew although it holds.
        series: the snapshots, for their times and window.
    """
    starts = holds & breaks
    starts[1:] |= holds[1:] & ~holds[:-1]
    rows = np.arange(len(series)).reshape(-1, *[1] * (holds.ndim - 1))
    since = np.maximum.accumulate(np.where(starts, rows, 0), axis=0)
    times = series.times_ms.reshape(rows.shape)
    held: Int64 = np.where(holds, times - series.times_ms[since] + series.window_ms, 0)
    return held


def _day_mean(readings: Float64, series: SnapshotSeries) -> Float64:
    """Mean of the known readings of the 24 hours up to each row; NaN while fewer than half of the day's are known."""
    known = np.isfinite(readings)
    totals = np.concatenate([[0.0], np.cumsum(np.where(known, readings, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    first = np.searchsorted(series.times_ms, series.times_ms - DAY_MS, side="right")
    last = np.arange(1, len(series) + 1)
    count = counts[last] - counts[first]
    enough = count * series.window_ms >= DAY_COVERAGE * DAY_MS
    return np.where(enough, (totals[last] - totals[first]) / np.maximum(count, 1), np.nan)


def _markers(device_type: DeviceType, point: Point) -> tuple[float, ...]:
    """Values that mark a broken sensor of this point: those that no working sensor can read."""
    if point.hard is None:
        return ()
    low, high = point.hard
    return tuple(marker for marker in device_type.sentinels if not low <= marker <= high)


@lru_cache(maxsize=4096)
def _inputs(device_type: DeviceType, expression: str) -> frozenset[str]:
    """Readings that an expression rests on, through derived quantities and conditions; ``hour`` aside."""
    return device_type.inputs(expression) - {"hour"}


@lru_cache(maxsize=4096)
def _metrics_read(device_type: DeviceType, rule: Rule) -> frozenset[str]:
    """Metrics without which a rule can't be judged."""
    readings = frozenset().union(*(_inputs(device_type, expression) for expression in (rule.when, *rule.suppress)))
    quantities = (device_type.quantity(name) for name in readings)
    return frozenset(quantity.name for quantity in quantities if quantity is not None)


def _reached(device_type: DeviceType, expressions: tuple[str, ...]) -> set[str]:
    """All names that expressions use, directly or through derived quantities and conditions."""
    reached: set[str] = set()
    waiting = [name for expression in expressions for name in variables(expression)]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        if name in device_type.derived:
            waiting.extend(variables(device_type.derived[name].expression))
        condition = name.removeprefix(MINUTES)
        if condition in device_type.conditions:
            waiting.extend(variables(device_type.conditions[condition]))
    return reached
