"""Incidents of devices that feed each other: which follow from a fault upstream, and which device is its root.

A cooling tower whose fan stops sends warm water; its chillers alarm for it, minutes later, and nothing is wrong with them.
An incident *follows* from one of a device that feeds its own where the two overlap in time, what the one gives to the other
went astray there and arrived so here, and it isn't itself the picture of a fault of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hvac_platform.devices.registry import DeviceType, Medium
from hvac_platform.devices.topology import Topology

EARLIER_MS, LATER_MS = 45 * 60_000, 45 * 60_000
APART_MS = max(EARLIER_MS, LATER_MS)
"""So much before an incident upstream one that follows from it may be found, and so long after its end."""
LEAST_SHARE, LEAST_SHARE_UNREAD = 0.1, 0.4
"""Least part of the squared deviation in the points of the medium: where it is read as it arrives, and where it isn't."""
OWN_KIND = 0.8
"""An incident so alike a kind of fault of its own machine has that, whatever feeds it."""
LEAST_SHIFT_F, LEAST_TAKEN_F = 1.0, 0.5
"""Least shift of a medium's temperature from what it was before, where it leaves and where it arrives, °F."""
CERTAIN = ("sensor_failure", "stuck_sensor")
"""Faults of a sensor that its readings alone prove."""
LEAST_TOGETHER = 0.4
"""Least correlation of the temperatures where a medium leaves and where it arrives."""
LEAST_SHARE_TOGETHER, TOGETHER_MS = 0.5, 15 * 60_000
"""The same part, and the time within which they begin, of incidents that are of one root without an incident of its own."""


@dataclass(frozen=True, slots=True)
class PlantIncident:
    """What of an incident tells whether it follows from another.

    Attributes:
        incident_id: its id.
        device_id: its device.
        device_type: type of that; None where it isn't declared, and then it stands alone.
        start_ms: begin, epoch milliseconds.
        end_ms: end.
        deviation: deviation by metric, of any length, see :func:`~hvac_platform.detection.signatures.signature`.
        sensor_kind: its likeliest kind where that is a fault of a sensor, which nobody else feels; else empty.
        own_kind: how alike it is to the likeliest kind of fault of a machine of its type, 0 to 1.
        closed_ms: when a person closed it; what begins later doesn't follow from it.
    """

    incident_id: str
    device_id: str
    device_type: DeviceType | None
    start_ms: int
    end_ms: int
    deviation: Mapping[str, float] = field(default_factory=dict)
    sensor_kind: str = ""
    own_kind: float = 0.0
    closed_ms: int | None = None

    def share(self, points: Sequence[str]) -> float:
        """Part of its squared deviation that lies in some points, 0 to 1."""
        total = sum(value * value for value in self.deviation.values())
        return sum(self.deviation.get(name, 0.0) ** 2 for name in points) / total if total else 0.0


@dataclass(frozen=True, slots=True)
class Link:
    """Two incidents of which one may follow from the other, and by what.

    Attributes:
        upstream: the incident of the device that feeds.
        downstream: that of the device that is fed.
        gives: the medium as the one gives it.
        takes: the same as the other takes it.
    """

    upstream: PlantIncident
    downstream: PlantIncident
    gives: Medium
    takes: Medium


@dataclass(frozen=True, slots=True)
class Shifts:
    """How far a medium's temperature went from what it was before, °F; None where nobody reads it.

    Attributes:
        given: where it leaves the device upstream, less what leads it in normal operation.
        taken: where it arrives.
        together: correlation of the two, as they are read.
    """

    given: float | None = None
    taken: float | None = None
    together: float | None = None


@dataclass(frozen=True, slots=True)
class Follower:
    """An incident that follows from one upstream: in which medium, and what part of its deviation that is, 0 to 1."""

    incident: PlantIncident
    medium: str
    share: float


@dataclass(frozen=True, slots=True)
class PlantFault:
    """Incidents with one root.

    Attributes:
        root: device that is at fault.
        medium: what it gives that went astray, by name.
        parent: the incident that stands for all: that of the root, or the earliest where the root has none.
        followers: the others, in order of their starts.
    """

    root: str
    medium: str
    parent: PlantIncident
    followers: tuple[Follower, ...]


