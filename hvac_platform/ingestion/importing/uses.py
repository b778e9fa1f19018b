"""What becomes of a column of values: its unit, how its cells are read, or why it can't be taken."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hvac_platform.devices.registry import DeviceType, Point
from hvac_platform.devices.units import SAME, Conversion, UnitError, conversion
from hvac_platform.ingestion.importing.cells import ColumnEvidence, Style, decimal_of
from hvac_platform.ingestion.importing.columns import AS_IT_IS
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, Refusal, listed, shown
from hvac_platform.ingestion.importing.wording import MOSTLY, states_for


@dataclass(frozen=True)
class Use:
    """What becomes of a column, or of a name in the column of metrics.

    Attributes:
        name: the column, or the name.
        metric: its metric.
        unit: unit of the messages.
        given: unit of cells that name none; empty where nothing is said and they are taken to be in ``unit``.
        conversion: from cells that name no unit to ``unit``.
        style: how its cells are read.
        by: how the metric was found.
        device: its device, or None where rows say so.
        cell_units: units that stand in its cells.
        declared: whether the type declares it.
        over_rows: whether the map says its unit, over what a column of units says.
    """

    name: str
    metric: str
    unit: str
    given: str
    conversion: Conversion
    style: Style
    by: str
    device: str | None = None
    cell_units: tuple[str, ...] = ()
    declared: bool = False
    over_rows: bool = False


@dataclass(frozen=True)
class Meant:
    """What a column is taken for, before its cells have been judged.

    Attributes:
        name: the column, or the name in the column of metrics.
        metric: its metric.
        point: the point of the type that it is; None where the type declares none.
        device: its device, or None where rows say so.
        unit: unit that header or map name; empty where they don't.
        by: how the metric was found.
        states: numbers by word that the map gives, in small letters.
        decimal: decimal mark that is given, or None.
        row_units: readings by the unit in the column of units; with an empty one where rows name none.
    """

    name: str
    metric: str
    point: Point | None
    device: str | None
    unit: str
    by: str
    states: Mapping[str, float]
    decimal: str | None
    row_units: Mapping[str, int]


def use_of(meant: Meant, evidence: ColumnEvidence, of_file: ColumnEvidence, separator: str) -> Use | Refusal | str:
    """What becomes of a column: its use, the refusal of all its cells, or why it is left out.

    Args:
        meant: what it is taken for.
        evidence: what its cells say.
        of_file: what the cells of all columns say of decimal marks.
        separator: what stands between the cells; empty where the format parts them otherwise.

    Raises:
        ImportRefusedError: its cells can be read in two ways; the message says what to give.
    """
    name, point = meant.name, meant.point
    if not evidence.filled and not evidence.errors:
        return "empty"
    if not evidence.filled:
        first = shown(evidence.first_error)
        told = f"0 of {evidence.errors} values could be read: all are errors of a spreadsheet, first {first}"
        if point is None and meant.by == AS_IT_IS:
            return told
        return Refusal(0, name, evidence.first_error, told, evidence.errors)
    states = states_for(evidence, point, meant.states)
    words = sum(count for word, count in evidence.words.items() if word.lower() not in states)
    as_it_is = point is None and meant.by == AS_IT_IS
    if words >= evidence.filled or (as_it_is and words > MOSTLY * evidence.filled):
        first = next((word for word in evidence.words if word.lower() not in states), evidence.first)
        if as_it_is:
            return f"no numbers, first {shown(first)}"
        advice = (
            "; say what words mean: states: {WORD: NUMBER} in the map" if re.search(r"^[^#]*[^\W\d_]", first) else ""
        )
        reason = f"0 of {evidence.filled} values could be read, first {shown(first)}{advice}"
        return Refusal(0, name, first, reason, evidence.filled)
    decimal = meant.decimal or decimal_of(evidence, of_file, separator)
    if decimal is None and evidence.comma and evidence.point:
        reason = "some numbers have a decimal comma, others a decimal point; give --decimal"
        return Refusal(0, name, evidence.first_comma, reason, evidence.filled)
    if decimal is None:
        text, mark = (evidence.first, "comma") if evidence.unclear else (evidence.first_unclear_point, "point")
        raise ImportRefusedError(
            f"numbers in column {shown(name)} such as {shown(text)} can have a decimal {mark} or be thousands; "
            "give --decimal , or --decimal . (in the map: decimal)"
        )
    given = meant.unit
    by_unit = _units_in_cells(evidence, meant.row_units)
    in_cells = [unit for unit in by_unit if unit]
    unit = point.unit if point is not None else given or next(iter(in_cells), "")
    try:
        how = _conversion(point, given, unit) if given else SAME
        problems = {one: problem for one in in_cells if (problem := _problem(point, one, unit))}
        # Few cells in a unit that does not fit are refused by themselves.
        if problems and sum(by_unit[one] for one in problems) > MOSTLY * evidence.filled:
            raise UnitError(next(iter(problems.values())))
    except UnitError as error:
        return Refusal(0, name, given or in_cells[0], f"{error}, the unit of {meant.metric}", evidence.filled)
    if not given and by_unit.get(""):
        _check_bare(meant, by_unit, [one for one in in_cells if one not in problems], unit)
    return Use(
        name, meant.metric, unit, given, how, Style(decimal, states), meant.by, meant.device, tuple(in_cells),
        point is not None,
    )  # fmt: skip


def _units_in_cells(evidence: ColumnEvidence, row_units: Mapping[str, int]) -> dict[str, int]:
    """Numbers by the unit that stands in their cells or rows; those with none by an empty text."""
    found = dict(evidence.units)
    if row_units:
        for unit, count in row_units.items():
            found[unit] = found.get(unit, 0) + count
        found[""] = max(0, found.get("", 0) - sum(evidence.units.values()))
    else:
        found[""] = evidence.without_unit
    return found


def _check_bare(meant: Meant, by_unit: Mapping[str, int], in_cells: list[str], unit: str) -> None:
    """Cells without a unit beside some in another one than the declared unit could be in either.

    Raises:
        ImportRefusedError: there are such.
    """
    others = [one for one in in_cells if not _conversion(meant.point, one, unit).changes_nothing]
    if others:
        said = f"{unit}, the unit of {meant.metric}" if meant.point is not None else unit
        raise ImportRefusedError(
            f"column {shown(meant.name)} has {by_unit['']} values without a unit beside {listed(others)}; say what those "
            f"are in, units: {{{shown(meant.name)}: UNIT}} in the map (else it would be {said})"
        )


def conversions_of(use: Use, declared: DeviceType | None) -> dict[str, Conversion | str]:
    """By unit in a cell, how it becomes the use's unit, or why it doesn't."""
    point = declared.point(use.metric) if declared is not None and use.declared else None
    found: dict[str, Conversion | str] = {"": use.conversion}
    for unit in use.cell_units:
        found[unit] = _problem(point, unit, use.unit) or _conversion(point, unit, use.unit)
    return found


def _conversion(point: Point | None, given: str, unit: str) -> Conversion:
    if point is not None and point.kind == "binary" and not (how := point.conversion(given)).changes_nothing:
        raise UnitError(f"unit {shown(given)} does not measure what is on or off (by a factor of {how.scale:g})")
    return point.conversion(given) if point is not None else conversion(given, unit)


def _problem(point: Point | None, given: str, unit: str) -> str:
    """Why a unit can't become another; empty where it can."""
    try:
        _conversion(point, given, unit)
    except UnitError as error:
        return str(error)
    return ""
