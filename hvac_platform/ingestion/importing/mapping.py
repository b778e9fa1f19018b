"""The map of an import: what its writer says of a file's columns, times, units and words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hvac_platform.devices.bounded_yaml import TextRefusedError, load_yaml, read_text
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, listed
from hvac_platform.ingestion.importing.times import TimeRules

DEVICES, METRICS = "devices", "metrics"
_LISTS = ("ignore", "header", "good_status")
_TEXTS = (
    *("device_column", "metric_column", "value_column", "unit_column", "status_column", "timezone", "time_format"),
    *("encoding", "decimal", "columns_are", "metric", "device", "sheet", "unit", "hours"),
)


@dataclass(frozen=True, slots=True)
class ColumnMeaning:
    """What a column (of a long file: a name in the column of metrics) stands for.

    Attributes:
        metric: its metric, or None where the column's own name is it.
        unit: unit of its values, over what the header and the cells say; None where nothing is said.
        device: its device, or None.
    """

    metric: str | None = None
    unit: str | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class ImportMap:
    """How a file is read.

    Attributes:
        time_column: column of the time, or those of date and time of day; None to find it by its name.
        columns: metric by column, or what the column means; when given, other columns are left out.
        device_column: column of the device id, or None.
        metric_column: column of the metric in a long file, or None to find it.
        value_column: column of the value in a long file, or None to find it.
        unit_column: column of the unit in a long file, or None to find it.
        status_column: column that says which rows are good, or None.
        status_columns: by column, the one that says which of its values are good.
        good_status: what it says of good rows.
        timezone: timezone of times that name none; None is UTC.
        zones: minutes ahead of UTC by the abbreviation of a zone.
        day_first: whether the day stands before the month, None to find out.
        time_format: format of strptime, None to find out.
        year: year of times that have none.
        encoding: encoding of the text, None to find out.
        decimal: decimal mark, None to find out.
        states: number by word, for all columns or by column.
        units: unit by column.
        hours: ``ending`` or ``beginning``, where each column is an hour of the day.
        columns_are: ``metrics`` or ``devices``.
        metric: metric of all columns where they are devices, or of the one value that a row has.
        unit: unit of that metric.
        device: device of the rows.
        header: names of the columns of a file that has no header.
        sheet: sheet of a workbook, None for the first one that holds something.
        ignore: columns to leave out.
        files: by file name, what its value means.
    """

    time_column: str | tuple[str, ...] | None = None
    columns: Mapping[str, str | ColumnMeaning] = field(default_factory=dict)
    device_column: str | None = None
    metric_column: str | None = None
    value_column: str | None = None
    unit_column: str | None = None
    status_column: str | None = None
    status_columns: Mapping[str, str] = field(default_factory=dict)
    good_status: tuple[str, ...] = ()
    timezone: str | None = None
    zones: Mapping[str, int] = field(default_factory=dict)
    day_first: bool | None = None
    time_format: str | None = None
    year: int | None = None
    encoding: str | None = None
    decimal: str | None = None
    states: Mapping[str, Any] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    hours: str | None = None
    columns_are: str = METRICS
    metric: str | None = None
    unit: str | None = None
    device: str | None = None
    header: tuple[str, ...] = ()
    sheet: str | None = None
    ignore: tuple[str, ...] = ()
    files: Mapping[str, ColumnMeaning] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> ImportMap:
        """Read a map from YAML.

        Raises:
            ImportRefusedError: it isn't one; the message names the key.
        """
        try:
            document = load_yaml(read_text(path)) or {}
            return cls.of(document)
        except (TextRefusedError, ImportRefusedError) as error:
            raise ImportRefusedError(f"{path}: {error}") from None

    @classmethod
    def of(cls, document: Any) -> ImportMap:
        """The map of a YAML document.

        Raises:
            ImportRefusedError: it isn't one; the message names the key.
        """
        known = set(cls.__dataclass_fields__)
        if not isinstance(document, dict) or set(document) - known:
            bad = ", ".join(sorted(map(str, set(document) - known))) if isinstance(document, dict) else "not a mapping"
            raise ImportRefusedError(f"unknown keys {bad}; known are {', '.join(sorted(known))}")
        given = {key: value for key, value in document.items() if value is not None}
        for key in _TEXTS:
            if key in given and not isinstance(given[key], str | int | float):
                raise ImportRefusedError(f"{key} must be a text")
            if key in given:
                given[key] = str(given[key])
        for key in _LISTS:
            if not isinstance(given.get(key, []), list):
                raise ImportRefusedError(f"{key} must be a list")
            given[key] = tuple(map(str, given.get(key, [])))
        for key in ("columns", "states", "status_columns", "units", "zones", "files"):
            if not isinstance(given.get(key, {}), dict):
                what = "a mapping of column to metric" if key == "columns" else "a mapping"
                raise ImportRefusedError(f"{key} must be {what}")
        if isinstance(given.get("time_column"), list):
            given["time_column"] = tuple(map(str, given["time_column"]))
        given["columns"] = {str(name): _meaning("columns", name, one) for name, one in given.get("columns", {}).items()}
        given["files"] = {str(name): _meaning("files", name, one) for name, one in given.get("files", {}).items()}
        given["units"] = {str(name): str(unit) for name, unit in given.get("units", {}).items()}
        given["status_columns"] = {str(name): str(one) for name, one in given.get("status_columns", {}).items()}
        given["zones"] = {str(name): offset_minutes(name, value) for name, value in given.get("zones", {}).items()}
        given["states"] = {_word(name): _states(name, value) for name, value in given.get("states", {}).items()}
        if not isinstance(given.get("day_first", False), bool):
            raise ImportRefusedError("day_first must be true or false")
        if "year" in given and not (isinstance(given["year"], int) and 1970 <= given["year"] <= 2100):
            raise ImportRefusedError("year must be a number such as 2024")
        return cls(**given).checked()

    def checked(self) -> ImportMap:
        """The map itself.

        Raises:
            ImportRefusedError: a value of it can't be used.
        """
        if self.timezone is not None:
            try:
                ZoneInfo(self.timezone)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                raise ImportRefusedError(f"unknown timezone {self.timezone!r}, e.g. Europe/Berlin") from None
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except (LookupError, ValueError):
                raise ImportRefusedError(f"unknown encoding {self.encoding!r}, e.g. cp1252 or utf-16") from None
        if self.decimal not in (None, ".", ","):
            raise ImportRefusedError("decimal must be '.' or ','")
        if self.hours not in (None, "ending", "beginning"):
            raise ImportRefusedError("hours must be ending or beginning")
        if self.columns_are not in (DEVICES, METRICS):
            raise ImportRefusedError(f"columns_are must be {DEVICES} or {METRICS}")
        if self.columns_are == DEVICES and not self.metric:
            raise ImportRefusedError("columns_are: devices needs metric, the metric that all of them are of")
        return self

    def given(self, **options: Any) -> ImportMap:
        """The same map with the options of a command over it, where they are given."""
        return replace(self, **{name: value for name, value in options.items() if value is not None}).checked()

    @property
    def time_rules(self) -> TimeRules:
        """What is said of times."""
        return TimeRules(self.timezone, self.zones, self.day_first, self.time_format, self.year)

    def meaning(self, column: str) -> ColumnMeaning | None:
        """What the map says of a column."""
        found = self.columns.get(column)
        if found is None:
            wanted = squeezed(column)
            found = next((one for name, one in self.columns.items() if squeezed(name) == wanted), None)
        return ColumnMeaning(found) if isinstance(found, str) else found

    @property
    def metrics(self) -> list[str]:
        """Metrics that the map names."""
        meant = [ColumnMeaning(one) if isinstance(one, str) else one for one in self.columns.values()]
        named = [one.metric for one in (*meant, *self.files.values())] + [self.metric]
        return sorted({name for name in named if name is not None})

    def states_of(self, column: str) -> Mapping[str, float]:
        """Numbers by word, in small letters, of a column."""
        common = {name.lower(): value for name, value in self.states.items() if not isinstance(value, Mapping)}
        own = self.states.get(column)
        return common | (dict(own) if isinstance(own, Mapping) else {})


def squeezed(name: str) -> str:
    """A column's name without what can't be seen: blanks around it, several blanks for one.

    >>> squeezed(" Supply  Air ")
    'Supply Air'
    """
    return " ".join(name.split())


def offset_minutes(name: object, value: object) -> int:
    """Minutes ahead of UTC of an offset such as ``-05:00``, or hours as a number.

    >>> offset_minutes("EST", "-05:00"), offset_minutes("IST", "+05:30"), offset_minutes("EST", -5)
    (-300, 330, -300)

    Raises:
        ImportRefusedError: it is none.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        # YAML reads an unquoted -05:00 as a number to the base of sixty.
        return round(value * 60) if abs(value) <= 14 else round(value)
    match = re.fullmatch(r"\s*(?:UTC|GMT)?([-+])(\d{1,2}):?(\d{2})?\s*", str(value))
    if match is None:
        raise ImportRefusedError(f"zones: {name}: {value!r} is not an offset such as '-05:00'")
    minutes = int(match.group(2)) * 60 + int(match.group(3) or 0)
    return -minutes if match.group(1) == "-" else minutes


def _meaning(key: str, name: object, value: object) -> ColumnMeaning:
    if isinstance(value, dict):
        known = set(ColumnMeaning.__dataclass_fields__)
        if set(value) - known:
            raise ImportRefusedError(
                f"{key}: {name}: unknown keys {listed(sorted(set(value) - known))}; known are metric, unit and device"
            )
        return ColumnMeaning(**{name: None if one is None else str(one) for name, one in value.items()})
    if value is None or isinstance(value, list):
        raise ImportRefusedError(f"{key}: {name}: must be a metric, or metric, unit and device")
    return ColumnMeaning(str(value))


def _states(name: object, value: object) -> Any:
    if isinstance(value, dict):
        return {_word(word).lower(): _states(word, one) for word, one in value.items()}
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ImportRefusedError(f"states: {_word(name)}: {value!r} is not a number")
    return float(value)


def _word(value: object) -> str:
    """A word as it stands in a file: YAML reads On, Off, Yes and No as true and false."""
    return {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)
