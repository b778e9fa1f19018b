"""Plants on the store: which incidents follow from one upstream, by readings of what devices give each other, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.plant import (
    APART_MS,
    Follower,
    Link,
    PlantFault,
    PlantIncident,
    Shifts,
    plant_faults,
)
from hvac_platform.devices.registry import device_type
from hvac_platform.devices.topology import Topology
from hvac_platform.monitoring.data_loss import DATA_LOSS
from hvac_platform.monitoring.incident_windows import FURTHEST_MS
from hvac_platform.monitoring.lasting import LASTING
from hvac_platform.monitoring.lifecycle import LASTING_ENDING, words_of_people
from hvac_platform.monitoring.stopped_points import STOPPED
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import Incident
from hvac_platform.stores.series import read_series
from hvac_platform.timestamps import iso

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

FLEET, PLANT = "fleet", "plant"
"""Scopes of incidents that have parts or are parts: of an event of many devices, of a plant's fault."""
_BEFORE_MS, _SETTLED_MS, _LOOKED_AT_MS = 70 * 60_000, 10 * 60_000, 4 * 3_600_000
"""A temperature is compared with that of so long before, less the last minutes, for so long from then on."""
_FAHRENHEIT = {"°C": 1.8, "K": 1.8}
"""What a difference of one is in °F, by the unit of the point."""
_SMOOTHED = 5
MOST_FOLLOWERS_NAMED = 6


@dataclass(frozen=True, slots=True)
class PlantScope:
    """Where an incident belongs in a fault of a plant.

    Attributes:
        incident: the incident.
        cause: root and evidence in words; empty where it stands alone.
        parent_id: the incident that it is part of.
    """

    incident: Incident
    cause: str = ""
    parent_id: str | None = None

    @property
    def scope(self) -> str:
        """The incident's scope."""
        return PLANT if self.cause else "local"


def plant_scopes(
    store: Store,
    topology: Topology,
    incidents: Iterable[Incident],
    begin_ms: int,
    end_ms: int,
    *,
    of_events: Collection[str] = (),
) -> dict[str, PlantScope]:
    """Where incidents that began in [begin_ms, end_ms) belong in faults of the plant, with all that they may be part of.

    That is everything on connected devices that overlaps them, or what overlaps them, in time: so whichever span is asked
    for, the same is decided of the same incidents.

    Args:
        store: where incidents, readings and profiles are.
        topology: what feeds what.
        incidents: those that began in the span.
        begin_ms: start of the span.
        end_ms: its end.
        of_events: ids of those that are of an event of many devices: the plant says nothing of them.

    Returns:
        By incident id; incidents that the plant says nothing of, and said nothing of before, are not in it.
    """
    asked = {incident.device_id for incident in incidents if incident.device_id in topology.devices}
    if not asked:
        return {}
    here = {
        incident.incident_id: incident
        for incident in _overlapping(store, topology.connected(asked), begin_ms, end_ms)
        if incident.incident_id not in of_events
        and (incident.scope != FLEET or begin_ms <= incident.started_at < end_ms)
        and _may_follow(incident)
    }
    closed = {
        device_id: words_of_people(store, device_id).closed_ms for device_id in {i.device_id for i in here.values()}
    }
    seen = [_seen(incident, closed[incident.device_id]) for incident in here.values()]
    found: dict[str, PlantScope] = {}
    for fault in plant_faults(seen, topology, _Readings(store, here).shifts):
        cause = cause_of(fault)
        parent = fault.parent.incident_id
        found[parent] = PlantScope(here[parent], cause)
        for follower in fault.followers:
            name = follower.incident.incident_id
            found[name] = PlantScope(here[name], cause, parent)
    for incident in here.values():
        if incident.scope == PLANT and incident.incident_id not in found:
            found[incident.incident_id] = PlantScope(incident)
    return found


def _overlapping(store: Store, device_ids: Collection[str], begin_ms: int, end_ms: int) -> list[Incident]:
    """Incidents of some devices that reach into a span, with those that overlap them, and so on."""
    wide = (begin_ms - FURTHEST_MS, end_ms + FURTHEST_MS)
    times = [
        (one.started_at, one.ended_at)
        for device_id in sorted(device_ids)
        for one in Incident.read(store, device_id, wide, only=("started_at", "ended_at"))
    ]
    low, high = begin_ms, end_ms
    while True:
        reaching = [(a, b) for a, b in times if a - APART_MS < high and b + APART_MS > low]
        wider = min([low, *(a for a, _ in reaching)]), max([high, *(b for _, b in reaching)])
        if wider == (low, high):
            break
        low, high = wider
    return [
        incident
        for device_id in sorted(device_ids)
        for incident in Incident.read(store, device_id, (low, high))
        if incident.started_at - APART_MS < high and incident.ended_at + APART_MS > low
    ]


def _may_follow(incident: Incident) -> bool:
    """Whether it is of anomalous windows, and of no lasting change."""
    parent = incident.parent_id or ""
    return not {DATA_LOSS, STOPPED, LASTING} & incident.methods.keys() and not parent.endswith(LASTING_ENDING)


