"""From transitions to messages: what the tree decides, less what a receiver was told already, grouped to few messages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from hvac_platform.alerts.facts import FEW, RANK, Facts
from hvac_platform.alerts.routing import NOBODY, Action, Decision, base_transition, route
from hvac_platform.alerts.tree import ENDING, RAISING, Tree

BUNDLES = ("digest", "held")
"""Transitions of messages that say of several incidents what waited for an hour of the day."""
LIVE = ("waiting", "sent")
REMEMBERED_MS = 29 * 86_400_000
"""For so long the outbox remembers what was told."""
STORM_MS, STORM_LOOKED_AT = 600_000, 5
"""What is alike, in the same building, and comes so soon after a message of many, is part of that."""
FAMILY_MS = 86_400_000
"""What was told longer ago is not looked through for the family of a new incident."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A transition that is to be planned.

    Attributes:
        facts: of its incident, as they are now.
        transition: its key, such as ``opened`` or ``resolved/2``.
        queued_at: when it happened, epoch milliseconds.
    """

    facts: Facts
    transition: str
    queued_at: int


@dataclass(frozen=True, slots=True)
class Telling:
    """What a receiver was told, or will be, of one incident.

    Attributes:
        transition: key of the transition, or a bundle.
        purpose: last part of the message's key, empty for what was sent at once.
        state: of the message.
        at_ms: when it was sent, or is to be.
        among: how many incidents the message is of.
    """

    incident_id: str
    receiver: str
    transition: str
    purpose: str
    state: str
    at_ms: int
    among: int = 1

    @property
    def raises(self) -> bool:
        """Whether it says that something needs somebody."""
        return base_transition(self.transition) in (*RAISING, *BUNDLES)


@dataclass
class Told:
    """What receivers were told, by incident and receiver."""

    tellings: dict[tuple[str, str], list[Telling]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, tellings: Iterable[Telling]) -> Told:
        """A memory of some tellings."""
        made = cls()
        for telling in tellings:
            made.add(telling)
        return made

    def add(self, telling: Telling) -> None:
        """Remember one more."""
        self.tellings[telling.incident_id, telling.receiver].append(telling)

    def covered(self, incident_id: str, receiver: str, transition: str, purpose: str) -> bool:
        """Whether a message is there already, in whatever state; what was held and what is sent at once are the same."""
        return any(
            t.transition == transition and escalation_of(t.purpose) == escalation_of(purpose)
            for t in self.tellings.get((incident_id, receiver), ())
        )

    def raised(self, incident_id: str, receiver: str) -> Telling | None:
        """The last message by which a receiver knows, or will know, that an incident began; None where there is none."""
        found = [t for t in self.tellings.get((incident_id, receiver), ()) if t.raises and t.state in LIVE]
        return max(found, key=lambda t: t.at_ms, default=None)

    def storms(self, receiver: str, least: int, since_ms: int) -> list[str]:
        """Some incidents of each message of many that a receiver was told since an instant."""
        found: dict[tuple[str, int, int], list[str]] = defaultdict(list)
        for (incident_id, of), told in self.tellings.items():
            for t in told if of == receiver else ():
                if t.among >= least and t.raises and t.state in LIVE and t.at_ms >= since_ms and not t.purpose:
                    found[t.transition, t.at_ms, t.among].append(incident_id)
        return [incident_id for of_one in found.values() for incident_id in of_one[:STORM_LOOKED_AT]]

    def of_device(self, device_id: str, receiver: str) -> list[str]:
        """Incidents of a device of which a receiver knows."""
        prefix = f"{device_id}/"
        return [i for i, of in self.tellings if of == receiver and i.startswith(prefix) and self.raised(i, of)]


@dataclass(frozen=True, slots=True)
class Planned:
    """One message, or the reason why there is none.

    Attributes:
        key: of the message, the same whenever it is planned again.
        incidents: ids of the incidents that it is of, first the one whose page it leads to.
    """

    key: str
    decision: Decision
    transition: str
    queued_at: int
    device_id: str
    incidents: tuple[str, ...]


def escalation_of(purpose: str) -> str:
    """The step of an escalation; empty of all that isn't one."""
    return purpose if purpose.startswith("escalation") else ""


