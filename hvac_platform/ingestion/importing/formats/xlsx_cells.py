"""Cells of an xlsx that are shown as percent or with a unit, hold an error, or a formula without its result."""

from __future__ import annotations

import zipfile
from xml.etree import ElementTree

from hvac_platform.ingestion.importing.formats.marks import Marks, percent_formats, unit_formats


def marks_of_xlsx(archive: zipfile.ZipFile, sheet: str) -> Marks:
    """What the cells of a sheet are marked as.

    Args:
        archive: the file.
        sheet: name of the sheet.
    """
    part = _part(archive, sheet)
    return Marks() if part is None else _marks(archive, part, *_styles(archive))


def _styles(archive: zipfile.ZipFile) -> tuple[set[str], dict[str, tuple[str, int]]]:
    """Numbers of the styles of cells that are shown as percent, and units by those of cells that are shown with one."""
    if "xl/styles.xml" not in archive.namelist():
        return set(), {}
    tree = ElementTree.fromstring(archive.read("xl/styles.xml"))
    formats = {int(one.get("numFmtId", 0)): one.get("formatCode", "") for one in tree.iter() if _tag(one) == "numFmt"}
    percent, units = percent_formats(formats), unit_formats(formats)
    styles = [int(style.get("numFmtId", 0)) for one in tree if _tag(one) == "cellXfs" for style in one]
    return (
        {str(i) for i, number in enumerate(styles) if number in percent},
        {str(i): units[number] for i, number in enumerate(styles) if number in units},
    )


def _part(archive: zipfile.ZipFile, sheet: str) -> str | None:
    """Name of the file of a sheet."""
    book = ElementTree.fromstring(archive.read("xl/workbook.xml"))
    relations = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
    target = {one.get("Id"): one.get("Target", "") for one in relations}
    for one in book.iter():
        if _tag(one) == "sheet" and one.get("name") == sheet:
            number = next((value for name, value in one.attrib.items() if name.endswith("}id")), None)
            path = target.get(number, "")
            return path.lstrip("/") if path.startswith("/") else f"xl/{path}"
    return None


def _marks(archive: zipfile.ZipFile, part: str, percent: set[str], units: dict[str, tuple[str, int]]) -> Marks:
    found = Marks()
    row = column = -1
    with archive.open(part) as handle:
        for event, one in ElementTree.iterparse(handle, ("start", "end")):
            tag = _tag(one)
            if tag == "row" and event == "start":
                row, column = int(one.get("r") or row + 2) - 1, -1
            elif tag == "row":
                one.clear()
            elif tag == "c" and event == "end":
                place = one.get("r")
                column = column + 1 if place is None else _column(place)
                inside = {_tag(part): part.text for part in one}
                found.unsaved += "f" in inside and not inside.get("v")
                if one.get("t") == "e":
                    found.errors[row, column] = next((part.text or "" for part in one if _tag(part) == "v"), "")
                elif one.get("s") in percent:
                    found.percent.add((row, column))
                elif (unit := units.get(one.get("s") or "")) is not None:
                    found.units[row, column] = unit
    return found


def _column(place: str) -> int:
    """The column of a place.

    >>> _column("A1"), _column("AB12")
    (0, 27)
    """
    found = 0
    for letter in place.rstrip("0123456789"):
        found = found * 26 + ord(letter) - ord("A") + 1
    return found - 1


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
