"""The outbox on the store: transitions that are to be told, messages that wait, and what receivers were told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hvac_platform.alerts.facts import PLATFORM, Facts, facts_of
from hvac_platform.alerts.planning import Planned, Telling, Told, Transition, purpose_of
from hvac_platform.monitoring.lifecycle import device_of, handling_by_id, incident_by_id, recorded
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import OutboxMessage
from hvac_platform.timestamps import DAY_MS, day_of

KEPT_MS = 30 * DAY_MS
AHEAD_MS = DAY_MS
"""A transition has the time of a device's clock, which may be ahead."""


def read_outbox(
    store: Store, now_ms: int, *, since_ms: int | None = None, only: Sequence[str] = (), **equals: str
) -> list[OutboxMessage]:
    """Rows of the outbox, of the last 30 days where nothing else is said, by key."""
    span = (now_ms - KEPT_MS if since_ms is None else since_ms, now_ms + AHEAD_MS)
    return OutboxMessage.read(store, None, span, equals=equals, only=only)


def row_of(store: Store, queued_at: int, key: str) -> OutboxMessage | None:
    """One row of the outbox."""
    return OutboxMessage.first(store, None, (queued_at, queued_at + 1), equals={"message_key": key})


def new_transitions(store: Store, now_ms: int, *, since_ms: int | None = None) -> list[OutboxMessage]:
    """Transitions that are not planned yet, in the order in which they happened."""
    found = read_outbox(store, now_ms, since_ms=since_ms, state="new")
    return sorted((row for row in found if row.kind == "transition"), key=lambda row: (row.queued_at, row.message_key))


def in_history(store: Store, rows: Sequence[OutboxMessage]) -> list[OutboxMessage]:
    """Transitions that have happened: of a pass that was killed before it said so, the next one says whether they have."""
    happened = {row.message_key for row in recorded(store, (row for row in rows if row.device_id != PLATFORM))}
    return [row for row in rows if row.device_id == PLATFORM or row.message_key in happened]


def messages(store: Store, now_ms: int, state: str, *, since_ms: int | None = None) -> list[OutboxMessage]:
    """Messages of a state, in the order of what they tell."""
    found = read_outbox(store, now_ms, since_ms=since_ms, state=state)
    return sorted((row for row in found if row.kind == "message"), key=lambda row: (row.queued_at, row.message_key))


def write(store: Store, rows: Sequence[OutboxMessage]) -> None:
    """Write rows as they are."""
    if rows:
        store.upsert(OutboxMessage.TABLE, OutboxMessage.columns(rows))


def transition_key(row: OutboxMessage) -> str:
    """Key of the transition that a row of kind transition is of, such as ``resolved/2``."""
    prefix = f"{row.incident_id}#"
    return row.message_key.removeprefix(prefix) if row.message_key.startswith(prefix) else row.transition


def purpose(row: OutboxMessage) -> str:
    """Why a message waits, or for whom: ``hold``, ``digest``, ``escalation-1``; empty of what is sent at once."""
    return purpose_of(row.message_key, row.receiver or "", row.transition)


def happened_ms(row: OutboxMessage) -> int:
    """When what a row tells happened: by the data where the platform found it in them, else when it was decided.

    ``queued_at`` orders the transitions of an incident, and is that of its opening where both were found at once.
    """
    ended, noted = row.details.get("ended_at"), row.details.get("at")
    if row.transition == "resolved" and isinstance(ended, int):
        return ended
    return noted if row.transition in ("taken_back", "merged") and isinstance(noted, int) else row.queued_at


def recorded_ms(row: OutboxMessage) -> int:
    """When the transition of a row was recorded, by the clock that people's acts go by too."""
    noted = row.details.get("at")
    return noted if isinstance(noted, int) else row.queued_at


def queued_ms(row: OutboxMessage) -> int:
    """When a row was written first: a transition when it was found, a message when it was planned."""
    written = row.details.get("at" if row.kind == "transition" else "planned_at")
    return written if isinstance(written, int) else row.queued_at


def made_ms(row: OutboxMessage) -> int:
    """When a message was made: when it was planned, or at the end of the time that it waited on purpose."""
    due = row.details.get("due")
    return max(queued_ms(row), due if isinstance(due, int) else 0)


TOLD_COLUMNS = (
    *(
        "kind",
        "state",
        "incident_id",
        "message_key",
        "transition",
        "receiver",
        "incidents",
        "sent_at",
        "next_attempt_at",
    ),
    "queued_at",
    "details",
)


def told(store: Store, now_ms: int, *, without: Iterable[tuple[str, str]] = ()) -> Told:
    """What receivers were told, or will be, in the last 30 days.

    Args:
        store: where the outbox is.
        now_ms: the present.
        without: incidents and keys of transitions that are left out.
    """
    left_out = set(without)
    found = Told()
    for row in read_outbox(store, now_ms, only=TOLD_COLUMNS, kind="message"):
        for telling in tellings(row):
            if (telling.incident_id, telling.transition) not in left_out:
                found.add(telling)
    return found


def tellings(row: OutboxMessage) -> list[Telling]:
    """What one message tells: something of each of its incidents."""
    at_ms = row.sent_at or row.next_attempt_at or row.queued_at
    told = severities(row)
    return [
        Telling(
            i, row.receiver or "", row.transition, purpose(row), row.state, at_ms, len(row.incidents), told.get(i, "")
        )
        for i in row.incidents
    ]


