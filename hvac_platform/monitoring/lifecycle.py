"""From opened to resolved: what the platform and people make of an incident, and the record of who did what, and when.

What an incident *is* (windows, severity, likely kinds) is computed again whenever windows change; where it *stands* is kept
apart from that, in ``incident_handling``, and changes by the transitions below only. So a re-run, a backfill or late data
change the content of an incident and neither tell it twice nor open what a person has closed. Functions without a store
decide all of it: :func:`after_pass` and :func:`after_withdrawal` for the platform, :func:`after_action` for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from hvac_platform.detection.evaluation import MERGE_MS
from hvac_platform.detection.incidents import Severity
from hvac_platform.stores.base import Store, StoreError
from hvac_platform.stores.batches import TableBatch, write_batch
from hvac_platform.stores.records import Incident, IncidentHandling, IncidentTransition, OutboxMessage
from hvac_platform.timestamps import day_of, iso

PLATFORM = "platform"
"""Who did what no person did."""
LASTING_ENDING = "-lasting"
"""How the id of an incident ends that asks about a lasting change of a device."""
SHARED_SCOPES = ("fleet", "plant")
"""Scopes of incidents that have others as their parts."""
PROVISIONAL = "provisional"
"""What stands in place of a method's name in an incident whose window nobody has judged yet."""
SEVERITIES = tuple(Severity)
"""Worst first."""


