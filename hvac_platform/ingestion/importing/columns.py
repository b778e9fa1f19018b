"""Which column is which: time, device, metric and value by their names, points by names and titles, units in brackets."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from hvac_platform.devices.registry import DeviceType
from hvac_platform.devices.units import SAYS_NOTHING, names_unit, parse_unit, plain

TIME_NAMES = (
    *("timestamp", "datetime", "date_time", "time", "date", "ts", "t_stamp", "time_stamp", "zeitstempel", "zeitpunkt"),
    *("datum_zeit", "datum", "zeit", "date_heure", "horodatage", "fecha_hora", "fecha", "event_time", "sample_time"),
    *(
        "log_time",
        "reading_time",
        "recorded_at",
        "measured_at",
        "created_at",
        "local_time",
        "utc_time",
        "time_utc",
        "period",
        "last_changed",
        "last_updated",
    ),
)
DATE_NAMES = ("date", "datum", "fecha", "jour", "day", "local_date")
ZONE_NAMES = ("timezone", "time_zone", "tz", "utc_offset", "tz_offset", "offset_utc", "gmt_offset", "zeitzone")
CLOCK_NAMES = (
    "time",
    "zeit",
    "uhrzeit",
    "hora",
    "heure",
    "time_of_day",
    "clock",
    "local_time",
    "hour",
    "hr",
    "stunde",
    "hh",
    "hhmm",
)
YEAR_NAMES = ("year", "yr", "yyyy", "jahr", "annee", "année", "ano", "año", "anno")
MONTH_NAMES = ("month", "mon", "mm", "monat", "mois", "mes", "mese", "mo")
DAY_NAMES = ("day", "dd", "day_of_month", "dom", "tag", "jour", "dia", "día", "giorno", "dy")
HOUR_NAMES = ("hour", "hr", "hh", "hours", "stunde", "heure", "hora", "ora")
MINUTE_NAMES = ("minute", "min", "minutes", "mins", "mi", "minuto")
SECOND_NAMES = ("second", "sec", "seconds", "secs", "ss", "sekunde", "seconde", "segundo")
METRIC_NAMES = (
    *("metric_name", "metric", "point", "point_name", "pointname", "tag", "name", "field", "tagname", "tag_name"),
    *("sensor", "variable", "parameter", "measurement", "register", "history", "trend", "channel", "object_name"),
    *("series", "object", "entity_id", "point_id", "tag_id", "signal", "signal_name", "object_id", "item_name", "item"),
    *("item_reference", "object_reference", "trend_name", "history_name", "point_path", "tag_path", "series_name"),
)
VALUE_NAMES = (
    *("metric_value", "value", "reading", "val", "point_value", "wert", "valeur", "valor", "trend_value"),
    *("object_value", "present_value", "data_value", "numeric_value", "sample_value", "tag_value", "state"),
)
DEVICE_NAMES = (
    "device_id",
    "device",
    "equipment",
    "unit_id",
    "equip",
    "equipment_id",
    "asset",
    "asset_id",
    "deviceid",
    "host",
)
LABELS_OF_DEVICES = (*DEVICE_NAMES, "device_name", "equipment_name", "asset_name", "ahu", "rtu", "instance")
UNIT_NAMES = (
    "unit",
    "units",
    "uom",
    "engineering_units",
    "eng_units",
    "einheit",
    "unit_of_measure",
    "unite",
    "units_abbreviation",
    "unit_abbreviation",
    "unit_symbol",
)

BY_MAP, BY_NAME, BY_TITLE, BY_NAME_WITHOUT_UNIT, AS_IT_IS = "map", "name", "title", "name without its unit", "own name"

_FREQUENCY = r"(?:\((?:TimeStep|Hourly|Daily|Monthly|Zone Timestep|Detailed|Each Call)\))?"
"""What EnergyPlus writes behind the unit."""
_BRACKETS = re.compile(rf"^(.*?)\s*[(\[{{<]\s*([^()\[\]{{}}<>]+?)\s*[)\]}}>]\s*{_FREQUENCY}\s*$")
_NESTED = re.compile(r"^(.*?)\s*[(\[{]\s*([^()\[\]{}]+[(\[{][^()\[\]{}]+[)\]}])\s*[)\]}]\s*$")
"""A unit with brackets of its own: ``(bar(g))``."""
_AFTER = re.compile(r"^(.*?)(?:,\s*|\s+in\s+|\s*[-–/|:]\s+)([^,\s][^,]{0,20})$")


_SIGN_BEHIND = re.compile(r"^(.+?)\s*([%％Ω])$")
_OF_STATES = ("status", "state", "mode", "enum", "binary", "number", "count")
"""Words for a unit that behind the name of a temperature make another name: its status is none in another unit."""
_KINDS = ("avg", "average", "mean", "min", "minimum", "max", "maximum", "std", "smp", "inst", "last", "first", "median")
_SIGNS = re.compile(r"[%％‰‱Ω€$£¥]|Δ\s?°?[CFK]|°(?![CFKR])")
_NO_SIGN = ("",)
LONGEST_UNREAD = 3
"""Letters of what may be a unit in another encoding; a name in another language is longer."""
_STATED_UNIT = re.compile(
    r"(?i)\W*(?:(?:engineering |eng\.? )?units?(?: of measure(?:ment)?)?|uom|einheit(?:en)?|"
    r"(?:all )?[a-z]+ (?:are |is )?(?:given )?in\b)[\s:=,;|-]*(?P<unit>[^\s:=,;|].{0,30})"
)
"""A line that says in which unit the values below it are."""
_REMARK = re.compile(
    r"(?i)(?:.*\b(?:avg|average|mean|min|max|minimum|maximum|inst|last|smp|sample|total)|main|backup|primary|secondary|"
    r"sensor\b.*|values?|actual|current value|present[ _]value|real|float|double|int(?:eger)?|raw|calculated|"
    r"(?:analog|digital|binary|multi-?state)[ _](?:input|output|value)|[ab][iov][- _:]?\d*|[a-z]{2,5}[- _]\d{1,4})"
)
"""What stands in brackets behind a name and is no unit: which sensor, device or object it is of, or how it was made."""
_BRACKETED = re.compile(r"\s*[(\[{].*$")
_LABELS = re.compile(r"""^(.*?)\s*\{\s*((?:[\w.]+\s*=\s*["'][^"']*["']\s*,?\s*)+)\}$""")


def split_labels(name: str) -> tuple[str, dict[str, str]]:
    """A name of Prometheus without its labels, and the labels.

    >>> split_labels('fan_speed {device="RTU-1"}'), split_labels("Fan (main)")
    (('fan_speed', {'device': 'RTU-1'}), ('Fan (main)', {}))
    """
    match = _LABELS.match(name.strip())
    if match is None:
        return name, {}
    return match.group(1), dict(re.findall(r"""([\w.]+)\s*=\s*["']([^"']*)["']""", match.group(2)))


def slug(name: str) -> str:
    """A column's name as a metric name.

    >>> slug("Volume Flow RateRMS"), slug("Accelerometer1RMS"), slug("Supply Air Temp (°F)")
    ('volume_flow_rate_rms', 'accelerometer1_rms', 'supply_air_temp_f')
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    found = re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")
    # A name without a Latin letter keeps its own ones: it must not end up empty.
    return found or re.sub(r"[\W_]+", "_", unicodedata.normalize("NFC", name).lower()).strip("_")


