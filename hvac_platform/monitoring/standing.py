"""Detection that stands: pass after pass as windows become complete, for a bounded time.

A run for each pass has a fixed cost of seconds; one that stands judges a window within a second of its becoming complete.
The latest day goes first, and a pass is short, so a long history that waits costs new windows little.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import apsw

from hvac_platform.config import Settings
from hvac_platform.detection.consensus import Comparison
from hvac_platform.embedding.learned import Encoders
from hvac_platform.monitoring.counted import count_judged
from hvac_platform.monitoring.judging import Judgement, ready_to_judge, together
from hvac_platform.monitoring.kept import KeptDevices
from hvac_platform.monitoring.passes import DetectionPass, IncidentsPass, Span, spans_of_days, write_pass
from hvac_platform.monitoring.pending import pending
from hvac_platform.monitoring.provisional_incidents import UrgentLook
from hvac_platform.standing_loop import stand
from hvac_platform.stores.base import Store, StoreError
from hvac_platform.stores.batches import write_batch
from hvac_platform.stores.records import Incident
from hvac_platform.timestamps import day_windows, now_ms

POLL_SECONDS = 0.5
"""How often the store is asked for windows that are complete and unjudged."""
SPANS_A_PASS = 256
"""Device-days of one pass; then newer windows are looked for. A pass works out a rule once for all devices of a type."""
GROUP_SECONDS = 60.0
"""How often incidents of all devices are computed: those that end, and devices that have fallen silent."""
WARM_WINDOWS = 10
"""A device that was heard within so many windows is one whose next window is near."""
IDLE_SECONDS = 300.0
"""Without a window to judge for so long, a run ends."""
HAND_OVER_SECONDS = 120.0
"""So much longer than planned it stands while no other run is there to take over."""
RETRIES, RETRY_SECONDS = 3, 1.0
"""A store that can't be used is asked again so often, after twice as long each time; then the run fails."""
FAILED_SECONDS, LONGEST_FAILED_SECONDS = 30.0, 3600.0
"""A device that can't be judged is tried again after so long, twice as long each time."""


@dataclass
class PassDone:
    """What one pass has done.

    Attributes:
        date: the UTC day of its windows.
        detection: the pass over windows.
        incidents: incidents that were computed.
        seconds: how long it took.
    """

    date: str
    detection: DetectionPass
    incidents: int
    seconds: float


@dataclass
class _Failing:
    """Devices that can't be judged at the moment."""

    until: dict[str, float] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)

    def note(self, device_id: str) -> None:
        """It has failed once more."""
        times = self.times[device_id] = self.times.get(device_id, 0) + 1
        self.until[device_id] = time.monotonic() + min(FAILED_SECONDS * 2 ** (times - 1), LONGEST_FAILED_SECONDS)

    def forget(self, device_id: str) -> None:
        """It has been judged."""
        self.until.pop(device_id, None)
        self.times.pop(device_id, None)

    def waits(self, device_id: str) -> bool:
        """Whether it is too early to try it again."""
        return self.until.get(device_id, 0.0) > time.monotonic()


