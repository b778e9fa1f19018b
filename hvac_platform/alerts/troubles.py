"""The platform's own incidents: ingestion that stands, lag, a proof or runs that fail, receivers away, disputed devices.

Each opens once and resolves once, however often it is looked at: what is open is known from the outbox itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hvac_platform.alerts.facts import PLATFORM
from hvac_platform.alerts.outbox import read_outbox, transition_key, write
from hvac_platform.monitoring.lifecycle import State, handling_by_id
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import Incident, IncidentHandling, IncidentTransition, OutboxMessage
from hvac_platform.timestamps import day_of

KINDS = {
    "ingestion": "critical",
    "proof": "critical",
    "lag": "warning",
    "run": "warning",
    "receiver": "critical",
    "device": "warning",
    "unit": "warning",
}
"""Kinds of trouble, with their severity. Data loss of a device is an incident of that device."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong with the platform itself.

    Attributes:
        kind: one of :data:`KINDS`; a route matches it as a rule.
        subject: what it is about, such as a partition; with the kind it is the trouble's name.
        severity: critical, warning or info.
        text: what is wrong, in a line.
        incident_id: of the incident, once it is open.
        since_ms: when it began, once it is open.
        happened_ms: when what is wrong happened, where only what began later shows that it is over; 0 otherwise.
    """

    kind: str
    subject: str
    severity: str
    text: str
    incident_id: str = ""
    since_ms: int = 0
    happened_ms: int = 0

    @property
    def name(self) -> tuple[str, str]:
        """Kind and subject."""
        return self.kind, self.subject


def open_troubles(store: Store, now_ms: int) -> list[Trouble]:
    """Troubles that are open, by kind and subject."""
    rows = read_outbox(store, now_ms, device_id=PLATFORM, kind="transition")
    ended = {row.incident_id for row in rows if row.transition == "resolved"}
    return sorted(
        (_of(row) for row in rows if row.transition == "opened" and row.incident_id not in ended),
        key=lambda trouble: trouble.name,
    )


def raise_trouble(store: Store, trouble: Trouble, now_ms: int) -> bool:
    """Open an incident of the platform unless it is open; returns whether it was opened."""
    if any(known.name == trouble.name for known in open_troubles(store, now_ms)):
        return False
    incident_id = f"{PLATFORM}/{trouble.kind}/{trouble.subject}/{now_ms}"
    details: dict[str, object] = {
        "trouble": trouble.kind,
        "subject": trouble.subject,
        "severity": trouble.severity,
        "text": trouble.text,
        "happened_ms": trouble.happened_ms,
    }
    _write(store, incident_id, "opened", "open", trouble.severity, trouble.text, details, now_ms)
    return True


def clear_trouble(
    store: Store, kind: str, subject: str, now_ms: int, said: str = "", began_ms: int | None = None
) -> bool:
    """Resolve an incident of the platform if it is open; returns whether it was resolved.

    Args:
        store: has the outbox.
        kind: of the trouble.
        subject: of the trouble.
        now_ms: the present.
        said: what is told; the text of the trouble when empty.
        began_ms: when what shows that it is over began; it stays open where that was before it happened.
    """
    known = next((known for known in open_troubles(store, now_ms) if known.name == (kind, subject)), None)
    if known is None or (began_ms is not None and began_ms < known.happened_ms):
        return False
    details: dict[str, object] = {
        "trouble": kind,
        "subject": subject,
        "severity": known.severity,
        "text": said or known.text,
    }
    _write(store, known.incident_id, "resolved", "resolved", known.severity, said, details, now_ms)
    return True


def tell_troubles(store: Store, kinds: Sequence[str], present: Sequence[Trouble], now_ms: int) -> list[Trouble]:
    """Open what is present and resolve what no longer is, of some kinds; returns what has changed."""
    known = {trouble.name: trouble for trouble in open_troubles(store, now_ms) if trouble.kind in kinds}
    wanted = {trouble.name: trouble for trouble in present}
    changed = []
    for name, trouble in wanted.items():
        if name not in known and raise_trouble(store, trouble, now_ms):
            changed.append(trouble)
    for name, trouble in known.items():
        if name not in wanted and clear_trouble(store, *name, now_ms):
            changed.append(trouble)
    return changed


def trouble_details(store: Store, incident_id: str) -> tuple[dict[str, Any], int]:
    """What an incident of the platform began with, and when; empty and 0 where it is not known."""
    equals = {"incident_id": incident_id, "transition_key": "opened"}
    found = IncidentTransition.first(store, PLATFORM, equals=equals)
    return ({}, 0) if found is None else (dict(found.details), found.at)


def trouble_incident(store: Store, incident_id: str) -> Incident | None:
    """An incident of the platform as people handle incidents; None where there is none of this id."""
    details, since_ms = trouble_details(store, incident_id)
    if not since_ms:
        return None
    handling = handling_by_id(store, incident_id)
    over = handling is not None and handling.state in (State.RESOLVED, State.FALSE_ALARM)
    return Incident(
        device_id=PLATFORM,
        started_at=since_ms,
        ended_at=handling.since if handling is not None and over else since_ms,
        incident_id=incident_id,
        status="closed" if over else "open",
        severity=str(details.get("severity", "warning")),
        level=4,
        windows=0,
        peak_score=0.0,
        methods={},
        rules=[str(details.get("trouble", ""))],
        metrics=[],
        reasons=[str(details.get("text", ""))],
        signature={},
        kinds=[],
        similar=[],
        scope=PLATFORM,
        cause="",
        excess_kwh=None,
        device_type="",
        location="",
        building_id="",
        updated_at=since_ms,
        label=None,
        parent_id=None,
        urgency=None,
    )


def trouble_incidents(store: Store, span: tuple[int, int]) -> list[Incident]:
    """Incidents of the platform that began in a span, as people handle incidents."""
    opened = IncidentTransition.read(store, PLATFORM, equals={"transition_key": "opened"})
    ids = [one.incident_id for one in opened if span[0] <= one.at < span[1]]
    return [found for incident_id in ids if (found := trouble_incident(store, incident_id)) is not None]


def _of(row: OutboxMessage) -> Trouble:
    details: Mapping[str, Any] = row.details
    return Trouble(
        str(details.get("trouble", "")),
        str(details.get("subject", "")),
        str(details.get("severity", "warning")),
        str(details.get("text", "")),
        row.incident_id,
        row.queued_at,
        int(details.get("happened_ms", 0)),
    )


def _write(
    store: Store,
    incident_id: str,
    transition: str,
    state: str,
    severity: str,
    note: str,
    details: dict[str, object],
    now_ms: int,
) -> None:
    """The outbox first, then the history, then where it stands: a crash in between leads to the same again."""
    row = OutboxMessage(
        date=day_of(now_ms),
        queued_at=now_ms,
        message_key=f"{incident_id}#{transition}",
        kind="transition",
        state="new",
        incident_id=incident_id,
        device_id=PLATFORM,
        transition=transition,
        route=None,
        receiver=None,
        incidents=[incident_id],
        details=details,
        attempts=0,
        next_attempt_at=None,
        sent_at=None,
        error=None,
        updated_at=now_ms,
    )
    assert transition_key(row) == transition
    write(store, [row])
    happened = IncidentTransition(
        PLATFORM, incident_id, transition, transition, now_ms, PLATFORM, note or str(details["text"]), details
    )
    store.upsert(IncidentTransition.TABLE, IncidentTransition.columns([happened]))
    before = handling_by_id(store, incident_id)
    handling = IncidentHandling(
        device_id=PLATFORM,
        incident_id=incident_id,
        state=state,
        since=now_ms,
        actor=PLATFORM,
        assignee=before.assignee if before is not None else None,
        snoozed_until=None,
        openings=1,
        reopened_at=None,
        labels=before.labels if before is not None else [],
        severity=severity,
        faults=[str(details["trouble"])],
        parent_id=None,
        continues=None,
        updated_at=now_ms,
    )
    store.upsert(IncidentHandling.TABLE, IncidentHandling.columns([handling]))
