"""Who hears of a transition of an incident, when and why: the routing tree applied, without looking at anything else."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from hvac_platform.alerts.facts import Facts
from hvac_platform.alerts.tree import ENDING, RAISING, TOLD, Escalation, Hours, Match, Quiet, Route, Tree
from hvac_platform.devices.written_times import DAYS
from hvac_platform.timestamps import to_datetime, to_ms

NOBODY = ""
"""Receiver of a decision that nobody is told."""


class Action(enum.StrEnum):
    """What is decided."""

    SEND = "send"
    HOLD = "hold"
    DIGEST = "digest"
    ESCALATE = "escalate"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Decision:
    """What one receiver gets of one transition, or that it gets nothing.

    Attributes:
        receiver: its name; empty where nobody is told.
        route: names of the routes that led to it.
        action: send now, hold until quiet hours end, put into the digest, escalate later, or nothing.
        due_ms: when, epoch milliseconds.
        reason: why, in a sentence.
        step: of an escalation, from 1; else 0.
        cool_down_ms: how long nothing alike is told again; 0 where there is no such time.
    """

    receiver: str
    route: str
    action: Action
    due_ms: int
    reason: str
    step: int = 0
    cool_down_ms: int = 0

    @property
    def tells(self) -> bool:
        """Whether somebody is told."""
        return self.action is not Action.NOTHING

    @property
    def purpose(self) -> str:
        """Last part of the message's key; empty for what is sent at once."""
        if self.step:
            return f"escalation-{self.step}"
        return str(self.action) if self.action in (Action.HOLD, Action.DIGEST) else ""

    def nothing(self, reason: str) -> Decision:
        """The same receiver, which gets nothing."""
        return replace(self, action=Action.NOTHING, reason=reason)


@dataclass(frozen=True, slots=True)
class _Matched:
    """A route with what it has from those above it."""

    route: Route
    path: str
    receivers: tuple[str, ...]
    tell: tuple[str, ...]
    quiet: tuple[Quiet, ...]
    digest: int | None
    cool_down_ms: int
    escalate: tuple[Escalation, ...]


def base_transition(transition_key: str) -> str:
    """The transition of a key.

    >>> base_transition("resolved/2"), base_transition("worsened/critical")
    ('resolved', 'worsened')
    """
    return transition_key.partition("/")[0]


def route(tree: Tree, incident: Facts, transition: str, at_ms: int) -> list[Decision]:
    """Decisions on one transition, at least one; each says why.

    Args:
        tree: the routing tree.
        incident: facts of the incident.
        transition: the transition, or its key.
        at_ms: when it is decided; the incident's building says what local time that is.
    """
    transition = base_transition(transition)
    local = to_datetime(at_ms).astimezone(tree.zone_of(incident.building_id))
    decisions: dict[tuple[str, int], Decision] = {}
    for matched in _matching(tree.route, None, 0, incident, transition, local):
        for decision in _decided(matched, incident, transition, local):
            key = decision.receiver, decision.step
            known = decisions.get(key)
            # Two routes may lead to one receiver; the one that tells it, and the sooner, counts.
            if known is None or (decision.tells, -decision.due_ms) > (known.tells, -known.due_ms):
                decisions[key] = decision
    return list(decisions.values())


def _matching(
    route_: Route, above: _Matched | None, number: int, incident: Facts, transition: str, local: datetime
) -> Iterator[_Matched]:
    """The deepest routes that an incident comes to."""
    own = _with_inherited(route_, above, number)
    came_to_one = False
    for i, child in enumerate(route_.routes, start=1):
        if mismatch(child.match, incident, transition, local) is None:
            came_to_one = True
            yield from _matching(child, own, i, incident, transition, local)
            if not child.go_on:
                return
    if not came_to_one:
        yield own


def _with_inherited(route_: Route, above: _Matched | None, number: int) -> _Matched:
    name = route_.name or (f"route {number}" if above is not None else "the first route")
    tell = route_.tell if route_.tell is not None else (above.tell if above else TOLD)
    if route_.resolved is False:
        tell = tuple(name for name in tell if name not in ENDING)
    elif route_.resolved and not set(ENDING) & set(tell):
        tell = (*tell, *ENDING)
    digest = route_.digest if route_.digest is not None else (above.digest if above else None)
    return _Matched(
        route=route_,
        path=name if above is None or above.path == "the first route" else f"{above.path} / {name}",
        receivers=route_.receivers if route_.receivers is not None else (above.receivers if above else ()),
        tell=tell,
        quiet=route_.quiet if route_.quiet is not None else (above.quiet if above else ()),
        digest=None if digest is False else digest,
        cool_down_ms=route_.cool_down if route_.cool_down is not None else (above.cool_down_ms if above else 0),
        escalate=route_.escalate if route_.escalate is not None else (above.escalate if above else ()),
    )


