"""YAML of people: small, shallow, no key twice, and no aliases that unfold into more than anybody would write."""

from __future__ import annotations

import contextlib
import re
import stat
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hvac_platform.devices.yaml_faults import fault_of

MOST_BYTES = 1_048_576
MOST_NODES = 50_000
DEEPEST = 30


class TextRefusedError(ValueError):
    """The text can't be used; the message says why in one line."""


class _Bounded:
    """Counts what a loader composes: an alias counts for as much as it stands for."""

    _nodes, _depth = 0, 0
    _sizes: dict[str, int]

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[attr-defined]
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            if str(anchor) not in self._sizes:
                self._refuse(f"alias {anchor!r} stands for nothing, or for itself", event)
            self._count(self._sizes[str(anchor)], event)
            return super().compose_node(parent, index)  # type: ignore[misc, no-any-return]
        before = self._nodes
        self._count(1, event)
        self._depth += 1
        if self._depth > DEEPEST:
            self._refuse(f"nested more than {DEEPEST} levels deep", event)
        node: yaml.Node | None = super().compose_node(parent, index)  # type: ignore[misc]
        self._depth -= 1
        if anchor is not None:
            self._sizes[str(anchor)] = self._nodes - before
        return node

    def _count(self, nodes: int, event: yaml.Event) -> None:
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            self._refuse(f"more than {MOST_NODES} values", event)

    def _refuse(self, problem: str, event: yaml.Event) -> None:
        place: Any = event.start_mark  # libyaml has a class of its own for it
        raise yaml.constructor.ConstructorError(None, None, problem, place)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping; plain YAML silently keeps the last of two equal keys."""
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[attr-defined]
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is repeated", key_node.start_mark)
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)  # type: ignore[misc, no-any-return]


class _BoundedLoader(_Bounded, yaml.SafeLoader):
    """In Python: slow, and its errors show the place."""

    def __init__(self, stream: str) -> None:
        yaml.SafeLoader.__init__(self, stream)
        self._sizes = {}

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A value; 2026-02-31 and a number of thousands of digits are none."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError):
            problem = "no date or number that there can be: put it in quotes if it is a text"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


_Loader: Any = _BoundedLoader
if yaml.__with_libyaml__:

    class _FastLoader(_Bounded, yaml.composer.Composer, yaml.cyaml.CSafeLoader):
        """Events from libyaml, composed here."""

        def __init__(self, stream: str) -> None:
            yaml.cyaml.CSafeLoader.__init__(self, stream)
            yaml.composer.Composer.__init__(self)
            self._sizes = {}

    _Loader = _FastLoader


def load_yaml(text: str) -> Any:
    """What a YAML text holds.

    >>> load_yaml("{a: 1, b: [2, 3]}")
    {'a': 1, 'b': [2, 3]}

    Raises:
        TextRefusedError: it is no YAML, or longer, deeper or fuller than what anybody writes by hand.
    """
    if len(text) > MOST_BYTES:
        raise TextRefusedError(f"{len(text)} characters, over the {MOST_BYTES} that are allowed")
    with contextlib.suppress(yaml.YAMLError, ValueError, OverflowError):
        return yaml.load(text, Loader=_Loader)
    try:
        return yaml.load(text, Loader=_BoundedLoader)  # what is wrong with it, in words and with its place
    except yaml.YAMLError as error:
        raise TextRefusedError(f"not valid YAML: {fault_of(error, text)}") from None


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """Text of a file of people.

    Raises:
        TextRefusedError: it is no file, too long, can't be read or is not UTF-8.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise TextRefusedError("not a file")
        if found.st_size > most_bytes:
            raise TextRefusedError(f"{found.st_size} bytes, over the {most_bytes} that are allowed")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TextRefusedError(f"not UTF-8: byte 0x{error.object[error.start]:02x} at {error.start}") from None
    except OSError as error:
        raise TextRefusedError(error.strerror or str(error)) from None


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in a file."""

    path: str
    line: int


def place_of(root: yaml.Node, loc: Sequence[str | int]) -> Place:
    """Path and line of what an error is about, as far as the file has it."""
    node, line, path = root, root.start_mark.line + 1, ""
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if getattr(k, "value", None) == str(part)), None)
            if found is None:
                # Keys that lack, aliases of a field, and names of the checker's own branches.
                if isinstance(part, str) and re.fullmatch(r"\w+", part) and part == loc[-1]:
                    path += f".{part}"
                continue
            key, node = found
            line, path = key.start_mark.line + 1, f"{path}.{part}"
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line, path = node.start_mark.line + 1, f"{path}[{part}]"
    return Place(path.lstrip(".") or "the file", line)
