"""The incident that tells of a lasting change: one for each, whatever number of windows and incidents it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hvac_platform.config import Settings
from hvac_platform.monitoring.incident_history import history_batches
from hvac_platform.monitoring.incidents import IncidentChanges, blank_incident
from hvac_platform.monitoring.lasting import LASTING, ChangeState, evidence_line, sentence_of
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.batches import TableBatch
from hvac_platform.stores.records import Incident, LastingChange

BESIDE_MS = 1_000
"""An incident has its device and start as key: the one of the first windows has the whole minute."""
URGENT, NORMAL_PRIORITY = 3, 4
CLOSED = frozenset({ChangeState.LEARNED, ChangeState.OVER})


def notice_batches(
    store: Store, settings: Settings, device: Device, change: LastingChange, now_ms: int
) -> Iterator[TableBatch]:
    """Rows of the incident that tells of a change, and of where it stands; the same again on each night."""
    incident = notice_of(device, change, now_ms)
    before = Incident.first(store, device.device_id, (incident.started_at, incident.started_at + 1))
    if before is None and change.state == ChangeState.OVER:
        return
    yield TableBatch(Incident.columns([incident], only=Incident.all_but("label")), table=Incident.TABLE)
    changes = IncidentChanges(present={incident.incident_id: incident.started_at})
    yield from history_batches(
        store, settings, {device.device_id: changes}, now_ms=now_ms, open_past=before is not None
    )


def notice_of(device: Device, change: LastingChange, now_ms: int) -> Incident:
    """The incident of a change: urgent where something speaks against learning it."""
    held = change.state in (ChangeState.HELD, ChangeState.FAULT)
    evidence = [evidence_line(one) for one in change.evidence]
    made = blank_incident(device, change.since + BESIDE_MS, change.seen_until, URGENT if held else NORMAL_PRIORITY)
    return replace(
        made,
        incident_id=change.incident_id,
        status="closed" if change.state in CLOSED else "open",
        windows=change.windows,
        peak_score=1.0,
        methods={LASTING: change.windows},
        metrics=list(change.metrics),
        reasons=[sentence_of(change), *evidence],
        signature=dict(change.signature),
        urgency=50.0 if held else 30.0,
        updated_at=now_ms,
    )
