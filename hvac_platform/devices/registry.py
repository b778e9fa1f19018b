"""Device types: the points, ranges and fault rules of each kind of machine, read from YAML.

A type is one YAML file in ``devices/types`` or in a folder named by the environment variable ``HVAC_DEVICE_TYPES``
(several folders joined by the system's path separator). A file there may add a type or replace a built-in one of the
same name. That variable is read here and not in the platform's settings, because device types are wanted by code that
needs no settings at all: a simulator, a notebook, a test.

The keys of a file, their defaults and the language of rules are described in ``docs/adding-a-device-type.md``.
"""

from __future__ import annotations

import ast
import math
import os
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec
import numexpr as ne
import numpy as np

from hvac_platform.devices.bounded_yaml import TextRefusedError, load_yaml, read_text
from hvac_platform.devices.expressions import FUNCTIONS, expression_problem
from hvac_platform.devices.units import SAME, Conversion, conversion
from hvac_platform.timestamps import divides_day

DEVICE_TYPES_VARIABLE = "HVAC_DEVICE_TYPES"
BUILT_IN_FOLDER = Path(__file__).parent / "types"

#: Prefixes of variables that expressions have beside the names of the file, see docs/adding-a-device-type.md.
PREVIOUS, MINUTES, DAY_MEAN = "prev_", "minutes_", "daymean_"

LONGEST_MINUTES = 10_080
"""A week: nothing that a rule waits for or remembers is longer."""
LARGEST = 1e15
LONGEST_TEXT = 1_000
LONGEST_CHAIN, SHOWN_CHARACTERS = 20, 200
"""Quantities that rest on quantities that rest on quantities: so many levels at most."""

_Identifier = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]*$", max_length=128)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_TEXT)]
_Minutes = Annotated[float, msgspec.Meta(ge=0, le=LONGEST_MINUTES)]


class DeviceTypeError(ValueError):
    """A device type's file is wrong; the message names the file and the field in one line."""


