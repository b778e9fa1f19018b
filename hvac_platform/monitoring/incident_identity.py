"""Which incident is which: an id stays with its fault when late data, a backfill or another profile move its windows.

An incident has the id of the earliest one that it takes over from: one that it has a window of, or one that it overlaps in
time and has a rule or a metric in common with. What a person has closed ends there: windows later than a grace time after
it are another incident.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hvac_platform.stores.records import Incident

GRACE_MS = 30 * 60_000
"""A machine takes so long to come back after somebody has put it right; what is anomalous later is a new incident."""

Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Found:
    """Windows of one fault, as they were grouped.

    Attributes:
        times_ms: int64 [k], window starts, ascending.
        faults: what tells the fault: rules and leading metrics; empty where nobody looked.
        over: a person's word ends it here, so it can't go on.
    """

    times_ms: Int64
    faults: frozenset[str] = frozenset()
    over: bool = False

    @property
    def start_ms(self) -> int:
        """Start of the first window."""
        return int(self.times_ms[0])

    def end_ms(self, window_ms: int) -> int:
        """End of the last window."""
        return int(self.times_ms[-1]) + window_ms

    def has(self, time_ms: int) -> bool:
        """Whether a window that starts at an instant is one of it."""
        i = int(np.searchsorted(self.times_ms, time_ms))
        return i < len(self.times_ms) and int(self.times_ms[i]) == time_ms

    def overlaps(self, start_ms: int, end_ms: int) -> bool:
        """Whether the two have a moment in common."""
        return self.start_ms < end_ms and int(self.times_ms[-1]) >= start_ms


@dataclass(frozen=True, slots=True)
class Identity:
    """What one group of windows is.

    Attributes:
        found: the windows.
        incident_id: its id.
        before: the incident whose id it keeps; None for a new one.
        merged: incidents that it took in beside that one.
    """

    found: Found
    incident_id: str
    before: Incident | None = None
    merged: tuple[Incident, ...] = field(default=())


def identify(
    device_id: str,
    found: Sequence[Found],
    known: Sequence[Incident],
    window_ms: int,
    *,
    closed_ms: Mapping[str, int],
    in_use: Callable[[str], bool] = lambda _: False,
    by_fault: bool = False,
) -> list[Identity]:
    """Give each group of windows its id.

    Args:
        device_id: the device.
        found: groups of windows, in order of their starts.
        known: incidents that are there, of the time that the groups are of.
        window_ms: length of a window.
        closed_ms: when a person closed an incident, by id; its windows later than :data:`GRACE_MS` after that are another.
        in_use: whether an incident of another time has an id.
        by_fault: groups say all that is wrong, so an incident with none of it goes on as none of them.
    """

    def goes_on(part: Found, incident: Incident, parts: Sequence[Found]) -> bool:
        if by_fault and part.faults.isdisjoint((*incident.rules, *incident.metrics)):
            return False
        return _takes_over(part, incident, parts, window_ms)

    parts = [part for group in found for part in _cut(group, known, closed_ms, goes_on)]
    taken: set[str] = set()
    used = {incident.incident_id for incident in known}
    identities: list[Identity] = []
    for part in sorted(parts, key=lambda part: part.start_ms):
        mine = [i for i in known if i.incident_id not in taken and goes_on(part, i, parts)]
        taken |= {i.incident_id for i in mine}
        # One row of an id that was moved may still be there beside the new one.
        first, others = (mine[0], [i for i in mine if i.incident_id != mine[0].incident_id]) if mine else (None, [])
        name = (
            first.incident_id
            if first is not None
            else _unused(f"{device_id}/{part.start_ms}", lambda n: n in used or in_use(n))
        )
        used.add(name)
        identities.append(Identity(part, name, first, tuple(others)))
    return identities


def _takes_over(part: Found, incident: Incident, parts: Sequence[Found], window_ms: int) -> bool:
    """Whether an incident goes on as this part."""
    first, last = incident.started_at, incident.ended_at - window_ms
    told_by = {*incident.rules, *incident.metrics}
    for time_ms in (first, last):
        holders = [other for other in parts if other.has(time_ms)]
        if holders:  # several where faults go on at the same time
            return part is max(holders, key=lambda p: (len(p.faults & told_by), p.start_ms == first))
    return part.overlaps(first, incident.ended_at) and (not part.faults or bool(part.faults & told_by))


def _cut(
    group: Found,
    known: Sequence[Incident],
    closed_ms: Mapping[str, int],
    goes_on: Callable[[Found, Incident, Sequence[Found]], bool],
) -> Iterator[Found]:
    """A group, divided where a person has closed an incident that it takes over."""
    cuts = sorted(
        closed_ms[incident.incident_id] + GRACE_MS
        for incident in known
        if incident.incident_id in closed_ms and goes_on(group, incident, [group])
    )
    edges = np.unique(np.searchsorted(group.times_ms, np.array(cuts, dtype=np.int64), side="right"))
    parts = [part for part in np.split(group.times_ms, edges) if len(part)]
    last_cut = cuts[-1] if cuts else None
    for part in parts:
        yield Found(part, group.faults, over=last_cut is not None and int(part[-1]) <= last_cut)


def _unused(name: str, in_use: Callable[[str], bool]) -> str:
    """The id, or the same with a number where another incident has it, which began then and was moved since."""
    number, free = 1, name
    while in_use(free):
        number += 1
        free = f"{name}.{number}"
    return free
