"""Lists of rows, a page at a time: by time where a table has one, else by key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hvac_platform.api.documents import documents, shown_columns
from hvac_platform.api.paging import Asked, cursor_after, cursor_at
from hvac_platform.stores.base import Store, TableSlice
from hvac_platform.stores.tables import Table

Page = dict[str, Any]
"""``items`` of the page, and ``next``: the cursor of the page after it, or null."""
ROWS_AT_ONCE = 2_000


def page_by_time(
    store: Store, table: Table, device_id: str, asked: Asked, *, equals: Sequence[tuple[str, Any]] = ()
) -> Page:
    """Rows of a device in a span, by time; the rows of one instant are never on two pages."""
    assert table.time_column is not None
    time_name = table.time_column
    columns = shown_columns(table)
    rows = TableSlice(table.name, columns, device_id, asked.start_ms, asked.end_ms, equals=tuple(equals))
    items: list[dict[str, Any]] = []
    last_ms: int | None = None
    for time_ms, document in _rows(store, table, rows, time_name, min(asked.limit + 1, ROWS_AT_ONCE)):
        if len(items) >= asked.limit and time_ms != last_ms:
            return {"items": items, "next": cursor_at(time_ms)}
        items.append(document)
        last_ms = time_ms
    return {"items": items, "next": None}


def _rows(
    store: Store, table: Table, rows: TableSlice, time_name: str, at_once: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    for batch in store.scan(rows, batch_rows=at_once):
        yield from zip(map(int, batch[time_name]), documents(table, batch), strict=True)


def page_of(keys: Sequence[str], document: Callable[[str], dict[str, Any]], asked: Asked) -> Page:
    """A page of documents that have keys of which no two are equal, in the order of the keys.

    A key that is no longer there leaves the list to begin anew, rather than to leave something out.

    Args:
        keys: of the whole list.
        document: of a key; asked for those of the page alone.
        asked: how many, and after which key.
    """
    begin = keys.index(asked.after) + 1 if asked.after in keys else 0
    shown = keys[begin : begin + asked.limit]
    more = begin + len(shown) < len(keys)
    return {"items": [document(key) for key in shown], "next": cursor_after(shown[-1]) if more else None}