class StandingDetection:
    """Judges windows as they become complete, until its time is over.

    Attributes:
        windows: windows judged.
        incidents: incidents computed.

    Args:
        store: where snapshots, profiles and verdicts are.
        encoders: of all devices.
        settings: lateness and silence decide which windows are complete.
        until: when it should end, by ``time.monotonic()``; it stands a little longer while nobody takes over.
        taken_over: whether a run is there that takes over.
        is_day: whether a UTC day may be judged.
        on_judgement: told of each judgement, and where the methods agree.
        on_pass: told of each pass that had something to judge.
        on_incidents: called when incidents were written outside of such a pass: what ends by the clock, what can't wait.
        on_trouble: told of devices that can't be judged, one line each.
    """

    def __init__(
        self,
        store: Store,
        encoders: Encoders,
        settings: Settings,
        *,
        until: float,
        taken_over: Callable[[], bool] = lambda: False,
        is_day: Callable[[str], bool] = lambda _: True,
        on_judgement: Callable[[Span, Judgement, Comparison], object] = lambda *_: None,
        on_pass: Callable[[PassDone], object] = lambda _: None,
        on_incidents: Callable[[], object] = lambda: None,
        on_trouble: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.store, self.encoders, self.settings, self.until = store, encoders, settings, until
        self.taken_over, self.is_day = taken_over, is_day
        self.on_judgement, self.on_pass, self.on_trouble = on_judgement, on_pass, on_trouble
        self.on_incidents = on_incidents
        self.windows = self.incidents = 0
        self._failing, self._kept = _Failing(), KeptDevices(store)
        self._days: dict[str, None] = {}
        self._stopped: set[str] = set()
        self._grouped = self._busy = time.monotonic()
        self._urgent = UrgentLook(store, settings)

    def run(self) -> None:
        """Stand.

        Raises:
            StoreError: the store could not be used again and again.
        """
        stand(
            self.step,
            self._over,
            away=(StoreError, OSError, apsw.Error),
            on_trouble=self.on_trouble,
            poll_seconds=POLL_SECONDS,
            retries=RETRIES,
            retry_seconds=RETRY_SECONDS,
        )
        self.group()

    def warm(self) -> None:
        """Work out what is kept of the devices that are heard, so that their next window costs that window.

        A run that takes over does so while the one before it still judges.
        """
        now = now_ms()
        for device in self.store.devices():
            window_ms = device.window(self.settings)
            if now - device.last_seen > WARM_WINDOWS * window_ms:
                continue
            start_ms = device.last_seen - device.last_seen % window_ms - WARM_WINDOWS * window_ms
            try:
                ready_to_judge(
                    *(self.store, device, self.encoders, self.settings, start_ms, device.last_seen),
                    now_ms=now,
                    kept=self._kept,
                ).judge()
            except Exception:
                self._kept.forget(device.device_id)

    def step(self) -> bool:
        """Judge some of what is complete and unjudged, of the latest day that has any; returns whether there was any."""
        if time.monotonic() - self._grouped >= GROUP_SECONDS:
            self.group()
        self._look_at_what_cannot_wait()
        found = pending(self.store, self.settings, now_ms())
        for date in sorted(filter(self.is_day, found.by_day), reverse=True):
            ready = [device_id for device_id in found.by_day[date] if not self._failing.waits(device_id)]
            ready.sort(key=lambda device_id: device_id not in self._urgent.waiting)  # what looked urgent comes first
            if ready:
                self._pass(date, ready[:SPANS_A_PASS])
                self._busy = time.monotonic()
                return True
        return False

    def group(self) -> None:
        """Incidents of all devices over the days of late: some have ended, and of some devices nothing comes any more.

        What ends by the clock (the quiet time after a fault, a snooze, a suppression) ends here.
        """
        self._grouped = time.monotonic()
        today = now_ms() - now_ms() % self.settings.window_ms
        spans = list(spans_of_days(self.store.devices(), list(self._days), self.settings)) if self._days else []
        self._days = {day: None for day in self._days if day_windows(day, self.settings.window_ms)[1] > today}
        self.incidents += self._incidents(spans, points_of=self._stopped, follow_up=True)
        self.on_incidents()

    def _look_at_what_cannot_wait(self) -> None:
        opened = [write_batch(self.store, Incident.TABLE, batch) for batch in self._urgent.batches(now_ms())]
        if opened:
            self.on_incidents()

    def _pass(self, date: str, device_ids: Sequence[str]) -> None:
        began = time.monotonic()
        known = {d.device_id: d for d in self.store.devices()}
        spans = [
            Span(known[d], *day_windows(date, known[d].window(self.settings)), date) for d in device_ids if d in known
        ]
        detection = DetectionPass(self.store, self.encoders, self.settings, spans, unjudged_only=True, kept=self._kept)
        concerned: list[Span] = []

        def judged(span: Span, judgement: Judgement, result: Comparison) -> None:
            device_id = span.device.device_id
            had_stopped = device_id in self._stopped
            (self._stopped.add if judgement.stopped else self._stopped.discard)(device_id)
            waits_since = self._urgent.waiting.get(device_id)
            decided = waits_since is not None and bool((judgement.series.times_ms >= waits_since).any())
            if decided:
                del self._urgent.waiting[device_id]
            if decided or judgement.anomalous.any() or judgement.was_flagged.any() or judgement.stopped or had_stopped:
                concerned.append(span)
            self._failing.forget(span.device.device_id)
            self.on_judgement(span, judgement, result)

        detection.on_judgement = judged
        for batch in together(detection.batches()):
            write_batch(self.store, detection.table, batch)
        for device_id, failure in detection.failed.items():
            self._failing.note(device_id)
            self._kept.forget(device_id)
            self.on_trouble(str(failure))
        self.windows += detection.windows
        count_judged(self.store, detection.windows)
        self._days[date] = None
        computed = self._incidents(concerned, points_of={span.device.device_id for span in concerned})
        self.incidents += computed
        self.on_pass(PassDone(date, detection, computed, time.monotonic() - began))

    def _incidents(self, spans: Sequence[Span], *, points_of: Collection[str], follow_up: bool = False) -> int:
        if not spans and not follow_up:
            return 0
        found = IncidentsPass(
            *(self.store, self.settings, spans),
            now_ms=now_ms(),
            only_changed=True,
            points_of=points_of,
            follow_up=follow_up,
        )
        write_pass(found)
        for failure in found.failed.values():
            self.on_trouble(str(failure))
        return found.computed

    def _over(self) -> bool:
        now = time.monotonic()
        if now - self._busy > IDLE_SECONDS:
            return True
        return now > self.until and (now > self.until + HAND_OVER_SECONDS or self.taken_over())
