"""The newest row of many devices, each under its own detector: what :func:`examine_rows` says of each, worked out at once.

Live windows come one a device, and to judge one takes some hundred small steps of arrays. Here each step is taken for all
devices of as many metrics together. The figures are those of :func:`examine_rows`; rows that need more (a metric that is
missing or outlying, a gap) are left to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.alarms import AT_ONCE
from hvac_platform.detection.attribution import OUTLYING
from hvac_platform.detection.detector.explain import follows
from hvac_platform.detection.detector.judge import PRESENT, Examination, Judged, columns_of
from hvac_platform.detection.detector.statistics import (
    ALARM_CAP,
    CAP,
    NOW,
    SCORE_WEIGHT,
    SLOW_ROWS_FROM_MS,
    SUSTAINED,
    SUSTAINED_ROWS,
    settled_rows,
    situations_of,
)
from hvac_platform.detection.frozen import LEAST_RUN, RUN_MARGIN
from hvac_platform.detection.modes import LONG_AGO
from hvac_platform.detection.nearest import mean_nearest_distance, state_embeddings
from hvac_platform.detection.observations import CARRIED_ROWS, Observations
from hvac_platform.detection.reference import (
    EPISODE_ROWS,
    ODD,
    RECENT_CLIP,
    RECENT_WEIGHT,
    SUSTAINED_WEIGHTS,
    Memory,
)
from hvac_platform.detection.scaling import CLIP, Scale
from hvac_platform.detection.smoothing import gathered_weight
from hvac_platform.detection.surprise import LEAST_STATISTIC, SHARES, Surprise
from hvac_platform.detection.whitening import Whitening

if TYPE_CHECKING:
    from hvac_platform.detection.detector.model import FittedDetector

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


def examine_side_by_side(
    detectors: Sequence[FittedDetector], rows: Sequence[Observations], before: Sequence[Memory]
) -> list[tuple[Examination, Memory] | None]:
    """What :func:`~hvac_platform.detection.detector.judge.examine_rows` says of one row each.

    Args:
        detectors: of the devices.
        rows: one row of each device.
        before: what is remembered of the rows before.

    Returns:
        For each device what it says, or None where the row has to be examined by itself.
    """
    found: list[tuple[Examination, Memory] | None] = [None] * len(rows)
    alike: dict[tuple[int, int, bool], list[int]] = {}
    for i, (detector, observations, memory) in enumerate(zip(detectors, rows, before, strict=True)):
        if len(observations.values) == 1 and follows(detector, observations, memory):
            kind = (len(detector.metric_names), detector.interval_ms, detector.clock)
            alike.setdefault(kind, []).append(i)
    for members in alike.values():
        if len(members) > 1:
            examined = _examined(
                [detectors[i] for i in members], [rows[i] for i in members], [before[i] for i in members]
            )
            for i, answer in zip(members, examined, strict=True):
                found[i] = answer
    return found


class _Scales:
    """Scales of d devices."""

    def __init__(self, scales: Sequence[Scale]) -> None:
        self.centre = np.stack([scale.centre for scale in scales])
        self.spread = np.stack([scale.spread for scale in scales])

    def apply(self, values: Float64) -> Float64:
        scaled: Float64 = np.clip((values - self.centre) / self.spread, -CLIP, CLIP)
        return scaled


class _Whitenings:
    """Whitenings of d devices, of p features each."""

    def __init__(self, whitenings: Sequence[Whitening]) -> None:
        self.scale = _Scales([whitening.scale for whitening in whitenings])
        self.mean = np.stack([whitening.mean for whitening in whitenings])
        self.root = np.stack([whitening.root for whitening in whitenings])
        self.precision = np.stack([whitening.precision for whitening in whitenings])
        self.diagonal = np.diagonal(self.precision, axis1=1, axis2=2)

    def deviations(self, features: Float64) -> Float64:
        centred: Float64 = self.scale.apply(features) - self.mean
        return centred

    def white(self, deviations: Float64) -> Float64:
        return _products(deviations, self.root)

    def sigmas(self, deviations: Float64) -> Float64:
        sigmas: Float64 = _products(deviations, self.precision) / np.sqrt(self.diagonal)
        return sigmas


def _products(rows: Float64, matrices: Float64) -> Float64:
    """Each row times its matrix, float64 [d, p]."""
    product: Float64 = np.matmul(rows[:, None, :], matrices)[:, 0, :]
    return product


def _lengths(rows: Float64) -> Float64:
    lengths: Float64 = np.linalg.norm(rows, axis=1)
    return lengths


def _surprise(calibrations: Sequence[Surprise], statistic: Float64) -> Float64:
    """:meth:`Surprise.of` of one value each, float64 [d]."""
    bodies = np.stack([one.body for one in calibrations])
    shapes = np.array([one.shape for one in calibrations])
    last = bodies.shape[1] - 1
    place = np.clip((bodies <= statistic[:, None]).sum(axis=1) - 1, 0, last - 1)
    each = np.arange(len(statistic))
    low, high = bodies[each, place], bodies[each, place + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (SHARES[place + 1] - SHARES[place]) / (high - low)
        share = slope * (statistic - low) + SHARES[place]
    share = np.where(statistic <= bodies[:, 0], SHARES[0], share)
    share = np.where(statistic >= bodies[:, -1], SHARES[-1], share)
    threshold = np.maximum(bodies[:, -1], LEAST_STATISTIC)
    beyond = 1.0 + np.log(np.maximum(statistic / threshold, 1.0)) / (shapes * np.log(10.0))
    found: Float64 = np.where(statistic > threshold, beyond, -np.log10(1.0 - share))
    return found


@dataclass(frozen=True, slots=True)
class _Followed:
    """What :class:`~hvac_platform.detection.reference.Trace` has, of d devices' rows."""

    level: Float64
    clipped: Float64
    adapted: Float64
    plausible: Float64
    sustained: Float64
    cleared: Float64
    state_surprise: Float64
    age: Int64
    begun_anew: Bool
    odd_rows: Int64
    runs: Int64
    still: Float64
    filled: Float64
    carried_age: Int64
    alone: Bool


