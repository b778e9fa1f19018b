"""Work on the store, conducted once: assets and commands are thin around the same passes."""

from __future__ import annotations

from hvac_platform.monitoring.passes.base import Pass, Span, days_of, spans_of_days, write_pass
from hvac_platform.monitoring.passes.degradation import DegradationPass
from hvac_platform.monitoring.passes.detection import DetectionPass
from hvac_platform.monitoring.passes.incidents import IncidentsPass
from hvac_platform.monitoring.passes.learning import LearningOptions, LearningPass

__all__ = [
    "DegradationPass",
    "DetectionPass",
    "IncidentsPass",
    "LearningOptions",
    "LearningPass",
    "Pass",
    "Span",
    "days_of",
    "spans_of_days",
    "write_pass",
]
