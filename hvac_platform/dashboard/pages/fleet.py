"""Fleet: totals on top, then one card or one row of a table a device, the most urgent first or in another order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update

from hvac_platform.dashboard.attention import attention, most_urgent
from hvac_platform.dashboard.components import (
    NO_PAGE,
    Content,
    Heading,
    Page,
    chooser,
    guarded,
    note,
    nothing_registered,
    option,
    page_of,
    pager,
    severity_badge,
    severity_cell,
    status_badge,
    table,
    total,
)
from hvac_platform.dashboard.device_states import Fleet, FleetBoards, Status
from hvac_platform.dashboard.figures import sparkline
from hvac_platform.dashboard.formatting import (
    age,
    device_href,
    incident_href,
    key_metrics,
    metric_title,
    metric_value,
    number,
    type_title,
)
from hvac_platform.dashboard.front import texts_once
from hvac_platform.dashboard.known_of_incidents import KnownOfIncidents
from hvac_platform.dashboard.paging import pager_outputs, pager_state, register_pager
from hvac_platform.dashboard.reading import DeviceState, Ingestion
from hvac_platform.dashboard.shared_readings import SharedReadings
from hvac_platform.stores.base import Device, Store
from hvac_platform.visible_text import visible

CARDS, ROWS = 24, 50
METRICS = 6
CARDS_VIEW, TABLE_VIEW = "cards", "table"
LONGEST_FIELD = 80
FIELDS = ("view", "order", "type", "building", "status", "search")
"""What is chosen on the page, as the address has it; the elements are called so too."""
REMEMBER = """(...chosen) => {
  if (window.location.pathname !== "/") { return; }
  const names = ["view", "order", "type", "building", "status", "search"];
  const fields = new URLSearchParams();
  names.forEach((name, i) => { if (chosen[i] && chosen[i] !== "cards") { fields.set(name, chosen[i]); } });
  const search = String(fields) ? `?${fields}` : "";
  if (search !== window.location.search) { window.history.replaceState(window.history.state, "", `/${search}`); }
}"""
"""Has the browser write into its address what is chosen, for when somebody comes back to the page or passes it on."""


class Order(StrEnum):
    """What devices are in order of, but for the usual one, the most urgent first."""

    DEVICE = "device"
    TYPE = "type"
    PLACE = "place"
    HEARD_OF = "longest not heard of"


def layout(*, query: Mapping[str, str] = MappingProxyType({})) -> Content:
    """The page before its first refresh, with what its address says is chosen."""
    asked = {name: visible(query.get(name, ""), LONGEST_FIELD) or None for name in FIELDS}
    view: Any = [{"label": name, "value": name} for name in (CARDS_VIEW, TABLE_VIEW)]
    viewed = TABLE_VIEW if asked["view"] == TABLE_VIEW else CARDS_VIEW
    return html.Div(
        [
            html.H1("Fleet"),
            html.Div(id="fleet-totals", className="totals"),
            html.Div(id="fleet-attention"),
            html.Div(
                [
                    html.Fieldset(
                        [
                            html.Legend("Shown as"),
                            dcc.RadioItems(id="fleet-view", options=view, value=viewed, inline=True),
                        ],
                        className="chooser",
                    ),
                    _chooser("order", "In order of", asked, list(Order), placeholder="most urgent first"),
                    _chooser("type", "Type", asked),
                    _chooser("building", "Building", asked),
                    _chooser("status", "Status", asked, list(Status)),
                    html.Div(
                        [
                            html.Label("Search", htmlFor="fleet-search"),
                            dcc.Input(
                                id="fleet-search",
                                type="search",
                                value=asked["search"],
                                debounce=False,  # with it Dash moves the caret while somebody types on a busy page
                                placeholder="part of a name",
                            ),
                        ],
                        className="chooser",
                    ),
                    pager("fleet"),
                ],
                className="controls",
            ),
            html.Div(note("reading …"), id="fleet-cards"),
            dcc.Store(id="fleet-shown", data=[]),
        ]
    )


def _chooser(
    name: str, label: str, asked: Mapping[str, str | None], values: Sequence[str] = (), placeholder: str = "all"
) -> Content:
    """A drop-down with what is chosen of it; where choices come with the first refresh, that one is there before."""
    value = asked[name]
    if values and value not in values:
        value = None
    options = [option(one) for one in (values or ([value] if value is not None else []))]
    return chooser(f"fleet-{name}", label, options, value, placeholder=placeholder)


@dataclass(frozen=True, slots=True)
class Filters:
    """What is chosen; empty or None lets all pass. ``search`` is part of a device's id or place, however it is written."""

    device_type: str | None = None
    building: str | None = None
    status: str | None = None
    search: str | None = None


