"""Headers that stand in a table again, as where exports were put one below the other: no rows, and their order counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hvac_platform.ingestion.importing.columns import TIME_NAMES, slug, split_zone
from hvac_platform.ingestion.importing.formats.headers import is_unit, looks_like_data, units_of_row
from hvac_platform.ingestion.importing.formats.table import Chunk, Table
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, Refusal, listed, shown

AGAIN = "the header again"


@dataclass
class UnderOneHeader:
    """A table without the headers in it; rows below one in another order are put in that of the first.

    Attributes:
        table: the table.
        written: names of the columns as they stand in the header.
    """

    table: Table
    written: Sequence[str]

    def __post_init__(self) -> None:
        self.description, self.columns, self.units = self.table.description, self.table.columns, self.table.units
        self.separator: str = getattr(self.table, "separator", "")
        self.notes: Sequence[str] = getattr(self.table, "notes", ())
        self.remarks: Sequence[Sequence[str]] = getattr(self.table, "remarks", ())
        self._place = {_folded(name): i for i, name in reversed(list(enumerate(self.written))) if _folded(name)}
        self._names = pa.array([*self._place], pa.string())

    def chunks(self) -> Iterator[Chunk]:
        """The rows, from the first one.

        Raises:
            ImportRefusedError: a header has other columns than the first one; the message says which.
        """
        order: list[int] | None = None
        below = False
        for chunk in self.table.chunks():
            rows = self._headers(chunk)
            if not rows and order is None and not below:
                yield chunk
                continue
            refused = [*chunk.refused]
            start = 0
            for row in [*rows, len(chunk)]:
                if below and start < row and self._is_row_of_units(chunk, start, order):
                    refused.append(self._refused(chunk, start))
                    start += 1
                below &= start >= row
                yield Chunk(self._ordered(chunk, start, row, order), chunk.lines[start:row], refused, chunk.done)
                refused = []
                if row < len(chunk):
                    order = self._order(self._cells(chunk, row), int(chunk.lines[row]))
                    refused, below = [self._refused(chunk, row)], True
                start = row + 1
            if refused:
                yield Chunk(self._ordered(chunk, 0, 0, order), chunk.lines[:0], refused, chunk.done)

    def _refused(self, chunk: Chunk, row: int) -> Refusal:
        return Refusal(int(chunk.lines[row]), "", " | ".join(self._cells(chunk, row))[:200], AGAIN)

    def _is_row_of_units(self, chunk: Chunk, row: int, order: Sequence[int] | None) -> bool:
        """Whether a row below a header holds units, the same ones as the first row of them.

        Raises:
            ImportRefusedError: it holds others; the message says which.
        """
        cells = self._cells(chunk, row)
        if not any(map(is_unit, cells)) or any(map(looks_like_data, cells)):
            return False
        if order is not None:
            cells = [cells[place] if place >= 0 else "" for place in order]
        for name, unit in units_of_row(self.columns, cells).items():
            if self.units.get(name) != unit:
                raise ImportRefusedError(
                    f"line {chunk.lines[row]} gives {shown(name)} the unit {shown(unit)}, where the first header has "
                    f"{shown(self.units.get(name, ''))}; part the file before line {int(chunk.lines[row]) - 1}"
                )
        return True

    def _headers(self, chunk: Chunk) -> list[int]:
        """Rows of a chunk that are headers."""
        if not len(chunk) or len(self._place) < 2:
            return []
        first = pc.utf8_lower(pc.utf8_trim_whitespace(chunk.columns[self.columns[0]]))
        perhaps = pc.is_in(first, value_set=self._names)
        words = pc.unique(first.filter(pc.match_substring_regex(first, "^[^0-9]+$"))).to_pylist()
        times = [word for word in words if slug(split_zone(word)) in TIME_NAMES]
        perhaps = pc.or_(perhaps, pc.is_in(first, value_set=pa.array(times, pa.string())))
        if len(self.columns) > 1 and not _folded(self.written[0]):  # the index of a table of pandas has no name
            second = pc.utf8_lower(pc.utf8_trim_whitespace(chunk.columns[self.columns[1]]))
            perhaps = pc.or_(perhaps, pc.and_(pc.equal(first, ""), pc.is_in(second, value_set=self._names)))
        return [row for row in np.flatnonzero(np.asarray(perhaps)).tolist() if self._is_header(self._cells(chunk, row))]

    def _is_header(self, cells: Sequence[str]) -> bool:
        """Whether nothing in a row is data, and something the name of a column or of times."""
        filled = [cell for cell in cells if cell]
        return len(filled) > 1 and not any(
            looks_like_data(cell) and _folded(cell) not in self._place for cell in filled
        )

    def _cells(self, chunk: Chunk, row: int) -> list[str]:
        return [str(chunk.columns[name][row].as_py() or "").strip() for name in self.columns]

    def _order(self, cells: Sequence[str], line: int) -> list[int] | None:
        """By column of the table, the place of its cells below a header; -1 for those that it lacks, None for no change."""
        unknown = [cell for cell in cells if cell and _folded(cell) not in self._place]
        twice = [cell for cell in cells if cell and [_folded(one) for one in cells].count(_folded(cell)) > 1]
        same = [_folded(cell) for cell in cells] == [_folded(name) for name in self._padded(cells)]
        if unknown or (twice and not same):
            raise ImportRefusedError(
                f"line {line} is another header, with {listed(unknown or twice)} beside those of the first one; part the "
                f"file there, before line {line}"
            )
        if same:
            return None
        places = {self._place[_folded(cell)]: i for i, cell in enumerate(cells) if cell}
        return [places.get(i, -1) for i in range(len(self.columns))]

    def _padded(self, cells: Sequence[str]) -> list[str]:
        return [*self.written, *[""] * len(cells)][: len(cells)]

    def _ordered(self, chunk: Chunk, start: int, end: int, order: Sequence[int] | None) -> dict[str, pa.Array]:
        parts = {name: column.slice(start, end - start) for name, column in chunk.columns.items()}
        if order is None:
            return parts
        empty = pa.array([""] * (end - start), pa.string())
        columns = list(parts.values())
        return {name: columns[place] if place >= 0 else empty for name, place in zip(parts, order, strict=True)}


def _folded(name: str) -> str:
    return " ".join(name.replace("\ufeff", "").strip().strip('"').lower().split())
