"""Workbooks of spreadsheets: xls, xlsx, xlsb, ods."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from xml.etree import ElementTree

from hvac_platform.ingestion.importing.formats.headers import find_header
from hvac_platform.ingestion.importing.formats.marks import Marks
from hvac_platform.ingestion.importing.formats.ods_cells import marks_of_ods
from hvac_platform.ingestion.importing.formats.opening import Content
from hvac_platform.ingestion.importing.formats.repeated_header import UnderOneHeader
from hvac_platform.ingestion.importing.formats.table import RowsTable, Table
from hvac_platform.ingestion.importing.formats.xls_cells import OLE, marks_of_xls
from hvac_platform.ingestion.importing.formats.xlsx_cells import marks_of_xlsx
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, listed

ROWS_LOOKED_AT = 300


def open_workbook(content: Content, sheet: str | None, header: Sequence[str]) -> Table:
    """The table of a sheet: the one that is named, else the first one that has rows.

    Raises:
        ImportRefusedError: there is none.
    """
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError  # only where a workbook is read

    try:
        with content.open() as handle:
            whole = handle.read()
        book = CalamineWorkbook.from_filelike(io.BytesIO(whole))
        names = book.sheet_names
        if sheet is not None and sheet not in names:
            raise ImportRefusedError(f"there is no sheet {sheet!r}; the sheets are {listed(names)}")
        for name in [sheet] if sheet is not None else names:
            found = book.get_sheet_by_name(name)
            rows = [[_text(cell) for cell in row] for row in found.to_python(skip_empty_area=False)]
            if sum(any(row) for row in rows) > 1:
                break
        else:
            raise ImportRefusedError("the workbook has no rows")
        others = [one for one in names if one != name and _has_rows(book, one)]
    except PasswordError:
        raise ImportRefusedError("the workbook is protected by a password") from None
    except (CalamineError, OSError, ValueError) as error:
        if isinstance(error, ImportRefusedError):
            raise
        raise ImportRefusedError(f"not a readable workbook: {error}") from None
    marks = _marks(whole, name)
    for (row, column), mark in marks.errors.items():
        if row < len(rows) and column < len(rows[row]):
            rows[row][column] = mark or "#ERROR!"
    for row, column in marks.percent:
        if row < len(rows) and column < len(rows[row]):
            rows[row][column] = _as_percent(rows[row][column])
    for (row, column), (unit, divided) in marks.units.items():
        if row < len(rows) and column < len(rows[row]) and _is_number(rows[row][column]):
            rows[row][column] = f"{float(rows[row][column]) / divided:.12g} {unit}"
    head = find_header(rows[:ROWS_LOOKED_AT], header)
    body = [(number, row) for number, row in enumerate(rows[head.before :], head.before + 1) if any(row)]
    table = RowsTable(
        f"workbook, sheet {name!r}{f' of {len(names)}' if len(names) > 1 else ''}", head.names, body, head.units,
        remarks=head.remarks,
    )  # fmt: skip
    if marks.unsaved:
        table.notes = (
            f"{marks.unsaved} cells hold formulas without their results: open the workbook in a spreadsheet and save it",
        )
    if others:
        table.notes = (
            *table.notes,
            f"of the workbook's sheets only {name!r} is imported; {listed(others)} {'has' if len(others) == 1 else 'have'} "
            f"rows too: import them one by one, with sheet: {others[0]!r} in the map",
        )
    return UnderOneHeader(table, head.written) if head.written else table


def _marks(workbook: bytes, sheet: str) -> Marks:
    """Cells that are shown as percent or hold an error; none of a format that does not tell."""
    try:
        if workbook.startswith(OLE):
            return marks_of_xls(workbook, sheet)
        with zipfile.ZipFile(io.BytesIO(workbook)) as archive:
            parts = archive.namelist()
            if "content.xml" in parts:
                return marks_of_ods(archive, sheet)
            return marks_of_xlsx(archive, sheet) if "xl/workbook.xml" in parts else Marks()
    except (KeyError, ValueError, zipfile.BadZipFile, ElementTree.ParseError):
        return Marks()


def _has_rows(book: Any, name: str) -> bool:
    """Whether a sheet has a header and something below it, as sheets of charts and empty ones have not."""
    try:
        return int(book.get_sheet_by_name(name).height) > 1
    except Exception:  # a sheet that is no table, such as one of a chart
        return False


def _text(cell: Any) -> str:
    """A cell as text; instants in ISO 8601, midnights as dates."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else repr(cell)
    if isinstance(cell, datetime):
        rounded = _to_milliseconds(cell)
        return rounded.strftime("%Y-%m-%d") if rounded.time() == time() else rounded.isoformat(" ")
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, time):
        return cell.strftime("%H:%M:%S")
    if isinstance(cell, timedelta):
        minutes, seconds = divmod(round(cell.total_seconds()), 60)
        return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"
    return "" if cell is None else str(cell).strip()


def _as_percent(text: str) -> str:
    """A number as it is shown where its format is percent; other texts as they are.

    >>> _as_percent("0.55"), _as_percent("n/a")
    ('55 %', 'n/a')
    """
    try:
        return f"{float(text) * 100:.12g} %"
    except ValueError:
        return text


def _is_number(text: str) -> bool:
    """Whether a cell holds a number, as a text."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _to_milliseconds(instant: datetime) -> datetime:
    """Without the noise of days kept as a double: 00:14:59.999 is 00:15."""
    second = instant.replace(microsecond=0)
    rest = instant.microsecond
    if rest >= 995_000:
        return second + timedelta(seconds=1)
    return second if rest <= 5_000 else second + timedelta(milliseconds=round(rest / 1000))
