"""Profiles as the store has them: a device's own, or a provisional one until there is history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from hvac_platform.config import Settings
from hvac_platform.detection.profile import Calibration, Fit, MetricStatistics, Profile, provisional_profile
from hvac_platform.detection.rules import without_rules
from hvac_platform.devices.registry import DeviceType, device_type
from hvac_platform.embedding.base import EncoderUnavailableError
from hvac_platform.embedding.learned import Encoders
from hvac_platform.snapshots import EMBEDDING_DIMENSION, SnapshotSeries
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import StoredCalibration, StoredFit, StoredMode, StoredProfile
from hvac_platform.timestamps import now_ms

if TYPE_CHECKING:
    from hvac_platform.detection.detector import FittedDetector
    from hvac_platform.detection.energy import EnergyModel


def load_profile(store: Store, device_id: str) -> Profile | None:
    """Profile of a device, or None."""
    stored = StoredProfile.first(store, device_id)
    return None if stored is None else profile_of(stored)


def judging_type_of(store: Store, device_id: str, declared: DeviceType | None) -> DeviceType | None:
    """A device's type without the rules that are a standing condition of the device."""
    stored = StoredProfile.first(store, device_id, only=("fit",))
    standing = tuple(stored.fit.get("standing", ())) if stored is not None and stored.fit else ()
    return without_rules(declared, standing) if declared is not None and standing else declared


def profile_of(stored: StoredProfile) -> Profile:
    """The profile to judge by, of a stored one."""
    return Profile(
        device_id=stored.device_id,
        embedding_method=stored.embedding_method,
        centroid=stored.profile_embedding,
        metric_stats={name: MetricStatistics(**stats) for name, stats in stored.metric_stats.items()},
        calibration=Calibration(**stored.calibration),
        snapshot_count=stored.snapshot_count,
        span_start=stored.span_start,
        span_end=stored.span_end,
        detector=_detector_of(stored.detector) if stored.detector else None,
        fit=_fit_of(stored.fit) if stored.fit else None,
        energy=_energy_of(stored.energy) if stored.energy else None,
    )


def _fit_of(stored: StoredFit) -> Fit:
    return Fit(**{**stored, "standing": tuple(stored.get("standing", ()))})  # type: ignore[arg-type]


def _energy_of(document: Mapping[str, object]) -> EnergyModel:
    from hvac_platform.detection.energy import EnergyModel

    return EnergyModel.from_document(document)


@lru_cache(maxsize=64)
def _detector_of(content: bytes) -> FittedDetector:
    from hvac_platform.detection.detector import FittedDetector  # brings pandas, which a profile without one needs not

    return FittedDetector.from_bytes(content)


def stored_profile(
    store: Store, device: Device, profile: Profile, modes: list[StoredMode] | None = None
) -> StoredProfile:
    """What was learned of a device, to be written; the time of creation is kept from an earlier build."""
    earlier = StoredProfile.first(store, device.device_id, only=("profile_created_at",))
    now = now_ms()
    return StoredProfile(
        device_id=device.device_id,
        device_type=device.device_type,
        location=device.location,
        building_id=device.building_id,
        profile_embedding=profile.centroid,
        embedding_method=profile.embedding_method,
        metric_stats=profile.statistics_json(),
        calibration=cast("StoredCalibration", asdict(profile.calibration)),
        profile_version=profile.version,
        snapshot_count=profile.snapshot_count,
        span_start=profile.span_start,
        span_end=profile.span_end,
        profile_created_at=now if earlier is None else earlier.profile_created_at,
        profile_updated_at=now,
        last_seen=device.last_seen,
        detector=None if profile.detector is None else profile.detector.to_bytes(),
        fit=None if profile.fit is None else cast("StoredFit", asdict(profile.fit)),
        energy=None if profile.energy is None else profile.energy.to_document(),
        modes=modes,
    )


def current_profile(store: Store, device: Device, encoders: Encoders, settings: Settings) -> Profile | None:
    """The device's profile; a provisional one from declared ranges while there is none; None for an unknown type.

    One that was learned from windows of another length is none: it would take what is usual of these for odd.

    Args:
        store: where profiles are.
        device: whose.
        encoders: of all devices.
        settings: length of the windows of devices that have none of their own.
    """
    profile = load_profile(store, device.device_id)
    common = encoders.common
    if profile is not None and profile.fit is not None:
        fitted_ms = profile.fit.window_ms or settings.window_ms
        profile = profile if fitted_ms == device.window(settings) else None
    if profile is not None and (
        profile.embedding_method == common.method or (encoders.learned and profile.detector is not None)
    ):
        return profile
    declared = device_type(device.device_type)
    if declared is None:
        return None

    def encode(state: SnapshotSeries) -> NDArray[np.float32]:
        try:
            return common.encode(state)
        except (
            EncoderUnavailableError
        ):  # a provisional profile sets no limit on similarity: rules and ranges still judge
            return np.full((len(state), EMBEDDING_DIMENSION), np.nan, dtype=np.float32)

    return provisional_profile(device.device_id, declared, common.method, encode)
