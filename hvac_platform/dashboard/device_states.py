"""The state of every device: of all at each refresh what makes one urgent, of those on a page what a card shows."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from hvac_platform.config import Settings
from hvac_platform.dashboard.reading import (
    HOUR_MS,
    SEVERITIES,
    DeviceState,
    device_state,
    open_incidents,
    open_window,
    profiled_devices,
    states_since,
    units_sent,
    usual_interval_ms,
    with_newest_event,
)
from hvac_platform.devices.registry import device_type
from hvac_platform.monitoring.provisional import ProvisionalEvent, may_be_urgent, provisional_events
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import Incident
from hvac_platform.timestamps import now_ms

LOOKED_AT_ONCE = 250
LOOKING_SECONDS = 0.25
"""Devices are looked at for so long at a refresh, 250 at least: of an embedded store that is thousands of them."""
FRESH_SECONDS = 1.0
SHOWN_SECONDS = 15.0
"""What a card shows of the last hour is read again after so long; its newest values at every refresh."""
MOST_SHOWN = 500
PROFILES_SECONDS = 60.0
SHARE_OF_TIME = 0.02
"""What takes long to read is read so seldom that it takes no more than this share of the time."""
SILENT_INTERVALS = 3
OVERLAP_MS = 10_000
"""A look begins so long before the last reading of the one before, unless that instant was whole: not all of it need
arrive together."""
MOST_BOARDS = 50
"""Parts of a site that are remembered at once."""
MOST_SUSPECTS = 25
"""So many devices whose latest readings may be urgent are looked into at a refresh, besides those on the page."""


class Status(StrEnum):
    """What to say of a device in a word or two."""

    INCIDENT = "incident open"
    URGENT = "urgent reading"
    ANOMALOUS = "anomalous"
    SILENT = "silent"
    NO_PROFILE = "no profile yet"
    NORMAL = "normal"
    UNREAD = "not read yet"


URGENCY = {status: rank for rank, status in enumerate(Status)}


@dataclass(frozen=True, slots=True)
class News:
    """What makes a device urgent.

    Attributes:
        anomalous: one of its newest windows is an event.
        provisional: what its windows that nobody has judged yet are suspected of.
        interval_ms: usual distance of its windows, so that a device that reports every hour is not silent after two minutes.
    """

    anomalous: bool = False
    provisional: tuple[ProvisionalEvent, ...] = ()
    interval_ms: int = 0


def status_of(
    device: Device, news: News | None, incidents: Sequence[Incident], profiled: bool, at_ms: int, silence_ms: int
) -> Status:
    """Status of a device: an open incident first, then what can't wait, silence, and what its last windows were.

    What silence is, says :func:`is_silent`.
    """
    if incidents:
        return Status.INCIDENT
    if news is None:
        return Status.UNREAD
    if news.provisional:
        return Status.URGENT
    if is_silent(device, news, at_ms, silence_ms):
        return Status.SILENT
    if news.anomalous:
        return Status.ANOMALOUS
    return Status.NORMAL if profiled else Status.NO_PROFILE


def is_silent(device: Device, news: News | None, at_ms: int, silence_ms: int) -> bool:
    """Whether nothing came for the silence that closes windows and for three times the usual distance of its windows.

    Of a device that was not looked at yet that distance isn't known, so it isn't called silent.
    """
    return news is not None and at_ms - device.last_seen > max(silence_ms, SILENT_INTERVALS * news.interval_ms)


@dataclass(frozen=True, slots=True)
class Fleet:
    """All devices at one moment.

    Attributes:
        devices: the registry.
        news: of each device that was looked at so far; of all of them, but for the first seconds with a slow store.
        incidents: open incidents by device.
        statuses: status of each device.
        at_ms: when.
        silent: devices that are silent, whatever else is to say of them.
    """

    devices: list[Device]
    news: Mapping[str, News]
    incidents: Mapping[str, list[Incident]]
    statuses: dict[str, Status]
    at_ms: int
    silent: frozenset[str]

    @property
    def read(self) -> int:
        """Devices that were looked at so far."""
        return len(self.news)

    def worst(self, device_id: str) -> str | None:
        """Severity of the worst open incident of a device."""
        found = self.incidents.get(device_id)
        if not found:
            return None
        severities = {incident.severity for incident in found}
        return next((severity for severity in SEVERITIES if severity in severities), None)

    def open_by_severity(self) -> dict[str, int]:
        """Open incidents by severity, the worst first."""
        counted = Counter(incident.severity for found in self.incidents.values() for incident in found)
        return {severity: counted.get(severity, 0) for severity in SEVERITIES}

    def urgency(self, device: Device) -> tuple[int, int, str]:
        """What to order devices by, the most urgent first: status, severity, id."""
        worst = self.worst(device.device_id)
        rank = SEVERITIES.index(worst) if worst in SEVERITIES else len(SEVERITIES)
        return URGENCY[self.statuses[device.device_id]], rank, device.device_id


@dataclass(slots=True)
class _Kept:
    """What a board knows of a device, up to which reading, and when it looked, by the monotonic clock.

    ``whole`` says whether all its metrics had a reading at that instant, so that no more of it is to come.
    """

    news: News
    looked_at: float
    last_seen: int
    values: Mapping[str, float]
    whole: bool = False


@dataclass(slots=True)
class _Due:
    """Something that is read again after a while, the later the longer reading takes."""

    seconds: float
    at: float = field(default=-1e18)

    def is_due(self, now: float) -> bool:
        return now >= self.at

    def done(self, began: float, now: float) -> None:
        self.at = now + max(self.seconds, (now - began) / SHARE_OF_TIME)


class FleetBoard:
    """Keeps the state of a fleet; however many browsers ask, what is fresh is not read again."""

    def __init__(
        self,
        settings: Settings,
        *,
        looking_seconds: float = LOOKING_SECONDS,
        fresh_seconds: float = FRESH_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._looking, self._fresh, self._clock = settings, looking_seconds, fresh_seconds, clock
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}
        self._suspects: dict[str, None] = {}
        self._incidents: dict[str, list[Incident]] = {}
        self._profiled: set[str] = set()
        self._units: dict[str, dict[str, str]] = {}
        self._shown: OrderedDict[str, tuple[float, DeviceState]] = OrderedDict()
        self._incidents_due, self._profiles_due = _Due(fresh_seconds), _Due(PROFILES_SECONDS)

    def refresh(self, store: Store, wanted: Iterable[str] = ()) -> Fleet:
        """Look at what is due, first at the wanted devices, and say how the fleet stands."""
        at_ms = now_ms()
        with self._lock:
            devices = store.devices()
            registered = {d.device_id: d for d in devices}
            for gone in self._kept.keys() - registered.keys():
                del self._kept[gone]
            began = self._clock()
            if self._profiles_due.is_due(began):
                self._profiled = profiled_devices(store)
                self._profiles_due.done(began, self._clock())
            began = self._clock()
            if self._incidents_due.is_due(began):
                self._incidents = open_incidents(store)
                self._incidents_due.done(began, self._clock())
            first = [device_id for device_id in dict.fromkeys(wanted) if device_id in registered]
            self._look(store, registered, first, at_ms)
            news = {device_id: kept.news for device_id, kept in self._kept.items()}
            incidents, profiled = self._incidents, self._profiled
        silence_ms = self._settings.silence_ms
        statuses = {
            d.device_id: status_of(
                d, news.get(d.device_id), incidents.get(d.device_id, ()), d.device_id in profiled, at_ms, silence_ms
            )
            for d in devices
        }
        silent = frozenset(d.device_id for d in devices if is_silent(d, news.get(d.device_id), at_ms, silence_ms))
        return Fleet(devices, news, incidents, statuses, at_ms, silent)

    def states(self, store: Store, devices: Sequence[Device], at_ms: int) -> dict[str, DeviceState]:
        """What cards show of some devices."""
        found = {}
        with self._lock:
            for device in devices:
                found[device.device_id] = self._state(store, device, at_ms)
            while len(self._shown) > MOST_SHOWN:
                self._shown.popitem(last=False)
        return found

    # -- all devices -------------------------------------------------------------------------------------------------

    def _look(self, store: Store, registered: Mapping[str, Device], first: Sequence[str], at_ms: int) -> None:
        """Look at devices that are due, and into those whose latest readings may be urgent."""
        began = self._clock()
        due = [registered[device_id] for device_id in self._due(registered, first, began)]
        latest: list[tuple[str, dict[str, float]]] = []
        for at in range(0, len(due), LOOKED_AT_ONCE):
            if at and self._clock() - began >= self._looking:
                break
            latest += self._look_at(store, due[at : at + LOOKED_AT_ONCE], began, at_ms)
        types = {device_id: registered[device_id].device_type for device_id, _ in latest}
        windows = {device_id: registered[device_id].window(self._settings) for device_id in types}
        self._suspects |= dict.fromkeys(sorted(may_be_urgent(latest, types, windows)))
        self._look_into(store, registered, first, at_ms)

    def _look_at(
        self, store: Store, devices: Sequence[Device], began: float, at_ms: int
    ) -> list[tuple[str, dict[str, float]]]:
        """Note how some devices are; returns their values after each instant at which they were read since the last look."""
        lately = [device for device in devices if device.last_seen > at_ms - HOUR_MS]
        before = {device.device_id: self._looked_until(device) for device in lately}
        spans = {device.device_id: (before[device.device_id][0], device.last_seen + 1) for device in lately}
        states, last_of = states_since(store, spans, {device_id: values for device_id, (_, values) in before.items()})
        newest = dict(states)  # the last of each device
        events = with_newest_event(store, devices, self._settings)
        for device in devices:
            kept = self._kept.get(device.device_id)
            interval_ms = kept.news.interval_ms if kept is not None and kept.last_seen == device.last_seen else 0
            if not interval_ms and at_ms - device.last_seen > self._settings.silence_ms:
                interval_ms = usual_interval_ms(store, device, device.window(self._settings))
            provisional = kept.news.provisional if kept is not None else ()
            news = News(device.device_id in events, provisional, interval_ms)
            values = newest.get(device.device_id, kept.values if kept is not None else {})
            at, read = last_of.get(device.device_id, (0, 0))  # the registry may be ahead of the readings
            whole = at == device.last_seen and read >= len(values)
            if kept is not None and kept.last_seen == device.last_seen:
                whole |= kept.whole
            self._kept[device.device_id] = _Kept(news, began, device.last_seen, values, whole)
        return states

    def _looked_until(self, device: Device) -> tuple[int, Mapping[str, float]]:
        """From when on a device's readings are looked at, and its values before; at first from its open window's begin."""
        window_ms, kept = device.window(self._settings), self._kept.get(device.device_id)
        opened_ms = device.last_seen - device.last_seen % window_ms
        if kept is not None and kept.last_seen >= opened_ms - window_ms:
            return kept.last_seen + 1 - (0 if kept.whole else OVERLAP_MS), kept.values
        return opened_ms, {}

    def _look_into(self, store: Store, registered: Mapping[str, Device], first: Sequence[str], at_ms: int) -> None:
        """What suspects are suspected of. One is a suspect until nothing speaks against its unjudged windows any more."""
        shown = dict.fromkeys(device_id for device_id in first if device_id in self._suspects)
        others = [device_id for device_id in self._suspects if device_id not in shown]
        for device_id in [*shown, *others[:MOST_SUSPECTS]]:
            del self._suspects[device_id]
            if device_id not in registered:
                continue
            device = registered[device_id]
            told = tuple(provisional_events(store, device, device.window(self._settings), at_ms))
            kept = self._kept[device_id]
            kept.news = replace(kept.news, provisional=told)
            if told:
                self._suspects[device_id] = None  # behind the others

    def _due(self, registered: Mapping[str, Device], first: Sequence[str], now: float) -> list[str]:
        """Devices that were not looked at lately: the wanted ones, new ones, then those looked at longest ago."""
        kept = self._kept
        others = sorted(registered, key=lambda device_id: kept[device_id].looked_at if device_id in kept else -1e18)
        in_turn = dict.fromkeys([*first, *others])
        return [d for d in in_turn if d not in kept or now - kept[d].looked_at >= self._fresh]

    # -- devices on a page -------------------------------------------------------------------------------------------

    def _state(self, store: Store, device: Device, at_ms: int) -> DeviceState:
        window_ms, now = device.window(self._settings), self._clock()
        read_at, known = self._shown.get(device.device_id, (-1e18, None))
        if known is not None and now - read_at < self._fresh:
            return known
        if known is not None and now - read_at < SHOWN_SECONDS and _in_one_window(known.device, device, window_ms):
            live = open_window(store, device, window_ms, at_ms)
            return replace(known, device=device, values={**known.values, **live}, live=bool(live))
        state = device_state(store, device, window_ms, at_ms, units=self._units_of(store, device))
        self._shown[device.device_id] = now, state
        self._shown.move_to_end(device.device_id)
        return state

    def _units_of(self, store: Store, device: Device) -> dict[str, str]:
        if device_type(device.device_type) is not None:
            return {}
        if device.device_id not in self._units:
            self._units[device.device_id] = units_sent(store, device, device.window(self._settings))
        return self._units[device.device_id]


def _in_one_window(before: Device, now: Device, window_ms: int) -> bool:
    """Whether a device's newest reading still lies in the same window."""
    return before.last_seen // window_ms == now.last_seen // window_ms


