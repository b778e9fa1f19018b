"""The state encoder of one device: white coordinates, in which cosine means Mahalanobis distance from its own normal."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
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
MOST_KEPT_BYTES = 1_000_000_000
"""Encoders are kept up to this size, as profiles hold them; one of 14 metrics counts 0.13 MB, and takes a third of it."""


class LearnedEncoder:
    """Encoder of the second generation, learned from the device's history: see docs/detection.md, *How a row is judged*.

    [c, W(x - μ), 4·sin h, 4·cos h] / ‖·‖, padded with zeros to 384 numbers. x holds each metric in robust sigmas and its
    departure from its recent level, so a snapshot is encoded with those before it.

    Args:
        detector: of the device.
    """

    context_windows = ENCODER_CONTEXT

    def __init__(self, detector: FittedDetector) -> None:
        self._method = f"state-2/{detector.encoder_version}"
        self._detector = replace(detector, normal=detector.normal[:0])  # most of its size, and of no use here

    @property
    def method(self) -> str:
        """Name, and fingerprint of the device's encoder."""
        return self._method

    def encode(self, series: SnapshotSeries) -> NDArray[np.float32]:
        """Unit vectors float32 [n, 384] of n snapshots in order of time; NaN for those without any reading it knows."""
        from hvac_platform.detection.detector.explain import embed_rows
        from hvac_platform.detection.learned import values_of
        from hvac_platform.detection.nearest import padded
        from hvac_platform.detection.observations import observations_of

        if not len(series):
            return padded(np.zeros((0, 0), dtype=np.float32))
        values = values_of(series, self._detector.metric_names)
        rows = observations_of(series.times_ms, values, self._detector.interval_ms)
        vectors = padded(embed_rows(self._detector, rows))
        vectors[~np.isfinite(values).any(axis=1)] = np.nan
        return vectors


class Encoders:
    """The encoder of every device.

    Args:
        common: the encoder of devices without one of their own.
        detector_of: content of the column ``detector`` of a device's profile; absent where all share the common one.
        version_of: what changes whenever that does, and is read faster; where it is given, encoders are kept.
        versions: the same of all devices that have one, with one read.
    """

    def __init__(
        self,
        common: Encoder,
        detector_of: Callable[[str], bytes | None] | None = None,
        version_of: Callable[[str], int | None] | None = None,
        versions: Callable[[], Mapping[str, int]] | None = None,
    ) -> None:
        self.common = common
        self._detector_of, self._version_of = detector_of, version_of
        self.versions = versions
        self._kept: OrderedDict[str, tuple[int | None, Encoder, int]] = OrderedDict()
        self._kept_bytes = 0

    @property
    def learned(self) -> bool:
        """Whether devices get encoders of their own once there is enough history."""
        return self._detector_of is not None

    def of(self, device_id: str, versions: Mapping[str, int] | None = None) -> Encoder:
        """Encoder of a device as its profile stands now, or stood when the versions of all devices were read."""
        if self._detector_of is None:
            return self.common
        if versions is not None:
            version = versions.get(device_id)
            if version is None:
                return self.common
        else:
            version = self._version_of(device_id) if self._version_of is not None else None
        kept = self._kept.get(device_id)
        if kept is not None and version is not None and kept[0] == version:
            return kept[1]
        content = self._detector_of(device_id)
        encoder = _encoder_of(content) if content else self.common
        if version is not None:
            self._kept_bytes += len(content or b"") - (kept[2] if kept is not None else 0)
            self._kept[device_id] = version, encoder, len(content or b"")
            self._kept.move_to_end(device_id)
            while self._kept_bytes > MOST_KEPT_BYTES:
                self._kept_bytes -= self._kept.popitem(last=False)[1][2]
        return encoder


@lru_cache(maxsize=64)
def _encoder_of(content: bytes) -> LearnedEncoder:
    from hvac_platform.detection.detector import FittedDetector

    return LearnedEncoder(FittedDetector.from_bytes(content))