@dataclass(frozen=True, slots=True)
class Point:
    """One measured, commanded or counted quantity of a device.

    Attributes:
        name: metric name in messages, e.g. ``supply_air_temp``.
        title: the same in words, for sentences.
        unit: unit for display, e.g. ``°F``; empty for dimensionless quantities.
        ucum: the unit as a UCUM code, or None.
        brick: Brick 1.4 class, or None where Brick has none.
        qudt: QUDT unit, or None.
        normal: lowest and highest value in normal operation, or None when unknown.
        hard: lowest and highest value that can be real; beyond it the sensor is at fault. None is unbounded.
        kind: ``analog``, ``binary`` (0 or 1) or ``counter`` (never decreases).
        may_hold: True where an unchanging value is no sign of a frozen sensor, e.g. a command.
        difference: True where the point is a difference of temperatures, so that 10 K are 18 °F.
        ratios: by another unit, what one of it is in the point's unit, e.g. 29.5 rpm for 1 Hz of a drive.
    """

    name: str
    title: str
    unit: str = ""
    ucum: str | None = None
    brick: str | None = None
    qudt: str | None = None
    normal: tuple[float, float] | None = None
    hard: tuple[float, float] | None = None
    kind: str = "analog"
    may_hold: bool = False
    difference: bool = False
    ratios: Mapping[str, float] = field(default_factory=dict, hash=False)

    def conversion(self, unit: str) -> Conversion:
        """How values in another unit become the point's.

        >>> Point("fan_speed", "fan speed", "rpm", ratios={"Hz": 29.5}).conversion("Hz")
        Conversion(scale=29.5, offset=0.0)

        Raises:
            UnitError: the unit is not known, or measures something else.
        """
        ratio = self.ratios.get(unit)
        if ratio is not None:
            return Conversion(ratio)
        if unit and unit in (self.ucum, self.qudt):
            return SAME
        return conversion(unit, self.unit, difference=self.difference)

    @property
    def decimals(self) -> int:
        """Digits after the point when a value is shown: two for narrow normal ranges, none for wide ones."""
        if self.kind == "counter":
            return 1
        return _decimals(self.normal[1] - self.normal[0]) if self.normal else 2

    def show(self, value: float) -> str:
        """Value with its unit.

        >>> Point("power_consumption", "power", "kW", normal=(0.2, 50)).show(0.84)
        '0.8 kW'
        """
        return show(value, self.unit, self.decimals)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number that rules use: its value, unit, source and meaning."""

    name: str
    value: float
    unit: str = ""
    source: str = ""
    note: str = ""

    def show(self, value: float) -> str:
        """Value with its unit, as few digits as it needs."""
        return show(value, self.unit)


@dataclass(frozen=True, slots=True)
class Derived:
    """One quantity computed from others, e.g. power per ton: its expression, unit and digits for display."""

    name: str
    expression: str
    title: str
    unit: str = ""
    decimals: int = 1

    def show(self, value: float) -> str:
        """Value with its unit."""
        return show(value, self.unit, self.decimals)


@dataclass(frozen=True, slots=True)
class Rule:
    """One relationship that does not hold on a healthy device.

    Attributes:
        id: e.g. ``rtu-1``; unique within the type.
        title: the fault in a few words.
        level: 1 life safety, 2 critical, 3 urgent, 4 normal priority.
        when: boolean numexpr expression that is true in the fault.
        for_minutes: how long ``when`` must have held without interruption.
        suppress: names of conditions under which the rule is silent.
        metrics: implicated metrics, most important first.
        source: where the rule comes from.
        message: sentence with ``{names}`` of metrics, parameters and derived quantities.
        uses_out_of_range: True when readings beyond hard limits take part; False treats them as missing.
    """

    id: str
    title: str
    level: int
    when: str
    for_minutes: float
    suppress: tuple[str, ...]
    metrics: tuple[str, ...]
    source: str
    message: str
    uses_out_of_range: bool = False


@dataclass(frozen=True, slots=True)
class Energy:
    """Where a type's electric power is read, and what it should depend on.

    Attributes:
        power: point with the electric power in kW, or None where it is computed from a current.
        drivers: points that decide how much power is needed and that a fault of the machine doesn't itself move.
        clock: whether the hour of the day is one more.
        current: point with the current in A, or None.
        volts: voltage, between phases where there are three.
        phases: 1 or 3.
        power_factor: cos φ.
    """

    power: str | None
    drivers: tuple[str, ...]
    clock: bool = True
    current: str | None = None
    volts: float = 0.0
    phases: int = 1
    power_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Comfort:
    """Between what a temperature should stay: that of the zone, or of what the machine supplies.

    Attributes:
        temperature: point of the temperature.
        warmest: point or parameter that it should not be above, or None.
        coldest: point or parameter that it should not be below, or None.
        tolerance: parameter that says how far beyond them is still well, or None for not at all.
        condition: condition while which it is to be so, or None for always.
    """

    temperature: str
    warmest: str | None = None
    coldest: str | None = None
    tolerance: str | None = None
    condition: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Points, parameters and the condition, those that there are."""
        named = (self.temperature, self.warmest, self.coldest, self.tolerance, self.condition)
        return tuple(name for name in named if name is not None)


@dataclass(frozen=True, slots=True)
class Medium:
    """What machines of a type give to others of a plant, or take from them, such as chilled water.

    Attributes:
        name: of the medium.
        gives: point with the temperature at which it leaves the machine, or None where others aren't fed with it.
        takes: point with the temperature at which it arrives, or None where there is none.
        led_by: point that moves what is given in normal operation, such as the wet bulb that a tower's water follows.
        moves: other points that its temperature moves, or that show it.
    """

    name: str
    gives: str | None = None
    takes: str | None = None
    moves: tuple[str, ...] = ()
    led_by: str | None = None

    @property
    def points(self) -> tuple[str, ...]:
        """All points in which the medium shows."""
        return tuple(name for name in (self.gives, self.takes) if name is not None) + self.moves


