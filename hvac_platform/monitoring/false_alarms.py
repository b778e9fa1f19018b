"""What people have called a false alarm, and which incidents are like one: those are recorded, and nobody is told again."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hvac_platform.detection.lasting import same_way
from hvac_platform.detection.signatures import KNOWN
from hvac_platform.monitoring.lasting import LASTING
from hvac_platform.monitoring.lifecycle import State
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import Incident, IncidentHandling
from hvac_platform.timestamps import DAY_MS, iso

MOST_LOOKED_AT = 20
HOURS_MS = 3 * 3_600_000
WORSE = 1.5
"""An incident whose score is so much higher than the false alarm's is not like it."""
DANGER = 2
LEADING = 3


@dataclass(frozen=True, slots=True)
class Like:
    """The false alarm that an incident is like, and how much: a cosine."""

    incident_id: str
    similarity: float

    @property
    def reason(self) -> str:
        """Why nobody is told, in words."""
        return f"like the false alarm {self.incident_id} (similarity {self.similarity:.2f})"


@dataclass
class FalseAlarms:
    """False alarms by device, read when first asked for."""

    store: Store
    _by_device: dict[str, list[Incident]] = field(default_factory=dict)

    def of_device(self, device_id: str) -> list[Incident]:
        """The newest incidents of a device that somebody has called false alarms."""
        if device_id not in self._by_device:
            handled = IncidentHandling.read(self.store, device_id, equals={"state": str(State.FALSE_ALARM)})
            newest = sorted(handled, key=lambda handling: -handling.since)[:MOST_LOOKED_AT]
            named = (
                Incident.first(self.store, device_id, equals={"incident_id": handling.incident_id})
                for handling in newest
            )
            self._by_device[device_id] = [one for one in named if one is not None and LASTING not in one.methods]
        return self._by_device[device_id]

    def like(self, incident: Incident) -> Like | None:
        """The false alarm that an incident is most like; None where it is like none, or a danger to life or machine."""
        if incident.level <= DANGER or LASTING in incident.methods:
            return None
        likes = [
            Like(past.incident_id, round(similarity, 4))
            for past in self.of_device(incident.device_id)
            if past.incident_id != incident.incident_id and past.started_at < incident.started_at
            for similarity in [likeness(past, incident)]
            if similarity >= KNOWN
        ]
        return max(likes, key=lambda like: like.similarity, default=None)

    def about(self, incident: Incident) -> int:
        """How many false alarms of the device were about a metric that leads this incident."""
        leading = {*incident.metrics[:LEADING]}
        return sum(
            bool(leading & {*past.metrics[:LEADING]})
            for past in self.of_device(incident.device_id)
            if past.incident_id != incident.incident_id
        )


def likeness(past: Incident, incident: Incident) -> float:
    """How alike an incident is to a false alarm, 0 to 1: by signature, where its context is the same, else 0.

    The context: no rule but those of the false alarm, no more severe, a score not much higher, and near its time of the day.
    Incidents that rules alone speak for have no signature: they are alike where the rules are the same.
    """
    if {*incident.rules} - {*past.rules} or incident.level < past.level:
        return 0.0
    if incident.peak_score > WORSE * max(1.0, past.peak_score) or not _near_in_the_day(past, incident):
        return 0.0
    if not past.signature or not incident.signature:
        return 1.0 if past.rules and {*past.rules} == {*incident.rules} else 0.0
    names = [*past.signature, *(name for name in incident.signature if name not in past.signature)]
    one, other = (np.array([i.signature.get(name, 0.0) for name in names]) for i in (past, incident))
    return same_way(one, other)


def _near_in_the_day(past: Incident, incident: Incident) -> bool:
    begin, end = past.started_at - HOURS_MS, past.ended_at + HOURS_MS
    return end - begin >= DAY_MS or (incident.started_at - begin) % DAY_MS <= end - begin


def told_false_alarm(incident: Incident) -> str:
    """A false alarm for people."""
    return f"{incident.incident_id} of {iso(incident.started_at)[:16]}Z"
