"""The state of every device, kept up to date some devices at a time: a refresh has a bound whatever the fleet."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from hvac_platform.config import Settings
from hvac_platform.dashboard.reading import (
    SEVERITIES,
    DeviceState,
    device_state,
    profiled_devices,
    units_sent,
)
from hvac_platform.devices.registry import device_type
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import Incident
from hvac_platform.timestamps import now_ms

DEVICES_PER_REFRESH = 100
READS_PER_DEVICE = 4
FRESH_SECONDS = 5.0
PROFILES_SECONDS = 60.0
SILENT_INTERVALS = 3


class Status(StrEnum):
    """What to say of a device in a word or two."""

    INCIDENT = "incident open"
    ANOMALOUS = "anomalous"
    SILENT = "silent"
    NO_PROFILE = "no profile yet"
    NORMAL = "normal"
    UNREAD = "not read yet"


URGENCY = {status: rank for rank, status in enumerate(Status)}


def status_of(device: Device, state: DeviceState | None, profiled: bool, at_ms: int, silence_ms: int) -> Status:
    """Status of a device: an open incident before silence, silence before what its last windows were.

    It is silent after the silence that closes windows, and after three times the usual distance of its windows.
    """
    if state is None:
        return Status.UNREAD
    if state.open_incidents:
        return Status.INCIDENT
    if at_ms - device.last_seen > max(silence_ms, SILENT_INTERVALS * state.interval_ms):
        return Status.SILENT
    if state.anomalous:
        return Status.ANOMALOUS
    return Status.NORMAL if profiled else Status.NO_PROFILE


@dataclass(frozen=True, slots=True)
class Fleet:
    """All devices at one moment.

    Attributes:
        devices: the registry.
        states: state of each device that was read so far.
        statuses: status of each device.
        at_ms: when.
    """

    devices: list[Device]
    states: dict[str, DeviceState]
    statuses: dict[str, Status]
    at_ms: int

    @property
    def read(self) -> int:
        """Devices whose state was read so far."""
        return len(self.states)

    @property
    def incidents(self) -> list[Incident]:
        """Incidents of the last 30 days, newest first."""
        found = [incident for state in self.states.values() for incident in state.incidents]
        return sorted(found, key=lambda incident: (-incident.started_at, incident.device_id))

    def open_by_severity(self) -> dict[str, int]:
        """Open incidents by severity, the worst first."""
        counted = Counter(i.severity for state in self.states.values() for i in state.open_incidents)
        return {severity: counted.get(severity, 0) for severity in SEVERITIES}


class FleetBoard:
    """States of all devices; a refresh reads the wanted devices first, then those read longest ago, a hundred at most."""

    def __init__(
        self,
        settings: Settings,
        *,
        per_refresh: int = DEVICES_PER_REFRESH,
        fresh_seconds: float = FRESH_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._per_refresh, self._fresh, self._clock = settings, per_refresh, fresh_seconds, clock
        self._lock = threading.Lock()
        self._states: dict[str, DeviceState] = {}
        self._read_at: dict[str, float] = {}
        self._units: dict[str, dict[str, str]] = {}
        self._profiled: set[str] = set()
        self._profiles_at: float | None = None

    def refresh(self, store: Store, wanted: Iterable[str] = ()) -> Fleet:
        """Read what is due, and say how the fleet stands."""
        at_ms = now_ms()
        with self._lock:
            devices = store.devices()
            registered = {d.device_id: d for d in devices}
            for gone in set(self._states) - set(registered):
                del self._states[gone], self._read_at[gone]
            now = self._clock()
            if self._profiles_at is None or now - self._profiles_at >= PROFILES_SECONDS:
                self._profiled, self._profiles_at = profiled_devices(store), now
            for device_id in self._due(registered, wanted, now):
                device = registered[device_id]
                units = self._units_of(store, device)
                window_ms = self._settings.window_ms
                self._states[device_id] = device_state(store, device, window_ms, at_ms, units=units)
                self._read_at[device_id] = now
            states = dict(self._states)
            profiled = set(self._profiled)
        silence_ms = self._settings.silence_ms
        statuses = {
            d.device_id: status_of(d, states.get(d.device_id), d.device_id in profiled, at_ms, silence_ms)
            for d in devices
        }
        return Fleet(devices, states, statuses, at_ms)

    def _due(self, registered: dict[str, Device], wanted: Iterable[str], now: float) -> list[str]:
        first = [device_id for device_id in dict.fromkeys(wanted) if device_id in registered]
        others = sorted(registered, key=lambda device_id: self._read_at.get(device_id, -1.0))
        in_turn = dict.fromkeys([*first, *others])
        stale = [d for d in in_turn if d not in self._read_at or now - self._read_at[d] >= self._fresh]
        return stale[: self._per_refresh]

    def _units_of(self, store: Store, device: Device) -> dict[str, str]:
        if device_type(device.device_type) is not None:
            return {}
        if device.device_id not in self._units:
            self._units[device.device_id] = units_sent(store, device, self._settings.window_ms)
        return self._units[device.device_id]
