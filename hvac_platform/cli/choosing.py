"""Options that several commands share: devices and instants."""

from __future__ import annotations

import math
from collections.abc import Container
from typing import Annotated

import typer

from hvac_platform.cli.output import errors
from hvac_platform.monitoring.lifecycle import PLATFORM, find_incident
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import Incident
from hvac_platform.timestamps import iso, parse_instant
from hvac_platform.visible_text import visible

Devices = Annotated[
    list[str] | None,
    typer.Option("--device", "--devices", help="Devices, repeated or separated by commas; all when absent."),
]
Names = Annotated[list[str] | None, typer.Argument(help="Devices; all when absent.", metavar="DEVICE")]
"""The same without the option, where a command is about devices alone."""
IncidentId = Annotated[str, typer.Argument(help="Incident, as `hvac incidents list` shows it.", metavar="INCIDENT")]
OneDevice = Annotated[str | None, typer.Option("--device", "--devices", help="Device.")]
OneName = Annotated[str | None, typer.Argument(help="Device.", metavar="DEVICE")]

EARLIEST_MS, LATEST_MS = 0, 7_258_118_400_000
MOST_DAYS, MOST_SECONDS = 36_500, 36_500 * 86_400


def chosen_devices(store: Store, wanted: list[str] | None) -> list[Device]:
    """Registered devices by name, repeated or separated by commas; all when none is named.

    Raises:
        typer.BadParameter: a name is not registered.
        typer.Exit: none is registered at all.
    """
    registered = {d.device_id: d for d in store.devices()}
    if not wanted:
        if not registered:
            errors.print("hvac: no device has been registered yet: ingest some messages first")
            raise typer.Exit(1)
        return list(registered.values())
    names = [name for listed in wanted for name in _names(listed, registered)]
    unknown = [name for name in names if name not in registered]
    if unknown:
        known = ", ".join(visible(name, None) for name in list(registered)[:20]) or "none"
        are = "is" if len(unknown) == 1 else "are"
        raise typer.BadParameter(f"{visible(', '.join(unknown))} {are} not registered; known devices: {known}")
    return [registered[name] for name in names]


def named(names: list[str] | None, listed: list[str] | None) -> list[str]:
    """Devices that were named without and with the option."""
    return [*(names or []), *(listed or [])]


def chosen_device(store: Store, name: str | None, option: str | None) -> Device:
    """The one device that was named, with or without the option.

    Raises:
        typer.BadParameter: none was named, or two, or it is not registered.
    """
    named = [text for text in (name, option) if text is not None]
    if len(named) != 1:
        raise typer.BadParameter(
            "name one device, not two" if named else "name a device, e.g. RTU-001; hvac verify lists them",
            param_hint="DEVICE",
        )
    (found, *more) = chosen_devices(store, named)
    if more:
        raise typer.BadParameter(f"name one device, not {len(more) + 1}", param_hint="DEVICE")
    return found


def _names(listed: str, known: Container[str]) -> list[str]:
    """The names of a list with commas or spaces; a known name may have either in it.

    >>> _names("AC 1,AC-2, RTU-1 RTU-2", {"AC 1"}), _names("Hall, north", {"Hall, north"})
    (['AC 1', 'AC-2', 'RTU-1', 'RTU-2'], ['Hall, north'])
    """
    if listed in known:
        return [listed]
    parts = [part.strip() for part in listed.split(",")]
    return [name for part in parts for name in ([part] if part in known else part.split())]


def chosen_incident(store: Store, incident_id: str) -> Incident:
    """The incident of an id; of one that another took in, the other, which is said.

    Raises:
        typer.BadParameter: there is none.
    """
    found = known_incident(store, incident_id)
    if found is None:
        raise typer.BadParameter(
            f"no incident {incident_id[:200]!r}; `hvac incidents list` shows them", param_hint="INCIDENT"
        )
    if found.incident_id != incident_id:
        errors.print(f"{incident_id} was merged into {found.incident_id}")
    return found


def known_incident(store: Store, incident_id: str) -> Incident | None:
    """The incident of an id, of a machine or of the platform; of one that another took in, the other; or None."""
    found = find_incident(store, incident_id)
    if found is not None or not incident_id.startswith(f"{PLATFORM}/"):
        return found
    from hvac_platform.alerts.troubles import trouble_incident

    return trouble_incident(store, incident_id)


def instant(text: str | None, option: str) -> int | None:
    """Epoch milliseconds of an ISO 8601 date or time, or None.

    Raises:
        typer.BadParameter: it is not one; names the option.
    """
    if text is None:
        return None
    try:
        found = parse_instant(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text[:40]!r} is not an ISO 8601 date or time", param_hint=option) from None
    if not EARLIEST_MS <= found < LATEST_MS:
        raise typer.BadParameter(f"{text[:40]!r} is not between 1970 and 2200", param_hint=option)
    return found


def finite(value: float | None) -> float | None:
    """The number of an option; for ``callback=``, since a range lets through what is no number at all.

    Raises:
        typer.BadParameter: it is infinite or no number.
    """
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def require_order(start_ms: int | None, end_ms: int | None) -> None:
    """Check that a span has its start before its end.

    Raises:
        typer.BadParameter: it has not.
    """
    if start_ms is not None and end_ms is not None and start_ms >= end_ms:
        raise typer.BadParameter(f"the end {iso(end_ms)} is not after the start {iso(start_ms)}", param_hint="--until")
