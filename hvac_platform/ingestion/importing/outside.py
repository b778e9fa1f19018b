"""Values that no sensor of their point can read: how many a file holds, and in which unit they would be right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvac_platform.devices.registry import Point
from hvac_platform.devices.units import Conversion, UnitError
from hvac_platform.ingestion.importing.refusing import shown

MOST_KEPT = 1_000
MOSTLY_INSIDE = 0.95
LEAST_DIFFERENT = 3
_UNITS = (
    *("°C", "°F", "K", "fraction", "%", "Pa", "hPa", "kPa", "bar", "psi", "inH2O", "W", "kW", "MW", "Btu/h", "ton", "hp"),
    *("L/s", "L/min", "m³/h", "m³/s", "cfm", "gpm", "A", "mA", "Hz", "rpm", "m/s", "mm/s", "in/s", "kWh", "MWh", "Wh"),
)  # fmt: skip
"""Units that values without one are tried in."""


@dataclass
class Outside:
    """Values of a column beside the hard limits of its point.

    Attributes:
        point: the point.
        column: the column.
        has_unit: whether the file or the map says the unit.
        count: values.
        outside: those beyond the limits.
    """

    point: Point
    column: str
    has_unit: bool
    count: int = 0
    outside: int = 0
    _kept: NDArray[np.float64] | None = None
    _within: NDArray[np.float64] | None = None

    def see(self, values: NDArray[np.float64]) -> None:
        """Some values more, in the point's unit; NaN where there is none."""
        if self.point.hard is None:
            return
        known = values[np.isfinite(values)]
        self.count += len(known)
        beyond = known[~_inside(known, self.point.hard)]
        self.outside += len(beyond)
        within = self._within if self._within is not None else known[:0]
        if len(within) < MOST_KEPT:
            self._within = np.concatenate([within, known[_inside(known, self.point.hard)][:MOST_KEPT]])[:MOST_KEPT]
        kept = self._kept if self._kept is not None else known[:0]
        if len(beyond) and len(kept) < MOST_KEPT:
            self._kept = np.concatenate([kept, beyond])[:MOST_KEPT]

    @property
    def note(self) -> str:
        """What to tell; empty where all values can be."""
        if not self.outside or self.point.hard is None:
            return ""
        low, high = self.point.hard
        told = (
            f"{self.outside} of {self.count} values of column {shown(self.column)} lie outside {low:g} to {high:g} "
            f"{self.point.unit}".rstrip()
            + f", what {self.point.name} can be"
        )
        fit = [] if self.has_unit else self._fitting()
        if fit and not self._fits_all(fit[0]):
            return (
                f"{told}; those would be right in {' or '.join(fit)}, and the others not: where the unit changes within the "
                "file, part it there"
            )
        if fit:
            units = " or ".join(fit)
            return (
                f"{told}; they would be right in {units}: units: {{{shown(self.column)}: {shown(fit[0])}}} in the map"
            )
        return told

    def _fits_all(self, unit: str) -> bool:
        """Whether a unit makes the other values no less usual than they are: else it is that of a part of the column."""
        limits = self.point.normal or self.point.hard
        if self._within is None or not len(self._within) or limits is None:
            return True
        would_be = _converted(self._within, self.point.conversion(unit))
        return bool(_inside(would_be, limits).mean() >= _inside(self._within, limits).mean())

    def _fitting(self) -> list[str]:
        """Units in which nearly all values that lie outside would be normal ones, or possible ones where none is."""
        found: dict[str, Conversion] = {}
        for unit in _UNITS:
            try:
                how = self.point.conversion(unit)
            except UnitError:
                continue
            if self.point.kind == "binary" and not how.changes_nothing:
                continue  # what is on or off is in no unit
            if not how.changes_nothing and how not in found.values():
                found[unit] = how
        kept = self._kept
        among_others = self._within is not None and len(self._within) > 0
        if kept is None or (among_others and len(np.unique(kept)) < LEAST_DIFFERENT):
            return []  # one value over and over among others, such as 0, stands in place of a reading
        for limits in (self.point.normal, self.point.hard):
            if limits is not None:
                fit = [
                    unit
                    for unit, how in found.items()
                    if _inside(_converted(kept, how), limits).mean() >= MOSTLY_INSIDE
                ]
                if fit:
                    return fit[:3]
        return []


def _converted(values: NDArray[np.float64], how: Conversion) -> NDArray[np.float64]:
    """Values in another unit; what no float can hold is infinite, and so outside of every limit."""
    with np.errstate(over="ignore"):
        return values * how.scale + how.offset


def _inside(values: NDArray[np.float64], limits: tuple[float, float]) -> NDArray[np.bool_]:
    return (values >= limits[0]) & (values <= limits[1])