def message_key(incident_id: str, transition: str, receiver: str, purpose: str = "") -> str:
    """Key of a message.

    >>> message_key("RTU-001/1000", "opened", "phone"), message_key("RTU-001/1000", "opened", "phone", "escalation-1")
    ('RTU-001/1000#opened#phone', 'RTU-001/1000#opened#phone#escalation-1')
    """
    return "#".join((incident_id, transition, receiver, *([purpose] if purpose else [])))


def purpose_of(key: str, receiver: str, transition: str) -> str:
    """Purpose that a message's key ends with; empty where it has none.

    >>> purpose_of("RTU-001/1000#opened#phone#escalation-1", "phone", "opened")
    'escalation-1'
    """
    return key.rpartition(f"#{transition}#{receiver}")[2].removeprefix("#")


def plan(
    tree: Tree,
    transitions: Sequence[Transition],
    told: Told,
    at_ms: int,
    *,
    known: Callable[[str], Facts | None] = lambda _: None,
) -> list[Planned]:
    """Messages of some transitions, and for each receiver that gets none, why.

    Of every transition each receiver that a route leads to is named once for each message that it may get; nobody is told
    twice of the same, and no end is told to whom no beginning was.

    Args:
        tree: the routing tree.
        transitions: what happened, in any order.
        told: what receivers know; it learns what is planned.
        at_ms: the present, epoch milliseconds.
        known: facts of an incident of which somebody was told before.
    """
    ordered = sorted(transitions, key=lambda t: (t.queued_at, t.facts.incident_id, t.transition))
    facts = {t.facts.incident_id: t.facts for t in ordered}

    def recalled(incident_id: str) -> Facts | None:
        return facts.get(incident_id) or known(incident_id)

    families = _families_told(ordered, told, recalled)
    storms = cache(lambda receiver: told.storms(receiver, tree.storm, at_ms - STORM_MS))
    settled: list[tuple[Transition, Decision]] = []
    together: dict[tuple[str, str, str, str], str] = {}
    for transition in ordered:
        for decided in decide(tree, transition, told, at_ms, recalled, families, storms):
            if decided.tells:
                # An incident may worsen in several ways at once: one message says all of it.
                named = transition.facts.incident_id, base_transition(transition.transition)
                first = together.setdefault((*named, decided.receiver, decided.purpose), transition.transition)
                if first != transition.transition:
                    decided = decided.nothing(f"told together with {first}")
            settled.append((transition, decided))
            if decided.tells:
                told.add(_telling(transition, decided))
    return _grouped(settled, tree.storm)


def decide(
    tree: Tree,
    transition: Transition,
    told: Told,
    at_ms: int,
    known: Callable[[str], Facts | None],
    families: Mapping[tuple[str, str], str],
    storms: Callable[[str], list[str]],
) -> list[Decision]:
    """Decisions on one transition, as the tree has them, less what receivers know already."""
    facts, key = transition.facts, transition.transition
    found = []
    for decision in route(tree, facts, key, at_ms):
        if decision.receiver == NOBODY or not decision.tells:
            found.append(decision)
        elif not told.covered(facts.incident_id, decision.receiver, key, decision.purpose):
            reason = _known_already(decision, transition, told, at_ms, known, families, storms)
            found.append(decision if reason is None else decision.nothing(reason))
    return found


def _known_already(
    decision: Decision,
    transition: Transition,
    told: Told,
    at_ms: int,
    known: Callable[[str], Facts | None],
    families: Mapping[tuple[str, str], str],
    storms: Callable[[str], list[str]],
) -> str | None:
    """Why a receiver needs not be told; None where it does."""
    facts, receiver = transition.facts, decision.receiver
    base = base_transition(transition.transition)
    heard = told.raised(facts.incident_id, receiver)
    family = families.get((facts.family, receiver))
    if base in ENDING:
        if heard is None and facts.since_ms and at_ms - facts.since_ms > REMEMBERED_MS:
            return None  # what was told so long ago is not kept
        if heard is None:
            return "it was not told that this began" if family is None else f"part of {family}, whose end is told"
        parent = told.raised(facts.family, receiver) if facts.parent_id else None
        return f"part of {facts.family}, whose end is told" if parent is not None else None
    if base not in RAISING:
        return None
    if base == "worsened" and decision.action is Action.ESCALATE:
        found = told.tellings.get((facts.incident_id, receiver), ())
        if any(t.purpose == decision.purpose and t.state in LIVE for t in found):
            return "it is called already since this began"
    if base == "opened" and family is not None and family != facts.incident_id:
        return f"part of {facts.family}, of which it knows by {family}"
    if base == "opened":
        for incident_id in storms(receiver):
            other = known(incident_id)
            if other is not None and _of_one_storm(facts, other):
                return f"one of many in building {facts.building_id or '-'}, of which it knows by {incident_id}"
    if base in ("opened", "reopened") and decision.cool_down_ms and decision.action is not Action.ESCALATE:
        for incident_id in told.of_device(facts.device_id, receiver):
            other = known(incident_id)
            earlier = told.raised(incident_id, receiver)
            if (
                other is not None
                and earlier is not None
                and (incident_id != facts.incident_id or base == "reopened")
                and 0 <= at_ms - earlier.at_ms < decision.cool_down_ms
                and other.alike(facts)
                and RANK.get(facts.severity, 0) <= RANK.get(other.severity, 0)
            ):
                minutes = (at_ms - earlier.at_ms) // 60_000
                return f"cool-down: it was told of {incident_id}, the same fault, {minutes} min ago"
    return None


