"""JSON: an object a line, or one document with a list of objects; what is nested becomes columns."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from hvac_platform.ingestion.importing.formats.json_documents import (
    Rows,
    is_grid,
    lists_in,
    rows_of_document,
    unique_keys,
)
from hvac_platform.ingestion.importing.formats.opening import Content, open_text
from hvac_platform.ingestion.importing.formats.table import RowsTable
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, Refusal, listed, shown

LARGEST_DOCUMENT = 256 << 20
DEEPEST = 5
LINES_LOOKED_AT = 50
_VALUE_FIELDS, _UNIT_FIELDS = ("value", "val", "v"), ("unit", "units", "uom")


def open_json(content: Content, encoding: str, words: str) -> RowsTable:
    """The table of a file of JSON.

    Raises:
        ImportRefusedError: it is none.
    """
    is_lines = _is_lines(content, encoding)
    document = Rows(()) if is_lines else _document(content, encoding)
    source: Any = _Lines(content, encoding) if is_lines else list(enumerate(document.rows, 1))
    found: dict[str, set[str]] = {}
    for _, one in source:
        for path, text in _flat(one).items() if isinstance(one, dict) else ():
            seen = found.setdefault(path, set())
            if len(seen) < 2:
                seen.add(text)
    if not found:
        raise ImportRefusedError("no object of JSON has a field")
    units = _units(found)
    paths = [path for path in found if path not in units.values()]
    names = _names(paths)
    given = {name: next(iter(found[units[path]])) for name, path in zip(names, paths, strict=True) if path in units}
    given |= {name: unit for name, unit in document.units.items() if name in names}
    kind = "a JSON object a line" if is_lines else document.kind
    return RowsTable(f"{kind}, {words}", tuple(names), _Rows(source, paths), given)


def _units(found: dict[str, set[str]]) -> dict[str, str]:
    """By path of a value, the path of the unit beside it, of readings such as ``{"temp": {"value": 12, "unit": "°C"}}``.

    Raises:
        ImportRefusedError: the unit of a value changes.
    """
    units = {}
    for path in found:
        before, _, last = path.rpartition(".")
        unit = next((f"{before}.{name}" for name in _UNIT_FIELDS if f"{before}.{name}" in found), None)
        if before and last in _VALUE_FIELDS and unit is not None:
            if len(found[unit]) > 1:
                raise ImportRefusedError(f"the unit beside {shown(path)} changes: {listed(sorted(found[unit]))}, …")
            units[path] = unit
    return units


@dataclass
class _Rows:
    source: Any
    paths: Sequence[str]

    def __iter__(self) -> Iterator[tuple[int, list[str] | Refusal]]:
        for line, one in self.source:
            if isinstance(one, Refusal):
                yield line, one
                continue
            cells = _flat(one)
            yield line, [cells.get(path, "") for path in self.paths]


@dataclass
class _Lines:
    content: Content
    encoding: str

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any] | Refusal]]:
        with open_text(self.content, self.encoding) as handle:
            for number, line in enumerate(handle, 1):
                if not line.strip():
                    continue
                try:
                    found = json.loads(line, object_pairs_hook=unique_keys)
                except (json.JSONDecodeError, RecursionError) as error:
                    yield number, Refusal(number, "", line.strip()[:200], f"not JSON: {error}")
                    continue
                except ValueError as error:
                    raise ImportRefusedError(f"line {number} is not JSON: {error}") from None
                yield (
                    number,
                    found if isinstance(found, dict) else Refusal(number, "", line.strip()[:200], "no JSON object"),
                )


def _is_lines(content: Content, encoding: str) -> bool:
    with open_text(content, encoding) as handle:
        lines = list(islice((line for line in handle if line.strip()), LINES_LOOKED_AT))
    objects = [one for line in lines if (one := _object(line)) is not None]
    # A line that is broken is refused alone; of a document that is written over several lines, hardly one is an object.
    if not objects or (_object(lines[0]) is None and len(objects) * 2 <= len(lines)):
        return False
    found = objects[0]
    if is_grid(found) or lists_in(found):
        return False
    return not any(lists_in(one) for one in found.values())


def _object(line: str) -> dict[str, Any] | None:
    """The object of a line; None where it is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _document(content: Content, encoding: str) -> Rows:
    with open_text(content, encoding) as handle:
        text = handle.read(LARGEST_DOCUMENT + 1)
    if len(text) > LARGEST_DOCUMENT:
        raise ImportRefusedError("the JSON document is too large to be read as a whole; write an object a line")
    try:
        return rows_of_document(json.loads(text, object_pairs_hook=unique_keys))
    except ImportRefusedError:
        raise
    except (ValueError, RecursionError) as error:
        raise ImportRefusedError(f"not readable JSON: {error}") from None


def _flat(value: dict[str, Any], before: str = "", depth: int = 0) -> dict[str, str]:
    """Texts by path, the parts of a path joined by points."""
    found: dict[str, str] = {}
    for name, one in value.items():
        path = f"{before}{name}"
        if isinstance(one, dict) and {"Name", "Value"} <= set(one):  # how PI writes a state in the place of a number
            found[path] = str(one["Name"])
        elif isinstance(one, dict) and depth < DEEPEST:
            found |= _flat(one, f"{path}.", depth + 1)
        elif one is None:
            found[path] = ""
        elif isinstance(one, bool):
            found[path] = "true" if one else "false"
        else:
            found[path] = one if isinstance(one, str) else json.dumps(one)
    return found


def _names(paths: Sequence[str]) -> list[str]:
    """The last part of a path where that is enough, else all of it; of a value, the name of what it is of."""
    paths = [
        path.rpartition(".")[0] if "." in path and path.rpartition(".")[2] in _VALUE_FIELDS else path for path in paths
    ]
    last = Counter(path.rsplit(".", 1)[-1] for path in paths)
    return [path if last[path.rsplit(".", 1)[-1]] > 1 else path.rsplit(".", 1)[-1] for path in paths]
