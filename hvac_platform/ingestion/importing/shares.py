"""Percent or fractions of one: what a column of a point in percent holds, where its unit does not settle it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hvac_platform.devices.units import SAYS_FRACTION, parse_unit, plain
from hvac_platform.ingestion.importing.cells import read_cells
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, shown
from hvac_platform.ingestion.importing.uses import Use

LEAST_VALUES = 20
LARGEST_FRACTION = 2.0
"""Fractions beyond it are none: a valve may be open to 1.02, not to 55."""


@dataclass
class _Seen:
    """Values of a column: how many, whether one lies between 0 and 1, the largest, and whether all can be fractions."""

    count: int = 0
    between: bool = False
    largest: float = 0.0
    may_be: bool = True

    def see(self, values: NDArray[np.float64], limit: float = 1.0) -> None:
        """Some values more, of which fractions lie from 0 to a limit."""
        if not self.may_be or not len(values):
            return
        self.count += len(values)
        self.between |= bool(((values > 0) & (values < 1)).any())
        self.largest = max(self.largest, float(values.max()))
        self.may_be = self.largest <= limit and bool(values.min() >= 0)


def check_shares(
    uses: Mapping[str, Use],
    said_by_map: Collection[str],
    chunks: Iterable[Mapping[str, tuple[pa.Array, Sequence[str] | None]]],
) -> list[str]:
    """What to tell of columns in percent whose values all lie from 0 to 1.

    Rows are read until each column has shown what it is, which the first ones mostly do.

    Args:
        uses: by column, or by name in the column of metrics, what becomes of it.
        said_by_map: those whose unit the map gives.
        chunks: by column, or by name, its cells of some rows, and the units that a column of units gives them, or None.

    Raises:
        ImportRefusedError: no unit says which, or one that says fraction has values that are none.
    """
    percent = {name: use for name, use in uses.items() if name not in said_by_map and _is_percent(use)}
    found = {name: _Seen() for name in percent}
    # Cells that name no unit beside those that do.
    beside = {name: _Seen() for name, use in percent.items() if any(plain(unit) == "%" for unit in use.cell_units)}
    for columns in chunks if percent else ():
        for name, use in percent.items():
            if name not in columns or not (found[name].may_be or (name in beside and beside[name].may_be)):
                continue
            cells, of_rows = columns[name]
            values, _, in_cells = read_cells(cells, use.style)
            is_bare = (
                np.array([not one for one in in_cells]) if in_cells is not None else np.ones(len(values), np.bool_)
            )
            if of_rows is not None:
                is_bare &= np.array([not one for one in of_rows], np.bool_)
            known = np.isfinite(values)
            is_fraction = _says(use, SAYS_FRACTION | {"1"})
            judged = known & is_bare if is_fraction and use.given else known
            found[name].see(values[judged], LARGEST_FRACTION if is_fraction else 1.0)
            if name in beside:
                beside[name].see(values[known & is_bare])
        if not any(one.may_be for one in (*found.values(), *beside.values())):
            break
    notes = []
    for name, seen in found.items():
        use = percent[name]
        both = f"units: {{{shown(name)}: fraction}} in the map, or units: {{{shown(name)}: '%'}} where they are percent"
        bare = beside.get(name, _Seen())
        if _says(use, SAYS_FRACTION | {"1"}):
            if seen.largest > LARGEST_FRACTION:
                unit = shown(use.given or use.cell_units[0])
                raise ImportRefusedError(
                    f"column {shown(name)} has the unit {unit}, which says fractions of 1, and values up to "
                    f"{seen.largest:g}; give {both}"
                )
        elif bare.may_be and bare.largest:
            raise ImportRefusedError(
                f"column {shown(name)} has values in %, and {bare.count} that name no unit and lie from 0 to 1, the largest "
                f"{bare.largest:g}: nothing says whether these are fractions of 1 or percent; give {both}"
            )
        elif seen.may_be and seen.largest and seen.count >= LEAST_VALUES:
            told = f"all {seen.count} values of column {shown(name)} lie from 0 to 1, the largest is {seen.largest:g}"
            if not seen.between:
                told = f"all {seen.count} values of column {shown(name)} are 0 or 1"
            if not use.given and not use.cell_units:
                raise ImportRefusedError(
                    f"{told}, and no unit says whether they are fractions of 1"
                    f"{'' if seen.between else ', off and on,'} or percent, the unit of {use.metric}; give {both}"
                )
            if seen.between:
                notes.append(
                    f"{told}, and are taken for percent, as the file says; where they are fractions of 1, give {both}"
                )
    return notes


def _is_percent(use: Use) -> bool:
    return (
        use.declared
        and parse_unit(use.unit) == parse_unit("%")
        and (not (use.given or use.cell_units) or _says(use, SAYS_FRACTION | {"1", "%"}))
    )


def _says(use: Use, units: Collection[str]) -> bool:
    """Whether nothing but some units is said of a column."""
    said = [use.given] if use.given else list(use.cell_units)
    return bool(said) and all(plain(unit).lower().strip("[](){}") in units for unit in said)
