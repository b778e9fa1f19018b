"""What is new on a machine and lasts: the evidence that says whether it is another way of running well, or a fault.

Arrays in, sentences out. A change of weather, a moved setpoint, another schedule, an exchanged sensor: the machine is as
sound as before, and to go on alarming helps nobody. A fault that lasts looks the same to a detector. What tells them apart
is stated, one piece of evidence after the other, and what speaks against learning outweighs all that speaks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.rules import URGENT_LEVEL, rule_firings
from hvac_platform.devices.registry import DeviceType, Rule
from hvac_platform.snapshots import SnapshotSeries

if TYPE_CHECKING:
    from hvac_platform.detection.fault_kinds import LikelyKind

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int64 = NDArray[np.int64]

DAY_MS = 86_400_000
LEAST_SHARE = 0.01
"""A day belongs to a change where so many of its windows are flagged: a quarter of an hour of a whole day."""
SAME_WAY = 0.5
"""Cosine of the deviations of two days from which on they are of one change."""
RULE_SHARE = 0.05
"""Share of the windows of a change that a rule may speak against."""
LIKE_FAULT, LIKE_FAULT_SETPOINT = 0.8, 0.88
"""Similarity to a kind of fault that speaks against learning; a setpoint that was moved resembles some kinds a little."""
RARE = 0.1
ALONE, EXCHANGED = 0.93, 0.85
"""Cosine to the signature of one wrong sensor from which on the sensor is what has changed, and not the machine; of a sensor
that paused when the change began."""
EXCHANGE_WINDOWS, EXCHANGE_MS = 2, 5 * 60_000
"""So many windows, and so long, without a reading of a sensor when a change begins say that the sensor was exchanged."""
WORSE_ENERGY, IDLE_ENERGY, ENERGY_KNOWN = 0.05, -0.5, 0.3
"""Shares of more and of less energy that speak against: half of it missing is a machine that doesn't do its work."""
GROWTH = 1.3
"""A deviation that is so much larger on the last day than on the one before grows: to learn it now would be to follow it."""
ALL_DAY = 0.25
"""Of its deviation in the flagged windows, a sensor that is off has so much in the others too: it is off all the time."""
BEYOND_SHARE = 0.5
"""Share of the flagged windows with weather that was not learned from which on weather leads."""
TIGHT, MOVED, LARGEST_MOVE = 0.1, 0.75, 0.15
"""A controlled variable keeps to a tenth of its usual range; a setpoint is moved by more than most of that spread, and by no
more than 15 % of the range: what moves further is for a person to say."""
CONTROLLED_UNITS = frozenset({"°F", "°C", "psig", "psi", "bar", "kPa", "Pa", "inH2O"})
"""Temperatures and pressures are what controls hold; currents and flows are what they use to do so."""
HUNTING, UNMOVED = 1.5, 1.2
"""A metric that moves so much more from window to window swings; the others don't where none moves so much more."""
NOISIER = 1.6
"""A sensor is noisier that scatters so many times as much about what the others imply as in any quarter of a day before."""
BLOCK_MS, DAY_BLOCKS, LEAST_STEPS = DAY_MS // 4, 4, 20
LEAST_ROWS = 30
BEFORE_SHARE, EXPLAINED = 0.1, 0.1
"""A rule began with a change where it fired a tenth as often before; an offset explains it that leaves a tenth of it."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that was looked at.

    Attributes:
        about: rule, standing, goes on, label, kind, sensor, energy, growth, trend, swing, noise, setpoint, weather or gate.
        against: whether it speaks against learning the change; else it explains the change.
        said: what was found, in a sentence.
        value: the figure that it rests on.
        rules: ids of the rules that it speaks of.
    """

    about: str
    against: bool
    said: str
    value: float = float("nan")
    rules: tuple[str, ...] = ()


