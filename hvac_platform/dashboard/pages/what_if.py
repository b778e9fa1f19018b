"""What other limits, budgets or rules would have shown, from the scores that are kept, of one device or of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update

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
from hvac_platform.dashboard.formatting import device_href, number, span_words
from hvac_platform.dashboard.front import LONGER_TEXTS
from hvac_platform.dashboard.pasted_rules import (
    FIELD,
    PastedRulesError,
    parse_pasted,
    require_few_windows,
    rules_as_text,
)
from hvac_platform.dashboard.source import Source
from hvac_platform.dashboard.typed_fields import entered, register_fields, typed_field
from hvac_platform.dashboard.what_if_by_device import encoders_for, next_answers
from hvac_platform.detection.methods import method_names
from hvac_platform.devices.registry import device_type
from hvac_platform.monitoring.passes import Span
from hvac_platform.monitoring.what_if import (
    Compared,
    Episode,
    Limits,
    OfScores,
    TooFewScoresError,
    budget_in_words,
    what_scores_say,
)
from hvac_platform.stores.base import Device, Store
from hvac_platform.stores.series import verdict_series
from hvac_platform.timestamps import DAY_MS, iso, now_ms
from hvac_platform.visible_text import visible

SPANS = {"1 day": 1, "7 days": 7, "30 days": 30}
TIMES = (0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0)
AGREEING = {"any method": 1, "two methods": 2, "all three": 3}
LEAST_BUDGET, LARGEST_BUDGET = 0.001, 1e4
LEAST_SIGMA, LARGEST_SIGMA = 0.1, 1e6
FIELDS = 7
"""Fields of a question beside the device and the rules."""
MOST_ROWS = 200
NEXT = """(begun, soFar) => {
  const fresh = dash_clientside.callback_context.triggered.some((one) => one.prop_id === "what-if-begun.data");
  const next = fresh ? begun : soFar;
  if (next) { setTimeout(() => dash_clientside.set_props("what-if-next", { data: next }), 0); }
}"""
"""Has the browser ask for some more devices once it has shown those that it knows."""


def layout() -> Content:
    """The page before anything is chosen."""
    return html.Div(
        [
            html.H1("What if"),
            html.P(
                "Incidents on record beside those that other limits, another budget or other rules would have shown. "
                "Nothing is written, and what you try here changes no limit.",
                className="small",
            ),
            html.Div(
                [
                    chooser("what-if-device", "Device", [], placeholder="all devices"),
                    _limits(),
                    _field("budget", "False alarms a day and device"),
                    _field("similarity", "Fixed similarity"),
                    _field("sigma", "Fixed sigma"),
                    chooser("what-if-methods", "Methods", [option(name) for name in method_names()], multi=True),
                    _radio("what-if-agreeing", "Anomalous where", list(AGREEING), "any method"),
                    _radio("what-if-span", "Range", list(SPANS), "7 days"),
                ],
                className="controls",
            ),
            _rules(),
            dcc.Loading(html.Div(note("reading …"), id="what-if-content"), delay_show=500),
            html.Div(id="what-if-devices"),
            *(dcc.Store(id=f"what-if-{name}") for name in ("begun", "next", "so-far")),
        ]
    )


def _limits() -> Content:
    options = [option(f"{n:g}", f"{n:g}" if n != 1 else "1 (as they were)") for n in TIMES]
    drop_down = dcc.Dropdown(id="what-if-times", options=options, value="1", clearable=False)
    return html.Div([html.Label("Times the limit", htmlFor="what-if-times"), drop_down], className="chooser")


def _field(name: str, label: str) -> Content:
    fields = typed_field(f"what-if-{name}", label, maxLength=20, placeholder="as calibrated")
    return html.Div(fields, className="chooser")


def _rules() -> Content:
    """Where rules are pasted, and the buttons beside it."""
    return html.Details(
        [
            html.Summary("Other rules or parameters of a device type"),
            html.P(
                "YAML: the whole file of a type, or its name with the parameters and rules that are to differ. To begin "
                "with, choose a device and have those of its type filled in. Scores of other methods are kept ones.",
                className="small",
            ),
            html.Label("Rules, as YAML", htmlFor=FIELD, className="small"),
            dcc.Textarea(
                id=FIELD,
                maxLength=LONGER_TEXTS[FIELD],
                rows=12,
                spellCheck=False,
                placeholder="name: chiller\nparameters:\n  min_delta_t: 6\nrules:\n- {id: ch-1, for: 30}",
                className="pasted",
            ),
            html.Div(
                [
                    html.Button("Try these rules", id="what-if-try", n_clicks=0, type="button"),
                    html.Button("Fill in those of the device's type", id="what-if-fill", n_clicks=0, type="button"),
                    html.Span(id="what-if-said", role="status", className="small"),
                ],
                className="buttons",
            ),
        ],
        className="acting",
    )


def _radio(element: str, legend: str, names: list[str], value: str) -> Content:
    options: Any = [{"label": name, "value": name} for name in names]
    radio = dcc.RadioItems(id=element, options=options, value=value, inline=True)
    return html.Fieldset([html.Legend(legend), radio], className="chooser")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the fields of the page say.

    Attributes:
        device_id: the device; None for all.
        days: length of the range.
        tried: what is tried.
        wrong: what can't be tried of it and why, or empty.
    """

    device_id: str | None
    days: int
    tried: OfScores
    wrong: str = ""


