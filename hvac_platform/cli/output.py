"""How commands print: a table for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

WIDTH_WITHOUT_TERMINAL = 200
WIDEST = 10_000
FEW_COLUMNS = 6  # so few columns fold legibly

console = Console(
    highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL
)
errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=1).decode() + "\n")


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
        numeric = all(isinstance(row[name], int | float) and not isinstance(row[name], bool) for row in rows)
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
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return "; ".join(str(item) for item in value)
    return "-" if value is None else str(value)


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