def change_span(
    times_ms: Int64, flagged: Bool, end_ms: int, *, least_share: float = LEAST_SHARE
) -> tuple[int, list[float]] | None:
    """Since when a machine operates differently, and the flagged share of each day since, the last day first.

    Days are counted back from the end; each of a change has its share of flagged windows. The change begins with the first
    flagged window of the earliest of them.

    Args:
        times_ms: int64 [n], starts of the windows that could be learned from, but for their flags.
        flagged: bool [n].
        end_ms: end of the history.
        least_share: of a day of the change.

    >>> times = np.arange(4 * 1440) * 60_000
    >>> change_span(times, times >= 2.5 * DAY_MS, 4 * DAY_MS)
    (216000000, [1.0, 0.5])
    """
    shares: list[float] = []
    begin = None
    while True:
        until = end_ms - len(shares) * DAY_MS
        rows = (times_ms >= until - DAY_MS) & (times_ms < until)
        if not rows.any():
            break
        share = float(flagged[rows].mean())
        if share < least_share:
            break
        shares.append(round(share, 4))
        begin = int(times_ms[rows & flagged][0])
    return None if begin is None else (begin, shares)


def same_way(one: Float64, other: Float64) -> float:
    """Cosine of two directions [m]; 0 where one has no length."""
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length else 0.0


def growth_evidence(earlier: Float64, later: Float64) -> list[Evidence]:
    """Whether a deviation grows from one day to the next.

    It says nothing for good: what wears goes on and shows itself in time, the deviation in a warmer week stops growing.

    Args:
        earlier: float64 [m], mean of asinh of the conditional deviations in the flagged windows of the day before the last.
        later: the same of the last day.
    """
    before, after = float(np.linalg.norm(earlier)), float(np.linalg.norm(later))
    if before and after / before >= GROWTH and same_way(earlier, later) >= SAME_WAY:
        said = f"the deviation grew by {after / before - 1:.0%} in a day: it is not learned while it grows"
        return [Evidence("growth", True, said, after / before)]
    return []


def longest_pause(known: Bool) -> int:
    """Most windows in a row without a reading.

    >>> longest_pause(np.array([True, False, False, True, False]))
    2
    """
    read = np.flatnonzero(np.r_[True, known, True])
    return int(np.diff(read).max()) - 1


def was_exchanged(at_start: Bool, before: Bool, window_ms: int) -> int:
    """For how many windows a sensor paused when a change began, longer than it ever did before; 0 where it didn't.

    Args:
        at_start: whether the sensor was read, bool [n], in windows around the begin in which others were.
        before: the same, bool [k], of what was learned.
        window_ms: their length.
    """
    pause = longest_pause(at_start)
    long = pause >= EXCHANGE_WINDOWS and pause * window_ms >= EXCHANGE_MS
    return pause if long and pause > longest_pause(before) else 0


def sensor_evidence_of(metric: str, alone: float, paused: int, *, all_day: bool) -> list[Evidence]:
    """Whether one sensor has changed and not the machine: exchanged where its readings paused when it began.

    Args:
        metric: the sensor.
        alone: cosine of the change's signature to that of this one sensor being wrong.
        paused: for so many windows when the change began, see :func:`was_exchanged`.
        all_day: whether it departs in windows that are not flagged too, see :func:`departs_all_day`.
    """
    if alone < (EXCHANGED if paused else ALONE):
        return []
    if paused:
        said = (
            f"{metric} alone departs, and sent nothing for {paused} windows when it began: "
            "the sensor was exchanged or set anew"
        )
        return [Evidence("sensor", False, said, alone)]
    if not all_day:
        return []
    said = f"{metric} alone departs from what all others imply, without a pause in its readings: a sensor that is off"
    return [Evidence("sensor", True, said, alone)]


def departs_all_day(flagged: Float64, others: Float64) -> bool:
    """Whether a sensor departs in windows of a change that are not flagged as well: what is off is off all the time.

    A machine that does what it never did for some hours of the day may look like one wrong sensor in these hours.

    Args:
        flagged: float64 [n], conditional deviations in the flagged windows.
        others: float64 [k], those in the others; few of them say nothing.
    """
    others = others[np.isfinite(others)]
    if len(others) < max(LEAST_ROWS, len(flagged) / 4):
        return True
    usual, now = float(np.median(others)), float(np.nanmedian(flagged))
    return bool(usual * np.sign(now) >= ALL_DAY * abs(now))


