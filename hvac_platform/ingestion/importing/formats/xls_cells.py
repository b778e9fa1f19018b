"""Cells of an xls that are shown as percent or with a unit, or hold an error, from its records (MS-CFB, MS-XLS)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from hvac_platform.ingestion.importing.formats.marks import Marks, percent_formats, unit_formats

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ERRORS = {0x00: "#NULL!", 0x07: "#DIV/0!", 0x0F: "#VALUE!", 0x17: "#REF!", 0x1D: "#NAME?", 0x24: "#NUM!", 0x2A: "#N/A"}
_FORMULA, _EOF, _BOUNDSHEET, _MULRK, _XF = 0x0006, 0x000A, 0x0085, 0x00BD, 0x00E0
_NUMBER, _BOOLERR, _RK, _FORMAT, _BOF = 0x0203, 0x0205, 0x027E, 0x041E, 0x0809
_BIFF8 = 0x0600
NO_UNIT = ("", 1)
_NO_SECTOR = 0xFFFFFFFA
"""Numbers from here on are no sectors."""


def marks_of_xls(workbook: bytes, sheet: str) -> Marks:
    """What the cells of a sheet are marked as.

    Args:
        workbook: the file.
        sheet: name of the sheet.

    Raises:
        ValueError: it is not a file of that form.
    """
    try:
        stream = _stream(workbook)
        formats: dict[int, str] = {}
        styles: list[int] = []
        start, wide = None, True
        for kind, record in _records(stream, 0):
            if kind == _BOF:
                wide = struct.unpack_from("<H", record)[0] == _BIFF8
            elif kind == _FORMAT:
                formats[struct.unpack_from("<H", record)[0]] = _text(record[2:], 2 if wide else 1, wide=wide)
            elif kind == _XF:
                styles.append(struct.unpack_from("<H", record, 2)[0])
            elif kind == _BOUNDSHEET and _text(record[6:], 1, wide=wide) == sheet:
                start = struct.unpack_from("<I", record)[0]
        percent, units = percent_formats(formats), unit_formats(formats)
        shown = [None if style in percent else units.get(style, NO_UNIT) for style in styles]
        return Marks() if start is None else _marks(stream, start, shown)
    except (struct.error, IndexError) as error:
        raise ValueError(str(error)) from None


def _marks(stream: bytes, start: int, shown: list[tuple[str, int] | None]) -> Marks:
    """Marks of a sheet, by what is shown of a style: percent where it is None."""
    found = Marks()

    def mark(place: tuple[int, int], style: int) -> None:
        unit = shown[style]
        if unit is None:
            found.percent.add(place)
        elif unit != NO_UNIT:
            found.units[place] = unit

    for kind, record in _records(stream, start):
        if kind not in (_NUMBER, _RK, _MULRK, _FORMULA, _BOOLERR):
            continue
        row, column, style = struct.unpack_from("<HHH", record)
        error = None
        if kind == _BOOLERR and record[7]:
            error = record[6]
        elif kind == _FORMULA and record[12:14] == b"\xff\xff" and record[6] == 2:
            error = record[8]
        if error is not None:
            found.errors[row, column] = ERRORS.get(error, "#ERROR!")
        elif kind == _MULRK:
            count = (len(record) - 6) // 6
            of_cell = struct.unpack_from("<" + "HI" * count, record, 4)[::2]
            for i, one in enumerate(of_cell):
                mark((row, column + i), one)
        elif kind != _BOOLERR:
            mark((row, column), style)
    return found


def _records(stream: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Kinds and contents of the records of one part, without those of what is embedded in it."""
    place, depth = start, 0
    while place + 4 <= len(stream):
        kind, length = struct.unpack_from("<HH", stream, place)
        depth += (kind == _BOF) - (kind == _EOF)
        if depth < 1:
            return
        if depth == 1:
            yield kind, stream[place + 4 : place + 4 + length]
        place += 4 + length


def _text(record: bytes, size: int, *, wide: bool) -> str:
    """A text behind its length, which has so many bytes."""
    length = int.from_bytes(record[:size], "little")
    if not wide:
        return record[size : size + length].decode("cp1252", "replace")
    is_double = record[size] & 1
    start = size + 1
    return record[start : start + length * (1 + is_double)].decode("utf-16-le" if is_double else "latin-1", "replace")


def _stream(workbook: bytes) -> bytes:
    """The stream of the workbook in the compound file."""
    shift, small_shift = struct.unpack_from("<HH", workbook, 30)
    first_directory, _, cutoff, first_small, _, next_list, _ = struct.unpack_from("<7I", workbook, 48)

    def sector(number: int) -> bytes:
        return workbook[(number + 1) << shift : (number + 2) << shift]

    def chain(number: int, table: list[int]) -> Iterator[int]:
        for _ in range(len(table)):
            if number >= _NO_SECTOR:
                return
            yield number
            number = table[number]

    def numbers(some: bytes) -> list[int]:
        return list(struct.unpack(f"<{len(some) // 4}I", some))

    parts = numbers(workbook[76:512])
    while next_list < _NO_SECTOR and len(parts) <= len(workbook) >> shift:
        *more, next_list = numbers(sector(next_list))
        parts += more
    table = [one for part in parts if part < _NO_SECTOR for one in numbers(sector(part))]

    def whole(number: int) -> bytes:
        return b"".join(sector(one) for one in chain(number, table))

    directory = whole(first_directory)
    entries: dict[str, tuple[int, int]] = {}
    for place in range(0, len(directory) - 127, 128):
        length = struct.unpack_from("<H", directory, place + 64)[0]
        name = directory[place : place + max(0, length - 2)].decode("utf-16-le", "replace")
        entries.setdefault(name, struct.unpack_from("<II", directory, place + 116))
    start, size = entries.get("Workbook") or entries.get("Book") or (_NO_SECTOR, 0)
    if size >= cutoff:
        return whole(start)[:size]
    small, of_small = whole(entries.get("Root Entry", (_NO_SECTOR, 0))[0]), numbers(whole(first_small))
    return b"".join(small[one << small_shift : (one + 1) << small_shift] for one in chain(start, of_small))[:size]
