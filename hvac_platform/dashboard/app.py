"""The application: navigation, automatic refresh, routes, and what every answer says to the browser."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote

from dash import Dash, Input, Output, State, dcc, html
from dash.exceptions import DependencyException
from flask import Response, request
from werkzeug.exceptions import HTTPException

from hvac_platform.access.acting import Acting
from hvac_platform.api import routes
from hvac_platform.config import Settings
from hvac_platform.dashboard import launching, log_in, maintaining, mapping
from hvac_platform.dashboard.components import Content, empty_state, named
from hvac_platform.dashboard.device_states import FleetBoard, FleetBoards
from hvac_platform.dashboard.front import Front
from hvac_platform.dashboard.log_in import current_person
from hvac_platform.dashboard.pages import device, fleet, incident, incidents, ingestion, methods, plant, replay, what_if
from hvac_platform.dashboard.shared_readings import SharedReadings
from hvac_platform.dashboard.source import Source
from hvac_platform.hosts import Address, parse_address
from hvac_platform.runtime.device_runs import DeviceRuns
from hvac_platform.runtime.request_guard import RequestGuard
from hvac_platform.timestamps import iso, now_ms
from hvac_platform.visible_text import visible

logger = logging.getLogger(__name__)
REFRESH_SECONDS = 5
CALLBACKS = "/_dash-update-component"
NAVIGATION = {
    "/": "Fleet",
    "/incidents": "Incidents",
    "/plant": "Plants",
    "/methods": "Methods",
    "/what-if": "What if",
    "/ingestion": "Ingestion",
}
TITLE = "HVAC"
PAGES: dict[str, Callable[..., Content]] = {
    "/": fleet.layout,
    "/incidents": incidents.layout,
    "/plant": plant.layout,
    "/methods": methods.layout,
    "/what-if": what_if.layout,
    "/ingestion": ingestion.layout,
    "/device/<device>": device.layout,
    "/incident/<device>/<number>": incident.layout,
    "/replay/<device>": replay.layout,
    "/replay/<device>/<number>": replay.layout,
}
"""Layout of every page by its address; it is given what stands for the parts in brackets."""
QUERIED = (fleet.layout, replay.layout)
"""Layouts that take what stands behind the question mark of an address."""
MOST_FIELDS = 20
PARTS = {"<device>": re.compile(r".+", re.DOTALL), "<number>": re.compile(r"[0-9]{1,15}(\.[0-9]{1,6})?")}
"""What may stand for a part; the number is what an incident's id has after its device."""

INDEX = """<!doctype html>
<html lang="en"><head>{%metas%}<title>{%title%}</title>{%css%}<link rel="icon" href="/assets/icon-192.png">
<link rel="manifest" href="/assets/dashboard.webmanifest"><link rel="apple-touch-icon" href="/assets/icon-192.png"></head>
<body>{%app_entry%}{%config%}{%scripts%}{%renderer%}</body></html>
"""
"""What stands around every page."""

# Scripts come from here only; styles may stand in the page, because figures set them so. Nothing comes from elsewhere.
POLICY = (
    "default-src 'self'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def make_app(
    settings: Settings, *, host: str = "127.0.0.1", source: Source | None = None, board: FleetBoard | None = None
) -> Dash:
    """The dashboard over the store and the log that the settings name; neither is opened before a page asks.

    Args:
        settings: of this process.
        host: where it listens; an address there is a name under which it is known.
        source: of store and log; what the settings name when absent.
        board: state of the fleet; a new one when absent.
    """
    source = source or Source(settings)
    source.person = current_person
    runs = DeviceRuns(settings.hvac_dagster_url)
    acting = Acting(source.whole_store, runs=runs)
    shared = SharedReadings(source)
    boards = FleetBoards(settings, source.buildings, board)
    app = Dash(
        "hvac_platform.dashboard",
        title=TITLE,
        index_string=INDEX,
        meta_tags=[{"name": "color-scheme", "content": "light dark"}, {"name": "theme-color", "content": "#17324d"}],
        update_title=None,  # type: ignore[arg-type]
        serve_locally=True,
        suppress_callback_exceptions=True,  # parts of a page exist while it is open only
        include_pages_meta=False,
        use_pages=False,
        enable_mcp=False,
    )
    app.layout = shell()
    fleet.register(app, boards, shared)
    device.register(app, source)
    maintaining.register(app, source, acting)
    mapping.register(app, source)
    launching.register(app, source, acting, runs)
    incidents.register(app, source, boards)
    incident.register(app, source, acting)
    plant.register(app, source, boards)
    methods.register(app, source)
    what_if.register(app, source)
    replay.register(app, source)
    ingestion.register(app, shared)
    _register_shell(app)
    _serve_health(app, source)
    _serve_metrics(app, shared)
    _refuse_what_no_page_sends(app)
    log_in.register(app.server, source)
    routes.register(app.server, source, acting)  # who may not come in is told that first
    _protect(app)
    server: Any = app.server
    methods_of = server.url_map.bind("").allowed_methods
    guard = RequestGuard([*settings.allowed_hosts, *_own_address(host)])
    server.wsgi_app = Front(server.wsgi_app, guard, methods_of)
    return app


