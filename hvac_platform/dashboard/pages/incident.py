"""One incident: why, what it may be, what it is like, what it cost, and the metrics around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update

from hvac_platform.access.acting import Acting
from hvac_platform.config import Settings
from hvac_platform.dashboard import acting as acting_on_it
from hvac_platform.dashboard.attention import what_is_wrong
from hvac_platform.dashboard.components import (
    Content,
    Heading,
    empty_state,
    facts,
    guarded,
    named,
    note,
    severity_badge,
    table,
)
from hvac_platform.dashboard.figures import (
    SEVERITY_COLOURS,
    Figure,
    Line,
    Span,
    interval_of,
    metrics_figure,
    score_figure,
    with_moving_axes,
)
from hvac_platform.dashboard.formatting import (
    at_site,
    device_href,
    incident_href,
    key_metrics,
    level_words,
    metric_display,
    metric_title,
    metric_value,
    number,
    replay_href,
    span_words,
    state_words,
    type_title,
)
from hvac_platform.dashboard.kept_zoom import height_of, kept_graph, same_axes, sent
from hvac_platform.dashboard.known_of_incidents import KnownOfIncidents
from hvac_platform.dashboard.log_in import current_person
from hvac_platform.dashboard.pages.device import lines_of, marks, marks_words
from hvac_platform.dashboard.reading import (
    HOUR_MS,
    device_events,
    incidents_of,
    maintenance_within,
    method_scores,
    profile_row,
)
from hvac_platform.dashboard.source import Source
from hvac_platform.detection.urgency import total
from hvac_platform.devices.local_time import timezone_of
from hvac_platform.devices.registry import device_type
from hvac_platform.monitoring import lifecycle
from hvac_platform.monitoring.data_loss import DATA_LOSS, told_method
from hvac_platform.monitoring.incident_actions import ACTIONS
from hvac_platform.monitoring.normal_course import NormalCourse
from hvac_platform.monitoring.notifying import urgency_now
from hvac_platform.monitoring.worth import (
    Worth,
    comfort_words,
    cost_words,
    maintenance_words,
    savings_words,
    short_cost,
)
from hvac_platform.snapshots import SnapshotSeries
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import Incident, IncidentHandling, IncidentTransition
from hvac_platform.stores.series import read_series
from hvac_platform.timestamps import DAY_MS, iso, now_ms
from hvac_platform.visible_text import visible

METRICS = 6
LEAST_SPREADS = 0.5
"""What is nearer to normal is not told."""
MOST_TRANSITIONS = 200
LEAST_AROUND_MS, MOST_AROUND_MS = HOUR_MS // 2, DAY_MS


def layout(device_id: str, name: str) -> Content:
    """The page of an incident before its first refresh."""
    return html.Div(
        [
            html.H1(["Incident on ", dcc.Link(visible(device_id, 128), href=device_href(device_id))]),
            html.Div(id="incident-lead"),
            html.Div(acting_on_it.panel(current_person()), id="incident-acting"),
            html.Div(note("reading …"), id="incident-content"),
            html.Div(
                [
                    html.H2("Metrics around it"),
                    html.P(id="incident-marks", className="small"),
                    kept_graph("incident-figure", "Metrics around the incident"),
                    html.H2("Scores of the methods"),
                    kept_graph("incident-scores", "Scores of the methods around the incident"),
                ],
                id="incident-figures",
                hidden=True,
            ),
            dcc.Store(id="incident-axes"),
            dcc.Store(id="incident-id", data=[device_id, name]),
        ]
    )


def lead(
    incident: Incident, handling: IncidentHandling | None, at_ms: int, cost: str, saved: str, timezone: str
) -> Content:
    """What somebody reads first: how bad it is and where it stands, what is wrong, and what that costs or has saved.

    Args:
        incident: as it is.
        handling: where it stands.
        at_ms: the present.
        cost: what it costs a day, in words; empty where that isn't known.
        saved: what has been saved since it was resolved, in words; empty where there is nothing to be said.
        timezone: IANA name, of its building.
    """
    active = lifecycle.state_of(handling, at_ms) in lifecycle.ACTIVE
    played = replay_href(incident.device_id, incident.incident_id.rpartition("/")[2])
    return html.Section(
        [
            html.P(
                [
                    severity_badge(incident.severity),
                    html.Span(f" {stands(handling, at_ms, timezone)}", className="small"),
                ]
            ),
            *what_is_wrong(incident, cost, over=not active),
            *([facts([("Saved since it was resolved", visible(saved, 400))])] if saved else []),
            html.P(dcc.Link("Replay it: see it come up, moment by moment", href=played)),
        ],
        className="attention" if active else "attention over",
        **named("In short"),
    )


def around(incident: Incident) -> tuple[int, int]:
    """Span of the figures: half as long before and after as the incident is, half an hour at least and a day at most."""
    pad = min(max(LEAST_AROUND_MS, (incident.ended_at - incident.started_at) // 2), MOST_AROUND_MS)
    return incident.started_at - pad, incident.ended_at + pad


def summary(incident: Incident, kind: str, handling: IncidentHandling | None, at_ms: int, timezone: str) -> Content:
    """Facts of an incident.

    Args:
        incident: as it is.
        kind: type of its device.
        handling: what people do of it; None of one that nobody was told of.
        at_ms: the present.
        timezone: IANA name, of its building.
    """
    by_method = ", ".join(f"{visible(told_method(m), 20)} {number(n, 0)}" for m, n in incident.methods.items())
    scope: Content = visible(incident.scope, 20)
    if incident.cause:
        scope = f"{scope}; likely cause: {visible(incident.cause, 400)}"
    if incident.parent_id is not None:
        parent = dcc.Link(visible(incident.parent_id, 80), href=incident_href(incident.parent_id))
        scope = html.Span([scope, "; part of ", parent])
    windows = "Missing windows" if DATA_LOSS in incident.methods else "Anomalous windows"
    return facts(
        [
            ("Severity", severity_badge(incident.severity)),
            ("Level (Guideline 36)", level_words(incident.level)),
            ("State", stands(handling, at_ms, timezone)),
            ("Assigned to", visible(handling.assignee, 60) if handling is not None and handling.assignee else "nobody"),
            ("Started", at_site(incident.started_at, timezone)),
            (
                "Ended" if incident.status != "open" else "It lasted at least until",
                at_site(incident.ended_at, timezone),
            ),
            ("Duration", span_words(incident.ended_at - incident.started_at)),
            (windows, f"{number(incident.windows, 0)} ({by_method})" if by_method else None),
            ("Peak score", f"{number(incident.peak_score, 2)} (1 is the limit)"),
            ("Excess energy", _excess_words(incident.excess_kwh)),
            ("Scope", scope),
            ("Device type", type_title(kind)),
            ("It turned out to be", visible(incident.label, 80) if incident.label else "not said yet"),
        ]
    )


def _excess_words(excess: float | None) -> str:
    """Energy beyond the expected while an incident lasted, and why that isn't what was used minus what was expected."""
    if excess is None:
        return "–"
    return f"{number(excess, 1)} kWh while it lasted (hours within the usual error of what is expected count as none)"


