"""One device: its metrics and scores over a span, its events with reasons, what is known of its normal."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any, Literal

import numpy as np
from dash import Dash, Input, Output, Patch, State, dcc, html, no_update

from hvac_platform.config import Settings
from hvac_platform.dashboard import launching, maintaining, mapping
from hvac_platform.dashboard.components import (
    Content,
    Heading,
    chooser,
    device_links,
    empty_state,
    facts,
    guarded,
    lines_cell,
    note,
    nothing_registered,
    option,
    severity_cell,
    table,
)
from hvac_platform.dashboard.figures import (
    ORANGE,
    PURPLE,
    SEVERITY_COLOURS,
    VERMILION,
    Line,
    Span,
    interval_of,
    merged,
    metrics_figure,
    moving_range,
    score_figure,
    strips_figure,
    with_moving_axes,
)
from hvac_platform.dashboard.formatting import (
    age,
    at_site,
    incident_href,
    key_metrics,
    level_words,
    metric_display,
    metric_title,
    metric_unit,
    metric_value,
    number,
    replay_href,
    span_words,
    type_title,
)
from hvac_platform.dashboard.front import LONGEST_LIST, texts_once
from hvac_platform.dashboard.kept_zoom import height_of, kept_graph, same_axes, sent
from hvac_platform.dashboard.log_in import current_person
from hvac_platform.dashboard.reading import (
    HOUR_MS,
    LONGEST_REPLAY_MS,
    completeness_of,
    device_events,
    device_incidents,
    device_trends,
    lasting_changes,
    maintenance_within,
    method_scores,
    not_judged,
    open_window,
    profile_history,
    profile_row,
    units_sent,
    with_open_window,
)
from hvac_platform.dashboard.source import Source
from hvac_platform.dashboard.typed_fields import entered, register_fields, typed_field
from hvac_platform.devices.display_units import Display
from hvac_platform.devices.local_time import timezone_of
from hvac_platform.devices.registry import device_type
from hvac_platform.devices.topology import NO_TOPOLOGY
from hvac_platform.monitoring.data_loss import spelled
from hvac_platform.monitoring.degradation import FORESEEN_DAYS
from hvac_platform.monitoring.lasting import evidence_line
from hvac_platform.monitoring.learning import mode_calibration
from hvac_platform.monitoring.operating_modes import windows_by_mode
from hvac_platform.monitoring.profile_versions import told_gate
from hvac_platform.monitoring.provisional import ProvisionalEvent, provisional_events
from hvac_platform.monitoring.site_topology import topology_of_site
from hvac_platform.snapshots import SnapshotSeries
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.records import (
    AnomalyEvent,
    DevicePoint,
    Incident,
    LastingChange,
    MaintenanceSpan,
    MetricTrend,
    ProfileVersion,
    Snapshot,
    StoredFit,
    StoredMode,
    StoredProfile,
    Verdict,
    read_points,
)
from hvac_platform.stores.series import read_series
from hvac_platform.timestamps import DAY_MS, day_of, iso, now_ms, parse_instant
from hvac_platform.visible_text import visible

RANGES = {"1 h": HOUR_MS, "6 h": 6 * HOUR_MS, "24 h": DAY_MS, "7 d": 7 * DAY_MS}
CUSTOM, OVERLAID = "custom", "overlaid"
LONGEST_MS = 31 * DAY_MS
SHOWN_EVENTS = 25
MOST_METRICS = 24
"""Metrics in the figure at once."""
MOST_OPTIONS = 400
"""Metrics to choose from, and listed with their newest values."""
MOST_NEIGHBOURS = 50
"""Devices that are named as feeding one, or fed by it."""
BAND_SIGMAS = 3.0
RECENT_WINDOWS = 10
HOLD_MS = 60_000
"""What a refresh shows is read anew after so long, whether or not something seems to have come."""

Statistics = Mapping[str, Mapping[str, float]]
"""Mean, std, scale and others by metric, as a profile keeps them."""


class SpanError(ValueError):
    """The span that was asked for can't be shown; the message says why."""


POINT_SHARES: tuple[Literal["completeness", "staleness", "stuck", "out_of_range"], ...] = (
    "completeness",
    "staleness",
    "stuck",
    "out_of_range",
)
"""Figures of a grade that the page shows."""


