"""The methods side by side, by day and device."""

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
    graph,
    guarded,
    note,
    option,
    page_of,
    pager,
    table,
)
from hvac_platform.dashboard.figures import bars_by_day
from hvac_platform.dashboard.formatting import device_href, number
from hvac_platform.dashboard.paging import pager_outputs, pager_state, register_pager
from hvac_platform.dashboard.reading import DayReport, day_reports, today
from hvac_platform.dashboard.source import Source
from hvac_platform.detection.methods import method_names
from hvac_platform.stores.base import Store
from hvac_platform.visible_text import visible

PAGE = 25
SPANS = {"7 days": 7, "30 days": 30}
CONSENSUS, ANY = "consensus (2+)", "any method"
ENERGY = ("used", "expected", "excess")


def layout() -> Content:
    """The page before its first refresh."""
    spans: Any = [{"label": name, "value": name} for name in SPANS]
    return html.Div(
        [
            html.H1("Methods"),
            html.P(
                "Anomalous windows that each method found; consensus is where two or more agree.", className="small"
            ),
            html.Div(
                [
                    html.Fieldset(
                        [
                            html.Legend("Range"),
                            dcc.RadioItems(id="methods-span", options=spans, value="7 days", inline=True),
                        ],
                        className="chooser",
                    ),
                    chooser("methods-device", "Device", []),
                    pager("methods"),
                ],
                className="controls",
            ),
            html.Div(note("reading …"), id="methods-content"),
        ]
    )


def counts_of(report: DayReport) -> dict[str, int | None]:
    """Anomalous windows of a report by method, then of the methods together, under their headings."""
    found: dict[str, int | None] = {name: report.by_method.get(name) for name in method_names()}
    return found | {CONSENSUS: report.device.consensus, ANY: report.device.any_method}


def energy_of(report: DayReport) -> dict[str, float | None]:
    """Energy of a report in kWh, under its headings."""
    device = report.device
    return {"used": device.energy_kwh, "expected": device.expected_kwh, "excess": device.excess_kwh}


def by_day(days: Sequence[str], rows: Sequence[Mapping[str, float | None]]) -> tuple[list[str], dict[str, list[float]]]:
    """Different days, oldest first, and on each the sums of the columns of its rows; a column without values is left out.

    >>> by_day(["b", "a", "b"], [{"n": 1, "x": None}, {"n": 2, "x": None}, {"n": 3, "x": None}])
    (['a', 'b'], {'n': [2.0, 4.0]})
    """
    different = sorted(set(days))
    sums: dict[str, list[float]] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        if all(row.get(name) is None for row in rows):
            continue
        totals = dict.fromkeys(different, 0.0)
        for day, row in zip(days, rows, strict=True):
            totals[day] += row.get(name) or 0.0
        sums[name] = list(totals.values())
    return different, sums


def report_table(reports: Sequence[DayReport]) -> Content:
    """A row a day and device; energy columns where there are some."""
    energy = [name for name in ENERGY if any(energy_of(report)[name] is not None for report in reports)]
    incidents = any(report.device.incidents is not None for report in reports)
    headings = [
        *(Heading("day (UTC)"), Heading("device"), Heading("windows", True)),
        *[Heading(name, True) for name in (*method_names(), CONSENSUS, ANY)],
        *([Heading("incidents", True)] if incidents else []),
        *[Heading(f"{name} kWh", True) for name in energy],
    ]
    cells: list[list[Content]] = [
        [
            device.date,
            dcc.Link(visible(device.device_id, 60), href=device_href(device.device_id)),
            number(device.windows, 0),
            *[_share(count, device.windows) for count in counts_of(report).values()],
            *([number(device.incidents, 0)] if incidents else []),
            *[number(energy_of(report)[name], 1) for name in energy],
        ]
        for report in reports
        for device in (report.device,)
    ]
    return table(headings, cells, label="Methods by day and device", empty="No device passes the filter.")


def _share(count: int | None, windows: int) -> str:
    if count is None:
        return "–"
    return f"{count:,} ({count / windows:.1%})" if windows and count else f"{count:,}"


@dataclass(frozen=True, slots=True)
class MethodsView:
    """What a refresh shows."""

    content: Content
    page: Page
    devices: list[dict[str, str]]


def render(store: Store, span: str, device_id: str | None, page: int, last_day: str | None = None) -> MethodsView:
    """One refresh."""
    found = day_reports(store, last_day or today(), SPANS.get(span, 7))
    devices = [option(name) for name in sorted({report.device.device_id for report in found})]
    if not found:
        missing = f"no day of the last {SPANS.get(span, 7)} has a report yet: a schedule writes one for each day"
        return MethodsView(empty_state(missing, ["hvac up"]), NO_PAGE, devices)
    rows = [report for report in found if not device_id or report.device.device_id == device_id]
    here = page_of(rows, page, PAGE, "device-days")
    dates = [report.device.date for report in rows]
    days, counts = by_day(dates, [counts_of(report) for report in rows])
    _, energy = by_day(dates, [energy_of(report) for report in rows])
    parts: list[Content] = []
    if rows:
        figure = bars_by_day(days, counts, title="anomalous windows", revision=f"{span} {device_id}")
        parts.append(graph(figure, label="Anomalous windows by day and method"))
    if energy:
        figure = bars_by_day(days, energy, title="energy, kWh", revision=span)
        parts += [html.H2("Energy"), graph(figure, label="Energy by day")]
    return MethodsView(html.Div([*parts, html.H2("By day and device"), report_table(here.rows)]), here, devices)


def register(app: Dash, source: Source) -> None:
    """Callbacks of the page."""
    register_pager(app, "methods", ("methods-span", "methods-device"))

    @app.callback(
        Output("methods-content", "children"),
        *pager_outputs("methods"),
        Output("methods-device", "options"),
        Input("tick", "n_intervals"),
        Input("methods-span", "value"),
        Input("methods-device", "value"),
        Input("methods-page", "data"),
    )
    def refresh(_tick: int, span: str, device_id: str | None, page: int | None) -> tuple[Any, ...]:
        views: list[MethodsView] = []

        def read(store: Store) -> Content:
            views.append(render(store, span, device_id, page or 0))
            return views[0].content

        content = guarded(source, read)
        if not views:
            return content, *pager_state(NO_PAGE), no_update
        return content, *pager_state(views[0].page), views[0].devices
