"""A file as a table: columns of texts or typed values, chunk by chunk, each row with its line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hvac_platform.ingestion.importing.refusing import Refusal

ROWS_A_CHUNK = 20_000
CELLS_A_CHUNK = 2_000_000


@dataclass(frozen=True)
class Chunk:
    """Some rows of a table.

    Attributes:
        columns: n cells of each column, by its name.
        lines: int64 [n], line of each row in the file, counted from 1.
        refused: rows between them that are none, with the reason.
        done: bytes of the file read so far.
        origins: columns of the file that the cells of a value stand in, over and over; empty where that is its own.
    """

    columns: dict[str, pa.Array]
    lines: NDArray[np.int64]
    refused: Sequence[Refusal] = ()
    done: int = 0
    origins: Sequence[str] = ()

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.lines)


class Table(Protocol):
    """An opened file, which may be read any number of times.

    Attributes:
        description: what kind of file it is, in words.
        columns: names of the columns, each once.
        units: unit by column, where the file has a place of its own for units.
    """

    description: str
    columns: tuple[str, ...]
    units: Mapping[str, str]

    def chunks(self) -> Iterator[Chunk]:
        """The rows, from the first one."""
        ...


@dataclass
class RowsTable:
    """A table from rows of texts."""

    description: str
    columns: tuple[str, ...]
    rows: Iterable[tuple[int, Sequence[str] | Refusal]]
    units: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    remarks: Sequence[Sequence[str]] = ()

    def chunks(self) -> Iterator[Chunk]:
        """The rows, from the first one."""
        width = len(self.columns)
        rows = iter(self.rows)
        while some := list(islice(rows, rows_a_chunk(width))):
            refused: list[Refusal] = []
            lines, cells = [], []
            for line, row in some:
                if isinstance(row, Refusal):
                    refused.append(row)
                elif len(row) > width and any(cell.strip() for cell in row[width:]):
                    refused.append(too_long(line, row, width))
                elif any(row):
                    lines.append(line)
                    cells.append([*row[:width], *[""] * (width - len(row))])
            found = list(zip(*cells, strict=True)) or [()] * width
            columns = {name: pa.array(found[i], pa.string()) for i, name in enumerate(self.columns)}
            yield Chunk(columns, np.array(lines, np.int64), refused)


def rows_a_chunk(width: int) -> int:
    """Rows that are held at once."""
    return max(100, min(ROWS_A_CHUNK, CELLS_A_CHUNK // max(1, width)))


def too_long(line: int, row: Sequence[str], width: int) -> Refusal:
    """A row with more cells than there are columns."""
    return Refusal(line, "", " | ".join(row)[:200], f"{len(row)} cells where the header has {width}")


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Names of columns, each once: those without one by their place, those of the same name with a number.

    >>> unique(["a", "", "a"])
    ('a', 'column 2', 'a (2)')
    """
    found: list[str] = []
    seen: Counter[str] = Counter()
    for i, name in enumerate(names):
        plain = " ".join(name.replace("\ufeff", "").split()) or f"column {i + 1}"
        seen[plain] += 1
        found.append(plain if seen[plain] == 1 else f"{plain} ({seen[plain]})")
    return tuple(found)