def layout(device_id: str) -> Content:
    """The page of a device before its first refresh."""
    ranges: Any = [{"label": name, "value": name} for name in (*RANGES, CUSTOM)]
    overlay: Any = [{"label": "over each other", "value": OVERLAID}]
    return html.Div(
        [
            html.H1(visible(device_id, 128)),
            html.Div(id="device-head"),
            html.Div(
                [
                    maintaining.panel(current_person(), now_ms()),
                    launching.panel(current_person(), now_ms()),
                    html.Div(
                        [
                            html.Fieldset(
                                [
                                    html.Legend("Range"),
                                    dcc.RadioItems(id="device-range", options=ranges, value="24 h", inline=True),
                                ],
                                className="chooser wide",
                            ),
                            html.Div(
                                [
                                    *typed_field("device-from", "From (UTC)", placeholder="2026-01-31T06:00"),
                                    *typed_field("device-until", "Until (UTC)", placeholder="2026-01-31T18:00"),
                                ],
                                id="device-custom",
                                hidden=True,
                                className="chooser wide",
                            ),
                            chooser("device-metrics", "Metrics", [], [], multi=True, placeholder="the key ones"),
                            html.Fieldset(
                                [
                                    html.Legend("Those of one unit"),
                                    dcc.Checklist(id="device-overlay", options=overlay, value=[], inline=True),
                                ],
                                className="chooser",
                            ),
                            dcc.Link("Replay this span", href=replay_href(device_id), id="device-replay"),
                        ],
                        className="controls",
                    ),
                ],
                id="device-tools",
            ),
            html.Div(note("reading …"), id="device-message"),
            html.Div(id="device-urgent"),
            html.Div(
                [
                    html.H2("Scores of the methods"),
                    kept_graph("device-scores", "Scores of rules, profile similarity and vector search over time"),
                    html.H2("Operating mode and data"),
                    kept_graph("device-strips", "Operating mode and share of points read over time"),
                    html.H2("Metrics"),
                    html.P(id="device-marks", className="small"),
                    kept_graph("device-figure", "Metrics over time with their normal bands"),
                    mapping.panel(),
                    html.Div(id="device-newest"),
                    html.Div(id="device-tables"),
                ],
                id="device-body",
                hidden=True,
            ),
            dcc.Store(id="device-shown"),
            dcc.Store(id="device-id", data=device_id),
        ]
    )


def span_of(
    chosen: str, start: str | None, until: str | None, device: Device, window_ms: int, at_ms: int
) -> tuple[int, int]:
    """The span [start, end) to show; ranges end at the newest reading, so a device that is silent shows its last hours.

    Raises:
        SpanError: a custom span is incomplete, not a time, turned round or too long.
    """
    newest = min(at_ms, device.last_seen + window_ms)
    if chosen != CUSTOM:
        return newest - RANGES.get(chosen, DAY_MS), newest
    if not start or not until:
        raise SpanError("Enter both times, for example 2026-01-31T06:00. Times are UTC.")
    try:
        start_ms, end_ms = parse_instant(start.strip()), parse_instant(until.strip())
    except ValueError:
        raise SpanError("A time looks like 2026-01-31 or 2026-01-31T06:00. Times are UTC.") from None
    if start_ms >= end_ms:
        raise SpanError("The end is not after the start.")
    if end_ms - start_ms > LONGEST_MS:
        raise SpanError("A custom range may be 31 days long at most.")
    return start_ms, end_ms


def normal_band(statistics: Statistics | None, metric: str) -> tuple[float, float] | None:
    """Mean ± 3 sigma of a metric's normal windows, or None.

    >>> normal_band({"t": {"mean": 70.0, "std": 1.0, "scale": 2.0}}, "t")
    (64.0, 76.0)
    """
    found = (statistics or {}).get(metric)
    if not found:
        return None
    sigma = found.get("scale") or found.get("std")
    if sigma is None or found.get("mean") is None:
        return None
    return found["mean"] - BAND_SIGMAS * sigma, found["mean"] + BAND_SIGMAS * sigma


def lines_of(
    series: SnapshotSeries, metrics: Sequence[str], statistics: Statistics | None, units: dict[str, str]
) -> list[Line]:
    """Lines of some metrics of a device."""
    kind, declared = series.device_type, device_type(series.device_type)
    hard = {p.name: p.hard for p in declared.points} if declared is not None else {}
    shown = {m: metric_display(kind, m, units) for m in metrics}
    return [
        Line(
            metric_title(kind, m),
            shown[m].unit,
            shown[m].values(series.column(m)),
            shown[m].pair(normal_band(statistics, m)),
            shown[m].pair(hard.get(m)),
        )
        for m in metrics
    ]


