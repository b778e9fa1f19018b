"""Anomalous windows straight into a store, as detection writes them, and passes over them at a time of the test's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

from hvac_platform.config import load_settings
from hvac_platform.monitoring.passes import IncidentsPass, Span
from hvac_platform.stores.base import Device
from hvac_platform.stores.batches import write_batch
from hvac_platform.stores.records import (
    AnomalyEvent,
    Incident,
    IncidentHandling,
    IncidentTransition,
    OutboxMessage,
    Verdict,
)
from hvac_platform.timestamps import DAY_MS, day_of
from hvac_platform_tests.conftest import HOUR_MS, MIDNIGHT_MS, MINUTE_MS

NIGHT_MS = MIDNIGHT_MS
RULES = {"high head pressure": ("ch-1", 3), "compressor off": ("ch-2", 2), "low superheat": ("ch-3", 4)}
"""Faults of the tests: the rule that tells each, and its level."""


def minute(number: float) -> int:
    """An instant, so many minutes after the midnight at which the tests begin."""
    return MIDNIGHT_MS + round(number * MINUTE_MS)


def anomalous(store, device_id, minutes, fault="high head pressure", *, metric=None):
    """Anomalous windows of a fault."""
    rule, level = RULES[fault]
    metrics = [metric or f"{rule} metric"]
    reasons = [f"{fault} ({rule})"]
    times = [minute(m) for m in minutes]
    events = [
        AnomalyEvent(
            device_id, t, f"{device_id}/{t}", 2.0, "rule", ["rules"], level, reasons, metrics, {}, "chiller", "", "b-1"
        )
        for t in times
    ]
    verdicts = [
        Verdict(device_id, day_of(t), t, "rules", float(5 - level), True, level, reasons, metrics, 0, 1) for t in times
    ]
    store.upsert(AnomalyEvent.TABLE, AnomalyEvent.columns(events))
    store.upsert(Verdict.TABLE, Verdict.columns(verdicts))


def normal(store, device_id, minutes):
    """Those windows are not anomalous after all."""
    times = [minute(m) for m in minutes]
    store.delete(AnomalyEvent.TABLE, {"device_id": [device_id] * len(times), "detected_at": times})


def heard(store, device_ids, number, building="b-1"):
    """The devices are registered, and were heard last at a minute."""
    devices = [Device(d, "chiller", "roof", building, MIDNIGHT_MS, minute(number), 0) for d in device_ids]
    store.register_devices(devices)


@dataclass
class Clock:
    """Passes over the incidents of a store, each at a minute.

    Attributes:
        store: the store.
        days: how many days from midnight on are looked at.
    """

    store: object
    days: int = 3

    def incidents_pass(self, number, **options):
        """The pass, not done yet."""
        settings = replace_settings(**options.pop("settings", {}))
        end_ms = MIDNIGHT_MS + self.days * DAY_MS
        spans = [Span(device, MIDNIGHT_MS, end_ms) for device in self.store.devices()]
        return IncidentsPass(self.store, settings, options.pop("spans", spans), now_ms=minute(number), **options)

    def look(self, number, **options):
        """All devices were heard at a minute, and the incidents are computed then."""
        heard(self.store, [d.device_id for d in self.store.devices()], number)
        self.again(number, **options)

    def again(self, number, *, most=None, **options):
        """Incidents are computed at a minute; killed after so many batches of rows."""
        found = self.incidents_pass(number, **options)
        for batch in islice(found.batches(), most):
            write_batch(self.store, found.table, batch)
        assert not found.failed, found.failed


def replace_settings(**changes):
    """Settings of the test's environment with some of them changed."""
    return load_settings().model_copy(update=changes)


def incidents(store, device_id=None):
    """Incidents by id."""
    found = Incident.read(store, device_id)
    by_id = {incident.incident_id: incident for incident in found}
    assert len(by_id) == len(found)
    return by_id


def states(store, device_id=None):
    """State of each incident that somebody was told of, or that was recorded after the fact."""
    return {h.incident_id: h.state for h in IncidentHandling.read(store, device_id)}


def history(store, incident_id):
    """What has happened to an incident, in order."""
    found = [t for t in IncidentTransition.read(store) if t.incident_id == incident_id]
    return [t.transition_key.split("/")[0] for t in sorted(found, key=lambda t: t.at)]


def queued(store, state="new"):
    """Keys of the transitions that are to be told."""
    return sorted(m.message_key for m in OutboxMessage.read(store) if m.state == state)


def rows_of(store):
    """All that is kept of incidents, but for when it was written."""
    content = [replace(i, updated_at=0) for i in Incident.read(store)]
    handling = [replace(h, updated_at=0, since=0) for h in IncidentHandling.read(store)]
    transitions = [replace(t, at=0) for t in IncidentTransition.read(store)]
    outbox = [replace(m, updated_at=0, queued_at=0, details={}) for m in OutboxMessage.read(store)]
    return content, handling, transitions, outbox


__all__ = ["HOUR_MS", "MINUTE_MS"]
