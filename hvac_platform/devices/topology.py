"""Which device feeds which: a cooling tower its chillers, a chiller its air handlers (``feeds`` as in Brick)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType


class TopologyError(ValueError):
    """Devices are said to feed each other in a way that can't be; the message says which and how in one line."""


@dataclass(frozen=True, slots=True)
class Topology:
    """What feeds what; without circles, see :func:`topology_of`.

    Attributes:
        feeds: by device, the devices that it feeds directly, in the order of the file.
        fed_by: by device, the devices that feed it directly.
    """

    feeds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fed_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.feeds)

    @property
    def devices(self) -> frozenset[str]:
        """Devices that feed another or are fed by one."""
        return frozenset(self.feeds) | frozenset(self.fed_by)

    def upstream(self, device_id: str) -> tuple[str, ...]:
        """Devices that feed a device, directly or through others, the nearest first.

        >>> plant = topology_of({"CT-1": ["CH-1"], "CH-1": ["RTU-1"]})
        >>> plant.upstream("RTU-1"), plant.downstream("CT-1")
        (('CH-1', 'CT-1'), ('CH-1', 'RTU-1'))
        """
        return _reached(device_id, self.fed_by)

    def downstream(self, device_id: str) -> tuple[str, ...]:
        """Devices that a device feeds, directly or through others, the nearest first."""
        return _reached(device_id, self.feeds)

    def plants(self, present: Collection[str]) -> tuple[tuple[tuple[str, ...], ...], ...]:
        """Plants of some devices, each by levels: a device stands one below the lowest of those that feed it.

        >>> plant = topology_of({"CT-1": ["CH-1", "CH-2"], "CH-1": ["RTU-1"], "CH-9": ["RTU-9"]})
        >>> plant.plants({"CT-1", "CH-1", "CH-2", "RTU-1", "AC-1", "RTU-9"})
        ((('CT-1',), ('CH-1', 'CH-2'), ('RTU-1',)),)

        Args:
            present: devices that are shown; one that no other of them feeds or is fed by is in no plant.
        """
        fed_by = {name: [one for one in self.fed_by.get(name, ()) if one in present] for name in present}
        level: dict[str, int] = {}
        for name in TopologicalSorter(fed_by).static_order():
            level[name] = 1 + max((level[one] for one in fed_by[name]), default=-1)
        found, seen = [], set[str]()
        for name in sorted(present):
            members = self.connected([name]) & frozenset(present)
            if name in seen or len(members) < 2:
                continue
            seen |= members
            levels = [sorted(one for one in members if level[one] == depth) for depth in range(len(members))]
            found.append(tuple(tuple(row) for row in levels if row))
        return tuple(found)

    def connected(self, device_ids: Iterable[str]) -> frozenset[str]:
        """Some devices with all that they are connected to, upstream or downstream."""
        found: set[str] = set()
        waiting = list(device_ids)
        while waiting:
            device_id = waiting.pop()
            if device_id not in found:
                found.add(device_id)
                waiting += [*self.feeds.get(device_id, ()), *self.fed_by.get(device_id, ())]
        return frozenset(found)


NO_TOPOLOGY = Topology()
"""Of a site that hasn't said what feeds what."""


def topology_of(feeds: Mapping[str, Sequence[str]], known: Collection[str] | None = None) -> Topology:
    """The topology of ``feeds``, checked.

    Args:
        feeds: by device, the devices that it feeds.
        known: all devices; None where they are not known, and any may be named.

    >>> topology_of({"CT-1": ["CH-1", "CH-2"]}).fed_by["CH-2"]
    ('CT-1',)

    Raises:
        TopologyError: a device that is not known, that feeds itself or feeds another twice, or devices in a circle.
    """
    for device_id, fed in feeds.items():
        for name in (device_id, *fed):
            if not name.strip():
                raise TopologyError("feeds: the name of a device is empty")
            if known is not None and name not in known:
                raise TopologyError(f"feeds: {name} is not among the devices")
        if device_id in fed:
            raise TopologyError(f"feeds: {device_id} feeds itself")
        if twice := next((name for name in fed if fed.count(name) > 1), None):
            raise TopologyError(f"feeds: {device_id} feeds {twice} twice")
    fed_by: dict[str, tuple[str, ...]] = {}
    for device_id, fed in feeds.items():
        for name in fed:
            fed_by[name] = (*fed_by.get(name, ()), device_id)
    try:
        TopologicalSorter(fed_by).prepare()
    except CycleError as error:
        raise TopologyError(f"feeds: a circle, {' feeds '.join(error.args[1])}") from None
    return Topology(
        MappingProxyType({name: tuple(fed) for name, fed in feeds.items() if fed}), MappingProxyType(fed_by)
    )


def _reached(device_id: str, steps: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    def walk() -> Iterator[str]:
        level = [device_id]
        while level:
            level = [name for one in level for name in steps.get(one, ())]
            yield from level

    return tuple(dict.fromkeys(walk()))
