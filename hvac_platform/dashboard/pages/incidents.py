"""Incidents of the fleet: what needs attention first, the most urgent of it, then the newest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dash import Dash, Input, Output, dcc, html, no_update

from hvac_platform.dashboard.components import (
    NO_PAGE,
    Content,
    Heading,
    Page,
    chooser,
    empty_state,
    guarded,
    note,
    nothing_registered,
    option,
    page_of,
    pager,
    severity_cell,
    table,
)
from hvac_platform.dashboard.device_states import FleetBoards
from hvac_platform.dashboard.formatting import device_href, incident_href, number, span_words, state_words, type_title
from hvac_platform.dashboard.paging import pager_outputs, pager_state, register_pager
from hvac_platform.dashboard.reading import (
    INCIDENT_DAYS,
    SEVERITIES,
    device_incidents,
    incident_states,
    incidents_of,
    newest_incidents,
)
from hvac_platform.dashboard.source import Source
from hvac_platform.monitoring import lifecycle
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import Incident, IncidentHandling
from hvac_platform.timestamps import DAY_MS, iso
from hvac_platform.visible_text import visible

PAGE = 25


def layout() -> Content:
    """The page before its first refresh."""
    return html.Div(
        [
            html.H1("Incidents"),
            html.P(
                f"Of the last {INCIDENT_DAYS} days; with a device chosen, all of that device.",
                className="small",
            ),
            html.Div(
                [
                    chooser("incidents-severity", "Severity", [option(s) for s in SEVERITIES]),
                    chooser("incidents-device", "Device", []),
                    chooser(
                        "incidents-state", "State", [option(state, state_words(state)) for state in lifecycle.State]
                    ),
                    pager("incidents"),
                ],
                className="controls",
            ),
            html.Div(note("reading …"), id="incidents-table"),
        ]
    )


@dataclass(frozen=True, slots=True)
class IncidentsView:
    """What a refresh shows."""

    content: Content
    page: Page
    devices: list[dict[str, str]]


def incident_rows(
    incidents: Sequence[Incident], types: dict[str, str], handlings: Mapping[str, IncidentHandling], at_ms: int
) -> list[list[Content]]:
    """Rows of the table."""
    return [
        [
            dcc.Link(iso(row.started_at), href=incident_href(row.incident_id)),
            _device(row.device_id, types.get(row.device_id, "")),
            severity_cell(row.severity),
            html.Td(visible((row.reasons or ["–"])[0], 160), className="why"),
            _likeliest(row),
            _state(handling, at_ms),
            number(row.urgency, 0),
            span_words(row.ended_at - row.started_at),
            number(row.excess_kwh, 1),
        ]
        for row in incidents
        for handling in [handlings.get(row.incident_id)]
    ]


def _device(device_id: str, kind: str) -> Content:
    """A device, and what it is."""
    return html.Span([dcc.Link(visible(device_id, 60), href=device_href(device_id)), f" {type_title(kind)}"])


def _state(handling: IncidentHandling | None, at_ms: int) -> str:
    """Where an incident stands, and who takes care of it."""
    state = state_words(lifecycle.state_of(handling, at_ms))
    return f"{state}, {visible(handling.assignee, 40)}" if handling is not None and handling.assignee else state


def _likeliest(row: Incident) -> Content:
    if row.label:
        return f"{visible(row.label, 60)} (said by somebody)"
    if row.parent_id is not None:
        of = "of a plant's fault" if row.scope == "plant" else "of a fleet-wide event"
        return dcc.Link(f"part {of}", href=incident_href(row.parent_id))
    if row.scope == "fleet":
        return f"fleet-wide: {visible(row.cause or 'unknown cause', 60)}"
    return visible(row.kinds[0]["kind"].replace("_", " "), 60) if row.kinds else "–"


HEADINGS = (
    *(Heading("started (UTC)"), Heading("device"), Heading("severity"), Heading("why"), Heading("likely")),
    *(Heading("state"), Heading("urgency", True), Heading("duration", True), Heading("excess kWh", True)),
)


def render(
    store: Store, board: FleetBoards, severity: str | None, device_id: str | None, state: str | None, page: int
) -> IncidentsView:
    """One refresh."""
    fleet = board.refresh(store)
    devices = [option(d.device_id) for d in fleet.devices]
    if not fleet.devices:
        return IncidentsView(nothing_registered(), NO_PAGE, devices)
    since_ms = fleet.at_ms - INCIDENT_DAYS * DAY_MS
    if device_id:
        found = device_incidents(store, device_id)[::-1]
        handlings = lifecycle.handling_of(store, found)
        kept: Sequence[Any] = [
            row
            for row in found
            if (not severity or row.severity == severity)
            and (not state or lifecycle.state_of(handlings.get(row.incident_id), fleet.at_ms) == state)
        ]
    else:
        kept = newest_incidents(store, since_ms, severity, incident_states(store), state)
    here = page_of(kept, page, PAGE, "incidents")
    if not kept and not severity and not state:
        missing = "no incident has been recorded yet: detection writes them where it finds anomalous windows"
        return IncidentsView(empty_state(missing), here, devices)
    types = {d.device_id: d.device_type for d in fleet.devices}
    shown = here.rows if device_id else incidents_of(store, here.rows)
    rows = incident_rows(shown, types, lifecycle.handling_of(store, shown), fleet.at_ms)
    content = table(HEADINGS, rows, label="Incidents", empty="No incident passes the filters.")
    return IncidentsView(content, here, devices)


def register(app: Dash, source: Source, board: FleetBoards) -> None:
    """Callbacks of the page."""
    register_pager(app, "incidents", ("incidents-severity", "incidents-device", "incidents-state"))

    @app.callback(
        Output("incidents-table", "children"),
        *pager_outputs("incidents"),
        Output("incidents-device", "options"),
        Input("tick", "n_intervals"),
        Input("incidents-severity", "value"),
        Input("incidents-device", "value"),
        Input("incidents-state", "value"),
        Input("incidents-page", "data"),
    )
    def refresh(
        _tick: int, severity: str | None, device_id: str | None, state: str | None, page: int | None
    ) -> tuple[Any, ...]:
        views: list[IncidentsView] = []

        def read(store: Store) -> Content:
            views.append(render(store, board, severity, device_id, state, page or 0))
            return views[0].content

        content = guarded(source, read)
        if not views:
            return content, *pager_state(NO_PAGE), no_update
        return content, *pager_state(views[0].page), views[0].devices