def _followed(
    detectors: Sequence[FittedDetector], values: Float64, before: Sequence[Memory], levels: _Whitenings
) -> _Followed:
    m = values.shape[1]
    known = np.isfinite(values)
    waited = np.stack([memory.carried_age for memory in before]) + 1
    carried = np.stack([memory.carried for memory in before])
    most = np.stack([x.carry if len(x.carry) else np.full(m, CARRIED_ROWS) for x in detectors])
    filled = np.where(~known & (waited <= most), carried, values)
    level = _Scales([detector.scale for detector in detectors]).apply(filled)
    clipped = np.clip(level, -RECENT_CLIP, RECENT_CLIP)
    deviations = levels.deviations(clipped)
    alone: Bool = np.asarray(
        ~np.isfinite(level).all(axis=1) | (np.abs(levels.sigmas(deviations)) > OUTLYING).any(axis=1), dtype=np.bool_
    )
    state_surprise = _surprise([x.surprises["level"] for x in detectors], _lengths(levels.white(deviations)))
    repeated = values == np.stack([memory.last for memory in before])
    runs = np.where(known, 1 + np.where(repeated, np.stack([memory.run for memory in before]), 0), 0)
    still = _still(detectors, values, runs)
    odd = (state_surprise > ODD) | (still.max(axis=1) > np.array([x.limits["frozen"] for x in detectors]))
    odd_before = np.array([memory.odd_rows for memory in before])
    restarts = ~odd & (odd_before >= EPISODE_ROWS)
    age_before = np.array([memory.age for memory in before])
    gathered = np.where([memory.begun_anew for memory in before], age_before + 1, 0)
    begin_plausible = np.stack([memory.plausible for memory in before])
    begin_sustained = np.stack([memory.sustained for memory in before], axis=1)
    begin_cleared = np.stack([memory.cleared for memory in before], axis=1)

    def anew(averaged: Float64, weight: float, begin: Float64) -> Float64:
        """:func:`~hvac_platform.detection.smoothing.restarted` of one row each."""
        total = np.where(restarts, gathered_weight(weight, np.int64(1)), gathered_weight(weight, gathered + 1))
        total = np.where(restarts | (gathered > 0), total, 1.0)[:, None]
        return np.where(restarts[:, None], averaged - (1.0 - total) * begin, averaged) / total

    return _Followed(
        level=level,
        clipped=clipped,
        adapted=_averaged(clipped, RECENT_WEIGHT, np.stack([memory.adapted for memory in before])),
        plausible=anew(_averaged(clipped, RECENT_WEIGHT, begin_plausible), RECENT_WEIGHT, begin_plausible),
        sustained=np.stack([_averaged(clipped, w, begin_sustained[k]) for k, w in enumerate(SUSTAINED_WEIGHTS)]),
        cleared=np.stack(
            [
                anew(_averaged(clipped, w, begin_cleared[k]), w, begin_cleared[k])
                for k, w in enumerate(SUSTAINED_WEIGHTS)
            ]
        ),
        state_surprise=state_surprise,
        age=np.where(restarts, 0, age_before + 1),
        begun_anew=(gathered > 0) | restarts,
        odd_rows=np.where(odd, odd_before + 1, 0),
        runs=runs,
        still=still,
        filled=filled,
        carried_age=np.where(known, 0, waited),
        alone=alone,
    )


