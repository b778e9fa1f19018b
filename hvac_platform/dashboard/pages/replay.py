"""A past span of a device played back: metrics, scores and verdicts come up as they did. The browser does the stepping."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update

from hvac_platform.config import Settings
from hvac_platform.dashboard.components import (
    GRAPH_CONFIG,
    Content,
    chooser,
    empty_state,
    guarded,
    named,
    note,
    nothing_registered,
    option,
)
from hvac_platform.dashboard.figures import (
    SEVERITY_COLOURS,
    Figure,
    Line,
    Span,
    interval_of,
    metrics_figure,
    score_figure,
)
from hvac_platform.dashboard.formatting import (
    device_href,
    incident_href,
    key_metrics,
    metric_title,
    replay_time,
    span_words,
)
from hvac_platform.dashboard.front import texts_once
from hvac_platform.dashboard.known_of_incidents import KnownOfIncidents
from hvac_platform.dashboard.pages.device import MOST_OPTIONS, lines_of, marks, marks_words
from hvac_platform.dashboard.pages.incident import around, with_normal
from hvac_platform.dashboard.reading import (
    HOUR_MS,
    LONGEST_REPLAY_MS,
    device_events,
    device_incidents,
    maintenance_within,
    method_scores,
    profile_row,
    units_sent,
)
from hvac_platform.dashboard.source import Source
from hvac_platform.devices.registry import device_type
from hvac_platform.monitoring import lifecycle
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import AnomalyEvent, Incident
from hvac_platform.stores.series import read_series
from hvac_platform.timestamps import DAY_MS, iso, now_ms, parse_instant
from hvac_platform.visible_text import visible

SPEEDS = (1, 10, 60, 600)
USUAL_SPEED = 60
USUAL_MS, LONGEST_MS = 6 * HOUR_MS, LONGEST_REPLAY_MS
LONGEST_TIME = 40
MOST_METRICS = 12
MOST_SAID = 500
TICK_MS = 250
FIGURES = re.compile(r"[-+0-9.,]+")
"""What of a reason differs from window to window."""


class SpanError(ValueError):
    """The span can't be played; the message says why."""


def layout(device_id: str, name: str | None = None, *, query: Mapping[str, str] = MappingProxyType({})) -> Content:
    """The page before a span is read; of an incident where one is named by what its id has after its device.

    Args:
        device_id: the device.
        name: of the incident, or None.
        query: ``from`` and ``until`` of the span, as somebody wrote them; the usual span where they are absent.
    """
    heading: list[Any] = ["Replay of ", dcc.Link(visible(device_id, 128), href=device_href(device_id))]
    return html.Div(
        [
            html.H1(heading),
            html.P(
                "A past span as it came up: each window appears when it was complete, with what was said of it. Play it, "
                "or move to any moment. Times are UTC.",
                className="small",
            ),
            html.Div(
                [
                    _time_field("from", "From (UTC)", query.get("from")),
                    _time_field("until", "Until (UTC)", query.get("until")),
                    chooser("replay-metrics", "Metrics", [], [], multi=True, placeholder="the key ones"),
                    html.Button("Show this span", id="replay-show", n_clicks=0, type="button"),
                ],
                className="controls",
            ),
            html.Div(note("reading …"), id="replay-message"),
            html.Div(
                [
                    _player(),
                    html.H2("Scores of the methods"),
                    _graph("replay-scores", "Scores of rules, profile similarity and vector search up to the moment"),
                    html.H2("Metrics"),
                    _graph("replay-figure", "Metrics up to the moment, with their normal bands"),
                    html.P(id="replay-values", className="small"),
                    html.H2("What was said up to the moment"),
                    html.Ol(id="replay-said", className="said"),
                ],
                id="replay-body",
                hidden=True,
            ),
            dcc.Store(id="replay-id", data=[device_id, name]),
            dcc.Store(id="replay-data"),
            dcc.Interval(id="replay-tick", interval=TICK_MS, disabled=True),
        ]
    )


def _time_field(name: str, label: str, value: str | None) -> Content:
    written = None if value is None else value[:LONGEST_TIME]
    field = dcc.Input(
        id=f"replay-{name}", type="text", value=written, maxLength=LONGEST_TIME, placeholder="2026-01-31T06:00"
    )
    return html.Div([html.Label(label, htmlFor=f"replay-{name}"), field], className="chooser")


