"""Rows of the outbox become messages, with what the store knows of their incidents when they are sent."""

from __future__ import annotations

from hvac_platform.alerts import outbox
from hvac_platform.alerts.facts import PLATFORM
from hvac_platform.alerts.messages import MOST_READ, Content, Message, content_of, platform_content
from hvac_platform.alerts.planning import BUNDLES
from hvac_platform.alerts.routing import base_transition
from hvac_platform.alerts.tree import Tree
from hvac_platform.alerts.troubles import trouble_details
from hvac_platform.config import Settings
from hvac_platform.devices.registry import device_type
from hvac_platform.monitoring.lifecycle import device_of, incident_by_id
from hvac_platform.monitoring.worth import Prices
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import IncidentTransition, OutboxMessage


def build_message(store: Store, settings: Settings, tree: Tree, row: OutboxMessage) -> Message:
    """The message of a row, with what is known of its incidents by now."""
    contents = [
        _content(store, settings, row, incident_id, whole=len(row.incidents) == 1)
        for incident_id in row.incidents[:MOST_READ]
    ]
    step = outbox.purpose(row).removeprefix("escalation-")
    note, actor = "", ""
    if len(row.incidents) == 1 and row.transition not in BUNDLES:
        note, actor = str(row.details.get("note") or ""), str(row.details.get("actor") or "")
        actor = "" if actor == PLATFORM else actor
    return Message(
        key=row.message_key.removesuffix(f"#{row.receiver}"),
        transition=row.transition,
        happened_at=outbox.happened_ms(row),
        made_at=outbox.made_ms(row),
        contents=tuple(contents),
        count=len(row.incidents),
        devices=len({device_of(incident_id) for incident_id in row.incidents}),
        note=note,
        actor=actor,
        escalation=int(step) if step.isdigit() else 0,
        zone=tree.zone_of(contents[0].building_id),
        extra={"route": row.route or "", "receiver": row.receiver or ""},
    )


def _content(store: Store, settings: Settings, row: OutboxMessage, incident_id: str, *, whole: bool) -> Content:
    url = settings.hvac_dashboard_url
    device_id = row.device_id if incident_id == row.incident_id else device_of(incident_id)
    if device_id == PLATFORM:
        details, since = trouble_details(store, incident_id)
        return platform_content(incident_id, {**details, **row.details}, since or row.queued_at, url)
    incident = incident_by_id(store, incident_id)
    if incident is not None:
        return content_of(store, incident, url, whole=whole, prices=Prices.of(settings))
    facts = outbox.KnownFacts(store).of(incident_id, device_id, row.details)
    declared = device_type(facts.device_type)
    return Content(
        incident_id,
        device_id,
        device_type=declared.title if declared is not None else facts.device_type,
        place=", ".join(dict.fromkeys(part for part in (facts.location, facts.building_id) if part)),
        building_id=facts.building_id,
        severity=facts.severity,
        since_ms=row.queued_at,
        text="what was seen first no longer holds" if base_transition(row.transition) == "taken_back" else "",
        rules=facts.rules,
    )


def note_reference(store: Store, row: OutboxMessage, reference: str, now: int) -> None:
    """Write into the incident's history what a receiver calls it, such as the number of a work order."""
    if base_transition(row.transition) in BUNDLES:
        return
    noted = IncidentTransition(
        device_id=row.device_id,
        incident_id=row.incident_id,
        transition_key=f"commented/{row.receiver}/{reference}",
        transition="commented",
        at=now,
        actor=str(row.receiver),
        note=f"{row.receiver}: {reference}",
        details={"receiver": row.receiver, "reference": reference},
    )
    store.upsert(IncidentTransition.TABLE, IncidentTransition.columns([noted]))
