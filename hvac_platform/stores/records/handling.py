"""What the platform and people make of incidents: their states, their history, what is to be told, and what is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from hvac_platform.stores.records.record import Record


@dataclass(frozen=True, slots=True)
class IncidentHandling(Record):
    """Where an incident stands. What is computed of it is an :class:`~hvac_platform.stores.records.Incident`.

    Attributes:
        state: see :class:`hvac_platform.monitoring.lifecycle.State`.
        since: when it came into this state, epoch milliseconds.
        actor: who brought it there: a person, or ``platform``.
        assignee: who takes care of it.
        snoozed_until: end of the snooze; None where it is not snoozed.
        openings: how often it was opened or opened again; 0 of one that never was.
        reopened_at: when a person last opened it again; what ended before that does not resolve it.
        labels: that people gave it.
        severity: worst severity that its history has.
        faults: rules that its history has.
        parent_id: parent that its history has.
        continues: id of the incident that it was merged into.
    """

    TABLE = "incident_handling"

    device_id: str
    incident_id: str
    state: str
    since: int
    actor: str
    assignee: str | None
    snoozed_until: int | None
    openings: int
    reopened_at: int | None
    labels: list[str]
    severity: str
    faults: list[str]
    parent_id: str | None
    continues: str | None
    updated_at: int


@dataclass(frozen=True, slots=True)
class IncidentTransition(Record):
    """Something that happened to an incident; never changed, never taken away.

    Attributes:
        transition_key: of what the platform does ``opened``, ``resolved``, ``resolved/2``, so that doing it again is the
            same row; of what people do ``acknowledged/TIME``.
        at: when, epoch milliseconds.
        actor: a person, or ``platform``.
        details: what belongs to it, by name.
    """

    TABLE = "incident_transitions"

    device_id: str
    incident_id: str
    transition_key: str
    transition: str
    at: int
    actor: str
    note: str
    details: dict[str, object]


@dataclass(frozen=True, slots=True)
class OutboxMessage(Record):
    """A transition that people may want to hear of, or a message that was made of some; see ``schema/tables.yaml``.

    Attributes:
        kind: ``transition`` or ``message``.
        state: new or planned of a transition; waiting, sent or dead of a message; suppressed or superseded of both.
        incidents: ids of the incidents that it is of.
        details: what belongs to it, by name.
        error: what the receiver said last; the name of the suppression where it is suppressed.
    """

    TABLE = "alert_outbox"

    date: str
    queued_at: int
    message_key: str
    kind: str
    state: str
    incident_id: str
    device_id: str
    transition: str
    route: str | None
    receiver: str | None
    incidents: list[str]
    details: dict[str, object]
    attempts: int
    next_attempt_at: int | None
    sent_at: int | None
    error: str | None
    updated_at: int


class StoredMatches(TypedDict, total=False):
    """What a suppression holds for: shell patterns, all of which have to fit; what is missing fits everything."""

    device: str
    point: str
    rule: str
    building: str


class StoredCalendar(TypedDict, total=False):
    """When a suppression holds; what is missing does not restrict it.

    Attributes:
        weekdays: names of three letters, mon to sun.
        hours: ``22:00-06:00``, local time; over midnight the part after it belongs to the day before.
        dates: ``2026-12-24`` or ``2026-12-24/2027-01-06``, local days; both ends included.
        holidays: names of lists of days that the file of suppressions has.
        timezone: IANA name.
    """

    weekdays: list[str]
    hours: str
    dates: list[str]
    holidays: list[str]
    timezone: str


@dataclass(frozen=True, slots=True)
class Suppression(Record):
    """Recurring times at which nobody is told of certain incidents.

    Attributes:
        scope: ``all``; they are read together.
    """

    TABLE = "alert_suppressions"

    scope: str
    suppression_id: str
    matches: StoredMatches
    calendar: StoredCalendar
    note: str
    added_by: str
    added_at: int
