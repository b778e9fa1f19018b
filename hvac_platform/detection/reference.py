"""Where each metric has recently been: levels that a state is compared with, along one record at a time."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.attribution import imputed, plausible
from hvac_platform.detection.frozen import Repetition, run_lengths
from hvac_platform.detection.observations import CARRIED_ROWS, Observations, carried_forward
from hvac_platform.detection.scaling import Scale
from hvac_platform.detection.smoothing import ewma, gathered_weight, restarted
from hvac_platform.detection.surprise import Surprise
from hvac_platform.detection.whitening import Whitening

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

RECENT_WEIGHT = 0.1
SUSTAINED_WEIGHTS = (0.1, 0.03)
RECENT_CLIP = 8.0
EPISODE_ROWS = 3
BRIEF_FROM_MS = 10_000
ODD = 6.0  # gross: an average would remember it for long


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of a record at its last row; m metrics.

    Attributes:
        time_ms: the row's time.
        label: its segment, or None.
        adapted: float64 [m], recent level as it was.
        plausible: float64 [m], recent level with outlying readings left out.
        odd_rows: how many rows in a row, up to here, were odd in themselves.
        age: rows since the plausible level began anew, or since the record began.
        begun_anew: whether it has; then ``plausible`` and ``cleared`` are weighted sums of the age + 1 rows since.
        sustained: float64 [2, m], averages of both sustained weights.
        cleared: float64 [2, m], the same, begun anew after each outlying episode.
        carried: float64 [m], last known readings, NaN for none.
        carried_age: int64 [m], rows since.
        run: int64 [m], run of equal readings.
        last: float64 [m], the row's readings.
        fast: float64 [2], fast surprise of the last two rows.
        slow: float64 [2], sustained surprise of the last two rows.
        smoothed: float64 [2], smoothed score and smoothed fast surprise.
        mode: number of the row's operating mode, or None.
        mode_rows: rows since it was entered.
    """

    time_ms: int
    label: str | None
    adapted: Float64
    plausible: Float64
    odd_rows: int
    age: int
    begun_anew: bool
    sustained: Float64
    cleared: Float64
    carried: Float64
    carried_age: Int64
    run: Int64
    last: Float64
    fast: Float64 = field(default_factory=lambda: np.zeros(2))
    slow: Float64 = field(default_factory=lambda: np.zeros(2))
    smoothed: Float64 = field(default_factory=lambda: np.zeros(2))
    mode: int | None = None
    mode_rows: int = 0


@dataclass(frozen=True, slots=True)
class Stuck:
    """How metrics usually repeat themselves, and the surprise above which one is stuck."""

    repetition: Repetition
    limit: float


@dataclass(frozen=True, slots=True)
class Trace:
    """n rows beside the levels that they are compared with; m metrics, all but runs and silent in robust sigmas.

    Attributes:
        level: float64 [n, m], the state z, missing metrics imputed.
        unknown: bool [n, m], which of them are: no reading in the last ten rows.
        usual: float64 [n, m], the state with outlying metrics replaced by what the others imply.
        adapted: float64 [n, m], recent level as it was.
        plausible: float64 [n, m], recent level with outlying readings left out.
        sustained: float64 [2, n, m], averages over about 10 and 30 rows.
        cleared: float64 [2, n, m], the same, begun anew after each outlying episode.
        state_surprise: float64 [n], surprise of the state alone.
        age: int64 [n], rows since the plausible level and the cleared averages began anew.
        runs: int64 [n, m], run of equal readings.
        still: float64 [n, m], surprise of each run; 0 where nothing tells whether a sensor is stuck.
        silent: bool [n], rows without any reading.
        memory: of the last row.
    """

    level: Float64
    unknown: NDArray[np.bool_]
    usual: Float64
    adapted: Float64
    plausible: Float64
    sustained: Float64
    cleared: Float64
    state_surprise: Float64
    age: Int64
    runs: Int64
    still: Float64
    silent: NDArray[np.bool_]
    memory: Memory

    def since(self, row: int) -> Trace:
        """Without the rows before one."""
        averages = {name: getattr(self, name)[:, row:] for name in ("sustained", "cleared")}
        others = {f.name: getattr(self, f.name)[row:] for f in fields(self) if f.name not in (*averages, "memory")}
        return Trace(**others, **averages, memory=self.memory)

    def against_adapted(self) -> Float64:
        """Features [z, z - adapted level], float64 [n, 2m]."""
        return self._features(self.adapted)

    def against_plausible(self) -> Float64:
        """Features [z, z - plausible level], float64 [n, 2m]."""
        return self._features(self.plausible)

    def _features(self, reference: Float64) -> Float64:
        return np.hstack([self.level, np.clip(self.level, -RECENT_CLIP, RECENT_CLIP) - reference])