def _of_one_storm(facts: Facts, other: Facts) -> bool:
    """Whether an incident is alike another one, on whichever device of the same building, and no worse."""
    alike = set(facts.rules) & set(other.rules) or set(facts.metrics[:FEW]) & set(other.metrics[:FEW])
    no_worse = RANK.get(facts.severity, 0) <= RANK.get(other.severity, 0)
    return bool(alike) and no_worse and facts.building_id == other.building_id


def _families_told(
    transitions: Sequence[Transition], told: Told, known: Callable[[str], Facts | None]
) -> dict[tuple[str, str], str]:
    """By family and receiver, an incident of the family of which the receiver knew before these transitions."""
    wanted = {t.facts.family for t in transitions if t.facts.parent_id or t.facts.scope == "fleet"}
    if not wanted:
        return {}
    found: dict[tuple[str, str], str] = {}
    latest = max(t.queued_at for t in transitions)
    for incident_id, receiver in list(told.tellings):
        heard = told.raised(incident_id, receiver)
        if heard is None or latest - heard.at_ms > FAMILY_MS:
            continue
        facts = known(incident_id)
        family = facts.family if facts is not None else incident_id
        if family in wanted:
            found.setdefault((family, receiver), incident_id)
    return found


def _telling(transition: Transition, decided: Decision) -> Telling:
    return Telling(
        transition.facts.incident_id,
        decided.receiver,
        transition.transition,
        decided.purpose,
        "waiting",
        decided.due_ms,
    )


def _grouped(settled: Sequence[tuple[Transition, Decision]], storm: int) -> list[Planned]:
    """One message a route for a family; for a storm of families, one for all of them."""
    groups: dict[tuple[object, ...], list[tuple[Transition, Decision]]] = defaultdict(list)
    alone: list[Planned] = []
    for transition, decision in settled:
        if not decision.tells:
            alone.append(_planned([(transition, decision)]))
            continue
        due = 0 if decision.action is Action.SEND else decision.due_ms
        kind = decision.receiver, decision.route, decision.action, decision.step, due, transition.transition
        groups[(*kind, transition.facts.family)].append((transition, decision))
    families: dict[tuple[object, ...], list[list[tuple[Transition, Decision]]]] = defaultdict(list)
    for key, members in groups.items():
        families[key[:-1]].append(members)
    found = []
    for several in families.values():
        if len(several) >= storm:
            merged = [member for members in several for member in members]
            reason = f"{len(several)} at once, told in one message"
            merged[0] = (merged[0][0], replace(merged[0][1], reason=f"{merged[0][1].reason}; {reason}"))
            found.append(_planned(merged))
        else:
            found += [_planned(members) for members in several]
    return found + alone


def _planned(members: Sequence[tuple[Transition, Decision]]) -> Planned:
    ids = [transition.facts.incident_id for transition, _ in members]
    families = [transition.facts.family for transition, _ in members]
    first = next((i for i, (own, family) in enumerate(zip(ids, families, strict=True)) if own == family), 0)
    transition, decision = members[first]
    ordered = (ids[first], *(own for i, own in enumerate(ids) if i != first))
    return Planned(
        key=message_key(
            ids[first], transition.transition, decision.receiver, decision.purpose if decision.tells else ""
        ),
        decision=replace(decision, reason=members[0][1].reason) if decision.tells else decision,
        transition=transition.transition,
        queued_at=transition.queued_at,
        device_id=transition.facts.device_id,
        incidents=tuple(dict.fromkeys(ordered)),
    )
