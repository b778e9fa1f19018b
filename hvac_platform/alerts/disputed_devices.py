"""Devices whose messages contradict what is known of them: another type than the registered one, or times long past."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hvac_platform.alerts.troubles import Trouble, clear_trouble, open_troubles, raise_trouble
from hvac_platform.ingestion.repeated import Repeated
from hvac_platform.ingestion.sent_units import UnitChange
from hvac_platform.stores.base import Store
from hvac_platform.timestamps import iso

KIND, UNIT = "device", "unit"
MOST_POINTS = 5
"""Points that a text names one by one."""


def dispute(store: Store, device_id: str, text: str, now_ms: int) -> bool:
    """Open an incident of the platform about a device unless one is open; returns whether it was opened."""
    return raise_trouble(store, Trouble(KIND, device_id, "warning", text), now_ms)


def settle(store: Store, agreeing: Collection[str], now_ms: int) -> None:
    """End the disputes of devices whose messages have agreed with the registry for a whole run."""
    for trouble in open_troubles(store, now_ms):
        if trouble.kind == KIND and trouble.subject in agreeing:
            clear_trouble(store, KIND, trouble.subject, now_ms, f"{trouble.subject}: its messages agree again")


def disputes(store: Store, now_ms: int) -> list[str]:
    """What is disputed, and units that have changed, one line a device."""
    return [trouble.text for trouble in open_troubles(store, now_ms) if trouble.kind in (KIND, UNIT)]


def stray_text(device_id: str, stray_ms: int, newest_ms: int) -> str:
    """What is said of a device of which readings of long ago arrive, and nothing newer."""
    return (
        f"{device_id}: what arrives of it is of {iso(stray_ms)}, long before its newest reading of {iso(newest_ms)}: "
        "did its clock go back?"
    )


def ahead_text(device_id: str, at_ms: int, now_ms: int) -> str:
    """What is said of a device whose clock is ahead."""
    return (
        f"{device_id}: its clock is ahead by {_spelled(at_ms - now_ms)}: it sends readings of {iso(at_ms)}, which are "
        "refused; set its clock, or that of its gateway, right. What was refused is among the dead letters: hvac verify"
    )


def _spelled(length_ms: int) -> str:
    hours = length_ms / 3_600_000
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.0f} days"


def repeated_text(device_id: str, told: Repeated) -> str:
    """What is said of a device whose readings came again with another value."""
    return (
        f"{device_id}: readings came again with another value, {told.count} at first, such as {told.example}; the last one "
        "counts: do two producers send under one id, or does one correct itself?"
    )


def tell_units(store: Store, device_id: str, changes: Sequence[UnitChange], now_ms: int) -> None:
    """Open an incident of the platform about points of a device whose units have changed together.

    A point that is sent in its former unit again ends the incident that was opened of its change. Else a person does:
    readings are converted, so that the change itself does no harm that would end.
    """
    opened = {t.subject: t for t in open_troubles(store, now_ms) if t.kind == UNIT}
    left = []
    for change in changes:
        known = opened.get(f"{device_id}/{change.metric}")
        if known is not None and change.back_ms is None:
            clear_trouble(store, UNIT, known.subject, now_ms, units_text(device_id, [change]))
        else:
            left.append(change)
    if left:
        raise_trouble(
            store, Trouble(UNIT, f"{device_id}/{left[0].metric}", "warning", units_text(device_id, left)), now_ms
        )


def units_text(device_id: str, changes: Sequence[UnitChange]) -> str:
    """What is said of points of a device whose units have changed."""
    more = f"; and {len(changes) - MOST_POINTS} more of its points" if len(changes) > MOST_POINTS else ""
    told = "; ".join(map(str, changes[:MOST_POINTS]))
    return (
        f"{device_id}: {told}{more}. Readings are converted to the declared unit, so nothing is lost if that is so: if "
        "nobody changed it on purpose, look whether its controller or gateway names the right unit"
    )