def trace(
    observations: Observations,
    scale: Scale,
    levels: Whitening,
    ordinary: Surprise,
    before: Memory | None,
    stuck: Stuck | None = None,
    carry: Int64 | None = None,
) -> Trace:
    """Follow the records row by row; each row's levels rest on it and earlier rows of its stretch alone.

    Recent levels are averages with weight 0.1 of z clipped at ±8. The adapted one takes readings as they are and so gets
    used to a lasting change. The plausible one takes, for outlying metrics, what the others imply; so a fault
    neither pulls it along nor leaves a trace in it. What others imply is no guide where many metrics are at fault, so it
    starts afresh after three rows or more that were odd in themselves: a metric outlying, the whole state surprising, or a
    sensor stuck. So do the cleared averages, as a control chart is reset after a signal.

    Args:
        observations: the rows.
        scale: of the metrics.
        levels: covariance of z alone.
        ordinary: calibration of the whole state's distance under it.
        before: memory that the first stretch carries on from, or None.
        stuck: how to tell stuck sensors, or None to leave them out of account.
        carry: int64 [m], rows for which a reading of each metric counts; ten each when absent.
    """
    n, m = observations.values.shape
    values = observations.values
    limits = np.full(m, CARRIED_ROWS) if carry is None or not len(carry) else carry
    filled = carried_forward(values, observations.stretches, limits)
    if before is not None and n:
        filled = _carried_over(filled, before, observations.stretches[0].stop, limits)
    z = scale.apply(filled)
    unknown = ~np.isfinite(z)
    level = _completed(z, unknown, levels)
    clipped = np.clip(level, -RECENT_CLIP, RECENT_CLIP)
    usual_deviations, replaced = plausible(levels.deviations(clipped), levels.precision)
    usual = np.where(
        replaced[:, None] > 0, _undone(usual_deviations, levels), clipped
    )  # exact where nothing was replaced
    state_surprise = ordinary.of(np.linalg.norm(levels.apply(clipped), axis=1))
    no_run = np.zeros(m, dtype=np.int64)
    runs = run_lengths(
        values,
        observations.stretches,
        no_run if before is None else before.run,
        np.full(m, np.nan) if before is None else before.last,
    )
    odd = (replaced > 0) | (state_surprise > ODD)
    still = np.zeros((n, m)) if stuck is None else stuck.repetition.surprise(values, runs)
    if stuck is not None:
        odd |= still.max(axis=1, initial=0.0) > stuck.limit
    age = np.zeros(n, dtype=np.int64)
    odd_rows, begun_anew = 0, False
    adapted, followed = np.empty_like(level), np.empty_like(level)
    sustained = np.empty((len(SUSTAINED_WEIGHTS), n, m))
    cleared = np.empty_like(sustained)
    for position, stretch in enumerate(observations.stretches):
        rows = slice(stretch.start, stretch.stop)
        carried = before if position == 0 else None
        adapted[rows] = ewma(
            clipped[rows], RECENT_WEIGHT, clipped[stretch.start] if carried is None else carried.adapted
        )
        start = usual[stretch.start] if carried is None else carried.plausible
        average = ewma(usual[rows], RECENT_WEIGHT, start)
        restarts, odd_length, odd_rows = _restarts(odd[rows], 0 if carried is None else carried.odd_rows)
        age[rows] = _ages_since(restarts, None if carried is None else carried.age)
        gathered = carried.age + 1 if carried is not None and carried.begun_anew else 0
        begun_anew = bool(gathered or restarts.any())
        followed[rows] = restarted(average, RECENT_WEIGHT, restarts, start, gathered)
        # An odd row or two are no episode, after which averages begin anew, and yet they would be remembered for long. Where
        # rows are seconds apart, odd ones come thick and fast while something is wrong, and must add up.
        brief = (odd_length > 0) & (odd_length < EPISODE_ROWS) & (observations.interval_ms >= BRIEF_FROM_MS)
        lasting = np.where(brief[:, None], usual[rows], clipped[rows])
        for k, weight in enumerate(SUSTAINED_WEIGHTS):
            first = clipped[stretch.start]
            sustained[k, rows] = ewma(clipped[rows], weight, first if carried is None else carried.sustained[k])
            begin = first if carried is None else carried.cleared[k]
            cleared[k, rows] = restarted(ewma(lasting, weight, begin), weight, restarts, begin, gathered)
    silent = np.asarray(~np.isfinite(values).any(axis=1), dtype=np.bool_)
    ages = _ages(values, observations, before)
    weights = np.array([RECENT_WEIGHT, *SUSTAINED_WEIGHTS])[:, None]
    gathered_weights = gathered_weight(weights, age[-1] + 1) if begun_anew else np.ones_like(weights)
    memory = Memory(
        time_ms=int(observations.times_ms[-1]),
        label=observations.stretches[-1].label,
        adapted=adapted[-1],
        plausible=followed[-1] * gathered_weights[0],
        odd_rows=odd_rows,
        age=int(age[-1]),
        begun_anew=begun_anew,
        sustained=sustained[:, -1],
        cleared=cleared[:, -1] * gathered_weights[1:],
        carried=filled[-1],
        carried_age=ages,
        run=runs[-1],
        last=values[-1],
    )
    return Trace(
        level, unknown, usual, adapted, followed, sustained, cleared, state_surprise, age, runs, still, silent, memory
    )


