"""What a file of alerts says that can hardly be meant: names of nothing that is known, and routes that nothing comes to.

The file can be used all the same: a device type may be heard tomorrow that no file declares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase

from hvac_platform.alerts.tree import Match, Route, Tree
from hvac_platform.alerts.troubles import KINDS
from hvac_platform.devices.registry import device_types
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import NO_POINTS, DevicePoint


def doubts(tree: Tree, store: Store | None = None) -> list[str]:
    """What is doubtful in a tree, one line each; the store knows types, buildings and points that no file declares."""
    known = _known(store)
    names = Counter(name for name in _names(tree.route) if name)
    found = [f"{n} routes are called {name!r}: give each a name of its own" for name, n in names.items() if n > 1]
    return [*found, *_of_route(tree.route, "route", (), known)]


def _known(store: Store | None) -> Mapping[str, set[str]]:
    """What there is, by the name in a match."""
    from hvac_platform.detection.fault_kinds import known_kinds  # brings pandas

    types = device_types().values()
    devices = store.devices() if store is not None else []
    points = DevicePoint.read(store, only=("metric",)) if store is not None else []
    return {
        "type": {kind.name for kind in types} | {device.device_type for device in devices} | {"platform"},
        "rule": {rule.id for kind in types for rule in kind.rules} | set(KINDS),
        "metric": {point.name for kind in types for point in kind.points} | {p.metric for p in points} - NO_POINTS,
        "kind": set(known_kinds()),
        **({"device": {d.device_id for d in devices} | {"platform"}} if devices else {}),
        **({"building": {d.building_id for d in devices}} if devices else {}),
    }


def _names(route: Route) -> Iterator[str]:
    yield route.name
    for child in route.routes:
        yield from _names(child)


def _of_route(route: Route, path: str, above: tuple[str, ...], known: Mapping[str, set[str]]) -> Iterator[str]:
    for name, there in known.items():
        for pattern in getattr(route.match, name):
            if not any(fnmatchcase(value, pattern) for value in there):
                yield f"{path}.match.{name}: nothing that is known is called {pattern!r}{_meant(pattern, there)}"
    receivers = route.receivers if route.receivers is not None else above
    takes_all = next((i for i, child in enumerate(route.routes) if child.match == Match() and not child.go_on), None)
    if not receivers and takes_all is None:
        yield f"{path}: it has no receivers, so nobody is told of what no route below it takes"
    for i, child in enumerate(route.routes):
        if takes_all is not None and i > takes_all:
            yield (
                f"{path}.routes[{i}]: nothing comes to it, because {path}.routes[{takes_all}] has no match and takes all: "
                "put it first, or give the other one continue: true"
            )
        yield from _of_route(child, f"{path}.routes[{i}]", receivers, known)


def _meant(pattern: str, there: Collection[str]) -> str:
    near = get_close_matches(pattern, there, 1)
    return f": is {near[0]} meant?" if near else ""
