"""Recurring times at which nobody is told of certain incidents: by device, point, rule and building, in local time.

What is suppressed is recorded all the same, and counted; an incident that still goes on when its suppression is over is told
then. Suppressions come from commands (table ``alert_suppressions``) and from a YAML file (``HVAC_SUPPRESSIONS``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hvac_platform.config import ConfigError
from hvac_platform.devices.bounded_yaml import TextRefusedError, load_yaml, read_text
from hvac_platform.monitoring.data_loss import DATA_LOSS
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import Incident, StoredCalendar, StoredMatches, Suppression
from hvac_platform.timestamps import to_datetime

SCOPE = "all"
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MATCHES = ("device", "point", "rule", "building")
LONGEST_SPAN_DAYS = 366
_HOURS = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")
_NAME = re.compile(r"[\w.-]{1,64}")


class SuppressionError(ConfigError):
    """A suppression can't be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Suppressions:
    """All suppressions there are.

    Attributes:
        rules: in order of their names; those of the file first.
        holidays: local days by the name of their list.
        of_file: names of those that are from the file.
    """

    rules: tuple[Suppression, ...] = ()
    holidays: Mapping[str, frozenset[date]] = field(default_factory=dict)
    of_file: frozenset[str] = frozenset()

    def matching(self, incident: Incident, at_ms: int) -> str | None:
        """Name of the first suppression that holds for an incident at an instant; None where people are to be told."""
        for rule in self.rules:
            if fits(rule.matches, incident) and holds(rule.calendar, self.holidays, at_ms):
                return rule.suppression_id
        return None


def read_suppressions(store: Store, file: Path | None) -> Suppressions:
    """The suppressions of the store and of a file.

    Raises:
        SuppressionError: the file, or one of them, can't be used.
    """
    entered = sorted(Suppression.read(store, equals={"scope": SCOPE}), key=lambda one: one.suppression_id)
    found = suppressions_of_file(file) if file is not None else Suppressions()
    return Suppressions(
        (*found.rules, *(one for one in entered if one.suppression_id not in found.of_file)),
        found.holidays,
        found.of_file,
    )


def suppressions_of_file(file: Path) -> Suppressions:
    """The suppressions of a YAML file: ``holidays`` (lists of days by name) and ``suppressions``.

    Raises:
        SuppressionError: it can't be read, or one of them can't be used.
    """
    try:
        document = load_yaml(read_text(file))
    except TextRefusedError as error:
        raise SuppressionError(f"{file}: {error}") from None
    try:
        return _parsed(document)
    except SuppressionError as error:
        raise SuppressionError(f"{file}: {error}") from None


def _parsed(document: object) -> Suppressions:
    if not isinstance(document, dict) or (unknown := {*document} - {"holidays", "suppressions"}):
        known = "a mapping with holidays and suppressions"
        raise SuppressionError(
            f"it is not {known}" if not isinstance(document, dict) else f"unknown key {min(unknown)!r}"
        )
    lists = document.get("holidays") or {}
    if not isinstance(lists, dict):
        raise SuppressionError("holidays is not a mapping from a name to days")
    holidays = {str(name): frozenset(_days(days, f"holidays of {name}")) for name, days in lists.items()}
    entries = document.get("suppressions") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SuppressionError("suppressions is not a list of mappings")
    rules = [_entry(entry, holidays) for entry in entries]
    names = [rule.suppression_id for rule in rules]
    if twice := {name for name in names if names.count(name) > 1}:
        raise SuppressionError(f"two suppressions are called {min(twice)!r}")
    return Suppressions(tuple(rules), holidays, frozenset(names))


def _entry(entry: Mapping[str, Any], holidays: Mapping[str, frozenset[date]]) -> Suppression:
    known = {"name", "note", *MATCHES, *StoredCalendar.__annotations__}
    if unknown := {*entry} - known:
        raise SuppressionError(f"unknown key {min(map(str, unknown))!r}: known are {', '.join(sorted(known))}")
    matches = {name: str(entry[name]) for name in MATCHES if name in entry}
    calendar = {
        name: _texts(entry[name]) if name in ("weekdays", "dates", "holidays") else str(entry[name])
        for name in StoredCalendar.__annotations__
        if name in entry
    }
    return checked(
        Suppression(
            SCOPE,
            str(entry.get("name", "")),
            cast("StoredMatches", matches),
            cast("StoredCalendar", calendar),
            str(entry.get("note", "")),
            "file",
            0,
        ),
        holidays,
    )


def _texts(value: object) -> list[str]:
    return [str(part) for part in (value if isinstance(value, list) else [value])]