def chosen(fleet: Fleet, filters: Filters, order: str | None = None) -> list[Device]:
    """Devices that pass the filters, in an order; most urgent first where none is named: by status, severity, id."""
    device_type, building, status = filters.device_type, filters.building, filters.status
    sought = (filters.search or "").strip().casefold()
    kept = [
        d
        for d in fleet.devices
        if (not device_type or d.device_type == device_type)
        and (not building or d.building_id == building)
        and (not status or fleet.statuses[d.device_id] == status)
        and (not sought or sought in f"{d.device_id}\n{d.location}\n{d.building_id}".casefold())
    ]
    keys: Mapping[str | None, Callable[[Device], tuple[Any, ...]]] = {
        Order.DEVICE: lambda d: (d.device_id,),
        Order.TYPE: lambda d: (type_title(d.device_type), d.device_id),
        Order.PLACE: lambda d: (d.building_id, d.location, d.device_id),
        Order.HEARD_OF: lambda d: (d.last_seen, d.device_id),
    }
    return sorted(kept, key=keys.get(order, fleet.urgency))


def totals(fleet: Fleet, flow: Ingestion | Exception | None, rejected: int | Exception) -> list[Content]:
    """Numbers of the whole fleet."""
    open_incidents = fleet.open_by_severity()
    partly = (
        f"{fleet.read:,} of {len(fleet.devices):,} devices read so far" if fleet.read < len(fleet.devices) else None
    )
    silent = len(fleet.silent)
    urgent = sum(bool(news.provisional) for news in fleet.news.values())
    worst = next((s for s, count in open_incidents.items() if count), "")
    boxes = [
        total(
            "devices",
            number(len(fleet.devices), 0),
            partly or (f"{silent:,} silent" if silent else "all are heard of"),
        ),
        total(
            "open incidents",
            number(sum(open_incidents.values()), 0),
            ", ".join(f"{count:,} {severity}" for severity, count in open_incidents.items())
            + (f"; {urgent:,} urgent, not judged yet" if urgent else ""),
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


def card(device: Device, fleet: Fleet, state: DeviceState | None) -> Content:
    """One device: what it is, how it is, and its key metrics."""
    at_ms, news = fleet.at_ms, fleet.news.get(device.device_id)
    place, worst = _place(device), fleet.worst(device.device_id)
    said = [visible(reason, 160) for event in (news.provisional if news else ())[-1:] for reason in event.reasons[:2]]
    what = type_title(device.device_type) + (f" · {place}" if place else "")
    return html.Article(
        [
            html.Header(
                [
                    dcc.Link(visible(device.device_id, 60), href=device_href(device.device_id)),
                    _status(device, fleet),
                    *([severity_badge(worst)] if worst else []),
                ]
            ),
            html.P(f"{what}\n{_when(device, state, at_ms)}", className="lines"),
            *(
                [html.P("\n".join(f"! {reason} (not judged yet)" for reason in said), className="lines")]
                if said
                else []
            ),
            _key_values(device, state)
            if state is not None
            else note("Its state is read at one of the next refreshes."),
        ],
        className=f"card edge-{fleet.statuses[device.device_id].name.lower()}",
    )


def _place(device: Device) -> str:
    return ", ".join(part for part in (visible(device.location, 60), visible(device.building_id, 60)) if part)


def _status(device: Device, fleet: Fleet) -> Content:
    """Status of a device; of one with an incident it leads to the most urgent."""
    urgent = next(iter(most_urgent({device.device_id: fleet.incidents.get(device.device_id, ())})), None)
    return status_badge(fleet.statuses[device.device_id], None if urgent is None else incident_href(urgent.incident_id))


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


def cards(fleet: Fleet, devices: Sequence[Device], states: Mapping[str, DeviceState]) -> Content:
    """Cards of some devices."""
    if not fleet.devices:
        return nothing_registered()
    if not devices:
        return note("No device passes the filters.")
    return html.Div([card(d, fleet, states.get(d.device_id)) for d in devices], className="cards")


def rows(fleet: Fleet, devices: Sequence[Device], order: str | None) -> Content:
    """A table of some devices; it needs nothing of the store beyond what makes a device urgent."""
    if not fleet.devices:
        return nothing_registered()
    headings = [
        Heading("device", order="ascending" if order == Order.DEVICE else ""),
        Heading("type", order="ascending" if order == Order.TYPE else ""),
        Heading("place", order="ascending" if order == Order.PLACE else ""),
        Heading("status"),
        Heading("worst incident"),
        Heading("open incidents", True),
        Heading("last reading", True, order="descending" if order == Order.HEARD_OF else ""),
    ]
    return table(
        headings,
        [_row(device, fleet) for device in devices],
        label="Devices",
        empty="No device passes the filters.",
    )


def _row(device: Device, fleet: Fleet) -> list[Content]:
    worst = fleet.worst(device.device_id)
    return [
        dcc.Link(visible(device.device_id, 60), href=device_href(device.device_id)),
        type_title(device.device_type),
        _place(device) or "–",
        _status(device, fleet),
        "–" if worst is None else severity_cell(worst),
        number(len(fleet.incidents.get(device.device_id, ())), 0),
        f"{age(fleet.at_ms - device.last_seen)} ago",
    ]


@dataclass(frozen=True, slots=True)
class FleetView:
    """What a refresh shows: totals, what needs attention, devices, where one is, options of filters, ids of the devices."""

    totals: list[Content]
    attention: Content
    devices: Content
    page: Page
    types: list[dict[str, str]]
    buildings: list[dict[str, str]]
    shown: list[str]


def render(
    store: Store,
    board: FleetBoards,
    shared: SharedReadings,
    filters: Filters,
    page: int,
    shown_before: Sequence[str] = (),
    known: KnownOfIncidents | None = None,
    *,
    order: str | None = None,
    as_table: bool = False,
) -> FleetView:
    """One refresh; devices that were shown before are looked at first."""
    fleet = board.refresh(store, shown_before)
    here = page_of(chosen(fleet, filters, order), page, ROWS if as_table else CARDS, "devices")
    shown: Content = (
        rows(fleet, here.rows, order)
        if as_table
        else cards(fleet, here.rows, board.states(store, here.rows, fleet.at_ms))
    )
    return FleetView(
        totals(fleet, shared.ingestion(), shared.rejected()) if fleet.devices else [],
        attention(store, fleet.incidents, fleet.at_ms, known, silent=len(fleet.silent)) if fleet.devices else "",
        shown,
        here,
        [option(name, type_title(name)) for name in sorted({d.device_type for d in fleet.devices})],
        [option(name) for name in sorted({d.building_id for d in fleet.devices if d.building_id})],
        [d.device_id for d in here.rows],
    )


def register(app: Dash, board: FleetBoards, shared: SharedReadings) -> None:
    """Callbacks of the page."""
    chosen_by = [f"fleet-{name}" for name in FIELDS]
    register_pager(app, "fleet", chosen_by)
    app.clientside_callback(REMEMBER, *(Input(name, "value") for name in chosen_by))  # type: ignore[no-untyped-call]
    known = KnownOfIncidents(shared.source.settings)

    @app.callback(
        Output("fleet-totals", "children"),
        Output("fleet-attention", "children"),
        Output("fleet-cards", "children"),
        *pager_outputs("fleet"),
        Output("fleet-type", "options"),
        Output("fleet-building", "options"),
        Output("fleet-shown", "data"),
        Input("tick", "n_intervals"),
        Input("fleet-type", "value"),
        Input("fleet-building", "value"),
        Input("fleet-status", "value"),
        Input("fleet-search", "value"),
        Input("fleet-page", "data"),
        Input("fleet-view", "value"),
        Input("fleet-order", "value"),
        State("fleet-shown", "data"),
    )
    def refresh(
        _tick: int,
        device_type: str | None,
        building: str | None,
        status: str | None,
        search: str | None,
        page: int | None,
        view: str | None,
        order: str | None,
        shown: list[str] | None,
    ) -> tuple[Any, ...]:
        views: list[FleetView] = []

        def read(store: Store) -> Content:
            filters = Filters(device_type, building, status, search)
            before, as_table = texts_once(shown, ROWS), view == TABLE_VIEW
            views.append(
                render(store, board, shared, filters, page or 0, before, known, order=order, as_table=as_table)
            )
            return views[0].devices

        content = guarded(shared.source, read)
        if not views:
            return [], "", content, *pager_state(NO_PAGE), no_update, no_update, []
        found = views[0]
        return (
            *(found.totals, found.attention, content, *pager_state(found.page)),
            *(found.types, found.buildings, found.shown),
        )
