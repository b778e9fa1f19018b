"""Points that stop while their device is heard: each is an incident until readings come again or the point is retired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hvac_platform.detection.pace import Pace, Stop, counts_of, stops
from hvac_platform.monitoring.data_loss import spelled
from hvac_platform.monitoring.incident_identity import Found
from hvac_platform.monitoring.maintenance import wholly_in_maintenance
from hvac_platform.monitoring.points import Points, points_of
from hvac_platform.monitoring.refused import refused_points
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import Incident, MaintenanceSpan
from hvac_platform.stores.series import read_series
from hvac_platform.timestamps import DAY_MS, iso

STOPPED = "stopped"
"""What stands in place of a method's name in the incident of points that stopped."""
FURTHEST_MS = 8 * DAY_MS
"""A last reading is looked for so far back; of a stop that is known it is known."""
NAMED = 6
SENTENCES = 4
"""Stops that are told one by one."""
URGENT_SHARE = 0.5
"""Where so many of a device's points have stopped, hardly anything of it is watched any more, and it is urgent."""


@dataclass(frozen=True, slots=True)
class StoppedPoints:
    """Points of one device that stopped at about the same time, and again within the quiet time.

    Attributes:
        stops: the stops, by their start; at least one.
        paces: of the device's points.
        window_ms: length of a window.
        retired: points that are no longer expected.
        refused: why readings of a point that came in that time were refused, by metric.
    """

    stops: tuple[Stop, ...]
    paces: Mapping[str, Pace]
    window_ms: int
    retired: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def given_up(self) -> bool:
        """Whether nobody expects readings of any of them, so that nothing is left to wait for."""
        return self.over and self.retired.issuperset(self.metrics)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The points, in the order of their names."""
        return tuple(sorted({metric for stop in self.stops for metric in stop.metrics}))

    @property
    def found(self) -> Found:
        """The windows in which a point was missing, each a millisecond early.

        No window begins then, so the incident has a key of its own beside one that begins with the same window.
        """
        spans = [np.arange(stop.start_ms, stop.end_ms, self.window_ms, dtype=np.int64) for stop in self.stops]
        return Found(np.unique(np.concatenate(spans)) - 1, frozenset(self.metrics))

    @property
    def over(self) -> bool:
        """Whether readings of all of them have come again."""
        return all(stop.over for stop in self.stops)

    @property
    def level(self) -> int:
        """Guideline 36 level: urgent (3) where half of the device's points are silent, else of normal priority (4)."""
        return 3 if len(self.metrics) >= URGENT_SHARE * len(self.paces) else 4

    @property
    def longest(self) -> float:
        """Length of the longest stop in units of the silence that its pace allows."""
        return max(
            (stop.end_ms - stop.start_ms) / self.paces[metric].patience_ms(self.window_ms)
            for stop in self.stops
            for metric in stop.metrics
        )

    def reasons(self) -> list[str]:
        """A sentence for each stop; of many, how many there were, and the newest."""
        said = [self._sentence(stop) for stop in self.stops[-SENTENCES:]]
        if len(self.stops) <= SENTENCES:
            return said
        missed = sum(stop.end_ms - stop.start_ms for stop in self.stops)
        return [
            f"{len(self.stops)} stops since {iso(self.stops[0].start_ms)}, {spelled(missed)} in all; the newest:",
            *said,
        ]

    def _sentence(self, stop: Stop) -> str:
        more = len(stop.metrics) - NAMED
        named = ", ".join(stop.metrics[:NAMED]) + (f" and {more} more" if more > 0 else "")
        pace = self.paces[stop.metrics[0]]
        usual = f"each {spelled(pace.interval_ms)}" if pace.regular else f"after {spelled(pace.longest_ms)} at most"
        length = spelled(stop.end_ms - stop.start_ms)
        of = f" ({len(stop.metrics)} of {len(self.paces)} points)" if len(stop.metrics) > 1 else ""
        span = f"for {length} after {iso(stop.start_ms)}"
        why = "; ".join(dict.fromkeys(self.refused[metric] for metric in stop.metrics if metric in self.refused))
        if why:
            return f"readings of {named}{of} come and are refused {span}: {why}"
        return f"no readings of {named}{of} {span}; usually one comes {usual}"


def stopped_points(
    store: Store,
    device: Device,
    window_ms: int,
    start_ms: int,
    end_ms: int,
    known: Sequence[Incident],
    quiet_ms: int = 0,
) -> list[StoppedPoints]:
    """Stops of a device's points that reach into [start_ms, end_ms), those that began at about the same time together.

    A point that stops again within the quiet time after it returned has one fault, so these stops are together too, with
    those before the span that a known incident has.

    Args:
        store: has the device's points, snapshots and maintenance.
        device: whose.
        window_ms: length of a window.
        start_ms: start of the span.
        end_ms: its end.
        known: incidents of the time before: of a stop that goes on they say when it began.
        quiet_ms: longest pause within one incident.
    """
    points = points_of(store, device.device_id)
    paces = {**points.paces, **{metric: pace for metric, (pace, _) in points.retired.items()}}
    if not paces:
        return []
    low_ms, high_ms = start_ms, end_ms
    while True:
        found, whole = _stops(store, device, window_ms, (low_ms, high_ms), known, points, paces)
        mine = [stop for stop in found if stop.end_ms > start_ms and stop.start_ms < end_ms]
        # Of a stop that goes on since before, its incident says when it began, and nothing of that time is read again.
        again = [
            i.started_at + 1
            for i in known
            for stop in mine
            if stop.start_ms > i.started_at + 1 and _is_of(i, stop, quiet_ms)
        ]
        ends = [i.ended_at + 1 for i in known if any(_is_of(i, stop, quiet_ms) for stop in mine)]
        wider = min([low_ms, *again]), max([high_ms, *ends])
        if not whole and any(not stop.over for stop in mine):  # it ends behind what was looked at
            wider = wider[0], max(wider[1], min(device.last_seen + 1, 2 * high_ms - low_ms))
        if wider == (low_ms, high_ms):
            break
        low_ms, high_ms = wider
    maintenance = MaintenanceSpan.read(store, device.device_id) if mine else []
    found = [stop for stop in found if not wholly_in_maintenance(stop.start_ms, stop.end_ms, window_ms, maintenance)]
    groups = _together(found, paces, window_ms, quiet_ms)
    return [
        StoppedPoints(
            tuple(group), paces, window_ms, frozenset(points.retired), _refused(store, device.device_id, group)
        )
        for group in groups
        if any(stop.end_ms > start_ms and stop.start_ms < end_ms for stop in group)
    ]