def _decided(matched: _Matched, incident: Facts, transition: str, local: datetime) -> Iterator[Decision]:
    now, path = to_ms(local), matched.path
    if not matched.receivers:
        yield Decision(NOBODY, path, Action.NOTHING, now, f"{path} names no receiver")
        return
    for receiver in dict.fromkeys(matched.receivers):
        base = Decision(receiver, path, Action.SEND, now, "", cool_down_ms=matched.cool_down_ms)
        if transition not in matched.tell:
            yield base.nothing(f"{path} doesn't tell of {transition.replace('_', ' ')}")
            continue
        if matched.digest is not None:
            if transition in ENDING:
                yield base.nothing("the digest says how it ended")
                continue
            due = next_time(local, matched.digest)
            yield replace(
                base, action=Action.DIGEST, due_ms=due, reason=f"{path}: in the digest of {_clock(due, local)}"
            )
            continue
        until = quiet_until(matched.quiet, incident.severity, local)
        if until is None:
            through = quiet_until(matched.quiet, "", local) is not None  # no severity of that name comes through
            told = f"; quiet hours let {incident.severity} through" if through else ""
            yield replace(base, reason=f"{path}: {_why(matched.route.match)}{told}")
        else:
            told = f"{path}: quiet hours, held until {_clock(until, local)}"
            yield replace(base, action=Action.HOLD, due_ms=until, reason=told)
        if transition not in RAISING:
            continue
    if transition not in RAISING or transition not in matched.tell or matched.digest is not None:
        return
    begin = quiet_until(matched.quiet, incident.severity, local) or now
    for i, step in enumerate(matched.escalate, start=1):
        for receiver in dict.fromkeys(step.receivers):
            due = begin + step.after
            told = f"{path}: unless somebody acknowledges it within {_length(step.after)}"
            yield Decision(receiver, path, Action.ESCALATE, due, told, step=i)


# -- what a route asks for -------------------------------------------------------------------------------------------------


def mismatch(match: Match, incident: Facts, transition: str, local: datetime) -> str | None:
    """Why an incident is not what a route asks for; None where it is."""
    asked: tuple[tuple[str, Sequence[str], Sequence[str]], ...] = (
        ("building", match.building, (incident.building_id,)),
        ("type", match.type, (incident.device_type,)),
        ("device", match.device, (incident.device_id,)),
        ("severity", match.severity, (incident.severity,)),
        ("rule", match.rule, incident.rules),
        ("metric", match.metric, incident.metrics),
        ("kind", match.kind, incident.kinds),
        ("scope", match.scope, (incident.scope,)),
        ("transition", match.transition, (transition,)),
    )
    for name, wanted, has in asked:
        if wanted and not any(fnmatchcase(value, pattern) for value in has for pattern in wanted):
            return f"its {name} is {', '.join(has) or 'none'}"
    if match.during and not any(inside(hours, local) for hours in match.during):
        return f"it is {DAYS[local.weekday()]} {local:%H:%M} there"
    return None


def inside(hours: Hours, local: datetime) -> bool:
    """Whether a local time is in some hours."""
    return _stretch(hours, local) is not None


def quiet_until(quiet: Sequence[Quiet], severity: str, local: datetime) -> int | None:
    """When the quiet hours end that hold for a severity, epoch milliseconds; None outside of them.

    Hours that follow one another count as one.
    """
    binding = [hours for hours in quiet if severity not in hours.but]
    moment = local
    for _ in range(8 * max(1, len(binding))):
        ends = [end for hours in binding if (end := _stretch(hours, moment)) is not None]
        if not ends:
            break
        moment = max(ends)
    return None if moment == local else to_ms(_later(moment, local))


def _stretch(hours: Hours, local: datetime) -> datetime | None:
    """End of the stretch of some hours that a local time is in, or None."""
    minutes = local.hour * 60 + local.minute
    yesterday = (local.weekday() - 1) % 7
    if hours.start < hours.until:
        within = local.weekday() in hours.days and hours.start <= minutes < hours.until
        return _at(local, hours.until) if within else None
    if local.weekday() in hours.days and minutes >= hours.start:
        return _at(local + timedelta(days=1), hours.until)
    return _at(local, hours.until) if yesterday in hours.days and minutes < hours.until else None


def next_time(local: datetime, minutes: int) -> int:
    """When a local clock next shows a time of day, epoch milliseconds, always later than now."""
    today = _later(_at(local, minutes), local)
    return to_ms(today if to_ms(today) > to_ms(local) else _at(local + timedelta(days=1), minutes))


def _later(moment: datetime, local: datetime) -> datetime:
    """The second of two equal hours, when summer time ends, where the first one is past."""
    again = moment.replace(fold=1)
    return again if to_ms(moment) <= to_ms(local) < to_ms(again) else moment


def _at(day: datetime, minutes: int) -> datetime:
    """A time of day on the day of a local time; 24:00 is the next day's midnight. Wall clock, so summer time is kept."""
    midnight = day.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    later = midnight + timedelta(days=minutes // 1440)
    return later.replace(hour=minutes % 1440 // 60, minute=minutes % 60)


def _clock(at_ms: int, local: datetime) -> str:
    return f"{to_datetime(at_ms).astimezone(local.tzinfo):%a %H:%M}"


def _length(period_ms: int) -> str:
    minutes = period_ms / 60_000
    if minutes < 2:
        return f"{period_ms / 1000:g} s"
    return f"{minutes:g} min" if minutes < 120 else f"{minutes / 60:g} h"


def _why(match: Match) -> str:
    asked = {
        name: getattr(match, name) for name in type(match).model_fields if name != "during" and getattr(match, name)
    }
    told = [f"{name} {' or '.join(values)}" for name, values in asked.items()]
    if match.during:
        told.append("the time of the week")
    return ", ".join(told) or "it takes every incident"
