"""Messages that a person can act on: device, place, what moved, since when, what it is like, where to look; three forms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import quote

from hvac_platform.alerts.facts import PLATFORM, RANK, SHARED_SCOPES
from hvac_platform.alerts.routing import base_transition
from hvac_platform.alerts.tree import RAISING
from hvac_platform.devices.display_units import show_value
from hvac_platform.devices.first_checks import FIRST_CHECKS
from hvac_platform.devices.registry import device_type
from hvac_platform.monitoring.worth import Prices, short_cost, worth_of
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import AnomalyEvent, Incident, Reading, StoredProfile
from hvac_platform.timestamps import iso, to_datetime

MOST_MOVED, MOST_SIMILAR, MOST_REASONS = 6, 3, 3
MOST_LISTED = 20
"""Incidents of one message that are named one by one."""
MOST_READ = 200
"""Incidents of one message of which more than their place is read."""
MOST_ROWS = 5_000
VERBS = {
    "opened": "",
    "worsened": "worse: ",
    "reopened": "again: ",
    "woken": "still: ",
    "resolved": "over: ",
    "taken_back": "taken back: ",
    "false_alarm": "false alarm: ",
    "acknowledged": "acknowledged: ",
    "assigned": "assigned: ",
    "snoozed": "snoozed: ",
    "commented": "comment: ",
    "labelled": "label: ",
    "merged": "merged: ",
    "joined": "part of more: ",
}


@dataclass(frozen=True, slots=True)
class Moved:
    """A metric that moved: its title, its value with unit, and what is normal of the device."""

    metric: str
    title: str
    shown: str
    normal: str = ""
    value: float | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """What is to be said of one incident.

    Attributes:
        likely: kind of fault that it resembles most, in words; empty where it resembles none.
        check: what to look at first, for that kind.
        similar: past incidents like it, a line each.
        text: what the platform says of itself, for an incident without a device.
        cost: what is avoidable a day, in a few words; empty where it isn't known.
    """

    incident_id: str
    device_id: str
    device_type: str = ""
    place: str = ""
    building_id: str = ""
    severity: str = "info"
    status: str = ""
    since_ms: int = 0
    until_ms: int = 0
    likely: str = ""
    check: str = ""
    label: str = ""
    cause: str = ""
    moved: tuple[Moved, ...] = ()
    reasons: tuple[str, ...] = ()
    similar: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    link: str = ""
    text: str = ""
    cost: str = ""

    @property
    def what(self) -> str:
        """The incident in a few words."""
        return self.label or self.likely or self.text or next(iter(self.reasons), "") or "unlike its normal"


@dataclass(frozen=True, slots=True)
class Message:
    """What one receiver is sent.

    Attributes:
        key: of the message; the same whenever it is sent again.
        transition: key of the transition, or a bundle: digest, held.
        happened_at: when the transition happened, by the data where the platform found it in them.
        made_at: when the message was made.
        contents: of its incidents, first the one that it is about.
        count: how many incidents it is of, contents or not.
        devices: how many devices those are of.
        note: what was said with the transition.
        actor: the person who brought it about; empty where the platform did.
        escalation: step of an escalation, else 0.
        zone: timezone of the times.
    """

    key: str
    transition: str
    happened_at: int
    made_at: int
    contents: tuple[Content, ...]
    count: int = 1
    devices: int = 1
    note: str = ""
    actor: str = ""
    escalation: int = 0
    zone: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def severity(self) -> str:
        """The highest of its incidents."""
        return max((c.severity for c in self.contents), key=lambda s: RANK.get(s, 0), default="info")

    @property
    def base(self) -> str:
        """The transition without its number."""
        return base_transition(self.transition)

    @property
    def title(self) -> str:
        """One line: how severe, where and what."""
        first = self.contents[0]
        if self.base in ("digest", "held"):
            kind = "digest" if self.base == "digest" else "while it was quiet"
            return f"[{self.severity}] {kind}: {_counted(self.count)}"
        verb = VERBS.get(self.base, f"{self.base}: ")
        if self.escalation:
            verb = f"nobody has acknowledged: {verb}"
        if self.count == 1:
            place = f" ({first.place})" if first.place else ""
            return f"[{first.severity}] {verb}{first.device_id}{place}: {first.what}"
        if self.devices == 1:
            return f"[{self.severity}] {verb}{_counted(self.count)} of {first.device_id}: {first.what}"
        of = (
            f"{self.devices} devices"
            if self.devices == self.count
            else f"{_counted(self.count)} of {self.devices} devices"
        )
        return f"[{self.severity}] {verb}{of} at once: {_short(first.cause) or _where(self.contents)}"

    @property
    def said(self) -> str:
        """Who did what, and what was said with it; empty of what the platform did without a word."""
        who = f"{self.base.replace('_', ' ')} by {self.actor}" if self.actor else ""
        return ": ".join(part for part in (who, self.note) if part)

    # -- forms -----------------------------------------------------------------------------------------------------------

    def text(self) -> str:
        """Plain text."""
        first = self.contents[0]
        lines = [first.cause] if _short(first.cause) != first.cause else []
        for content in self.contents[: MOST_LISTED if self.count > 1 else 1]:
            lines += self._brief(content) if self.count > 1 else self._full(content)
        if self.count > len(self.contents[:MOST_LISTED]) and self.count > 1:
            lines.append(f"… and {self.count - min(len(self.contents), MOST_LISTED)} more")
        if self.said:
            lines += ["", self.said]
        return "\n".join(lines)

    def html(self) -> str:
        """A piece of HTML without anything from elsewhere; all texts are escaped."""
        body = []
        for content in self.contents[: MOST_LISTED if self.count > 1 else 1]:
            lines = self._brief(content) if self.count > 1 else self._full(content)
            shown = [escape(line) for line in lines if line != content.link]
            if content.link:
                shown.append(f'<a href="{escape(content.link, quote=True)}">{escape(content.incident_id)}</a>')
            body.append(f"<p>{'<br>'.join(shown)}</p>")
        if self.said:
            body.append(f"<p>{escape(self.said)}</p>")
        return f"<h3>{escape(self.title)}</h3>{''.join(body)}"

    def document(self) -> dict[str, Any]:
        """For programs; the ``data`` of the CloudEvent."""
        return {
            "transition": self.base,
            "severity": self.severity,
            "title": self.title,
            "text": self.text(),
            "at": rfc3339(self.happened_at),
            "count": self.count,
            "escalation": self.escalation,
            "note": self.note,
            "by": self.actor,
            "incidents": [_document(content) for content in self.contents],
            **self.extra,
        }

    def _time(self, at_ms: int) -> str:
        if self.zone is None:
            return iso(at_ms)
        return f"{to_datetime(at_ms).astimezone(self.zone):%Y-%m-%d %H:%M %Z}"

    def _brief(self, content: Content) -> list[str]:
        place = f" ({content.place})" if content.place else ""
        over = ", over" if content.status == "closed" else ""
        line = f"{content.device_id}{place}: {content.what}, {content.severity}, since {self._time(content.since_ms)}{over}"
        return [line, content.link] if content.link else [line]

    def _full(self, content: Content) -> list[str]:
        kind = f" ({content.device_type})" if content.device_type else ""
        lines = [f"{content.device_id}{kind}{', ' if content.place else ''}{content.place}"]
        if content.text:
            lines.append(content.text)
        if content.likely:
            lines.append(f"likely: {content.likely}")
        if content.check:
            lines.append(f"check first: {content.check}")
        if content.cost and self.base in RAISING:
            lines.append(f"costs about {content.cost}")
        if content.label:
            lines.append(f"it is: {content.label}")
        if self.base in ("resolved", "taken_back") and content.until_ms:
            lines.append(f"from {self._time(content.since_ms)} to {self._time(content.until_ms)}")
        else:
            lines.append(f"since {self._time(content.since_ms)}")
        if self.base in RAISING:  # whoever hears the rest knows that
            lines += _evidence(content)
        lines.append(f"incident {content.incident_id}")
        if content.link:
            lines.append(content.link)
        return lines


def _evidence(content: Content) -> list[str]:
    """What moved, why that is not normal, and where the same was seen before."""
    moved = [f"  {m.title} {m.shown}{f' (normal {m.normal})' if m.normal else ''}" for m in content.moved]
    listed = (("moved:", moved), ("why:", content.reasons), ("seen before:", content.similar))
    return [
        line
        for heading, lines in listed
        if lines
        for line in (heading, *(one if one.startswith("  ") else f"  {one}" for one in lines))
    ]


def rfc3339(at_ms: int) -> str:
    """An instant for programs.

    >>> rfc3339(1_000)
    '1970-01-01T00:00:01.000Z'
    """
    return f"{to_datetime(at_ms):%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def _document(content: Content) -> dict[str, Any]:
    return {
        "id": content.incident_id,
        "device": content.device_id,
        "device_type": content.device_type,
        "place": content.place,
        "building": content.building_id,
        "severity": content.severity,
        "status": content.status,
        "since": rfc3339(content.since_ms),
        "until": rfc3339(content.until_ms) if content.until_ms else None,
        "likely": content.likely,
        "check": content.check,
        "label": content.label,
        "cause": content.cause,
        "cost": content.cost,
        "moved": [
            {"metric": m.metric, "title": m.title, "value": m.value, "unit": m.unit, "normal": m.normal}
            for m in content.moved
        ],
        "rules": list(content.rules),
        "reasons": list(content.reasons),
        "similar": list(content.similar),
        "link": content.link,
        "text": content.text,
    }


def _counted(n: int) -> str:
    return f"{n} incident{'' if n == 1 else 's'}"


def _short(cause: str) -> str:
    """A cause without its evidence, which follows a semicolon."""
    head, cut, _ = cause.partition("; ")
    return f"{head})" if cut else cause


def _where(contents: Sequence[Content]) -> str:
    buildings = Counter(c.building_id for c in contents if c.building_id)
    if len(buildings) == 1:
        return f"building {next(iter(buildings))}"
    return f"{len(buildings)} buildings" if buildings else "several devices"


# -- from the store --------------------------------------------------------------------------------------------------------


def incident_link(dashboard_url: str, device_id: str, started_at: int) -> str:
    """Address of an incident's page; empty where nobody said where the dashboard is."""
    return f"{dashboard_url}/incident/{quote(device_id, safe='')}/{started_at}" if dashboard_url else ""


