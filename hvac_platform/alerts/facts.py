"""What routing knows of an incident."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hvac_platform.stores.records import Incident

PLATFORM = "platform"
"""Device of the platform's own incidents: ingestion that stands, runs that fail, receivers that can't be reached."""
RANK = {"info": 0, "warning": 1, "critical": 2}
SHARED_SCOPES = ("fleet", "plant")
"""Scopes of incidents that have others as their parts."""
FEW = 3


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one incident, what decides who hears of it.

    Attributes:
        metrics: what moved, most important first.
        kinds: kinds of fault that it resembles, most alike first.
        scope: local, fleet, plant, or platform for an incident of the platform itself.
        parent_id: the incident that this one is part of, or None.
        since_ms: when it began; 0 where that is not known.
        until_ms: when it ended by the data; 0 where it goes on, or that is not known.
    """

    incident_id: str
    device_id: str
    device_type: str = ""
    location: str = ""
    building_id: str = ""
    severity: str = "info"
    rules: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    scope: str = "local"
    parent_id: str | None = None
    since_ms: int = 0
    until_ms: int = 0

    @property
    def family(self) -> str:
        """The incident that stands for all that belong together."""
        return self.parent_id or self.incident_id

    def alike(self, other: Facts) -> bool:
        """Whether another incident is of the same fault, as far as rules and leading metrics say."""
        same_rules = set(self.rules) & set(other.rules)
        same_metrics = set(self.metrics[:FEW]) & set(other.metrics[:FEW])
        nothing_known = not (self.rules or self.metrics or other.rules or other.metrics)
        return self.device_id == other.device_id and bool(same_rules or same_metrics or nothing_known)


def facts_of(incident: Incident) -> Facts:
    """The facts of a stored incident."""
    return Facts(
        incident_id=incident.incident_id,
        device_id=incident.device_id,
        device_type=incident.device_type,
        location=incident.location or "",
        building_id=incident.building_id or "",
        severity=incident.severity,
        rules=tuple(incident.rules),
        metrics=tuple(incident.metrics),
        kinds=tuple(kind["kind"] for kind in incident.kinds),
        scope=incident.scope,
        parent_id=incident.parent_id,
        since_ms=incident.started_at,
        until_ms=incident.ended_at if incident.status == "closed" else 0,
    )