class State(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    RESOLVED = "resolved"
    FALSE_ALARM = "false_alarm"
    TAKEN_BACK = "taken_back"
    PAST = "past"


ACTIVE = frozenset({State.OPEN, State.ACKNOWLEDGED, State.SNOOZED})
"""States of an incident that somebody should look at, or does."""
ATTENTION = {State.OPEN: 0, State.ACKNOWLEDGED: 1, State.SNOOZED: 2}
"""Their order in lists: what nobody has seen yet comes first."""


class Transition(StrEnum):
    """What can happen to an incident."""

    OPENED = "opened"
    WORSENED = "worsened"
    ACKNOWLEDGED = "acknowledged"
    ASSIGNED = "assigned"
    SNOOZED = "snoozed"
    WOKEN = "woken"
    RESOLVED = "resolved"
    REOPENED = "reopened"
    FALSE_ALARM = "false_alarm"
    COMMENTED = "commented"
    LABELLED = "labelled"
    TAKEN_BACK = "taken_back"
    MERGED = "merged"
    JOINED = "joined"


ENDS = frozenset({Transition.RESOLVED, Transition.FALSE_ALARM, Transition.TAKEN_BACK, Transition.MERGED})
"""Transitions that end what one that opened or reopened has begun."""
SETTLES = ENDS | {Transition.ACKNOWLEDGED, Transition.SNOOZED}
"""Transitions after which nobody waits any more for what one that opened or reopened has begun."""
KEPT_QUIET = frozenset({Transition.COMMENTED, Transition.LABELLED})
"""Transitions that are in the history and in no outbox."""

ALLOWED: Mapping[Transition, frozenset[State]] = {
    Transition.ACKNOWLEDGED: frozenset({State.OPEN, State.SNOOZED}),
    Transition.ASSIGNED: ACTIVE,
    Transition.SNOOZED: ACTIVE,
    Transition.RESOLVED: ACTIVE,
    Transition.REOPENED: frozenset({State.RESOLVED, State.FALSE_ALARM, State.PAST}),
    Transition.FALSE_ALARM: ACTIVE | {State.RESOLVED, State.PAST},
    Transition.COMMENTED: frozenset(State),
    Transition.LABELLED: frozenset(State),
}
"""In which states people may do what."""


class NotAllowedError(StoreError):
    """An incident is in a state in which that can't be done; the message says which."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the platform decides by.

    Attributes:
        past_ms: an incident that ended longer ago than that when it was first seen is of the past.
        open_past: open it all the same.
    """

    past_ms: int
    open_past: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What a decision changes.

    Attributes:
        handling: where the incident stands now.
        before: where it stood; None where it was new.
        transitions: what has happened, in order; empty where nothing has.
        queued_at: time of the transitions by what happened on the machine: the same in each attempt.
    """

    handling: IncidentHandling
    before: IncidentHandling | None = None
    transitions: tuple[IncidentTransition, ...] = ()
    queued_at: int = 0


# -- what the platform decides -------------------------------------------------------------------------------------------


def after_pass(before: IncidentHandling | None, incident: Incident, rules: Rules, now_ms: int) -> Step:
    """What becomes of an incident once its content has been computed.

    A new incident is opened, unless it is over for so long that it is of the past. One that goes on is told to have worsened
    when its severity rises or when another rule fires once its first minutes are over. It is resolved when the machine has
    been well for the quiet time. What a person closed stays closed.

    Args:
        before: where it stands; None where it is new.
        incident: its content.
        rules: what decides.
        now_ms: the present.
    """
    over = incident.status != "open"
    made = _Making(before or _fresh(incident, now_ms), now_ms)
    if before is None or before.state == State.PAST:
        if incident.ended_at < now_ms - rules.past_ms and not rules.open_past:
            return Step(made.handling, before, (), incident.started_at)
        if before is not None and over and not rules.open_past:
            return Step(before, before)
        made.opened(incident)
        if over:
            made.ended(Transition.RESOLVED, State.RESOLVED, ended_at=incident.ended_at)
        return made.step(before, incident.started_at)
    handling = made.handling
    if handling.state in ACTIVE:
        made.worsened(incident)
        made.joined(incident)
        if over and not (handling.reopened_at is not None and incident.ended_at <= handling.reopened_at):
            made.ended(Transition.RESOLVED, State.RESOLVED, ended_at=incident.ended_at)
        elif handling.snoozed_until is not None and (handling.snoozed_until <= now_ms or made.worse):
            made.woken()
    elif _closed_by_platform(handling) and not over:
        made.reopened(incident)
    return made.step(before, incident.ended_at)


def after_withdrawal(before: IncidentHandling, merged_into: str | None, now_ms: int) -> Step:
    """What becomes of an incident that is gone: another took it in, or its windows are not anomalous after all."""
    made = _Making(before, now_ms)
    if merged_into is not None:
        if before.state in ACTIVE:
            made.ended(Transition.MERGED, State.RESOLVED, into=merged_into)
        made.handling = replace(made.handling, continues=merged_into)
    elif before.state in ACTIVE:
        made.ended(Transition.TAKEN_BACK, State.TAKEN_BACK)
    return made.step(before, before.since)


def _closed_by_platform(handling: IncidentHandling) -> bool:
    return handling.actor == PLATFORM and handling.state in (State.RESOLVED, State.TAKEN_BACK)


def _fresh(incident: Incident, now_ms: int) -> IncidentHandling:
    """Where an incident stands that nobody was told of."""
    return IncidentHandling(
        device_id=incident.device_id,
        incident_id=incident.incident_id,
        state=State.PAST,
        since=now_ms,
        actor=PLATFORM,
        assignee=None,
        snoozed_until=None,
        openings=0,
        reopened_at=None,
        labels=[],
        severity=incident.severity,
        faults=sorted(incident.rules),
        parent_id=incident.parent_id,
        continues=None,
        updated_at=now_ms,
    )


class _Making:
    """A step of the platform as it is being made."""

    def __init__(self, handling: IncidentHandling, now_ms: int) -> None:
        self.handling, self.now_ms = handling, now_ms
        self.transitions: list[IncidentTransition] = []
        self.worse = False

    def step(self, before: IncidentHandling | None, queued_at: int) -> Step:
        """The whole of it."""
        return Step(self.handling, before, tuple(self.transitions), queued_at)

    def _note(self, transition: Transition, key: str, **details: object) -> None:
        self.transitions.append(
            IncidentTransition(
                device_id=self.handling.device_id,
                incident_id=self.handling.incident_id,
                transition_key=key,
                transition=str(transition),
                at=self.now_ms,
                actor=PLATFORM,
                note="",
                details=details,
            )
        )

    def _move(self, state: State) -> None:
        self.handling = replace(
            self.handling,
            state=state,
            since=self.now_ms,
            actor=PLATFORM,
            snoozed_until=None,
            updated_at=self.now_ms,
        )

    def _numbered(self, transition: Transition) -> str:
        """Key of what happens once from one opening to the next."""
        times = self.handling.openings
        return str(transition) if times <= 1 else f"{transition}/{times}"

    def opened(self, incident: Incident) -> None:
        self._move(State.OPEN)
        self.handling = replace(
            self.handling,
            openings=self.handling.openings + 1,
            severity=incident.severity,
            faults=sorted(incident.rules),
            parent_id=incident.parent_id,
            continues=None,
        )
        details: dict[str, object] = {"severity": incident.severity, "rules": incident.rules}
        if PROVISIONAL in incident.methods:
            details[PROVISIONAL] = True
        self._note(Transition.OPENED, self._numbered(Transition.OPENED), **details)
        if incident.parent_id is not None:
            self._note(Transition.JOINED, f"{Transition.JOINED}/{incident.parent_id}", parent=incident.parent_id)

    def reopened(self, incident: Incident) -> None:
        self._move(State.OPEN)
        self.handling = replace(self.handling, openings=self.handling.openings + 1, continues=None)
        self._note(Transition.REOPENED, self._numbered(Transition.REOPENED), severity=incident.severity)
        self.worsened(incident)

    def worsened(self, incident: Incident) -> None:
        told = self.handling.severity
        if SEVERITIES.index(Severity(incident.severity)) < SEVERITIES.index(Severity(told)):
            self.worse = True
            self._note(Transition.WORSENED, f"{Transition.WORSENED}/{incident.severity}", severity=incident.severity)
            self.handling = replace(self.handling, severity=incident.severity, updated_at=self.now_ms)
        if new := sorted({*incident.rules} - {*self.handling.faults}):
            if incident.ended_at - incident.started_at > MERGE_MS:
                key = f"{Transition.WORSENED}/{new[0]}"
                self._note(Transition.WORSENED, key, severity=incident.severity, rules=new)
            faults = sorted({*self.handling.faults, *new})
            self.handling = replace(self.handling, faults=faults, updated_at=self.now_ms)

    def joined(self, incident: Incident) -> None:
        parent = incident.parent_id
        if parent != self.handling.parent_id:
            if parent is not None:
                self._note(Transition.JOINED, f"{Transition.JOINED}/{parent}", parent=parent)
            self.handling = replace(self.handling, parent_id=parent, updated_at=self.now_ms)

    def woken(self) -> None:
        self._note(Transition.WOKEN, f"{Transition.WOKEN}/{self.handling.snoozed_until}")
        self._move(State.OPEN)

    def ended(self, transition: Transition, state: State, **details: object) -> None:
        self._note(transition, self._numbered(transition), **details)
        self._move(state)


# -- what people do ------------------------------------------------------------------------------------------------------


def after_action(
    before: IncidentHandling | None,
    incident: Incident,
    action: Transition,
    *,
    by: str,
    at_ms: int,
    note: str = "",
    assignee: str | None = None,
    until_ms: int | None = None,
    labels: Sequence[str] = (),
) -> Step:
    """What becomes of an incident by what a person does.

    Args:
        before: where it stands; None where nobody was ever told of it.
        incident: its content.
        action: one of :data:`ALLOWED`.
        by: who.
        at_ms: when.
        note: what was said.
        assignee: who is to take care of it; None or empty for nobody.
        until_ms: end of the snooze.
        labels: all labels that it has from now on.

    Raises:
        NotAllowedError: the incident is in a state in which that can't be done.
    """
    handling = before or _fresh(incident, at_ms)
    if not by.strip() or by == PLATFORM:
        raise NotAllowedError(f"{by!r} is no person: say who does it")
    if handling.continues is not None:
        raise NotAllowedError(f"{handling.incident_id} was merged into {handling.continues}: name that one")
    state = State(handling.state)
    if state not in ALLOWED[action]:
        raise NotAllowedError(_refusal(handling, action))
    changed = replace(handling, updated_at=at_ms)
    details: dict[str, object] = {}
    moved = {
        Transition.ACKNOWLEDGED: State.ACKNOWLEDGED,
        Transition.SNOOZED: State.SNOOZED,
        Transition.RESOLVED: State.RESOLVED,
        Transition.REOPENED: State.OPEN,
        Transition.FALSE_ALARM: State.FALSE_ALARM,
    }
    if action in moved:
        changed = replace(changed, state=moved[action], since=at_ms, actor=by, snoozed_until=None)
    if action is Transition.SNOOZED:
        if until_ms is None or until_ms <= at_ms:
            raise NotAllowedError("a snooze ends later than now")
        changed, details = replace(changed, snoozed_until=until_ms), {"until": until_ms}
    elif action is Transition.REOPENED:
        changed = replace(changed, openings=handling.openings + 1, reopened_at=at_ms)
    elif action is Transition.ASSIGNED:
        changed, details = replace(changed, assignee=assignee or None), {"assignee": assignee or None}
    elif action is Transition.LABELLED:
        changed, details = replace(changed, labels=list(labels)), {"labels": list(labels)}
    transition = IncidentTransition(
        handling.device_id, handling.incident_id, f"{action}/{at_ms}", str(action), at_ms, by, note, details
    )
    return Step(changed, before, (transition,), at_ms)


def before_action(
    known: IncidentHandling | None, incident: Incident, history: Sequence[IncidentTransition]
) -> IncidentHandling | None:
    """Where an incident stands for people: open where the history says so and a pass was killed before handling did."""
    openings = [one for one in history if one.transition in (Transition.OPENED, Transition.REOPENED)]
    if len(openings) <= (0 if known is None else known.openings):
        return known
    handling = known or _fresh(incident, openings[-1].at)
    return replace(handling, state=State.OPEN, since=openings[-1].at, actor=PLATFORM, openings=len(openings))


def _refusal(handling: IncidentHandling, action: Transition) -> str:
    who = "itself" if handling.actor == PLATFORM else handling.actor
    state = State(handling.state)
    since = iso(handling.since)
    said = {
        State.ACKNOWLEDGED: f"was acknowledged by {handling.actor} at {since}",
        State.RESOLVED: f"was resolved by {who} at {since}: reopen it first",
        State.FALSE_ALARM: f"was called a false alarm by {handling.actor} at {since}: reopen it first",
        State.TAKEN_BACK: f"was taken back at {since}: its windows are not anomalous after all",
        State.PAST: "was over when it was found, and nobody was told: reopen it first",
    }
    done = {Transition.FALSE_ALARM: "called a false alarm", Transition.COMMENTED: "commented on"}
    not_done = f"it can't be {done.get(action, action.replace('_', ' '))} as it stands"
    return f"{handling.incident_id} {said.get(state, f'is {state} already')} ({not_done})"


# -- on the store: what people do raises as after_action does ------------------------------------------------------------


def handling_of(store: Store, incidents: Iterable[Incident]) -> dict[str, IncidentHandling]:
    """Where incidents stand, by id; those that nobody was ever told of are not among them."""
    wanted: dict[str, set[str]] = {}
    for incident in incidents:
        wanted.setdefault(incident.device_id, set()).add(incident.incident_id)
    return {
        handling.incident_id: handling
        for device_id, ids in wanted.items()
        for handling in IncidentHandling.read(store, device_id)
        if handling.incident_id in ids
    }


def device_of(incident_id: str) -> str:
    """Device that an id began with: that of the incident, unless the device was renamed since; the platform's own name too.

    >>> device_of("RTU-001/1000"), device_of("platform/receiver/phone/1000")
    ('RTU-001', 'platform')
    """
    return PLATFORM if incident_id.startswith(f"{PLATFORM}/") else incident_id.rpartition("/")[0]


def incident_by_id(store: Store, incident_id: str) -> Incident | None:
    """A stored incident of a device; its id need tell neither its present start nor the present name of the device."""
    device_id, _, started = incident_id.rpartition("/")
    if device_of(incident_id) in ("", PLATFORM):
        return None
    if started.isascii() and started.isdigit() and len(started) <= 15:
        at = int(started)
        found = Incident.first(store, device_id, (at, at + 1))
        if found is not None and found.incident_id == incident_id:
            return found
    equals = {"incident_id": incident_id}
    return Incident.first(store, device_id, equals=equals) or Incident.first(store, equals=equals)


def handling_by_id(store: Store, incident_id: str) -> IncidentHandling | None:
    """Where an incident stands, whatever the present name of its device; None where nothing was recorded."""
    equals = {"incident_id": incident_id}
    device_id = device_of(incident_id)
    found = IncidentHandling.first(store, device_id, equals=equals)
    return found if found is not None or device_id == PLATFORM else IncidentHandling.first(store, equals=equals)


def find_incident(store: Store, incident_id: str) -> Incident | None:
    """The incident of an id; of one that another took in, the other. None where there is none."""
    seen: set[str] = set()
    name: str | None = incident_id
    while name is not None and name not in seen:
        seen.add(name)
        found = incident_by_id(store, name)
        if found is not None:
            return found
        handling = handling_by_id(store, name)
        name = handling.continues if handling is not None else None
    return None


def children_of(store: Store, incident: Incident) -> list[Incident]:
    """Incidents that are of the same event, plant fault or lasting change as a parent."""
    lasting = incident.incident_id.endswith(LASTING_ENDING)
    if (incident.scope not in SHARED_SCOPES and not lasting) or incident.parent_id is not None:
        return []
    return Incident.read(store, equals={"parent_id": incident.incident_id})


@dataclass(frozen=True, slots=True)
class WordsOfPeople:
    """What people have said of the incidents of a device, as far as it decides which windows are of which.

    Attributes:
        closed_ms: when a person closed an incident, epoch milliseconds by id, for those that are still closed.
        reopened_ms: when a person opened one again, for those that are not closed.
    """

    closed_ms: Mapping[str, int]
    reopened_ms: Mapping[str, int]


def words_of_people(store: Store, device_id: str) -> WordsOfPeople:
    """What people have said of the incidents of a device."""
    only = ("incident_id", "state", "since", "actor", "reopened_at")
    closed: dict[str, int] = {}
    reopened: dict[str, int] = {}
    for handling in IncidentHandling.read(store, device_id, only=only):
        if handling.actor != PLATFORM and handling.state in (State.RESOLVED, State.FALSE_ALARM):
            closed[handling.incident_id] = handling.since
        elif handling.reopened_at is not None and handling.state in ACTIVE:
            reopened[handling.incident_id] = handling.reopened_at
    return WordsOfPeople(closed, reopened)


def history_of(store: Store, incident: Incident) -> list[IncidentTransition]:
    """What has happened to an incident, oldest first."""
    return _history(store, incident.device_id, incident.incident_id)


def history_of_gone(store: Store, incident_id: str) -> list[IncidentTransition]:
    """What has happened to an incident whose windows are not anomalous after all: its rows are gone, this is kept.

    Incidents of the platform itself never have rows, so none of them is gone.
    """
    return [] if device_of(incident_id) == PLATFORM else _history_of_id(store, incident_id)


def settled_since(store: Store, incident_id: str, since_ms: int) -> str | None:
    """What ended or quieted an incident since an instant, in words; None where nothing did.

    What has begun before that is over then, whatever the incident is by now.
    """
    found = (one for one in _history_of_id(store, incident_id) if one.at > since_ms and one.transition in SETTLES)
    return next((one.transition.replace("_", " ") for one in found), None)


def _history_of_id(store: Store, incident_id: str) -> list[IncidentTransition]:
    handling = handling_by_id(store, incident_id)  # of a device that was renamed the id has the former name
    return _history(store, device_of(incident_id) if handling is None else handling.device_id, incident_id)


def _history(store: Store, device_id: str, incident_id: str) -> list[IncidentTransition]:
    found = IncidentTransition.read(store, device_id, equals={"incident_id": incident_id})
    return sorted(found, key=lambda one: (one.at, one.transition != Transition.OPENED))


def told_transition(one: IncidentTransition) -> str:
    """A transition in words, for people."""
    what = one.transition.replace("_", " ")
    details = one.details
    told = {
        Transition.OPENED: f"opened as {details.get('severity')}"
        + (", before its first window was judged" if details.get(PROVISIONAL) else ""),
        Transition.WORSENED: f"worsened: now {details.get('severity')}",
        Transition.ASSIGNED: f"assigned to {details.get('assignee') or 'nobody'}",
        Transition.SNOOZED: f"snoozed until {_instant(details.get('until'))}",
        Transition.JOINED: f"joined {details.get('parent')}",
        Transition.MERGED: f"merged into {details.get('into')}",
        Transition.LABELLED: f"labelled: {_listed(details.get('labels')) or 'label removed'}",
        Transition.TAKEN_BACK: "taken back: its windows are not anomalous after all",
        Transition.RESOLVED: "resolved by itself" if one.actor == PLATFORM else what,
    }.get(Transition(one.transition), what)
    if one.transition == Transition.WORSENED and details.get("rules"):
        told = f"another fault: {_listed(details['rules'])}"
    who = "" if one.actor == PLATFORM else f" by {one.actor}"
    return told + who + (f": {one.note}" if one.note else "")


def _instant(value: object) -> str:
    return iso(value) if isinstance(value, int) else "?"


def _listed(value: object) -> str:
    return ", ".join(str(part) for part in value) if isinstance(value, list) else ""


def state_of(handling: IncidentHandling | None, at_ms: int) -> State:
    """State at an instant, for people: a snooze that is over counts as open though no pass has woken it yet."""
    if handling is None:
        return State.PAST
    if handling.state == State.SNOOZED and handling.snoozed_until is not None and handling.snoozed_until <= at_ms:
        return State.OPEN
    return State(handling.state)


def acknowledge(store: Store, incident: Incident, *, by: str, at_ms: int, note: str = "") -> IncidentHandling:
    """Somebody has seen it and takes it on."""
    return _act(store, incident, Transition.ACKNOWLEDGED, by=by, at_ms=at_ms, note=note)


def assign(
    store: Store, incident: Incident, assignee: str | None, *, by: str, at_ms: int, note: str = ""
) -> IncidentHandling:
    """Say who takes care of it; None for nobody."""
    return _act(store, incident, Transition.ASSIGNED, by=by, at_ms=at_ms, note=note, assignee=assignee)


def snooze(store: Store, incident: Incident, until_ms: int, *, by: str, at_ms: int, note: str = "") -> IncidentHandling:
    """Leave people in peace until an instant, or until it becomes more severe."""
    return _act(store, incident, Transition.SNOOZED, by=by, at_ms=at_ms, note=note, until_ms=until_ms)


def resolve(store: Store, incident: Incident, *, by: str, at_ms: int, note: str = "") -> IncidentHandling:
    """It is put right: what is anomalous half an hour later is a new incident."""
    return _act(store, incident, Transition.RESOLVED, by=by, at_ms=at_ms, note=note)


def reopen(store: Store, incident: Incident, *, by: str, at_ms: int, note: str = "") -> IncidentHandling:
    """It is not over after all."""
    return _act(store, incident, Transition.REOPENED, by=by, at_ms=at_ms, note=note)


def mark_false_alarm(store: Store, incident: Incident, *, by: str, at_ms: int, note: str = "") -> IncidentHandling:
    """There was nothing wrong with the machine."""
    return _act(store, incident, Transition.FALSE_ALARM, by=by, at_ms=at_ms, note=note)


def comment(store: Store, incident: Incident, note: str, *, by: str, at_ms: int) -> IncidentHandling:
    """Say something about it."""
    return _act(store, incident, Transition.COMMENTED, by=by, at_ms=at_ms, note=note)


def label(store: Store, incident: Incident, labels: Sequence[str], *, by: str, at_ms: int) -> IncidentHandling:
    """Say what it turned out to be, in place of what was said before; the first is shown with later incidents like it."""
    key = {"device_id": [incident.device_id], "started_at": [incident.started_at]}
    store.update(Incident.TABLE, {**key, "label": [next(iter(labels), None)]})
    return _act(store, incident, Transition.LABELLED, by=by, at_ms=at_ms, labels=labels)


def _act(
    store: Store, incident: Incident, action: Transition, *, by: str, at_ms: int, note: str = "", **details: object
) -> IncidentHandling:
    known = handling_of(store, [incident]).get(incident.incident_id)
    before = before_action(known, incident, history_of(store, incident))
    step = after_action(before, incident, action, by=by, at_ms=at_ms, note=note, **details)  # type: ignore[arg-type]
    write_steps(store, [replace(step, before=known)], at_ms)
    if action in (Transition.RESOLVED, Transition.FALSE_ALARM, Transition.REOPENED):  # as the next pass would have it
        key = {"device_id": [incident.device_id], "started_at": [incident.started_at]}
        status = "open" if action is Transition.REOPENED else "closed"
        store.update(Incident.TABLE, {**key, "status": [status]})
    return step.handling


def write_steps(store: Store, steps: Sequence[Step], now_ms: int) -> None:
    """Write what some decisions change."""
    for batch in step_batches(steps, now_ms):
        write_batch(store, IncidentHandling.TABLE, batch)


def step_batches(
    steps: Sequence[Step], now_ms: int, suppressed: Mapping[str, str] | None = None
) -> Iterator[TableBatch]:
    """Rows that some decisions change: the outbox first, so that a crash leads to the same again and never to silence.

    Args:
        steps: the decisions.
        now_ms: the present.
        suppressed: name of the suppression by message key, of transitions that nobody is to be told of.
    """
    if messages := [message for step in steps for message in outbox_messages(step, now_ms, suppressed or {})]:
        yield TableBatch(OutboxMessage.columns(messages), table=OutboxMessage.TABLE)
    if transitions := [transition for step in steps for transition in step.transitions]:
        yield TableBatch(IncidentTransition.columns(transitions), table=IncidentTransition.TABLE)
    changed = [step for step in steps if step.handling != step.before]
    if new := [step.handling for step in changed if step.before is None]:
        yield TableBatch(IncidentHandling.columns(new), table=IncidentHandling.TABLE)
    by_columns: dict[tuple[str, ...], list[IncidentHandling]] = {}
    for step in changed:
        if step.before is not None:
            names = tuple(
                name
                for name in IncidentHandling.all_but()
                if getattr(step.handling, name) != getattr(step.before, name)
            )
            by_columns.setdefault(names, []).append(step.handling)
    for names, handlings in by_columns.items():  # no other column, so that what a person says meanwhile stays
        columns = IncidentHandling.columns(handlings, only=("device_id", "incident_id", *names))
        yield TableBatch(columns, table=IncidentHandling.TABLE, action="update")


def recorded(store: Store, messages: Iterable[OutboxMessage]) -> list[OutboxMessage]:
    """Those transitions of the outbox that are in the history.

    One that is not is of a pass that was killed in between: the next pass over the device records it, or finds that it was
    nothing.
    """
    by_device: dict[str, list[OutboxMessage]] = {}
    for message in messages:
        by_device.setdefault(message.device_id, []).append(message)
    found: list[OutboxMessage] = []
    for device_id, of_device in by_device.items():
        named = {message.incident_id for message in of_device}
        equals = {"incident_id": named.pop()} if len(named) == 1 else None
        only = ("incident_id", "transition_key")
        known = {message_key(one) for one in IncidentTransition.read(store, device_id, only=only, equals=equals)}
        found += [message for message in of_device if message.message_key in known]
    return found


def message_key(transition: IncidentTransition) -> str:
    """Key of a transition in the outbox."""
    return f"{transition.incident_id}#{transition.transition_key}"


def outbox_messages(step: Step, now_ms: int, suppressed: Mapping[str, str]) -> list[OutboxMessage]:
    """What people may want to hear of a decision."""
    return [
        OutboxMessage(
            date=day_of(step.queued_at),
            queued_at=step.queued_at,
            message_key=message_key(one),
            kind="transition",
            state="suppressed" if message_key(one) in suppressed else "new",
            incident_id=one.incident_id,
            device_id=one.device_id,
            transition=one.transition,
            route=None,
            receiver=None,
            incidents=[one.incident_id],
            details=one.details | {"actor": one.actor, "at": one.at, "note": one.note},
            attempts=0,
            next_attempt_at=None,
            sent_at=None,
            error=suppressed.get(message_key(one)),
            updated_at=now_ms,
        )
        for one in step.transitions
        if one.transition not in KEPT_QUIET
    ]
