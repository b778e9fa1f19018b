"""How commands print: a table for people, JSON for programs."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from hvac_platform.ingestion.messages import format_timestamp
from hvac_platform.timestamps import iso
from hvac_platform.visible_text import visible, visible_lines

WIDTH_WITHOUT_TERMINAL = 200
"""Unless COLUMNS says another."""
WIDEST = 10_000
SMALLEST = 1e-9
"""Less than that is rounding, whatever the unit."""
FEW_COLUMNS = 6  # so few columns fold legibly
LEAST_WIDTH = 8  # a column that is cut shorter says nothing


class VisibleConsole(Console):
    """A console on which names from messages and people hide nothing: what can't be seen is written out."""

    def render_str(self, text: str, **options: Any) -> Text:
        """What is printed of a text, a cell of a table too."""
        return super().render_str(visible_lines(text), **options)


console = VisibleConsole(
    highlight=False,
    markup=False,
    soft_wrap=True,
    width=None if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit() else WIDTH_WITHOUT_TERMINAL,
)
errors = VisibleConsole(stderr=True, highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Instant:
    """Epoch milliseconds: to the second for people, RFC 3339 for programs.

    Attributes:
        milliseconds: since the epoch.
        to_minutes: people see minutes only.
    """

    milliseconds: int
    to_minutes: bool = False

    def __str__(self) -> str:
        """For people."""
        return iso(self.milliseconds)[:16] if self.to_minutes else iso(self.milliseconds)


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole: in per cent for people, 0 to 1 for programs."""

    part: float

    def __str__(self) -> str:
        """For people."""
        return f"{self.part:.1%}"


@dataclass(frozen=True, slots=True)
class Length:
    """A length of time: in the unit that fits for people, in seconds for programs, whose key says so.

    Attributes:
        milliseconds: of it.
        said: for people, where it is not to be rounded down to whole units.
    """

    milliseconds: int
    said: str = ""

    def __str__(self) -> str:
        """For people."""
        return self.said or age(self.milliseconds)


def age(milliseconds: int) -> str:
    """How long ago, in the largest unit that fits.

    >>> age(90_000), age(3 * 86_400_000)
    ('1 min', '3 d')
    """
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if milliseconds >= length:
            return f"{milliseconds // length} {unit}"
    return f"{max(0, milliseconds) // 1000} s"


def at(milliseconds: int | None, *, to_minutes: bool = False) -> Instant | None:
    """An instant as a cell, or None where there is none."""
    return None if milliseconds is None else Instant(milliseconds, to_minutes)


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(_plain(value)), indent=1).decode() + "\n")


def _plain(value: Any) -> Any:
    """What JSON has of a cell."""
    if isinstance(value, Instant):
        return format_timestamp(value.milliseconds)
    if isinstance(value, Share):
        return round(value.part, 4)
    if isinstance(value, Length):
        return value.milliseconds / 1000
    if isinstance(value, Mapping):
        return {f"{k}_seconds" if isinstance(v, Length) else k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def print_rows(
    rows: Sequence[Mapping[str, Any]],
    *,
    as_json: bool,
    title: str = "",
    empty: str = "nothing to show",
    narrow: Sequence[str] = (),
) -> None:
    """Rows as a table, or as a JSON array.

    Args:
        rows: all with the same keys, which are the headings.
        as_json: a JSON array with all columns.
        title: above the table.
        empty: what is said in place of a table without rows.
        narrow: columns of the table where all of them don't fit the terminal; the last one is cut where it must be. Without
            any, rows stand one below the other then.
    """
    if as_json:
        print_json(rows)
        return
    if not rows:
        console.print(empty)
        return
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify=_side(rows, name), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    wanted = Measurement.get(console, console.options.update(width=WIDEST), table).maximum
    if wanted <= console.width or (len(rows[0]) <= FEW_COLUMNS and not narrow):
        console.print(table, soft_wrap=False)
    elif (chosen := _narrow_table(rows, title, [name for name in narrow if name in rows[0]])) is not None:
        console.print(chosen, soft_wrap=False)
        left = len(rows[0]) - len(chosen.columns)
        if left:
            console.print(f"{left} more column{'s' if left > 1 else ''} in a wider terminal, or with --json")
    else:
        _print_blocks(rows, title)


def _side(rows: Sequence[Mapping[str, Any]], name: str) -> Literal["left", "right"]:
    """Where the cells of a column stand: figures on the right."""
    figures = all(isinstance(row[name], int | float | Share) and not isinstance(row[name], bool) for row in rows)
    return "right" if figures else "left"


def _narrow_table(rows: Sequence[Mapping[str, Any]], title: str, names: Sequence[str]) -> Table | None:
    """A table of some columns, a line a row, the last column cut where it must be; None where even so it doesn't fit."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    taken, width, least = 2, 0, 0
    for name in names:
        heading = name.replace("_", " ")
        longest = max(len(heading), *(len(_cell(row[name])) for row in rows))
        last = name == names[-1]
        width = min(longest, max(1, console.width - taken - 2)) if last else longest
        taken, least = taken + width + 2, min(longest, LEAST_WIDTH)
        table.add_column(heading, justify=_side(rows, name), overflow="ellipsis", no_wrap=True, width=width)
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in names))
    return table if names and taken <= console.width and width >= least else None


def _print_blocks(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Rows one below the other, for a terminal too narrow for their table."""
    console.print(title)
    indent = max(len(name) for name in rows[0])
    for row in rows:
        console.print()
        for name, value in row.items():
            console.print(f"  {name.replace('_', ' '):<{indent}}  {_cell(value)}")


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return in_precision(value)
    if isinstance(value, list | tuple):
        return visible("; ".join(str(item) for item in value), None)
    return "-" if value is None else visible(value, None)


def in_precision(value: float) -> str:
    """A number in people's precision: four digits that count, never as a power of ten.

    >>> in_precision(1_800_000.0), in_precision(14.2123), in_precision(1.421e-14), in_precision(-0.000123)
    ('1,800,000', '14.21', '0', '-0.000123')
    """
    if not math.isfinite(value):
        return str(value)
    if abs(value) < SMALLEST:
        return "0"
    if abs(value) >= 10_000:
        return f"{value:,.0f}"
    shown = f"{value:.4g}"
    return f"{value:.10f}".rstrip("0") if "e" in shown else shown


def progress_bar(unit: str) -> Progress:
    """A progress bar on standard error that counts in a unit."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        console=errors,
    )