def marks(
    events: Sequence[AnomalyEvent],
    incidents: Sequence[Incident],
    maintenance: Sequence[MaintenanceSpan],
    window_ms: int,
    end_ms: int,
) -> list[Span]:
    """What is marked in the figures: anomalous windows, incidents, maintenance."""
    windows = merged([event.detected_at for event in events], window_ms)
    spans = [Span(start, end, "anomalous", VERMILION, 0.2) for start, end in windows]
    for incident in incidents:
        until = end_ms if incident.status == "open" else incident.ended_at
        colour = SEVERITY_COLOURS.get(incident.severity, ORANGE)
        spans.append(Span(incident.started_at, until, f"incident, {incident.severity}", colour, 0.1))
    spans += [Span(m.starts_at, m.ends_at, "maintenance", PURPLE, 0.2) for m in maintenance]
    return spans


def marks_words(spans: Sequence[Span]) -> str:
    """What the figure's marks mean, with their number."""
    counted: dict[str, int] = {}
    for span in spans:
        counted[span.label] = counted.get(span.label, 0) + 1
    told = [f"{count} × {label}" for label, count in counted.items()]
    return "Light blue band: mean ± 3 sigma of the normal windows. Shaded: " + (", ".join(told) or "nothing") + "."


def head(device: Device, at_ms: int, timezone: str, plant: Sequence[tuple[str, Sequence[str]]] = ()) -> Content:
    """What the device is and where; in a plant, devices that feed it and that it feeds."""
    return facts(
        [
            ("Type", type_title(device.device_type)),
            ("Location", visible(device.location, 120) or "–"),
            ("Building", visible(device.building_id, 120) or "–"),
            ("First reading", iso(device.first_seen)),
            ("Last reading", f"{at_site(device.last_seen, timezone)}, {age(at_ms - device.last_seen)} ago"),
            ("Partition of the topic", str(device.kafka_partition)),
            *((name, html.Span(device_links(others))) for name, others in plant if others),
        ]
    )


def plant_around(store: Store, settings: Settings, device_id: str) -> list[tuple[str, list[str]]]:
    """Devices that feed a device and that it feeds, those that are seen; the file is read once until it changes."""
    topology = topology_of_site(settings) or NO_TOPOLOGY
    if device_id not in topology.devices:
        return []
    seen = {device.device_id for device in store.devices()}
    around = (("Fed by", topology.fed_by), ("Feeds", topology.feeds))
    return [(name, [one for one in of.get(device_id, ()) if one in seen][:MOST_NEIGHBOURS]) for name, of in around]


def events_table(events: Sequence[AnomalyEvent], kind: str) -> Content:
    """Anomalous windows, newest first, with reasons."""
    newest = list(reversed(events))[:SHOWN_EVENTS]
    rows: list[list[Content]] = [
        [
            iso(event.detected_at),
            number(event.anomaly_score, 2),
            ", ".join(visible(m, 20) for m in event.methods),
            level_words(event.level),
            lines_cell(event.reasons),
            ", ".join(metric_title(kind, m) for m in event.metrics),
        ]
        for event in newest
    ]
    headings = [Heading("window (UTC)"), Heading("score", True), Heading("methods"), Heading("level")]
    listed = table(
        [*headings, Heading("reasons"), Heading("metrics")],
        rows,
        label="Anomalous windows",
        empty="No window of this span was found anomalous.",
        tall=True,
    )
    title = html.H2(f"Anomalous windows ({len(events):,})")
    if not rows:
        return html.Section([title, listed])
    summary = f"The newest {SHOWN_EVENTS}, with reasons" if len(events) > SHOWN_EVENTS else "All, with reasons"
    return html.Section([title, html.Details([html.Summary(summary), listed])])


def incidents_table(incidents: Sequence[Incident]) -> Content:
    """Incidents of the span, newest first."""
    rows: list[list[Content]] = [
        [
            dcc.Link(iso(row.started_at), href=incident_href(row.incident_id)),
            severity_cell(row.severity),
            visible(row.status, 20),
            span_words(row.ended_at - row.started_at),
            number(row.peak_score, 2),
            visible((row.reasons or ["–"])[0]),
        ]
        for row in incidents[::-1][:SHOWN_EVENTS]
    ]
    headings = [Heading("started (UTC)"), Heading("severity"), Heading("status"), Heading("duration", True)]
    return html.Section(
        [
            html.H2(f"Incidents ({len(incidents):,})"),
            table(
                [*headings, Heading("peak score", True), Heading("why")],
                rows,
                label="Incidents",
                empty="No incident in this span.",
            ),
        ]
    )


