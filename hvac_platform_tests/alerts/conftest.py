"""Incidents in a real store, and receivers on loopback."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvac_platform.alerts.delivery import Deliverer
from hvac_platform.alerts.outbox import read_outbox, write
from hvac_platform.alerts.tree import parse_tree
from hvac_platform.config import Settings
from hvac_platform.stores.records import (
    AnomalyEvent,
    Device,
    Incident,
    IncidentHandling,
    IncidentTransition,
    OutboxMessage,
)
from hvac_platform.timestamps import day_of
from hvac_platform_tests.alerts.servers import HttpReceiver, SmtpReceiver
from hvac_platform_tests.conftest import MINUTE_MS, NOON_MS


@pytest.fixture
def http():
    receiver = HttpReceiver()
    yield receiver
    receiver.close()


@pytest.fixture
def smtp():
    receiver = SmtpReceiver()
    yield receiver
    receiver.close()


def incident(device_id="RTU-001", started_at=NOON_MS, **changes):
    """An incident that goes on."""
    made = Incident(
        device_id=device_id,
        started_at=started_at,
        ended_at=started_at + 10 * MINUTE_MS,
        incident_id=f"{device_id}/{started_at}",
        status="open",
        severity="critical",
        level=2,
        windows=10,
        peak_score=3.0,
        methods={"rules": 10},
        rules=["rtu-1"],
        metrics=["supply_air_temp", "fan_speed"],
        reasons=["supply air is 78.1 °F while cooling"],
        signature={"supply_air_temp": 4.0},
        kinds=[{"kind": "stuck_valve", "title": "stuck cooling valve", "similarity": 0.91}],
        similar=[],
        scope="local",
        cause="",
        excess_kwh=None,
        device_type="rooftop_unit",
        location="roof east",
        building_id="bldg-001",
        updated_at=started_at,
        label=None,
        parent_id=None,
        urgency=None,
    )
    return replace(made, **changes)


class Happenings:
    """Writes what the lifecycle writes: incidents, where they stand, and transitions that are to be told."""

    def __init__(self, store):
        self.store = store

    def record(self, *incidents):
        self.store.upsert(Incident.TABLE, Incident.columns(incidents))
        found = [
            AnomalyEvent(
                i.device_id,
                i.ended_at - MINUTE_MS,
                f"{i.device_id}/{i.ended_at}",
                3.0,
                "rule",
                ["rules"],
                2,
                i.reasons,
                i.metrics,
                {"supply_air_temp": 78.1, "fan_speed": 91.0},
                i.device_type,
                i.location,
                i.building_id,
            )
            for i in incidents
        ]
        self.store.upsert(AnomalyEvent.TABLE, AnomalyEvent.columns(found))
        self.store.register_devices(
            [
                Device(i.device_id, i.device_type, i.location, i.building_id, i.started_at, i.ended_at, 0)
                for i in incidents
            ]
        )

    def happens(self, transition, *incidents, at_ms=NOON_MS, state=None, **details):
        """Transitions of some incidents at once, and where they stand from then on."""
        base = transition.partition("/")[0]
        now = {"opened": "open", "reopened": "open", "worsened": "open", "woken": "open"}.get(base, base)
        write(self.store, [transition_row(i, transition, at_ms, details) for i in incidents])
        history = [
            IncidentTransition(i.device_id, i.incident_id, transition, base, at_ms, "platform", "", {})
            for i in incidents
        ]
        self.store.upsert(IncidentTransition.TABLE, IncidentTransition.columns(history))
        self.stands(state or now, *incidents, at_ms=at_ms)

    def stands(self, state, *incidents, at_ms=NOON_MS):
        rows = [handling(i, state, at_ms) for i in incidents]
        self.store.upsert(IncidentHandling.TABLE, IncidentHandling.columns(rows))


def handling(i, state, at_ms):
    return IncidentHandling(
        device_id=i.device_id,
        incident_id=i.incident_id,
        state=state,
        since=at_ms,
        actor="platform",
        assignee=None,
        snoozed_until=None,
        labels=[],
        severity=i.severity,
        faults=i.rules,
        parent_id=i.parent_id,
        continues=None,
        openings=1,
        reopened_at=None,
        updated_at=at_ms,
    )


def transition_row(i, transition, at_ms, details=None):
    return OutboxMessage(
        date=day_of(at_ms),
        queued_at=at_ms,
        message_key=f"{i.incident_id}#{transition}",
        kind="transition",
        state="new",
        incident_id=i.incident_id,
        device_id=i.device_id,
        transition=transition.partition("/")[0],
        route=None,
        receiver=None,
        incidents=[i.incident_id],
        details=details or {},
        attempts=0,
        next_attempt_at=None,
        sent_at=None,
        error=None,
        updated_at=at_ms,
    )


@pytest.fixture
def happenings(store):
    return Happenings(store)


class Clock:
    """A clock that tests set."""

    def __init__(self, at_ms=NOON_MS):
        self.at_ms = at_ms

    def __call__(self):
        return self.at_ms

    def passes(self, ms):
        self.at_ms += ms


@pytest.fixture
def clock():
    return Clock()


class Alerts:
    """A deliverer over a tree, and what it wrote."""

    def __init__(self, store, clock, text, **environment):
        self.store, self.clock, self.printed, self.troubles = store, clock, [], []
        self.tree = parse_tree(text, environment)
        self.settings = Settings(hvac_dashboard_url="https://hvac.example.com")
        self.deliverer = self.started()

    def started(self):
        """Another deliverer, as after a restart."""
        return Deliverer(
            self.store,
            self.settings,
            tree=self.tree,
            clock=self.clock,
            write=self.printed.append,
            on_trouble=self.troubles.append,
        )

    def deliver(self):
        assert self.deliverer.deliver_everything(300)

    def rows(self, kind="message", **equals):
        return read_outbox(self.store, self.clock.at_ms, kind=kind, **equals)

    def titles(self):
        return [text.splitlines()[0] for text in self.printed]


@pytest.fixture
def alerts(store, clock):
    """Makes an :class:`Alerts` of a tree."""
    made = []

    def make(text, **environment):
        made.append(Alerts(store, clock, text, **environment))
        return made[-1]

    yield make
    for one in made:
        one.deliverer.close()