def _averaged(values: Float64, weight: float, begin: Float64) -> Float64:
    """:func:`~hvac_platform.detection.smoothing.ewma` of one row each."""
    averaged: Float64 = weight * values + (1.0 - weight) * begin
    return averaged


def _still(detectors: Sequence[FittedDetector], values: Float64, runs: Int64) -> Float64:
    """:meth:`~hvac_platform.detection.frozen.Repetition.surprise` of one row each."""
    longest = np.stack([detector.repetition.longest for detector in detectors])
    log_repeat = np.stack([detector.repetition.log_repeat for detector in detectors])
    still = np.zeros(values.shape)
    long = (runs > np.maximum(RUN_MARGIN * longest, LEAST_RUN - 1)) & (log_repeat < 0)
    for i, j in zip(*np.nonzero(long), strict=True):
        if not (detectors[i].repetition.resting[j] == values[i, j]).any():
            still[i, j] = -(runs[i, j] - 1) * log_repeat[i, j]
    return still


def _examined(
    detectors: Sequence[FittedDetector], rows: Sequence[Observations], before: Sequence[Memory]
) -> list[tuple[Examination, Memory] | None]:
    """Rows of devices of as many metrics, at the same interval."""
    values = np.concatenate([observations.values for observations in rows])
    times = np.concatenate([observations.times_ms for observations in rows])
    interval_ms, clock = detectors[0].interval_ms, detectors[0].clock
    levels, states = (_Whitenings([getattr(x, name) for x in detectors]) for name in ("levels", "states"))
    averages = [_Whitenings([detector.averages[k] for detector in detectors]) for k in range(len(SUSTAINED_WEIGHTS))]
    with np.errstate(invalid="ignore"):  # of rows that are examined by themselves
        followed = _followed(detectors, values, before, levels)
        by_adapted = states.deviations(np.hstack([followed.level, followed.clipped - followed.adapted]))
        by_plausible = states.deviations(np.hstack([followed.level, followed.clipped - followed.plausible]))
        white, white_anew = states.white(by_adapted), states.white(by_plausible)
        length, length_anew = _lengths(white), _lengths(white_anew)
        near = state_embeddings(white, times, clock=clock)
        near_anew = state_embeddings(white_anew, times, clock=clock)
        differ = np.abs(white - white_anew).max(axis=1) > 1e-3
        neighbours = np.array([_nearest(x, near[i]) for i, x in enumerate(detectors)])
        neighbours_anew = np.array(
            [_nearest(x, near_anew[i]) if differ[i] else neighbours[i] for i, x in enumerate(detectors)]
        )
        statistics = {"profile": length, "neighbours": neighbours}
        anew = {"profile": length_anew, "neighbours": neighbours_anew}
        for k, whitening in enumerate(averages):
            for found, average in ((statistics, followed.sustained[k]), (anew, followed.cleared[k])):
                deviations = whitening.deviations(average)
                found[SUSTAINED[2 * k]] = _lengths(whitening.white(deviations))
                found[SUSTAINED[2 * k + 1]] = np.abs(whitening.sigmas(deviations)).max(axis=1)
        modes, since = _modes(detectors, followed.level, before)
        judged = _judged(
            detectors,
            rows,
            before,
            followed,
            statistics,
            anew,
            (modes, since),
            (states, by_adapted, by_plausible),
            averages[0],
        )
        deviations = levels.deviations(followed.clipped)
        scales = _Scales([detector.scale for detector in detectors])
        implied = deviations - _products(deviations, levels.precision) / levels.diagonal
        implied = (implied + levels.mean) * levels.scale.spread + levels.scale.centre
        implied = implied * scales.spread + scales.centre
        sigmas = np.where(np.isfinite(values), levels.sigmas(levels.deviations(followed.level)), 0.0)
        nearer = np.where((length <= length_anew)[:, None], near, near_anew)
        settling = np.where(
            followed.age < settled_rows(interval_ms),
            followed.state_surprise / np.array([detector.limits["now"] for detector in detectors]),
            np.inf,
        )
    silent = ~np.isfinite(values).any(axis=1)
    gathered = np.array([RECENT_WEIGHT, *SUSTAINED_WEIGHTS])[:, None]
    weights = np.where(followed.begun_anew, gathered_weight(gathered, followed.age + 1), 1.0)
    plausible, cleared = followed.plausible * weights[0][:, None], followed.cleared * weights[1:, :, None]
    answers: list[tuple[Examination, Memory] | None] = []
    for i, (detector, observations, memory) in enumerate(zip(detectors, rows, before, strict=True)):
        if followed.alone[i]:
            answers.append(None)
            continue
        one = slice(i, i + 1)
        own = Judged(*(getattr(judged, name)[one] for name in Judged.__dataclass_fields__))
        examination = Examination(
            columns=columns_of(detector, observations, silent[one], implied[one], own, np.zeros(1, dtype=np.bool_), ()),
            ratio=np.where(silent[one], 0.0, own.ratio),
            expected=implied[one],
            top=own.top,
            sigmas=sigmas[one],
            vectors=nearer[one],
            settling=settling[one],
            silent=silent[one],
            times_ms=observations.times_ms,
        )
        remembered = Memory(
            time_ms=int(times[i]),
            label=observations.stretches[-1].label,
            adapted=followed.adapted[i],
            plausible=plausible[i],
            odd_rows=int(followed.odd_rows[i]),
            age=int(followed.age[i]),
            begun_anew=bool(followed.begun_anew[i]),
            sustained=followed.sustained[:, i],
            cleared=cleared[:, i],
            carried=followed.filled[i],
            carried_age=followed.carried_age[i],
            run=followed.runs[i],
            last=values[i],
            fast=np.array([memory.fast[-1], own.fast[0]]),
            slow=np.array([memory.slow[-1], own.slow[0]]),
            smoothed=own.smoothed[0],
            mode=int(modes[i]),
            mode_rows=int(since[i]),
        )
        answers.append((examination, remembered))
    return answers