def worth_of_it(worth: Worth, parts: Mapping[str, float]) -> Content:
    """What an incident is worth: its place in lists and of what that is the sum, each part with how it is known.

    Args:
        worth: of it.
        parts: points of its urgency by what they are for.
    """
    listed = ", ".join(f"{name} {points:+g}" for name, points in parts.items())
    no_money = worth.money_unknown if worth.daily is not None else ""
    return html.Section(
        [
            html.H2("What it is worth"),
            facts(
                [
                    ("Urgency, the sum that lists are ordered by", f"{total(parts):g} ({listed})"),
                    ("Avoidable cost", visible(cost_words(worth), 400)),
                    ("Comfort", visible(comfort_words(worth), 400)),
                    ("Maintenance risk", visible(maintenance_words(worth), 400)),
                ]
            ),
            *([html.P(visible(f"{no_money}.", 400), className="small")] if no_money else []),
        ]
    )


def stands(handling: IncidentHandling | None, at_ms: int, timezone: str) -> str:
    """Where an incident stands, by whom and since when, in UTC and by the clock of the building."""
    state = lifecycle.state_of(handling, at_ms)
    if handling is None or state is lifecycle.State.PAST:
        return "past: it was over when it was found, and nobody was told"
    by = "" if handling.actor == lifecycle.PLATFORM else f" by {visible(handling.actor, 60)}"
    snoozed = handling.snoozed_until if state is lifecycle.State.SNOOZED else None
    until = f" until {at_site(snoozed, timezone)}" if snoozed else ""
    return f"{state_words(state)}{until}{by}, since {at_site(handling.since, timezone)}"


