"""Messages of other producers, turned into the platform's by a map: nested values, lists of readings, epoch times.

The map is YAML, named by ``HVAC_MESSAGE_MAP``: a list of kinds of messages, each with paths to what the platform wants to
know. Only what is no message of its own is looked up in it. ``docs/foreign-messages.md`` has the language, with examples.
"""

from __future__ import annotations

import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from hvac_platform.config import ConfigError
from hvac_platform.devices.bounded_yaml import TextRefusedError, load_yaml, read_text
from hvac_platform.ingestion.numerals import number_with_comma
from hvac_platform.timestamps import iso

MESSAGE_MAP_VARIABLE = "HVAC_MESSAGE_MAP"
FIELDS = ("device_id", "device_type", "timestamp", "metric_name", "metric_value", "unit", "location", "building_id")
MOST_READINGS = 10_000
"""Readings of one message."""
LONGEST_PATH, DEEPEST = 500, 12
MOST_DIGITS = 10**300
_EPOCHS = ((1e11, 1_000), (1e14, 1), (1e17, 1e-3), (float("inf"), 1e-6))
"""Below so much a number of seconds, milliseconds, microseconds, nanoseconds; and milliseconds in one."""
_NUMBER = re.compile(r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$")
_ABSENT = object()


class MessageMapError(ConfigError):
    """The map can't be used; the message names the file and the place."""


class ForeignMessageError(ValueError):
    """A message that a kind of the map fits is a bad one; one line says why."""


@dataclass(frozen=True)
class MessageKind:
    """A kind of messages.

    Attributes:
        name: for reasons.
        when: paths that a message of this kind has.
        each: path of its readings, of which ``{name}`` steps through a mapping and ``[]`` through a list; empty where the
            message is one reading.
        fields: path, template or constant by field.
        device_types: type by pattern of device ids.
        metrics: the platform's metric by the producer's.
        units: unit by metric, in the platform's name or the producer's, where the message names none.
        ignore: patterns of metrics that are left out.
        states: numbers by word, in small letters.
        decimal: decimal mark of numbers that are texts.
    """

    name: str
    when: tuple[str, ...] = ()
    each: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    device_types: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    states: Mapping[str, float] = field(default_factory=dict)
    decimal: str = "."

    def readings(self, content: Any, key: str) -> Iterator[dict[str, Any]] | None:
        """Readings of a message, in the platform's fields; None where the message is of another kind.

        Raises:
            ForeignMessageError: while they are read: one of them is bad.
        """
        if not self.fits(content):
            return None
        found = list(_each([content], self.each.split(".") if self.each else [], {"key": key}))
        return None if not found else self._readings(found)

    def fits(self, content: Any) -> bool:
        """Whether a message has all paths that one of this kind has."""
        return not any(_at(content, path) is _ABSENT for path in self.when)

    def ignores(self, metric: Any) -> bool:
        """Whether a producer's metric is left out."""
        return isinstance(metric, str) and any(fnmatchcase(metric, pattern) for pattern in self.ignore)

    def _readings(self, found: Sequence[tuple[list[Any], dict[str, str]]]) -> Iterator[dict[str, Any]]:
        if len(found) > MOST_READINGS:
            raise ForeignMessageError(f"{len(found)} readings, over the {MOST_READINGS} that are allowed")
        for number, (scopes, names) in enumerate(found, 1):
            try:
                reading = self._reading(scopes, names)
            except ForeignMessageError as error:
                raise ForeignMessageError(f"reading {number}: {error}" if len(found) > 1 else str(error)) from None
            if reading is not None:
                yield reading

    def _reading(self, scopes: list[Any], names: dict[str, str]) -> dict[str, Any] | None:
        """One reading; None where it is left out, or has no value."""
        reading: dict[str, Any] = {}
        for name in FIELDS:
            value = self._field(name, scopes, names)
            if value is not _ABSENT:
                reading[name] = value
        metric = reading.get("metric_name")
        if isinstance(metric, str):
            if self.ignores(metric):
                return None
            sent = metric
            metric = reading["metric_name"] = self.metrics.get(sent, sent)
            if not reading.get("unit"):
                reading["unit"] = self.units.get(metric, self.units.get(sent, ""))
        device = reading.get("device_id")
        if isinstance(device, int) and not isinstance(device, bool):
            device = reading["device_id"] = str(device)
        if not reading.get("device_type") and isinstance(device, str):
            kind = next((one for pattern, one in self.device_types.items() if fnmatchcase(device, pattern)), None)
            if kind is not None:
                reading["device_type"] = kind
        value = reading.get("metric_value", _ABSENT)
        if value is None or (value is _ABSENT and _says_null(scopes[-1])):
            return None
        reading["metric_value"] = self._number(value)
        reading["timestamp"] = _timestamp(reading.get("timestamp", _ABSENT))
        return {name: one for name, one in reading.items() if one is not _ABSENT}

    def _field(self, name: str, scopes: list[Any], names: dict[str, str]) -> Any:
        path = self.fields.get(name, name)
        if path.startswith("="):
            return path[1:]
        if path == ".":
            return scopes[-1]
        if "{" in path:
            try:
                return path.format_map(names)
            except (KeyError, ValueError, IndexError, AttributeError):
                return _ABSENT
        for scope in reversed(scopes):  # what the reading itself does not say, what encloses it may
            found = _at(scope, path)
            if found is not _ABSENT:
                return found
        return _ABSENT

    def _number(self, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return float(value) if abs(value) < MOST_DIGITS else float("inf")
        if not isinstance(value, str):
            return value
        found = number_with_comma(value) if self.decimal == "," else float(value) if _NUMBER.match(value) else None
        if found is not None:
            return found
        state = self.states.get(value.strip().lower())
        if state is None:
            raise ForeignMessageError(f"metric_value {value[:40]!a} is not a number")
        return state


def _each(scopes: list[Any], path: Sequence[str], names: dict[str, str]) -> Iterator[tuple[list[Any], dict[str, str]]]:
    """Every element that a path leads to, with what encloses it and the names on the way."""
    if not path:
        yield scopes, names
        return
    step, rest, here = path[0], path[1:], scopes[-1]
    if step == "[]":
        for one in here if isinstance(here, list) else ():
            yield from _each([*scopes, one], rest, names)
    elif step.startswith("{") and step.endswith("}"):
        for name, one in here.items() if isinstance(here, dict) else ():
            yield from _each([*scopes, one], rest, names | {step[1:-1]: name})
    elif isinstance(here, dict) and step in here:
        yield from _each([*scopes, here[step]], rest, names)


def _says_null(reading: Any) -> bool:
    """Whether a reading without a value says that it has none, as those of Sparkplug B do."""
    return isinstance(reading, dict) and True in (reading.get("is_null"), reading.get("isNull"))


def _at(value: Any, path: str) -> Any:
    """What stands at a path of names and places."""
    for step in path.split("."):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return _ABSENT
    return value


def _timestamp(value: Any) -> Any:
    """Numbers, and texts of digits, as ISO 8601: seconds to nanoseconds since 1970, by their size."""
    if isinstance(value, str) and _NUMBER.match(value):
        value = float(value) if "." in value or "e" in value.lower() else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    size = next(per for most, per in _EPOCHS if abs(value) < most or most == float("inf"))
    milliseconds = value * int(size) if size >= 1 else value // round(1 / size)
    try:
        whole = int(milliseconds)
        return f"{iso(whole // 1000 * 1000)[:19].replace(' ', 'T')}.{whole % 1000:03d}Z"
    except (ValueError, OverflowError, OSError):
        raise ForeignMessageError(f"timestamp {str(value)[:40]} is no time") from None


@dataclass(frozen=True)
class MessageMap:
    """Kinds of messages; the first one that fits counts."""

    kinds: tuple[MessageKind, ...]

    def readings(self, value: bytes, key: bytes | None) -> tuple[str, list[dict[str, Any]]] | None:
        """The name of a message's kind, and its readings in the platform's fields; None where no kind fits.

        Raises:
            ForeignMessageError: a kind fits, and the message is bad.
        """
        try:
            content = msgspec.json.decode(value.removeprefix(BOM_UTF8))
        except (ValueError, RecursionError):
            return None
        named = key.decode("utf-8", "replace") if key else ""
        for kind in self.kinds:
            found = kind.readings(content, named)
            if found is None:
                continue
            try:
                readings = list(found)
            except ForeignMessageError as error:
                raise ForeignMessageError(f"as {kind.name}: {error}") from None
            if not readings:
                why = "has a value, or is not ignored by the map" if kind.ignore else "has a value"
                raise ForeignMessageError(f"as {kind.name}: none of its readings {why}")
            if (twice := _contradiction(readings)) is not None:
                raise ForeignMessageError(f"as {kind.name}: {twice}")
            return kind.name, readings
        empty = next((kind for kind in self.kinds if kind.when and kind.fits(content)), None)
        if empty is not None:
            raise ForeignMessageError(f"as {empty.name}: there is no reading at {empty.each!r}")
        return None


def _contradiction(readings: Sequence[Mapping[str, Any]]) -> str | None:
    """Two readings of one device, metric and time that differ, in words; None where there are none."""
    seen: dict[tuple[Any, ...], Any] = {}
    for reading in readings:
        of = tuple(str(reading.get(name, ""))[:100] for name in ("device_id", "metric_name", "timestamp"))
        value = (reading.get("metric_value"), reading.get("unit", ""))
        other = seen.setdefault(of, value)
        if other != value:
            return f"{of[1]!a} has two values at {of[2]}, {str(other[0])[:40]} and {str(value[0])[:40]}"
    return None


class _KindFile(msgspec.Struct, forbid_unknown_fields=True):
    name: str = ""
    when: str | list[str] = []
    each: str = ""
    device_id: str | None = None
    device_type: str | None = None
    timestamp: str | None = None
    metric_name: str | None = None
    metric_value: str | None = None
    unit: str | None = None
    location: str | None = None
    building_id: str | None = None
    device_types: dict[str, str] = {}
    metrics: dict[str, str] = {}
    units: dict[str, str] = {}
    ignore: list[str] = []
    states: dict[str, float] = {}
    decimal: str = "."


class _MapFile(msgspec.Struct, forbid_unknown_fields=True):
    messages: list[_KindFile]


def parse_message_map(text: str, file: str) -> MessageMap:
    """The map of a YAML text.

    Raises:
        MessageMapError: it is none.
    """
    try:
        content = msgspec.convert(load_yaml(text), _MapFile)
        if not content.messages:
            raise ValueError("messages: there are none")
        return MessageMap(tuple(_kind(i, one) for i, one in enumerate(content.messages)))
    except (ValueError, TextRefusedError) as error:
        hint = "; in YAML, On, Off, Yes and No have to be in quotes" if "got `bool`" in str(error) else ""
        raise MessageMapError(f"{file}: {' '.join(str(error).split())}{hint}") from None


def _kind(number: int, given: _KindFile) -> MessageKind:
    name = given.name or f"kind {number + 1} of the message map"
    steps = given.each.split(".") if given.each else []
    paths = {one: path for one in FIELDS if (path := getattr(given, one)) is not None}
    when = (given.when,) if isinstance(given.when, str) else tuple(given.when)
    for path in (given.each, *when, *paths.values()):
        if len(path) > LONGEST_PATH or path.count(".") > DEEPEST:
            raise ValueError(f"{name}: path {path[:40]!r} is too long")
    captured = {step[1:-1] for step in steps if step.startswith("{")} | {"key"}
    for one, path in paths.items():
        named = set() if path.startswith("=") else set(re.findall(r"\{([^{}]*)\}", path))
        if named - captured:
            raise ValueError(f"{name}: {one}: {{{sorted(named - captured)[0]}}} is not in each: {given.each!r}")
    if given.decimal not in (".", ","):
        raise ValueError(f"{name}: decimal must be '.' or ','")
    if steps and steps[-1].startswith("{"):
        paths = {"metric_name": steps[-1], "metric_value": ".", **paths}
    return MessageKind(
        name=name,
        when=when,
        each=given.each,
        fields=paths,
        device_types=given.device_types,
        metrics=given.metrics,
        units=given.units,
        ignore=tuple(given.ignore),
        states={word.lower(): number for word, number in given.states.items()},
        decimal=given.decimal,
    )


def message_map() -> MessageMap | None:
    """The map that HVAC_MESSAGE_MAP names; None where it names none. A file that has changed is read again.

    Raises:
        MessageMapError: it can't be used.
    """
    path = os.environ.get(MESSAGE_MAP_VARIABLE, "")
    if not path:
        return None
    try:
        changed = Path(path).stat().st_mtime_ns
    except OSError as error:
        raise MessageMapError(f"{MESSAGE_MAP_VARIABLE}={path}: {error.strerror or error}") from None
    return _read(path, changed)


@lru_cache(maxsize=4)
def _read(path: str, _changed: int) -> MessageMap:
    try:
        text = read_text(Path(path))
    except TextRefusedError as error:
        raise MessageMapError(f"{path}: {error}") from None
    return parse_message_map(text, path)