def statistics_shown(display: Display, found: Mapping[str, float]) -> list[str]:
    """Mean, spread, least and most of a metric in the unit that it is shown in."""
    mean, spread, least, most = (found.get(name) for name in ("mean", "std", "min", "max"))
    values = [None if one is None else display.value(one) for one in (mean, least, most)]
    shown_spread = None if spread is None else display.difference(spread)
    return [number(one) for one in (values[0], shown_spread, values[1], values[2])]


def profile_facts(profile: StoredProfile | None, device: Device) -> Content:
    """What is known of the device's normal."""
    if profile is None:
        missing = empty_state("there is no profile of this device yet", ["hvac profiles build"])
        return html.Section([html.H2("Profile"), missing])
    limits = profile.calibration
    kind = device.device_type
    rows: list[list[Content]] = [
        [metric_title(kind, m), metric_unit(kind, m), *statistics_shown(metric_display(kind, m), s)]
        for m, s in islice(profile.metric_stats.items(), MOST_OPTIONS)
    ]
    return html.Section(
        [
            html.H2("Profile"),
            facts(
                [
                    ("Learned from", f"{iso(profile.span_start)} to {iso(profile.span_end)}"),
                    ("Normal snapshots", number(profile.snapshot_count, 0)),
                    ("Encoder", visible(profile.embedding_method, 80)),
                    ("Fitted", visible(_fit_words(profile.fit))),
                    ("Smallest similarity", number(limits.get("similarity"))),
                    ("Largest sigma", number(limits.get("sigma"))),
                    ("Largest distance to neighbours", number(limits.get("neighbour_distance"))),
                    ("Last built", iso(profile.profile_updated_at)),
                ]
            ),
            html.Details([html.Summary("Operating modes"), modes_table(profile.modes or [])]),
            html.Details(
                [
                    html.Summary("Statistics of its normal windows"),
                    table(
                        [
                            Heading("metric"),
                            Heading("unit"),
                            *[Heading(n, True) for n in ("mean", "std", "min", "max")],
                        ],
                        rows,
                        label="Statistics of normal windows",
                        empty="None.",
                    ),
                ]
            ),
        ]
    )


def modes_table(modes: Sequence[StoredMode]) -> Content:
    """How the machine runs when it is normal."""
    rows: list[list[Content]] = [
        [
            visible(m["name"].replace("_", " "), 120),
            f"{m['share']:.1%}",
            number(m["episodes"], 0),
            mode_calibration(m),
        ]
        for m in modes
    ]
    return table(
        [Heading("mode"), Heading("share of the time", True), Heading("entered", True), Heading("measured against")],
        rows,
        label="Operating modes",
        empty="Too little history to tell.",
    )


def changes_section(changes: Sequence[LastingChange]) -> Content:
    """What is new on the device and lasts, with the evidence for and against learning it; nothing where nothing was."""
    if not changes:
        return []
    rows: list[list[Content]] = [
        [
            dcc.Link(iso(change.since), href=incident_href(change.incident_id)),
            visible(change.state, 20),
            ", ".join(visible(name, 40) for name in change.metrics[:3]),
            lines_cell([evidence_line(one) for one in change.evidence]),
            f"{visible(change.decided_by, 40)}, {iso(change.decided_at)[:16]}",
        ]
        for change in changes[:SHOWN_EVENTS]
    ]
    headings = [Heading(name) for name in ("since (UTC)", "state", "what moved", "evidence", "decided by")]
    return html.Section(
        [html.H2("Operates differently"), table(headings, rows, label="Lasting changes", empty="Nothing is new.")]
    )


def versions_section(versions: Sequence[ProfileVersion]) -> Content:
    """Versions of the profile, with what the gate said of each."""
    rows: list[list[Content]] = [
        [
            number(version.number, 0),
            visible(version.state.replace("_", " "), 20),
            iso(version.built_at),
            visible(version.reason),
            visible(told_gate(version), 300),
            f"{visible(version.decided_by, 40)}, {iso(version.decided_at)[:16]}",
        ]
        for version in versions
    ]
    names = ("state", "built (UTC)", "fitted because", "against the one before it", "decided by")
    headings = [Heading("version", True), *(Heading(name) for name in names)]
    return html.Section(
        [
            html.H2("Versions of the profile"),
            table(headings, rows, label="Versions of the profile", empty="None is recorded yet."),
        ]
    )


