"""The zone that a header or a line above it names: an offset, a timezone of the world, or an abbreviation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

import pandas as pd

from hvac_platform.ingestion.importing.columns import slug

_OFFSET = r"(?:UTC|GMT)?\s*([-+−±])\s*(\d{1,2})(?::?(\d{2}))?"
_SIGNED = re.compile(rf"(?:UTC|GMT|Z)|{_OFFSET}|\(?(?:UTC|GMT){_OFFSET}\)?\s+\S.*", re.IGNORECASE)
_BRACKETED = re.compile(r"[(\[{]\s*(.+?)\s*[)\]}]\s*$")
_BEHIND = re.compile(
    r"(?:^|[\s_,;|-])((?:UTC|GMT)(?:\s*[-+−]\s*\d{1,2}(?::?\d{2})?)?|[-+−]\d{2}:?\d{2})\s*$", re.IGNORECASE
)
_ABBREVIATION = re.compile(r"[A-Z]{2,5}")
_SPELLED = re.compile(
    r"(?i).*\b(?:standard|daylight|summer|winter|eastern|central|pacific|mountain|european)\b.*\btime"
)
_STATED = re.compile(
    r"(?i)\W*(?:(?:(?:report|site|local) )?time[ _-]?zone|tz|zeitzone|fuseau horaire|huso horario|utc[ _]?offset|"
    r"(?:all )?time ?(?:stamp)?s? (?:are |is )?(?:given |shown )?(?:in|(?=UTC|GMT)))(?:\b|(?=[-+−]))"
    r"[\s:=,;|-]*?(?P<zone>[-+−]?\s*[\w(\"'\[].*)"
)
"""A line that says in which zone the times below it are."""
_MINUTES = re.compile(r"(?i)([-+−]?)\s*(\d{2,3})\s*min(?:utes)?\.?")
"""Minutes ahead of UTC."""
_UTC = ("utc", "gmt", "zulu")
_LOCAL = ("local", "locale", "lokal", "lokalzeit", "localtime", "ortszeit", "lt")
"""Words that say that times are those of a place, and not of which."""
_NOT_ZONES = (
    "HH",
    "MM",
    "SS",
    "MS",
    "NS",
    "US",
    "AM",
    "PM",
    "LT",
    "ISO",
    "LOCAL",
    "DMY",
    "MDY",
    "YMD",
    "UNIX",
    "EPOCH",
)


@dataclass(frozen=True, slots=True)
class HeaderZone:
    """What the header of a column of times, or a line above it, says of them.

    Attributes:
        text: what stands there.
        ahead: minutes ahead of UTC; None where that is not said.
        timezone: a timezone of the world; None where none is named.
        is_local: whether it says that they are local times, without saying of where.
        where: what says so, in words.
    """

    text: str
    ahead: int | None = None
    timezone: str | None = None
    is_local: bool = False
    where: str = field(default="its header", repr=False)

    @property
    def is_known(self) -> bool:
        """Whether it is a zone for certain."""
        return self.ahead is not None or self.timezone is not None

    def may_be(self, timezone: str) -> bool:
        """Whether it does not contradict a timezone."""
        if self.timezone is not None:
            return are_one_zone(self.timezone, timezone)
        return self.ahead is None or self.ahead in zone_names(timezone, {}).values()


def header_zone(header: str) -> HeaderZone | None:
    """The zone in a header of times; None where it has none.

    >>> header_zone("Timestamp (UTC+01:00)"), header_zone("Timestamp GMT-05:00").ahead, header_zone("time_utc").ahead
    (HeaderZone(text='UTC+01:00', ahead=60, timezone=None, is_local=False), -300, 0)
    >>> header_zone("time (Europe/Berlin)").timezone, header_zone("Time (EST)"), header_zone("Time (hh:mm)")
    ('Europe/Berlin', HeaderZone(text='EST', ahead=None, timezone=None, is_local=False), None)
    >>> header_zone("DateTimeUTC").ahead, header_zone("Time (Local)").is_local, header_zone("UTC Offset")
    (0, True, None)
    """
    header = " ".join(header.split())
    inside = _BRACKETED.search(header)
    texts = [inside.group(1)] if inside is not None else []
    if (behind := _BEHIND.search(header)) is not None:
        texts.append(behind.group(1))
    texts += [word for word in re.split(r"[\s,;]+", header)[1:] if "/" in word]
    texts.append(re.sub(r"^.*?[(\[]((?:UTC|GMT)[-+−]\d{1,2}:?\d{0,2})[)\]].*$", r"\1", header, flags=re.IGNORECASE))
    for text in texts:
        match = _SIGNED.fullmatch(text)
        if match is not None:
            return HeaderZone(text, _minutes(text))
        name = _names().get(text.replace(" ", "_").lower())
        if name is not None:
            return HeaderZone(text, None, name)
    said = slug(header).split("_")
    local = next((word for word in said if word in _LOCAL), None)
    if local is not None:
        return HeaderZone(local, is_local=True)
    utc = next((i for i, word in enumerate(said) if word in _UTC), None)
    if utc is not None and "offset" not in said and not (said[utc + 1 : utc + 2] or ["-"])[0].isdigit():
        return HeaderZone(said[utc].upper(), 0)
    if inside is not None and _SPELLED.fullmatch(inside.group(1)):
        return HeaderZone(inside.group(1))
    words = [inside.group(1)] if inside is not None else re.split(r"[\s_]+", header)[1:][-1:]
    if not words or not _ABBREVIATION.fullmatch(words[0]) or words[0] in _NOT_ZONES:
        return None
    # Behind blanks and without brackets, only what can be nothing else: EST, PDT, CET.
    is_zone = inside is not None or re.fullmatch(r"[A-Z]{1,3}[SD]T|[CWE]ES?T|I?ST", words[0])
    return HeaderZone(words[0]) if is_zone else None


def stated_zone(cells: Sequence[str]) -> HeaderZone | None:
    """The zone that a line above a table states, as many reports do; None where it speaks of something else.

    >>> stated_zone(["Time Zone: America/New_York"]).timezone, stated_zone(["Timezone", "UTC-05:00"]).ahead
    ('America/New_York', -300)
    >>> stated_zone(["All times are in EST"]), stated_zone(["TZ: local"]).is_local, stated_zone(["Time zone 4"])
    (HeaderZone(text='EST', ahead=None, timezone=None, is_local=False), True, None)
    """
    where = "a line above the header"
    alone = next((name for cell in cells if (name := _names().get(cell.strip().replace(" ", "_").lower()))), None)
    if alone is not None:
        return HeaderZone(alone, None, alone, where=where)
    match = _STATED.match(" ".join(" ".join(cells).split()))
    if match is None:
        return None
    text = match["zone"].strip(" \t\"'()[].,;:=")
    minutes = _MINUTES.fullmatch(text)
    if minutes is not None:
        return HeaderZone(text, int(minutes[2]) * (-1 if minutes[1] in ("-", "−") else 1), where=where)
    found = header_zone(f"Time ({text})")
    if found is not None and found.ahead is not None and re.search(r"[A-Za-z]{4}", text):
        found = HeaderZone(text)  # (UTC-05:00) Eastern Time is five hours behind in winter alone
    if found is None and _SPELLED.fullmatch(f"{text} time"):
        found = HeaderZone(text)
    return None if found is None else replace(found, where=where)


def are_one_zone(one: str, other: str) -> bool:
    """Whether two names are of timezones with the same clocks.

    >>> are_one_zone("US/Eastern", "America/New_York"), are_one_zone("Europe/Berlin", "America/New_York")
    (True, False)
    """
    if one == other:
        return True
    first, second = ZoneInfo(one), ZoneInfo(other)
    instants = [datetime(year, month, 15) for year in range(2000, 2031, 2) for month in (1, 4, 7, 10)]  # noqa: DTZ001
    return all(at.replace(tzinfo=first).utcoffset() == at.replace(tzinfo=second).utcoffset() for at in instants)


def zone_names(timezone: str | None, zones: Mapping[str, int]) -> dict[str, int]:
    """Minutes ahead of UTC by abbreviation: those that are given, and those that the timezone itself uses."""
    known = dict(zones)
    if timezone:
        zone = ZoneInfo(timezone)
        for month in (1, 7):
            instant = pd.Timestamp(2024, month, 1, tzinfo=zone)
            offset = instant.utcoffset()
            if offset is not None:
                known.setdefault(instant.tzname() or "", round(offset.total_seconds() / 60))
    return known


def is_of(abbreviation: str, timezone: str) -> bool:
    """Whether a timezone is called so, or in short, as ET is for New York.

    >>> is_of("ET", "America/New_York"), is_of("CET", "Europe/Berlin"), is_of("EST", "Europe/Berlin")
    (True, True, False)
    """
    names = zone_names(timezone, {})
    if " " in abbreviation:  # spelled out, it is not among the short names, and is taken for what is given
        return True
    return abbreviation in names or (len(abbreviation) == 2 and f"{abbreviation[0]}S{abbreviation[1]}" in names)


def _minutes(text: str) -> int:
    match = re.search(_OFFSET, text)
    if match is None:
        return 0
    minutes = int(match.group(2)) * 60 + int(match.group(3) or 0)
    return -minutes if match.group(1) in "-−" else minutes


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    return {name.lower(): name for name in available_timezones() if "/" in name}
