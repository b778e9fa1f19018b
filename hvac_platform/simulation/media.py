"""What machines of a plant deliver to each other, and what chilled water that is too warm does to a cooling coil."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

CONDENSER_WATER = "condenser water"
CHILLED_WATER = "chilled water"

DESIGN_CHILLED_WATER_F = 44.0
"""Chilled water at which a coil has the capacity that its air handler was designed for; coils that nobody feeds have it."""
_ENTERING_AIR_F, _MOST_CAPACITY = 80.0, 1.3


def coil_capacity(water_f: Float64) -> Float64:
    """Capacity of a coil as a share of its design's, of the temperature of its chilled water, °F.

    Heat goes by the difference of air and water, and water as warm as the air cools nothing.

    >>> coil_capacity(np.array([44.0, 62.0, 90.0]))
    array([1. , 0.5, 0. ])
    """
    share = (_ENTERING_AIR_F - water_f) / (_ENTERING_AIR_F - DESIGN_CHILLED_WATER_F)
    return np.clip(share, 0.0, _MOST_CAPACITY)