def split_header(name: str) -> tuple[str, str]:
    """A header without the unit behind it, and the unit; empty where it has none that is known.

    >>> split_header("Supply Air Temp (°F)"), split_header("Return Air Temp [degC]"), split_header("Fan (main)")
    (('Supply Air Temp', '°F'), ('Return Air Temp', 'degC'), ('Fan (main)', ''))
    """
    for pattern in (_BRACKETS, _NESTED, _AFTER, _SIGN_BEHIND):
        match = pattern.match(name.strip())
        if match is not None and match.group(1) and _is_unit(match.group(2)):
            return match.group(1), match.group(2)
    return name, ""


def stated_unit(cells: Sequence[str]) -> str:
    """The unit that a line above a table states; empty where it speaks of something else.

    >>> stated_unit(["Unit", "°C"]), stated_unit(["# units: Celsius"]), stated_unit(["All temperatures in °C"])
    ('°C', 'Celsius', '°C')
    >>> stated_unit(["Unit", "RTU-1"]), stated_unit(["Units in service: 4"]), stated_unit(["Unit: 1"])
    ('', '', '')
    """
    text = " ".join(" ".join(cells).split())
    match = _STATED_UNIT.match(text)
    unit = match["unit"].strip(" \t\"'()[].,;") if match is not None else ""
    # Unit: 1 is the number of a machine.
    return unit if re.search(r"[^\W\d_]|[°%]", unit) and names_unit(unit) else ""