def plant_faults(
    incidents: Sequence[PlantIncident], topology: Topology, shifts: Callable[[Link], Shifts]
) -> list[PlantFault]:
    """Incidents that have their root in another device, by root; incidents in none of them stand alone.

    An incident follows from one of a device that feeds its own (see :func:`follows`), from the one that is most in the
    medium where there are several; the root is where that ends, upstream. Where two or more devices, and half of those
    that one device feeds, deviate in its medium within a quarter of an hour and it has no incident that explains it, it
    is the root all the same: that many sensors aren't wrong at once.

    Args:
        incidents: in any order; the result doesn't depend on it.
        topology: what feeds what.
        shifts: reads how far the medium of a link went.
    """
    by_device: dict[str, list[PlantIncident]] = {}
    for incident in sorted(incidents, key=_place):
        by_device.setdefault(incident.device_id, []).append(incident)
    ordered = sorted(incidents, key=_place)
    above: dict[str, Link] = {}
    for incident in ordered:
        found = [link for link in _links(incident, by_device, topology) if follows(link, shifts)]
        if found:
            above[incident.incident_id] = min(
                found, key=lambda link: (-round(link.upstream.share(link.gives.points), 3), *_place(link.upstream))
            )
    families: dict[str, tuple[PlantIncident, str, list[Follower]]] = {}
    for incident in ordered:
        if incident.incident_id not in above:
            continue
        own = link = above[incident.incident_id]
        while link.upstream.incident_id in above:
            link = above[link.upstream.incident_id]
        root = link.upstream
        family = families.setdefault(root.incident_id, (root, link.gives.name, []))
        family[2].append(Follower(incident, own.takes.name, incident.share(own.takes.points)))
    faults = [PlantFault(root.device_id, name, root, tuple(found)) for root, name, found in families.values()]
    known = {
        i for fault in faults for i in (fault.parent.incident_id, *(f.incident.incident_id for f in fault.followers))
    }
    alone = [incident for incident in ordered if incident.incident_id not in known]
    return sorted([*faults, *_without_root(alone, topology)], key=lambda fault: _place(fault.parent))


def follows(link: Link, read: Callable[[Link], Shifts]) -> bool:
    """Whether the incident downstream follows from the one upstream: see the module's docstring and its limits."""
    upstream, downstream = link.upstream, link.downstream
    if upstream.sensor_kind or not _in_time(upstream, downstream):
        return False
    is_read = link.takes.takes is not None
    if downstream.share(link.takes.points) < (LEAST_SHARE if is_read else LEAST_SHARE_UNREAD):
        return False
    # A coil that gets warm water looks as one that has lost its capacity does, or as if power alone were wrong.
    if downstream.sensor_kind in CERTAIN or (is_read and (downstream.sensor_kind or downstream.own_kind >= OWN_KIND)):
        return False
    shifts = read(link)
    if shifts.given is None or abs(shifts.given) < LEAST_SHIFT_F:
        return False
    if not is_read:
        return True
    arrived = shifts.taken is not None and abs(shifts.taken) >= LEAST_TAKEN_F
    return arrived and shifts.together is not None and shifts.together >= LEAST_TOGETHER


def _links(incident: PlantIncident, by_device: Mapping[str, list[PlantIncident]], topology: Topology) -> list[Link]:
    """Incidents of devices that feed an incident's device, with what they give it."""
    return [
        Link(other, incident, gives, takes)
        for device_id in topology.fed_by.get(incident.device_id, ())
        for other in by_device.get(device_id, ())
        for gives, takes in _media(other.device_type, incident.device_type)
    ]


def _media(upstream: DeviceType | None, downstream: DeviceType | None) -> list[tuple[Medium, Medium]]:
    """What machines of one type give to those of another."""
    if upstream is None or downstream is None:
        return []
    taken = {medium.name: medium for medium in downstream.media if medium.gives is None}
    return [(medium, taken[medium.name]) for medium in upstream.media if medium.gives and medium.name in taken]


def _in_time(upstream: PlantIncident, downstream: PlantIncident) -> bool:
    if upstream.closed_ms is not None and downstream.start_ms >= upstream.closed_ms:
        return False
    return upstream.start_ms - EARLIER_MS <= downstream.start_ms < upstream.end_ms + LATER_MS


def _without_root(alone: Sequence[PlantIncident], topology: Topology) -> list[PlantFault]:
    """Incidents of devices that one device feeds, which deviate together in what it gives."""
    faults: list[PlantFault] = []
    taken: set[str] = set()
    for device_id, fed in topology.feeds.items():
        able = [
            (incident, medium)
            for incident in alone
            if incident.device_id in fed and incident.device_type is not None
            if not incident.sensor_kind and incident.own_kind < OWN_KIND
            for medium in incident.device_type.media
            if medium.takes is not None and incident.share(medium.points) >= LEAST_SHARE_TOGETHER
        ]
        for first, medium in able:
            near = [
                (other, its)
                for other, its in able
                if other.incident_id not in taken
                and its.name == medium.name
                and first.start_ms <= other.start_ms <= first.start_ms + TOGETHER_MS
            ]
            devices = {other.device_id for other, _ in near}
            if first.incident_id in taken or len(devices) < 2 or 2 * len(devices) < len(fed):
                continue
            taken.update(other.incident_id for other, _ in near)
            followers = tuple(Follower(other, its.name, other.share(its.points)) for other, its in near[1:])
            faults.append(PlantFault(device_id, medium.name, first, followers))
    return faults


def _place(incident: PlantIncident) -> tuple[int, str, str]:
    return incident.start_ms, incident.device_id, incident.incident_id