def checked(rule: Suppression, holidays: Mapping[str, frozenset[date]]) -> Suppression:
    """The suppression, if it can be used.

    Raises:
        SuppressionError: it can't.
    """
    name, calendar = rule.suppression_id, rule.calendar
    if not _NAME.fullmatch(name):
        raise SuppressionError(f"a suppression is called {name!r}: 1 to 64 letters, digits, '.', '_' and '-'")
    if not any(rule.matches.values()):
        raise SuppressionError(f"{name}: say what it holds for, by {', '.join(MATCHES)} ('*' is any)")
    if wrong := [day for day in calendar.get("weekdays", []) if day not in WEEKDAYS]:
        raise SuppressionError(f"{name}: {wrong[0]!r} is no weekday: {', '.join(WEEKDAYS)}")
    if wrong := [one for one in calendar.get("holidays", []) if one not in holidays]:
        known = ", ".join(sorted(holidays)) or "none"
        raise SuppressionError(
            f"{name}: no list of holidays is called {wrong[0]!r}; the file of suppressions has {known}"
        )
    _days(calendar.get("dates", []), name)
    try:
        _hours(calendar.get("hours", "00:00-00:00"))
    except ValueError:
        raise SuppressionError(f"{name}: hours are like 22:00-06:00, not {calendar.get('hours')!r}") from None
    try:
        ZoneInfo(calendar.get("timezone", "UTC"))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        zone = calendar.get("timezone")
        raise SuppressionError(f"{name}: no time zone is called {zone!r}: a name like Europe/Berlin") from None
    return rule


def fits(matches: StoredMatches, incident: Incident) -> bool:
    """Whether an incident is what a suppression is for: each pattern that there is has to fit.

    That of a rule has to fit every rule that fired (``data-loss`` for a data loss), that of a point the metric that moved
    most.
    """
    rules = ["data-loss"] if DATA_LOSS in incident.methods else incident.rules
    found = {
        "device": [incident.device_id],
        "building": [incident.building_id],
        "rule": rules,
        "point": incident.metrics[:1],
    }
    return all(
        bool(found[name]) and all(fnmatchcase(value, str(pattern)) for value in found[name])
        for name, pattern in matches.items()
        if pattern
    )


def without_devices(matches: StoredMatches, devices: Sequence[Device]) -> list[str]:
    """What to tell of patterns for device or building that fit none of the devices there are: likely a slip of the pen."""
    ids, buildings = {d.device_id for d in devices}, {d.building_id for d in devices}
    return [
        f"no {what} that is known fits {pattern!r}, so it holds for none until one does; {known}"
        for what, there, known in (
            ("device", ids, "hvac devices list has all of them"),
            ("building", buildings, f"there are {', '.join(sorted(filter(None, buildings))) or 'none'}"),
        )
        if (pattern := matches.get(what)) and not any(fnmatchcase(one, str(pattern)) for one in there)
    ]


def holds(calendar: StoredCalendar, holidays: Mapping[str, frozenset[date]], at_ms: int) -> bool:
    """Whether a suppression holds at an instant.

    It holds on the weekdays, dates and holidays that it names, on every day where it names none, in its hours. Hours over
    midnight belong to the day on which they begin.
    """
    local = to_datetime(at_ms).astimezone(ZoneInfo(calendar.get("timezone", "UTC")))
    begin, end = _hours(calendar.get("hours", "00:00-00:00"))
    today, now = local.date(), local.time()
    if begin < end:
        return begin <= now < end and _named(calendar, holidays, today)
    if now >= begin and _named(calendar, holidays, today):
        return True
    return now < end and _named(calendar, holidays, today - timedelta(days=1))


def in_words(calendar: StoredCalendar) -> str:
    """When a suppression holds, for people.

    >>> in_words({"weekdays": ["sat", "sun"], "hours": "22:00-06:00", "timezone": "Europe/Berlin"})
    'sat, sun 22:00-06:00 (Europe/Berlin)'
    """
    days = [*calendar.get("weekdays", []), *calendar.get("holidays", []), *calendar.get("dates", [])]
    hours = f" {calendar['hours']}" if "hours" in calendar else ""
    return f"{', '.join(days) or 'daily'}{hours} ({calendar.get('timezone', 'UTC')})"


def _named(calendar: StoredCalendar, holidays: Mapping[str, frozenset[date]], day: date) -> bool:
    weekdays, dates, lists = calendar.get("weekdays", []), calendar.get("dates", []), calendar.get("holidays", [])
    if not weekdays and not dates and not lists:
        return True
    return (
        WEEKDAYS[day.weekday()] in weekdays
        or any(day in holidays.get(name, ()) for name in lists)
        or any(first <= day <= last for first, last in map(_span, dates))
    )


def _hours(text: str) -> tuple[time, time]:
    found = _HOURS.fullmatch(text)
    if found is None:
        raise ValueError(text)
    begin_hour, begin_minute, end_hour, end_minute = map(int, found.groups())
    return time(begin_hour, begin_minute), time(end_hour % 24, end_minute)


def _span(text: str) -> tuple[date, date]:
    first, _, last = text.partition("/")
    return date.fromisoformat(first), date.fromisoformat(last or first)


def _days(listed: object, where: str) -> Iterable[date]:
    """Days of a list of days and of spans of days.

    Raises:
        SuppressionError: one is neither.
    """
    found: list[date] = []
    for text in _texts(listed):
        try:
            first, last = _span(text)
        except ValueError:
            raise SuppressionError(
                f"{where}: {text!r} is neither a day (2026-12-24) nor a span of days (…/…)"
            ) from None
        if not 0 <= (last - first).days <= LONGEST_SPAN_DAYS:
            raise SuppressionError(f"{where}: {text!r} is not a span of at most {LONGEST_SPAN_DAYS} days")
        found += [first + timedelta(days=i) for i in range((last - first).days + 1)]
    return found
