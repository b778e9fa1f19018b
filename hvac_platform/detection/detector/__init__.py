"""The detector of one device: its model, how it is learned, how rows are judged and explained, and how it is kept."""

from __future__ import annotations

from hvac_platform.detection.detector.fit import fit_detector
from hvac_platform.detection.detector.judge import Examination
from hvac_platform.detection.detector.model import VERSION, FittedDetector
from hvac_platform.detection.detector.state import DetectorState

__all__ = ["VERSION", "DetectorState", "Examination", "FittedDetector", "fit_detector"]
