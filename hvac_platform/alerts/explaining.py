"""Who gets what of an incident, and why: the decisions as they were taken, and those that would be taken now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hvac_platform.alerts import outbox
from hvac_platform.alerts.planning import Told, Transition, plan
from hvac_platform.alerts.routing import NOBODY, Action, Decision
from hvac_platform.alerts.tree import Tree
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import OutboxMessage


@dataclass(frozen=True, slots=True)
class Explained:
    """One decision on a transition of an incident.

    Attributes:
        transition: key of the transition.
        at_ms: when it happened.
        decision: what was decided.
        state: of the message: waiting, sent, dead, superseded, suppressed; ``planned`` of what is yet to be written, and
            ``if it opened now`` where nothing has happened.
        said: what the receiver answered, or what has become of the message.
    """

    transition: str
    at_ms: int
    decision: Decision
    state: str
    said: str = ""


def decision_of(row: OutboxMessage) -> Decision:
    """The decision that a row of kind message was written for."""
    purpose = outbox.purpose(row)
    step = purpose.removeprefix("escalation-")
    due = row.details.get("due", row.next_attempt_at)
    due_ms = due if isinstance(due, int) else row.queued_at
    reason = str(row.details.get("reason", row.error or ""))
    action = Action.NOTHING
    if row.state != "suppressed":
        action = {"hold": Action.HOLD, "digest": Action.DIGEST}.get(
            purpose, Action.ESCALATE if purpose else Action.SEND
        )
    return Decision(
        row.receiver or NOBODY, row.route or "", action, due_ms, reason, step=int(step) if step.isdigit() else 0
    )


def explain_rows(incident_id: str, rows: Sequence[OutboxMessage]) -> list[Explained]:
    """What the outbox has of an incident, in the order in which it happened: for each transition at least one decision."""
    found: list[Explained] = []
    ordered = sorted(rows, key=lambda row: (row.queued_at, row.message_key))
    told = [row for row in ordered if row.kind == "message" and incident_id in row.incidents]
    for row in ordered:
        if row.kind != "transition" or row.incident_id != incident_id or row.state == "new":
            continue
        key = outbox.transition_key(row)
        messages = [message for message in told if message.transition == key]
        for message in messages:
            state = "" if message.state == "suppressed" else message.state
            said = "" if message.state == "suppressed" else message.error or ""
            found.append(Explained(key, outbox.happened_ms(row), decision_of(message), state or "nothing", said))
        if not messages:
            reason = row.error or "nobody is told"
            if row.state == "suppressed":
                reason = f"suppressed: {reason}"
            nothing = Decision(NOBODY, "", Action.NOTHING, row.queued_at, reason)
            found.append(Explained(key, outbox.happened_ms(row), nothing, "nothing"))
    return found


def explain(store: Store, tree: Tree, incident_id: str, device_id: str, now_ms: int) -> list[Explained]:
    """Decisions on every transition of an incident; of one without any, those if it opened now."""
    rows = outbox.read_outbox(store, now_ms)
    found = explain_rows(incident_id, rows)
    fresh = [row for row in rows if row.kind == "transition" and row.state == "new"]
    facts = outbox.KnownFacts(store)
    mine = {outbox.transition_key(row): outbox.happened_ms(row) for row in fresh if row.incident_id == incident_id}
    if mine:  # planned with all that is new, as they will be
        pending = [outbox.transition_of(row, facts) for row in fresh]
        found += explain_plan(tree, pending, outbox.told(store, now_ms), now_ms, facts, "planned", incident_id, mine)
    elif not found:
        pending = [Transition(facts.of(incident_id, device_id), "opened", now_ms)]
        told = outbox.told(store, now_ms)
        opened = {"opened": now_ms}
        found += explain_plan(tree, pending, told, now_ms, facts, "if it opened now", incident_id, opened)
    return found


def explain_plan(
    tree: Tree,
    pending: Sequence[Transition],
    told: Told,
    now_ms: int,
    facts: outbox.KnownFacts,
    state: str,
    incident_id: str,
    happened: Mapping[str, int],
) -> list[Explained]:
    """Decisions on one incident that planning would write at this moment; its transitions by when they happened."""
    planned = plan(tree, pending, told, now_ms, known=facts.known)
    return [
        Explained(one.transition, happened[one.transition], one.decision, state)
        for one in planned
        if incident_id in one.incidents and one.transition in happened
    ]
