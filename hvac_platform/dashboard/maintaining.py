"""Known work on a device, entered on its page: fields for its span, a button, what came of it, and what is entered."""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update

from hvac_platform.access.acting import Acting, RoleError, require_acting
from hvac_platform.access.users import Person
from hvac_platform.dashboard.components import Content, Heading, named, table
from hvac_platform.dashboard.source import Source
from hvac_platform.monitoring.incident_actions import LONGEST_NOTE
from hvac_platform.stores.base import Store, StoreError
from hvac_platform.stores.records import MaintenanceSpan
from hvac_platform.timestamps import iso, now_ms, parse_instant
from hvac_platform.visible_text import visible

HOUR_MS = 3_600_000
DO, SAID = "device-maintenance-do", "device-maintenance-said"
SHOWN = 10
LONGEST_TIME = 40


def panel(person: Person, now: int) -> Content:
    """Fields and a button for who may act; nothing for who may only read."""
    try:
        require_acting(person)
    except RoleError:
        return html.Div(id=SAID)
    start = now - now % HOUR_MS
    return html.Details(
        [
            html.Summary("Maintenance: enter known work"),
            html.P("Nothing alarms in it, and nothing is learned from it.", className="small"),
            html.Div(
                [
                    _field("from", "From (UTC)", iso(start)[:16], LONGEST_TIME),
                    _field("until", "Until (UTC)", iso(start + 4 * HOUR_MS)[:16], LONGEST_TIME),
                    _field("note", "What is done", "", LONGEST_NOTE),
                    html.Button("Enter maintenance", id=DO, n_clicks=0, type="button"),
                ],
                className="controls",
            ),
            html.P(id=SAID, role="status", className="small"),
        ],
        className="acting",
    )


def _field(name: str, label: str, value: str, longest: int) -> Content:
    element = f"device-maintenance-{name}"
    field = dcc.Input(id=element, type="text", value=value, maxLength=longest)
    return html.Div([html.Label(label, htmlFor=element), field], className="chooser")


def entered(store: Store, device_id: str) -> Content:
    """What is entered of a device, newest first."""
    spans = sorted(MaintenanceSpan.read(store, device_id), key=lambda span: -span.starts_at)[:SHOWN]
    if not spans:
        return html.Div()
    rows = [[iso(s.starts_at)[:16], iso(s.ends_at)[:16], visible(s.note, 200)] for s in spans]
    headings = [Heading("from (UTC)"), Heading("until (UTC)"), Heading("what is done")]
    made = table(headings, rows, label="Maintenance", empty="")
    return html.Section([html.H2("Maintenance"), made], **named("Maintenance"))


def register(app: Dash, source: Source, acting: Acting) -> None:
    """The callback of the button."""

    @app.callback(
        Output(SAID, "children"),
        Input(DO, "n_clicks"),
        State("device-maintenance-from", "value"),
        State("device-maintenance-until", "value"),
        State("device-maintenance-note", "value"),
        State("device-id", "data"),
        prevent_initial_call=True,
    )
    def enter(clicks: int | None, start: Any, until: Any, note: Any, device_id: Any) -> Any:
        if not clicks:
            return no_update
        try:
            store = source.store()
            if store is None:
                return "There is no store yet."
            begin_ms, end_ms = _instant(start, "From"), _instant(until, "Until")
            said = note if isinstance(note, str) else ""
            span = acting.enter_maintenance(store, source.person(), str(device_id), begin_ms, end_ms, said)
        except (StoreError, ValueError) as error:
            return html.Span(f"Not entered: {visible(error, 400)}", className="error-text")
        before = ", windows that were judged before stay as they are" if span.starts_at < now_ms() else ""
        return f"Entered: {iso(span.starts_at)[:16]} to {iso(span.ends_at)[:16]}{before}."


def _instant(text: object, of: str) -> int:
    try:
        return parse_instant(str(text)[:LONGEST_TIME])
    except ValueError:
        raise ValueError(f"{of}: a time such as 2026-01-31T06:00, not {str(text)[:60]!r}") from None