def _player() -> Content:
    """Play and pause, the speed, the moment, and what stands there at the moment."""
    speeds: Any = [{"label": f"{speed}×", "value": speed} for speed in SPEEDS]
    return html.Section(
        [
            html.Div(
                [
                    html.Button("▶ Play", id="replay-play", n_clicks=0, type="button"),
                    html.Fieldset(
                        [
                            html.Legend("Speed", className="unseen"),
                            dcc.RadioItems(id="replay-speed", options=speeds, value=USUAL_SPEED, inline=True),
                        ],
                        className="chooser speeds",
                    ),
                    html.Span(id="replay-clock", className="clock"),
                ],
                className="controls",
            ),
            html.Label("Moment", htmlFor="replay-at", className="unseen"),
            dcc.Input(id="replay-at", type="range", min=0, max=1, step=1, value=0, className="moment"),
            html.P(id="replay-state", role="status", className="state"),
        ],
        className="player",
        **named("Player"),
    )


def _graph(graph_id: str, label: str) -> Content:
    figure: Any = {"data": [], "layout": {"height": 250}}
    height = {"height": f"{figure['layout']['height']}px"}  # or a slow browser draws it flat while it is still hidden
    drawn = dcc.Graph(id=graph_id, figure=figure, config=GRAPH_CONFIG, style=height)
    return html.Div(drawn, className="figure", role="group", **named(label))


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be played.

    Attributes:
        device_id: the device.
        name: what an incident's id has after its device, or None.
        start: beginning of the span as somebody wrote it, or empty for the usual one.
        until: its end.
        metrics: metrics to show, or none for the key ones.
    """

    device_id: str
    name: str | None = None
    start: str = ""
    until: str = ""
    metrics: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Replay:
    """What the browser plays, and what stands beside it.

    Attributes:
        data: figures of the whole span and what was said when, as the browser's part (``replay.js``) reads it.
        words: the span and what is in it.
        span: [start, end), epoch milliseconds.
        options: metrics to choose from.
    """

    data: dict[str, Any]
    words: Content
    span: tuple[int, int]
    options: list[dict[str, str]]


def span_of(asked: Asked, incident: Incident | None, device: Device, window_ms: int, at_ms: int) -> tuple[int, int]:
    """The span [start, end) to play: what was written, else that around the incident, else the last hours with data.

    Raises:
        SpanError: what was written is incomplete, not a time, turned round or too long.
    """
    if not asked.start and not asked.until:
        if incident is not None:
            start_ms, end_ms = around(incident)
            return start_ms, min(end_ms, start_ms + LONGEST_MS, max(at_ms, start_ms + window_ms))
        newest = min(at_ms, device.last_seen + window_ms)
        return newest - USUAL_MS, newest
    try:
        start_ms, end_ms = parse_instant(asked.start), parse_instant(asked.until)
    except ValueError:
        raise SpanError("Enter both times; a time looks like 2026-01-31 or 2026-01-31T06:00") from None
    if start_ms >= end_ms:
        raise SpanError("The end is not after the start")
    if end_ms - start_ms > LONGEST_MS:
        raise SpanError(f"This span is {span_words(end_ms - start_ms)} long; a replay may be {span_words(LONGEST_MS)}")
    return start_ms, end_ms


def read_replay(
    store: Store, settings: Settings, asked: Asked, at_ms: int, known: KnownOfIncidents
) -> Replay | Content:
    """All that is played, by one read of the span; a component that says why where there is nothing to play.

    Args:
        store: where to read.
        settings: length of the windows of devices that have none of their own.
        asked: what is to be played.
        at_ms: the present.
        known: remembers what would have been normal, for when other metrics of the span are asked for.
    """
    device = Device.first(store, asked.device_id)
    if device is None:
        registered = Device.first(store) is not None
        return empty_state("no device of this name is registered") if registered else nothing_registered()
    incident = None if asked.name is None else lifecycle.find_incident(store, f"{asked.device_id}/{asked.name}")
    if asked.name is not None and incident is None and not asked.start:
        return empty_state("there is no such incident: choose a span to play")
    window_ms = device.window(settings)
    try:
        start_ms, end_ms = _whole_windows(*span_of(asked, incident, device, window_ms, at_ms), window_ms)
    except SpanError as error:
        return html.P(f"{error}.", className="note", role="alert")
    kind = device.device_type
    series = read_series(store, device.device_id, kind, start_ms, end_ms)
    if not len(series):
        return empty_state(f"no snapshots between {iso(start_ms)} and {iso(end_ms)}: choose another span")
    events = device_events(store, device.device_id, start_ms, end_ms)
    incidents = [
        one
        for one in device_incidents(store, device.device_id, start_ms - 31 * DAY_MS, end_ms)
        if one.ended_at > start_ms
    ]
    spans = marks(events, [], maintenance_within(store, device.device_id, start_ms, end_ms), series.window_ms, end_ms)
    spans += [_mark(one) for one in incidents]
    known_metrics = list(series.metric_names)
    moved = [m for m in incident.metrics if m in known_metrics][:6] if incident is not None else []
    wanted = (
        [m for m in asked.metrics if m in known_metrics][:MOST_METRICS] or moved or key_metrics(kind, known_metrics)
    )
    profile = profile_row(store, device.device_id)
    units = units_sent(store, device, window_ms) if device_type(kind) is None else {}
    lines = lines_of(series, wanted, profile.metric_stats if profile is not None else None, units)
    lasted = incident is not None and incident.started_at < end_ms and incident.ended_at > start_ms
    span = (start_ms, end_ms)
    course = known.normal_course(store, device, incident, span, at_ms) if incident and lasted else None
    if course is not None:
        lines = [with_normal(line, metric, kind, course, series) for line, metric in zip(lines, wanted, strict=True)]
    axis: dict[str, Any] = {
        "start_ms": start_ms,
        "end_ms": end_ms,
        "interval_ms": interval_of(series.times_ms, series.window_ms),
        "spans": spans,
        "revision": f"{device.device_id} {start_ms} {end_ms}",
    }
    begun = None if incident is None else incident.started_at
    data = {
        "of": device.device_id,
        "start": start_ms,
        "end": end_ms,
        "at": begun if begun is not None and start_ms <= begun < end_ms else start_ms + (end_ms - start_ms) // 10,
        "window": series.window_ms,
        "scores": score_figure(method_scores(store, device.device_id, start_ms, end_ms), **axis),
        "metrics": _with_fixed_axes(metrics_figure(series.times_ms, lines, **axis), lines),
        "lines": [[line.title, line.unit, _axis(i)] for i, line in enumerate(lines)],
        "anomalous": anomalous_runs(events, series.window_ms),
        "said": said(events, incidents, series.window_ms, end_ms),
    }
    dashed = " Dashed: what would have been normal." if course is not None else ""
    counted = f"{len(series):,} windows, {len(events):,} of them anomalous"
    if incident is not None and incident.started_at < end_ms < incident.ended_at:
        counted += f"; the incident goes on until {iso(incident.ended_at)}"
    words = f"{iso(start_ms)} to {iso(end_ms)}: {counted}. {marks_words(spans)}{dashed}"
    return Replay(
        data,
        html.P(words, className="small"),
        (start_ms, end_ms),
        [option(m, metric_title(kind, m)) for m in key_metrics(kind, known_metrics, MOST_OPTIONS)],
    )


def _whole_windows(start_ms: int, end_ms: int, window_ms: int) -> tuple[int, int]:
    """The span that windows cover which are in it in part.

    >>> _whole_windows(90_000, 150_000, 60_000)
    (60000, 180000)
    """
    return start_ms // window_ms * window_ms, -(-end_ms // window_ms) * window_ms


def _mark(incident: Incident) -> Span:
    colour = SEVERITY_COLOURS.get(incident.severity, SEVERITY_COLOURS["info"])
    return Span(incident.started_at, incident.ended_at, f"incident, {incident.severity}", colour, 0.1)


def _axis(i: int) -> str:
    """Name of the axis of the i-th line in its figure."""
    return "y" if i == 0 else f"y{i + 1}"


def _with_fixed_axes(figure: Figure, lines: Sequence[Line]) -> Figure:
    """The figure with axes that have room for the whole span, so that they hold still while it is played."""
    for i, line in enumerate(lines):
        axis = figure["layout"]["yaxis" + _axis(i).removeprefix("y")]
        drawn = [y for trace in figure["data"] if trace["yaxis"] == _axis(i) for y in trace["y"]]
        known = [y for y in (*drawn, *(line.band or ())) if y is not None and math.isfinite(y)]
        if "range" in axis or not known:
            continue
        low, high = min(known), max(known)
        room = 0.08 * ((high - low) or abs(high) or 1.0)
        axis["range"] = [low - room, high + room]
    return figure


def anomalous_runs(events: Sequence[AnomalyEvent], window_ms: int) -> list[list[Any]]:
    """Neighbouring anomalous windows by the same methods as [start, end, methods], in order of time."""
    found: list[list[Any]] = []
    for event in events:
        methods = ", ".join(visible(name, 20) for name in event.methods)
        if found and event.detected_at <= found[-1][1] and methods == found[-1][2]:
            found[-1][1] = event.detected_at + window_ms
        else:
            found.append([event.detected_at, event.detected_at + window_ms, methods])
    return found


def said(
    events: Sequence[AnomalyEvent], incidents: Sequence[Incident], window_ms: int, end_ms: int
) -> list[list[str | int]]:
    """What was said when, as [instant, words, address of an incident or empty], in order of time.

    A window is told where its first reason is a new one since the device was last found normal, with whatever figures.
    """
    found: list[list[str | int]] = []
    before_ms, told = -1, set[str]()
    for event in events:
        if event.detected_at > before_ms + window_ms:
            told.clear()
        reason = (event.reasons or ["no reason was recorded"])[0]
        kind = FIGURES.sub("", reason)
        if kind not in told:
            methods = ", ".join(visible(name, 20) for name in event.methods)
            found.append([event.detected_at + window_ms, f"Anomalous by {methods}: {visible(reason, 300)}", ""])
        before_ms = event.detected_at
        told.add(kind)
    for one in incidents:
        address = incident_href(one.incident_id)
        why = visible((one.reasons or ["–"])[0], 300)
        found.append([one.started_at + window_ms, f"Incident begins, {visible(one.severity, 20)}: {why}", address])
        if one.ended_at <= end_ms:
            found.append([one.ended_at, f"Incident ends, {visible(one.severity, 20)}", address])
    return sorted(found, key=lambda entry: entry[0])[:MOST_SAID]


def register(app: Dash, source: Source) -> None:
    """The callback that reads a span, and the browser's own that plays it."""
    known = KnownOfIncidents(source.settings)

    @app.callback(
        Output("replay-data", "data"),
        Output("replay-message", "children"),
        Output("replay-body", "hidden"),
        Output("replay-figure", "style"),
        Output("replay-from", "value"),
        Output("replay-until", "value"),
        Output("replay-metrics", "options"),
        Input("replay-show", "n_clicks"),
        Input("replay-from", "n_submit"),
        Input("replay-until", "n_submit"),
        Input("replay-metrics", "value"),
        State("replay-from", "value"),
        State("replay-until", "value"),
        State("replay-id", "data"),
    )
    def read(*sent: Any) -> tuple[Any, ...]:
        *_, metrics, start, until, key = sent
        asked = _asked(metrics, start, until, key)
        found: list[Replay] = []

        def content(store: Store) -> Content:
            made = read_replay(store, source.settings, asked, now_ms(), known)
            if not isinstance(made, Replay):
                return made
            found.append(made)
            return made.words

        message = guarded(source, content)
        if not found:
            return None, message, True, *[no_update] * 4
        height = {"height": f"{found[0].data['metrics']['layout']['height']}px"}
        times = [replay_time(instant) for instant in found[0].span]
        return found[0].data, message, False, height, *times, found[0].options

    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("replay", "step"),
        Output("replay-scores", "figure"),
        Output("replay-figure", "figure"),
        Output("replay-at", "value"),
        Output("replay-at", "max"),
        Output("replay-at", "step"),
        Output("replay-clock", "children"),
        Output("replay-state", "children"),
        Output("replay-values", "children"),
        Output("replay-said", "children"),
        Output("replay-tick", "disabled"),
        Output("replay-play", "children"),
        Input("replay-data", "data"),
        Input("replay-play", "n_clicks"),
        Input("replay-at", "value"),
        Input("replay-tick", "n_intervals"),
        Input("replay-speed", "value"),
    )


def _asked(metrics: object, start: object, until: object, key: Any) -> Asked:
    """What a browser sent, whatever it is."""
    start_text, until_text = (one.strip()[:LONGEST_TIME] if isinstance(one, str) else "" for one in (start, until))
    device_id, name = key
    return Asked(
        str(device_id), None if name is None else str(name), start_text, until_text, texts_once(metrics, MOST_METRICS)
    )
