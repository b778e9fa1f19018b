"""Incidents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from hvac_platform.stores.records.record import Record


class StoredKind(TypedDict):
    """A kind of fault that an incident resembles; a similarity of 1 is equal."""

    kind: str
    title: str
    similarity: float


class SimilarIncident(TypedDict):
    """A past incident that one resembles; ``known`` where it is near enough to count as the same."""

    incident_id: str
    device_id: str
    started_at: int
    similarity: float
    known: bool
    label: str | None


@dataclass(frozen=True, slots=True)
class Incident(Record):
    """Anomalous windows of a device that belong together, [started_at, ended_at).

    Attributes:
        methods: anomalous windows by method.
        rules: ids of the rules that fired, most frequent first.
        metrics: what moved, most important first.
        signature: deviation by metric, in units of the device's own normal.
        excess_kwh: energy beyond the expected; None without a model.
        label: what it turned out to be, as somebody said.
        parent_id: the incident that this one is part of, where one cause moved many devices or one change lasts.
        urgency: see :mod:`hvac_platform.detection.urgency`; None in incidents from before it was kept.
    """

    TABLE = "incidents"

    device_id: str
    started_at: int
    ended_at: int
    incident_id: str
    status: str
    severity: str
    level: int
    windows: int
    peak_score: float
    methods: dict[str, int]
    rules: list[str]
    metrics: list[str]
    reasons: list[str]
    signature: dict[str, float]
    kinds: list[StoredKind]
    similar: list[SimilarIncident]
    scope: str
    cause: str
    excess_kwh: float | None
    device_type: str
    location: str
    building_id: str
    updated_at: int
    label: str | None
    parent_id: str | None
    urgency: float | None
