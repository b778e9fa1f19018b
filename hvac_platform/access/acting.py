"""What somebody does with an incident or a device that they see, as far as their role lets them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hvac_platform.access.limits import Limit
from hvac_platform.access.roles import Role
from hvac_platform.access.users import Person, UserError
from hvac_platform.monitoring import lifecycle
from hvac_platform.monitoring.incident_actions import Action, perform
from hvac_platform.monitoring.maintenance import enter
from hvac_platform.stores.base import Store, StoreError
from hvac_platform.stores.records import Incident, MaintenanceSpan
from hvac_platform.timestamps import iso, now_ms

logger = logging.getLogger(__name__)
MOST_ACTIONS, ACTIONS_SECONDS = 60, 60.0
"""Of one person within a minute: more is a program gone wrong."""


NO_DEVICE = "there is no such device, or none that you see"


class RoleError(UserError):
    """Who asks may not do that; the message says who may."""


class NoIncidentError(StoreError):
    """There is no such incident, or none that who asks sees."""


class NoDeviceError(StoreError):
    """There is no such device, or none that who asks sees."""


class TooOftenError(UserError):
    """Who asks has done too much within a minute; the message says when it goes on.

    Args:
        wait_seconds: so long it takes until then.
    """

    def __init__(self, wait_seconds: float) -> None:
        super().__init__(f"{MOST_ACTIONS} actions within a minute: try again in {wait_seconds:.0f} s")
        self.wait_seconds = wait_seconds


@dataclass(frozen=True, slots=True)
class Done:
    """What was done.

    Attributes:
        incident_id: to which incident: of one that another took in, the other.
        parts: number of incidents of other devices that it was done to with it.
    """

    incident_id: str
    parts: int


def require_acting(person: Person) -> None:
    """Whether a person may change something.

    Raises:
        RoleError: they may read alone.
    """
    if not person.name:
        raise RoleError(
            "a platform without users is for reading: hvac users add NAME --role operator, or hvac incidents --help"
        )
    if person.role not in (Role.OPERATOR, Role.ADMIN):
        raise RoleError(
            f"you are here as {person.name}, a viewer, who reads; an operator acts (hvac users add NAME --role operator)"
        )


class Runs(Protocol):
    """Launches runs over one device."""

    def launch(self, device_id: str, work: str, days: tuple[str, str] | None, by: str) -> str:
        """Launch one: what is to be done, first and last day or None, and who asks for it; its id."""


class Acting:
    """Does it for pages and API.

    Args:
        whole: the store, whoever asks: where an incident stands is written whole, also what its person doesn't see.
        clock: epoch milliseconds.
        runs: launches runs over one device.
    """

    def __init__(
        self, whole: Callable[[], Store | None], clock: Callable[[], int] = now_ms, runs: Runs | None = None
    ) -> None:
        self._whole, self._clock, self._runs = whole, clock, runs
        self._limit = Limit(MOST_ACTIONS, ACTIONS_SECONDS)

    def act(self, seen: Store, person: Person, incident_id: str, action: Action, *, alone: bool = False) -> Done:
        """Do something with an incident, and with those that are part of it, of devices that the person sees.

        Args:
            seen: the store as the person sees it.
            person: who does it.
            incident_id: to which incident.
            action: what.
            alone: leave those that are part of it.

        Raises:
            RoleError: the person may read alone.
            NoIncidentError: there is none, or they don't see it.
            TooOftenError: they did too much within a minute.
            NotAllowedError: it can't be done where the incident stands; says why.
        """
        self._let(person)
        found, whole = lifecycle.find_incident(seen, incident_id), self._whole()
        if found is None and lifecycle.history_of_gone(seen, incident_id):
            raise lifecycle.NotAllowedError(f"{incident_id} was taken back: its windows are not anomalous after all")
        if found is None or whole is None:
            raise NoIncidentError(f"no incident {incident_id[:100]!r}")
        parts = [] if alone else [_as_kept(whole, part) for part in lifecycle.children_of(seen, found)]
        done = perform(whole, _as_kept(whole, found), action, by=person.name, at_ms=self._clock(), parts=parts)
        logger.info("%s: %s by %s%s", found.incident_id, action.name, person.name, f", {done} parts" if done else "")
        return Done(found.incident_id, done)

    def enter_maintenance(
        self, seen: Store, person: Person, device_id: str, start_ms: int, end_ms: int, note: str
    ) -> MaintenanceSpan:
        """Enter known work on a device: nothing alarms in it, and nothing is learned from it.

        Raises:
            RoleError: the person may read alone.
            NoDeviceError: there is none, or they don't see it.
            TooOftenError: they did too much within a minute.
            MaintenanceError: the span can't be; says why.
        """
        self._let(person)
        whole = self._whole()
        if whole is None or device_id not in {device.device_id for device in seen.devices()}:
            raise NoDeviceError(NO_DEVICE)
        by = f"{note} ({person.name})" if note else f"entered by {person.name}"
        span = enter(whole, device_id, start_ms, end_ms, by, self._clock())
        logger.info("%s: maintenance from %s to %s by %s", device_id, iso(start_ms), iso(end_ms), person.name)
        return span

    def launch(self, seen: Store, person: Person, device_id: str, work: str, days: tuple[str, str] | None) -> str:
        """Launch a run over a device.

        Args:
            seen: the store as the person sees it.
            person: who asks for it.
            device_id: over which device.
            work: what it is to do.
            days: first and last UTC day; None where it isn't about days.

        Returns:
            Id of the run.

        Raises:
            RoleError: the person may read alone.
            NoDeviceError: there is none, or they don't see it.
            TooOftenError: they did too much within a minute.
            RunsError: it can't be launched; says why.
        """
        self._let(person)
        if self._runs is None or device_id not in {device.device_id for device in seen.devices()}:
            raise NoDeviceError(NO_DEVICE)
        run_id = self._runs.launch(device_id, work, days, person.name)
        told = "" if days is None else f" of {days[0]} to {days[1]}"
        logger.info("%s: run %s for its %s%s by %s", device_id, run_id, work, told, person.name)
        return run_id

    def _let(self, person: Person) -> None:
        """Whether a person may do one thing more."""
        require_acting(person)
        wait = self._limit.wait_seconds(person.name)
        if wait > 0:
            raise TooOftenError(wait)
        self._limit.note(person.name)


def _as_kept(whole: Store, incident: Incident) -> Incident:
    """An incident with all that is kept of it, from what its person sees of it."""
    kept = Incident.first(whole, incident.device_id, (incident.started_at, incident.started_at + 1))
    return incident if kept is None else kept
