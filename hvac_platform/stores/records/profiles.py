"""What was learned of a device, as it is stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from hvac_platform.stores.records.record import Record

if TYPE_CHECKING:
    from hvac_platform.stores.base import Store


class StoredCalibration(TypedDict, total=False):
    """Limits at which methods alarm, see :class:`hvac_platform.detection.profile.Calibration`; profiles of old lack some."""

    similarity: float
    sigma: float
    neighbour_distance: float
    exclude_ms: int


class StoredFit(TypedDict):
    """What a detector was fitted on: snapshots from one instant to another, and why it was fitted anew.

    ``window_ms`` is missing in profiles from before devices had windows of their own length, ``standing`` in those from
    before rules could be a standing condition of a device.
    """

    count: int
    start_ms: int
    end_ms: int
    reason: str
    window_ms: NotRequired[int | None]
    standing: NotRequired[list[str]]


class StoredMode(TypedDict):
    """A way in which a machine runs; ``calibrated`` is missing in profiles from before it was kept."""

    name: str
    number: int
    share: float
    episodes: int
    centre: dict[str, float]
    calibrated: NotRequired[bool]


@dataclass(frozen=True, slots=True)
class StoredProfile(Record):
    """What normal looks like for one device; :mod:`hvac_platform.monitoring.profiles` makes a profile to judge by of it.

    Attributes:
        profile_embedding: float32 [384], centroid of the embeddings of normal snapshots.
        metric_stats: mean, std, min, max and scale by metric.
        detector: encoder and calibration learned from the history, MessagePack.
        energy: model of the expected power, as :mod:`hvac_platform.detection.energy` writes it.
    """

    TABLE = "device_profiles"

    device_id: str
    device_type: str
    location: str
    building_id: str
    profile_embedding: NDArray[np.float32] = field(compare=False)
    embedding_method: str
    metric_stats: dict[str, dict[str, float]]
    calibration: StoredCalibration
    profile_version: int
    snapshot_count: int
    span_start: int
    span_end: int
    profile_created_at: int
    profile_updated_at: int
    last_seen: int
    detector: bytes | None
    fit: StoredFit | None
    energy: dict[str, object] | None
    modes: list[StoredMode] | None


def stored_detector(store: Store, device_id: str) -> bytes | None:
    """A device's detector, without the rest of its profile; None where it has none."""
    found = StoredProfile.first(store, device_id, only=("detector",))
    return None if found is None else found.detector


def profiles_updated_at(store: Store) -> dict[str, int]:
    """When the profile of each device that has one was made, epoch milliseconds."""
    made = StoredProfile.read(store, only=("device_id", "profile_updated_at"))
    return {profile.device_id: profile.profile_updated_at for profile in made}


def profile_updated_at(store: Store, device_id: str) -> int | None:
    """When a device's profile was made, epoch milliseconds, without the rest of it; None where it has none."""
    found = StoredProfile.first(store, device_id, only=("profile_updated_at",))
    return None if found is None else found.profile_updated_at