def shell() -> Content:
    """What stays while pages change."""
    return html.Div(
        [
            dcc.Location(id="where", refresh="callback-nav"),
            html.A("Skip to the content", href="#page", className="skip"),
            html.Header(
                [
                    html.Span("HVAC platform", className="brand"),
                    html.Nav(id="navigation", **named("Pages")),
                    html.Div(
                        [
                            html.Span(id="who", className="small"),
                            html.Span(id="updated", className="small"),
                            html.Button("Pause", id="pause", n_clicks=0, type="button", title="Stop refreshing"),
                        ],
                        className="refresh",
                    ),
                ],
                className="bar",
            ),
            html.Main(id="page", tabIndex=-1),
            dcc.Interval(id="tick", interval=REFRESH_SECONDS * 1000),
            html.Div(id="titled", hidden=True),
        ]
    )


def route(path: str | None, search: str | None = None) -> Content:
    """The page of an address.

    Args:
        path: of the address.
        search: what stands behind it from the question mark on.

    >>> route("/nowhere").children[1].className
    'empty'
    """
    parts = [unquote(part) for part in (path if isinstance(path, str) else "/").split("/")[1:]]
    for address, layout in PAGES.items():
        wanted = address.split("/")[1:]
        given = [part for want, part in zip(wanted, parts, strict=False) if want in PARTS]
        if len(wanted) == len(parts) and all(map(_stands_for, wanted, parts)):
            return layout(*given, query=query_of(search)) if layout in QUERIED else layout(*given)
    return html.Div([html.H1("No such page"), empty_state(f"there is no page {visible(path, 200)}")])


def query_of(search: str | None) -> dict[str, str]:
    """Fields behind the question mark of an address, the last of each name; none of what no page would write.

    >>> query_of("?view=table&search=a%20b"), query_of("?" + "&".join("a=1" for _ in range(30))), query_of(None)
    ({'view': 'table', 'search': 'a b'}, {}, {})
    """
    try:
        return dict(parse_qsl((search or "").removeprefix("?"), max_num_fields=MOST_FIELDS))
    except ValueError:  # more fields than that
        return {}


def _stands_for(want: str, part: str) -> bool:
    return bool(PARTS[want].fullmatch(part)) if want in PARTS else want == part


def navigation(path: str | None) -> list[Content]:
    """Links to the pages; the present one is told to who can't see it, too."""
    return [
        dcc.Link([name, html.Span(" (this page)", className="unseen")], href=href, className="here")
        if href == (path or "/")
        else dcc.Link(name, href=href)
        for href, name in NAVIGATION.items()
    ]


def who() -> list[Content]:
    """Who is logged in, and how to end it; nothing on a platform without users."""
    found = current_person()
    if not found.name:
        return []
    seen = f", {', '.join(sorted(found.buildings))}" if found.buildings is not None else ""
    return [
        html.Span(visible(f"{found.name} ({found.role}{seen})", 80)),
        html.Button("Log out", id="log-out", type="button"),
    ]


