"""Learning what is normal for a device, in five steps: choose, follow, describe, calibrate, remember."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hvac_platform.detection.alarms import budget_limit, margin_for_variation, persistent_level
from hvac_platform.detection.choosing_metrics import MOST_METRICS, NOT_CHOSEN, chosen_metrics
from hvac_platform.detection.contexts import Contexts, slot_factors
from hvac_platform.detection.detector.model import VERSION, FittedDetector
from hvac_platform.detection.detector.statistics import (
    NOW,
    SUSTAINED,
    combined,
    departures_of,
    modes_of,
    normal_states,
    row_statistics,
    situations_of,
    surprises_of,
    within_modes,
)
from hvac_platform.detection.frozen import fit_repetition
from hvac_platform.detection.holding import holding_errors
from hvac_platform.detection.modes import Switch, find_switches
from hvac_platform.detection.observations import (
    LONGEST_MS,
    SHORTEST_MS,
    Observations,
    Segments,
    Stretch,
    UnusableMetricsError,
    carried_forward,
    carry_limits,
    numeric_columns,
    observe,
)
from hvac_platform.detection.reference import Trace, trace
from hvac_platform.detection.rules import rule_lookback_ms
from hvac_platform.detection.scaling import Scale, robust_scale
from hvac_platform.detection.surprise import Surprise, fit_surprise
from hvac_platform.detection.whitening import HOURS, MINUTES, Drift, Whitening, fit_whitening
from hvac_platform.devices.registry import DeviceType
from hvac_platform.devices.registry import device_type as registered_type

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

DAY_MS = 86_400_000
LEAST_ROWS = 50
"""Fewer say nothing of how rare the oddest of them are."""
LEAST_KNOWN = 0.5
"""A metric that is missing more often than not would be judged by what the others imply of it."""
COUNTER_STEPS = 20
"""A metric that grew on so many occasions and never fell is a counter."""
NAMED = 20
"""So many metrics are named in an error."""
FOLDS = 5
"""Contiguous parts of the training, each judged by what was fitted on the others."""
STATE_CLIP = 8.0
"""Robust sigmas beyond which a metric is as odd as can be while the whole state is calibrated."""
CLOCK_DAYS = 2.0
"""From so many days on, the hour of the day is part of a state: of one day it would be the day itself."""
DRIFT_FROM_MS = 6 * 3_600_000
"""From trainings of so long on, what wandered is taken for weather and load, which will wander on."""
LEAST_LIMIT = 1.3
"""A surprise that one normal row in twenty has must not alarm, however calm the training was."""
MARGIN_SHORT = {"now": 2.0, "sustained": 1.75}
"""Factors on limits from a short training, see :func:`~hvac_platform.detection.alarms.margin_for_variation`."""
CLEANINGS, LEAST_CALM = 8, 0.7
"""Rows of the training that alarm by its own limits are left out of a second calibration, and so on, up to three in ten."""
MOST_RULE_ROWS = 1500
"""Rows of the training that are kept for rules that look back."""
CARRIED_ROWS = 50
"""A smoothed surprise of longer ago counts for nothing."""


def fit_detector(
    metrics: pd.DataFrame,
    *,
    device_type: str | DeviceType | None = None,
    segments: Segments | None = None,
    false_alarms_per_day: float = 1.0,
    timezone: str = "UTC",
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
        timezone: IANA name of the site's: daily start-ups keep local time.

    Raises:
        UnusableMetricsError: the table can't be learned from; the message says why.
    """
    declared = registered_type(device_type) if isinstance(device_type, str) else device_type
    if not 0 < false_alarms_per_day < float("inf"):
        raise UnusableMetricsError(f"false_alarms_per_day must be positive, not {false_alarms_per_day}")
    training = choose(metrics, declared, segments)
    path = follow(training)
    normal = describe(training, path)
    limits = calibrate(training, path, false_alarms_per_day, timezone)
    return remember(training, path, normal, limits, false_alarms_per_day)


