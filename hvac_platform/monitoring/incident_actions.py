"""What people do with incidents, in the words that the command line, the pages and the API share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hvac_platform.monitoring import lifecycle
from hvac_platform.monitoring.lifecycle import ALLOWED, NotAllowedError, State, Transition
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import Incident, IncidentHandling

ACTIONS = {
    "ack": Transition.ACKNOWLEDGED,
    "assign": Transition.ASSIGNED,
    "snooze": Transition.SNOOZED,
    "resolve": Transition.RESOLVED,
    "reopen": Transition.REOPENED,
    "false-alarm": Transition.FALSE_ALARM,
    "comment": Transition.COMMENTED,
    "label": Transition.LABELLED,
}
"""Transition by name; the names are those of the commands of ``hvac incidents``."""
OF_ONE = frozenset({"comment", "label"})
"""What is said of one incident alone, never of those that are part of it too."""
LONGEST_NOTE, LONGEST_NAME = 2_000, 128
LONGEST_SNOOZE_MS = 366 * 86_400_000


class UnusableActionError(NotAllowedError):
    """An action can be done to no incident, however it stands: something of it is missing, too long or past; says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What is to be done.

    Attributes:
        name: of :data:`ACTIONS`.
        note: what is said about it; a comment needs one.
        to: who takes care of it, for ``assign``; empty for nobody.
        until_ms: end of a snooze, epoch milliseconds.
        label: what it turned out to be, for ``label``; empty takes back what was said.
    """

    name: str
    note: str = ""
    to: str = ""
    until_ms: int | None = None
    label: str = ""


def possible(state: State) -> list[str]:
    """Names of what can be done with an incident that stands so.

    >>> possible(State.RESOLVED)
    ['reopen', 'false-alarm', 'comment', 'label']
    """
    return [name for name, transition in ACTIONS.items() if state in ALLOWED[transition]]


def perform(
    store: Store, incident: Incident, action: Action, *, by: str, at_ms: int, parts: Iterable[Incident] = ()
) -> int:
    """Do it to an incident, and to those that are part of it as far as it is possible there.

    Args:
        store: keeps incidents.
        incident: to which one.
        action: what.
        by: who does it.
        at_ms: the present.
        parts: incidents of other devices that belong to it; nothing is done to them by ``comment`` and ``label``.

    Returns:
        Number of the parts that it was done to.

    Raises:
        UnusableActionError: it can be done to no incident, because something of it is missing or too long; says what.
        NotAllowedError: the incident is in a state in which that can't be done; says which.
    """
    _require(action, at_ms)
    _do(store, incident, action, by, at_ms)
    done = 0
    for part in () if action.name in OF_ONE else parts:
        try:
            _do(store, part, action, by, at_ms)
        except NotAllowedError:
            continue
        done += 1
    return done


def _require(action: Action, at_ms: int) -> None:
    if action.name not in ACTIONS:
        raise UnusableActionError(f"no action {action.name[:60]!r}: {', '.join(ACTIONS)}")
    if action.name == "comment" and not action.note.strip():
        raise UnusableActionError("a comment says something: note is empty")
    if len(action.note) > LONGEST_NOTE:
        raise UnusableActionError(f"a note has at most {LONGEST_NOTE:,} characters, this one {len(action.note):,}")
    for name, text in (("to", action.to), ("label", action.label)):
        if len(text) > LONGEST_NAME or not text.isprintable():
            raise UnusableActionError(f"{name}: at most {LONGEST_NAME} characters of one line")
    if action.name == "snooze" and (action.until_ms is None or action.until_ms <= at_ms):
        raise UnusableActionError("a snooze ends later than now")
    if action.name == "snooze" and action.until_ms is not None and action.until_ms > at_ms + LONGEST_SNOOZE_MS:
        raise UnusableActionError("a snooze lasts at most 366 days")


def _do(store: Store, incident: Incident, action: Action, by: str, at_ms: int) -> IncidentHandling:
    note = action.note.strip()
    match ACTIONS[action.name]:
        case Transition.ACKNOWLEDGED:
            return lifecycle.acknowledge(store, incident, by=by, at_ms=at_ms, note=note)
        case Transition.ASSIGNED:
            return lifecycle.assign(store, incident, action.to.strip(), by=by, at_ms=at_ms, note=note)
        case Transition.SNOOZED:
            return lifecycle.snooze(store, incident, action.until_ms or 0, by=by, at_ms=at_ms, note=note)
        case Transition.RESOLVED:
            return lifecycle.resolve(store, incident, by=by, at_ms=at_ms, note=note)
        case Transition.REOPENED:
            return lifecycle.reopen(store, incident, by=by, at_ms=at_ms, note=note)
        case Transition.FALSE_ALARM:
            return lifecycle.mark_false_alarm(store, incident, by=by, at_ms=at_ms, note=note)
        case Transition.COMMENTED:
            return lifecycle.comment(store, incident, note, by=by, at_ms=at_ms)
        case _:
            return lifecycle.label(
                store, incident, [action.label.strip()] * bool(action.label.strip()), by=by, at_ms=at_ms
            )
