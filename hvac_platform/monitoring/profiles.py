"""Profiles as the store has them: a device's own, or a provisional one until there is history."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.profile import Profile, profile_from_row, provisional_profile
from hvac_platform.devices.registry import device_type
from hvac_platform.embedding.base import EncoderUnavailableError
from hvac_platform.embedding.learned import Encoders
from hvac_platform.snapshots import SnapshotSeries
from hvac_platform.stores.base import EMBEDDING_DIMENSION, Device, Store, TableSlice


def load_profile_row(store: Store, device_id: str) -> dict[str, Any] | None:
    """Row of ``device_profiles`` of a device, or None."""
    for batch in store.scan(TableSlice("device_profiles", device_id=device_id)):
        return {name: values[0] for name, values in batch.items()}
    return None


def profile_updated_at(store: Store, device_id: str) -> int | None:
    """When a device's profile was made, epoch milliseconds; None where there is none. Reads nothing else of it."""
    for batch in store.scan(TableSlice("device_profiles", ("profile_updated_at",), device_id)):
        return int(batch["profile_updated_at"][0])
    return None


def load_profile(store: Store, device_id: str) -> Profile | None:
    """Profile of a device, or None."""
    row = load_profile_row(store, device_id)
    return profile_from_row(row) if row is not None else None


def current_profile(store: Store, device: Device, encoders: Encoders) -> Profile | None:
    """The device's profile; a provisional one from declared ranges while there is none; None for an unknown type."""
    profile = load_profile(store, device.device_id)
    common = encoders.common
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