@dataclass(frozen=True, eq=False)
class DeviceType:
    """A kind of machine. Compared and hashed by identity: the registry holds one instance of each.

    Attributes:
        name: canonical name, e.g. ``rooftop_unit``.
        title: the name in words.
        points: points in the order of the vector's components.
        brick: Brick class, or None.
        aliases: other names that messages may use.
        parameters: numbers of the rules by name.
        derived: derived quantities by name; each uses only those before it.
        conditions: boolean expressions by name; each uses only those before it.
        rules: relationship rules, in the order of the file.
        energy: electric power and what drives it, or None where it isn't known.
        comfort: the temperature that people feel or that is asked for, and its setpoints, or None.
        media: what machines of the type give to others and take from them.
        sentinels: values that devices send in place of a reading, e.g. -999.
        frozen_windows: number of windows without any change after which a sensor counts as frozen.
        memory_minutes: longest time that a ``minutes_<condition>`` variable counts.
        window_seconds: length of the windows that a new device of the type gets, or None for that of the store.
    """

    name: str
    title: str
    points: tuple[Point, ...]
    brick: str | None = None
    aliases: tuple[str, ...] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    derived: Mapping[str, Derived] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    energy: Energy | None = None
    comfort: Comfort | None = None
    media: tuple[Medium, ...] = ()
    sentinels: tuple[float, ...] = (-999.0,)
    frozen_windows: int = 30
    memory_minutes: float = 60.0
    window_seconds: int | None = None

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Position of each metric among the points."""
        return MappingProxyType({point.name: i for i, point in enumerate(self.points)})

    @cached_property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the points, in order."""
        return tuple(point.name for point in self.points)

    def point(self, name: str) -> Point:
        """The point of that name.

        Raises:
            KeyError: the type has no such point.
        """
        return self.points[self.index[name]]

    def quantity(self, name: str) -> Point | Parameter | Derived | None:
        """What a name in an expression or message stands for; ``prev_`` and ``daymean_`` stand for their point."""
        for prefix in (PREVIOUS, DAY_MEAN):
            if name not in self.index and name.removeprefix(prefix) in self.index:
                name = name.removeprefix(prefix)
        if name in self.index:
            return self.point(name)
        return self.parameters.get(name) or self.derived.get(name)

    def inputs(self, expression: str) -> frozenset[str]:
        """Metrics, ``prev_`` and ``daymean_`` metrics and ``hour`` that an expression rests on, through all names."""
        leaves: set[str] = set()
        reached: set[str] = set()
        waiting = list(variables(expression))
        while waiting:
            name = waiting.pop()
            if name in reached:
                continue
            reached.add(name)
            condition = name.removeprefix(MINUTES)
            if name in self.derived:
                waiting += variables(self.derived[name].expression)
            elif name in self.conditions:
                waiting += variables(self.conditions[name])
            elif condition != name and condition in self.conditions:
                waiting += variables(self.conditions[condition])
            elif name not in self.parameters:
                leaves.add(name)
        return frozenset(leaves)


def show(value: float, unit: str = "", decimals: int | None = None) -> str:
    """Number with its unit for a sentence; without ``decimals`` as few digits as the number needs.

    >>> show(28, "°F", 1), show(30, "°F"), show(45, "%", 0), show(-0.01, "A", 1)
    ('28.0 °F', '30 °F', '45 %', '0.0 A')
    """
    if decimals is None:
        return f"{value:.10g} {unit}".rstrip()
    text = f"{value:,.{decimals}f}"
    if not text.strip("-0.,"):
        text = text.removeprefix("-")
    return f"{text} {unit}".rstrip()


@lru_cache(maxsize=4096)
def variables(expression: str) -> frozenset[str]:
    """Names that an expression reads, functions aside.

    >>> sorted(variables("abs(a - b) > 2"))
    ['a', 'b']
    """
    tree = ast.parse(expression.strip(), mode="eval")
    return frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name)) - FUNCTIONS


def message_fields(message: str) -> tuple[str, ...]:
    """Names in braces in a message template, in order."""
    return tuple(name for _, name, _, _ in string.Formatter().parse(message) if name is not None)


def device_types() -> dict[str, DeviceType]:
    """All device types by canonical name: the built-in ones and those of the folders in HVAC_DEVICE_TYPES."""
    return dict(load_device_types(_extra_folders()))


def added_types() -> list[str]:
    """Canonical names of the types that the folders in HVAC_DEVICE_TYPES add or replace."""
    return sorted(set().union(*(_read_folder(folder) for folder in _extra_folders())))


def device_type(name: str) -> DeviceType | None:
    """The type of that name or alias; None when there is none, and the device is then judged by what is learned."""
    return _device_type(name, os.environ.get(DEVICE_TYPES_VARIABLE, ""))


def canonical_type(name: str) -> str:
    """Canonical name of a device type, whatever the spelling of the producer; of an unknown type its slug.

    >>> canonical_type("rooftopunit"), canonical_type("Rooftop-Unit"), canonical_type("RTU")
    ('rooftop_unit', 'rooftop_unit', 'rooftop_unit')
    >>> canonical_type("Heat Pump")
    'heat_pump'
    """
    return _canonical_type(name, _extra_folders())


def load_device_types(extra_folders: Sequence[Path] = ()) -> Mapping[str, DeviceType]:
    """Device types by canonical name. Files are read once per process and set of folders.

    Args:
        extra_folders: folders whose ``*.yaml`` add types or replace built-in ones; a later folder wins.

    Raises:
        DeviceTypeError: a folder does not exist or a file is wrong.
    """
    return _load(tuple(Path(folder) for folder in extra_folders))


