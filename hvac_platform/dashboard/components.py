"""Parts that pages are made of. Everything that is text becomes a text node: nothing from outside is ever read as HTML.

A page keeps to a few hundred components: in the browser each of them looks at every change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dash import dcc, html

from hvac_platform.dashboard.device_states import Status
from hvac_platform.dashboard.figures import Figure, with_typed_arrays
from hvac_platform.dashboard.formatting import device_href, number
from hvac_platform.dashboard.source import Source
from hvac_platform.stores.base import Store
from hvac_platform.visible_text import visible

Content = Any
"""A Dash component, a text, or a list of these."""

STATUS_MARKS = {
    Status.INCIDENT: "■",
    Status.URGENT: "!",
    Status.ANOMALOUS: "▲",
    Status.SILENT: "○",
    Status.NO_PROFILE: "◌",
    Status.NORMAL: "●",
    Status.UNREAD: "…",
}
SEVERITY_MARKS = {"critical": "■", "warning": "▲", "info": "◆"}
GRAPH_CONFIG: Any = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtons": [["toImage"], ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
}
NOTHING_REGISTERED = (
    "no device has been registered yet",
    ["hvac simulate --duration 600", "hvac ingest"],
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Heading:
    """Heading of a column; numbers are set to the right.

    Attributes:
        text: the heading.
        numeric: whether the column has numbers.
        order: ``ascending`` or ``descending`` where rows are in order of the column.
    """

    text: str
    numeric: bool = False
    order: str = ""


def named(label: str) -> dict[str, Any]:
    """Attribute that names a part for who can't see it."""
    return {"aria-label": label}


def status_badge(status: Status, href: str | None = None) -> Content:
    """Status as a mark and words, which lead somewhere where an address is given."""
    words, kind = f"{STATUS_MARKS[status]} {status.value}", f"badge status-{status.name.lower()}"
    return html.Span(words, className=kind) if href is None else dcc.Link(words, href=href, className=kind)


def severity_badge(severity: str) -> Content:
    """Severity as a mark and a word."""
    known = severity if severity in SEVERITY_MARKS else "info"
    return html.Span(
        f"{SEVERITY_MARKS.get(severity, '?')} {visible(severity, 20)}", className=f"badge severity-{known}"
    )


def severity_cell(severity: str) -> Content:
    """A cell with a severity."""
    known = severity if severity in SEVERITY_MARKS else "info"
    return html.Td(f"{SEVERITY_MARKS.get(severity, '?')} {visible(severity, 20)}", className=f"cell-{known}")


def lines_cell(texts: Sequence[object]) -> Content:
    """A cell with some sentences, one a line."""
    return html.Td("\n".join(f"• {visible(text)}" for text in texts) or "–", className="lines")


def table(
    headings: Sequence[Heading], rows: Sequence[Sequence[Content]], *, label: str, empty: str, tall: bool = False
) -> Content:
    """Rows under headings, in a box of its own that scrolls, also by keyboard; words where there are none.

    A table that may be tall keeps its headings in sight and leaves room for what follows. On a narrow screen each row is a
    list of names and values instead, which is what the labels of the cells are for; the roles keep it a table to who
    listens to the page.
    """
    if not rows:
        return note(empty)
    head = html.Thead(
        html.Tr(
            [_head(heading) for heading in headings],
            role="row",
        ),
        role="rowgroup",
    )
    body = html.Tbody(
        [
            html.Tr(
                [_cell(heading, cell) for heading, cell in zip(headings, row, strict=True)],
                role="row",
            )
            for row in rows
        ],
        role="rowgroup",
    )
    return html.Div(
        html.Table([head, body], role="table"),
        className="scroll tall" if tall else "scroll",
        role="region",
        tabIndex=0,
        **named(label),
    )


def _head(heading: Heading) -> Content:
    """The heading of a column, which says whether rows are in order of it."""
    made = html.Th(heading.text, scope="col", className="number" if heading.numeric else "", role="columnheader")
    if heading.order:
        setattr(made, "aria-sort", heading.order)
    return made


def _cell(heading: Heading, content: Content) -> Content:
    """A cell that knows the name of its column."""
    made = content
    if not isinstance(content, html.Td):
        made = html.Td("–" if content is None else content, className="number" if heading.numeric else "")
    made.role = "cell"
    setattr(made, "data-label", heading.text)
    return made


def facts(pairs: Sequence[tuple[str, Content]]) -> Content:
    """Names and values."""
    return html.Dl([html.Div([html.Dt(name), html.Dd("–" if value is None else value)]) for name, value in pairs])


def device_links(device_ids: Sequence[str], most: int | None = None) -> list[Content]:
    """Links to the pages of some devices, with commas between them; of many, the first ones and how many more there are."""
    links: list[Content] = []
    for device_id in device_ids[:most]:
        links += [", "] if links else []
        links.append(dcc.Link(visible(device_id, 80), href=device_href(device_id)))
    more = 0 if most is None else len(device_ids) - most
    return [*links, f" and {more} more"] if more > 0 else links


