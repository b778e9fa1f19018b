"""Units that people prefer to see: SI or inch-pound. What is stored stays in the declared units."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.devices.registry import DeviceType, show
from hvac_platform.devices.units import DIFFERENCE, SAME, Conversion, UnitError, conversion, parse_unit, plain

Float64 = NDArray[np.float64]
UNITS_VARIABLE = "HVAC_UNITS"
SI, IP = "SI", "IP"
_TO_SI = {
    "°F": "°C", "psi": "kPa", "psig": "kPag", "inH2O": "Pa", "ftH2O": "kPa", "cfm": "L/s", "gpm": "L/s", "fpm": "m/s",
    "in/s": "mm/s", "hp": "kW", "Btu/h": "kW", "MBH": "kW", "ton": "kW", "tons": "kW", "ft": "m", "in": "mm", "ft2": "m²",
    "gal": "L", "lb": "kg", "kBtu": "kWh", "therm": "kWh",
}  # fmt: skip
_TO_IP = {
    "°C": "°F", "K": "°F", "kPa": "psi", "bar": "psi", "barg": "psig", "kPag": "psig", "Pa": "inH2O", "mm/s": "in/s",
    "m/s": "fpm", "m": "ft", "L": "gal", "kg": "lb",
}  # fmt: skip
_FLOWS_TO_IP = ("L/s", "l/s", "m3/h", "m³/h", "L/min", "l/min", "m3/s")


@dataclass(frozen=True, slots=True)
class Display:
    """How values of a metric are shown.

    Attributes:
        unit: unit that they are shown in.
        conversion: from stored values to shown ones.
    """

    unit: str
    conversion: Conversion = SAME

    def value(self, stored: float) -> float:
        """A stored value as it is shown."""
        return round(stored * self.conversion.scale + self.conversion.offset, 9) + 0.0  # never -0

    def values(self, stored: Float64) -> Float64:
        """Stored values, float64 [n], as they are shown."""
        if self.conversion is SAME:
            return stored
        return np.round(stored * self.conversion.scale + self.conversion.offset, 9)

    def maybe(self, stored: float | None) -> float | None:
        """A stored value as it is shown; None where there is none."""
        return None if stored is None else self.value(stored)

    def pair(self, stored: tuple[float, float] | None) -> tuple[float, float] | None:
        """A lowest and a highest stored value as they are shown."""
        return None if stored is None else (self.value(stored[0]), self.value(stored[1]))

    def end(self, stored: Any) -> Any:
        """A time and a stored value, the value as it is shown; anything else as it is."""
        if isinstance(stored, list) and len(stored) == 2 and isinstance(stored[1], int | float):
            return [stored[0], self.value(stored[1])]
        return stored

    def difference(self, stored: float) -> float:
        """A difference of stored values as it is shown."""
        return stored * self.conversion.scale


def show_value(declared: DeviceType | None, metric: str, value: float, sent_unit: str = "") -> str:
    """A stored value with its unit, as people prefer to see it; of an undeclared metric in the unit that was sent."""
    point = declared.point(metric) if declared is not None and metric in declared.index else None
    display = display_of(declared, metric, point.unit if point is not None else sent_unit)
    if point is None:
        return f"{display.value(value):,.4g} {display.unit}".rstrip()
    if display.conversion is SAME:
        return point.show(value)
    # As many digits that count as in the declared unit: 0.25 inH2O are 62 Pa.
    decimals = max(0, point.decimals - math.floor(math.log10(display.conversion.scale) + 0.5))
    return show(display.value(value), display.unit, decimals)


def preferred() -> str:
    """The preference: SI, IP, or empty for the stored units."""
    return os.environ.get(UNITS_VARIABLE, "").strip().upper()


def degree_hours_words(kelvin_hours: float) -> str:
    """Degree-hours, which are kept in K·h, as people prefer to see them.

    >>> degree_hours_words(2.0)
    '2.0 K·h'
    """
    return f"{1.8 * kelvin_hours:.1f} °F·h" if preferred() == IP else f"{kelvin_hours:.1f} K·h"


def display_of(declared: DeviceType | None, metric: str, unit: str) -> Display:
    """How values of a metric, stored in a unit, are shown."""
    return _display(declared, metric, unit, preferred())


@lru_cache(maxsize=16_384)
def _display(declared: DeviceType | None, metric: str, unit: str, preference: str) -> Display:
    difference = declared is not None and metric in declared.index and declared.point(metric).difference
    spelled = plain(unit)
    if preference == SI:
        wanted = "K" if difference and spelled == "°F" else _TO_SI.get(spelled)
    elif preference == IP:
        is_flow = spelled in map(plain, _FLOWS_TO_IP)
        wanted = ("cfm" if "air" in metric else "gpm") if is_flow else _TO_IP.get(spelled)
    else:
        wanted = None
    if wanted is None:
        return Display(unit)
    try:
        found = parse_unit(unit)
        how = conversion(unit, wanted, difference=difference or (found is not None and found.reference == DIFFERENCE))
    except UnitError:
        return Display(unit)
    return Display(wanted, how)
