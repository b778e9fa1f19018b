"""Incidents of what can't wait: opened on a window that nobody has judged yet, confirmed or taken back by its judgement.

The incident has the id that it has when the window is judged: the device and the start of the window. It is opened once, and
only by rules of level 1 and 2 that have held for as long as they say; where an incident like it goes on, it is that one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from hvac_platform.config import Settings
from hvac_platform.monitoring.incident_history import LARGE, history_batches
from hvac_platform.monitoring.incident_identity import GRACE_MS
from hvac_platform.monitoring.incident_windows import RULE_ID
from hvac_platform.monitoring.incidents import IncidentChanges, blank_incident
from hvac_platform.monitoring.lifecycle import PROVISIONAL, words_of_people
from hvac_platform.monitoring.provisional import RECENT_MS, ProvisionalEvent, may_be_urgent, provisional_events
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.batches import TableBatch
from hvac_platform.stores.records import Incident, LatestReading

URGENT_LEVEL = 2
"""Of less severe ones people hear when they are confirmed."""
LOOK_SECONDS, LOOK_SHARE = 5.0, 0.02
"""Readings are looked at so often, and so seldom that it takes that share of the time."""
MOST_SUSPECTS = 20
"""Devices that are looked into at a time."""


class UrgentLook:
    """Looks at the readings of open windows every few seconds.

    Attributes:
        waiting: start of the window by device, of incidents that wait for its judgement.

    Args:
        store: has readings, snapshots and incidents.
        settings: window and quiet time.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._due = 0.0
        self.waiting: dict[str, int] = {}

    def batches(self, now_ms: int) -> Iterator[TableBatch]:
        """Rows of incidents that what can't wait opens; none when it is too early to look again."""
        began = time.monotonic()
        if began < self._due:
            return
        yield from self.look(now_ms)
        took = time.monotonic() - began
        self._due = began + max(LOOK_SECONDS, took / LOOK_SHARE)

    def look(self, now_ms: int) -> Iterator[TableBatch]:
        """Look now."""
        self.waiting = {device_id: at for device_id, at in self.waiting.items() if at > now_ms - RECENT_MS}
        if LatestReading.first(self._store, only=("device_id",)) is None:
            return
        devices = {device.device_id: device for device in self._store.devices()}
        windows = {device_id: device.window(self._settings) for device_id, device in devices.items()}
        latest = _latest_values(self._store, windows)
        types = {device_id: devices[device_id].device_type for device_id in latest}
        suspects = may_be_urgent([(d, latest[d]) for d in types], types, windows) - self.waiting.keys()
        for device_id in sorted(suspects)[:MOST_SUSPECTS]:
            events = [
                event
                for event in provisional_events(self._store, devices[device_id], windows[device_id], now_ms)
                if event.level <= URGENT_LEVEL
            ]
            incident = _new_incident(self._store, self._settings, devices[device_id], events, now_ms)
            if incident is None:
                continue
            self.waiting[device_id] = incident.started_at
            yield TableBatch(Incident.columns([incident]), table=Incident.TABLE)
            changes = {device_id: IncidentChanges(present={incident.incident_id: incident.started_at})}
            yield from history_batches(self._store, self._settings, changes, now_ms=now_ms)


def _latest_values(store: Store, windows: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """Latest values of the newest open window of each device, by metric; none of windows of a former length."""
    found: dict[str, tuple[int, dict[str, float]]] = {}
    for batch in LatestReading.batches(store, only=("device_id", "window_start", "metric_name", "metric_value")):
        for row in batch:
            if row.device_id not in windows or row.window_start % windows[row.device_id]:
                continue
            start, values = found.setdefault(row.device_id, (row.window_start, {}))
            if row.window_start > start:
                found[row.device_id] = row.window_start, {row.metric_name: row.metric_value}
            elif row.window_start == start:
                values[row.metric_name] = row.metric_value
    return {device_id: values for device_id, (_, values) in found.items()}


def _new_incident(
    store: Store, settings: Settings, device: Device, events: Sequence[ProvisionalEvent], now_ms: int
) -> Incident | None:
    """The incident of the first window that no incident like it covers; None where there is none."""
    if not events:
        return None
    known = Incident.read(store, device.device_id, (None, events[-1].detected_at + 1), only=Incident.all_but(*LARGE))
    closed_ms = words_of_people(store, device.device_id).closed_ms if known else {}
    for event in events:
        names = {*_rules(event), *event.metrics[:1]}
        if any(incident.started_at == event.detected_at for incident in known):
            continue
        if any(_covers(incident, event, names, settings.incident_quiet_ms, closed_ms) for incident in known):
            continue
        made = blank_incident(device, event.detected_at, event.detected_at + device.window(settings), event.level)
        if any(incident.incident_id == made.incident_id for incident in known):
            continue
        return replace(
            made,
            status="open",
            windows=1,
            peak_score=float(5 - event.level),
            methods={PROVISIONAL: 1},
            rules=_rules(event),
            metrics=list(event.metrics),
            reasons=list(event.reasons),
            updated_at=now_ms,
        )
    return None


def _rules(event: ProvisionalEvent) -> list[str]:
    return [found[1] for reason in event.reasons if (found := RULE_ID.search(reason))]


def _covers(
    incident: Incident, event: ProvisionalEvent, names: set[str], quiet_ms: int, closed_ms: Mapping[str, int]
) -> bool:
    """Whether the window is of an incident that is there: one like it that goes on, or that was closed a moment ago."""
    if event.detected_at - incident.ended_at > quiet_ms or not names & {*incident.rules, *incident.metrics}:
        return False
    closed = closed_ms.get(incident.incident_id)
    return closed is None or event.detected_at <= closed + GRACE_MS