class FleetBoards:
    """A board for each part of the site that somebody sees; what is known of one part is not shown to another.

    Args:
        settings: of this process.
        buildings: of who asks at the moment; None for the whole site.
        whole: board of the whole site; a new one when absent.
    """

    def __init__(
        self, settings: Settings, buildings: Callable[[], frozenset[str] | None], whole: FleetBoard | None = None
    ) -> None:
        self._settings, self._buildings, self._lock = settings, buildings, threading.Lock()
        self._boards: OrderedDict[frozenset[str] | None, FleetBoard] = OrderedDict()
        self._whole = whole or FleetBoard(settings)

    def refresh(self, store: Store, wanted: Iterable[str] = ()) -> Fleet:
        """See :meth:`FleetBoard.refresh`."""
        return self._own().refresh(store, wanted)

    def states(self, store: Store, devices: Sequence[Device], at_ms: int) -> dict[str, DeviceState]:
        """See :meth:`FleetBoard.states`."""
        return self._own().states(store, devices, at_ms)

    def _own(self) -> FleetBoard:
        buildings = self._buildings()
        if buildings is None:
            return self._whole
        with self._lock:
            if buildings not in self._boards:
                self._boards[buildings] = FleetBoard(self._settings)
            self._boards.move_to_end(buildings)
            while len(self._boards) > MOST_BOARDS:
                self._boards.popitem(last=False)
            return self._boards[buildings]
