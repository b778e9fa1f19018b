"""Saturation of refrigerant R-134a."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

ATMOSPHERE_PSI = 14.696
#: Antoine form ln(psia) = A - B / (°F + C), fitted to published saturation pressures from 14 to 140 °F within 0.1 °F.
_A, _B, _C = 12.7323, 4018.1, 415.25

_GRID_F: Float64 = np.arange(-20.0, 180.0, 0.25)
_GRID_PSIG: Float64 = np.exp(_A - _B / (_GRID_F + _C)) - ATMOSPHERE_PSI


def saturation_pressure_psig(temperature: Float64) -> Float64:
    """Saturation pressure of R-134a in psig at ``temperature`` °F, any shape.

    >>> [round(float(saturation_pressure_psig(np.array(t)))) for t in (40.0, 100.0)]
    [35, 124]
    """
    return np.interp(temperature, _GRID_F, _GRID_PSIG)
