"""Annotated CSV of InfluxDB: tables one below the other, each with three lines about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hvac_platform.ingestion.importing.formats.lines import cells_of, whole_lines
from hvac_platform.ingestion.importing.formats.opening import Content, open_text
from hvac_platform.ingestion.importing.formats.table import RowsTable
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, shown

ANNOTATIONS = ("#group", "#datatype", "#default")


def open_influx(content: Content, encoding: str, words: str) -> RowsTable:
    """The table of an annotated CSV, of all columns that one of its tables has.

    Raises:
        ImportRefusedError: no table has a header.
    """
    names: dict[str, None] = {}
    for header, _, _ in _rows(content, encoding):
        names |= dict.fromkeys(header)
    columns = [name for name in names if name]
    if {"error", "reference"} <= set(columns) and len(columns) <= 4:
        said = next((" ".join(cell for cell in row if cell) for _, _, row in _rows(content, encoding)), "")
        raise ImportRefusedError(f"the file is an error that InfluxDB answered with, not data: {said[:200]}")
    if not columns:
        raise ImportRefusedError("the annotated CSV has no rows")
    return RowsTable(f"annotated CSV of InfluxDB, {words}", tuple(columns), _Aligned(content, encoding, columns))


@dataclass
class _Aligned:
    content: Content
    encoding: str
    columns: list[str]

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        for header, line, row in _rows(self.content, self.encoding):
            cells = dict(zip(header, row, strict=False))
            yield line, [cells.get(name, "") for name in self.columns]


def _rows(content: Content, encoding: str) -> Iterator[tuple[list[str], int, list[str]]]:
    """Header, line and cells of each row; what a row leaves empty has the default of its table."""
    header: list[str] = []
    defaults: list[str] = []
    expects_header = True
    with open_text(content, encoding) as handle:
        for number, line, problem in whole_lines(handle, ","):
            if problem:
                raise ImportRefusedError(f"line {number}: {problem}: {shown(line)}")
            row = cells_of(line, ",")
            if not any(row):
                continue
            if row[0].startswith("#"):
                expects_header = True
                defaults = row if row[0] == "#default" else defaults
            elif expects_header:
                header, expects_header = row, False
            else:
                filled = [cell or (defaults[i] if 0 < i < len(defaults) else "") for i, cell in enumerate(row)]
                yield header, number, filled
