"""What a document of JSON holds: a list of rows, lists of readings by metric, or a grid of Project Haystack."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hvac_platform.ingestion.importing.columns import METRIC_NAMES, TIME_NAMES, VALUE_NAMES, slug
from hvac_platform.ingestion.importing.formats.table import unique
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, listed

_ENVELOPES = (
    *("data", "result", "results", "rows", "items", "values", "records", "readings", "telemetry", "history", "series"),
    *(
        "points",
        "list",
        "measurements",
        "observations",
        "samples",
        "entries",
        "content",
        "payload",
        "values_list",
        "output",
    ),
)
"""Names of lists that say nothing of what is in them."""
_TIMES, _VALUES = (*TIME_NAMES, "t", "x"), (*VALUE_NAMES, "v", "y")
METRIC = "metric"


@dataclass(frozen=True)
class Rows:
    """Rows of a document.

    Attributes:
        rows: objects.
        units: unit by name of a field.
        kind: what the document is, in words.
    """

    rows: Sequence[dict[str, Any]]
    units: Mapping[str, str] = field(default_factory=dict)
    kind: str = "a JSON document"


def rows_of_document(document: Any) -> Rows:
    """Rows of a document.

    Raises:
        ImportRefusedError: it has none, or has several lists of them of which one would have to be chosen.
    """
    if isinstance(document, list):
        return Rows(_objects(document))
    if is_grid(document):
        return _grid(document)
    lists = lists_in(document)
    if not lists:
        inner = [one for one in document.values() if isinstance(one, dict)] if isinstance(document, dict) else []
        if len(inner) == 1:
            return rows_of_document(inner[0])
        raise ImportRefusedError("the JSON document has no list of objects")
    if all(map(_are_readings, lists.values())) and not (len(lists) == 1 and slug(next(iter(lists))) in _ENVELOPES):
        return Rows([{METRIC: name, **one} for name, rows in lists.items() for one in rows])
    timed = [name for name, rows in lists.items() if any(slug(key) in _TIMES for key in rows[0])]
    if len(lists) > 1 and len(timed) != 1:
        raise ImportRefusedError(
            f"the JSON document has several lists of objects, {listed(list(lists))}; write each as a file of its own, or "
            "one list whose objects name their metric"
        )
    return Rows(lists[timed[0] if timed else next(iter(lists))])


def lists_in(document: Any) -> dict[str, list[dict[str, Any]]]:
    """Lists of objects right below an object, by their names."""
    found = document.items() if isinstance(document, dict) else ()
    return {name: one for name, one in found if isinstance(one, list) and one and all(isinstance(x, dict) for x in one)}


def is_grid(document: Any) -> bool:
    """Whether a document is a grid of Project Haystack."""
    return (
        isinstance(document, dict) and isinstance(document.get("cols"), list) and isinstance(document.get("rows"), list)
    )


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON whose fields have names of their own.

    Raises:
        ValueError: two have the same.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the field {next(n for n in names if names.count(n) > 1)!r} stands twice in an object")
    return found


def _objects(rows: list[Any]) -> list[dict[str, Any]]:
    if not rows or not all(isinstance(one, dict) for one in rows):
        raise ImportRefusedError("the JSON document has no list of objects")
    return rows


def _are_readings(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether objects are times and values of a metric that they don't name themselves."""
    names = {slug(name) for name in rows[0]}
    return (
        bool(names & set(_TIMES)) and bool(names & set(_VALUES)) and not names & set(METRIC_NAMES) and len(names) <= 4
    )


def _grid(document: Mapping[str, Any]) -> Rows:
    """Rows of a grid, in the JSON of Haystack 3 (``n:55.1 °F``) or 4 (objects with ``_kind``)."""
    columns = [one for one in document["cols"] if isinstance(one, dict) and isinstance(one.get("name"), str)]
    if any(isinstance(error := (document.get("meta") or {}).get("err"), bool | str | dict) and error for _ in (0,)):
        raise ImportRefusedError(f"the grid is an error: {str((document.get('meta') or {}).get('dis', ''))[:200]}")
    metas = [{**one, **(one.get("meta") or {})} for one in columns]
    labels = unique([_label(meta) for meta in metas])
    units = {label: unit for label, meta in zip(labels, metas, strict=True) if (unit := _scalar(meta.get("unit", "")))}
    rows = [
        {label: _scalar(row.get(meta["name"])) for label, meta in zip(labels, metas, strict=True)}
        for row in _objects(document["rows"])
    ]
    return Rows(rows, units, "a grid of Haystack")


def _label(meta: Mapping[str, Any]) -> str:
    """The name of a column: what is displayed of it, of its point's id, or its own."""
    identity = meta.get("id")
    shown = identity.get("dis", "") if isinstance(identity, dict) else ""
    if isinstance(identity, str):
        shown = identity.partition(" ")[2]
    return str(_scalar(meta.get("dis", "")) or _scalar(meta.get("navName", "")) or shown or meta["name"])


def _scalar(value: Any) -> Any:
    """A value of Haystack as a cell: times with their offset, numbers with their unit, markers as nothing."""
    if isinstance(value, dict):
        kind, text = value.get("_kind", ""), value.get("val", "")
        if kind == "number":
            return f"{text} {value.get('unit', '')}".strip()
        return "" if kind in ("na", "marker", "remove", "") else text
    if isinstance(value, str) and re.match(r"^[a-z-]:", value):
        kind, text = value[0], value[2:]
        if kind == "t":
            return text.partition(" ")[0]
        return "" if kind in "mz-x" else text.partition(" ")[0] if kind == "r" else text
    return value