def without_remarks(name: str) -> str:
    """A header without brackets that hold a remark, such as which sensor it is of, and no unit.

    >>> without_remarks("Supply Air Temp (main) (°C)"), without_remarks("supply_air_temp [AHU-1]")
    ('Supply Air Temp (°C)', 'supply_air_temp')
    """
    found = name
    for part in re.findall(r"[(\[{][^()\[\]{}]*[)\]}]", name):
        inside = part[1:-1].strip()
        if _REMARK.fullmatch(inside) and parse_unit(inside) is None:
            found = found.replace(part, " ", 1)
    return " ".join(found.split()) if found != name else name


def bracketed(name: str) -> str:
    """What stands in brackets at the end of a header, known as a unit or not."""
    match = _NESTED.match(name.strip()) or _BRACKETS.match(name.strip())
    return match.group(2) if match is not None and match.group(1) else ""


def _is_unit(text: str) -> bool:
    return bool(plain(text)) and parse_unit(text) is not None


@dataclass(frozen=True, slots=True)
class Match:
    """The metric of a column.

    Attributes:
        metric: its name; None where the type declares none such.
        unit: unit that the name of the column holds; empty where it holds none.
        by: how it was found.
    """

    metric: str | None
    unit: str
    by: str


def match_column(name: str, declared: DeviceType | None) -> Match:
    """The metric that a column's name stands for.

    With a declared type: the point whose name or title it is, with or without a unit behind it. Else the name itself.
    """
    if declared is not None:
        name = without_remarks(name)
    bare, unit = split_header(name)
    if declared is None:
        found = slug(bare)
        return Match(found or None, unit, AS_IT_IS)
    inside = bracketed(name)
    if (
        inside
        and not unit
        and plain(inside).lower() not in SAYS_NOTHING
        and slug(_BRACKETED.sub("", name)) == slug(name)
    ):
        return Match(None, "", "")  # a unit in other letters than Latin ones, or in another encoding, is not nothing
    if not unit and _is_unread_unit(name):
        return Match(None, "", "")  # ℃ in an encoding that it was not read in
    # A sign of a unit is no part of a name, so the name with it seems to be that of a point: it counts as the unit.
    sign = unit if unit and slug(bare) == slug(name) else (_SIGNS.search(name) or _NO_SIGN)[0]
    for candidate, inside, by in (
        (name, sign, ""),
        (bare, unit, ""),
        (*_without_last_word(name), BY_NAME_WITHOUT_UNIT),
    ):
        if (point := _point(candidate, declared)) is not None:
            if inside == "1" and declared.point(point[0]).unit not in ("", "%"):
                inside = ""  # the second column of a name, as spreadsheets number them
            if slug(inside) in _OF_STATES and declared.point(point[0]).kind != "binary":
                continue
            return Match(point[0], inside, by or point[1])
    return Match(None, unit, "")