@dataclass(frozen=True, slots=True)
class Training:
    """What is learned from: n rows of m metrics.

    Attributes:
        names: the m metrics that are judged.
        left_out: other columns, with the reason.
        declared: the device type, or None.
        observations: the rows.
        span_ms: time between the first and the last.
    """

    names: list[str]
    left_out: dict[str, str]
    declared: DeviceType | None
    observations: Observations
    span_ms: int


def choose(metrics: pd.DataFrame, declared: DeviceType | None, segments: Segments | None) -> Training:
    """First step: the metrics that can be judged, as arrays.

    Raises:
        UnusableMetricsError: none can be, or the rows are too far or too little apart.
    """
    names, left_out = judged_columns(metrics, declared)
    observations = observe(metrics, names, segments)
    if not SHORTEST_MS <= observations.interval_ms <= LONGEST_MS:
        raise UnusableMetricsError(
            f"rows are {observations.interval_ms / 1000:g} s apart; intervals from 1 s to 1 h can be judged"
        )
    times_ms = observations.times_ms
    return Training(names, left_out, declared, observations, int(times_ms.max() - times_ms.min()))


@dataclass(frozen=True, slots=True)
class Path:
    """The training beside the levels that its rows are compared with.

    Attributes:
        scale: robust centre and spread of each metric.
        levels: covariance of the scaled metrics.
        ordinary: calibration of the whole state's distance under it.
        followed: the rows and their levels.
        heard: int64 [k], rows with any reading.
        clock: whether the hour of the day is part of a state.
        drift: how much the states wander.
        switches: what tells operating modes apart.
        codes: int64 [n], mode of each row.
        since: int64 [n], rows since it was entered.
        situations: int64 [n], what each row is calibrated among.
        carry: int64 [m], rows for which a reading of each metric counts.
        errors: float64 [m], by which each metric may be off for being held, in robust sigmas.
    """

    scale: Scale
    levels: Whitening
    ordinary: Surprise
    followed: Trace
    heard: Int64
    clock: bool
    drift: Drift
    switches: tuple[Switch, ...]
    codes: Int64
    since: Int64
    situations: Int64
    carry: Int64
    errors: Float64

    @property
    def state_errors(self) -> Float64:
        """Of the state and its recent change, float64 [2m]."""
        return np.concatenate([self.errors, self.errors])


def follow(training: Training) -> Path:
    """Second step: each metric on its own scale, the levels that states are compared with, and operating modes.

    Raises:
        UnusableMetricsError: too few rows have any reading.
    """
    observations, names = training.observations, training.names
    scale = robust_scale(observations.values, *_declared_ranges(training.declared, names))
    carry = carry_limits(observations.times_ms, observations.values, observations.interval_ms)
    z = scale.apply(carried_forward(observations.values, observations.stretches, carry))
    known = np.where(np.isfinite(z), z, 0.0)
    # What a metric should read given the others: weather moves them together, which is just what that rests on.
    errors = holding_errors(observations.values) / scale.spread
    levels = fit_whitening(known, errors=errors)
    ordinary = fit_surprise(np.linalg.norm(levels.apply(np.clip(known, -STATE_CLIP, STATE_CLIP)), axis=1))
    followed = trace(observations, scale, levels, ordinary, None, carry=carry)
    heard = np.flatnonzero(~followed.silent)
    if len(heard) < LEAST_ROWS:
        raise UnusableMetricsError(f"{len(heard)} rows with readings, at least {LEAST_ROWS} are needed")
    switches = find_switches(observations.values[heard], names)
    codes, since = modes_of(switches, scale, names, followed, observations, None)
    return Path(
        scale=scale,
        levels=levels,
        ordinary=ordinary,
        followed=followed,
        heard=heard,
        clock=training.span_ms >= CLOCK_DAYS * DAY_MS,
        drift=HOURS if training.span_ms >= DRIFT_FROM_MS else MINUTES,
        switches=switches,
        codes=codes,
        since=since,
        situations=situations_of(codes, since),
        carry=carry,
        errors=errors,
    )