def severities(row: OutboxMessage) -> dict[str, str]:
    """Severity by incident, as a message tells them; of one from before they were kept that of its transition."""
    kept = row.details.get("severities")
    if isinstance(kept, dict):
        return {str(incident_id): str(severity) for incident_id, severity in kept.items()}
    first = row.details.get("severity")
    return {row.incident_id: first} if isinstance(first, str) else {}


def rows_of(
    planned: Sequence[Planned], details: Mapping[tuple[str, str], Mapping[str, Any]], now_ms: int
) -> list[OutboxMessage]:
    """Messages as rows of the outbox; where nobody is told there is none.

    Args:
        planned: what was planned.
        details: of the transitions, by incident and key.
        now_ms: the present.
    """
    rows = []
    for one in planned:
        decision = one.decision
        if not decision.receiver:
            continue
        own = details.get((one.incidents[0], one.transition), {})
        rows.append(
            OutboxMessage(
                date=day_of(one.queued_at),
                queued_at=one.queued_at,
                message_key=one.key,
                kind="message",
                state="waiting" if decision.tells else "suppressed",
                incident_id=one.incidents[0],
                device_id=one.device_id,
                transition=one.transition,
                route=decision.route,
                receiver=decision.receiver,
                incidents=list(one.incidents),
                details={
                    **own,
                    "reason": decision.reason,
                    "due": decision.due_ms,
                    "planned_at": now_ms,
                    "severities": dict(zip(one.incidents, one.severities, strict=True)),
                },
                attempts=0,
                next_attempt_at=decision.due_ms if decision.tells else None,
                sent_at=None,
                error=None if decision.tells else decision.reason,
                updated_at=now_ms,
            )
        )
    return rows


# -- incidents -------------------------------------------------------------------------------------------------------------


class KnownFacts:
    """Facts of incidents, each read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Facts] = {}
        self._devices: dict[str, Any] | None = None

    def of(self, incident_id: str, device_id: str, details: Mapping[str, Any] | None = None) -> Facts:
        """Facts of an incident; of one that is no longer there what its history, its transition and the registry have."""
        if incident_id not in self._known:
            self._known[incident_id] = self._read(incident_id, device_id, details or {})
        return self._known[incident_id]

    def known(self, incident_id: str) -> Facts | None:
        """Facts of an incident of which somebody was told."""
        return self.of(incident_id, device_of(incident_id))

    def _read(self, incident_id: str, device_id: str, details: Mapping[str, Any]) -> Facts:
        severity = str(details.get("severity") or "warning")
        if device_id == PLATFORM:
            rules = (str(details.get("trouble") or incident_id.split("/")[1]),)
            return Facts(incident_id, PLATFORM, device_type=PLATFORM, severity=severity, rules=rules, scope=PLATFORM)
        incident = incident_by_id(self._store, incident_id)
        if incident is not None:
            return facts_of(incident)
        if self._devices is None:
            self._devices = {device.device_id: device for device in self._store.devices()}
        device = self._devices.get(device_id)
        handling = handling_by_id(self._store, incident_id)
        facts = Facts(incident_id, device_id, severity=severity)
        if device is not None:
            facts = replace(
                facts,
                device_type=device.device_type,
                location=device.location or "",
                building_id=device.building_id or "",
            )
        if handling is not None:
            facts = replace(
                facts,
                severity=handling.severity or severity,
                rules=tuple(handling.faults),
                parent_id=handling.parent_id,
            )
        return facts


def late(store: Store, now_ms: int, by_ms: int) -> int:
    """How many transitions are unplanned, and messages unsent, for so long after they were due."""
    new = [row for row in new_transitions(store, now_ms) if now_ms - row.updated_at > by_ms]
    due = [row for row in messages(store, now_ms, "waiting") if now_ms - (row.next_attempt_at or 0) > by_ms]
    return len(new) + len(due)


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    """How the outbox stands.

    Attributes:
        waiting: messages that are to be sent, those that wait on purpose too.
        oldest_due_ms: since when the first of them is due; None where none is.
        sent: messages of the last day that were sent.
        given_up: messages of the last day that no attempt could deliver.
    """

    waiting: int
    oldest_due_ms: int | None
    sent: int
    given_up: int


def outbox_counts(store: Store, now_ms: int) -> OutboxCounts:
    """Count it: what waits of the last 30 days, what was done of the last day."""
    waiting = messages(store, now_ms, "waiting")
    due = [at for row in waiting if (at := row.next_attempt_at or row.queued_at) <= now_ms]
    lately = read_outbox(store, now_ms, since_ms=now_ms - DAY_MS, only=("state",), kind="message")
    return OutboxCounts(
        len(waiting),
        min(due, default=None),
        sum(row.state == "sent" for row in lately),
        sum(row.state == "dead" for row in lately),
    )


def transition_of(row: OutboxMessage, known: KnownFacts) -> Transition:
    """What a row of kind transition says has happened."""
    return Transition(
        known.of(row.incident_id, row.device_id, row.details),
        transition_key(row),
        row.queued_at,
        by_person=str(row.details.get("actor") or PLATFORM) != PLATFORM,
    )
