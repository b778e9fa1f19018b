"""What is known of incidents that are shown, such as what they are worth: computed once, however many look how often."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from hvac_platform.config import Settings
from hvac_platform.detection.worth import Savings
from hvac_platform.monitoring.normal_course import NormalCourse, normal_course
from hvac_platform.monitoring.worth import Prices, Worth, savings_of, worth_of
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import Incident, IncidentHandling

MOST = 500
"""So many are remembered."""
FRESH_MS = 600_000
"""For so long, unless the incident or the prices change: a profile may be learned anew, and time goes on after a repair."""


class KnownOfIncidents:
    """What incidents are worth and what would have been normal, as far as it was asked for lately.

    It answers for incidents that the caller has read, so who may not see one doesn't learn of it here.

    Args:
        settings: name the file of prices.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._lock = settings, threading.Lock()
        self._prices: Prices | None = None
        self._known: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def of(self, store: Store, incident: Incident, at_ms: int) -> Worth:
        """What an incident is worth.

        Args:
            store: has its windows.
            incident: as it is.
            at_ms: the present.
        """
        prices = self._prices_now()
        found: Worth = self._remembered(_key(incident, at_ms), lambda: worth_of(store, incident, prices))
        return found

    def of_several(self, store: Store, incidents: Sequence[Incident], at_ms: int) -> dict[str, Worth]:
        """What incidents are worth, by id: those that are known and the first that isn't; the others come later.

        Args:
            store: has their windows.
            incidents: as they are, the most important first.
            at_ms: the present.
        """
        self._prices_now()
        with self._lock:
            unknown = [one for one in incidents if _key(one, at_ms) not in self._known]
        later = {one.incident_id for one in unknown[1:]}
        return {one.incident_id: self.of(store, one, at_ms) for one in incidents if one.incident_id not in later}

    def savings(
        self, store: Store, incident: Incident, handling: IncidentHandling | None, at_ms: int
    ) -> tuple[Savings | None, str]:
        """What has been saved since an incident was resolved, or why it isn't known; empty of one that isn't."""
        prices = self._prices_now()
        stands = None if handling is None else (handling.state, handling.since, handling.continues)
        key = ("savings", incident.incident_id, incident.updated_at, stands, at_ms // FRESH_MS)
        found: tuple[Savings | None, str] = self._remembered(
            key, lambda: savings_of(store, incident, handling, prices, at_ms)
        )
        return found

    def normal_course(
        self, store: Store, device: Device, incident: Incident, span: tuple[int, int], at_ms: int
    ) -> NormalCourse | None:
        """What would have been normal around an incident; None where it isn't known.

        Args:
            store: has its windows.
            device: of the incident.
            incident: as it is.
            span: first instant included and first excluded, of what is wanted.
            at_ms: the present.
        """
        window_ms = device.window(self._settings)
        found: NormalCourse | None = self._remembered(
            ("normal", *_key(incident, at_ms), span),
            lambda: normal_course(store, device, incident, span, window_ms),
        )
        return found

    def _prices_now(self) -> Prices:
        prices = Prices.of(self._settings)
        with self._lock:
            if prices != self._prices:
                self._prices = prices
                self._known.clear()
        return prices

    def _remembered(self, key: tuple[Any, ...], compute: Callable[[], Any]) -> Any:
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        found = compute()
        with self._lock:
            self._known[key] = found
            while len(self._known) > MOST:
                self._known.popitem(last=False)
        return found


def _key(incident: Incident, at_ms: int) -> tuple[Any, ...]:
    """The worth of an incident is the same for as long as this is."""
    return ("worth", incident.incident_id, incident.ended_at, incident.updated_at, incident.label, at_ms // FRESH_MS)
