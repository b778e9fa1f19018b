"""The science: pure functions from arrays of snapshots to scores, verdicts and reasons.

The detector takes and gives tables, so it is imported only when it is asked for: what works on arrays does without pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hvac_platform.detection.detector import DetectorState, FittedDetector, fit_detector
    from hvac_platform.detection.observations import UnusableMetricsError

__all__ = ["DetectorState", "FittedDetector", "UnusableMetricsError", "fit_detector"]

_HOMES = {
    "FittedDetector": "detector",
    "fit_detector": "detector",
    "UnusableMetricsError": "observations",
    "DetectorState": "detector",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