def parse_device_type(text: str, file: str) -> DeviceType:
    """One device type from YAML text; ``file`` names the source in errors.

    >>> parse_device_type("{name: fan, points: [{name: speed, normal: [0, 100]}]}", "fan.yaml").points[0].title
    'speed'

    Raises:
        DeviceTypeError: the text is not a valid device type.
    """
    try:
        return _build(msgspec.convert(load_yaml(text), _TypeFile))
    except ValueError as error:  # includes msgspec.ValidationError, whose text ends with the path of the field
        raise DeviceTypeError(f"{file}: {error}") from None


def parse_other_rules(text: str, file: str) -> DeviceType:
    """A known device type with other rules: the whole of its file, or only what differs.

    A text without ``points`` is laid over the type that it names. Parameters, derived quantities and conditions of the same
    name and rules of the same id take the place of those that there are; others are added. A parameter may be a number
    alone, and a rule have only the keys that change.

    >>> parse_other_rules("{name: chiller, rules: [{id: ch-1, for: 45}]}", "mine").rules[0].for_minutes
    45.0

    Args:
        text: YAML.
        file: names the text in errors.

    Raises:
        DeviceTypeError: the text is wrong, or there is no such type.
    """
    try:
        content = load_yaml(text)
        if isinstance(content, dict) and "points" not in content:
            changes = msgspec.convert(content, _ChangesFile)
            return _with_changes(_known_type(changes.name), changes)
        found = _build(msgspec.convert(content, _TypeFile))
        return replace(found, name=_known_type(found.name).name)
    except ValueError as error:
        raise DeviceTypeError(f"{file}: {error}") from None


def _known_type(name: str) -> DeviceType:
    found = device_type(name)
    if found is None:
        raise ValueError(f"there is no device type {name!r}: there are {', '.join(sorted(device_types()))}")
    return found


@lru_cache(maxsize=4096)
def _device_type(name: str, folders: str) -> DeviceType | None:
    extra = _folders_in(folders)
    return _load(extra).get(_canonical_type(name, extra))


def _extra_folders() -> tuple[Path, ...]:
    return _folders_in(os.environ.get(DEVICE_TYPES_VARIABLE, ""))


def _folders_in(variable: str) -> tuple[Path, ...]:
    return tuple(Path(folder) for folder in variable.split(os.pathsep) if folder)


@lru_cache(maxsize=16)
def _load(extra_folders: tuple[Path, ...]) -> Mapping[str, DeviceType]:
    types: dict[str, DeviceType] = {}
    for folder in (BUILT_IN_FOLDER, *extra_folders):
        types.update(_read_folder(folder))
    _spellings(types.values())
    return MappingProxyType(types)


@lru_cache(maxsize=16)
def _read_folder(folder: Path) -> Mapping[str, DeviceType]:
    """The types of one folder by canonical name."""
    if not folder.is_dir():
        raise DeviceTypeError(f"{folder}: no such folder of device types")
    types: dict[str, DeviceType] = {}
    origin: dict[str, Path] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            text = read_text(path)
        except TextRefusedError as error:
            raise DeviceTypeError(f"{path}: {error}") from None
        loaded = parse_device_type(text, str(path))
        if loaded.name in origin:
            raise DeviceTypeError(f"{path}: name: {loaded.name} is already defined in {origin[loaded.name].name}")
        origin[loaded.name] = path
        types[loaded.name] = loaded
    return types


def _spellings(types: Iterable[DeviceType]) -> dict[str, str]:
    """Canonical name by compact spelling; a name beats an alias, two types may not share an alias."""
    spellings: dict[str, str] = {}
    known = list(types)
    for loaded in known:
        for alias in loaded.aliases:
            owner = spellings.setdefault(_compact(alias), loaded.name)
            if owner != loaded.name:
                raise DeviceTypeError(f"{loaded.name}: aliases: {alias} is already an alias of {owner}")
    return spellings | {_compact(loaded.name): loaded.name for loaded in known}


@lru_cache(maxsize=4096)
def _canonical_type(name: str, extra_folders: tuple[Path, ...]) -> str:
    known = _spellings_of(extra_folders).get(_compact(name))
    # A name without a Latin letter keeps its own ones: it must not end up empty.
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or re.sub(r"[\W_]+", "_", name.lower()).strip("_")
    return known or slug


