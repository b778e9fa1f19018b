"""What is new on a machine and lasts: the evidence that says whether it is another way of running well, or a fault.

Arrays in, sentences out. A change of weather, a moved setpoint, another schedule, an exchanged sensor: the machine is as
sound as before, and to go on alarming helps nobody. A fault that lasts looks the same to a detector. What tells them apart
is stated, one piece of evidence after the other, and what speaks against learning outweighs all that speaks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hvac_platform.devices.registry import DeviceType

if TYPE_CHECKING:
    from hvac_platform.detection.fault_kinds import LikelyKind, SensorEvidence

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
ALONE = 0.93
"""Cosine to the signature of one wrong sensor from which on the sensor is what has changed, and not the machine."""
EXCHANGE_WINDOWS, EXCHANGE_MS = 2, 5 * 60_000
"""So many windows, and so long, without a reading of a sensor when a change begins say that the sensor was exchanged."""
WORSE_ENERGY, IDLE_ENERGY, ENERGY_KNOWN = 0.05, -0.5, 0.3
"""Shares of more and of less energy that speak against: half of it missing is a machine that doesn't do its work."""
GROWTH = 1.3
"""A deviation that is so much larger on the last day than on the one before grows: wear, not a change."""
BEYOND_SHARE = 0.5
"""Share of the flagged windows with weather that was not learned from which on weather leads."""
TIGHT, MOVED, LARGEST_MOVE = 0.1, 0.75, 0.15
"""A controlled variable keeps to a tenth of its usual range; a setpoint is moved by more than most of that spread, and by no
more than 15 % of the range: what moves further is for a person to say."""
CONTROLLED_UNITS = frozenset({"°F", "°C", "psig", "psi", "bar", "kPa", "Pa", "inH2O"})
"""Temperatures and pressures are what controls hold; currents and flows are what they use to do so."""
HUNTING, UNMOVED = 1.5, 1.2
"""A metric that moves so much more from window to window swings; the others don't where none moves so much more."""
LEAST_ROWS = 30


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that was looked at.

    Attributes:
        about: rule, label, kind, sensor, energy, trend, swing, noise, setpoint or weather.
        against: whether it speaks against learning the change; else it explains the change.
        said: what was found, in a sentence.
        value: the figure that it rests on.
    """

    about: str
    against: bool
    said: str
    value: float = float("nan")


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


def trend_evidence(earlier: Float64, later: Float64) -> list[Evidence]:
    """Whether a deviation grows from one day to the next.

    Args:
        earlier: float64 [m], mean of asinh of the conditional deviations in the flagged windows of the day before the last.
        later: the same of the last day.
    """
    before, after = float(np.linalg.norm(earlier)), float(np.linalg.norm(later))
    if before and after / before >= GROWTH and same_way(earlier, later) >= SAME_WAY:
        said = f"the deviation grew by {after / before - 1:.0%} in a day: wear goes on, a change does not"
        return [Evidence("trend", True, said, after / before)]
    return []


def sensor_evidence_of(found: SensorEvidence, missing_at_start: int, window_ms: int) -> list[Evidence]:
    """Whether one sensor has changed and not the machine: exchanged where its readings were missing when it began."""
    if found.alone < ALONE:
        return []
    if missing_at_start >= EXCHANGE_WINDOWS and missing_at_start * window_ms >= EXCHANGE_MS:
        said = (
            f"{found.metric} alone departs, and sent nothing for {missing_at_start} windows when it began: "
            "the sensor was exchanged or set anew"
        )
        return [Evidence("sensor", False, said, found.alone)]
    said = f"{found.metric} alone departs from what all others imply, without a pause in its readings: a sensor that is off"
    return [Evidence("sensor", True, said, found.alone)]


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
class Swing:
    """A metric that moves more from window to window than it did.

    Attributes:
        metric: which of the m.
        ratio: by which factor.
        alone: whether no other metric does: its sensor has become noisier, for a loop that hunts moves others too.
    """

    metric: int
    ratio: float
    alone: bool


def swinging(before: Float64, after: Float64) -> Swing | None:
    """The metric that swings most from window to window as it never did; None where none does.

    Args:
        before: float64 [n, m], readings that were learned from.
        after: float64 [k, m], readings of the change.
    """
    if min(len(before), len(after)) < LEAST_ROWS:
        return None
    usual, now = (np.nanstd(np.diff(values, axis=0), axis=0) for values in (before, after))
    ratio = np.where((usual > 0) & np.isfinite(now), now / np.maximum(usual, 1e-12), 0.0)
    j = int(ratio.argmax())
    if ratio[j] < HUNTING:
        return None
    return Swing(j, float(ratio[j]), bool(np.delete(ratio, j).max(initial=0.0) < UNMOVED))


def swing_evidence(names: Sequence[str], swing: Swing | None) -> list[Evidence]:
    """Whether a control loop hunts, or a sensor has become noisier."""
    if swing is None:
        return []
    moves = f"moves {swing.ratio:.1f} times as much from window to window as it did"
    if swing.alone:
        said = f"{names[swing.metric]} alone {moves}: its sensor has become noisier"
        return [Evidence("noise", False, said, swing.ratio)]
    return [Evidence("swing", True, f"{names[swing.metric]} {moves}", swing.ratio)]


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


def speaks_against(evidence: Sequence[Evidence]) -> bool:
    """Whether something of it speaks against learning; a middling likeness to a fault does not where weather leads."""
    weather = any(e.about == "weather" for e in evidence)
    return any(e.against and not (weather and e.about == "kind" and e.value < LIKE_FAULT_SETPOINT) for e in evidence)


def _known(values: Float64) -> bool:
    return bool(np.isfinite(values).mean() >= 0.5)