def asked(device_id: object, fields: Sequence[object], rules: object = None) -> Asked:
    """What a browser sent, whatever it is; what is none of the choices counts as the usual one.

    Args:
        device_id: the device that was chosen.
        fields: times the limit, methods, how many agree, range, budget, fixed similarity, fixed sigma.
        rules: what was pasted.

    >>> fields = ["1.5", ["rules", 7], "two methods", "1 day", "", "", ""]
    >>> asked("RTU-001", fields).tried == OfScores(1.5, frozenset({"rules"}), 2)
    True
    >>> asked("RTU-001", ["1", [], "any method", "1 day", "few", "", ""]).wrong
    'false alarms a day and device: a number from 0.001 to 10000, such as 0.5'
    """
    times, methods, agreeing, span, budget, similarity, sigma = fields
    limits = {f"{n:g}": n for n in TIMES}
    chosen = [name for name in methods if name in method_names()] if isinstance(methods, list) else []
    counting, needed = len(chosen) or len(method_names()), AGREEING.get(str(agreeing), 1)
    wrong, allowed, fixed, type_tried = "", None, Limits(), None
    try:
        allowed = _number_of(budget, "false alarms a day and device", LEAST_BUDGET, LARGEST_BUDGET, "0.5")
        fixed = Limits(
            _number_of(similarity, "fixed similarity", -1, 1, "0.85"),
            _number_of(sigma, "fixed sigma", LEAST_SIGMA, LARGEST_SIGMA, "3"),
        )
        type_tried = parse_pasted(rules) if isinstance(rules, str) else None
    except (ValueError, PastedRulesError) as error:
        wrong = str(error)
    if needed > counting:
        wrong = f"{needed} methods can't agree where {counting} count: choose more of them"
    if allowed is not None and fixed != Limits():
        wrong = "a budget sets limits, and so do fixed ones: ask them apart"
    return Asked(
        device_id if isinstance(device_id, str) and device_id else None,
        SPANS.get(str(span), 7),
        OfScores(limits.get(str(times), 1.0), frozenset(chosen) or None, needed, allowed, type_tried, fixed),
        wrong,
    )


def _number_of(text: object, what: str, least: float, largest: float, example: str) -> float | None:
    """What is in a field; None where that is empty."""
    if not isinstance(text, str) or not text.strip():
        return None
    try:
        value = float(text[:40])
    except ValueError:
        value = math.nan
    if not least <= value <= largest:
        raise ValueError(f"{what}: a number from {least:g} to {largest:.0f}, such as {example}")
    return value


def render(store: Store, settings: Settings, wanted: Asked, now: int) -> Content:
    """What is to be said before devices are compared one by one, or the comparison of the one that was chosen."""
    devices = store.devices()
    if not devices:
        return nothing_registered()
    if wanted.wrong:
        return html.Div(html.P(f"{wanted.wrong[:1].upper()}{wanted.wrong[1:]}."), className="failure", role="alert")
    if wanted.device_id is None:
        return empty_state("choose a device, or what to try on all of them") if wanted.tried == OfScores() else None
    device = next((one for one in devices if one.device_id == wanted.device_id), None)
    if device is None:
        return empty_state("there is no such device: choose another")
    return _of_device(store, settings, wanted, device, now)


