"""What other limits would have shown of one device, from the scores that are kept of its windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dash import Dash, Input, Output, dcc, html, no_update

from hvac_platform.config import Settings
from hvac_platform.dashboard.components import (
    Content,
    Heading,
    chooser,
    empty_state,
    facts,
    graph,
    guarded,
    note,
    nothing_registered,
    option,
    table,
)
from hvac_platform.dashboard.figures import GREEN, ORANGE, Figure, score_figure
from hvac_platform.dashboard.figures import Span as Mark
from hvac_platform.dashboard.formatting import device_href, number, span_words, visible
from hvac_platform.dashboard.source import Source
from hvac_platform.detection.methods import method_names
from hvac_platform.monitoring.passes import Span
from hvac_platform.monitoring.what_if import Compared, Episode, OfScores, what_scores_say
from hvac_platform.stores.base import Store
from hvac_platform.stores.series import verdict_series
from hvac_platform.timestamps import DAY_MS, iso, now_ms

SPANS = {"1 day": 1, "7 days": 7, "30 days": 30}
TIMES = (0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0)
AGREEING = {"any method": 1, "two methods": 2, "all three": 3}
MOST_ROWS = 200


def layout() -> Content:
    """The page before a device is chosen."""
    return html.Div(
        [
            html.H1("What if"),
            html.P(
                "Incidents on record beside those that other limits would have shown. Nothing is written, and what you try "
                "here changes no limit; hvac replay answers for many devices, and judges again with fixed limits.",
                className="small",
            ),
            html.Div(
                [
                    chooser("what-if-device", "Device", [], placeholder="choose one"),
                    _limits(),
                    chooser("what-if-methods", "Methods", [option(name) for name in method_names()], multi=True),
                    _radio("what-if-agreeing", "Anomalous where", list(AGREEING), "any method"),
                    _radio("what-if-span", "Range", list(SPANS), "7 days"),
                ],
                className="controls",
            ),
            dcc.Loading(html.Div(note("reading …"), id="what-if-content"), delay_show=500),
        ]
    )


def _limits() -> Content:
    options = [option(f"{n:g}", f"{n:g}" if n != 1 else "1 (as they were)") for n in TIMES]
    drop_down = dcc.Dropdown(id="what-if-times", options=options, value="1", clearable=False)
    return html.Div([html.Label("Times the limit", htmlFor="what-if-times"), drop_down], className="chooser")


def _radio(element: str, legend: str, names: list[str], value: str) -> Content:
    options: Any = [{"label": name, "value": name} for name in names]
    radio = dcc.RadioItems(id=element, options=options, value=value, inline=True)
    return html.Fieldset([html.Legend(legend), radio], className="chooser")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the fields of the page say."""

    device_id: str | None
    days: int
    tried: OfScores


def asked(device_id: object, times: object, methods: object, agreeing: object, span: object) -> Asked:
    """What a browser sent, whatever it is; what is none of the choices counts as the usual one.

    >>> asked("RTU-001", "1.5", ["rules", 7], "two methods", "1 day").tried
    OfScores(times_limit=1.5, methods=frozenset({'rules'}), agreeing=2, budget=None, rules=None)
    """
    limits = {f"{n:g}": n for n in TIMES}
    chosen = [name for name in methods if name in method_names()] if isinstance(methods, list) else []
    return Asked(
        device_id if isinstance(device_id, str) and device_id else None,
        SPANS.get(str(span), 7),
        OfScores(limits.get(str(times), 1.0), frozenset(chosen) or None, AGREEING.get(str(agreeing), 1)),
    )


def render(store: Store, settings: Settings, wanted: Asked, now: int) -> Content:
    """The comparison."""
    devices = store.devices()
    if not devices:
        return nothing_registered()
    if wanted.device_id is None:
        return empty_state("choose a device, and what to try on it")
    counting = len(wanted.tried.methods or method_names())
    if wanted.tried.agreeing > counting:
        return empty_state(f"{wanted.tried.agreeing} methods can't agree where {counting} count: choose more of them")
    device = next((one for one in devices if one.device_id == wanted.device_id), None)
    if device is None:
        return empty_state("there is no such device: choose another")
    span = Span(device, now - wanted.days * DAY_MS, now)
    found = what_scores_say(store, settings, span, wanted.tried)
    if not found.windows:
        return empty_state(f"no window of {visible(device.device_id, 80)} was judged in that time", ["hvac verify"])
    verdicts = verdict_series(store, device.device_id, (span.start_ms, span.end_ms))
    counted = {name: one for name, one in verdicts.items() if name in (wanted.tried.methods or verdicts)}
    figure = score_figure(
        counted,
        start_ms=span.start_ms,
        end_ms=span.end_ms,
        interval_ms=device.window(settings),
        spans=[
            *(Mark(*episode, "on record", ORANGE, 0.3) for episode in found.recorded),
            *(Mark(*episode, "with these limits", GREEN, 0.3) for episode in found.replayed),
        ],
        revision=f"{device.device_id} {wanted.days}",
    )
    _draw_limit(figure, wanted.tried.times_limit)
    return html.Div(
        [
            html.H2(dcc.Link(visible(device.device_id, 80), href=device_href(device.device_id))),
            facts(_facts(found, device.window(settings))),
            graph(figure, label="Scores of the methods, incidents on record and with these limits"),
            note(
                "Orange: on record. Green: with these limits. Dashed: the limit as it was; dotted: the one that you try. "
                "Incidents are anomalous windows without a longer pause between them; the record may join some of one fault."
            ),
            html.H2("Incidents"),
            _incidents(found),
        ]
    )