def page_title(path: str | None) -> str:
    """Title of the browser's window.

    >>> page_title("/methods"), page_title("/device/RTU%2D001")
    ('Methods · HVAC', 'RTU-001 · HVAC')
    """
    if not isinstance(path, str):
        return TITLE
    if path in NAVIGATION:
        return f"{NAVIGATION[path]} · {TITLE}"
    parts = [unquote(part) for part in path.split("/")[2:3]]
    return f"{visible(parts[0], 60)} · {TITLE}" if parts else TITLE


def _register_shell(app: Dash) -> None:
    @app.callback(
        Output("page", "children"),
        Output("navigation", "children"),
        Output("titled", "children"),
        Output("who", "children"),
        Input("where", "pathname"),
        State("where", "search"),
    )
    def show(path: str | None, search: str | None) -> tuple[Content, list[Content], str, list[Content]]:
        return route(path, search), navigation(path), page_title(path), who()

    @app.callback(Output("updated", "children"), Input("tick", "n_intervals"), Input("where", "pathname"))
    def tell(_tick: int | None, _path: str | None) -> str:
        return f"read {iso(now_ms())[11:]}"

    @app.callback(
        Output("tick", "disabled"),
        Output("pause", "children"),
        Output("pause", "aria-pressed"),
        Input("pause", "n_clicks"),
        State("tick", "disabled"),
        prevent_initial_call=True,
    )
    def pause(_clicks: int, paused: bool | None) -> tuple[bool, str, str]:
        stopped = not paused
        return stopped, "Resume" if stopped else "Pause", "true" if stopped else "false"

    app.clientside_callback(  # type: ignore[no-untyped-call]
        "function(title) { if (title) { document.title = title; } return title; }",
        Output("titled", "title"),
        Input("titled", "children"),
    )


def _serve_health(app: Dash, source: Source) -> None:
    server: Any = app.server

    def healthz() -> Response:
        """Whether the store answers."""
        try:
            store = source.store()
            said, status = ("ok", 200) if store is None or store.schema_versions() else ("?", 503)
        except Exception as error:  # whatever it is, the store does not answer
            said, status = f"{type(error).__name__}: {error}", 503
        return Response(json.dumps({"store": said}), status=status, mimetype="application/json")

    # Before Dash's own catch-all by being more specific.
    server.add_url_rule("/healthz", "healthz", healthz)


def _serve_metrics(app: Dash, shared: SharedReadings) -> None:
    server: Any = app.server
    kept: list[Any] = []

    def metrics() -> Response:
        """How the platform does, for Prometheus."""
        if not kept:
            from hvac_platform.dashboard.metrics import PlatformMetrics  # loaded where somebody asks

            kept.append(PlatformMetrics(shared))
        return Response(kept[0].text(), content_type="text/plain; version=0.0.4; charset=utf-8")

    server.add_url_rule("/metrics", "metrics", metrics)


def _refuse_what_no_page_sends(app: Dash) -> None:
    """A callback that fails has been sent what no page sends: pages catch what may go wrong when they read.

    So has a file of Dash's that there is not, of which Dash tells all that there are, in an error of the server.
    """
    server: Any = app.server

    def refused(error: Exception) -> Any:
        if isinstance(error, HTTPException):
            return error
        if isinstance(error, DependencyException):
            return Response("there is no such file\n", HTTPStatus.NOT_FOUND, mimetype="text/plain")
        if server.debug or not request.path.startswith(CALLBACKS):
            raise error
        logger.warning("a callback was refused: %s: %s", type(error).__name__, visible(error, 200))
        logger.debug("where it failed", exc_info=error)
        return Response("no page sends this\n", HTTPStatus.BAD_REQUEST, mimetype="text/plain")

    server.register_error_handler(Exception, refused)


def _own_address(host: str) -> list[Address]:
    """The address that a server listens on; none where it listens on all of them."""
    address = parse_address(f"[{host}]" if ":" in host else host)
    return [address] if address is not None and host not in ("0.0.0.0", "::") else []


def _protect(app: Dash) -> None:
    server: Any = app.server
    policy: list[str] = []

    def protect(response: Response) -> Response:
        if not policy:  # the hashes are of what Dash has rendered by now
            policy.append(POLICY.format(hashes=" ".join(app.csp_hashes())))
        response.headers["Content-Security-Policy"] = policy[0]
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    server.after_request(protect)
