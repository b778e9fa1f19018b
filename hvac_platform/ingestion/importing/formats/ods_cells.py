"""Cells of an ods that are shown as percent or with a unit, or hold an error."""

from __future__ import annotations

import zipfile
from itertools import product
from xml.etree import ElementTree

from hvac_platform.ingestion.importing.formats.marks import Marks, unit_behind

MOST_ROWS, MOST_COLUMNS = 1_048_576, 16_384
"""Size of a sheet."""


def marks_of_ods(archive: zipfile.ZipFile, sheet: str) -> Marks:
    """What the cells of a sheet are marked as.

    An error is shown as a text, and its value is an empty one or 0, depending on the program.

    Args:
        archive: the file.
        sheet: name of the sheet.
    """
    found = Marks()
    inside, row = False, 0
    with archive.open("content.xml") as handle:
        for event, one in ElementTree.iterparse(handle, ("start", "end")):
            tag = _tag(one)
            if tag == "table" and _attribute(one, "name") is not None:
                inside = event == "start" and _attribute(one, "name") == sheet
            elif tag == "table-row" and event == "end":
                if inside:
                    row = _mark(found, one, row)
                one.clear()
    return found


def _mark(found: Marks, row: ElementTree.Element, first: int) -> int:
    """Mark the cells of a row that may stand for several; the row below them."""
    rows = range(first, min(MOST_ROWS, first + int(_attribute(row, "number-rows-repeated") or 1)))
    column = 0
    for cell in row:
        if _tag(cell) not in ("table-cell", "covered-table-cell"):
            continue
        end = min(MOST_COLUMNS, column + int(_attribute(cell, "number-columns-repeated") or 1))
        kinds = [value for name, value in cell.attrib.items() if name.endswith("}value-type")]
        places = product(rows, range(column, end))
        shown = next((" ".join(part.itertext()).strip() for part in cell if _tag(part) == "p"), "")
        if "error" in kinds:
            found.errors.update(dict.fromkeys(places, shown))
        elif "percentage" in kinds:
            found.percent.update(places)
        elif "float" in kinds and (unit := unit_behind(shown)):
            found.units.update(dict.fromkeys(places, (unit, 1)))
        column = end
    return rows.stop


def _attribute(element: ElementTree.Element, name: str) -> str | None:
    return next((value for key, value in element.attrib.items() if key.endswith("}" + name)), None)


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