def history(transitions: Sequence[IncidentTransition], timezone: str) -> Content:
    """What has happened to an incident, oldest first."""
    rows: list[list[Content]] = [
        [at_site(one.at, timezone), visible(lifecycle.told_transition(one), 400)]
        for one in transitions[-MOST_TRANSITIONS:]
    ]
    return html.Section(
        [
            html.H2("History"),
            table(
                [Heading("when"), Heading("what")],
                rows,
                label="History of the incident",
                empty="Nothing: nobody was told of it.",
            ),
        ]
    )


def gone(store: Store, incident_id: str, settings: Settings) -> Content:
    """What is left of an incident that was taken back, as far as there ever was one: who said and did what."""
    left = lifecycle.history_of_gone(store, incident_id)
    if not left:
        return empty_state("there is no such incident")
    device_id = left[0].device_id
    stands = facts(
        [
            ("State", state_words(lifecycle.State.TAKEN_BACK)),
            ("Device", dcc.Link(visible(device_id, 80), href=device_href(device_id))),
        ]
    )
    said = note("Its windows are not anomalous after all. What was said and done of it is kept.")
    building = next((d.building_id for d in store.devices() if d.device_id == device_id), "")
    return html.Div([stands, said, history(left, timezone_of(settings.hvac_alerts, building))])


def why(incident: Incident, kind: str, course: NormalCourse | None = None) -> Content:
    """Reasons, rules, and the metrics that moved with their direction: that of the page's table, where it has one.

    The signature tells what is left where each metric is compared with all others; far from anything seen, its sign may
    be the other one.
    """
    signature = incident.signature
    directions = dict(signature) if course is None else spread_directions(course)
    moved = incident.metrics or sorted(signature, key=lambda m: -abs(signature[m]))
    parts: list[Content] = [
        html.H2("Why"),
        html.Ul([html.Li(visible(reason)) for reason in incident.reasons])
        if incident.reasons
        else note("No reason was recorded."),
    ]
    if incident.rules:
        parts.append(
            html.P(["Rules that fired, most frequent first: ", ", ".join(_rule_words(kind, r) for r in incident.rules)])
        )
    if moved:
        told = [f"{metric_title(kind, m)}{_direction(directions.get(m))}" for m in moved]
        parts.append(html.P(["Metrics that moved, most important first: ", ", ".join(told)]))
    return html.Section(parts)


def spread_directions(course: NormalCourse) -> dict[str, float]:
    """How far from normal each metric was that was not about normal, in spreads."""
    return {one.metric: one.spreads for one in course.departures if abs(one.spreads) >= LEAST_SPREADS}


def _rule_words(kind: str, rule_id: str) -> str:
    declared = device_type(kind)
    rule = next((r for r in declared.rules if r.id == rule_id), None) if declared is not None else None
    return f"{visible(rule_id, 40)} ({rule.title})" if rule is not None else visible(rule_id, 80)


def _direction(value: float | None) -> str:
    if not value:
        return ""
    return " (up)" if value > 0 else " (down)"


def likely(incident: Incident) -> Content:
    """Likely kinds of fault."""
    rows: list[list[Content]] = [
        [visible(likely["kind"].replace("_", " "), 60), number(likely["similarity"], 2)] for likely in incident.kinds
    ]
    return html.Section(
        [
            html.H2("Likely kinds of fault"),
            html.P(
                "How alike its signs are to those of each kind: 1 is the most, 0 is no likeness.", className="small"
            ),
            table(
                [Heading("kind"), Heading("similarity", True)],
                rows,
                label="Likely kinds of fault",
                empty="None of the known kinds is like it.",
            ),
        ]
    )