def wear_section(trends: Sequence[MetricTrend], kind: str) -> Content:
    """Metrics that depart a little more every day from what the others imply."""
    rows: list[list[Content]] = [
        [
            metric_title(kind, row.metric),
            metric_value(kind, row.metric, row.reading, {row.metric: row.unit}),
            f"{metric_display(kind, row.metric, {row.metric: row.unit}).difference(row.deviation):+.3g}",
            f"{row.sigmas:+.1f}",
            f"{metric_display(kind, row.metric, {row.metric: row.unit}).difference(row.per_day):+.2g}",
            iso(row.since)[:10],
            _days_left(row.days_to_limit),
        ]
        for row in trends
        if row.since is not None
    ]
    headings = [Heading("metric"), Heading("reading", True), Heading("from expected", True), Heading("sigma", True)]
    if not trends:
        empty = "Not looked at yet: it takes ten days of history, then hvac degradation or the next night."
    else:
        empty = f"No metric degrades up to {iso(trends[0].span_end)[:10]}."
    return html.Section(
        [
            html.H2("Slow degradation"),
            table(
                [*headings, Heading("per day", True), Heading("since"), Heading("days to its limit", True)],
                rows,
                label="Slow degradation",
                empty=empty,
            ),
        ]
    )


def points_section(points: Sequence[DevicePoint], kind: str) -> Content:
    """At which pace each point reports, and how good its readings are; the poorest first."""
    order = {"poor": 0, "fair": 1, "good": 2}
    graded = sorted(points, key=lambda p: (order.get(p.grade["grade"], 3) if p.grade else 3, p.metric))
    rows: list[list[Content]] = [
        [
            metric_title(kind, point.metric),
            point.grade["grade"] if point.grade else "–",
            spelled(point.interval_ms) if point.regular else f"on change, {spelled(point.longest_ms)} at most",
            *(f"{point.grade[share]:.1%}" if point.grade else "–" for share in POINT_SHARES),
            "retired" if point.retired_at is not None else "expected",
        ]
        for point in graded
    ]
    headings = [Heading("point"), Heading("grade"), Heading("comes each")]
    shares = [Heading(name.replace("_", " "), True) for name in POINT_SHARES]
    listed = table(
        [*headings, *shares, Heading("state")],
        rows,
        label="Points",
        empty="Nothing was learned of its points yet: hvac profiles build, or the next night.",
    )
    grades = [point.grade["grade"] for point in points if point.grade]
    counts = ", ".join(f"{grades.count(grade)} {grade}" for grade in order if grade in grades)
    return html.Section([html.H2("Points"), html.Details([html.Summary(counts or "not graded yet"), listed])])


def _days_left(days: float | None) -> str:
    if days is None:
        return "–"
    return f"{days:.0f}" if days <= FORESEEN_DAYS else f"> {FORESEEN_DAYS}"


def _fit_words(fit: StoredFit | None) -> str:
    if not fit:
        return "no encoder of its own"
    return f"on {fit['count']:,} windows up to {iso(fit['end_ms'])}: {fit['reason']}"


@dataclass(frozen=True, slots=True)
class DeviceView:
    """What a refresh shows; figures are None where there is nothing in the span.

    Attributes:
        head: what the device is.
        message: the span, or why nothing is shown.
        scores: figure of the scores, a patch of it, or ``no_update``; so what follows.
        strips: figure of operating modes and data.
        metrics: figure of the metrics.
        marks: what is marked in them.
        urgent: what can't wait until its window is complete.
        newest: newest value of every metric.
        tables: what lies below.
        options: metrics to choose from.
        shown: what :func:`render` is to be told at the next refresh.
        replay: address at which the span is played back, the end of it where it is longer than can be played.
    """

    head: Content
    message: Content
    scores: Any = None
    strips: Any = None
    metrics: Any = None
    marks: Content = ""
    urgent: Content = None
    newest: Content = None
    tables: Content = None
    options: Any = None
    shown: Any = None
    replay: Any = no_update

    @property
    def heights(self) -> tuple[Any, Any, Any]:
        """Styles of the figures."""
        return height_of(self.scores), height_of(self.strips), height_of(self.metrics)


UNCHANGED = DeviceView(*[no_update] * len(fields(DeviceView)))
"""Nothing new anywhere."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a page asks for: range or span, metrics, and whether those of one unit are drawn over each other."""

    chosen: str = "24 h"
    start: str | None = None
    until: str | None = None
    metrics: Sequence[str] = ()
    overlaid: bool = False

    @property
    def revision(self) -> str:
        """Zoom and pan are kept while this stays the same."""
        return f"{self.chosen} {self.start} {self.until}"


