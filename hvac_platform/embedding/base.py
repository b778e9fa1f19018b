"""What an encoder is: snapshots in, one unit vector each out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hvac_platform.snapshots import SnapshotSeries


class Encoder(Protocol):
    """Encodes snapshots of one device."""

    @property
    def method(self) -> str:
        """Name and version; vectors of different methods are never compared."""
        ...

    def encode(self, series: SnapshotSeries) -> NDArray[np.float32]:
        """Unit vectors float32 [n, 384], finite and non-zero."""
        ...
