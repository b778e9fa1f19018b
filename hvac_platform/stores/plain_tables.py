"""Tables of a SQLite file with a column for each of the catalogue's: how values are kept in them, and how they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import apsw
import msgspec
import numpy as np

from hvac_platform.stores.base import TableSlice
from hvac_platform.stores.tables import Table, table
from hvac_platform.stores.vectors import checked_vectors

TRANSPOSED_ROWS = 500  # few row tuples alive at once: many would make every garbage collection walk them

_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder().decode
_decode_map = msgspec.json.Decoder(dict[str, float]).decode


def to_sql(kind: str, values: Any) -> Sequence[Any]:
    """A column of a catalogue type as SQLite takes it."""
    if kind == "vector":
        return [row.tobytes() for row in checked_vectors(values).astype("<f4")]
    if kind in {"map", "json"}:
        return [_encode_json(value).decode() for value in values]
    if isinstance(values, np.ndarray):
        listed: list[Any] = values.tolist()
        return listed
    # NumPy's integers would be bound as blobs, which equal no key.
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def from_sql(kind: str, values: list[Any]) -> list[Any]:
    """A column as the protocol gives it; vectors stay bytes until a caller stacks them."""
    if kind == "map":
        return [_decode_map(value) for value in values]
    if kind == "json":
        return [None if value is None else _decode_json(value) for value in values]
    if kind == "boolean":
        return [None if value is None else bool(value) for value in values]
    return values


def derived(target: Table, name: str) -> bool:
    """Whether the database computes the column: the day follows from the time column."""
    return name == "date" and target.time_column is not None


def conditions_of(target: Table, rows: TableSlice) -> tuple[str, list[Any]]:
    """What a slice asks for as SQL, with its arguments."""
    pairs: list[tuple[str, Any]] = [(f"{name}=?", value) for name, value in rows.equals]
    if rows.device_id is not None:
        pairs.append(("device_id=?", rows.device_id))
    if rows.start_ms is not None:
        pairs.append((f"{target.time_column}>=?", rows.start_ms))
    if rows.end_ms is not None:
        pairs.append((f"{target.time_column}<?", rows.end_ms))
    if not pairs:
        return "", []
    return " WHERE " + " AND ".join(clause for clause, _ in pairs), [value for _, value in pairs]


def column_blocks(
    connection: apsw.Connection, statement: str, arguments: Sequence[Any], batch_rows: int
) -> Iterator[list[list[Any]]]:
    """Columns of what a query gives, at most so many rows at a time."""
    cursor = iter(connection.execute(statement, tuple(arguments)))
    while True:
        columns: list[list[Any]] = []
        while block := list(islice(cursor, min(TRANSPOSED_ROWS, batch_rows - (len(columns[0]) if columns else 0)))):
            transposed = [list(values) for values in zip(*block, strict=True)]
            if not columns:
                columns = transposed
            else:
                for column, values in zip(columns, transposed, strict=True):
                    column += values
        if not columns:
            return
        yield columns


def spans_json(spans: Mapping[str, tuple[int, int]]) -> str:
    """Spans as :func:`of_spans` takes them."""
    rows = [(device_id, *span) for device_id, span in sorted(spans.items())]
    return msgspec.json.encode(rows, enc_hook=int).decode()


def of_spans(columns: Sequence[str], table_name: str, order: Sequence[str]) -> str:
    """A query of the rows of several devices, each in a span of its own, with the spans as its argument.

    Args:
        columns: to read.
        table_name: the table.
        order: its key behind the device, beginning with the time column.
    """
    chosen, ordered = (", ".join(f"t.{name}" for name in names) for names in (columns, order))
    return (
        f"SELECT {chosen} FROM json_each(?) AS span CROSS JOIN {table_name} AS t ON t.device_id = span.value ->> 0 "
        f"AND t.{order[0]} >= span.value ->> 1 AND t.{order[0]} < span.value ->> 2 ORDER BY span.key, {ordered}"
    )


def scan_plain(connection: apsw.Connection, rows: TableSlice, batch_rows: int) -> Iterator[dict[str, list[Any]]]:
    """Rows of such a table in key order, at most so many at a time."""
    target = table(rows.table)
    names = rows.columns or tuple(target.columns)
    where, arguments = conditions_of(target, rows)
    statement = f"SELECT {', '.join(names)} FROM {rows.table}{where} ORDER BY {', '.join(target.key)}"
    yield from _read(connection, target, names, statement, arguments, batch_rows)


def scan_plain_spans(
    connection: apsw.Connection, table_name: str, columns: Sequence[str], spans: str
) -> Iterator[dict[str, list[Any]]]:
    """Rows of several devices of such a table, each in a span of its own, in key order."""
    target = table(table_name)
    statement = of_spans(columns, table_name, target.key[1:])
    yield from _read(connection, target, columns, statement, [spans], TRANSPOSED_ROWS)


def _read(
    connection: apsw.Connection,
    target: Table,
    names: Sequence[str],
    statement: str,
    arguments: Sequence[Any],
    batch_rows: int,
) -> Iterator[dict[str, list[Any]]]:
    kinds = [target.columns[name].type for name in names]
    for columns in column_blocks(connection, statement, arguments, batch_rows):
        yield {name: from_sql(kind, column) for name, kind, column in zip(names, kinds, columns, strict=True)}