def content_of(
    store: Store, incident: Incident, dashboard_url: str, *, whole: bool = True, prices: Prices | None = None
) -> Content:
    """What is to be said of a stored incident.

    Args:
        store: where its events and its device's profile are.
        incident: the incident.
        dashboard_url: where people reach the dashboard; empty where nobody said.
        whole: with values, reasons and what is similar; else what a line needs.
        prices: of energy, to say what it costs; nothing is said of that where they aren't given.
    """
    declared = device_type(incident.device_type)
    kind = next(iter(incident.kinds), None)
    likely = "" if kind is None else f"{kind['title']} (similarity {kind['similarity']:.2f})"
    places = [part for part in (incident.location, incident.building_id) if part]
    return Content(
        incident_id=incident.incident_id,
        device_id=incident.device_id,
        device_type=declared.title if declared is not None else incident.device_type.replace("_", " "),
        place=", ".join(dict.fromkeys(places)),
        building_id=incident.building_id,
        severity=incident.severity,
        status=incident.status,
        since_ms=incident.started_at,
        until_ms=incident.ended_at if incident.status == "closed" else 0,
        likely=likely,
        check="" if kind is None or incident.label else FIRST_CHECKS.get(kind["kind"], ""),
        label=incident.label or "",
        cause=incident.cause if incident.scope in SHARED_SCOPES else "",
        moved=_moved(store, incident) if whole else (),
        reasons=tuple(incident.reasons[:MOST_REASONS]),
        similar=tuple(
            f"{similar['incident_id']} on {iso(similar['started_at'])[:10]}"
            + (f": {similar['label']}" if similar["label"] else f", similarity {similar['similarity']:.2f}")
            for similar in incident.similar[:MOST_SIMILAR]
            if similar["known"]
        ),
        rules=tuple(incident.rules),
        link=incident_link(dashboard_url, incident.device_id, incident.started_at),
        cost=short_cost(worth_of(store, incident, prices)) if whole and prices is not None else "",
    )


