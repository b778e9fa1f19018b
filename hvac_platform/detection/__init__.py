"""The science: pure functions from arrays of snapshots to scores, verdicts and reasons."""

from hvac_platform.detection.detector import FittedDetector, fit_detector
from hvac_platform.detection.observations import UnusableMetricsError

__all__ = ["FittedDetector", "UnusableMetricsError", "fit_detector"]
