"""Settings that a store was made with: one that is forgotten later would mix what must not be mixed."""

from __future__ import annotations

from hvac_platform.config import Settings
from hvac_platform.devices.registry import added_types
from hvac_platform.stores.base import Store, StoreError
from hvac_platform.stores.records import Snapshot

WINDOW_SECONDS, DEVICE_TYPES = "window_seconds", "device_types"


def require_settings(store: Store, settings: Settings, *, record: bool = True) -> None:
    """Check the settings against those that the store was made with; a new store is made with these.

    Args:
        store: with the current schema.
        settings: of this process.
        record: whether a new store, and device types that are new to it, may be recorded.

    Raises:
        StoreError: the window has another length, or a type that devices have is not declared; says what to set.
    """
    remembered = store.remembered()
    window = remembered.get(WINDOW_SECONDS) or _window_of_snapshots(store)
    if window is not None and int(window) != settings.hvac_window_seconds:
        raise StoreError(
            f"the store at {store.location} has windows of {int(window)} s, and HVAC_WINDOW_SECONDS is "
            f"{settings.hvac_window_seconds}: set HVAC_WINDOW_SECONDS={int(window)}, or use another store"
        )
    added = set(added_types())
    known = set(remembered.get(DEVICE_TYPES, "").split())
    if missing := known - added:
        used = missing & {device.device_type for device in store.devices()}
        if used:
            raise StoreError(
                f"the store at {store.location} has devices of type {', '.join(sorted(used))}, which a folder in "
                "HVAC_DEVICE_TYPES declared: set HVAC_DEVICE_TYPES to it again. To go on without it: hvac schema apply "
                "--forget-device-types"
            )
    if not record:
        return
    if WINDOW_SECONDS not in remembered:
        store.remember(WINDOW_SECONDS, str(settings.hvac_window_seconds))
    if added - known:
        store.remember(DEVICE_TYPES, " ".join(sorted(added | known)))


def forget_device_types(store: Store) -> None:
    """Go on with the device types that are declared now."""
    store.remember(DEVICE_TYPES, " ".join(sorted(added_types())))


def _window_of_snapshots(store: Store) -> str | None:
    """Length in seconds of the windows of a store that an earlier version made; None when it is empty."""
    for device in store.devices():
        span = (device.last_seen - 10 * 86_400_000, None)
        if snapshot := Snapshot.first(store, device.device_id, span, only=("window_ms",)):
            return str(snapshot.window_ms // 1000)
    return None