def _of_device(store: Store, settings: Settings, wanted: Asked, device: Device, now: int) -> Content:
    """The comparison of one device."""
    span, window_ms, tried = Span(device, now - wanted.days * DAY_MS, now), device.window(settings), wanted.tried
    if tried.rules is not None and tried.rules.name != device.device_type:
        return empty_state(f"{visible(device.device_id, 80)} is no {tried.rules.title}, whose rules these are")
    try:
        require_few_windows(tried, span.end_ms - span.start_ms, window_ms)
        found = what_scores_say(store, settings, span, tried, encoders_for(tried, store, settings))
    except PastedRulesError as error:
        return empty_state(str(error))
    except TooFewScoresError as error:
        return empty_state(f"{error}: choose a longer range")
    if not found.windows:
        return empty_state(f"no window of {visible(device.device_id, 80)} was judged in that time", ["hvac verify"])
    verdicts = verdict_series(store, device.device_id, (span.start_ms, span.end_ms))
    counted = {name: one for name, one in verdicts.items() if name in (tried.methods or verdicts)}
    figure = score_figure(
        counted,
        start_ms=span.start_ms,
        end_ms=span.end_ms,
        interval_ms=window_ms,
        spans=[
            *(Mark(*episode, "on record", ORANGE, 0.3) for episode in found.recorded),
            *(Mark(*episode, "as tried", GREEN, 0.3) for episode in found.replayed),
        ],
        revision=f"{device.device_id} {wanted.days}",
    )
    if not found.wider:  # another budget has another limit for each method: these are told in words
        _draw_limit(figure, tried.times_limit)
    return html.Div(
        [
            html.H2(dcc.Link(visible(device.device_id, 80), href=device_href(device.device_id))),
            facts(_facts(found, window_ms, tried)),
            _why_of_budget(tried, settings),
            graph(figure, label="Scores of the methods, incidents on record and as tried"),
            note(
                "Orange: on record. Green: as tried. Lines are the scores on record; dashed: the limit as it was"
                f"{'' if found.wider or tried.times_limit == 1.0 else ', dotted: the one that you try'}. "
                "Incidents are anomalous windows without a longer pause between them; the record may join some of one fault."
            ),
            html.H2("Incidents"),
            _incidents(found),
        ]
    )


def _why_of_budget(tried: OfScores, settings: Settings) -> Content:
    """Why another budget shows more incidents, or fewer; nothing where none is tried."""
    if tried.budget is None:
        return None
    return note(f"{budget_in_words(tried.budget, settings.hvac_false_alarms_per_day)}.")


def _draw_limit(figure: Figure, times_limit: float) -> None:
    """The limit that is tried, beside the one that was."""
    if times_limit == 1.0:
        return
    line = {"color": GREEN, "width": 1.6, "dash": "dot"}
    place = {"xref": "paper", "yref": "y", "x0": 0, "x1": 1, "y0": times_limit, "y1": times_limit}
    figure["layout"]["shapes"].append({"type": "line", "line": line, **place})


def _facts(found: Compared, window_ms: int, tried: OfScores) -> list[tuple[str, Content]]:
    days = found.windows * window_ms / DAY_MS  # of the span, what was judged

    def told(episodes: tuple[Episode, ...]) -> str:
        lasted = sum(end - start for start, end in episodes)
        return (
            f"{len(episodes):,} ({number(len(episodes) / days, 2)} a day, {span_words(lasted) if lasted else 'none'})"
        )

    limits = ", ".join(f"{visible(name, 20)} × {number(n * tried.times_limit, 2)}" for name, n in found.wider.items())

    return [
        ("windows judged", number(found.windows, 0)),
        ("on record", told(found.recorded)),
        ("as tried", told(found.replayed)),
        ("won", number(len(found.won), 0)),
        ("lost", number(len(found.lost), 0)),
        ("earlier", number(len(found.earlier), 0)),
        ("later", number(len(found.later), 0)),
        ("in several parts", number(len(found.in_several_parts), 0)),
        ("several in one", number(len(found.several_in_one), 0)),
        *([("limits, beside those that windows had", limits)] if limits else []),
    ]


