"""Words and numbers for the pages. What comes from outside is made visible and short here, and escaped where it must be."""

from __future__ import annotations

import html
import math
from urllib.parse import quote
from zoneinfo import ZoneInfo

from hvac_platform.devices.display_units import Display, display_of, show_value
from hvac_platform.devices.registry import device_type
from hvac_platform.timestamps import iso, to_datetime
from hvac_platform.visible_text import visible

MOST_BYTES = 240


def in_figure(text: object) -> str:
    """The same for a figure, whose texts may hold some HTML, links too.

    >>> in_figure('<a href="x">')
    '&lt;a href=&quot;x&quot;&gt;'
    """
    return html.escape(visible(text, 120))


def escaped_bytes(content: bytes | None, most: int = MOST_BYTES) -> str:
    r"""Bytes as text: what is not printable UTF-8 as escapes, and cut with its length told.

    >>> escaped_bytes(b"\xff<b>"), escaped_bytes(None), escaped_bytes(b"aaaa", 2)
    ('\\xff<b>', '(none)', 'aa… (4 bytes)')
    """
    if content is None:
        return "(none)"
    if not content:
        return "(empty)"
    text = visible(content[:most].decode("utf-8", "backslashreplace"), 4 * most)
    short = text[: most + 60]  # escapes take more room than what they stand for
    return f"{short}… ({len(content):,} bytes)" if len(content) > most or short != text else text


def at_site(milliseconds: int, timezone: str) -> str:
    """A time for people, in UTC and by the clock of the building.

    >>> at_site(1_795_957_860_000, "America/New_York"), at_site(0, "UTC")
    ('2026-11-29 13:11:00Z (Sun 08:11 in America/New_York)', '1970-01-01 00:00:00Z')
    """
    if timezone == "UTC":
        return iso(milliseconds)
    local = to_datetime(milliseconds).astimezone(ZoneInfo(timezone))
    return f"{iso(milliseconds)} ({local:%a %H:%M} in {timezone})"


def age(milliseconds: int) -> str:
    """How long, in the largest unit that fits.

    >>> age(45_000), age(90_000), age(50 * 3_600_000)
    ('45 s', '1 min', '2 d')
    """
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if milliseconds >= length:
            return f"{milliseconds // length} {unit}"
    return f"{max(0, milliseconds) // 1000} s"


def span_words(milliseconds: int) -> str:
    """A length of time to the minute, or to the hour where it is days.

    >>> span_words(71 * 60_000), span_words(30_000), span_words(51 * 3_600_000)
    ('1 h 11 min', '30 s', '2 d 3 h')
    """
    minutes = milliseconds // 60_000
    if not minutes:
        return f"{milliseconds // 1000} s"
    hours, days = minutes // 60, minutes // 1440
    parts = [(days, "d"), (hours % 24, "h")] if days else [(hours, "h"), (minutes % 60, "min")]
    return " ".join(f"{n} {unit}" for n, unit in parts if n)


