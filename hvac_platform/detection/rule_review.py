"""Rules that may not fit a machine: those that fire most of the time although it runs steadily."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.rules import Firing, rule_firings
from hvac_platform.devices.registry import DEVICE_TYPES_VARIABLE, DeviceType, variables
from hvac_platform.snapshots import SnapshotSeries

OFTEN = 0.5
LEAST_WINDOWS = 60
"""Of fewer windows nobody can say what a machine does most of the time."""
STEADY_SHARE = 0.1
"""A metric is steady while its level and its spread move by less than a tenth of its normal range."""


@dataclass(frozen=True, slots=True)
class RuleReview:
    """A rule, or a hard limit, that speaks against most of a machine's windows.

    Attributes:
        name: id of the rule, or the limit in words.
        title: the fault that it stands for.
        share: share of the windows in which it fires.
        settings: what decides in the device type's file, with its value, e.g. ``vibration_alert (4.5 mm/s)``.
        device_type: name of the type.
    """

    name: str
    title: str
    share: float
    settings: tuple[str, ...]
    device_type: str

    def sentence(self) -> str:
        """What fires, what decides, and what to do if the machine is as it should be."""
        decides = f", which rests on {', '.join(self.settings)}," if self.settings else ""
        return (
            f"{self.name} ({self.title}){decides} fires in {self.share:.0%} of the windows: mend the machine, or if it is "
            f"as it should be, change that in a copy of {self.device_type}.yaml in a folder of your own and name the "
            f"folder in {DEVICE_TYPES_VARIABLE}"
        )


def often_fired(series: SnapshotSeries, device_type: DeviceType, most_level: int = 4) -> list[RuleReview]:
    """Rules and hard limits up to a level that fire in most windows, the most frequent first.

    Args:
        series: n snapshots.
        device_type: of the machine.
        most_level: 1 to 4; less severe ones, of a higher number, are left aside.
    """
    found = [
        _review(firing, device_type)
        for firing in rule_firings(series, device_type)
        if firing.level <= most_level and firing.fired.mean() > OFTEN
    ]
    return sorted(found, key=lambda review: -review.share)


def rules_to_review(series: SnapshotSeries, device_type: DeviceType | None) -> tuple[RuleReview, ...]:
    """Rules that fire most of the time while the metrics that they speak of are steady.

    A fault comes, grows or goes: what was there from the first window to the last and never moved is more likely how the
    machine is. Whether it should be so is for somebody to say, so this only proposes.

    Args:
        series: n snapshots; fewer than 60 say nothing.
        device_type: of the machine, or None.
    """
    if device_type is None or len(series) < LEAST_WINDOWS:
        return ()
    found = [
        _review(firing, device_type)
        for firing in rule_firings(series, device_type)
        if firing.fired.mean() > OFTEN and all(_steady(series, name, device_type) for name in firing.metrics)
    ]
    return tuple(sorted(found, key=lambda review: -review.share))


def _steady(series: SnapshotSeries, name: str, device_type: DeviceType) -> bool:
    """Whether a metric neither moves much nor has another level in the second half than in the first."""
    values = series.column(name)
    first, second = (_known(half) for half in np.array_split(values, 2))
    if not len(first) or not len(second):
        return False
    normal = device_type.point(name).normal if name in device_type.index else None
    room = STEADY_SHARE * (normal[1] - normal[0] if normal else max(abs(float(np.median(first))), 1e-9))
    low, high = np.quantile(_known(values), [0.25, 0.75])
    return bool(high - low <= room and abs(float(np.median(second)) - float(np.median(first))) <= room)


def _known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[np.isfinite(values)]


def _review(firing: Firing, device_type: DeviceType) -> RuleReview:
    share = float(firing.fired.mean())
    rule = firing.rule
    if rule is None:
        points = [device_type.point(name) for name in firing.metrics if name in device_type.index]
        decides = tuple(f"hard {list(p.hard)} of {p.name}" for p in points if p.hard is not None)
        return RuleReview(
            f"limits of {', '.join(firing.metrics)}", "a reading that can't be", share, decides, device_type.name
        )
    used = [device_type.parameters[n] for n in sorted(variables(rule.when)) if n in device_type.parameters]
    decides = tuple(f"{p.name} ({p.show(p.value)})" for p in used)
    return RuleReview(f"rule {rule.id}", rule.title, share, decides, device_type.name)
