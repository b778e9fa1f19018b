"""The methods side by side, by day and device."""

from __future__ import annotations

from collections.abc import Sequence
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
from hvac_platform.dashboard.formatting import device_href, number, visible
from hvac_platform.dashboard.paging import pager_outputs, pager_state, register_pager
from hvac_platform.dashboard.reading import Row, report_rows, today
from hvac_platform.dashboard.source import Source
from hvac_platform.detection.methods import method_names
from hvac_platform.stores.base import Store

PAGE = 25
SPANS = {"7 days": 7, "30 days": 30}
TOGETHER = {"consensus": "consensus (2+)", "any_method": "any method"}
ENERGY = {"energy_kwh": "used", "expected_kwh": "expected", "excess_kwh": "excess"}


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


def counts_of(row: Row) -> dict[str, int | None]:
    """Anomalous windows of a report by method, then of the methods together, under their headings."""
    found: dict[str, int | None] = {name: row["by_method"].get(name) for name in method_names()}
    return found | {heading: row[name] for name, heading in TOGETHER.items()}


def by_day(rows: Sequence[Row], columns: Sequence[str]) -> tuple[list[str], dict[str, list[float]]]:
    """Days, oldest first, and the sums of some columns over devices; a column without values is left out.

    >>> by_day([{"date": "b", "n": 1, "x": None}, {"date": "a", "n": 2, "x": None}, {"date": "b", "n": 3, "x": None}],
    ...        ["n", "x"])
    (['a', 'b'], {'n': [2.0, 4.0]})
    """
    days = sorted({row["date"] for row in rows})
    sums: dict[str, list[float]] = {}
    for column in columns:
        if all(row.get(column) is None for row in rows):
            continue
        totals = dict.fromkeys(days, 0.0)
        for row in rows:
            totals[row["date"]] += row.get(column) or 0.0
        sums[column] = [totals[day] for day in days]
    return days, sums


def report_table(rows: Sequence[Row]) -> Content:
    """A row a day and device; energy columns where there are some."""
    energy = [name for name in ENERGY if any(row.get(name) is not None for row in rows)]
    incidents = any(row.get("incidents") is not None for row in rows)
    headings = [
        *(Heading("day (UTC)"), Heading("device"), Heading("windows", True)),
        *[Heading(name, True) for name in (*method_names(), *TOGETHER.values())],
        *([Heading("incidents", True)] if incidents else []),
        *[Heading(f"{ENERGY[name]} kWh", True) for name in energy],
    ]
    cells: list[list[Content]] = [
        [
            row["date"],
            dcc.Link(visible(row["device_id"], 60), href=device_href(row["device_id"])),
            number(row["windows"], 0),
            *[_share(count, row["windows"]) for count in counts_of(row).values()],
            *([number(row.get("incidents"), 0)] if incidents else []),
            *[number(row.get(name), 1) for name in energy],
        ]
        for row in rows
    ]
    return table(headings, cells, label="Methods by day and device", empty="No device passes the filter.")


def _share(count: int | None, windows: int | None) -> str:
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
    found = report_rows(store, last_day or today(), SPANS.get(span, 7))
    devices = [option(name) for name in sorted({row["device_id"] for row in found})]
    if not found:
        missing = f"no day of the last {SPANS.get(span, 7)} has a report yet: a schedule writes one for each day"
        return MethodsView(empty_state(missing, ["hvac up"]), NO_PAGE, devices)
    rows = [row for row in found if not device_id or row["device_id"] == device_id]
    here = page_of(rows, page, PAGE, "device-days")
    days, counts = by_day([row | counts_of(row) for row in rows], (*method_names(), *TOGETHER.values()))
    _, energy = by_day(rows, list(ENERGY))
    parts: list[Content] = []
    if rows:
        figure = bars_by_day(days, counts, title="anomalous windows", revision=f"{span} {device_id}")
        parts.append(graph(figure, label="Anomalous windows by day and method"))
    if energy:
        figure = bars_by_day(
            days, {ENERGY[name]: values for name, values in energy.items()}, title="energy, kWh", revision=span
        )
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
