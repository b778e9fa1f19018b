"""Incidents: anomalous windows that belong together, data losses, what many devices entered at once; where each stands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from hvac_platform.config import Settings
from hvac_platform.monitoring.data_loss import DATA_LOSS, FURTHEST_MS, DataLoss, Listening
from hvac_platform.monitoring.incident_history import active_incidents, history_batches, release_batches
from hvac_platform.monitoring.incident_windows import Grouping, all_losses
from hvac_platform.monitoring.incidents import (
    LIBRARY_MS,
    IncidentChanges,
    PastIncidents,
    fleet_scope_batches,
    incident_batches,
)
from hvac_platform.monitoring.passes.base import Pass, Span
from hvac_platform.monitoring.worth import Prices
from hvac_platform.stores.base import Store
from hvac_platform.stores.batches import TableBatch
from hvac_platform.stores.records import Incident


class IncidentsPass(Pass):
    """Incidents that reach into some spans, which of them are fleet-wide, and where they stand.

    Attributes:
        computed: incidents that were computed.
        on_incident: told of each, as its row.

    Args:
        store: where events and verdicts are.
        settings: lateness and silence decide whose data are lost, the quiet time what is one incident.
        spans: where to look; at least one.
        now_ms: the present, epoch milliseconds.
        only_changed: leave out incidents with the same windows as when they were last computed.
        open_past: open incidents that ended long ago too; else they are recorded, and nobody is told.
        fleet_wide: find out which belong to an event of many devices; the spans are then read for all devices.
        points_of: devices among whose points those that have stopped are looked for; of all when absent.
        follow_up: look at all incidents that are not closed yet, wherever they are: what ends by the clock ends then.
    """

    table = "incidents"

    def __init__(
        self,
        store: Store,
        settings: Settings,
        spans: Sequence[Span],
        *,
        now_ms: int,
        only_changed: bool = False,
        open_past: bool = False,
        fleet_wide: bool = True,
        points_of: Collection[str] | None = None,
        follow_up: bool = True,
    ) -> None:
        super().__init__(store)
        self._settings, self._spans, self._now_ms, self._only_changed = settings, spans, now_ms, only_changed
        self._open_past, self._fleet_wide, self._follow_up = open_past, fleet_wide, follow_up
        self._points_of = points_of
        self.computed = 0
        self.on_incident: Callable[[str, TableBatch], object] = lambda *_: None

    def batches(self) -> Iterator[TableBatch]:
        """Rows of incidents device by device, the scope of all that began in the spans, then where each stands."""
        if self._spans:
            yield from self._of_spans()
        if self._follow_up:
            yield from self._unclosed()

    def _of_spans(self) -> Iterator[TableBatch]:
        start_ms, end_ms = min(s.start_ms for s in self._spans), max(s.end_ms for s in self._spans)
        listening = Listening(self.store, self._settings, self._now_ms)
        past = PastIncidents(self.store, start_ms - LIBRARY_MS)
        changes: dict[str, IncidentChanges] = {}
        prices = Prices.of(self._settings)
        for span in self._spans:
            grouping = Grouping(span.device.window(self._settings), self._settings.incident_quiet_ms)
            with self.alone(span.device.device_id):
                for batch in incident_batches(
                    self.store,
                    span.device,
                    grouping,
                    span.start_ms,
                    span.end_ms,
                    now_ms=self._now_ms,
                    past=past,
                    losses=self._losses(listening, span),
                    points=self._points_of is None or span.device.device_id in self._points_of,
                    only_changed=self._only_changed,
                    changes=changes.setdefault(span.device.device_id, IncidentChanges()),
                    prices=prices,
                ):
                    if batch.action == "upsert":
                        self.computed += 1
                        self.on_incident(span.device.device_id, batch)
                    yield batch
        if self._fleet_wide:
            yield from fleet_scope_batches(self.store, self._settings, start_ms, end_ms)
        yield from history_batches(self.store, self._settings, changes, now_ms=self._now_ms, open_past=self._open_past)

    def _unclosed(self) -> Iterator[TableBatch]:
        """Incidents that somebody should look at and that no span reaches: the machine may have returned meanwhile."""
        quiet_ms = self._settings.incident_quiet_ms
        devices = {device.device_id: device for device in self.store.devices()}
        reached: dict[str, list[tuple[int, int]]] = {}
        for span in self._spans:
            reached.setdefault(span.device.device_id, []).append((span.start_ms - quiet_ms, span.end_ms))
        spans: list[Span] = []
        gone: dict[str, IncidentChanges] = {}
        for handling in active_incidents(self.store):
            device_id, named = handling.device_id, {"incident_id": handling.incident_id}
            found = Incident.first(self.store, device_id, only=("started_at", "ended_at", "methods"), equals=named)
            if found is None:
                gone[device_id] = IncidentChanges(gone=True)
            elif device_id in devices and not any(
                found.ended_at > a and found.started_at < b for a, b in reached.get(device_id, ())
            ):
                device = devices[device_id]
                window_ms, until_ms = device.window(self._settings), found.ended_at
                if DATA_LOSS in found.methods and until_ms - found.started_at > FURTHEST_MS:
                    until_ms = found.started_at + window_ms  # longer than a loss can be: what is it, where it began?
                spans.append(Span(device, until_ms - window_ms, until_ms))
        if spans:
            others = IncidentsPass(
                self.store,
                self._settings,
                spans,
                now_ms=self._now_ms,
                only_changed=True,
                fleet_wide=False,
                follow_up=False,
            )
            others.on_incident = self.on_incident
            yield from others.batches()
            self.computed += others.computed
            self.failed = others.failed | self.failed
        yield from history_batches(self.store, self._settings, gone, now_ms=self._now_ms)
        yield from release_batches(self.store, self._settings, self._now_ms)

    def _losses(self, listening: Listening, span: Span) -> list[DataLoss]:
        quiet_ms = self._settings.incident_quiet_ms
        return all_losses(
            lambda start_ms, end_ms: listening.data_losses(span.device, start_ms, end_ms),
            span.start_ms - quiet_ms,
            span.end_ms,
            quiet_ms,
        )
