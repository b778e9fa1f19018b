"""Where the header of a table of texts is: behind lines about the report, before a row of units."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from hvac_platform.devices.units import SAYS_NOTHING, parse_unit, plain
from hvac_platform.ingestion.importing.cells import ERRORS
from hvac_platform.ingestion.importing.formats.hours import hour_columns
from hvac_platform.ingestion.importing.formats.table import unique
from hvac_platform.ingestion.importing.instants import Shape, layout_of
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, shown

MOST_LINES_BEFORE = 200
_KINDS = frozenset({"avg", "smp", "max", "min", "tot", "std", "med", "wvc", "mean", "sum", "average", "minimum", "maximum",
                    "sample", "total", "inst", "instantaneous", "last", "first", "count"})  # fmt: skip
"""How loggers say that the values of a column were made."""
_OF_TIMES = ("TS", "RN")
"""What a row of units has below a time and a number of the row."""
_NUMBER = re.compile(r"^[-+−]?[\d.,'’\s]*\d[.,]?\d*(?:[eE][-+]?\d+)?(?:\s*[^\d\s]{1,12})?$")

_NO_NAME = re.compile(rf"{ERRORS}|^#{{2,}}$")
"""What stands in place of a value that a spreadsheet has none of, or had no room for."""


@dataclass(frozen=True)
class Header:
    """The names of a table's columns.

    Attributes:
        names: names of the columns, each once; rows may have more cells, which are empty.
        width: cells of most rows.
        before: rows before the first one of data, the header among them.
        units: unit by column, from a row of units behind the header.
        written: the names as they stand in the file.
        remarks: cells of the lines above it.
    """

    names: tuple[str, ...]
    width: int
    before: int
    units: dict[str, str] = field(default_factory=dict)
    written: tuple[str, ...] = ()
    remarks: tuple[tuple[str, ...], ...] = ()


def looks_like_data(cell: str) -> bool:
    """Whether a cell is a number or a time, not a name."""
    text = cell.strip()
    return bool(text) and (bool(_NUMBER.match(text)) or is_time(text) or bool(_NO_NAME.match(text)))


def is_time(cell: str) -> bool:
    """Whether a cell is a time or a number that may be one."""
    return layout_of(re.sub(r"\d", "0", cell.strip())[:64]).shape > Shape.UNREADABLE


def find_header(rows: Sequence[Sequence[str]], given: Sequence[str] = ()) -> Header:
    """The header among the first rows of a table.

    Args:
        rows: cells of the first rows, blank ones too.
        given: names of the columns, of a table that has none.

    Raises:
        ImportRefusedError: there is none.
    """
    filled = [i for i, row in enumerate(rows) if any(cell.strip() for cell in row)]
    if not filled:
        raise ImportRefusedError("the file is empty, so it is not readable")
    width = _width([rows[i] for i in filled])
    if given:
        return Header(unique(given), max(width, len(given)), 0)
    for strictly in (True, False):
        for place, i in enumerate(filled[:MOST_LINES_BEFORE]):
            following = [rows[j] for j in filled[place + 1 : place + 3]]
            if _is_header(rows[i], following, width, strictly=strictly):
                named, above = _above_kinds(rows, filled[: place + 1])
                names = _by_legend(_named(rows[named]), rows[:named])
                written = tuple(cell.strip() for cell in rows[named])[: len(names)]
                remarks = tuple(tuple(rows[j]) for j in filled if j < named)
                if named != i:
                    return Header(names, max(width, len(names)), i + 1, units_of_row(names, above), written, remarks)
                units = _units(names, following[0]) if following else {}
                before = (filled[place + 1] if units else i) + 1
                return Header(names, max(width, len(names)), before, units, written, remarks)
    _check_turned(rows[filled[0]], filled[0] + 1)
    if width < 2 and not any(looks_like_data(cell) for i in filled for cell in rows[i]):
        raise ImportRefusedError(f"not a readable table: line 1 is {shown(' '.join(rows[filled[0]]))}")
    raise ImportRefusedError(
        f"no line looks like a header; the first one is {shown(' | '.join(rows[filled[0]]))}. "
        "Name the columns in the map: header: [timestamp, …]"
    )


def _check_turned(row: Sequence[str], line: int) -> None:
    """A row of times is a table whose columns are times.

    Raises:
        ImportRefusedError: it is one.
    """
    cells = [cell.strip() for cell in row[1:] if cell.strip()]
    shapes = [layout_of(re.sub(r"\d", "0", cell)[:64]).shape for cell in cells]
    times = sum(shape in (Shape.YEAR_FIRST, Shape.THREE_NUMBERS, Shape.NO_YEAR) for shape in shapes)
    if len(cells) > 1 and times * 2 > len(cells) and not is_time(row[0]):
        raise ImportRefusedError(
            f"line {line} has a time in {times} of {len(cells)} columns, the first {shown(cells[0])}: each column is a time "
            "and each row a point; turn rows and columns round, so that each row is a time"
        )


def _above_kinds(rows: Sequence[Sequence[str]], places: Sequence[int]) -> tuple[int, Sequence[str]]:
    """Place of the names, and the row of units below them, where the last row before the data says how values were made.

    Loggers of Campbell write names, units, and Avg, Smp or Max below each other.
    """
    last = places[-1]
    kinds = [cell.strip().lower() for cell in rows[last] if cell.strip()]
    if len(places) < 2 or not kinds or not all(kind in _KINDS for kind in kinds):
        return last, ()
    above = rows[places[-2]]
    width = len(above)
    is_units = (
        len(places) > 2
        and len(rows[places[-3]]) == width
        and any(cell.strip() in _OF_TIMES or is_unit(cell.strip()) for cell in above)
    )
    return (places[-3], above) if is_units else (places[-2], ())


def is_unit(cell: str) -> bool:
    """Whether a cell is a unit that is known."""
    return bool(cell) and not cell[0].isdigit() and parse_unit(cell) is not None


def units_of_row(names: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    """What stands in a row of units, known or not, so that an unknown one is told."""
    cells = [cell.strip().strip("[]()") for cell in row]
    return {
        name: cell
        for name, cell in zip(names, cells, strict=False)
        if plain(cell).lower() not in SAYS_NOTHING and cell not in _OF_TIMES
    }


def _by_legend(names: Sequence[str], before: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Names of columns, those for which lines before the header give another name by that one.

    Siemens calls its columns Point_1, Point_2, … and says above them which points these are.

    >>> _by_legend(["Date", "Point_1"], [["Point_1:", "AHU1.SAT", "", "15 minutes"]])
    ('Date', 'AHU1.SAT')
    """
    said = [row for row in before if len(row) > 1 and row[0].strip().endswith(":") and row[1].strip()]
    legend = {row[0].strip().removesuffix(":"): row[1].strip() for row in said}
    return unique([legend.get(name, name) for name in names])


