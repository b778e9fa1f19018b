"""The state encoder of one device: white coordinates, in which cosine means Mahalanobis distance from its own normal."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hvac_platform.embedding.base import Encoder
from hvac_platform.snapshots import SnapshotSeries

if TYPE_CHECKING:
    from hvac_platform.detection.detector import FittedDetector

ENCODER_CONTEXT = 64
"""The recent level forgets at 10 % a window: 0.1 % of it is left after so many."""


class LearnedEncoder:
    """Encoder of the second generation, learned from the device's history: see docs/detection.md, *How a row is judged*.

    [c, W(x - μ), 4·sin h, 4·cos h] / ‖·‖, padded with zeros to 384 numbers. x holds each metric in robust sigmas and its
    departure from its recent level, so a snapshot is encoded with those before it.

    Args:
        detector: of the device.
    """

    context_windows = ENCODER_CONTEXT

    def __init__(self, detector: FittedDetector) -> None:
        self._detector = detector
        self._method = f"state-2/{detector.encoder_version}"

    @property
    def method(self) -> str:
        """Name, and fingerprint of the device's encoder."""
        return self._method

    def encode(self, series: SnapshotSeries) -> NDArray[np.float32]:
        """Unit vectors float32 [n, 384] of n snapshots in order of time; NaN for those without any reading it knows."""
        from hvac_platform.detection.learned import frame_of
        from hvac_platform.detection.nearest import padded

        if not len(series):
            return padded(np.zeros((0, 0), dtype=np.float32))
        frame = frame_of(series).reindex(columns=list(self._detector.metric_names))
        vectors = padded(self._detector.embed(frame))
        vectors[~np.isfinite(frame.to_numpy()).any(axis=1)] = np.nan
        return vectors


class Encoders:
    """The encoder of every device.

    Args:
        common: the encoder of devices without one of their own.
        detector_of: content of the column ``detector`` of a device's profile; absent where all share the common one.
    """

    def __init__(self, common: Encoder, detector_of: Callable[[str], bytes | None] | None = None) -> None:
        self.common = common
        self._detector_of = detector_of

    @property
    def learned(self) -> bool:
        """Whether devices get encoders of their own once there is enough history."""
        return self._detector_of is not None

    def of(self, device_id: str) -> Encoder:
        """Encoder of a device as its profile stands now."""
        content = self._detector_of(device_id) if self._detector_of is not None else None
        return _encoder_of(content) if content else self.common


@lru_cache(maxsize=64)
def _encoder_of(content: bytes) -> LearnedEncoder:
    from hvac_platform.detection.detector import FittedDetector

    return LearnedEncoder(FittedDetector.from_bytes(content))
