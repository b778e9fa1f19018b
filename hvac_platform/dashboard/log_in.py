"""Who asks: a token in a header, or a session that a browser got for one; and the page where it gets it.

Without any user everybody who reaches the server reads everything, as on a machine of one's own.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from html import escape
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from flask import Flask, Response, g, has_request_context, redirect, request

from hvac_platform.access.limits import Limit
from hvac_platform.access.roles import Role
from hvac_platform.access.sessions import LASTS_SECONDS, Sessions
from hvac_platform.access.users import ANYBODY, Person, person, person_of, users
from hvac_platform.api.problems import PREFIX, problem_answer
from hvac_platform.dashboard.formatting import visible
from hvac_platform.dashboard.source import Remembered, Source
from hvac_platform.stores.records import User

logger = logging.getLogger(__name__)
COOKIE = "hvac_session"
PATH = "/log-in"
OPEN_PATHS = (PATH, "/healthz")
OPEN_FOLDERS = ("/assets/", "/_favicon.ico")
"""What is shown to anybody: the page to log in and what it looks like."""
OF_THE_SITE = ("/metrics", f"{PREFIX}/health")
"""What says something of the whole site and of no building alone."""
NOBODY = Person("", Role.VIEWER, frozenset())
"""Who asks while it can't be known who may see what: the pages are there, and no device."""
MOST_FAILURES, FAILURES_SECONDS = 10, 60.0
"""After so many wrong tokens within so long an address waits."""
USERS_SECONDS = 5.0
"""So long after it was revoked a token may still work."""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Log in · HVAC</title>
<link rel="stylesheet" href="/assets/dashboard.css"></head>
<body><main class="log-in"><h1>HVAC platform</h1>
<form id="log-in" data-to="{to}"><label for="token">Token</label>
<input id="token" type="password" autocomplete="current-password" required autofocus>
<button type="submit">Log in</button><p id="said" role="alert"></p></form>
<p class="small">Who runs the platform gives you a token: <code>hvac users add NAME</code>.</p>
</main><script src="/assets/log_in.js"></script></body></html>
"""


def current_person() -> Person:
    """Who asks in the present request; anybody where there is none."""
    return getattr(g, "person", ANYBODY) if has_request_context() else ANYBODY


class Door:
    """Lets in whom the store knows.

    Args:
        source: of the store, whole.
    """

    def __init__(self, source: Source) -> None:
        self._sessions, self._failures = Sessions(), Limit(MOST_FAILURES, FAILURES_SECONDS)
        self._users: Remembered[list[User]] = Remembered(lambda: _read_users(source), USERS_SECONDS)

    def _is_closed(self) -> bool:
        """Whether there are users, or have been: a platform whose last user was revoked is not open to all again.

        Asked twice where it fails: a store whose files were replaced says so once, and goes on in the new ones.
        """
        with suppress(Exception):
            return bool(self._users.get())
        self._users.forget()
        return bool(self._users.get())

    def check(self) -> Any:
        """Find out who asks; an answer where they may not."""
        g.person = ANYBODY
        if request.path in OPEN_PATHS or request.path.startswith(OPEN_FOLDERS):
            return None
        try:
            if not self._is_closed():
                return None
        except Exception as error:  # pages say why; should the store come back meanwhile, nothing of it is shown
            g.person = NOBODY
            told = f"the users can't be read: {type(error).__name__}: {' '.join(str(error).split())}"
            logger.warning("%s", told)
            if request.path in OF_THE_SITE:
                return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, told)
            return None
        wait = self._failures.wait_seconds(_address())
        if wait > 0:
            return _too_many(wait)
        found = self._who()
        if found is None:
            return _unknown()
        if found.buildings is not None and request.path in OF_THE_SITE:
            return _refusal(HTTPStatus.FORBIDDEN, "this is of the whole site, and you see some of its buildings")
        g.person = found
        return None

    def _who(self) -> Person | None:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer":
            found = person_of(self._users.get(), token.strip())
            if found is None:
                self._note_wrong_token()
            return found
        name = self._sessions.name_of(request.cookies.get(COOKIE, ""))
        mine = (user for user in self._users.get() if user.name == name and user.revoked_at is None)
        return next(map(person, mine), None)

    def _note_wrong_token(self) -> None:
        """Who tries tokens is slowed down, and is in the log."""
        self._failures.note(_address())
        logger.warning("a token that nobody has came from %s, for %s", _address(), visible(request.path, 100))

    def log_in(self) -> Response:
        """A session for a token."""
        wait = self._failures.wait_seconds(_address())
        if wait > 0:
            return _too_many(wait)
        if not self._is_closed():
            return _plain(
                HTTPStatus.CONFLICT, "this platform has no users, so nobody needs to log in: all of it is open"
            )
        body = request.get_json(silent=True)
        token = body.get("token") if isinstance(body, Mapping) else None
        found = person_of(self._users.get(), token.strip()) if isinstance(token, str) else None
        if found is None:
            self._note_wrong_token()
            return _plain(HTTPStatus.UNAUTHORIZED, "no such token, or it was revoked")
        logger.info("%s logged in from %s as %s", found.name, _address(), found.role)
        answer = _plain(HTTPStatus.OK, f"logged in as {found.name}")
        answer.set_cookie(
            COOKIE,
            self._sessions.begin(found.name),
            max_age=int(LASTS_SECONDS),
            httponly=True,
            samesite="Strict",
            secure=request.is_secure or request.headers.get("X-Forwarded-Proto") == "https",
        )
        return answer

    def log_out(self) -> Response:
        """End the session of who asks."""
        token = request.cookies.get(COOKIE, "")
        if (name := self._sessions.name_of(token)) is not None:
            logger.info("%s logged out from %s", name, _address())
        self._sessions.end(token)
        answer = _plain(HTTPStatus.OK, "logged out")
        answer.delete_cookie(COOKIE)
        return answer


def register(server: Flask, source: Source) -> None:
    """Ask who it is before any page, callback or resource answers."""
    door = Door(source)
    server.before_request(door.check)
    server.add_url_rule(PATH, "log-in", _page, methods=["GET"])
    server.add_url_rule(PATH, "log-in-with", door.log_in, methods=["POST"])
    server.add_url_rule("/log-out", "log-out", door.log_out, methods=["POST"])


def _read_users(source: Source) -> list[User]:
    store = source.whole_store()
    return [] if store is None else users(store)


def _page() -> Response:
    to = request.args.get("to", "/")
    inside = to if to.startswith("/") and not to.startswith(("//", "/\\")) else "/"
    return Response(PAGE.format(to=escape(inside, quote=True)), mimetype="text/html")


def _unknown() -> Any:
    """What is said to who is nobody: a browser is led to where it can log in."""
    if request.method == "GET" and request.headers.get("Sec-Fetch-Dest", "document") == "document" and _is_page():
        return redirect(f"{PATH}?to={quote(request.full_path.rstrip('?'), safe='')}")
    answer = _refusal(HTTPStatus.UNAUTHORIZED, "a token is needed: Authorization: Bearer TOKEN (hvac users add NAME)")
    answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def _is_page() -> bool:
    return not request.path.startswith((f"{PREFIX}", "/_dash", "/metrics"))


def _too_many(wait: float) -> Response:
    answer = _refusal(HTTPStatus.TOO_MANY_REQUESTS, f"too many wrong tokens: try again in {wait:.0f} s")
    answer.headers["Retry-After"] = str(int(wait) + 1)
    return answer


def _refusal(status: HTTPStatus, text: str) -> Response:
    return problem_answer(status, text) if request.path.startswith(PREFIX) else _plain(status, text)


def _plain(status: HTTPStatus, text: str) -> Response:
    return Response(json.dumps({"said": text}), status, content_type="application/json")


def _address() -> str:
    return request.remote_addr or ""