def _stops(
    store: Store,
    device: Device,
    window_ms: int,
    span: tuple[int, int],
    known: Sequence[Incident],
    points: Points,
    paces: Mapping[str, Pace],
) -> tuple[list[Stop], bool]:
    """Stops that reach into a span, and whether nothing newer came of the device."""
    start_ms, end_ms = span
    since = {m: i.started_at + 1 for i in known if STOPPED in i.methods and i.started_at < start_ms for m in i.metrics}
    patience = max(pace.patience_ms(window_ms) for pace in paces.values())
    back = patience
    while True:
        low = start_ms - back
        series = read_series(store, device.device_id, device.device_type, low, end_ms)
        read = {name for j, name in enumerate(series.metric_names) if series.count[:, j].any()}
        unseen = paces.keys() - read - since.keys()
        if not unseen or low <= device.first_seen or back >= FURTHEST_MS:
            break
        back = min(8 * back, FURTHEST_MS)
    if not len(series):
        return [], True
    names = tuple(sorted(paces))
    observed_ms = int(series.times_ms[-1]) + window_ms
    # Nothing newer came of the device: what was retired since then is no longer missed from now on.
    last = observed_ms > device.last_seen - window_ms
    found = stops(
        series.times_ms,
        counts_of(series, names),
        names,
        paces,
        window_ms,
        until_ms=observed_ms,
        since_ms=since,
        retired_ms={m: min(at_ms, observed_ms) if last else at_ms for m, (_, at_ms) in points.retired.items()},
    )
    return [stop for stop in found if stop.end_ms > start_ms and stop.start_ms < end_ms], last


def _is_of(incident: Incident, stop: Stop, quiet_ms: int) -> bool:
    """Whether a stop is one of those of an incident: of a point of it, no more than the quiet time before or after."""
    begin_ms, end_ms = incident.started_at + 1 - quiet_ms, incident.ended_at + 1 + quiet_ms
    return (
        STOPPED in incident.methods
        and stop.start_ms <= end_ms
        and stop.end_ms >= begin_ms
        and not set(incident.metrics).isdisjoint(stop.metrics)
    )


def _refused(store: Store, device_id: str, group: Sequence[Stop]) -> dict[str, str]:
    metrics = {metric for stop in group for metric in stop.metrics}
    begin_ms, end_ms = min(stop.start_ms for stop in group), max(stop.end_ms for stop in group)
    return refused_points(store, device_id, metrics, begin_ms, end_ms)


def of_same_stop(groups: Sequence[StoppedPoints], found: Found) -> StoppedPoints | None:
    """The group that an incident's windows are of; groups may go on at the same time, one point after the other stopped."""

    def likeness(group: StoppedPoints) -> tuple[int, int]:
        return len(found.faults.intersection(group.metrics)), len(np.intersect1d(group.found.times_ms, found.times_ms))

    end_ms = int(found.times_ms[-1]) + 1
    return max((g for g in groups if g.found.overlaps(found.start_ms, end_ms)), key=likeness, default=None)


def _together(found: Sequence[Stop], paces: Mapping[str, Pace], window_ms: int, quiet_ms: int) -> list[list[Stop]]:
    """Stops by their start, in groups.

    One that begins within the silence that its pace allows after another that goes on joins it, and so does one of the same
    point within the quiet time after that returned.
    """
    groups: list[list[Stop]] = []
    for stop in found:
        again = (g for g in reversed(groups) if any(_is_again(stop, other, quiet_ms) for other in g))
        if (group := next(again, None)) is not None:
            group.append(stop)
            continue
        allowed = max(paces[metric].patience_ms(window_ms) for metric in stop.metrics)
        if groups and any(other.start_ms <= stop.start_ms < other.end_ms for other in groups[-1]):
            first = groups[-1][0]
            reach = max(allowed, *(paces[metric].patience_ms(window_ms) for metric in first.metrics))
            if stop.start_ms - first.start_ms <= reach:
                groups[-1].append(stop)
                continue
        groups.append([stop])
    return groups


def _is_again(stop: Stop, other: Stop, quiet_ms: int) -> bool:
    """Whether a point of another stop has stopped again within the quiet time after it returned."""
    is_soon = 0 <= stop.start_ms - other.end_ms <= quiet_ms
    return is_soon and not set(stop.metrics).isdisjoint(other.metrics)
