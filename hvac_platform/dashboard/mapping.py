"""The map of a device's states, drawn when somebody opens it and not at each refresh."""

from __future__ import annotations

from typing import Any

import numpy as np
from dash import Dash, Input, Output, State, dcc, html, no_update

from hvac_platform.config import Settings
from hvac_platform.dashboard.components import Content, empty_state, graph, guarded
from hvac_platform.dashboard.figures import state_map_figure
from hvac_platform.dashboard.source import Source
from hvac_platform.monitoring.state_map import StateMap, state_map
from hvac_platform.stores.base import Device, Store
from hvac_platform.timestamps import iso
from hvac_platform.visible_text import visible

OPEN, DRAWN = "device-map-open", "device-map"


def panel() -> Content:
    """What is opened."""
    return html.Details(
        [
            html.Summary("State map", id=OPEN, n_clicks=0),
            dcc.Loading(html.Div(id=DRAWN), delay_show=500),
        ],
        className="map",
    )


def render(store: Store, device_id: str, settings: Settings) -> Content:
    """The map of a device."""
    device = Device.first(store, device_id)
    if device is None:
        return empty_state("no device of this name is registered")
    found = state_map(store, device, settings)
    if found is None:
        missing = "too few of its normal windows of the last week have an embedding by its own encoder"
        return empty_state(missing, ["hvac profiles build"])
    incidents = [
        (
            f"{iso(one.incident.started_at)[:16]}: {visible((one.incident.reasons or ['–'])[0], 80)}",
            one.incident.severity,
            one.place,
        )
        for one in found.incidents
    ]
    figure = state_map_figure(
        found.cloud,
        found.path,
        np.datetime_as_string(found.path_ms.astype("datetime64[ms]"), unit="m").tolist(),
        found.flagged,
        incidents,
    )
    return html.Div([html.P(_words(found), className="small"), graph(figure, label="State map: " + _words(found))])


def _words(found: StateMap) -> str:
    """What the map has, for who can't see it too."""
    normal = sum(map(len, found.cloud.values()))
    modes = ", ".join(f"{len(places) / normal:.0%} {visible(name, 80)}" for name, places in found.cloud.items())
    count = len(found.incidents)
    at = f" up to {iso(int(found.path_ms[-1]))[:16]}" if len(found.path_ms) else ""
    return (
        f"What lies close together is alike. {normal:,} normal windows of the last week are drawn ({modes}), the path of "
        f"the last day{at}, {'with' if found.flagged.any() else 'without'} anomalous windows, and {count} "
        f"incident{'s' * (count != 1)}. The axes are the two directions in which normal states differ most, with "
        f"{sum(found.shares):.0%} of their variance. Opened again, it is drawn anew."
    )


def register(app: Dash, source: Source) -> None:
    """The callback that draws it."""

    @app.callback(
        Output(DRAWN, "children"), Input(OPEN, "n_clicks"), State("device-id", "data"), prevent_initial_call=True
    )
    def draw(clicks: int | None, device_id: Any) -> Any:
        if not clicks or clicks % 2 == 0:  # it was shut
            return no_update
        return guarded(source, lambda store: render(store, str(device_id), source.settings))
