"""Of which incidents nobody is told, and why: suppressed times, false alarms' like, parts of a change, low urgency."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hvac_platform.config import Settings
from hvac_platform.detection.urgency import Standing, notification_level, total, urgency, urgency_parts
from hvac_platform.monitoring.data_loss import DATA_LOSS
from hvac_platform.monitoring.false_alarms import FalseAlarms
from hvac_platform.monitoring.lasting import EXPECTED_LABEL, LASTING, going_on, part_of_change
from hvac_platform.monitoring.lifecycle import LASTING_ENDING
from hvac_platform.monitoring.stopped_points import STOPPED
from hvac_platform.monitoring.suppression import Suppressions
from hvac_platform.monitoring.worth import NO_PRICES, Prices, Worth, worth_of
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import Incident, LastingChange, StoredKind

if TYPE_CHECKING:
    from hvac_platform.detection.energy import EnergyModel

DANGER = 2
FACTS = frozenset({DATA_LOSS, STOPPED, LASTING})
"""What stands in place of a method in incidents that are no estimate: they are told at any urgency."""


def standing_of(incident: Incident, worth: Worth, false_alarms: int = 0) -> Standing:
    """What of an incident decides how urgent it is."""
    return Standing(
        severity=incident.severity,
        minutes=(incident.ended_at - incident.started_at) / 60_000,
        windows=incident.windows,
        methods=incident.methods,
        peak_score=incident.peak_score,
        rules=len(incident.rules),
        fleet_wide=incident.scope == "fleet",
        metrics=len(incident.metrics),
        like_a_fault=confirmed_like(incident) is not None,
        false_alarms=false_alarms,
        cost=worth.cost,
        comfort=worth.comfort,
        maintenance=worth.maintenance,
    )


def confirmed_like(incident: Incident) -> tuple[str, str, float] | None:
    """The earlier incident like it that somebody has called a fault: its id, the label and the similarity."""
    for similar in incident.similar:
        label = similar["label"]
        if similar["known"] and label and label.lower() != EXPECTED_LABEL:
            return similar["incident_id"], label, similar["similarity"]
    return None


@dataclass
class Known:
    """What people and the platform have said before, that incidents of a pass are compared with.

    Attributes:
        prices: of energy, for what an incident is worth.
    """

    store: Store
    false_alarms: FalseAlarms
    prices: Prices = NO_PRICES
    _changes: dict[str, LastingChange | None] = field(default_factory=dict)

    @classmethod
    def of(cls, store: Store, prices: Prices = NO_PRICES) -> Known:
        """Of a store; read when first asked for."""
        return cls(store, FalseAlarms(store), prices)

    def change(self, device_id: str) -> LastingChange | None:
        """The lasting change that goes on on a device."""
        if device_id not in self._changes:
            self._changes[device_id] = going_on(self.store, device_id)
        return self._changes[device_id]

    def applied(self, incident: Incident, energy: EnergyModel | None = None) -> Incident:
        """An incident with its urgency, and with what is known of its like: a false alarm, a confirmed fault, a change.

        Args:
            incident: as its windows have it.
            energy: what its device should draw; read from the store where it isn't given.
        """
        like = self.false_alarms.like(incident)
        if like is not None:
            incident = replace(incident, reasons=[*incident.reasons, f"{like.reason}: nobody is told"])
        confirmed = confirmed_like(incident)
        if confirmed is not None:
            name, label, similarity = confirmed
            kind: StoredKind = {
                "kind": "_".join(label.lower().split()),
                "title": f"{label}, as {name} was",
                "similarity": similarity,
            }
            incident = replace(incident, kinds=[kind, *incident.kinds])
        change = self.change(incident.device_id)
        if change is not None and incident.parent_id is None and part_of_change(change, incident):
            incident = replace(incident, parent_id=change.incident_id)
        worth = worth_of(self.store, incident, self.prices, energy)
        return replace(incident, urgency=urgency(standing_of(incident, worth, self.false_alarms.about(incident))))


@dataclass
class Quiet:
    """Decides of which incidents nobody is told.

    Attributes:
        suppressions: recurring times.
        level: points of urgency from which on people are told.
    """

    store: Store
    suppressions: Suppressions
    level: float
    known: Known

    @classmethod
    def of(cls, store: Store, settings: Settings, suppressions: Suppressions) -> Quiet:
        """By the settings and the fleet of a store."""
        level = notification_level(len(store.devices()), settings.hvac_false_notifications_per_day)
        return cls(store, suppressions, level, Known.of(store))

    def reason(self, incident: Incident, now_ms: int) -> str | None:
        """Why nobody is told of an incident; None where people are."""
        named = self.suppressions.matching(incident, now_ms)
        if named is not None:
            return named
        if FACTS & incident.methods.keys() or incident.level <= DANGER or incident.scope == "fleet":
            return None  # what many devices entered at once is told whole, and no chance
        if incident.parent_id is not None and incident.parent_id.endswith(LASTING_ENDING):
            return f"part of {incident.parent_id}, which was told"
        whole = Incident.first(self.store, incident.device_id, equals={"incident_id": incident.incident_id})
        like = self.known.false_alarms.like(whole) if whole is not None else None
        if like is not None:
            return like.reason
        points = incident.urgency if incident.urgency is not None else 100.0
        if points < self.level:
            return f"urgency {points:.0f}, below the notification level of {self.level:.0f}"
        return None


def urgency_now(store: Store, incident: Incident, worth: Worth) -> dict[str, float]:
    """Points of an incident's urgency by what they are for, as they would be kept if it were written now."""
    return urgency_parts(standing_of(incident, worth, FalseAlarms(store).about(incident)))


def explained_urgency(store: Store, settings: Settings, incident: Incident, worth: Worth | None = None) -> str:
    """Why an incident has the urgency that it has, and from which on people are told, in a sentence.

    Args:
        store: where it is.
        settings: the budget of false notifications, and the prices of energy.
        incident: which.
        worth: of it, where it is known already.
    """
    worth = worth or worth_of(store, incident, Prices.of(settings))
    parts = urgency_now(store, incident, worth)
    devices = len(store.devices())
    level = notification_level(devices, settings.hvac_false_notifications_per_day)
    listed = ", ".join(f"{name} {points:+g}" for name, points in parts.items())
    budget = settings.hvac_false_notifications_per_day
    return (
        f"urgency {total(parts):g} ({listed}); people are told from {level:.0f} on, so that "
        f"{devices} devices give at most {budget:g} false notification{'s' if budget != 1 else ''} a day "
        "(HVAC_FALSE_NOTIFICATIONS_PER_DAY)"
    )