def similar(incident: Incident, kept: Mapping[str, Incident]) -> Content:
    """Past incidents that are like it, each with a link, how long it lasted and what it turned out to be.

    Args:
        incident: the one that they are like.
        kept: those that are still on record by id.
    """
    rows: list[list[Content]] = []
    for past in incident.similar:
        one = kept.get(past["incident_id"])
        label = past.get("label") if one is None else one.label
        rows.append(
            [
                dcc.Link(
                    f"{visible(past['device_id'], 60)}, {iso(past['started_at'])}",
                    href=incident_href(past["incident_id"]),
                ),
                number(past["similarity"], 2),
                "–" if one is None else span_words(one.ended_at - one.started_at),
                visible(label, 80) if label else "not said",
            ]
        )
    return html.Section(
        [
            html.H2("Similar past incidents"),
            html.P("The most similar first.", className="small"),
            table(
                [
                    Heading("incident"),
                    Heading("similarity", True),
                    Heading("lasted", True),
                    Heading("turned out to be"),
                ],
                rows,
                label="Similar past incidents",
                empty="No past incident is like it.",
            ),
        ]
    )


def departures(course: NormalCourse, kind: str) -> Content:
    """How far each metric was from normal while the incident lasted, as bars; the farthest first."""
    shown = [one for one in course.departures if abs(one.spreads) >= LEAST_SPREADS][:METRICS]
    most = max((abs(one.spreads) for one in shown), default=1.0)
    rows: list[list[Content]] = [
        [
            metric_title(kind, one.metric),
            metric_value(kind, one.metric, one.observed),
            metric_value(kind, one.metric, one.normal),
            html.Span(
                f"{number(abs(one.spreads), 1)} spreads {'higher' if one.spreads > 0 else 'lower'}",
                className="measured",
                style={"backgroundSize": f"{100 * abs(one.spreads) / most:.0f}% 100%"},
            ),
        ]
        for one in shown
    ]
    return html.Section(
        [
            html.H2("What was not normal"),
            html.P(
                "Means over the incident, beside what the device's other metrics say that each should have been. "
                "A spread is how much a metric usually varies.",
                className="small",
            ),
            table(
                [Heading("metric"), Heading("was", True), Heading("normal", True), Heading("apart by")],
                rows,
                label="How far each metric was from normal",
                empty="Each metric by itself is what the others imply; scores and rules say what is wrong.",
            ),
        ]
    )


@dataclass(frozen=True, slots=True)
class Drawn:
    """Figures of an incident: metrics with what would have been normal, scores, and what is marked in them."""

    metrics: Figure
    scores: Figure
    marked: str


def figures(store: Store, incident: Incident, kind: str, course: NormalCourse | None) -> Drawn | None:
    """Scores and metrics around the incident; None where no snapshot is left of that time."""
    device_id = incident.device_id
    start_ms, end_ms = around(incident)
    series = read_series(store, device_id, kind, start_ms, end_ms)
    if not len(series):
        return None
    events = device_events(store, device_id, start_ms, end_ms)
    maintenance = maintenance_within(store, device_id, start_ms, end_ms)
    spans = marks(events, [], maintenance, series.window_ms, end_ms)
    colour = SEVERITY_COLOURS.get(incident.severity, SEVERITY_COLOURS["info"])
    spans.append(Span(incident.started_at, incident.ended_at, "this incident", colour, 0.1))
    axis: dict[str, Any] = {
        "start_ms": start_ms,
        "end_ms": end_ms,
        "interval_ms": interval_of(series.times_ms, series.window_ms),
        "spans": spans,
        "revision": f"{device_id} {incident.started_at}",
    }
    profile = profile_row(store, device_id)
    known = list(series.metric_names)
    moved = [m for m in incident.metrics if m in known][:METRICS]
    others = [m for m in key_metrics(kind, known, len(known)) if m not in moved]
    shown = moved or others[:METRICS]
    lines = lines_of(series, shown, profile.metric_stats if profile is not None else None, {})
    if course is not None:
        lines = [with_normal(line, metric, kind, course, series) for line, metric in zip(lines, shown, strict=True)]
    told = marks_words(spans) + ("" if course is None else " Dashed: what would have been normal.")
    scores = method_scores(store, device_id, start_ms, end_ms)
    return Drawn(
        with_moving_axes(metrics_figure(series.times_ms, lines, **axis)),
        with_moving_axes(score_figure(scores, **axis)),
        told,
    )


def with_normal(line: Line, metric: str, kind: str, course: NormalCourse, series: SnapshotSeries) -> Line:
    """The line of a metric with what would have been normal, where that is known."""
    normal = course.column(metric, series.times_ms)
    return line if normal is None else replace(line, normal=metric_display(kind, metric).values(normal))


