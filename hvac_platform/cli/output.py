"""How commands print: a table for people, JSON for programs."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hvac_platform.ingestion.messages import format_timestamp
from hvac_platform.timestamps import iso

WIDTH_WITHOUT_TERMINAL = 200
WIDEST = 10_000
SMALLEST = 1e-9
"""Less than that is rounding, whatever the unit."""
FEW_COLUMNS = 6  # so few columns fold legibly

console = Console(
    highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL
)
errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


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
        return value.part
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def print_rows(
    rows: Sequence[Mapping[str, Any]], *, as_json: bool, title: str = "", empty: str = "nothing to show"
) -> None:
    """Rows as a table, or as a JSON array."""
    if as_json:
        print_json(rows)
        return
    if not rows:
        console.print(empty)
        return
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in rows[0]:
        numeric = all(isinstance(row[name], int | float | Share) and not isinstance(row[name], bool) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    if (
        len(rows[0]) > FEW_COLUMNS
        and Measurement.get(console, console.options.update(width=WIDEST), table).maximum > console.width
    ):
        _print_blocks(rows, title)
    else:
        console.print(table, soft_wrap=False)


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
        return "; ".join(str(item) for item in value)
    return "-" if value is None else str(value)


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