@lru_cache(maxsize=16)
def _spellings_of(extra_folders: tuple[Path, ...]) -> Mapping[str, str]:
    return MappingProxyType(_spellings(_load(extra_folders).values()))


def _compact(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def _decimals(span: float) -> int:
    return 2 if span <= 5 else 1 if span < 300 else 0


class _PointFile(msgspec.Struct, forbid_unknown_fields=True):
    name: _Identifier
    title: str = ""
    unit: str = ""
    ucum: str | None = None
    brick: str | None = None
    qudt: str | None = None
    normal: tuple[float, float] | None = None
    hard: tuple[float, float] | None = None
    kind: Literal["analog", "binary", "counter"] = "analog"
    may_hold: bool = False
    difference: bool | None = None
    ratios: Annotated[dict[_Text, Annotated[float, msgspec.Meta(gt=0, le=1e9)]], msgspec.Meta(max_length=20)] = {}


class _ParameterFile(msgspec.Struct, forbid_unknown_fields=True):
    value: float
    unit: str = ""
    source: str = ""
    note: str = ""


class _DerivedFile(msgspec.Struct, forbid_unknown_fields=True):
    expression: _Text
    title: str = ""
    unit: str = ""
    decimals: Annotated[int, msgspec.Meta(ge=0, le=6)] = 1


class _RuleFile(msgspec.Struct, forbid_unknown_fields=True, rename={"for_minutes": "for"}):
    id: _Text
    when: _Text
    title: str = ""
    level: Annotated[int, msgspec.Meta(ge=1, le=4)] = 4
    for_minutes: _Minutes = 0.0
    suppress: str | list[str] = []
    metrics: str | list[str] = []
    source: str = ""
    message: str = ""
    uses_out_of_range: bool = False


class _EnergyFile(msgspec.Struct, forbid_unknown_fields=True):
    drivers: str | list[str] = []
    power: str | None = None
    clock: bool = True
    current: str | None = None
    volts: Annotated[float, msgspec.Meta(gt=0, le=1e6)] | None = None
    phases: Literal[1, 3] | None = None
    power_factor: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0


class _ComfortFile(msgspec.Struct, forbid_unknown_fields=True, rename={"condition": "while"}):
    temperature: str
    warmest: str | None = None
    coldest: str | None = None
    tolerance: str | None = None
    condition: str | None = None


class _MediumFile(msgspec.Struct, forbid_unknown_fields=True):
    medium: _Text
    gives: str | None = None
    takes: str | None = None
    moves: str | list[str] = []
    led_by: str | None = None


class _TypeFile(msgspec.Struct, forbid_unknown_fields=True):
    """What a file may hold; msgspec refuses other keys and other kinds of value, and says where."""

    name: _Identifier
    points: Annotated[list[_PointFile], msgspec.Meta(min_length=1)]
    title: str = ""
    brick: str | None = None
    aliases: list[_Text] = []
    parameters: dict[_Identifier, float | _ParameterFile] = {}
    derived: dict[_Identifier, str | _DerivedFile] = {}
    conditions: dict[_Identifier, _Text] = {}
    rules: list[_RuleFile] = []
    energy: _EnergyFile | None = None
    comfort: _ComfortFile | None = None
    media: Annotated[list[_MediumFile], msgspec.Meta(max_length=20)] = []
    sentinels: Annotated[tuple[float, ...], msgspec.Meta(max_length=100)] = (-999.0,)
    frozen_windows: Annotated[int, msgspec.Meta(ge=2, le=LONGEST_MINUTES)] = 30
    memory_minutes: Annotated[float, msgspec.Meta(ge=1, le=LONGEST_MINUTES)] = 60.0
    window_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] | None = None


class _ChangesFile(msgspec.Struct, forbid_unknown_fields=True):
    """What a text may hold that says how a type is to differ."""

    name: _Text
    parameters: dict[_Identifier, float | _ParameterFile] = {}
    derived: dict[_Identifier, str | _DerivedFile] = {}
    conditions: dict[_Identifier, _Text] = {}
    rules: list[dict[str, object]] = []