def _draw_limit(figure: Figure, times_limit: float) -> None:
    """The limit that is tried, beside the one that was."""
    if times_limit == 1.0:
        return
    line = {"color": GREEN, "width": 1.6, "dash": "dot"}
    place = {"xref": "paper", "yref": "y", "x0": 0, "x1": 1, "y0": times_limit, "y1": times_limit}
    figure["layout"]["shapes"].append({"type": "line", "line": line, **place})


def _facts(found: Compared, window_ms: int) -> list[tuple[str, Content]]:
    days = found.windows * window_ms / DAY_MS  # of the span, what was judged

    def told(episodes: tuple[Episode, ...]) -> str:
        lasted = sum(end - start for start, end in episodes)
        return (
            f"{len(episodes):,} ({number(len(episodes) / days, 2)} a day, {span_words(lasted) if lasted else 'none'})"
        )

    return [
        ("windows judged", number(found.windows, 0)),
        ("on record", told(found.recorded)),
        ("with these limits", told(found.replayed)),
        ("won", number(len(found.won), 0)),
        ("lost", number(len(found.lost), 0)),
        ("earlier", number(len(found.earlier), 0)),
        ("later", number(len(found.later), 0)),
    ]


def _incidents(found: Compared) -> Content:
    earlier, later = dict(found.earlier), dict(found.later)
    rows: list[tuple[int, Episode | None, Episode | None, str]] = [(e[0], None, e, "won") for e in found.won]
    for episode in found.recorded:
        other = earlier.get(episode) or later.get(episode)
        if episode in found.lost:
            rows.append((episode[0], episode, None, "lost"))
        elif other is None:
            rows.append((episode[0], episode, next(o for o in found.replayed if o[0] == episode[0]), "kept"))
        else:
            minutes = abs(other[0] - episode[0]) // 60_000
            rows.append((episode[0], episode, other, f"{minutes:,} min {'earlier' if episode in earlier else 'later'}"))
    newest = sorted(rows, key=lambda row: row[0], reverse=True)
    shown = [[_episode(recorded), _episode(replayed), what] for _, recorded, replayed, what in newest[:MOST_ROWS]]
    made = table(
        [Heading("on record (UTC)"), Heading("with these limits (UTC)"), Heading("what differs")],
        shown,
        label="Incidents on record and with these limits",
        empty="No incident, neither on record nor with these limits.",
        tall=True,
    )
    if len(rows) > MOST_ROWS:
        return html.Div([made, note(f"The newest {MOST_ROWS} of {len(rows):,}; hvac replay --json has all of them.")])
    return made


def _episode(episode: Episode | None) -> str:
    return "–" if episode is None else f"{iso(episode[0])[:16]} to {iso(episode[1])[:16]}"


def register(app: Dash, source: Source) -> None:
    """Callbacks of the page; it does not refresh by itself, since the past doesn't change."""

    @app.callback(
        Output("what-if-content", "children"),
        Output("what-if-device", "options"),
        Input("what-if-device", "value"),
        Input("what-if-times", "value"),
        Input("what-if-methods", "value"),
        Input("what-if-agreeing", "value"),
        Input("what-if-span", "value"),
    )
    def show(
        device_id: str | None, times: str | None, methods: list[str] | None, agreeing: str | None, span: str | None
    ) -> tuple[Any, Any]:
        options: list[dict[str, str]] = []

        def read(store: Store) -> Content:
            options.extend(option(device.device_id) for device in store.devices())
            return render(store, source.settings, asked(device_id, times, methods, agreeing, span), now_ms())

        content = guarded(source, read)
        return content, options or no_update
