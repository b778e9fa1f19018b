"""Moist air for whole arrays, by tables that psychrolib computes.

psychrolib (ASHRAE Handbook - Fundamentals 2017, chapter 1) takes one value at a time. Saturation pressure is all that
the machines' sensors need of it, and it depends on temperature alone: a table at 0.1 °F steps, interpolated, is within
0.01 % of psychrolib.
"""

from __future__ import annotations

import numpy as np
import psychrolib
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

# psychrolib's unit system is one setting for the process; this package works in inch-pound units throughout.
psychrolib.SetUnitSystem(psychrolib.IP)

SEA_LEVEL_PSI = 14.696
#: Ratio of the molar masses of water and dry air (ASHRAE Fundamentals, ch. 1 eqn 20).
MOLAR_MASS_RATIO = 0.621945

_GRID_F: Float64 = np.arange(-80.0, 250.0, 0.1)
_SATURATION_PSI: Float64 = np.array([psychrolib.GetSatVapPres(float(t)) for t in _GRID_F])


def saturation_pressure(dry_bulb: Float64) -> Float64:
    """Saturation vapour pressure in psi at ``dry_bulb`` °F, any shape."""
    return np.interp(dry_bulb, _GRID_F, _SATURATION_PSI)


def saturation_humidity_ratio(dry_bulb: Float64) -> Float64:
    """Humidity ratio of saturated air, lb water per lb dry air, at ``dry_bulb`` °F: 0.621945 p_ws / (p - p_ws)."""
    pressure = saturation_pressure(dry_bulb)
    return MOLAR_MASS_RATIO * pressure / (SEA_LEVEL_PSI - pressure)


def relative_humidity(dry_bulb: Float64, humidity_ratio: Float64) -> Float64:
    """Relative humidity in percent, at most 100, of air at ``dry_bulb`` °F with ``humidity_ratio`` lb/lb.

    >>> round(float(relative_humidity(np.array(75.0), np.array(0.0093))), 1)
    50.3
    """
    vapour = SEA_LEVEL_PSI * humidity_ratio / (MOLAR_MASS_RATIO + humidity_ratio)
    return np.minimum(100.0 * vapour / saturation_pressure(dry_bulb), 100.0)
