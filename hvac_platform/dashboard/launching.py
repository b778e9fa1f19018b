"""Runs over a device, started on its page: buttons for its profile and for past days, and how the runs do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from dash import Dash, Input, Output, State, ctx, dcc, html, no_update

from hvac_platform.access.acting import Acting, RoleError, require_acting
from hvac_platform.access.users import Person
from hvac_platform.config import Settings
from hvac_platform.dashboard.components import Content, Heading, note, table
from hvac_platform.dashboard.formatting import span_words
from hvac_platform.dashboard.source import Source
from hvac_platform.runtime.device_runs import DAYS, PROFILE, WORKS, DeviceRun, DeviceRuns, RunsError
from hvac_platform.stores.base import StoreError
from hvac_platform.timestamps import day_of, days_before, iso, now_ms
from hvac_platform.visible_text import visible

DO_PROFILE, DO_DAYS, SAID = "device-run-profile", "device-run-days", "device-run-said"
LISTED, GOING = "device-runs", "device-runs-going"
MOST_DAYS = 92
LONGEST_DAY = 10
WORDS = {PROFILE: "profile", DAYS: "days"}
STATES = {
    "QUEUED": "waits for its turn",
    "NOT_STARTED": "begins",
    "STARTING": "begins",
    "STARTED": "runs",
    "SUCCESS": "done",
    "FAILURE": "failed",
    "CANCELING": "is being stopped",
    "CANCELED": "stopped",
}


class DaysError(ValueError):
    """The days that were asked for can't be; the message says why."""


def panel(person: Person, now: int) -> Content:
    """Fields and buttons for who may act; nothing for who may only read."""
    try:
        require_acting(person)
    except RoleError:
        return html.Div()
    today = day_of(now)
    return html.Details(
        [
            html.Summary("Runs: learn its profile anew, judge past days again"),
            html.P(
                "Days begin with the readings that are kept: windows, their embeddings, verdicts, incidents and the report "
                "are computed again, of this device alone.",
                className="small",
            ),
            html.Div(
                [
                    html.Button("Rebuild its profile", id=DO_PROFILE, n_clicks=0, type="button"),
                    _field("from", "From day (UTC)", days_before(today, 1)),
                    _field("until", "To day, included", today),
                    html.Button("Judge these days again", id=DO_DAYS, n_clicks=0, type="button"),
                ],
                className="controls",
            ),
            html.P(id=SAID, role="status", className="small"),
            html.Div(id=LISTED),
            dcc.Store(id=GOING),
        ],
        className="acting",
    )


def _field(name: str, label: str, value: str) -> Content:
    element = f"device-run-{name}"
    field = dcc.Input(id=element, type="text", value=value, maxLength=LONGEST_DAY, placeholder="2026-01-31")
    return html.Div([html.Label(label, htmlFor=element), field], className="chooser")


def days_asked(first: object, last: object, settings: Settings, now: int) -> tuple[str, str]:
    """First and last day that a person entered.

    Raises:
        DaysError: one is no day, or the span can't be; says why.
    """
    begin, end = _day(first, "From day"), _day(last, "To day")
    today = datetime.fromtimestamp(now / 1000, UTC).date()
    if begin > end:
        raise DaysError("the last day is before the first")
    if begin < settings.hvac_start_date:
        raise DaysError(f"days begin with {settings.hvac_start_date} (HVAC_START_DATE)")
    if end > today:
        raise DaysError(f"{end} hasn't come yet: today is {today} (UTC)")
    if (end - begin).days >= MOST_DAYS:
        raise DaysError(f"{MOST_DAYS} days at most in one run")
    return begin.isoformat(), end.isoformat()


def _day(value: object, of: str) -> date:
    try:
        return date.fromisoformat(str(value).strip()[: LONGEST_DAY + 1])
    except ValueError:
        raise DaysError(f"{of}: a day such as 2026-01-31, not {str(value)[:60]!r}") from None


