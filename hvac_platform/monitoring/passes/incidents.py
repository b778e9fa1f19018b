"""Incidents: anomalous windows that belong together, data losses, and what many devices entered at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hvac_platform.config import Settings
from hvac_platform.monitoring.data_loss import Listening
from hvac_platform.monitoring.incidents import LIBRARY_MS, PastIncidents, fleet_scope_batches, incident_batches
from hvac_platform.monitoring.passes.base import Pass, Span
from hvac_platform.stores.base import Store
from hvac_platform.stores.batches import TableBatch


class IncidentsPass(Pass):
    """Incidents that reach into some spans, and which of them are fleet-wide.

    Attributes:
        computed: incidents that were computed.
        on_incident: told of each, as its row.

    Args:
        store: where events and verdicts are.
        settings: lateness and silence decide whose data are lost.
        spans: where to look; at least one.
        now_ms: the present, epoch milliseconds.
        only_changed: leave out incidents with the same windows as when they were last computed.
    """

    table = "incidents"

    def __init__(
        self, store: Store, settings: Settings, spans: Sequence[Span], *, now_ms: int, only_changed: bool = False
    ) -> None:
        super().__init__(store)
        self._settings, self._spans, self._now_ms, self._only_changed = settings, spans, now_ms, only_changed
        self.computed = 0
        self.on_incident: Callable[[str, TableBatch], object] = lambda *_: None

    def batches(self) -> Iterator[TableBatch]:
        """Rows of incidents device by device, then the scope of all that began in the spans."""
        if not self._spans:
            return
        window_ms = self._settings.window_ms
        start_ms, end_ms = min(s.start_ms for s in self._spans), max(s.end_ms for s in self._spans)
        listening = Listening(self.store, self._settings, self._now_ms)
        past = PastIncidents(self.store, start_ms - LIBRARY_MS)
        for span in self._spans:
            with self.alone(span.device.device_id):
                for batch in incident_batches(
                    self.store,
                    span.device,
                    window_ms,
                    span.start_ms,
                    span.end_ms,
                    now_ms=self._now_ms,
                    past=past,
                    losses=listening.data_losses(span.device, span.start_ms, span.end_ms),
                    only_changed=self._only_changed,
                ):
                    if batch.action == "upsert":
                        self.computed += 1
                        self.on_incident(span.device.device_id, batch)
                    yield batch
        yield from fleet_scope_batches(self.store, window_ms, start_ms, end_ms)