@dataclass(frozen=True, slots=True)
class _Now:
    """A device and what is newest of it, which is read at every refresh.

    Attributes:
        device: its registration.
        window_ms: length of a window.
        span: [start, end) to show.
        live: latest values of the window that is still open, where that is in the span.
        provisional: what can't wait.
    """

    device: Device
    window_ms: int
    span: tuple[int, int]
    live: dict[str, float]
    provisional: list[ProvisionalEvent]

    @property
    def open_ms(self) -> int:
        """Start of the window of the newest reading."""
        return self.device.last_seen - self.device.last_seen % self.window_ms


def render(
    store: Store,
    device_id: str,
    settings: Settings,
    asked: Asked,
    *,
    at_ms: int | None = None,
    shown: Mapping[str, Any] | None = None,
) -> DeviceView:
    """One refresh of the page of a device.

    Where nothing but the newest readings has come since the last one, only these are in it: patches of the figures.

    Args:
        store: where to read.
        device_id: the device.
        settings: length of the windows of devices that have none of their own.
        asked: range and metrics.
        at_ms: the present.
        shown: ``shown`` of the last refresh, which the browser has.
    """
    now = now_ms() if at_ms is None else at_ms
    device = Device.first(store, device_id)
    if device is None:
        registered = Device.first(store) is not None
        missing = empty_state("no device of this name is registered") if registered else nothing_registered()
        return DeviceView(None, missing)
    timezone, window_ms = timezone_of(settings.hvac_alerts, device.building_id), device.window(settings)
    top = head(device, now, timezone, plant_around(store, settings, device_id))
    try:
        span = span_of(asked.chosen, asked.start, asked.until, device, window_ms, now)
    except SpanError as error:
        return DeviceView(top, html.P(str(error), className="note", role="alert"))
    open_ms = device.last_seen - device.last_seen % window_ms
    live = open_window(store, device, window_ms, now) if span[0] - window_ms < open_ms < span[1] else {}
    newest = _Now(device, window_ms, span, live, provisional_events(store, device, window_ms, now))
    state = _state(store, newest, asked, now)
    if shown is not None and shown.get("state") == state:
        return _ahead_of(store, newest, top, shown)
    return _whole(store, newest, asked, top, state)