def _moved(store: Store, incident: Incident) -> tuple[Moved, ...]:
    """What moved, with the value of its last hour that is farthest from what is normal of the device, and that.

    What is less than one sigma from normal, such as a sensor that stands still, has not moved: reasons say what it is.
    """
    span = (max(incident.started_at, incident.ended_at - 3_600_000), incident.ended_at)
    events = AnomalyEvent.read(store, incident.device_id, span, only=("detected_at", "metrics_snapshot"))
    if not events:
        return ()
    profile = StoredProfile.first(store, incident.device_id, only=("metric_stats",))
    stats = profile.metric_stats if profile is not None else {}
    declared = device_type(incident.device_type)
    values = {}
    for name in incident.metrics:
        seen = [event.metrics_snapshot[name] for event in events if name in event.metrics_snapshot]
        normal = stats.get(name)
        if not seen:
            continue
        if normal is None:
            values[name] = seen[-1]
            continue
        farthest = max(reversed(seen), key=lambda value: abs(value - normal["mean"]))
        if abs(farthest - normal["mean"]) >= max(normal.get("scale", 0.0), normal.get("std", 0.0)):
            values[name] = farthest
    names = list(values)[:MOST_MOVED]
    points = {name: declared.point(name) for name in names if declared is not None and name in declared.index}
    sent = _units_sent(store, incident, events[-1].detected_at) if len(points) < len(names) else {}
    found = []
    for name in names:
        point, unit = points.get(name), sent.get(name, "")
        mean = stats.get(name, {}).get("mean")
        found.append(
            Moved(
                name,
                point.title if point is not None else name.replace("_", " "),
                show_value(declared, name, values[name], unit),
                "" if mean is None else show_value(declared, name, mean, unit),
                values[name],
                point.unit if point is not None else unit,
            )
        )
    return tuple(found)


def _units_sent(store: Store, incident: Incident, start_ms: int) -> dict[str, str]:
    """Units that came with the readings of an incident's last window."""
    span = (start_ms, max(incident.ended_at, start_ms + 1))
    rows = Reading.read(store, incident.device_id, span, only=("metric_name", "unit"), most=MOST_ROWS)
    return {row.metric_name: row.unit for row in rows}


def platform_content(incident_id: str, details: Mapping[str, Any], since_ms: int, dashboard_url: str) -> Content:
    """What is to be said of an incident of the platform itself, from its transition's details."""
    return Content(
        incident_id=incident_id,
        device_id=PLATFORM,
        severity=str(details.get("severity", "warning")),
        since_ms=since_ms,
        text=str(details.get("text", "")),
        link=f"{dashboard_url}/ingestion" if dashboard_url else "",
    )
