"""What detection found: verdicts on every window, and events for the anomalous ones."""

from __future__ import annotations

from dataclasses import dataclass

from hvac_platform.stores.records.record import Record


@dataclass(frozen=True, slots=True)
class AnomalyEvent(Record):
    """An anomalous window of a device."""

    TABLE = "anomaly_events"

    device_id: str
    detected_at: int
    event_id: str
    anomaly_score: float
    anomaly_type: str
    methods: list[str]
    level: int
    reasons: list[str]
    metrics: list[str]
    metrics_snapshot: dict[str, float]
    device_type: str
    location: str
    building_id: str


@dataclass(frozen=True, slots=True)
class Verdict(Record):
    """What one method says of one window; many at once are read as arrays, see :mod:`hvac_platform.stores.series`."""

    TABLE = "snapshot_verdicts"

    device_id: str
    date: str
    snapshot_time: int
    method: str
    score: float
    anomalous: bool
    level: int
    reasons: list[str]
    metrics: list[str]
    profile_version: int
    revision: int