def _nearest(detector: FittedDetector, embedding: NDArray[np.float32]) -> float:
    return float(mean_nearest_distance(embedding[None, :], detector.normal)[0])


def _modes(detectors: Sequence[FittedDetector], level: Float64, before: Sequence[Memory]) -> tuple[Int64, Int64]:
    """Mode of each row, and rows since it was entered, int64 [d] each."""
    codes, since = np.zeros(len(detectors), dtype=np.int64), np.zeros(len(detectors), dtype=np.int64)
    for i, (detector, memory) in enumerate(zip(detectors, before, strict=True)):
        for k, switch in enumerate(detector.switches):
            j = detector.metric_names.index(switch.metric)
            value = level[i, j] * detector.scale.spread[j] + detector.scale.centre[j]
            codes[i] |= int(value > switch.threshold) << k
        if memory.mode is None:
            since[i] = LONG_AGO
        elif memory.mode == codes[i]:
            since[i] = memory.mode_rows + 1
    return codes, since


def _judged(
    detectors: Sequence[FittedDetector],
    rows: Sequence[Observations],
    before: Sequence[Memory],
    followed: _Followed,
    statistics: dict[str, Float64],
    anew: dict[str, Float64],
    modes: tuple[Int64, Int64],
    departures: tuple[_Whitenings, Float64, Float64],
    sustained: _Whitenings,
) -> Judged:
    """What :func:`~hvac_platform.detection.detector.judge.judge_rows` says of one row each."""
    states, by_adapted, by_plausible = departures
    interval_ms = detectors[0].interval_ms
    limits = {
        name: np.array([detector.limits[name] for detector in detectors]) for name in ("now", "sustained", "frozen")
    }
    situations = situations_of(*modes).tolist()
    calibrated = [x.within.get(str(s), x.surprises) for x, s in zip(detectors, situations, strict=True)]
    alarm = {name: np.minimum(statistics[name], anew[name]) for name in (*NOW, *SUSTAINED)}
    odd = {name: _surprise([one[name] for one in calibrated], alarm[name]) for name in alarm}
    factors = np.concatenate(
        [
            detector.contexts.factors(observations.times_ms)
            for detector, observations in zip(detectors, rows, strict=True)
        ]
    )
    by_now, by_sustained = factors[:, 0], factors[:, 1]
    fast = np.mean([np.minimum(odd[name], ALARM_CAP * by_now) for name in NOW], axis=0)
    slow = np.mean([np.minimum(odd[name], ALARM_CAP * by_sustained) for name in SUSTAINED], axis=0)
    fast = np.where(followed.age < settled_rows(interval_ms), np.minimum(fast, followed.state_surprise), fast)
    slow = np.where(followed.age < SUSTAINED_ROWS, np.minimum(slow, followed.state_surprise), slow)
    fast, slow = fast / by_now, slow / by_sustained
    if interval_ms >= SLOW_ROWS_FROM_MS:
        mean = (np.minimum(fast, CAP) + np.minimum(slow, CAP)) / 2.0
    else:
        plain = [_surprise([one[name] for one in calibrated], statistics[name]) for name in (*NOW, *SUSTAINED)]
        mean = np.mean([np.minimum(surprise, CAP) for surprise in plain], axis=0)
    begin = np.stack([memory.smoothed for memory in before])
    smoothed = _averaged(np.stack([mean, np.minimum(fast, CAP)], axis=1), SCORE_WEIGHT, begin)
    score, present = smoothed[:, 0], smoothed[:, 1]
    stillest = followed.still.max(axis=1)
    now = _persists(fast, limits["now"], np.stack([memory.fast for memory in before]))
    lasts = _persists(slow, limits["sustained"], np.stack([memory.slow for memory in before])) & (present > PRESENT)
    frozen = stillest > limits["frozen"]
    speaking = np.where(
        (statistics["profile"] <= anew["profile"])[:, None],
        _pair_contributions(states, by_adapted),
        _pair_contributions(states, by_plausible),
    )
    lasting = np.abs(sustained.sigmas(sustained.deviations(followed.sustained[0]))).argmax(axis=1)
    more_now = fast / limits["now"] >= slow / limits["sustained"]
    top = np.where(frozen, followed.still.argmax(axis=1), np.where(more_now, speaking.argmax(axis=1), lasting))
    c = np.sqrt(2.0 * followed.level.shape[1])
    ratio = np.maximum.reduce(
        [
            fast / limits["now"],
            np.where(present > PRESENT, slow / limits["sustained"], 0.0),
            np.minimum(stillest / limits["frozen"], ALARM_CAP),
        ]
    )
    return Judged(
        ratio=ratio,
        score=np.maximum(score, np.where(frozen, np.minimum(stillest, CAP), 0.0)),
        now=now,
        sustained=lasts,
        frozen=frozen,
        similarity=c / np.sqrt(c**2 + alarm["profile"] ** 2),
        distance=alarm["neighbours"],
        top=top,
        fast=fast,
        slow=slow,
        smoothed=smoothed,
        modes=modes[0],
        since=modes[1],
    )


def _persists(surprise: Float64, limit: Float64, before: Float64) -> Bool:
    """:func:`~hvac_platform.detection.alarms.persists` of one row each."""
    alarm: Bool = (surprise > limit) & (before > limit[:, None]).any(axis=1) | (surprise > AT_ONCE * limit)
    return alarm


def _pair_contributions(states: _Whitenings, deviations: Float64) -> Float64:
    """:func:`~hvac_platform.detection.attribution.pair_contributions` of one row each."""
    m = deviations.shape[1] // 2
    gradient = _products(deviations, states.precision)
    first, second = gradient[:, :m], gradient[:, m:]
    a, d = states.diagonal[:, :m], states.diagonal[:, m:]
    b = states.precision[:, np.arange(m), np.arange(m) + m]
    squared = (d * first**2 - 2.0 * b * first * second + a * second**2) / (a * d - b**2)
    return np.sqrt(np.maximum(squared, 0.0))