def setpoint_evidence(
    names: Sequence[str], before: Float64, after: Float64, declared: DeviceType | None
) -> list[Evidence]:
    """Whether a setpoint was moved: its point says so, or a controlled variable is held elsewhere as tightly as before.

    A fault that lets a controlled variable go doesn't hold it: it then moves with load and weather.

    Args:
        names: the m metrics.
        before: float64 [n, m], readings that were learned from.
        after: float64 [k, m], readings of the change.
        declared: the device type, for usual ranges; nothing is told without one.
    """
    if declared is None or min(len(before), len(after)) < LEAST_ROWS:
        return []
    found: list[Evidence] = []
    for j, name in enumerate(names):
        point = declared.point(name) if name in declared.index else None
        if point is None or point.normal is None or point.kind == "binary":
            continue
        sides = [np.nanquantile(values[:, j], (0.1, 0.5, 0.9)) for values in (before, after) if _known(values[:, j])]
        if len(sides) < 2:
            continue
        width = point.normal[1] - point.normal[0]
        spread, now_spread = (float(side[2] - side[0]) for side in sides)
        moved = float(sides[1][1] - sides[0][1])
        is_setpoint = (point.brick or "").endswith("Setpoint")
        if not is_setpoint and point.unit not in CONTROLLED_UNITS:
            continue
        if abs(moved) > LARGEST_MOVE * width or not moved:
            continue
        if is_setpoint and abs(moved) > spread and now_spread <= spread + 0.01 * width:
            said = f"{point.title} was moved from {sides[0][1]:.4g} to {sides[1][1]:.4g}"
        elif (
            not is_setpoint
            and spread <= TIGHT * width
            and abs(moved) > max(MOVED * spread, 0.02 * width)
            and now_spread <= 1.5 * spread
        ):
            said = f"{point.title} is held at {sides[1][1]:.4g} as tightly as it was at {sides[0][1]:.4g}"
        else:
            continue
        found.append(Evidence("setpoint", False, said, moved))
    return found[:2]


def kind_evidence(kinds: Sequence[LikelyKind], *, moved_setpoint: bool, share: float = 1.0) -> list[Evidence]:
    """Whether it looks like a fault of a known kind, with the similarity to the most alike.

    A setpoint that was moved a little is what the simulated *wrong mode* is in large, so that kind says nothing then. The
    signature of what shows now and then only is less sure.

    Args:
        kinds: likely kinds, most alike first.
        moved_setpoint: whether a setpoint was moved.
        share: flagged share of the windows since the change began.
    """
    limit = LIKE_FAULT_SETPOINT if moved_setpoint or share < RARE else LIKE_FAULT
    like = [k for k in kinds if k.kind != "sensor_bias" and not (moved_setpoint and k.kind == "wrong_mode")]
    if not like:
        return []
    nearest = like[0]
    against = nearest.similarity >= limit
    said = (
        f"it {'looks like' if against else 'hardly looks like'} {nearest.title} (similarity {nearest.similarity:.2f})"
    )
    return [Evidence("kind", against, said, nearest.similarity)]


def energy_evidence(excess: Float64, expected: Float64, *, moved_setpoint: bool) -> list[Evidence]:
    """Whether the machine draws more than its load and weather call for; kW a window, NaN where it isn't known."""
    known = np.isfinite(excess) & np.isfinite(expected)
    if known.mean() < ENERGY_KNOWN or not float(expected[known].sum()):
        return []
    more = float(excess[known].sum() / expected[known].sum())
    against = (more >= WORSE_ENERGY and not moved_setpoint) or more <= IDLE_ENERGY
    said = f"it draws {abs(more):.0%} {'more' if more >= 0 else 'less'} than before at equal load"
    if more >= WORSE_ENERGY and moved_setpoint:
        said += ", which its setpoint may explain"
    return [Evidence("energy", against, said, more)]