def _seen(incident: Incident, closed_ms: Mapping[str, int]) -> PlantIncident:
    from hvac_platform.detection.fault_kinds import SENSOR_KINDS  # with pandas, which commands start without

    kind = incident.kinds[0]["kind"] if incident.kinds else ""
    own = (known["similarity"] for known in incident.kinds if known["kind"] not in SENSOR_KINDS)
    ranked = {name: 1.0 / (rank + 1) for rank, name in enumerate(incident.metrics)}
    return PlantIncident(
        incident_id=incident.incident_id,
        device_id=incident.device_id,
        device_type=device_type(incident.device_type),
        start_ms=incident.started_at,
        end_ms=incident.ended_at,
        deviation=incident.signature or ranked,
        sensor_kind=kind if kind in SENSOR_KINDS else "",
        own_kind=max(own, default=0.0),
        closed_ms=closed_ms.get(incident.incident_id),
    )


@dataclass
class _Readings:
    """Temperatures of what devices give to each other."""

    store: Store
    incidents: Mapping[str, Incident]

    def shifts(self, link: Link) -> Shifts:
        """How far the medium of a link went, where it leaves and where it arrives."""
        start_ms = min(link.upstream.start_ms, link.downstream.start_ms)
        end_ms = min(max(link.upstream.end_ms, link.downstream.end_ms), start_ms + _LOOKED_AT_MS)
        led_by = link.gives.led_by
        times, given, leading = self._read(link.upstream, link.gives.gives, led_by, start_ms, end_ms)
        arrived_at, taken, _ = self._read(link.downstream, link.takes.takes, None, start_ms, end_ms)
        settled_ms = start_ms - _SETTLED_MS
        return Shifts(
            shift_of(times, given if led_by is None else given - leading, settled_ms, start_ms),
            shift_of(arrived_at, taken, settled_ms, start_ms),
            together(times, given, arrived_at, taken),
        )

    def _read(
        self, incident: PlantIncident, point: str | None, beside: str | None, start_ms: int, end_ms: int
    ) -> tuple[Int64, Float64, Float64]:
        """Times, and temperatures of a point and of one beside it, in degrees of °F; empty without a point."""
        nothing = np.empty(0)
        if point is None or incident.device_type is None:
            return np.empty(0, dtype=np.int64), nothing, nothing
        wanted = [name for name in (point, beside) if name is not None]
        kind = self.incidents[incident.incident_id].device_type
        series = read_series(self.store, incident.device_id, kind, start_ms - _BEFORE_MS, end_ms, metrics=wanted)
        found = {
            name: series.mean[:, i] * _FAHRENHEIT.get(incident.device_type.point(name).unit, 1.0)
            for i, name in enumerate(series.metric_names)
        }
        unknown = np.full(len(series), np.nan)
        return series.times_ms, found.get(point, unknown), found.get(beside or "", unknown)


def together(times_ms: Int64, values: Float64, other_times_ms: Int64, others: Float64) -> float | None:
    """Correlation of n values with m others at the same times; None where fewer than five pairs or nothing moves.

    >>> times = np.arange(6)
    >>> together(times, np.array([1.0, 1, 2, 3, 4, 5]), times[1:], np.array([2.0, 4, 6, 8, 10]))
    1.0
    """
    _, mine, its = np.intersect1d(times_ms, other_times_ms, return_indices=True)
    a, b = values[mine], others[its]
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    if len(a) < _SMOOTHED or not a.std() or not b.std():
        return None
    return round(float(np.corrcoef(a, b)[0, 1]), 6)


def shift_of(times_ms: Int64, values: Float64, settled_ms: int, start_ms: int) -> float | None:
    """Largest shift of n values from what they were before; None where one of the two is unknown.

    Args:
        times_ms: int64 [n], ascending.
        values: float64 [n]; NaN where there is no reading.
        settled_ms: what lies before it is what was before.
        start_ms: what lies from it on is looked at, by medians of five.

    >>> shift_of(np.arange(8), np.array([1.0, 1, 1, 1, 5, 5, 5, 5]), 3, 4)
    4.0
    """
    known = np.isfinite(values)
    before, during = values[known & (times_ms < settled_ms)], values[known & (times_ms >= start_ms)]
    if not len(before) or not len(during):
        return None
    size = min(_SMOOTHED, len(during))
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(during, size), axis=1) - np.median(before)
    return float(smooth[np.abs(smooth).argmax()])


def cause_of(fault: PlantFault) -> str:
    """Root and evidence in words; what is in parentheses names devices.

    The part before them says what went astray, so that it may be shown to people who see some devices alone.
    """
    root, parent = fault.root, fault.parent
    own = parent.device_id == root
    begun = f"since {iso(parent.start_ms)[:16]}Z"
    first = f"root {root}; {begun}"
    if not own:
        first = f"root {root}; it has no incident of its own; {parent.device_id} {begun}"
    shown = [_later(parent, follower) for follower in fault.followers[:MOST_FOLLOWERS_NAMED]]
    if len(fault.followers) > len(shown):
        shown.append(f"{len(fault.followers) - len(shown)} more")
    return f"{fault.medium} ({first}; {', '.join(shown)})"


def _later(parent: PlantIncident, follower: Follower) -> str:
    minutes = round((follower.incident.start_ms - parent.start_ms) / 60_000)
    when = f"{abs(minutes)} min {'later' if minutes >= 0 else 'before'}"
    return f"{follower.incident.device_id} {when}, {follower.share:.0%} of its deviation in {follower.medium}"
