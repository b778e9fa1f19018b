"""How urgently an incident needs somebody: points that add up, each with its reason, and from how many on people are told.

An operator has one pair of eyes for a whole fleet. So incidents are put in one order, by how sure it is that something is
wrong and by what it is worth (:mod:`hvac_platform.detection.worth`), and the fleet has a budget of notifications that turn
out to be false; what has fewer points than the budget of the fleet allows is shown and not told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

SEVERITY = {"critical": 170.0, "warning": 25.0, "info": 5.0}
"""What is critical comes before all that isn't: its points less all deductions are more than the others can have."""
RULE, PERSISTENCE, AGREEMENT, SCORE = 15.0, 20.0, 15.0, 10.0
SPREAD, KNOWN, FALSE_ALARM, WORTH = 10.0, 10.0, -10.0, 10.0
PERSISTENT_MINUTES, FAR_SCORE, MOST_FALSE_ALARMS = 30.0, 8.0, 3
MOST = SEVERITY["critical"] + RULE + PERSISTENCE + AGREEMENT + SCORE + SPREAD + KNOWN + 3 * WORTH
"""The largest sum."""
FALSE_PER_DEVICE_DAY, HALVING = 0.3, 10.0
"""Incidents without a fault a device-day, and so many points halve their number: see ``benchmarks/lasting.py load``."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What of an incident decides how urgent it is.

    Attributes:
        severity: critical, warning or info.
        minutes: from its first to its last anomalous window.
        windows: anomalous windows.
        methods: anomalous windows by method.
        peak_score: highest score, 1 is the limit.
        rules: rules that fired.
        fleet_wide: whether it is of an event of many devices.
        metrics: metrics that moved.
        like_a_fault: whether an earlier incident like it was confirmed as a fault.
        false_alarms: false alarms of the device about the same metrics.
        cost: avoidable cost, 0 to 10; 0 where it isn't known.
        comfort: discomfort, 0 to 10; 0 where it isn't known.
        maintenance: risk to the machine, 0 to 10.
    """

    severity: str
    minutes: float
    windows: int
    methods: Mapping[str, int]
    peak_score: float
    rules: int = 0
    fleet_wide: bool = False
    metrics: int = 1
    like_a_fault: bool = False
    false_alarms: int = 0
    cost: float = 0.0
    comfort: float = 0.0
    maintenance: float = 0.0


def urgency_parts(standing: Standing) -> dict[str, float]:
    """Points by what they are for, those that are not 0.

    >>> urgency_parts(Standing("warning", 15.0, 15, {"profile": 15, "vector": 15}, 2.0))
    {'severity': 25.0, 'persistence': 10.0, 'agreement': 15.0, 'score': 3.3}
    """
    windows = max(1, standing.windows)
    both = sum(standing.methods.values()) - windows
    parts = {
        "severity": SEVERITY.get(standing.severity, 5.0),
        "rules": RULE * min(1, standing.rules),
        "persistence": PERSISTENCE * min(1.0, standing.minutes / PERSISTENT_MINUTES),
        "agreement": AGREEMENT * min(1.0, max(0.0, both / windows)),
        "score": SCORE * min(1.0, math.log2(max(1.0, standing.peak_score)) / math.log2(FAR_SCORE)),
        "spread": SPREAD if standing.fleet_wide else SPREAD / 2 * min(1.0, max(0, standing.metrics - 3) / 3),
        "cost": min(WORTH, standing.cost),
        "comfort": min(WORTH, standing.comfort),
        "maintenance risk": min(WORTH, standing.maintenance),
        "like a confirmed fault": KNOWN * standing.like_a_fault,
        "earlier false alarms": FALSE_ALARM * min(MOST_FALSE_ALARMS, standing.false_alarms),
    }
    return {name: round(points, 1) for name, points in parts.items() if round(points, 1)}


def urgency(standing: Standing) -> float:
    """Points in all: the sum of :func:`urgency_parts`, 0 at least and :data:`MOST` at most.

    >>> urgency(Standing("critical", 60, 60, {"rules": 60}, 4.0, rules=1)) > urgency(Standing("info", 2, 2, {}, 1.1))
    True
    """
    return total(urgency_parts(standing))


def total(parts: Mapping[str, float]) -> float:
    """The sum of points, 0 at least."""
    return round(max(0.0, sum(parts.values())), 1)


def points_in_order(kept: float | None, severity: str) -> float:
    """Points by which lists order an incident: those that were kept with it, else those of its severity alone.

    >>> points_in_order(None, "critical") > points_in_order(130.0, "warning")
    True
    """
    return SEVERITY.get(severity, SEVERITY["info"]) if kept is None else kept


def notification_level(devices: int, false_per_day: float) -> float:
    """Points from which on people are told, so that a fleet gives at most so many false notifications a day.

    Args:
        devices: of the fleet.
        false_per_day: budget of the whole fleet.

    >>> notification_level(1, 1.0), round(notification_level(100, 1.0), 1)
    (0.0, 49.1)
    """
    expected = FALSE_PER_DEVICE_DAY * max(1, devices)
    return max(0.0, HALVING * math.log2(expected / false_per_day)) if false_per_day > 0 else 100.0
