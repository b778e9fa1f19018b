"""Operating modes of a machine, found from its data: when the machine does what, and what is usual then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

#: Switches that together make up a mode, at most; modes rarer than a hundredth of the time are not told apart.
MOST_SWITCHES, LEAST_SHARE = 3, 0.01
#: A metric with so few values is a switch by itself.
MOST_VALUES = 3
#: Two clusters of an analog metric are distinct from this share of variance between them; a uniform one has 0.75.
LEAST_SEPARATION = 0.85
LEAST_SIDE = 0.05
#: Switches that agree more than this (absolute correlation) are one.
SAME = 0.8
LEAST_ROWS = 50
LONG_AGO = 1_000_000


@dataclass(frozen=True, slots=True)
class Switch:
    """A metric that tells modes apart: up to ``threshold`` it is low (off), above high (on)."""

    metric: str
    threshold: float
    discrete: bool

    def states(self, column: Float64) -> Float64:
        """0 low, 1 high, NaN unknown; float64 [n]."""
        return np.where(np.isfinite(column), (column > self.threshold).astype(np.float64), np.nan)

    def name(self, high: bool) -> str:
        """The state in words, e.g. ``compressor_status on`` or ``power high``."""
        words = ("off", "on") if self.discrete else ("low", "high")
        return f"{self.metric} {words[high]}"


@dataclass(frozen=True, slots=True)
class Mode:
    """One way in which a machine runs.

    Attributes:
        name: its switches' states in words; ``all`` where the machine has one mode.
        number: as :func:`mode_codes` gives it.
        share: share of the rows.
        episodes: how often it was entered.
        centre: median of every metric in it.
    """

    name: str
    number: int
    share: float
    episodes: int
    centre: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Modes:
    """The modes of a machine, the most usual first, and the switches that tell them apart."""

    switches: tuple[Switch, ...]
    modes: tuple[Mode, ...]

    def label(self, metrics: pd.DataFrame) -> pd.Series:
        """Name of the mode of each row, [n]; missing where a switch has no reading. Rests on the row alone."""
        columns = [switch.metric for switch in self.switches]
        codes = mode_codes(self.switches, metrics[columns].to_numpy(dtype=np.float64), columns)
        labels = np.array([*_names(self.switches), None], dtype=object)[codes]  # -1 is the last: unknown
        return pd.Series(labels, index=metrics.index, dtype=object, name="mode")


def find_modes(metrics: pd.DataFrame) -> Modes:
    """Modes of a machine from its normal rows.

    Args:
        metrics: n >= 50 rows, one numeric column a metric.

    >>> on = np.tile([0.0, 0.0, 1.0, 1.0], 30)
    >>> for mode in find_modes(pd.DataFrame({"kw": 2.0 + 8.0 * on, "fan_status": on})).modes:
    ...     print(mode.name, mode.share, mode.episodes, mode.centre["kw"])
    fan_status off 0.5 30 2.0
    fan_status on 0.5 30 10.0

    Raises:
        ValueError: fewer than 50 rows.
    """
    if len(metrics) < LEAST_ROWS:
        raise ValueError(f"{len(metrics)} rows, at least {LEAST_ROWS} are needed to tell modes")
    return modes_of(metrics, find_switches(metrics.to_numpy(dtype=np.float64), [str(name) for name in metrics.columns]))


def find_switches(values: Float64, names: Sequence[str]) -> tuple[Switch, ...]:
    """What tells a machine's modes apart: at most three metrics.

    A metric is a switch where it has two or three values (a status), or where its values form two clusters: Otsu's
    threshold (IEEE Trans. Syst. Man Cybern. 9, 1979) with 85 % of the variance between the two sides and 5 % of the rows on
    either. Of switches that go together only the first counts: statuses before others, then the best separated, then by
    name.

    Args:
        values: float64 [n, m] of normal rows, NaN where missing.
        names: the m metrics.
    """
    candidates = []
    for j, name in enumerate(names):
        if (found := _switch(name, values[:, j])) is not None:
            candidates.append((found[0], found[1], j))
    candidates.sort(key=lambda c: (not c[0].discrete, -c[1], c[0].metric))
    chosen: list[Switch] = []
    states: list[Float64] = []
    for switch, _, j in candidates:
        state = switch.states(values[:, j])
        if len(chosen) < MOST_SWITCHES and all(_agreement(state, other) < SAME for other in states):
            chosen.append(switch)
            states.append(state)
    return tuple(chosen)


def modes_of(metrics: pd.DataFrame, switches: tuple[Switch, ...]) -> Modes:
    """The modes that switches tell apart, the most usual first.

    Args:
        metrics: n >= 1 rows, one numeric column a metric.
        switches: from :func:`find_switches`.
    """
    columns = [switch.metric for switch in switches]
    codes = mode_codes(switches, metrics[columns].to_numpy(dtype=np.float64), columns)
    known = codes[codes >= 0]
    first = np.r_[True, codes[1:] != codes[:-1]][codes >= 0]
    names = _names(switches)
    modes = [
        Mode(
            names[number],
            number,
            float(np.mean(known == number)),
            int(np.count_nonzero(first & (known == number))),
            {str(k): float(v) for k, v in metrics[codes == number].median().items()},
        )
        for number in np.unique(known).tolist()
    ]
    common = [mode for mode in modes if mode.share >= LEAST_SHARE]
    return Modes(switches, tuple(sorted(common, key=lambda mode: (-mode.share, mode.name))))


def mode_codes(switches: Sequence[Switch], values: Float64, names: Sequence[str]) -> Int64:
    """Mode of each row as a number, bit k for switch k; int64 [n], -1 where a switch has no reading.

    Args:
        switches: what tells the modes apart.
        values: float64 [n, m].
        names: the m metrics.
    """
    codes, unknown = np.zeros(len(values), dtype=np.int64), np.zeros(len(values), dtype=np.bool_)
    for k, switch in enumerate(switches):
        state = switch.states(values[:, names.index(switch.metric)])
        unknown |= np.isnan(state)
        codes += (state > 0).astype(np.int64) << k  # NaN is not
    return np.where(unknown, -1, codes)


def rows_in_mode(codes: Int64, starts: Sequence[int], before: tuple[int, int] | None = None) -> Int64:
    """Rows since each row's mode was entered, int64 [n]; 0 for the first in it.

    Where a record begins, it isn't known when its mode was entered, nor is there a level from before to lag behind: it
    counts as entered :data:`LONG_AGO` rows earlier.

    Args:
        codes: int64 [n] from :func:`mode_codes`.
        starts: first row of each unbroken stretch.
        before: mode of the row before the first, and rows since it was entered; None where there is none.

    >>> rows_in_mode(np.array([0, 0, 1, 1, 1, 0]), [0], before=(0, 7)).tolist()
    [8, 9, 0, 1, 2, 0]
    """
    rows = np.arange(len(codes))
    begun = np.array(starts, dtype=np.int64)
    enters = np.ones(len(codes), dtype=np.bool_)
    enters[1:] = codes[1:] != codes[:-1]
    enters[begun] = True
    entered = rows.copy()
    entered[begun] -= LONG_AGO
    if before is not None and len(codes):
        entered[0] = -before[1] - 1 if before[0] == codes[0] else 0
    return rows - entered[np.maximum.accumulate(np.where(enters, rows, 0))]


def _switch(name: str, column: Float64) -> tuple[Switch, float] | None:
    """The switch that a metric is, and how separated its sides are; None where it is none."""
    known = column[np.isfinite(column)]
    places, counts = np.unique(known, return_counts=True)
    if len(places) < 2:
        return None
    if len(places) <= MOST_VALUES:
        threshold = float(places[:2].mean())
        sides = np.array([counts[places <= threshold].sum(), counts[places > threshold].sum()]) / len(known)
        return (Switch(name, threshold, True), 1.0) if sides.min() >= LEAST_SHARE else None
    threshold, separation = _otsu(np.sort(known))
    return (Switch(name, threshold, False), separation) if separation >= LEAST_SEPARATION else None


def _otsu(ordered: Float64) -> tuple[float, float]:
    """Threshold with the most variance between its sides, of those with 5 % on either; and that share of variance."""
    n = len(ordered)
    centred = ordered - ordered.mean()
    below = np.arange(1, n)
    sums = np.cumsum(centred)[:-1]
    between = sums**2 / (below * (n - below)) * n / max(float((centred**2).sum()), 1e-300)
    allowed = (below >= LEAST_SIDE * n) & (below <= (1.0 - LEAST_SIDE) * n) & (ordered[1:] > ordered[:-1])
    if not allowed.any():
        return float(ordered[0]), 0.0
    best = int(np.where(allowed, between, -1.0).argmax())
    return float((ordered[best] + ordered[best + 1]) / 2.0), round(float(between[best]), 6)


def _agreement(one: Float64, other: Float64) -> float:
    known = np.isfinite(one) & np.isfinite(other)
    if known.sum() < 2 or np.ptp(one[known]) == 0.0 or np.ptp(other[known]) == 0.0:
        return 1.0
    return float(abs(np.corrcoef(one[known], other[known])[0, 1]))


def _names(switches: Sequence[Switch]) -> list[str]:
    """Names of all modes that the switches tell apart, by number."""
    return [
        ", ".join(switch.name(bool(number >> k & 1)) for k, switch in enumerate(switches)) or "all"
        for number in range(1 << len(switches))
    ]
