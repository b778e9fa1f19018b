"""The paths of the API, what each takes and gives, and how they are served; OpenAPI is made of the same list."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from http import HTTPStatus
from typing import Any, Protocol

from flask import Flask, Response, request
from werkzeug.exceptions import MethodNotAllowed, NotFound

from hvac_platform.access.acting import Acting
from hvac_platform.access.users import Person
from hvac_platform.api import resources
from hvac_platform.api.paging import asked, given_once
from hvac_platform.api.problems import PREFIX, ProblemError, problem_answer
from hvac_platform.api.resources import Request
from hvac_platform.config import Settings
from hvac_platform.log.base import MessageLog
from hvac_platform.stores.base import Store

LIST = ("limit", "cursor")
SPAN = ("from", "until", *LIST)
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Route:
    """One path.

    Attributes:
        path: below :data:`PREFIX`, parameters in angle brackets as Flask has them.
        name: of the operation.
        answer: what is read for it.
        takes: parameters of the query.
        table: whose rows it gives; empty where its documents are none of a table's.
        many: whether it is a list.
        takes_body: whether it changes something: by POST, with a body.
    """

    path: str
    name: str
    answer: Callable[[Request], dict[str, Any]]
    takes: tuple[str, ...] = ()
    table: str = ""
    many: bool = False
    takes_body: bool = False

    @property
    def method(self) -> str:
        """POST or GET."""
        return "POST" if self.takes_body else "GET"


def _of_device(path: str, table: str) -> Route:
    rows = partial(resources.rows_by_time, name=table)
    takes = (*SPAN, *resources.FILTERS.get(table, ()))
    return Route(f"/devices/<path:device>/{path}", path, rows, takes, table, many=True)


ROUTES = (
    Route("/health", "health", resources.health),
    Route("/devices", "devices", resources.devices, (*LIST, "device_type", "building_id"), "devices", many=True),
    Route("/devices/<path:device>", "device", resources.device, table="devices"),
    Route("/devices/<path:device>/points", "points", resources.points, LIST, "device_points", many=True),
    _of_device("readings", "device_metrics_raw"),
    _of_device("snapshots", "device_state_snapshots"),
    _of_device("verdicts", "snapshot_verdicts"),
    _of_device("events", "anomaly_events"),
    Route("/devices/<path:device>/profile", "profile", resources.profile, table="device_profiles"),
    Route("/devices/<path:device>/similar", "similar", resources.similar, ("until", "limit"), many=True),
    Route(
        "/incidents",
        "incidents",
        resources.incidents,
        (*SPAN, "device", "severity", "state", "building_id"),
        "incidents",
        many=True,
    ),
    Route("/incidents/<path:incident>", "incident", resources.incident, table="incidents"),
    Route("/incidents/<path:incident>/actions", "act", resources.act, table="incidents", takes_body=True),
)


class Source(Protocol):
    """Where store and log come from."""

    settings: Settings

    def store(self) -> Store | None:
        """The store; None while there is none yet."""

    def log(self) -> MessageLog | None:
        """The log; None while there is none yet."""

    def person(self) -> Person:
        """Who asks."""


def register(server: Flask, source: Source, acting: Acting) -> None:
    """Serve the API."""
    from hvac_platform.api.openapi import openapi

    for route in ROUTES:
        answer = partial(_answer, source, acting, route)
        server.add_url_rule(PREFIX + route.path, f"api-{route.name}", answer, methods=[route.method])
    server.add_url_rule(f"{PREFIX}/openapi.json", "api-openapi", lambda: _json(openapi()), methods=["GET"])
    server.before_request(_not_a_page)
    server.register_error_handler(HTTPStatus.NOT_FOUND, _not_found)
    server.register_error_handler(HTTPStatus.METHOD_NOT_ALLOWED, _no_such_method)


def _answer(source: Source, acting: Acting, route: Route, **path: str) -> Response:
    try:
        given = asked(given_once(dict(request.args.lists())), frozenset(route.takes))
        store = source.store()
        if store is None:
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "there is no store yet: ingest some messages first")
        body = request.get_json(silent=True) if route.takes_body else None
        log = source.log()
        return _json(route.answer(Request(store, log, source.settings, source.person(), acting, body, path, given)))
    except ProblemError as problem:
        return problem_answer(problem.status, problem.detail, problem.retry_seconds)
    except Exception as error:  # whatever it is, the answer is one line, and the log has the rest
        logger.exception("%s %s", request.method, request.path)
        return problem_answer(
            HTTPStatus.SERVICE_UNAVAILABLE, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        )


def _json(document: Mapping[str, Any]) -> Response:
    """A document with its ETag; 304 without it where the client has the same."""
    body = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    answer = Response(body, HTTPStatus.OK, content_type="application/json")
    answer.set_etag(blake2b(body, digest_size=16).hexdigest())
    answer.headers["Cache-Control"] = "no-cache"
    return answer.make_conditional(request)  # type: ignore[return-value]


def _no_such_path() -> Response:
    paths = ", ".join(PREFIX + route.path.replace("<path:", "<") for route in ROUTES)
    return problem_answer(HTTPStatus.NOT_FOUND, f"no such path; there are {paths} and {PREFIX}/openapi.json")


def _not_a_page() -> Response | None:
    """What begins like a path of the API and is none: Dash, which has a page for every path, would answer it."""
    if request.endpoint is None or request.endpoint.startswith("api-") or not request.path.startswith(PREFIX):
        return None
    return _no_such_path()


def _not_found(error: NotFound) -> Any:
    """What no rule takes, such as a path with a line end in it."""
    return _no_such_path() if request.path.startswith(PREFIX) else error


def _no_such_method(error: MethodNotAllowed) -> Any:
    """What a path doesn't take, with what it takes in ``Allow``."""
    if not request.path.startswith(PREFIX):
        return error
    allowed = sorted(error.valid_methods or ())
    changing = ", ".join(PREFIX + route.path.replace("<path:", "<") for route in ROUTES if route.takes_body)
    answer = problem_answer(
        HTTPStatus.METHOD_NOT_ALLOWED, f"this path takes {', '.join(allowed)}; what changes something is {changing}"
    )
    answer.headers["Allow"] = ", ".join(allowed)
    return answer
