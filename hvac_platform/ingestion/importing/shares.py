"""Percent or fractions of one: what a column of a point in percent holds, where its unit does not settle it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hvac_platform.devices.units import SAYS_FRACTION, parse_unit, plain
from hvac_platform.ingestion.importing.cells import read_cells
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, shown
from hvac_platform.ingestion.importing.uses import Use

LEAST_VALUES = 20
LARGEST_FRACTION = 2.0
"""Fractions beyond it are none: a valve may be open to 1.02, not to 55."""


@dataclass
class _Seen:
    """Values of a column: how many, whether one lies between 0 and 1, and the largest."""

    count: int = 0
    between: bool = False
    largest: float = 0.0


def check_shares(
    uses: Mapping[str, Use], said_by_map: Collection[str], chunks: Iterable[Mapping[str, pa.Array]]
) -> list[str]:
    """What to tell of columns in percent whose values all lie from 0 to 1.

    Rows are read until each column has shown what it is, which the first ones mostly do.

    Args:
        uses: by column, or by name in the column of metrics, what becomes of it.
        said_by_map: those whose unit the map gives.
        chunks: by column, or by name, its cells of some rows.

    Raises:
        ImportRefusedError: no unit says which, or one that says fraction has values that are none.
    """
    open_ones = {name: _Seen() for name, use in uses.items() if name not in said_by_map and _is_percent(use)}
    found = dict(open_ones)
    for columns in chunks if open_ones else ():
        for name in [one for one in open_ones if one in columns]:
            values = read_cells(columns[name], uses[name].style)[0]
            values = values[np.isfinite(values)]
            if not len(values):
                continue
            seen = open_ones[name]
            seen.count += len(values)
            seen.between |= bool(((values > 0) & (values < 1)).any())
            seen.largest = max(seen.largest, float(values.max()))
            is_fraction = _says(uses[name], SAYS_FRACTION | {"1"})
            if seen.largest > (LARGEST_FRACTION if is_fraction else 1.0) or values.min() < 0:
                del open_ones[name]
        if not open_ones:
            break
    notes = []
    for name, seen in found.items():
        use = uses[name]
        both = f"units: {{{shown(name)}: fraction}} in the map, or units: {{{shown(name)}: '%'}} where they are percent"
        if _says(use, SAYS_FRACTION | {"1"}):
            if seen.largest > LARGEST_FRACTION:
                unit = shown(use.given or use.cell_units[0])
                raise ImportRefusedError(
                    f"column {shown(name)} has the unit {unit}, which says fractions of 1, and values up to "
                    f"{seen.largest:g}; give {both}"
                )
        elif name in open_ones and seen.between and seen.count >= LEAST_VALUES:
            told = f"all {seen.count} values of column {shown(name)} lie from 0 to 1, the largest is {seen.largest:g}"
            if not use.given and not use.cell_units:
                raise ImportRefusedError(
                    f"{told}, and no unit says whether they are fractions of 1 or percent, the unit of {use.metric}; give "
                    f"{both}"
                )
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