def _completed(z: Float64, unknown: NDArray[np.bool_], levels: Whitening) -> Float64:
    if not unknown.any():
        return z
    deviations = levels.deviations(np.where(unknown, 0.0, z))
    completed = _undone(imputed(deviations, levels.precision, unknown), levels)
    return np.where(unknown, completed, z)


def _undone(deviations: Float64, levels: Whitening) -> Float64:
    """Features whose deviations these are."""
    features: Float64 = (deviations + levels.mean) * levels.scale.spread + levels.scale.centre
    return features


def _restarts(odd: NDArray[np.bool_], before: int) -> tuple[NDArray[np.bool_], Int64, int]:
    """Rows that follow three or more odd ones, bool [n]; odd rows up to each row, int64 [n], and up to the end."""
    if not before and not odd.any():
        return np.zeros(len(odd), dtype=np.bool_), np.zeros(len(odd), dtype=np.int64), 0
    rows = np.arange(len(odd))
    calm = np.maximum.accumulate(np.where(odd, -1, rows))
    length = np.where(odd, np.where(calm < 0, rows + 1 + before, rows - calm), 0)
    earlier = np.concatenate([[before], length[:-1]])
    return ~odd & (earlier >= EPISODE_ROWS), length, int(length[-1])


def _ages_since(restarts: NDArray[np.bool_], before: int | None) -> Int64:
    """Rows since the latest restart, or since the stretch began, int64 [n]."""
    rows = np.arange(len(restarts))
    latest = np.maximum.accumulate(np.where(restarts, rows, -1))
    ages: Int64 = np.where(latest >= 0, rows - latest, rows + (0 if before is None else before + 1))
    return ages


def _carried_over(filled: Float64, before: Memory, stop: int, limits: Int64) -> Float64:
    """Fill the first rows, up to ``stop``, from readings before them, while those are no older than so many rows."""
    head = filled[: min(int(limits.max()), stop)]
    if np.isfinite(head).all():
        return filled
    ages = before.carried_age[None, :] + np.arange(1, len(head) + 1)[:, None]
    unseen = np.maximum.accumulate(np.isfinite(head), axis=0) == 0
    usable = unseen & (ages <= limits) & np.isfinite(before.carried)[None, :]
    result = filled.copy()
    result[: len(head)] = np.where(usable, before.carried, head)
    return result


def _ages(values: Float64, observations: Observations, before: Memory | None) -> Int64:
    """Rows since each metric's last reading in the last stretch, int64 [m]."""
    last = observations.stretches[-1]
    known = np.isfinite(values[last.start : last.stop])
    since = np.where(known.any(axis=0), known[::-1].argmax(axis=0), len(known))
    if before is not None and len(observations.stretches) == 1:
        since = np.where(known.any(axis=0), since, len(known) + before.carried_age)
    ages: Int64 = since.astype(np.int64)
    return ages