@dataclass(frozen=True, slots=True)
class IncidentKey:
    """Which incident.

    Attributes:
        device_id: the device.
        name: what its id has after that.
    """

    device_id: str
    name: str


@dataclass(frozen=True, slots=True)
class IncidentView:
    """What a refresh shows: what is read first, nothing where there is no incident; the rest; buttons off; figures."""

    lead: Content
    content: Content
    off: list[bool]
    drawn: Drawn | None = None


def render(store: Store, key: IncidentKey, known: KnownOfIncidents, settings: Settings) -> IncidentView:
    """One refresh of the page of an incident."""
    incident = lifecycle.find_incident(store, f"{key.device_id}/{key.name}")
    if incident is None:
        return IncidentView("", gone(store, f"{key.device_id}/{key.name}", settings), [True] * len(ACTIONS))
    handling = lifecycle.handling_of(store, [incident]).get(incident.incident_id)
    device = next((d for d in store.devices() if d.device_id == key.device_id), None)
    kind = device.device_type if device is not None else ""
    lost = DATA_LOSS in incident.methods  # then there is nothing that could resemble anything
    at_ms = now_ms()
    worth = known.of(store, incident, at_ms)
    saved = savings_words(*known.savings(store, incident, handling, at_ms), worth)
    course = known.normal_course(store, device, incident, around(incident), at_ms) if device and not lost else None
    like = incidents_of(store, [(past["device_id"], past["started_at"]) for past in incident.similar])
    kept = {one.incident_id: one for one in like}
    timezone = timezone_of(settings.hvac_alerts, device.building_id if device is not None else incident.building_id)
    drawn = figures(store, incident, kind, course)
    content = html.Div(
        [
            summary(incident, kind, handling, at_ms, timezone),
            worth_of_it(worth, urgency_now(store, incident, worth)),
            history(lifecycle.history_of(store, incident), timezone),
            why(incident, kind, course),
            *([] if course is None else [departures(course, kind)]),
            *([] if lost else [html.Div([likely(incident), similar(incident, kept)], className="columns")]),
            *([note("The snapshots around it are no longer kept.")] if drawn is None else []),
        ]
    )
    first = lead(incident, handling, at_ms, short_cost(worth), saved, timezone)
    return IncidentView(first, content, acting_on_it.impossible(handling, at_ms), drawn)


def register(app: Dash, source: Source, acting: Acting) -> None:
    """Callbacks of the page."""
    acting_on_it.register(app, source, acting)
    known = KnownOfIncidents(source.settings)

    @app.callback(
        Output("incident-content", "children"),
        Output("incident-lead", "children"),
        Output("incident-acting", "hidden"),
        Output("incident-figures", "hidden"),
        Output("incident-marks", "children"),
        Output("incident-figure", "figure"),
        Output("incident-figure", "style"),
        Output("incident-scores", "figure"),
        Output("incident-scores", "style"),
        Output("incident-axes", "data"),
        *acting_on_it.buttons_off(),
        Input("tick", "n_intervals"),
        Input(acting_on_it.SAID, "children"),
        State("incident-id", "data"),
        State("incident-axes", "data"),
    )
    def refresh(_tick: int, _said: Content, key: tuple[str, str], axes: str | None) -> tuple[Any, ...]:
        shown, missing = IncidentView("", "", [True] * len(ACTIONS)), False

        def read(store: Store) -> Content:
            nonlocal shown, missing
            shown = render(store, IncidentKey(str(key[0]), str(key[1])), known, source.settings)
            missing = not shown.lead
            return shown.content

        content = guarded(source, read)
        return content, shown.lead, missing, *_sent_figures(shown.drawn, axes), *shown.off


def _sent_figures(drawn: Drawn | None, axes: object) -> tuple[Any, ...]:
    """Outputs of the figures: whether they are hidden, what is marked in them, each with its height, and their axes.

    Args:
        drawn: the figures.
        axes: of those that the browser has.
    """
    if drawn is None:
        return True, *[no_update] * 5, None
    now = same_axes([drawn.metrics, drawn.scores])
    parts = [part for one in (drawn.metrics, drawn.scores) for part in (sent(one, again=axes == now), height_of(one))]
    return False, drawn.marked, *parts, now
