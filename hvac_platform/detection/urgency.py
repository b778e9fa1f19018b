"""How urgently an incident needs somebody: points that add up, each with its reason, and from how many on people are told.

An operator has one pair of eyes for a whole fleet. So incidents are put in one order, and the fleet has a budget of
notifications that turn out to be false; what has fewer points than the budget of the fleet allows is shown and not told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

SEVERITY = {"critical": 60.0, "warning": 25.0, "info": 5.0}
RULE, PERSISTENCE, AGREEMENT, SCORE = 15.0, 20.0, 15.0, 10.0
SPREAD, ENERGY, KNOWN, FALSE_ALARM = 10.0, 10.0, 10.0, -10.0
PERSISTENT_MINUTES, FAR_SCORE, MUCH_KW, MOST_FALSE_ALARMS = 30.0, 8.0, 10.0, 3
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
        excess_kwh: energy beyond the expected; None where it isn't known.
        like_a_fault: whether an earlier incident like it was confirmed as a fault.
        false_alarms: false alarms of the device about the same metrics.
    """

    severity: str
    minutes: float
    windows: int
    methods: Mapping[str, int]
    peak_score: float
    rules: int = 0
    fleet_wide: bool = False
    metrics: int = 1
    excess_kwh: float | None = None
    like_a_fault: bool = False
    false_alarms: int = 0


def urgency_parts(standing: Standing) -> dict[str, float]:
    """Points by what they are for, those that are not 0.

    >>> urgency_parts(Standing("warning", 15.0, 15, {"profile": 15, "vector": 15}, 2.0))
    {'severity': 25.0, 'persistence': 10.0, 'agreement': 15.0, 'score': 3.3}
    """
    windows = max(1, standing.windows)
    both = sum(standing.methods.values()) - windows
    hours = max(standing.minutes, 1.0) / 60.0
    drawn = max(0.0, standing.excess_kwh or 0.0) / max(hours, 1.0)
    parts = {
        "severity": SEVERITY.get(standing.severity, 5.0),
        "rules": RULE * min(1, standing.rules),
        "persistence": PERSISTENCE * min(1.0, standing.minutes / PERSISTENT_MINUTES),
        "agreement": AGREEMENT * min(1.0, max(0.0, both / windows)),
        "score": SCORE * min(1.0, math.log2(max(1.0, standing.peak_score)) / math.log2(FAR_SCORE)),
        "spread": SPREAD if standing.fleet_wide else SPREAD / 2 * min(1.0, max(0, standing.metrics - 3) / 3),
        "energy": ENERGY * min(1.0, drawn / MUCH_KW),
        "like a confirmed fault": KNOWN * standing.like_a_fault,
        "earlier false alarms": FALSE_ALARM * min(MOST_FALSE_ALARMS, standing.false_alarms),
    }
    return {name: round(points, 1) for name, points in parts.items() if points}


def urgency(standing: Standing) -> float:
    """Points in all, 0 to 100.

    >>> urgency(Standing("critical", 60, 60, {"rules": 60}, 4.0, rules=1)) > urgency(Standing("info", 2, 2, {}, 1.1))
    True
    """
    return round(min(100.0, max(0.0, sum(urgency_parts(standing).values()))), 1)


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