def note(text: Content) -> Content:
    """A sentence where there is nothing to show."""
    return html.P(text, className="note")


def empty_state(message: str, commands: Sequence[str] = ()) -> Content:
    """What is missing, and the commands that make it."""
    return html.Div(
        [html.P(f"{message[:1].upper()}{message[1:]}."), *[html.Pre(html.Code(c)) for c in commands]],
        className="empty",
        role="status",
    )


def nothing_registered() -> Content:
    """No device at all."""
    message, commands = NOTHING_REGISTERED
    return empty_state(message, commands)


def failure(error: Exception, what_to_do: str) -> Content:
    """An error that a page met, and what to do; the next refresh tries again."""
    return html.Div(
        [
            html.H2("This can't be shown at the moment"),
            html.P(visible(f"{type(error).__name__}: {error}", 600), className="error-text"),
            html.P(what_to_do),
            html.P("The page tries again by itself at every refresh."),
        ],
        className="failure",
        role="alert",
    )


def guarded(source: Source, read: Callable[[Store], Content]) -> Content:
    """What a page shows of the store; an error or the lack of a store becomes content too."""
    try:
        store = source.store()
        return nothing_registered() if store is None else read(store)
    except Exception as error:  # whatever a driver raises, a page says it and recovers
        logger.warning("a page could not be read: %s", error, exc_info=logger.isEnabledFor(logging.DEBUG))
        return failure(error, store_remedy(source))


def store_remedy(source: Source) -> str:
    """What to do where the store can't be read."""
    settings = source.settings
    if settings.scylla_hosts:
        return (
            f"Check SCYLLA_HOSTS ({settings.scylla_hosts}) and that the server is up; hvac check says which part fails."
        )
    return f"Check that HVAC_HOME ({settings.hvac_home}) can be read; hvac check says which part fails."


def graph(figure: Figure, *, label: str, graph_id: str | None = None) -> Content:
    """A figure with a name for who can't see it."""
    more: dict[str, Any] = {} if graph_id is None else {"id": graph_id}
    height = {"height": f"{figure['layout']['height']}px"}
    drawn = dcc.Graph(figure=with_typed_arrays(figure), config=GRAPH_CONFIG, style=height, **more)
    return html.Div(drawn, className="figure", role="group", **named(label))


def total(name: str, value: Content, more: Content = None, *, kind: str = "") -> Content:
    """One number on top of a page."""
    return html.Div(
        [html.Div(name, className="total-name"), html.Div(value, className="total-value"), html.Div(more or "")],
        className=f"total {kind}".rstrip(),
    )


def chooser(
    element_id: str,
    label: str,
    options: Sequence[Mapping[str, str]],
    value: Any = None,
    *,
    multi: bool = False,
    placeholder: str = "all",
) -> Content:
    """A drop-down with its label."""
    return html.Div(
        [
            html.Label(label, htmlFor=element_id),
            dcc.Dropdown(
                id=element_id, options=list(options), value=value, multi=multi, placeholder=placeholder, clearable=True
            ),
        ],
        className="chooser",
    )


def option(value: str, label: str | None = None) -> dict[str, str]:
    """An entry of a drop-down."""
    return {"value": value, "label": visible(label or value, 80)}


def pager(prefix: str) -> Content:
    """Buttons for pages, and where one is; :func:`page_of` cuts the rows."""
    return html.Div(
        [
            dcc.Store(id=f"{prefix}-page", data=0),
            html.Button("‹ previous", id=f"{prefix}-previous", n_clicks=0, type="button"),
            html.Span(id=f"{prefix}-where", role="status"),
            html.Button("next ›", id=f"{prefix}-next", n_clicks=0, type="button"),
        ],
        className="pager",
    )


@dataclass(frozen=True, slots=True)
class Page:
    """Some of many rows: which, where that is in words, and whether it is the first and the last page."""

    rows: Sequence[Any]
    where: str
    first: bool
    last: bool


def page_of(rows: Sequence[Any], page: int, size: int, what: str) -> Page:
    """The rows of a page, of the last one where it is beyond.

    >>> page_of(list(range(30)), 1, 24, "devices")
    Page(rows=[24, 25, 26, 27, 28, 29], where='25 to 30 of 30 devices', first=False, last=True)
    >>> page_of([], 3, 24, "devices")
    Page(rows=[], where='0 devices', first=True, last=True)
    """
    if not rows:
        return Page(rows, f"0 {what}", True, True)
    final = (len(rows) - 1) // size
    number_of = min(max(page, 0), final)
    start = number_of * size
    here = rows[start : start + size]
    where = f"{number(start + 1, 0)} to {number(start + len(here), 0)} of {number(len(rows), 0)} {what}"
    return Page(here, where, number_of == 0, number_of == final)


NO_PAGE = Page([], "", True, True)
