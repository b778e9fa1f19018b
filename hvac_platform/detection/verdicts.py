"""What a detector says of each snapshot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvac_platform.devices.registry import DeviceType

METHODS = ("rules", "profile", "vector")


@dataclass(frozen=True, slots=True)
class Verdicts:
    """One method's verdicts over n snapshots of one device.

    Attributes:
        method: ``rules``, ``profile`` or ``vector``.
        times_ms: int64 [n], the snapshots' window starts.
        score: float64 [n] >= 0; 1.0 is the limit above which a snapshot is suspicious.
        anomalous: bool [n].
        level: int8 [n]; 0 normal, 1 life safety, 2 critical, 3 urgent, 4 normal priority (ASHRAE Guideline 36 levels).
        reasons: n tuples of sentences, empty where normal.
        metrics: n tuples of metric names that the reasons rest on, most important first.
    """

    method: str
    times_ms: NDArray[np.int64]
    score: NDArray[np.float64]
    anomalous: NDArray[np.bool_]
    level: NDArray[np.int8]
    reasons: list[tuple[str, ...]]
    metrics: list[tuple[str, ...]]


def shown(name: str, value: float, device_type: DeviceType | None) -> tuple[str, str]:
    """Title of a metric and a value with its unit, as far as the device type declares them.

    >>> shown("rotor_wobble", 0.1234, None)
    ('rotor_wobble', '0.1234')
    """
    if device_type is not None and name in device_type.metric_names:
        point = device_type.point(name)
        return point.title, point.show(value)
    return name, f"{value:.4g}"