def _width(rows: Sequence[Sequence[str]]) -> int:
    """Number of cells that most rows have, empty ones at the end too."""
    sizes = Counter(len(row) for row in rows)
    most = max(sizes.values())
    return max(size for size, count in sizes.items() if count == most)


def _named(names: Sequence[str]) -> tuple[str, ...]:
    """Names of columns; a separator at the end of the line begins none."""
    cells = [name.strip().strip('"').removeprefix("<>") for name in names]
    while not cells[-1]:
        cells.pop()
    return unique(cells)


def _is_header(row: Sequence[str], following: Sequence[Sequence[str]], width: int, *, strictly: bool) -> bool:
    """Names, and data below them. Strictly: hardly a name looks like data, as those of numbered sensors do."""
    names = [cell.strip() for cell in row if cell.strip()]
    # The index of a table of pandas has no name.
    count = len(names) + (len(row) > 1 and not row[0].strip())
    if not names or count < max(2, width / 2) or len([c for c in row[width:] if c.strip()]) > 0:
        return False
    like_data = sum(map(looks_like_data, names))
    if strictly and like_data * 4 > len(names):
        return False
    if not strictly and looks_like_data(row[0]):
        return False
    if not following:
        return like_data == 0
    first = following[0]
    below = [
        i for i, cell in enumerate(first) if looks_like_data(cell) and not (i < len(row) and looks_like_data(row[i]))
    ]
    if below:
        return strictly or is_time(first[0]) or hour_columns(row) is not None
    # A row of units, or one whose cells are all empty or words, stands between the header and the first numbers.
    second = following[1] if len(following) > 1 else ()
    return bool(_units(unique(row), first)) and any(map(looks_like_data, second))


def _units(names: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    """Units of a row that holds nothing but units; none where it is another row."""
    cells = [cell.strip().strip("[]()") for cell in row]
    filled = [cell for cell in cells if cell]
    filled = [cell for cell in filled if plain(cell).lower() not in SAYS_NOTHING]
    known = [cell for cell in filled if parse_unit(cell) is not None and not cell[0].isdigit()]
    if not known or len(known) < len(filled) - 1 or any(looks_like_data(cell) for cell in filled):
        return {}
    return units_of_row(names, row)
