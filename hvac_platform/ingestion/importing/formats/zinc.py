"""Zinc, the grids of Project Haystack: columns with their own units and names, cells with units."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass

from hvac_platform.ingestion.importing.formats.delimited import rows_of
from hvac_platform.ingestion.importing.formats.lines import NOT_CLOSED
from hvac_platform.ingestion.importing.formats.opening import Content
from hvac_platform.ingestion.importing.formats.table import RowsTable, unique
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, shown

_OPEN = re.compile(r'(?:[^"\\]|\\.|"(?:[^"\\]|\\.)*")*')
_TAG = re.compile(r'(\w+)(?::("(?:[^"\\]|\\.)*"|@\S+(?:\s+"(?:[^"\\]|\\.)*")?|[^\s,]+))?')


def open_zinc(content: Content, encoding: str, words: str) -> RowsTable:
    """The table of a grid.

    Raises:
        ImportRefusedError: it has no columns.
    """
    lines = rows_of(content, encoding)
    next(lines, None)
    _, header = next(lines, (0, ""))
    if not header.strip():
        raise ImportRefusedError("the grid of Zinc has no columns")
    names, units = [], []
    for column in _split(header):
        name, _, meta = column.strip().partition(" ")
        tags = {tag: _text(value or "") for tag, value in _TAG.findall(meta)}
        label = tags.get("dis") or tags.get("navName") or _name_of_id(tags.get("id", "")) or name
        names.append(label)
        units.append(tags.get("unit", ""))
    columns = unique(names)
    given = {name: unit for name, unit in zip(columns, units, strict=True) if unit}
    return RowsTable(f"Zinc, {words}", columns, _Rows(content, encoding), given)


@dataclass
class _Rows:
    content: Content
    encoding: str

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        for number, line in rows_of(self.content, self.encoding):
            if number < 3 or not line.strip():
                continue
            if _OPEN.fullmatch(line) is None:
                raise ImportRefusedError(f"line {number}: {NOT_CLOSED}: {shown(line)}")
            try:
                cells = next(csv.reader([line], escapechar="\\"), [])
            except csv.Error as error:
                raise ImportRefusedError(f"line {number}: {error}") from None
            yield number, [_CELLS.get(cell.strip(), cell.strip()) for cell in cells]


_CELLS = {"N": "", "NA": "", "M": "", "R": "", "T": "true", "F": "false", "NaN": "", "INF": "inf", "-INF": "-inf"}


def _split(header: str) -> list[str]:
    """Columns of a header; a comma in quotes parts none."""
    return re.findall(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+', header)


def _text(value: str) -> str:
    """A text of a tag: without its quotes, with the signs that it writes as numbers."""
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match.group(1), 16)), value.strip('"'))


def _name_of_id(identity: str) -> str:
    """The name behind an id: ``@p:site:r:1 "AHU-1 SAT"``."""
    match = re.search(r'"(.*)"$|"?(.*?)$', identity.partition(" ")[2])
    return (match.group(1) or match.group(2) or "") if match is not None else ""
