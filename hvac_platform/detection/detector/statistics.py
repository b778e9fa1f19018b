"""What is calibrated and combined: statistics of a row, and their surprise within its operating mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.attribution import conditional_sigmas
from hvac_platform.detection.modes import MOST_SWITCHES, Switch, mode_codes, rows_in_mode
from hvac_platform.detection.nearest import mean_nearest_distance, state_embeddings
from hvac_platform.detection.observations import Observations, Stretch
from hvac_platform.detection.reference import Memory, Trace
from hvac_platform.detection.scaling import Scale
from hvac_platform.detection.smoothing import ewma
from hvac_platform.detection.surprise import Surprise, fit_surprise, towards
from hvac_platform.detection.whitening import Whitening

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

NOW = ("profile", "neighbours")
"""Statistics of the row itself: T² of its state, and its distance to the nearest normal states."""
SUSTAINED = ("sustained profile 10", "sustained metric 10", "sustained profile 30", "sustained metric 30")
"""Statistics of averages over about 10 and 30 rows: T², and the largest conditional deviation of any metric."""
NORMAL_STATES = 1000
"""Enough that the distance to the nearest five is that among all, few enough to search at every row."""
NORMAL_SURPRISE = 2.5
"""States odder than one in 300 are not among those that others are compared with."""
CAP, ALARM_CAP = 5.0, 10.0
"""Largest surprise that counts in a score, and in an alarm: beyond, it is far off in any case."""
SCORE_WEIGHT = 0.5
"""Of the newest row in the score's average: two rows decide it, as two of three decide the alarm."""
LEAST_MODE_ROWS, LEAST_MODE_EPISODES, ENTERED_ROWS = 500, 5, 10
"""A mode is calibrated by itself from so many rows in so many episodes on; its first ten rows each time by themselves."""
RECENT_ROWS, SETTLED_ROWS, SUSTAINED_ROWS = 10, 20, 30
"""Rows that a level needs to settle: see :func:`settled_rows`; the slower average needs the most."""
SLOW_ROWS_FROM_MS = 10_000
"""From such an interval on, load and weather drift noticeably while a level settles."""
MINUTES_TO_MS = 120_000
"""Up to such an interval 30 rows are an hour at most, and may be waited for without missing the next fault."""


@dataclass(frozen=True, slots=True)
class Departure:
    """How n rows depart from one kind of recent level.

    Attributes:
        deviations: float64 [n, 2m], of state and change.
        white: float64 [n, 2m], white coordinates.
        length: float64 [n], of the white coordinates: root of T².
    """

    deviations: Float64
    white: Float64
    length: Float64


@dataclass(frozen=True, slots=True)
class Departures:
    """How rows depart from the adapted level and from the plausible one; the same object where the levels are equal."""

    adapted: Departure
    plausible: Departure

    @property
    def nearer(self) -> Float64:
        """White coordinates against the level that each row departs from less, float64 [n, 2m]."""
        if self.plausible is self.adapted:
            return self.adapted.white
        return np.where(
            (self.adapted.length <= self.plausible.length)[:, None], self.adapted.white, self.plausible.white
        )


def departures_of(followed: Trace, states: Whitening, rows: NDArray[np.int64] | slice = slice(None)) -> Departures:
    """Departures of some rows."""
    adapted = _departure(states, followed.against_adapted()[rows])
    if np.array_equal(followed.adapted[rows], followed.plausible[rows]):  # no outlying reading of late
        return Departures(adapted, adapted)
    return Departures(adapted, _departure(states, followed.against_plausible()[rows]))


def _departure(states: Whitening, features: Float64) -> Departure:
    deviations = states.deviations(features)
    white = deviations @ states.root
    return Departure(deviations, white, np.linalg.norm(white, axis=1))


def row_statistics(
    followed: Trace,
    departures: Departures,
    times_ms: NDArray[np.int64],
    averages: Sequence[Whitening],
    normal: Float32,
    clock: bool,
    rows: NDArray[np.int64] | slice = slice(None),
) -> dict[str, Float64]:
    """Uncalibrated statistics of some rows, each float64 [n].

    For the alarm a row counts as odd only as far as it is odd against levels and averages of both kinds: those that take
    readings as they are forgive a slow drift, those that began anew forgive what a past fault has left in the others. What
    both kinds say alike is one array under both names.

    Args:
        followed: rows beside their levels.
        departures: of the chosen rows.
        times_ms: int64, of all rows.
        averages: covariances of the two sustained averages.
        normal: float32 [k, 2m + 3], embeddings of normal states.
        clock: whether the hour of the day is part of them.
        rows: the n chosen rows.
    """
    times = times_ms[rows]
    by_adapted, by_plausible = departures.adapted.white, departures.plausible.white
    found = {"profile": departures.adapted.length}
    anew = {"profile": departures.plausible.length}
    found["neighbours"] = mean_nearest_distance(state_embeddings(by_adapted, times, clock=clock), normal)
    anew["neighbours"] = found["neighbours"]
    if departures.plausible is not departures.adapted:
        anew["neighbours"] = found["neighbours"].copy()
        differ = np.flatnonzero(np.abs(by_adapted - by_plausible).max(axis=1, initial=0.0) > 1e-3)
        embedded = state_embeddings(by_plausible[differ], times[differ], clock=clock)
        anew["neighbours"][differ] = mean_nearest_distance(embedded, normal)
    for k, whitening in enumerate(averages):
        names = SUSTAINED[2 * k : 2 * k + 2]
        sustained, cleared = followed.sustained[k][rows], followed.cleared[k][rows]
        as_they_are = dict(zip(names, _distances(whitening, sustained), strict=True))
        found |= as_they_are
        anew |= (
            as_they_are
            if np.array_equal(sustained, cleared)
            else dict(zip(names, _distances(whitening, cleared), strict=True))
        )
    found |= {
        f"alarm {name}": found[name] if anew[name] is found[name] else np.minimum(found[name], anew[name])
        for name in anew
    }
    return found | {"adapted wins": (found["profile"] <= anew["profile"]).astype(np.float64)}


