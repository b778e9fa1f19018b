"""Rows of tables as JSON documents, and the JSON Schema of each; both follow from the catalogue of tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hvac_platform.ingestion.messages import format_timestamp
from hvac_platform.stores.tables import Column, Table

UNSHOWN = frozenset({"blob", "vector"})
"""Types of columns that no document has: what only the platform itself can read."""
KINDS: Mapping[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "timestamp": {"type": "string", "format": "date-time"},
    "bigint": {"type": "integer"},
    "double": {"type": "number"},
    "boolean": {"type": "boolean"},
    "json": {},
    "map": {"type": "object", "additionalProperties": {"type": "number"}},
}
NESTED_TIMES: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("device_profiles", "fit"): {"start_ms": "start", "end_ms": "end"},
    ("incidents", "similar"): {"started_at": "started_at"},
    ("incident_transitions", "details"): {"until": "until"},
}
"""Instants within columns of JSON, which are stored as epoch milliseconds: by table and column, what is stored and what
documents call it."""


def shown_columns(table: Table) -> tuple[str, ...]:
    """Names of the columns that documents of a table have."""
    return tuple(name for name, column in table.columns.items() if column.type not in UNSHOWN)


def documents(table: Table, batch: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """One document a row: times as RFC 3339, numbers that JSON has no word for as null.

    Args:
        table: of the rows.
        batch: columns of a scan.
    """
    names = [name for name in shown_columns(table) if name in batch]
    columns = [
        [plain(table.columns[name], with_times(table.name, name, value)) for value in batch[name]] for name in names
    ]
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def with_times(table: str, column: str, value: Any) -> Any:
    """A cell of JSON with its instants as RFC 3339.

    >>> with_times("device_profiles", "fit", {"count": 9, "start_ms": 0})
    {'count': 9, 'start': '1970-01-01T00:00:00Z'}
    """
    named = NESTED_TIMES.get((table, column))
    if named is None:
        return value
    if isinstance(value, list):
        return [with_times(table, column, item) for item in value]
    if not isinstance(value, Mapping):
        return value
    return {
        named.get(name, name): format_timestamp(item) if name in named and isinstance(item, int) else item
        for name, item in value.items()
    }


def plain(column: Column, value: Any) -> Any:
    """A cell as JSON has it."""
    if value is None:
        return None
    if column.type == "timestamp":
        return format_timestamp(int(value))
    return _finite(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def schema_of(table: Table) -> dict[str, Any]:
    """JSON Schema (2020-12, which OpenAPI 3.1 has) of a table's documents."""
    properties = {}
    for name in shown_columns(table):
        column = table.columns[name]
        kind = dict(KINDS[column.type])
        if "type" in kind and name not in table.key:
            kind["type"] = [kind["type"], "null"]
        properties[name] = {**kind, **_nested(table.name, name), "description": column.description}
    return {"type": "object", "description": table.description, "properties": properties}


def _nested(table: str, column: str) -> dict[str, Any]:
    """What is known of the instants within a column of JSON."""
    named = NESTED_TIMES.get((table, column))
    if named is None:
        return {}
    shape = {"properties": {name: {"type": "string", "format": "date-time"} for name in named.values()}}
    return {**shape, "items": shape}  # each holds where the cell is an object, or a list of them
