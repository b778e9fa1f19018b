"""Plants: what feeds what, level by level, and how each device of them is."""

from __future__ import annotations

from collections.abc import Sequence

from dash import Dash, Input, Output, dcc, html

from hvac_platform.config import Settings
from hvac_platform.dashboard.components import (
    Content,
    device_links,
    empty_state,
    guarded,
    named,
    note,
    nothing_registered,
    severity_badge,
    status_badge,
)
from hvac_platform.dashboard.device_states import Fleet, FleetBoards
from hvac_platform.dashboard.formatting import age, device_href, incident_href, type_title
from hvac_platform.dashboard.reading import SEVERITIES
from hvac_platform.dashboard.source import Source
from hvac_platform.devices.topology import NO_TOPOLOGY, Topology
from hvac_platform.monitoring.site_topology import topology_of_site
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import Incident
from hvac_platform.visible_text import visible

MOST_DEVICES = 500
"""Of a plant with more, those are shown that have an incident, and what they feed or are fed by directly."""
FED_SHOWN = 8
EXAMPLE = """{"feeds": {"TOWER-1": ["CHILLER-1"], "CHILLER-1": ["AIR-HANDLER-1"]}}"""


def layout() -> Content:
    """The page before its first refresh."""
    return html.Div(
        [
            html.H1("Plants"),
            html.P(
                "What feeds what, level by level, and how each device is. A fault that goes on into what is fed is one "
                "incident, of the device that it began with.",
                className="small",
            ),
            html.Div(note("reading …"), id="plant-content"),
        ]
    )


def render(store: Store, settings: Settings, board: FleetBoards) -> Content:
    """One refresh."""
    fleet, topology = board.refresh(store), topology_of_site(settings) or NO_TOPOLOGY
    if not fleet.devices:
        return nothing_registered()
    if not topology:
        return empty_state(
            "nobody has said what feeds what: write it into a file that HVAC_FLEET names (docs/plant.md)", [EXAMPLE]
        )
    devices = {device.device_id: device for device in fleet.devices}
    shown = _shown(topology, fleet, [name for name in devices if name in topology.devices])
    plants = topology.plants(shown)
    if not plants:
        return empty_state("no device that feeds another, or is fed by one, has been heard")
    left_out = len(topology.devices & devices.keys()) - len(shown)
    return html.Div(
        [
            *(_plant(store, levels, topology, fleet, devices) for levels in plants),
            *([note(f"{left_out} more devices are well, and so is what they feed.")] if left_out else []),
        ]
    )


def _shown(topology: Topology, fleet: Fleet, members: Sequence[str]) -> list[str]:
    """Devices of plants that are shown."""
    if len(members) <= MOST_DEVICES:
        return list(members)
    ill = [name for name in members if fleet.incidents.get(name)]
    near = {other for name in ill for of in (topology.feeds, topology.fed_by) for other in of.get(name, ())}
    return [name for name in members if name in {*ill, *near}][:MOST_DEVICES]


def _plant(
    store: Store, levels: Sequence[Sequence[str]], topology: Topology, fleet: Fleet, devices: dict[str, Device]
) -> Content:
    """One plant."""
    ill = sum(bool(fleet.incidents.get(name)) for row in levels for name in row)
    count = sum(map(len, levels))
    told = f"{count} devices, {ill} with an open incident" if ill else f"{count} devices, none with an open incident"
    return html.Section(
        [
            html.H2(
                ", ".join(visible(name, 60) for name in levels[0][:3]) + (" and more" if len(levels[0]) > 3 else "")
            ),
            html.P(told, className="small"),
            html.Div(
                [
                    html.Ol(
                        [html.Li(_device(store, devices[name], topology, fleet)) for name in row], className="level"
                    )
                    for row in levels
                ],
                className="plant",
                role="group",
                **named("Levels of the plant"),
            ),
        ]
    )


def _device(store: Store, device: Device, topology: Topology, fleet: Fleet) -> Content:
    """A device: how it is, the worst that is open of it, and what it feeds."""
    status, incidents = fleet.statuses[device.device_id], fleet.incidents.get(device.device_id, [])
    worst = fleet.worst(device.device_id)
    fed = [name for name in topology.feeds.get(device.device_id, ()) if name in fleet.statuses]
    heard = f"{type_title(device.device_type)} · last reading {age(fleet.at_ms - device.last_seen)} ago"
    return html.Article(
        [
            html.Header(
                [
                    dcc.Link(visible(device.device_id, 60), href=device_href(device.device_id)),
                    status_badge(status),
                    *([severity_badge(worst)] if worst else []),
                ]
            ),
            html.P(heard, className="small"),
            *([_open(store, incidents)] if incidents else []),
            *([html.P(["feeds ", *device_links(fed, FED_SHOWN)], className="small")] if fed else []),
        ],
        className=f"card edge-{status.name.lower()}",
    )


def _open(store: Store, incidents: Sequence[Incident]) -> Content:
    """What is open, the worst of it in words."""

    def rank(incident: Incident) -> tuple[int, int]:
        known = incident.severity in SEVERITIES
        return SEVERITIES.index(incident.severity) if known else len(SEVERITIES), incident.started_at

    first = min(incidents, key=rank)
    first = Incident.first(store, first.device_id, (first.started_at, first.started_at + 1)) or first
    if first.parent_id is not None and first.scope == "plant":
        return html.P(dcc.Link("follows from what feeds it", href=incident_href(first.parent_id)))
    told = visible((first.reasons or [first.severity])[0], 160)
    more = f" and {len(incidents) - 1} more" if len(incidents) > 1 else ""
    return html.P([dcc.Link(told, href=incident_href(first.incident_id)), more])


def register(app: Dash, source: Source, board: FleetBoards) -> None:
    """The callback of the page."""

    @app.callback(Output("plant-content", "children"), Input("tick", "n_intervals"))
    def refresh(_tick: int | None) -> Content:
        return guarded(source, lambda store: render(store, source.settings, board))
