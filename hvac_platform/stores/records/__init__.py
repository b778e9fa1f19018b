"""Records: what the rows of each table are in Python, a class a table. Names are those of ``schema/tables.yaml``."""

from hvac_platform.stores.records.dead_letters import DeadLetter
from hvac_platform.stores.records.degradation import MetricTrend
from hvac_platform.stores.records.events import AnomalyEvent, Verdict
from hvac_platform.stores.records.handling import (
    IncidentHandling,
    IncidentTransition,
    OutboxMessage,
    StoredCalendar,
    StoredMatches,
    Suppression,
)
from hvac_platform.stores.records.incidents import Incident, SimilarIncident, StoredKind
from hvac_platform.stores.records.learning import LastingChange, ProfileVersion, StoredEvidence, StoredGate
from hvac_platform.stores.records.ledger import LedgerEntry, TouchedDevice
from hvac_platform.stores.records.maintenance import MaintenanceSpan
from hvac_platform.stores.records.points import (
    NO_POINTS,
    SENT_UNITS,
    WHOLE_DEVICE,
    DevicePoint,
    StoredGrade,
    read_points,
)
from hvac_platform.stores.records.profiles import (
    StoredCalibration,
    StoredFit,
    StoredMode,
    StoredProfile,
    profile_updated_at,
    profiles_updated_at,
    stored_detector,
)
from hvac_platform.stores.records.readings import LatestReading, Reading
from hvac_platform.stores.records.record import Record, Span
from hvac_platform.stores.records.registry import Device, DeviceDay, StoreSetting
from hvac_platform.stores.records.reports import DeviceReport, MethodReport
from hvac_platform.stores.records.snapshots import BacklogDay, Snapshot
from hvac_platform.stores.records.users import User

__all__ = [
    "NO_POINTS",
    "SENT_UNITS",
    "WHOLE_DEVICE",
    "AnomalyEvent",
    "BacklogDay",
    "DeadLetter",
    "Device",
    "DeviceDay",
    "DevicePoint",
    "DeviceReport",
    "Incident",
    "IncidentHandling",
    "IncidentTransition",
    "LastingChange",
    "LatestReading",
    "LedgerEntry",
    "MaintenanceSpan",
    "MethodReport",
    "MetricTrend",
    "OutboxMessage",
    "ProfileVersion",
    "Reading",
    "Record",
    "SimilarIncident",
    "Snapshot",
    "Span",
    "StoreSetting",
    "StoredCalendar",
    "StoredCalibration",
    "StoredEvidence",
    "StoredFit",
    "StoredGate",
    "StoredGrade",
    "StoredKind",
    "StoredMatches",
    "StoredMode",
    "StoredProfile",
    "Suppression",
    "TouchedDevice",
    "User",
    "Verdict",
    "profile_updated_at",
    "profiles_updated_at",
    "read_points",
    "stored_detector",
]