def _incidents(found: Compared) -> Content:
    earlier, later = dict(found.earlier), dict(found.later)
    rows: list[tuple[int, Episode | None, Episode | None, str]] = [(e[0], None, e, "won") for e in found.won]
    rows.extend((other[0], one, other, "another part") for one, other in found.in_several_parts)
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
        [Heading("on record (UTC)"), Heading("as tried (UTC)"), Heading("what differs")],
        shown,
        label="Incidents on record and as tried",
        empty="No incident, neither on record nor as tried.",
        tall=True,
    )
    if len(rows) > MOST_ROWS:
        return html.Div([made, note(f"The newest {MOST_ROWS} of {len(rows):,}; hvac replay --json has all of them.")])
    return made


def _episode(episode: Episode | None) -> str:
    return "–" if episode is None else f"{iso(episode[0])[:16]} to {iso(episode[1])[:16]}"


def register(app: Dash, source: Source) -> None:
    """Callbacks of the page; it does not refresh by itself, since the past doesn't change."""
    register_fields(app, ("what-if-budget", "what-if-similarity", "what-if-sigma"))

    @app.callback(
        Output("what-if-content", "children"),
        Output("what-if-device", "options"),
        Output("what-if-begun", "data"),
        Input("what-if-device", "value"),
        Input("what-if-times", "value"),
        Input("what-if-methods", "value"),
        Input("what-if-agreeing", "value"),
        Input("what-if-span", "value"),
        entered("what-if-budget"),
        entered("what-if-similarity"),
        entered("what-if-sigma"),
        Input("what-if-try", "n_clicks"),
        State(FIELD, "value"),
    )
    def show(device_id: Any, *fields: Any) -> tuple[Any, Any, Any]:
        options: list[dict[str, str]] = []
        *chosen, _clicks, rules = fields
        wanted, now = asked(device_id, chosen, rules), now_ms()

        def read(store: Store) -> Content:
            options.extend(option(device.device_id) for device in store.devices())
            return render(store, source.settings, wanted, now)

        content, begun = guarded(source, read), dict[str, Any]()
        if content is None:
            begun = {"until": now, "read": 0, "rows": [], "fields": chosen, "rules": {"id": FIELD, "value": rules}}
        return content, options or no_update, begun

    app.clientside_callback(NEXT, Input("what-if-begun", "data"), Input("what-if-so-far", "data"))  # type: ignore[no-untyped-call]

    @app.callback(
        Output("what-if-devices", "children"),
        Output("what-if-so-far", "data"),
        Input("what-if-next", "data"),
        prevent_initial_call=True,
    )
    def go_on(sent: Any) -> tuple[Any, Any]:
        fields, rules = _sent_fields(sent)
        if fields is None:
            return None, None
        wanted, now = asked(None, fields, rules), now_ms()
        until = min(sent["until"], now) if isinstance(sent.get("until"), int) else now
        following: list[dict[str, Any]] = []

        def read(store: Store) -> Content:
            span = until - wanted.days * DAY_MS, until
            content, more = next_answers(store, source.settings, wanted.tried, span, sent)
            if more is not None:
                following.append({**more, "until": until, "fields": fields, "rules": sent["rules"]})
            return content

        content = guarded(source, read)
        return content, following[0] if following else None

    @app.callback(
        Output(FIELD, "value"),
        Output("what-if-said", "children"),
        Input("what-if-fill", "n_clicks"),
        State("what-if-device", "value"),
        prevent_initial_call=True,
    )
    def fill(clicks: int | None, device_id: Any) -> tuple[Any, Any]:
        if not clicks:
            return no_update, no_update
        kinds: list[str] = []

        def read(store: Store) -> Content:
            kinds.extend(d.device_type for d in store.devices() if d.device_id == device_id)
            return "Choose a device first."

        said = guarded(source, read)
        kind = device_type(kinds[0]) if kinds else None
        if kind is None:
            return no_update, said if not kinds else "Its type is not known, so it has no rules."
        return rules_as_text(kind), f"Those of {kind.title}: change them, then try them."


def _sent_fields(sent: Any) -> tuple[list[Any] | None, Any]:
    """Fields and rules with which devices are compared; None where the browser asks for no more."""
    fields = sent.get("fields") if isinstance(sent, dict) else None
    rules = sent.get("rules") if isinstance(sent, dict) else None
    if not isinstance(fields, list) or len(fields) != FIELDS or not isinstance(rules, dict):
        return None, None
    return fields, rules.get("value")