@dataclass(frozen=True, slots=True)
class Normal:
    """What normal looks like, from all rows: covariances of states and of both averages, and states to compare with."""

    states: Whitening
    averages: tuple[Whitening, Whitening]
    nearest: Float32


def describe(training: Training, path: Path) -> Normal:
    """Third step: the final model, of all rows."""
    features, heard = path.followed.against_plausible()[path.heard], path.heard
    # Averages remember a fault for much longer than it lasts. What began anew after it is as clean as the rows are.
    states = fit_whitening(features, path.drift, path.state_errors)
    fast, slow = (fit_whitening(average[heard], path.drift, path.errors) for average in path.followed.cleared)
    return Normal(
        states, (fast, slow), normal_states(states, features, training.observations.times_ms[heard], path.clock)
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """Calibration of each statistic, overall and within modes, and the surprise above which a row alarms."""

    surprises: Mapping[str, Surprise]
    within: Mapping[str, Mapping[str, Surprise]]
    limits: Mapping[str, float]
    contexts: Contexts


def calibrate(training: Training, path: Path, false_alarms_per_day: float, timezone: str = "UTC") -> Limits:
    """Fourth step: how rare each statistic is, by models that hadn't seen the row, and limits that hold the budget."""
    observations, followed, heard = training.observations, path.followed, path.heard
    interval_ms = observations.interval_ms
    plain = np.ones((len(observations.times_ms), 2))
    held_out = _cross_fitted(path, observations.times_ms)
    each = false_alarms_per_day / 2.0
    room = {name: margin_for_variation(short, training.span_ms, len(heard)) for name, short in MARGIN_SHORT.items()}
    # Faults in the training raise the limits that would find their like: what alarms by the limits doesn't calibrate them.
    calm = heard
    learned = slot_factors(observations.times_ms[heard], timezone)
    contexts = Contexts(timezone)
    for _ in range(1 + CLEANINGS):
        surprises = {name: fit_surprise(held_out[f"alarm {name}"][calm]) for name in (*NOW, *SUSTAINED)}
        within = within_modes(surprises, held_out, calm, path.situations)
        surprise = surprises_of(surprises, held_out, within, path.situations)
        fast, slow, _ = combined(
            surprise, followed.age, followed.state_surprise, observations.stretches, None, interval_ms, plain
        )
        alarming = {
            "now": persistent_level(fast, observations.stretches),
            "sustained": persistent_level(slow, observations.stretches),
        }
        limits, usual = {}, contexts.factors(observations.times_ms)
        for k, (name, level) in enumerate(alarming.items()):
            limits[name] = max(LEAST_LIMIT, budget_limit((level / usual[:, k])[calm], interval_ms, each))
        limits = {name: room[name] * limit for name, limit in limits.items()}
        # By every row, left out or not: what recurs at its time of the day is mostly odd by the limit of other times.
        contexts = Contexts(timezone, *(learned(level[heard], limits[name]) for name, level in alarming.items()))
        odd = np.any([level > limits[name] for name, level in alarming.items()], axis=0)
        ordinary_rows = heard[~odd[heard]]
        if len(ordinary_rows) == len(calm) or len(ordinary_rows) < LEAST_CALM * len(heard):
            break
        calm = ordinary_rows
    # Bonferroni over metrics and rows, at a tenth of the budget: runs are rare events with a known probability.
    rows_per_day = DAY_MS / observations.interval_ms
    limits["frozen"] = float(np.log10(10.0 * len(training.names) * rows_per_day / false_alarms_per_day))
    return Limits(surprises, within, limits, contexts)


def remember(
    training: Training, path: Path, normal: Normal, limits: Limits, false_alarms_per_day: float
) -> FittedDetector:
    """Fifth step: the detector, with where the training ended, so that rows that follow it carry on from there."""
    observations, followed, declared = training.observations, path.followed, training.declared
    keep = 0
    if declared is not None:
        last = observations.stretches[-1]
        needed = rule_lookback_ms(declared, observations.interval_ms) // observations.interval_ms + 1
        keep = min(MOST_RULE_ROWS, needed, last.stop - last.start)
    # What is remembered is what the final model says of the last rows, not what it said before it had seen them.
    n = len(observations.times_ms)
    end = slice(max(observations.stretches[-1].start, n - CARRIED_ROWS), n)
    departures = departures_of(followed, normal.states, end)
    statistics = row_statistics(
        followed, departures, observations.times_ms, normal.averages, normal.nearest, path.clock, end
    )
    fast, slow, smoothed = combined(
        surprises_of(limits.surprises, statistics, limits.within, path.situations[end]),
        followed.age[end],
        followed.state_surprise[end],
        (Stretch(0, end.stop - end.start, None),),
        None,
        observations.interval_ms,
        limits.contexts.factors(observations.times_ms[end]),
    )
    memory = replace(
        followed.memory,
        fast=np.r_[0.0, 0.0, fast][-2:],
        slow=np.r_[0.0, 0.0, slow][-2:],
        smoothed=smoothed[-1],
        mode=int(path.codes[-1]),
        mode_rows=int(path.since[-1]),
    )
    return FittedDetector(
        metric_names=tuple(training.names),
        left_out=training.left_out,
        device_type=None if declared is None else declared.name,
        interval_ms=observations.interval_ms,
        false_alarms_per_day=false_alarms_per_day,
        scale=path.scale,
        levels=path.levels,
        states=normal.states,
        averages=normal.averages,
        normal=normal.nearest,
        clock=path.clock,
        surprises={**limits.surprises, "level": path.ordinary},
        limits=limits.limits,
        switches=path.switches,
        within=limits.within,
        repetition=fit_repetition(observations.values, followed.runs),
        memory=memory,
        recent_times_ms=observations.times_ms[n - keep :],
        recent_values=observations.values[n - keep :],
        carry=path.carry,
        contexts=limits.contexts,
        version=VERSION,
    )


def judged_columns(metrics: pd.DataFrame, declared: DeviceType | None) -> tuple[list[str], dict[str, str]]:
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
        known = len(column) / len(metrics)
        if known < LEAST_KNOWN and len(column) >= LEAST_ROWS:  # read at a slower pace, perhaps
            known = _carried_share(metrics.index, metrics[name].to_numpy(dtype=np.float64, na_value=np.nan))
        if known < LEAST_KNOWN:
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


def _carried_share(index: pd.Index, column: Float64) -> float:
    """Share of the rows in which a metric is known where its readings count for as long as their pace says."""
    times_ms = np.asarray(pd.DatetimeIndex(index).tz_convert("UTC").as_unit("ms").asi8, dtype=np.int64)
    ascending = np.maximum.accumulate(times_ms)
    interval = max(1, int(np.median(np.diff(ascending))))
    (limit,) = carry_limits(ascending, column[:, None], interval).tolist()
    rows = np.arange(len(column))
    last = np.maximum.accumulate(np.where(np.isfinite(column), rows, -1))
    return float(np.mean((last >= 0) & (rows - last <= limit)))


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


def _cross_fitted(path: Path, times_ms: NDArray[np.int64]) -> dict[str, Float64]:
    """Statistics of each row under a model that was fitted to other rows: five contiguous folds."""
    followed, clock = path.followed, path.clock
    features = followed.against_plausible()
    folds = np.array_split(path.heard, FOLDS)
    result: dict[str, Float64] = {}
    for k, fold in enumerate(folds):
        others = np.concatenate([f for i, f in enumerate(folds) if i != k])
        states = fit_whitening(features[others], path.drift, path.state_errors)
        averages = [fit_whitening(average[others], path.drift, path.errors) for average in followed.cleared]
        normal = normal_states(states, features[others], times_ms[others], clock)
        departures = departures_of(followed, states, fold)
        for name, values in row_statistics(followed, departures, times_ms, averages, normal, clock, fold).items():
            result.setdefault(name, np.zeros(len(times_ms)))[fold] = values
    return result
