"""What was learned when: the versions of a profile, and what is new on a device and lasts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NotRequired, TypedDict

from hvac_platform.stores.records.record import Record


class StoredGate(TypedDict):
    """How a candidate was judged against the present profile.

    Attributes:
        promoted: whether it was found no worse.
        said: why, in a sentence.
        days: length of the held-out span in days.
        windows: held-out normal windows that both were judged on.
        present_alarms, candidate_alarms: false alarms on them, windows less than ten minutes apart counting as one.
        present_share, candidate_share: share of them that is flagged.
        incidents: labelled incidents that both were judged on.
        present_found, candidate_found: those of them with an anomalous window.
    """

    promoted: bool
    said: str
    days: float
    windows: int
    present_alarms: int
    candidate_alarms: int
    present_share: float
    candidate_share: float
    incidents: int
    present_found: int
    candidate_found: int


class StoredEvidence(TypedDict):
    """One thing that was looked at before something new was learned; ``rules`` are ids of those that it speaks of."""

    about: str
    against: bool
    said: str
    value: float
    rules: NotRequired[list[str]]


@dataclass(frozen=True, slots=True)
class ProfileVersion(Record):
    """A version of a device's profile; :mod:`hvac_platform.monitoring.profile_versions` makes and moves them.

    Attributes:
        state: see :class:`hvac_platform.monitoring.profile_versions.VersionState`.
        gate: None of one that needed none: the first.
        content: None of the present one, which is in ``device_profiles``.
    """

    TABLE = "profile_versions"

    device_id: str
    number: int
    state: str
    reason: str
    embedding_method: str
    snapshot_count: int
    span_start: int
    span_end: int
    built_at: int
    decided_at: int
    decided_by: str
    gate: StoredGate | None
    content: bytes | None


@dataclass(frozen=True, slots=True)
class LastingChange(Record):
    """Something new on a device that lasts; :mod:`hvac_platform.monitoring.lasting` decides what becomes of it.

    Attributes:
        state: see :class:`hvac_platform.monitoring.lasting.ChangeState`.
        evidence: what decides, stated.
    """

    TABLE = "lasting_changes"

    device_id: str
    since: int
    seen_until: int
    state: str
    windows: int
    share: float
    metrics: list[str]
    signature: dict[str, float]
    evidence: list[StoredEvidence]
    incident_id: str
    told_at: int
    decided_at: int
    decided_by: str
