"""Fleet: totals on top, then one card a device, the most urgent first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update

from hvac_platform.dashboard.components import (
    NO_PAGE,
    Content,
    Page,
    chooser,
    guarded,
    note,
    nothing_registered,
    option,
    page_of,
    pager,
    severity_badge,
    status_badge,
    total,
)
from hvac_platform.dashboard.device_states import URGENCY, Fleet, FleetBoard, Status
from hvac_platform.dashboard.figures import sparkline
from hvac_platform.dashboard.formatting import (
    age,
    device_href,
    key_metrics,
    metric_title,
    metric_value,
    number,
    type_title,
    visible,
)
from hvac_platform.dashboard.front import texts_once
from hvac_platform.dashboard.paging import pager_outputs, pager_state, register_pager
from hvac_platform.dashboard.reading import DeviceState, Ingestion
from hvac_platform.dashboard.shared_readings import SharedReadings
from hvac_platform.stores.base import Device, Store

CARDS = 24
METRICS = 6


def layout() -> Content:
    """The page before its first refresh."""
    return html.Div(
        [
            html.H1("Fleet"),
            html.Div(id="fleet-totals", className="totals"),
            html.Div(
                [
                    chooser("fleet-type", "Type", []),
                    chooser("fleet-building", "Building", []),
                    chooser("fleet-status", "Status", [option(s.value) for s in Status]),
                    pager("fleet"),
                ],
                className="controls",
            ),
            html.Div(note("reading …"), id="fleet-cards"),
            dcc.Store(id="fleet-shown", data=[]),
        ]
    )


def chosen(fleet: Fleet, device_type: str | None, building: str | None, status: str | None) -> list[Device]:
    """Devices that pass the filters, most urgent first, then by id."""
    kept = [
        d
        for d in fleet.devices
        if (not device_type or d.device_type == device_type)
        and (not building or d.building_id == building)
        and (not status or fleet.statuses[d.device_id] == status)
    ]
    return sorted(kept, key=lambda d: (URGENCY[fleet.statuses[d.device_id]], d.device_id))


def totals(fleet: Fleet, flow: Ingestion | Exception | None, rejected: int | Exception) -> list[Content]:
    """Numbers of the whole fleet."""
    open_incidents = fleet.open_by_severity()
    partly = (
        f"{fleet.read:,} of {len(fleet.devices):,} devices read so far" if fleet.read < len(fleet.devices) else None
    )
    silent = sum(status is Status.SILENT for status in fleet.statuses.values())
    worst = next((s for s, count in open_incidents.items() if count), "")
    boxes = [
        total("devices", number(len(fleet.devices), 0), f"{silent:,} silent" if silent else "all are heard of"),
        total(
            "open incidents",
            number(sum(open_incidents.values()), 0),
            partly or ", ".join(f"{count:,} {severity}" for severity, count in open_incidents.items()),
            kind=f"severity-{worst}" if worst else "",
        ),
    ]
    if isinstance(flow, Ingestion):
        behind = f"{flow.lag:,} messages wait" if flow.lag else "nothing waits"
        told, kind = (visible(flow.troubles[0], 120), "severity-critical") if flow.troubles else (behind, "")
        boxes.append(total("readings per minute", number(flow.per_minute, 0), told, kind=kind))
    else:
        boxes.append(total("readings per minute", "–", _why(flow, "the log has no such topic yet")))
    if isinstance(rejected, int):
        boxes.append(total("dead letters", number(rejected, 0), "rejected messages"))
    else:
        boxes.append(total("dead letters", "–", _why(rejected, "")))
    return boxes


def _why(error: Exception | None, otherwise: str) -> str:
    return otherwise if error is None else visible(error, 120)


def card(device: Device, status: Status, state: DeviceState | None, at_ms: int) -> Content:
    """One device: what it is, how it is, and its key metrics."""
    place = ", ".join(part for part in (visible(device.location, 60), visible(device.building_id, 60)) if part)
    worst = state.worst if state is not None else None
    what = type_title(device.device_type) + (f" · {place}" if place else "")
    return html.Article(
        [
            html.Header(
                [
                    dcc.Link(visible(device.device_id, 60), href=device_href(device.device_id)),
                    status_badge(status),
                    *([severity_badge(worst)] if worst else []),
                ]
            ),
            html.P(f"{what}\n{_when(device, state, at_ms)}", className="lines"),
            _key_values(device, state)
            if state is not None
            else note("Its state is read at one of the next refreshes."),
        ],
        className=f"card edge-{status.name.lower()}",
    )


def _when(device: Device, state: DeviceState | None, at_ms: int) -> str:
    said = f"last reading {age(at_ms - device.last_seen)} ago"
    if state is None or not state.values:
        return said
    kind = "latest readings" if state.live else "newest window"
    score = f" · score {number(state.score, 2)}" if state.score is not None else ""
    return f"{said} · {kind}{score}"


def _key_values(device: Device, state: DeviceState) -> Content:
    names = key_metrics(device.device_type, list(state.values), METRICS)
    if not names:
        return note("No snapshot in its last hour.")
    cells: list[Content] = []
    for name in names:
        history = state.history.get(name)
        line = sparkline(history) if history is not None else ""
        value = metric_value(device.device_type, name, state.values[name], state.units)
        cells.append(html.Dt(metric_title(device.device_type, name)))
        cells.append(html.Dd(value, style={"backgroundImage": f'url("{line}")'} if line else {}))
    return html.Dl(cells, className="key")


def cards(fleet: Fleet, devices: Sequence[Device]) -> Content:
    """Cards of some devices."""
    if not fleet.devices:
        return nothing_registered()
    if not devices:
        return note("No device passes the filters.")
    made = [card(d, fleet.statuses[d.device_id], fleet.states.get(d.device_id), fleet.at_ms) for d in devices]
    return html.Div(made, className="cards")


@dataclass(frozen=True, slots=True)
class FleetView:
    """What a refresh shows: totals, cards, where one is, options of the filters, ids of the devices shown."""

    totals: list[Content]
    cards: Content
    page: Page
    types: list[dict[str, str]]
    buildings: list[dict[str, str]]
    shown: list[str]


def render(
    store: Store,
    board: FleetBoard,
    shared: SharedReadings,
    filters: tuple[str | None, str | None, str | None],
    page: int,
    shown_before: Sequence[str] = (),
) -> FleetView:
    """One refresh; devices that were shown before are read first."""
    fleet = board.refresh(store, shown_before)
    devices = chosen(fleet, *filters)
    here = page_of(devices, page, CARDS, "devices")
    return FleetView(
        totals(fleet, shared.ingestion(), shared.rejected()) if fleet.devices else [],
        cards(fleet, here.rows),
        here,
        [option(name, type_title(name)) for name in sorted({d.device_type for d in fleet.devices})],
        [option(name) for name in sorted({d.building_id for d in fleet.devices if d.building_id})],
        [d.device_id for d in here.rows],
    )


def register(app: Dash, board: FleetBoard, shared: SharedReadings) -> None:
    """Callbacks of the page."""
    register_pager(app, "fleet", ("fleet-type", "fleet-building", "fleet-status"))

    @app.callback(
        Output("fleet-totals", "children"),
        Output("fleet-cards", "children"),
        *pager_outputs("fleet"),
        Output("fleet-type", "options"),
        Output("fleet-building", "options"),
        Output("fleet-shown", "data"),
        Input("tick", "n_intervals"),
        Input("fleet-type", "value"),
        Input("fleet-building", "value"),
        Input("fleet-status", "value"),
        Input("fleet-page", "data"),
        State("fleet-shown", "data"),
    )
    def refresh(
        _tick: int,
        device_type: str | None,
        building: str | None,
        status: str | None,
        page: int | None,
        shown: list[str] | None,
    ) -> tuple[Any, ...]:
        views: list[FleetView] = []

        def read(store: Store) -> Content:
            filters = (device_type, building, status)
            views.append(render(store, board, shared, filters, page or 0, texts_once(shown, CARDS)))
            return views[0].cards

        content = guarded(shared.source, read)
        if not views:
            return [], content, *pager_state(NO_PAGE), no_update, no_update, []
        view = views[0]
        return view.totals, content, *pager_state(view.page), view.types, view.buildings, view.shown
