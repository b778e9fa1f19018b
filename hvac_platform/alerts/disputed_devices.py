"""Devices whose messages contradict what is known of them: another type than the registered one, or times long past."""

from __future__ import annotations

from collections.abc import Collection

from hvac_platform.alerts.troubles import Trouble, clear_trouble, open_troubles, raise_trouble
from hvac_platform.stores.base import Store
from hvac_platform.timestamps import iso

KIND = "device"


def dispute(store: Store, device_id: str, text: str, now_ms: int) -> bool:
    """Open an incident of the platform about a device unless one is open; returns whether it was opened."""
    return raise_trouble(store, Trouble(KIND, device_id, "warning", text), now_ms)


def settle(store: Store, agreeing: Collection[str], now_ms: int) -> None:
    """End the disputes of devices whose messages have agreed with the registry for a whole run."""
    for trouble in open_troubles(store, now_ms):
        if trouble.kind == KIND and trouble.subject in agreeing:
            clear_trouble(store, KIND, trouble.subject, now_ms, f"{trouble.subject}: its messages agree again")


def disputes(store: Store, now_ms: int) -> list[str]:
    """What is disputed, one line a device."""
    return [trouble.text for trouble in open_troubles(store, now_ms) if trouble.kind == KIND]


def stray_text(device_id: str, stray_ms: int, newest_ms: int) -> str:
    """What is said of a device of which readings of long ago arrive, and nothing newer."""
    return (
        f"{device_id}: what arrives of it is of {iso(stray_ms)}, long before its newest reading of {iso(newest_ms)}: "
        "did its clock go back?"
    )