def number(value: float | None, decimals: int | None = None) -> str:
    """A number, or a dash where there is none.

    >>> number(1234.5, 1), number(None), number(float("nan")), number(0.123456)
    ('1,234.5', '–', '–', '0.1235')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.4g}" if decimals is None else f"{value:,.{decimals}f}"


def metric_title(type_name: str, metric: str) -> str:
    """A metric in words; its name with spaces where the type is unknown.

    >>> metric_title("chiller", "cop"), metric_title("teapot", "lid_angle")
    ('coefficient of performance', 'lid angle')
    """
    declared = device_type(type_name)
    if declared is not None and metric in declared.index:
        return declared.point(metric).title
    return visible(metric.replace("_", " "), 60)


def metric_display(type_name: str, metric: str, sent: dict[str, str] | None = None) -> Display:
    """How a metric is shown: in the declared unit, else in the one that was sent with it, or what is preferred for that."""
    declared = device_type(type_name)
    if declared is not None and metric in declared.index:
        return display_of(declared, metric, declared.point(metric).unit)
    return display_of(declared, metric, visible((sent or {}).get(metric, ""), 20))


def metric_unit(type_name: str, metric: str, sent: dict[str, str] | None = None) -> str:
    """Unit that a metric is shown in."""
    return metric_display(type_name, metric, sent).unit


def metric_value(type_name: str, metric: str, value: float | None, sent: dict[str, str] | None = None) -> str:
    """A reading with its unit.

    >>> metric_value("rooftop_unit", "supply_air_temp", 71.26), metric_value("teapot", "t", 3.0, {"t": "°C"})
    ('71.3 °F', '3 °C')
    """
    if value is None or not math.isfinite(value):
        return "–"
    unit = visible((sent or {}).get(metric, ""), 20)
    return show_value(device_type(type_name), metric, value, unit)


def key_metrics(type_name: str, names: list[str], most: int = 6) -> list[str]:
    """The metrics that say most about a device: power, other measured ones, then commands, states and counters.

    >>> key_metrics("chiller", ["compressor_status", "cop", "power_consumption"], 2)
    ['power_consumption', 'cop']
    """
    declared = device_type(type_name)
    if declared is None:
        return sorted(names)[:most]
    reported = set(names)
    points = [p for p in declared.points if p.name in reported]
    measured = [p.name for p in points if p.kind == "analog" and not p.may_hold]
    measured.sort(key=lambda name: declared.point(name).brick != "Electric_Power_Sensor")
    others = [p.name for p in points if p.name not in measured]
    undeclared = sorted(reported - set(declared.index))
    return [*measured, *others, *undeclared][:most]


def type_title(type_name: str) -> str:
    """A device type in words."""
    declared = device_type(type_name)
    return declared.title if declared is not None else visible(type_name.replace("_", " "), 60)


def device_href(device_id: str) -> str:
    """Address of a device's page.

    >>> device_href("a/b c")
    '/device/a%2Fb%20c'
    """
    return f"/device/{quote(device_id, safe='')}"


def incident_href(incident_id: str) -> str:
    """Address of an incident's page; it stays, as the id does.

    >>> incident_href("CH 1/1795741275000")
    '/incident/CH%201/1795741275000'
    """
    device_id, _, name = incident_id.rpartition("/")
    return f"/incident/{quote(device_id, safe='')}/{quote(name, safe='')}"


def replay_href(device_id: str, name: str | None = None, span: tuple[int, int] | None = None) -> str:
    """Address of the replay of a device; of an incident where one is named by what its id has after its device.

    Args:
        device_id: the device.
        name: of the incident, or None.
        span: what is to be played, epoch milliseconds; the usual one when absent.

    >>> replay_href("CH 1"), replay_href("CH 1", "1795741275000")
    ('/replay/CH%201', '/replay/CH%201/1795741275000')
    >>> replay_href("CH-1", span=(0, 60_000))
    '/replay/CH-1?from=1970-01-01T00:00:00&until=1970-01-01T00:01:00'
    """
    incident = "" if name is None else f"/{quote(name, safe='')}"
    times = "" if span is None else f"?from={replay_time(span[0])}&until={replay_time(span[1])}"
    return f"/replay/{quote(device_id, safe='')}{incident}{times}"


def replay_time(milliseconds: int) -> str:
    """An instant as the fields of the replay have it, in UTC.

    >>> replay_time(0)
    '1970-01-01T00:00:00'
    """
    return iso(milliseconds)[:19].replace(" ", "T")


def state_words(state: str) -> str:
    """State of an incident, for people.

    >>> state_words("false_alarm")
    'false alarm'
    """
    return state.replace("_", " ")


def level_words(level: int) -> str:
    """A level of ASHRAE Guideline 36.

    >>> level_words(2)
    '2 critical'
    """
    names = {1: "life safety", 2: "critical", 3: "urgent", 4: "normal priority"}
    return f"{level} {names[level]}" if level in names else str(level)