class _Scope:
    """The variables that an expression may name so far, each with an example value."""

    def __init__(self, metric_names: Iterable[str], parameter_names: Iterable[str]) -> None:
        metric_names = list(metric_names)
        names = ["hour", *metric_names, *parameter_names]
        names += [prefix + name for prefix in (PREVIOUS, DAY_MEAN) for name in metric_names]
        self._examples = {name: np.ones(1) for name in names}
        self._timed: set[str] = set()
        self._levels: dict[str, int] = {}

    def add_derived(self, place: str, name: str, expression: str) -> None:
        """Check a derived quantity and make it known."""
        self.check(place, expression, boolean=False)
        self._examples[name] = np.ones(1)
        self._note_timed(place, name, expression)

    def add_condition(self, place: str, name: str, expression: str) -> None:
        """Check a condition and make it known, with its minutes.

        Minutes are counted only for conditions that rest on no minutes themselves: so the history that a verdict needs
        is bounded by memory_minutes.
        """
        self.check(place, expression, boolean=True)
        self._examples[name] = np.ones(1, dtype=np.bool_)
        self._note_timed(place, name, expression)
        if name not in self._timed:
            self._examples[MINUTES + name] = np.ones(1)
            self._timed.add(MINUTES + name)

    def check(self, place: str, expression: str, *, boolean: bool) -> None:
        """Refuse what numexpr would not compute, or would compute as something else than it looks like."""
        problem = self._problem(expression, boolean)
        shown = expression if len(expression) <= SHOWN_CHARACTERS else f"{expression[:SHOWN_CHARACTERS]}…"
        _require(not problem, place, f"{problem} in {shown!r}")

    def _note_timed(self, place: str, name: str, expression: str) -> None:
        used = {n.removeprefix(MINUTES) for n in variables(expression)} | variables(expression)
        self._levels[name] = 1 + max((self._levels.get(n, 0) for n in used), default=0)
        _require(self._levels[name] <= LONGEST_CHAIN, place, f"rests on more than {LONGEST_CHAIN} others in turn")
        if variables(expression) & self._timed:
            self._timed.add(name)

    def _problem(self, expression: str, boolean: bool) -> str:
        if problem := expression_problem(expression):
            return problem
        for name in sorted(variables(expression)):
            if name not in self._examples:
                return f"{name} is not defined"
        examples = {name: self._examples[name] for name in variables(expression)}
        try:
            result = np.asarray(ne.evaluate(expression, local_dict=examples, global_dict={}))
        except (ValueError, TypeError, ArithmeticError, LookupError, SyntaxError, RuntimeError) as error:
            return " ".join(str(error).split()) or type(error).__name__
        if result.dtype.kind not in "bif":
            return "must give a number or true or false"
        if boolean != (result.dtype == np.bool_):
            return f"must give {'true or false' if boolean else 'a number'}"
        return ""


