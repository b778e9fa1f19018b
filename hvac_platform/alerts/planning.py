"""From transitions to messages: what the tree decides, less what a receiver was told already, grouped to few messages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from hvac_platform.alerts.facts import FEW, RANK, SHARED_SCOPES, Facts
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
        by_person: whether a person brought it about.
    """

    facts: Facts
    transition: str
    queued_at: int
    by_person: bool = False


@dataclass(frozen=True, slots=True)
class Telling:
    """What a receiver was told, or will be, of one incident.

    Attributes:
        transition: key of the transition, or a bundle.
        purpose: last part of the message's key, empty for what was sent at once.
        state: of the message.
        at_ms: when it was sent, or is to be.
        among: how many incidents the message is of.
        severity: of the incident when the message was planned; empty where that was not kept, which counts as the least.
    """

    incident_id: str
    receiver: str
    transition: str
    purpose: str
    state: str
    at_ms: int
    among: int = 1
    severity: str = ""

    @property
    def rank(self) -> int:
        """How severe the incident was of which it tells; more is worse."""
        return RANK.get(self.severity, 0)

    @property
    def at_once(self) -> bool:
        """Whether it was sent, or is sent as soon as its receiver takes it: it waits for no hour and for nobody."""
        return self.state == "sent" or (self.state == "waiting" and not self.purpose)

    @property
    def in_digest(self) -> bool:
        """Whether it is told in a digest, which says itself how things ended."""
        return self.purpose == "digest" or self.transition == "digest"

    @property
    def message(self) -> tuple[str, int, int]:
        """What is the same of all that one message tells."""
        return self.transition, self.at_ms, self.among

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
        return max(self.raising(incident_id, receiver), key=lambda t: t.at_ms, default=None)

    def raising(self, incident_id: str, receiver: str) -> list[Telling]:
        """All messages by which a receiver knows, or will know, that an incident began."""
        return [t for t in self.tellings.get((incident_id, receiver), ()) if t.raises and t.state in LIVE]

    def at_once(self, incident_id: str, receiver: str) -> Telling | None:
        """The last of them that was sent or is about to be; what waits for an hour of the day is not."""
        found = [t for t in self.raising(incident_id, receiver) if t.at_once]
        return max(found, key=lambda t: t.at_ms, default=None)

    def storms(self, receiver: str, least: int, since_ms: int) -> list[Telling]:
        """Something of each message of many that a receiver was told since an instant, the most severe of it first."""
        found: dict[tuple[str, int, int], list[Telling]] = defaultdict(list)
        for (_, of), told in self.tellings.items():
            for t in told if of == receiver else ():
                if t.among >= least and t.raises and t.at_once and t.at_ms >= since_ms and not t.purpose:
                    found[t.message].append(t)
        return [t for of_one in found.values() for t in sorted(of_one, key=lambda t: -t.rank)[:STORM_LOOKED_AT]]

    def of_device(self, device_id: str, receiver: str) -> list[str]:
        """Incidents of a device of which a receiver knows, or is about to."""
        prefix = f"{device_id}/"
        return [i for i, of in self.tellings if of == receiver and i.startswith(prefix) and self.at_once(i, of)]


@dataclass(frozen=True, slots=True)
class Planned:
    """One message, or the reason why there is none.

    Attributes:
        key: of the message, the same whenever it is planned again.
        incidents: ids of the incidents that it is of, first the one whose page it leads to.
        severities: of each of them, as they are told.
    """

    key: str
    decision: Decision
    transition: str
    queued_at: int
    device_id: str
    incidents: tuple[str, ...]
    severities: tuple[str, ...]


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
                # An incident may worsen in several ways at once, or as it opens: one message says all of it, as it is now.
                incident_id, base = transition.facts.incident_id, base_transition(transition.transition)
                of_receiver = decided.receiver, decided.purpose
                begun = [together.get((incident_id, began, *of_receiver)) for began in ("opened", "reopened")]
                first = together.setdefault((incident_id, base, *of_receiver), transition.transition)
                if base == "worsened":
                    first = next((key for key in begun if key is not None), first)
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
    families: Mapping[tuple[str, str], Sequence[Telling]],
    storms: Callable[[str], list[Telling]],
) -> list[Decision]:
    """Decisions on one transition, as the tree has them, less what receivers know already."""
    facts, key = transition.facts, transition.transition
    found = []
    for decision in route(tree, facts, key, at_ms):
        if decision.receiver == NOBODY or not decision.tells:
            found.append(decision)
        elif not told.covered(facts.incident_id, decision.receiver, key, decision.purpose):
            reason = _known_already(decision, transition, told, at_ms, known, families, storms)
            if reason is not None:
                found.append(decision.nothing(reason))
            else:
                found.append(_cooled_down(tree, decision, transition, told, at_ms, known))
    return found