def _state(store: Store, newest: _Now, asked: Asked, now: int) -> str:
    """What all but the newest readings rest on; where it is the same, so are they. At most a minute old in any case."""
    device_id, (start_ms, end_ms) = newest.device.device_id, newest.span
    days = store.device_days(day_of(start_ms), day_of(end_ms - 1), device_id)
    written = max((d.snapshots_written_at or 0 for d in days), default=0)
    recently = (newest.open_ms - RECENT_WINDOWS * newest.window_ms, None)
    judged = max(Verdict.times(store, device_id, recently).tolist(), default=0)
    work = MaintenanceSpan.read(store, device_id)  # who has entered some looks for it
    parts = (device_id, asked, newest.open_ms if newest.live else None, written, judged, work, now // HOLD_MS)
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _ahead_of(store: Store, newest: _Now, top: Content, shown: Mapping[str, Any]) -> DeviceView:
    """What has come since a refresh after which nothing else has."""
    metrics, drawn = texts_once(shown.get("metrics"), MOST_METRICS), shown.get("ends")
    if not newest.live or not isinstance(drawn, list) or len(drawn) != len(metrics):
        return replace(UNCHANGED, head=top, urgent=urgent_section(newest))
    device = newest.device
    units = units_sent(store, device, newest.window_ms) if device_type(device.device_type) is None else {}
    scores, strips, figure = Patch(), Patch(), Patch()
    for patch in (scores, strips, figure):
        patch["layout"]["xaxis"]["autorangeoptions"] = moving_range(*newest.span)
    for i, (metric, end) in enumerate(zip(metrics, drawn, strict=True)):
        display = metric_display(newest.device.device_type, metric, units)
        xs, ys = _ahead(display.end(end), display.maybe(newest.live.get(metric)), newest.open_ms)
        figure["data"][len(metrics) + i]["x"], figure["data"][len(metrics) + i]["y"] = xs, ys
    recently = (newest.open_ms - RECENT_WINDOWS * newest.window_ms, newest.open_ms)
    before = Snapshot.read(store, device.device_id, recently, only=("snapshot_time", "metrics"))
    values = {**(before[-1].metrics if before else {}), **newest.live}
    table = newest_values(device.device_type, values, newest.open_ms, units)
    urgent = urgent_section(newest)
    return replace(UNCHANGED, head=top, scores=scores, strips=strips, metrics=figure, urgent=urgent, newest=table)


def _ahead(end: Any, value: float | None, open_ms: int) -> tuple[list[int], list[float | None]]:
    """From the last point of a line, [time, value], to the newest reading."""
    known = value is not None and np.isfinite(value)
    if not known:
        return [], []
    if isinstance(end, list) and len(end) == 2 and all(isinstance(part, (int, float)) for part in end):
        return [end[0], open_ms], [end[1], value]
    return [open_ms], [value]


def _whole(store: Store, newest: _Now, asked: Asked, top: Content, state: str) -> DeviceView:
    """Everything that a page shows."""
    device, window_ms, (start_ms, end_ms) = newest.device, newest.window_ms, newest.span
    device_id, kind = device.device_id, device.device_type
    snapshots = read_series(store, device_id, kind, start_ms, end_ms)
    series = with_open_window(snapshots, newest.live, device, window_ms, end_ms)
    profile = profile_row(store, device_id)
    shown_span = f"{iso(start_ms)} to {iso(end_ms)}"
    if not len(series):
        message = empty_state(f"no snapshots between {iso(start_ms)} and {iso(end_ms)}", ["hvac ingest"])
        return DeviceView(top, html.Div([message, profile_facts(profile, device)]))
    events = device_events(store, device_id, start_ms, end_ms)
    incidents = [i for i in device_incidents(store, device_id, start_ms - LONGEST_MS, end_ms) if _within(i, start_ms)]
    maintenance = maintenance_within(store, device_id, start_ms, end_ms)
    scores = method_scores(store, device_id, start_ms, end_ms)
    known = list(series.metric_names)
    wanted = [m for m in asked.metrics if m in known][:MOST_METRICS] or key_metrics(kind, known)
    statistics = profile.metric_stats if profile is not None else None
    units = units_sent(store, device, window_ms) if device_type(kind) is None else {}
    interval_ms = interval_of(series.times_ms, series.window_ms)
    spans = marks(events, incidents, maintenance, series.window_ms, end_ms)
    axis: dict[str, Any] = {
        "start_ms": start_ms,
        "end_ms": end_ms,
        "interval_ms": interval_ms,
        "spans": spans,
        "revision": f"{device_id} {asked.revision}",
    }
    judged = f"{len(snapshots):,} windows of {series.window_ms / 1000:g} s, {len(events):,} of them anomalous"
    if unread := not_judged(scores):
        judged += f", {unread:,} not judged because too few of its points were read"
    is_open = len(series) > len(snapshots)
    lines, ends = lines_of(snapshots, wanted, statistics, units), _ends(snapshots, wanted)
    if is_open:
        judged += "; the dotted end leads to what has come of the window that is still open"
        lines = [
            replace(line, ahead=_ahead(one.end(end), one.maybe(newest.live.get(m)), newest.open_ms))
            for line, end, m in zip(lines, ends, wanted, strict=True)
            for one in (metric_display(kind, m, units),)
        ]
    last = dict(zip(known, series.mean[-1].tolist(), strict=True))
    if is_open and len(snapshots):
        last = {**dict(zip(snapshots.metric_names, snapshots.mean[-1].tolist(), strict=True)), **newest.live}
    drawn = [
        with_moving_axes(one)
        for one in (
            score_figure(scores, **axis),
            strips_figure(
                snapshots.times_ms,
                windows_by_mode(store, snapshots),
                completeness_of(store, snapshots),
                window_ms=snapshots.window_ms if len(snapshots) else window_ms,
                start_ms=start_ms,
                end_ms=end_ms,
                revision=axis["revision"],
            ),
            metrics_figure(
                snapshots.times_ms,
                lines,
                **{**axis, "revision": f"{axis['revision']} {asked.overlaid}"},
                overlaid=asked.overlaid,
            ),
        )
    ]
    return DeviceView(
        top,
        html.P(f"{shown_span}: {judged}.", className="small"),
        drawn[0],
        drawn[1],
        drawn[2],
        marks_words(spans),
        urgent_section(newest),
        newest_values(kind, last, int(series.times_ms[-1]), units),
        html.Div(
            [
                incidents_table(incidents),
                events_table(events, kind),
                changes_section(lasting_changes(store, device_id)),
                wear_section(device_trends(store, device_id), kind),
                points_section(read_points(store, device_id)[0], kind),
                maintaining.entered(store, device_id),
                profile_facts(profile, device),
                versions_section(profile_history(store, device_id)),
            ]
        ),
        [option(m, metric_title(kind, m)) for m in key_metrics(kind, known, MOST_OPTIONS)],
        {"state": state, "metrics": wanted, "ends": ends if is_open else None, "axes": same_axes(drawn)},
        replay_href(device_id, span=(max(start_ms, end_ms - LONGEST_REPLAY_MS), end_ms)),
    )


def _ends(snapshots: SnapshotSeries, metrics: Sequence[str]) -> list[list[float]]:
    """Last known point of each metric, [time, value]; empty for one without."""
    found: list[list[float]] = []
    for metric in metrics:
        values = snapshots.column(metric)
        rows = np.flatnonzero(np.isfinite(values))
        found.append([int(snapshots.times_ms[rows[-1]]), float(values[rows[-1]])] if len(rows) else [])
    return found


def _within(incident: Incident, start_ms: int) -> bool:
    return incident.status == "open" or incident.ended_at > start_ms


def urgent_section(newest: _Now) -> Content:
    """What can't wait until its window is complete: nothing, or a table of windows with reasons."""
    kind = newest.device.device_type
    rows: list[list[Content]] = [
        [
            iso(event.detected_at),
            "still open" if event.open else "complete",
            level_words(event.level),
            lines_cell(event.reasons),
            ", ".join(metric_title(kind, m) for m in event.metrics),
        ]
        for event in reversed(newest.provisional)
    ]
    if not rows:
        return []
    headings = [Heading("window (UTC)"), Heading("is"), Heading("level"), Heading("reasons"), Heading("metrics")]
    return html.Section(
        [
            html.H2("Urgent, not judged yet"),
            html.P("The judgement of the complete window confirms this or takes it back.", className="small"),
            table(headings, rows, label="Urgent readings of windows that are not judged yet", empty=""),
        ],
        role="alert",
    )


def newest_values(kind: str, values: Mapping[str, float], window_start_ms: int, units: dict[str, str]) -> Content:
    """Newest value of every metric."""
    pairs: list[tuple[str, Content]] = [
        (metric_title(kind, m), metric_value(kind, m, value, units))
        for m, value in islice(values.items(), MOST_OPTIONS)
    ]
    which = "All metrics" if len(pairs) == len(values) else f"The first {len(pairs)} metrics"
    heading = f"{which} in the window of {iso(window_start_ms)}"
    return html.Details([html.Summary(heading), facts(pairs)], id="device-newest-values")


def register(app: Dash, source: Source) -> None:
    """Callbacks of the page."""
    register_fields(app, ("device-from", "device-until"))

    @app.callback(
        Output("device-head", "children"),
        Output("device-message", "children"),
        Output("device-body", "hidden"),
        Output("device-scores", "figure"),
        Output("device-scores", "style"),
        Output("device-strips", "figure"),
        Output("device-strips", "style"),
        Output("device-figure", "figure"),
        Output("device-figure", "style"),
        Output("device-marks", "children"),
        Output("device-urgent", "children"),
        Output("device-newest", "children"),
        Output("device-tables", "children"),
        Output("device-metrics", "options"),
        Output("device-shown", "data"),
        Output("device-custom", "hidden"),
        Output("device-replay", "href"),
        Output("device-tools", "hidden"),
        Input("tick", "n_intervals"),
        Input("device-range", "value"),
        entered("device-from"),
        entered("device-until"),
        Input("device-metrics", "value"),
        Input("device-overlay", "value"),
        State("device-id", "data"),
        State("device-shown", "data"),
    )
    def refresh(
        _tick: int,
        chosen: str,
        start: str | None,
        until: str | None,
        metrics: list[str] | None,
        overlay: list[str] | None,
        device_id: str,
        shown: dict[str, Any] | None,
    ) -> tuple[Any, ...]:
        views: list[DeviceView] = []
        asked = Asked(chosen, start, until, tuple(texts_once(metrics, LONGEST_LIST)), overlay == [OVERLAID])
        known = shown if isinstance(shown, dict) else None

        def read(store: Store) -> Content:
            views.append(render(store, device_id, source.settings, asked, shown=known))
            return views[0].message

        message = guarded(source, read)
        plain = chosen != CUSTOM
        view = views[0] if views else DeviceView(no_update, message)
        unknown = bool(views) and view.head is None  # then there is nothing to choose or to do
        again = known is not None and isinstance(view.shown, dict) and known.get("axes") == view.shown["axes"]
        if view.scores is None or view.metrics is None:
            return view.head, message, True, *[no_update] * 11, None, plain, no_update, unknown
        heights = view.heights
        return (
            *(view.head, message, False, sent(view.scores, again=again), heights[0]),
            *(sent(view.strips, again=again), heights[1]),
            *(sent(view.metrics, again=again), heights[2], view.marks),
            *(view.urgent, view.newest, view.tables, view.options, view.shown, plain),
            *(view.replay, unknown),
        )