def runs_table(runs: Sequence[DeviceRun], pages: str | None) -> Content:
    """How runs do, newest first.

    Args:
        runs: of one device.
        pages: address of Dagster's pages, for who may see the whole site; no links without it.
    """
    rows: list[list[Content]] = [
        [
            f"{iso(run.asked_ms)[:16]} by {visible(run.by, 40)}",
            f"{WORDS.get(run.work, 'run')} {run.days}".strip(),
            _state(run),
            _led(run, pages),
        ]
        for run in runs
    ]
    headings = [Heading("asked for (UTC)"), Heading("what"), Heading("how it is"), Heading("run")]
    return table(headings, rows, label="Runs over this device", empty="")


def _state(run: DeviceRun) -> Content:
    word, steps = STATES.get(run.status, run.status.lower()), len(WORKS[run.work].assets) if run.work in WORKS else 0
    at = f" at {run.step.replace('_', ' ')}" if run.step else ""
    if run.status == "SUCCESS" and run.ended_ms is not None:
        return f"{word}, after {span_words(max(1_000, run.ended_ms - run.asked_ms))}"
    if run.status == "STARTED" and steps:
        told = f"{run.done} of {steps} steps done{at}"
        return html.Span([html.Progress(value=str(run.done), max=str(steps), title=told), f" {told}"])
    return f"{word}{at if run.status == 'FAILURE' else ''}"


def _led(run: DeviceRun, pages: str | None) -> Content:
    if pages is None:
        return run.run_id[:8]
    links: list[Content] = [html.A(run.run_id[:8], href=f"{pages}/runs/{run.run_id}")]
    if run.work in WORKS:
        links += [", ", html.A("lineage", href=f"{pages}/assets/{WORKS[run.work].shows}?view=lineage")]
    return html.Span(links)


def register(app: Dash, source: Source, acting: Acting, runs: DeviceRuns) -> None:
    """Callbacks of the buttons and of the list."""
    settings = source.settings

    @app.callback(
        Output(SAID, "children"),
        Input(DO_PROFILE, "n_clicks"),
        Input(DO_DAYS, "n_clicks"),
        State("device-run-from", "value"),
        State("device-run-until", "value"),
        State("device-id", "data"),
        prevent_initial_call=True,
    )
    def launch(_profile: int | None, _days: int | None, first: Any, last: Any, device_id: Any) -> Any:
        work = {DO_PROFILE: PROFILE, DO_DAYS: DAYS}.get(str(ctx.triggered_id))
        if work is None or not ctx.triggered[0]["value"]:
            return no_update
        try:
            store = source.store()
            if store is None:
                return "There is no store yet."
            days = days_asked(first, last, settings, now_ms()) if work == DAYS else None
            run_id = acting.launch(store, source.person(), str(device_id), work, days)
        except (StoreError, RunsError, DaysError) as error:
            return html.Span(f"Not started: {visible(error, 400)}.", className="error-text")
        return f"Started: run {run_id[:8]}."

    @app.callback(
        Output(LISTED, "children"),
        Output(GOING, "data"),
        Input("tick", "n_intervals"),
        Input(SAID, "children"),
        State("device-id", "data"),
        State(GOING, "data"),
    )
    def look(_tick: int, said: Content, device_id: Any, going: Any) -> Any:
        told = f"{SAID}.children" in ctx.triggered_prop_ids  # beside a tick too
        if going is False and not told:  # all that were seen are over
            return no_update, no_update
        try:
            require_acting(source.person())
            store = source.store()
            if store is None or str(device_id) not in {device.device_id for device in store.devices()}:
                return "", False
            found = runs.of(str(device_id))
        except RunsError as error:
            if told:  # which has said it where nothing started; what did is looked for until Dagster has the time
                return no_update, isinstance(said, str)
            why = visible(error, 400)
            return note(f"{why[:1].upper()}{why[1:]}."), going is True
        except StoreError:
            return "", False
        pages = (settings.hvac_dagster_pages_url or settings.hvac_dagster_url) if source.buildings() is None else None
        return runs_table(found, pages) if found else "", any(not run.over for run in found)