def _cooled_down(
    tree: Tree,
    decision: Decision,
    transition: Transition,
    told: Told,
    at_ms: int,
    known: Callable[[str], Facts | None],
) -> Decision:
    """A decision, held until its cool-down has ended where the receiver was told of the same fault in that time.

    Whether it still goes on is asked then, so that nothing that is open stays untold. A fault that began later than the
    cool-down after the end of the one that was told is told at once, also where both are found together; so is what a
    person opens again, for a receiver's last word would be that it is over.
    """
    facts, receiver = transition.facts, decision.receiver
    base = base_transition(transition.transition)
    if transition.by_person:
        return decision
    if base not in ("opened", "reopened") or decision.action not in (Action.SEND, Action.HOLD):
        return decision
    cool_ms, held = decision.cool_down_ms, decision
    for incident_id in told.of_device(facts.device_id, receiver) if cool_ms else ():
        same = incident_id == facts.incident_id
        other, earlier = known(incident_id), told.at_once(incident_id, receiver)
        if other is None or earlier is None or (same and base != "reopened"):
            continue
        until_ms, ended_ms = earlier.at_ms + cool_ms, 0 if same else other.until_ms
        if (
            at_ms < earlier.at_ms
            or until_ms <= max(at_ms, held.due_ms)
            or (ended_ms and facts.since_ms - ended_ms >= cool_ms)
            or not other.alike(facts)
            or RANK.get(facts.severity, 0) > earlier.rank
        ):
            continue
        knows = f"was told of {incident_id}, the same fault, {(at_ms - earlier.at_ms) // 60_000} min ago"
        if earlier.state != "sent":
            knows = f"is about to be told of {incident_id}, the same fault"
        reason = f"cool-down: it {knows}; of this one it is told when that has ended, if it still goes on"
        held = replace(decision, action=Action.HOLD, due_ms=until_ms, reason=reason)
    if held is not decision:  # the cool-down may end in quiet hours
        for then in route(tree, facts, transition.transition, held.due_ms):
            if (then.receiver, then.step) == (receiver, 0) and then.action is Action.HOLD:
                held = replace(held, due_ms=then.due_ms)
    return held


def _known_already(
    decision: Decision,
    transition: Transition,
    told: Told,
    at_ms: int,
    known: Callable[[str], Facts | None],
    families: Mapping[tuple[str, str], Sequence[Telling]],
    storms: Callable[[str], list[Telling]],
) -> str | None:
    """Why a receiver needs not be told; None where it does."""
    facts, receiver = transition.facts, decision.receiver
    base = base_transition(transition.transition)
    family = families.get((facts.family, receiver), ())
    if base in ENDING:
        return _end_known(decision, facts, told, at_ms, family)
    if base not in RAISING:
        return None
    if base == "worsened" and decision.action is Action.ESCALATE:
        found = [t for t in told.tellings.get((facts.incident_id, receiver), ()) if t.purpose == decision.purpose]
        if any(t.state == "waiting" or (t.state == "sent" and t.rank >= RANK.get(facts.severity, 0)) for t in found):
            return "it is called already since this began"
    if base == "opened":
        if (reason := _part_known(decision, facts, family)) is not None:
            return reason
        for telling in storms(receiver):
            other = known(telling.incident_id)
            if other is not None and _of_one_storm(facts, other, telling):
                return f"one of many in building {facts.building_id or '-'}, {_knows_by(telling)}"
    return None


