"""The catalogue of tables, read from ``schema/tables.yaml``: the only place where Python learns what a table looks like."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from hvac_platform.shipped import SCHEMA_DIRECTORY


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, catalogue type and what it holds."""

    name: str
    type: str
    description: str


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        name: table name.
        description: what a row is.
        columns: columns by name, in order.
        partition: partition key columns.
        clustering: clustering key columns.
        time_column: the column that a time range selects by, or None.
        ttl_days: days that a row is kept after it was written, or None for ever.
        write_once: the key determines the content, so a second write of a key is ignored.
    """

    name: str
    description: str
    columns: dict[str, Column]
    partition: tuple[str, ...]
    clustering: tuple[str, ...]
    time_column: str | None
    ttl_days: float | None
    write_once: bool

    @property
    def key(self) -> tuple[str, ...]:
        """Primary key without the day, which follows from the time column wherever both exist."""
        names = self.partition + self.clustering
        return tuple(n for n in names if n != "date" or self.time_column is None)


@dataclass(frozen=True, slots=True)
class TableSlice:
    """Which rows to read: a table, some columns, one device or all, a half-open time range.

    Attributes:
        table: table name.
        columns: names to read; empty reads all.
        device_id: restrict to one device.
        start_ms: first time included, epoch milliseconds.
        end_ms: first time excluded.
        equals: further columns that must have a value.
    """

    table: str
    columns: tuple[str, ...] = ()
    device_id: str | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    equals: tuple[tuple[str, Any], ...] = ()


def _table(name: str, entry: dict[str, Any]) -> Table:
    return Table(
        name=name,
        description=entry["description"],
        columns={c: Column(c, spec["type"], spec["description"]) for c, spec in entry["columns"].items()},
        partition=tuple(entry["partition"]),
        clustering=tuple(entry["clustering"]),
        time_column=entry.get("time_column"),
        ttl_days=entry.get("ttl_days"),
        write_once=bool(entry.get("write_once", False)),
    )


@cache
def tables() -> dict[str, Table]:
    """Every table of the catalogue by name."""
    fast = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # every process reads it at its start
    document = yaml.load((SCHEMA_DIRECTORY / "tables.yaml").read_text(encoding="utf-8"), Loader=fast)
    return {name: _table(name, entry) for name, entry in document["tables"].items()}


def table(name: str) -> Table:
    """The table of that name.

    Raises:
        KeyError: there is none; the message lists the names.
    """
    try:
        return tables()[name]
    except KeyError:
        raise KeyError(f"no table {name!r}; tables are {', '.join(tables())}") from None
