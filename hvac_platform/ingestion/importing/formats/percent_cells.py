"""Cells of a workbook that are shown as percent: the number behind 55 % is 0.55, and only the format of the cell says so."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from xml.etree import ElementTree

BUILT_IN = ("9", "10")
"""Numbers of the formats 0% and 0.00%."""
_NOT_SHOWN = re.compile(r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]')
"""What a format writes as text, or not at all."""


def percent_cells(workbook: bytes, sheet: str) -> set[tuple[int, int]]:
    """Row and column, counted from 0, of the cells of a sheet of an xlsx that are shown as percent; none of other formats.

    Args:
        workbook: the file.
        sheet: name of the sheet.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(workbook)) as archive:
            styles = _percent_styles(archive)
            part = _part(archive, sheet) if styles else None
            return set() if part is None else set(_cells(archive, part, styles))
    except (KeyError, ValueError, zipfile.BadZipFile, ElementTree.ParseError):
        return set()


def _percent_styles(archive: zipfile.ZipFile) -> set[str]:
    """Numbers of the styles of cells that are shown as percent."""
    tree = ElementTree.fromstring(archive.read("xl/styles.xml"))
    formats = {one.get("numFmtId"): one.get("formatCode", "") for one in tree.iter() if _tag(one) == "numFmt"}
    percent = {number for number, code in formats.items() if "%" in _NOT_SHOWN.sub("", code)} | set(BUILT_IN)
    styles = [style for one in tree if _tag(one) == "cellXfs" for style in one]
    return {str(i) for i, one in enumerate(styles) if one.get("numFmtId") in percent}


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


def _cells(archive: zipfile.ZipFile, part: str, styles: set[str]) -> Iterator[tuple[int, int]]:
    row = column = -1
    with archive.open(part) as handle:
        for event, one in ElementTree.iterparse(handle, ("start", "end")):
            tag = _tag(one)
            if event == "end":
                if tag == "row":
                    one.clear()
            elif tag == "row":
                row, column = int(one.get("r") or row + 2) - 1, -1
            elif tag == "c":
                place = one.get("r")
                column = column + 1 if place is None else _column(place)
                if one.get("s") in styles:
                    yield row, column


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