def _end_known(decision: Decision, facts: Facts, told: Told, at_ms: int, family: Sequence[Telling]) -> str | None:
    """Why a receiver needs not be told of an end; None where it does."""
    heard = told.raising(facts.incident_id, decision.receiver)
    if not heard:
        if facts.since_ms and at_ms - facts.since_ms > REMEMBERED_MS:
            return None  # what was told so long ago is not kept
        sent = [t for t in family if t.state == "sent"]
        ends = next((t.incident_id for t in sent if not t.in_digest), None)
        if ends is not None:
            return f"part of {ends}, whose end is told"
        return (
            f"part of {facts.family}, and the digest says how it ended" if sent else "it was not told that this began"
        )
    if not facts.parent_id:
        return None
    # What was told apart from its parent, because it was worse than what was known of it, ends apart from it.
    worst, messages = max(t.rank for t in heard), {t.message for t in heard}
    parent = [t for t in told.raising(facts.family, decision.receiver) if not t.in_digest]
    if any(t.rank >= worst or (t.among > 1 and t.message in messages) for t in parent):
        return f"part of {facts.family}, whose end is told"
    return None


def _part_known(decision: Decision, facts: Facts, family: Sequence[Telling]) -> str | None:
    """Why a receiver needs not be told of a part of an incident; None where it does.

    It knows what it was sent, and no worse: what is queued, held or kept for a digest may come late or never.
    """
    no_less = [t for t in family if t.incident_id != facts.incident_id and t.rank >= RANK.get(facts.severity, 0)]
    for telling in no_less:
        if telling.state == "sent":
            return f"part of {facts.family}, {_knows_by(telling)}"
    if decision.action is Action.ESCALATE:
        for telling in no_less:
            if telling.purpose == decision.purpose and telling.at_ms <= decision.due_ms:
                return f"part of {facts.family}, of which it is called by {telling.incident_id}"
    return None


def _knows_by(telling: Telling) -> str:
    """By which incident a receiver knows, or is about to."""
    knows = "knows" if telling.state == "sent" else "is about to be told"
    return f"of which it {knows} by {telling.incident_id}"


def _of_one_storm(facts: Facts, other: Facts, telling: Telling) -> bool:
    """Whether an incident is alike another one, on whichever device of the same building, and no worse than was told."""
    alike = set(facts.rules) & set(other.rules) or set(facts.metrics[:FEW]) & set(other.metrics[:FEW])
    no_worse = RANK.get(facts.severity, 0) <= telling.rank
    return bool(alike) and no_worse and facts.building_id == other.building_id


def _families_told(
    transitions: Sequence[Transition], told: Told, known: Callable[[str], Facts | None]
) -> dict[tuple[str, str], list[Telling]]:
    """By family and receiver, what the receiver was told, or will be, of the family before these transitions."""
    wanted = {t.facts.family for t in transitions if t.facts.parent_id or t.facts.scope in SHARED_SCOPES}
    found: dict[tuple[str, str], list[Telling]] = {}
    if not wanted:
        return found
    latest = max(t.queued_at for t in transitions)
    for incident_id, receiver in list(told.tellings):
        heard = [t for t in told.raising(incident_id, receiver) if latest - t.at_ms <= FAMILY_MS]
        if not heard:
            continue
        facts = known(incident_id)
        family = facts.family if facts is not None else incident_id
        if family in wanted:
            found.setdefault((family, receiver), []).extend(heard)
    return found


def _telling(transition: Transition, decided: Decision) -> Telling:
    return Telling(
        transition.facts.incident_id,
        decided.receiver,
        transition.transition,
        decided.purpose,
        "waiting",
        decided.due_ms,
        severity=transition.facts.severity,
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
    ordered = dict.fromkeys((ids[first], *ids))
    severities = {transition.facts.incident_id: transition.facts.severity for transition, _ in members}
    return Planned(
        key=message_key(
            ids[first], transition.transition, decision.receiver, decision.purpose if decision.tells else ""
        ),
        decision=replace(decision, reason=members[0][1].reason) if decision.tells else decision,
        transition=transition.transition,
        queued_at=transition.queued_at,
        device_id=transition.facts.device_id,
        incidents=tuple(ordered),
        severities=tuple(severities[incident_id] for incident_id in ordered),
    )