def _require(condition: bool, place: str, problem: str) -> None:
    if not condition:
        raise ValueError(f"{place}: {problem}")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _listed(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _build(content: _TypeFile) -> DeviceType:
    """The device type of a file, after the checks that concern more than one field."""
    points = tuple(_build_point(item) for item in content.points)
    names = [*(point.name for point in points), *content.parameters, *content.derived, *content.conditions]
    reserved = FUNCTIONS | {"hour"} | {prefix + name for prefix in (PREVIOUS, MINUTES, DAY_MEAN) for name in names}
    for i, name in enumerate(names):
        taken = name in names[:i] or name in reserved
        _require(not taken, name, "the name is taken; points, parameters, derived and conditions share their names")
    parameters = {name: _build_parameter(name, given) for name, given in content.parameters.items()}

    scope = _Scope([point.name for point in points], parameters)
    derived: dict[str, Derived] = {}
    for name, given in content.derived.items():
        entry = given if isinstance(given, _DerivedFile) else _DerivedFile(given)
        expression = " ".join(entry.expression.split())
        scope.add_derived(f"derived.{name}", name, expression)
        derived[name] = Derived(name, expression, entry.title or _words(name), entry.unit, entry.decimals)
    conditions = {name: " ".join(expression.split()) for name, expression in content.conditions.items()}
    for name, expression in conditions.items():
        scope.add_condition(f"conditions.{name}", name, expression)
    usable = all(math.isfinite(value) for value in content.sentinels)
    _require(usable, "sentinels", "must be finite numbers")
    whole = content.window_seconds is None or divides_day(content.window_seconds * 1000)
    _require(whole, "window_seconds", f"{content.window_seconds} s is no even part of a day of 86400 s, such as 300 is")
    device_type = DeviceType(
        name=content.name,
        title=content.title or _words(content.name),
        points=points,
        brick=content.brick,
        aliases=tuple(content.aliases),
        parameters=MappingProxyType(parameters),
        derived=MappingProxyType(derived),
        conditions=MappingProxyType(conditions),
        sentinels=content.sentinels,
        frozen_windows=content.frozen_windows,
        memory_minutes=content.memory_minutes,
        window_seconds=content.window_seconds,
    )
    rules = tuple(_build_rule(item, device_type, scope) for item in content.rules)
    for i, rule in enumerate(rules):
        _require(rule.id not in [other.id for other in rules[:i]], f"rules[{rule.id}].id", "is used twice")
    energy = None if content.energy is None else _build_energy(content.energy, device_type)
    comfort = None if content.comfort is None else _build_comfort(content.comfort, device_type)
    media = tuple(_build_medium(item, device_type) for item in content.media)
    for i, medium in enumerate(media):
        _require(medium.name not in [other.name for other in media[:i]], f"media[{medium.name}]", "is given twice")
    return replace(device_type, rules=rules, energy=energy, comfort=comfort, media=media)


def _with_changes(known: DeviceType, changes: _ChangesFile) -> DeviceType:
    """A type with what differs laid over it; what rules don't rest on stays."""
    parameters: dict[str, float | _ParameterFile] = {
        name: _ParameterFile(one.value, one.unit, one.source, one.note) for name, one in known.parameters.items()
    }
    for name, given in changes.parameters.items():
        before = known.parameters.get(name)
        if before is not None and not isinstance(given, _ParameterFile):
            given = _ParameterFile(given, before.unit, before.source, before.note)
        parameters[name] = given
    derived: dict[str, str | _DerivedFile] = {
        name: _DerivedFile(one.expression, one.title, one.unit, one.decimals) for name, one in known.derived.items()
    }
    rules = {rule.id: _rule_file(rule) for rule in known.rules}
    for i, given_rule in enumerate(changes.rules):
        key = given_rule.get("id")
        _require(isinstance(key, str), f"rules[{i}]", "needs an id, which is a text")
        before_rule = msgspec.to_builtins(rules[str(key)]) if str(key) in rules else {}
        try:
            rules[str(key)] = msgspec.convert({**before_rule, **given_rule}, _RuleFile)
        except msgspec.ValidationError as error:
            raise ValueError(f"rules[{key}]: {error}") from None
    content = _TypeFile(
        name=known.name,
        title=known.title,
        points=[_point_file(point) for point in known.points],
        parameters=parameters,
        derived={**derived, **changes.derived},
        conditions={**known.conditions, **changes.conditions},
        rules=list(rules.values()),
    )
    built = _build(content)
    return replace(
        known, parameters=built.parameters, derived=built.derived, conditions=built.conditions, rules=built.rules
    )


def _point_file(point: Point) -> _PointFile:
    """A point as a file has it."""
    given = {name: getattr(point, name) for name in _PointFile.__struct_fields__}
    return _PointFile(**given | {"ratios": dict(point.ratios)})


def _rule_file(rule: Rule) -> _RuleFile:
    """A rule as a file has it."""
    given = {name: getattr(rule, name) for name in _RuleFile.__struct_fields__}
    return _RuleFile(**given | {"suppress": list(rule.suppress), "metrics": list(rule.metrics)})


def _build_comfort(item: _ComfortFile, device_type: DeviceType) -> Comfort:
    """Comfort after its checks: a temperature with at least one setpoint in the same unit."""
    place = "comfort"
    _require(item.temperature in device_type.index, f"{place}.temperature", f"{item.temperature} is not a point")
    _require(item.warmest is not None or item.coldest is not None, place, "needs warmest or coldest")
    unit = device_type.point(item.temperature).unit
    for field_name, name in (("warmest", item.warmest), ("coldest", item.coldest)):
        if name is not None:
            found = device_type.quantity(name)
            known = name in device_type.index or name in device_type.parameters
            _require(known, f"{place}.{field_name}", f"{name} is not a point or parameter")
            assert found is not None
            _require(found.unit in ("", unit), f"{place}.{field_name}", f"{name} is in {found.unit}, not {unit}")
    tolerance = item.tolerance
    _require(
        tolerance is None or tolerance in device_type.parameters,
        f"{place}.tolerance",
        f"{tolerance} is not a parameter",
    )
    condition = item.condition
    _require(
        condition is None or condition in device_type.conditions, f"{place}.while", f"{condition} is not a condition"
    )
    return Comfort(item.temperature, item.warmest, item.coldest, tolerance, condition)


def _build_medium(item: _MediumFile, device_type: DeviceType) -> Medium:
    """A medium after its checks: all that it names are points, and there is one."""
    medium = Medium(item.medium.strip(), item.gives, item.takes, _listed(item.moves), item.led_by)
    place = f"media[{medium.name}]"
    _require(bool(medium.points), place, "needs a point: gives, takes or moves")
    _require(item.gives is None or item.takes is None, place, "a machine gives it or takes it, not both")
    for name in (*medium.points, *((item.led_by,) if item.led_by is not None else ())):
        _require(name in device_type.index, place, f"{name} is not a point")
    _require(item.led_by is None or item.gives is not None, place, "led_by is of what it gives")
    return medium


def _build_energy(item: _EnergyFile, device_type: DeviceType) -> Energy:
    """Energy after its checks: one source of power, in kW, and drivers that are points other than it."""
    drivers = _listed(item.drivers)
    _require((item.power is None) != (item.current is None), "energy", "needs either power or current")
    for field_name, name in (("power", item.power), ("current", item.current), *(("drivers", d) for d in drivers)):
        _require(name is None or name in device_type.index, f"energy.{field_name}", f"{name} is not a point")
    source = item.power or item.current
    unit = "kW" if item.power else "A"
    if source is not None:
        found = device_type.point(source).unit
        _require(found == unit, f"energy.{'power' if item.power else 'current'}", f"{source} is in {found}, not {unit}")
    _require(source not in drivers, "energy.drivers", f"{source} can't drive itself")
    _require(bool(drivers) or item.clock, "energy.drivers", "must name a point, or clock be true")
    known = item.power is not None or (item.volts is not None and item.phases is not None)
    _require(known, "energy.current", "needs volts and phases to become power")
    return Energy(
        power=item.power,
        drivers=drivers,
        clock=item.clock,
        current=item.current,
        volts=item.volts or 0.0,
        phases=item.phases or 1,
        power_factor=item.power_factor,
    )


def _build_point(item: _PointFile) -> Point:
    place = f"points[{item.name}]"
    for name, limits in (("normal", item.normal), ("hard", item.hard)):
        ordered = limits is None or -LARGEST <= limits[0] < limits[1] <= LARGEST
        _require(ordered, f"{place}.{name}", f"must be [lowest, highest], in order and within {LARGEST:g}")
    if item.normal and item.hard:
        inside = item.hard[0] <= item.normal[0] and item.normal[1] <= item.hard[1]
        _require(inside, f"{place}.normal", f"{list(item.normal)} must be inside hard {list(item.hard)}")
    difference = item.difference if item.difference is not None else "Differential_Temperature" in (item.brick or "")
    given = {
        "title": item.title or _words(item.name),
        "difference": difference,
        "ratios": MappingProxyType(item.ratios),
    }
    return Point(**msgspec.structs.asdict(item) | given)


def _build_parameter(name: str, given: float | _ParameterFile) -> Parameter:
    entry = given if isinstance(given, _ParameterFile) else _ParameterFile(given)
    usable = math.isfinite(entry.value) and abs(entry.value) <= LARGEST
    _require(usable, f"parameters.{name}", f"must be a finite number within {LARGEST:g}")
    return Parameter(name, float(entry.value), entry.unit, entry.source, entry.note)


def _build_rule(item: _RuleFile, device_type: DeviceType, scope: _Scope) -> Rule:
    place = f"rules[{item.id}]"
    when = " ".join(item.when.split())
    scope.check(f"{place}.when", when, boolean=True)
    rule = Rule(
        id=item.id,
        title=item.title or item.id,
        level=item.level,
        when=when,
        for_minutes=item.for_minutes,
        suppress=_listed(item.suppress),
        metrics=_listed(item.metrics) or tuple(sorted(variables(when) & device_type.index.keys())),
        source=item.source,
        message=" ".join(item.message.split()) or item.title or item.id,
        uses_out_of_range=item.uses_out_of_range,
    )
    for name in rule.suppress:
        _require(name in device_type.conditions, f"{place}.suppress", f"{name} is not a condition")
    for name in rule.metrics:
        _require(name in device_type.index, f"{place}.metrics", f"{name} is not a point")
    _require(len(rule.message) <= LONGEST_TEXT, f"{place}.message", f"over the {LONGEST_TEXT} characters allowed")
    try:
        fields = message_fields(rule.message)
        plain = all(not spec and not how for _, _, spec, how in string.Formatter().parse(rule.message))
    except ValueError as error:
        raise ValueError(f"{place}.message: {error}") from None
    _require(plain, f"{place}.message", "a name in braces may have no format: values are shown with their units")
    for name in fields:
        known = device_type.quantity(name) is not None
        _require(known, f"{place}.message", f"{{{name}}} is not a point, parameter or derived quantity")
    return rule