def _is_unread_unit(name: str) -> bool:
    """Whether a name ends in a short word of other letters than Latin ones, which the name of its point lacks."""
    first, _, last = name.rpartition(" ")
    is_short = 0 < len(last) <= LONGEST_UNREAD and not last.isascii() and last[0].isalpha()
    return is_short and slug(first) == slug(name)


def _without_last_word(name: str) -> tuple[str, str]:
    """``supply_air_temp_degC`` without its last word, where that is a unit; of two words where those are one."""
    words = re.split(r"[_\s.-]+", name.strip())
    for count in (2, 1):
        unit = " ".join(words[-count:])
        if len(words) > count and _is_unit(unit) and unit.lower() not in _KINDS:
            return "_".join(words[:-count]), unit
    return "", ""


def _point(name: str, declared: DeviceType) -> tuple[str, str] | None:
    wanted = slug(name)
    compact = wanted.replace("_", "")
    if not compact:
        return None
    for point in declared.points:
        if compact == point.name.replace("_", ""):
            return point.name, BY_NAME
    for point in declared.points:
        if compact == slug(point.title).replace("_", ""):
            return point.name, BY_TITLE
    return None


def nearest(name: str, declared: DeviceType | None) -> str | None:
    """The declared point that a name resembles most, for a suggestion; None where none does."""
    if declared is None:
        return None
    by_text = {slug(text): point.name for point in declared.points for text in (point.title, point.name)}
    # Without the unit, and without the word for how a logger made the value, which is not part of any point's name.
    words = slug(re.sub(r"[(\[{].*[)\]}]", " ", split_header(name)[0])).split("_")
    wanted = "_".join([word for word in words if word not in _KINDS] or words)
    found = difflib.get_close_matches(wanted, list(by_text), 1, 0.75)
    if found:
        return by_text[found[0]]
    # SAT, ChWST: the first letters of a point's words, in their order.
    letters = {"".join(word[0] for word in slug(text).split("_")): point for text, point in by_text.items()}
    last = wanted.split("_")[-1]
    return letters.get(last) or letters.get(wanted.replace("_", ""))


def role(columns: Sequence[str], usual: Sequence[str]) -> str | None:
    """The column with one of the usual names of a role, the most usual one first."""
    by_slug: dict[str, str] = {}
    for name in columns:
        by_slug.setdefault(slug(split_zone(name)), name)
        by_slug.setdefault(slug(name), name)
    return next((by_slug[name] for name in usual if name in by_slug), None)


def is_time_name(name: str) -> bool:
    """Whether a column is called as columns of times are, whatever zone or "local" its name holds.

    >>> is_time_name("Time (Local)"), is_time_name("utc_timestamp"), is_time_name("run time")
    (True, True, False)
    """
    words = [word for word in slug(split_zone(name)).split("_") if word not in ("local", "utc", "gmt", "lt")]
    return "_".join(words) in TIME_NAMES or slug(name) in TIME_NAMES


def split_zone(name: str) -> str:
    """The header of a time without the zone behind it.

    >>> split_zone("Timestamp (UTC)"), split_zone("Timestamp GMT-05:00"), split_zone("time America/New_York")
    ('Timestamp', 'Timestamp', 'time')
    """
    bare = re.sub(r"\s*[(\[][A-Za-z/_+:0-9 ,−-]{1,48}[)\]]\s*$", "", name)
    bare = re.sub(r"[\s_,;|-]+(?:UTC|GMT)(?:\s*[-+−]\s*\d{1,2}(?::?\d{2})?)?\s*$", "", bare, flags=re.IGNORECASE)
    return re.sub(r"[\s,;]+[A-Z][A-Za-z]+/[A-Za-z/_-]+\s*$", "", bare)