@dataclass(frozen=True, slots=True)
class Noise:
    """A sensor that has become noisier.

    Attributes:
        metric: which of the m.
        ratio: by which factor it scatters more about what the other metrics imply.
        since: when it began, to a quarter of a day.
    """

    metric: int
    ratio: float
    since: int


def noisier(times_ms: Int64, values: Float64, residuals: Float64, learned: Bool, end_ms: int) -> Noise | None:
    """The one sensor that has been noisier for the last day of a history at least; None where none has.

    What counts is how far a reading scatters from window to window about what the other metrics imply of it, against the
    most of any quarter of a day that was learned. On the whole it is where it was: a fault of the machine moves it one way.
    The other metrics themselves move as before: a loop that hunts moves them.

    Args:
        times_ms: int64 [n], in order.
        values: float64 [n, m], readings.
        residuals: float64 [n, m], their conditional deviations; NaN where there is no reading.
        learned: bool [n], windows that were learned from.
        end_ms: end of the history.
    """
    block = (end_ms - 1 - times_ms) // BLOCK_MS  # 0 is the last one
    last = block < DAY_BLOCKS
    if min(int(last.sum()), int((learned & ~last).sum())) < LEAST_ROWS:
        return None
    earlier = [_scatter(residuals[learned & (block == k)]) for k in np.unique(block[learned & ~last])]
    usual = np.nan_to_num(earlier).max(axis=0)
    ratio = np.divide(_scatter(residuals[last]), usual, out=np.full(len(usual), np.nan), where=usual > 0)
    if np.isnan(ratio).all():
        return None
    j = int(np.nanargmax(ratio))
    moved = np.nan_to_num(_scatter(values[last]) / _scatter(values[learned & ~last]))
    shift = abs(np.nanmedian(residuals[last, j]) - np.nanmedian(residuals[learned & ~last, j]))
    if ratio[j] < NOISIER or shift > ratio[j] or np.delete(moved, j).max(initial=0.0) >= UNMOVED:
        return None
    blocks = 0
    while _scatter(residuals[block == blocks])[j] >= UNMOVED * usual[j]:
        blocks += 1
    return Noise(j, float(ratio[j]), end_ms - blocks * BLOCK_MS) if blocks else None


def _scatter(values: Float64) -> Float64:
    """Standard deviation of the steps from row to row, float64 [m]; NaN where there are too few, or none moves."""
    steps = np.diff(values, axis=0)
    if len(steps) < LEAST_STEPS:
        return np.full(values.shape[1], np.nan)
    known = np.isfinite(steps)
    count = known.sum(axis=0)
    spread = np.sqrt((np.where(known, steps, 0.0) ** 2).sum(axis=0) / np.maximum(count, 1))
    return np.where((count >= LEAST_STEPS) & (spread > 0), spread, np.nan)


def noise_evidence(names: Sequence[str], noise: Noise | None) -> list[Evidence]:
    """Whether a sensor has become noisier."""
    if noise is None:
        return []
    said = (
        f"{names[noise.metric]} alone scatters {noise.ratio:.1f} times as much as it did: its sensor has become noisier"
    )
    return [Evidence("noise", False, said, noise.ratio)]


def swing_evidence(names: Sequence[str], before: Float64, after: Float64) -> list[Evidence]:
    """Whether a control loop hunts: a metric moves more from window to window than it did, and others do too.

    Args:
        names: the m metrics.
        before: float64 [n, m], readings that were learned from.
        after: float64 [k, m], readings of the change.
    """
    ratio = np.nan_to_num(_scatter(after) / _scatter(before))
    j = int(ratio.argmax())
    if ratio[j] < HUNTING or np.delete(ratio, j).max(initial=0.0) < UNMOVED:
        return []
    said = f"{names[j]} moves {ratio[j]:.1f} times as much from window to window as it did"
    return [Evidence("swing", True, said, float(ratio[j]))]


