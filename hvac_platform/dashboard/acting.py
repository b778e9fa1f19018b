"""What somebody does with an incident from its page: a field and a button for each action, and what came of it."""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, State, ctx, dcc, html, no_update

from hvac_platform.access.acting import Acting, RoleError, require_acting
from hvac_platform.access.users import Person
from hvac_platform.dashboard.components import Content, named
from hvac_platform.dashboard.source import Source
from hvac_platform.monitoring import lifecycle
from hvac_platform.monitoring.incident_actions import ACTIONS, LONGEST_NAME, LONGEST_NOTE, Action, possible
from hvac_platform.stores.base import StoreError
from hvac_platform.stores.records import IncidentHandling
from hvac_platform.timestamps import now_ms
from hvac_platform.visible_text import visible

HOUR_MS = 3_600_000
SNOOZES = {"1 hour": 1, "4 hours": 4, "1 day": 24, "3 days": 72, "1 week": 168}
SAID = "incident-said"
WORDS = {
    "ack": "Acknowledge",
    "assign": "Assign",
    "snooze": "Snooze",
    "resolve": "Resolve",
    "reopen": "Reopen",
    "false-alarm": "False alarm",
    "comment": "Comment",
    "label": "Label",
}
HINTS = {
    "ack": "You have seen it and take it on",
    "resolve": "It is put right: what is anomalous half an hour later is a new incident",
    "reopen": "It is not over after all",
    "false-alarm": "There was nothing wrong with the machine",
    "comment": "Keep the note in the history",
}


def button_id(action: str) -> str:
    """Element of the button of an action."""
    return f"incident-do-{action}"


def panel(person: Person) -> Content:
    """Fields and buttons; for who may only read, a sentence that says who may act."""
    try:
        require_acting(person)
    except RoleError as error:
        reason: str | None = f"{str(error)[:1].upper()}{str(error)[1:]}."
    else:
        reason = None
    parts = [
        html.Div(
            [
                _field("note", "Note, for any of these", LONGEST_NOTE, wide=True),
                *(_button(name) for name in ("ack", "resolve", "false-alarm", "reopen", "comment")),
            ],
            className="controls",
        ),
        html.Div(
            [
                _with_button(_field("to", "Assign to", LONGEST_NAME), "assign"),
                _with_button(_snooze(), "snooze"),
                _with_button(_field("label", "It turned out to be", LONGEST_NAME), "label"),
            ],
            className="controls",
        ),
        html.P(id=SAID, role="status", className="small"),
    ]
    return html.Section(
        [
            html.Div(parts, hidden=reason is not None),
            html.P(reason, className="note small") if reason is not None else "",
        ],
        className="acting",
        **named("Actions"),
    )


def _field(name: str, label: str, longest: int, *, wide: bool = False) -> Content:
    element = f"incident-{name}"
    field = dcc.Input(id=element, type="text", value="", maxLength=longest)
    return html.Div([html.Label(label, htmlFor=element), field], className="chooser wide" if wide else "chooser")


def _snooze() -> Content:
    options = [{"value": text, "label": text} for text in SNOOZES]
    return html.Div(
        [
            html.Label("Leave me in peace for", htmlFor="incident-hours"),
            dcc.Dropdown(id="incident-hours", options=options, value="4 hours", clearable=False),
        ],
        className="chooser",
    )


def _button(name: str) -> Content:
    return html.Button(
        WORDS[name], id=button_id(name), n_clicks=0, type="button", disabled=True, title=HINTS.get(name, "")
    )


def _with_button(field: Content, name: str) -> Content:
    return html.Div([field, _button(name)], className="with-button")


def impossible(handling: IncidentHandling | None, at_ms: int) -> list[bool]:
    """Which buttons are off, in the order of the actions."""
    can = possible(lifecycle.state_of(handling, at_ms))
    return [name not in can for name in ACTIONS]


def buttons_off() -> list[Output]:
    """Outputs for :func:`impossible`."""
    return [Output(button_id(name), "disabled") for name in ACTIONS]


def register(app: Dash, source: Source, acting: Acting) -> None:
    """The callback of the buttons."""

    @app.callback(
        Output(SAID, "children"),
        Output("incident-note", "value"),
        *(Input(button_id(name), "n_clicks") for name in ACTIONS),
        State("incident-note", "value"),
        State("incident-to", "value"),
        State("incident-hours", "value"),
        State("incident-label", "value"),
        State("incident-id", "data"),
        prevent_initial_call=True,
    )
    def act(*given: Any) -> tuple[Content, Any]:
        note, to, hours, label, key = given[len(ACTIONS) :]
        name = next((name for name in ACTIONS if ctx.triggered_id == button_id(name)), None)
        if name is None or not ctx.triggered[0]["value"]:
            return no_update, no_update
        action = Action(
            name=name,
            note=_text(note),
            to=_text(to) if name == "assign" else "",
            until_ms=now_ms() + SNOOZES[hours] * HOUR_MS if name == "snooze" else None,
            label=_text(label) if name == "label" else "",
        )
        try:
            store = source.store()
            if store is None:
                return "There is no store yet.", no_update
            done = acting.act(store, source.person(), f"{key[0]}/{key[1]}", action)
        except StoreError as error:
            return html.Span(f"Not done: {visible(error, 400)}", className="error-text"), no_update
        also = f", and {done.parts} incidents of other devices that are part of it" if done.parts else ""
        return f"{WORDS[name]}: done by {visible(source.person().name, 60)}{also}.", ""


def _text(value: object) -> str:
    """What is in a field; an empty one of Dash is None."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("a field has text")
    return value