def _distances(whitening: Whitening, average: Float64) -> tuple[Float64, Float64]:
    """Root of T², and the largest conditional deviation of any metric, of n averages; each float64 [n]."""
    deviations = whitening.deviations(average)
    largest = np.abs(conditional_sigmas(deviations, whitening.precision)).max(axis=1)
    return np.linalg.norm(deviations @ whitening.root, axis=1), largest


def modes_of(
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


def situations_of(codes: Int64, since: Int64) -> Int64:
    """What a row is calibrated among, int64 [n]: its mode, and whether that was entered so lately that levels lag behind."""
    return np.where((codes >= 0) & (since < ENTERED_ROWS), codes + (1 << MOST_SWITCHES), codes)


def within_modes(
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


def surprises_of(
    surprises: Mapping[str, Surprise],
    statistics: Mapping[str, Float64],
    within: Mapping[str, Mapping[str, Surprise]],
    situations: Int64,
) -> dict[str, Float64]:
    """Surprise of every statistic, also as the alarm takes it, each float64 [n]; within the mode where it is calibrated."""
    found: dict[str, Float64] = {}
    present = {str(number) for number in dict.fromkeys(situations.tolist())}
    members = {known: np.flatnonzero(situations == int(known)) for known in within if known in present}
    others = np.flatnonzero(~np.isin(situations, [int(known) for known in members]))
    for prefix in ("", "alarm "):
        for name in (*NOW, *SUSTAINED):
            statistic = statistics[f"{prefix}{name}"]
            if prefix and statistic is statistics[name]:
                found[f"{prefix}{name}"] = found[name]
                continue
            surprise = np.empty(len(statistic))
            if len(others):
                surprise[others] = surprises[name].of(statistic[others])
            for situation, rows in members.items():
                surprise[rows] = within[situation][name].of(statistic[rows])
            found[f"{prefix}{name}"] = surprise
    return found


def combined(
    surprise: Mapping[str, Float64],
    age: NDArray[np.int64],
    state_surprise: Float64,
    stretches: Sequence[Stretch],
    before: Memory | None,
    interval_ms: int,
    factors: Float64,
) -> tuple[Float64, Float64, Float64]:
    """Fast and sustained surprise of the alarm, float64 [n]; smoothed score and fast surprise, float64 [n, 2].

    A level or an average that has only begun is as noisy as its first row, and lags less behind a drift than in the
    training. Until it has settled, the alarm believes it only as far as the state alone is odd.

    The score is the mean of both. Where rows are less than ten seconds apart it is the mean of all statistics as they are:
    what a past fault left in the averages is over within seconds there, and to leave it out would cost more than it mends.

    Both are divided by ``factors`` [n, 2], by which more is usual at each row's time of day.
    """
    by_now, by_sustained = factors[:, 0], factors[:, 1]
    fast = np.mean([np.minimum(surprise[f"alarm {name}"], ALARM_CAP * by_now) for name in NOW], axis=0)
    slow = np.mean([np.minimum(surprise[f"alarm {name}"], ALARM_CAP * by_sustained) for name in SUSTAINED], axis=0)
    fast = np.where(age < settled_rows(interval_ms), np.minimum(fast, state_surprise), fast)
    slow = np.where(age < SUSTAINED_ROWS, np.minimum(slow, state_surprise), slow)
    fast, slow = fast / by_now, slow / by_sustained
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

    An average with weight w lags 1/w - 1 = 9 rows behind a drift, one that began k rows ago by k·r^k/(1 - r^k)
    less, r = 1 - w: at 10 rows it has reached 40 % of its lag, at 20 rows 69 %. Where a row stands for ten seconds
    or more, load and weather drift noticeably within so many rows, and 20 are waited for; between faster rows they
    don't. A machine's own loops settle as slowly as the level does: where rows are two minutes apart or less, 30
    rows are waited for, at which it has reached 85 % of its lag.
    """
    if interval_ms < SLOW_ROWS_FROM_MS:
        return RECENT_ROWS
    return SUSTAINED_ROWS if interval_ms <= MINUTES_TO_MS else SETTLED_ROWS


def normal_states(states: Whitening, features: Float64, times_ms: NDArray[np.int64], clock: bool) -> Float32:
    """Embeddings of at most a thousand normal states; the oddest rows of the training are not among them."""
    white = states.apply(features)
    distance = np.linalg.norm(white, axis=1)
    ordinary = np.flatnonzero(fit_surprise(distance).of(distance) <= NORMAL_SURPRISE)
    chosen = ordinary[np.unique(np.linspace(0, len(ordinary) - 1, min(NORMAL_STATES, len(ordinary))).astype(np.int64))]
    return state_embeddings(white[chosen], times_ms[chosen], clock=clock)