def weather_evidence(
    names: Sequence[str], learned: Float64, flagged: Float64, declared: DeviceType | None
) -> list[Evidence]:
    """Whether the flagged windows had weather that was not learned.

    Args:
        names: the m metrics.
        learned: float64 [n, m], readings that were learned from.
        flagged: float64 [k, m], readings of the flagged windows.
        declared: the device type: its Brick classes say what weather is.
    """
    outdoors = [
        j
        for j, name in enumerate(names)
        if declared is not None
        and name in declared.index
        and (declared.point(name).brick or "").startswith("Outside_Air")
    ]
    if not outdoors or min(len(learned), len(flagged)) < LEAST_ROWS:
        return []
    low, high = np.nanquantile(learned[:, outdoors], (0.01, 0.99), axis=0)
    beyond = (flagged[:, outdoors] < low) | (flagged[:, outdoors] > high)
    share = float(beyond.any(axis=1).mean())
    if share < BEYOND_SHARE:
        return []
    name = names[outdoors[int(beyond.mean(axis=0).argmax())]]
    return [Evidence("weather", False, f"{share:.0%} of it came with {name} beyond what was learned", share)]


def rule_evidence(share: float, rules: Sequence[str]) -> list[Evidence]:
    """Whether a rule speaks against the windows of the change, and did not before."""
    if share < RULE_SHARE:
        return []
    return [Evidence("rule", True, f"{', '.join(rules[:3]) or 'a rule'} fires in {share:.0%} of the windows", share)]


@dataclass(frozen=True, slots=True)
class RuleOfChange:
    """A rule of level 3 or 4 that fires since a change, and hardly did before.

    Attributes:
        rule: that.
        fired: bool [n], where, in the history.
        share: of the windows of the change.
    """

    rule: Rule
    fired: Bool
    share: float


def rules_of_change(
    series: SnapshotSeries, declared: DeviceType | None, before: Bool, after: Bool
) -> list[RuleOfChange]:
    """Rules that began with a change; those of level 1 and 2 and hard limits are never part of one.

    Args:
        series: n snapshots.
        declared: the device type.
        before: bool [n], windows that were learned from before it.
        after: bool [n], windows since.
    """
    if declared is None or not before.any() or not after.any():
        return []
    found = [(f.rule, f.fired) for f in rule_firings(series, declared) if f.rule is not None and f.level > URGENT_LEVEL]
    return [
        RuleOfChange(rule, fired, share)
        for rule, fired in found
        if (share := float(fired[after].mean())) >= LEAST_SHARE and fired[before].mean() <= BEFORE_SHARE * share
    ]


def explained_by_offset(
    rules: Sequence[RuleOfChange],
    series: SnapshotSeries,
    declared: DeviceType,
    metric: str,
    offset: float,
    after: Bool,
) -> list[RuleOfChange]:
    """Those rules that would be silent if a sensor that was exchanged read what the one before did.

    Args:
        rules: that fire since.
        series: n snapshots.
        declared: the device type.
        metric: the sensor.
        offset: how far it is off, in its unit.
        after: bool [n], windows since.
    """
    j = series.metric_names.index(metric)
    moved = np.zeros_like(series.mean)
    moved[after, j] = offset
    as_before = replace(
        series,
        mean=series.mean - moved,
        minimum=series.minimum - moved,
        maximum=series.maximum - moved,
        last=series.last - moved,
    )
    left = {f.rule.id: float(f.fired[after].mean()) for f in rule_firings(as_before, declared) if f.rule is not None}
    return [one for one in rules if left.get(one.rule.id, 0.0) <= EXPLAINED * one.share]


def speaks_against(evidence: Sequence[Evidence]) -> bool:
    """Whether something of it speaks against learning; a middling likeness to a fault does not where weather leads."""
    weather = any(e.about == "weather" for e in evidence)
    return any(e.against and not (weather and e.about == "kind" and e.value < LIKE_FAULT_SETPOINT) for e in evidence)


def _known(values: Float64) -> bool:
    return bool(np.isfinite(values).mean() >= 0.5)
