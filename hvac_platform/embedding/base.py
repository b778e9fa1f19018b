"""What an encoder is: snapshots in, one unit vector each out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hvac_platform.snapshots import SnapshotSeries


class EncoderUnavailableError(Exception):
    """The encoder's server can't be used at the moment; the message says why and what to do."""


class Encoder(Protocol):
    """Encodes snapshots of one device."""

    @property
    def method(self) -> str:
        """Name and version; vectors of different methods are never compared."""
        ...

    @property
    def context_windows(self) -> int:
        """How many snapshots before a snapshot its vector rests on; 0 where it stands for itself."""
        ...

    def encode(self, series: SnapshotSeries) -> NDArray[np.float32]:
        """Unit vectors float32 [n, 384]: finite and non-zero, or all NaN where a snapshot can't be encoded at all.

        Raises:
            EncoderUnavailableError: the server behind the encoder can't be used; the same snapshots may do later.
        """
        ...
