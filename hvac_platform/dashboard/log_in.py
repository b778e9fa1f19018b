"""Who asks: a token in a header, or a session that a browser got for a token or a password; and the page where it gets it.

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
from hvac_platform.access.passwords import MOST_CHARACTERS, BusyError, user_of
from hvac_platform.access.roles import Role
from hvac_platform.access.sessions import LASTS_SECONDS, Session, Sessions
from hvac_platform.access.users import ANYBODY, LONGEST_NAME, Person, person, user_of_token, users
from hvac_platform.api.problems import PREFIX, problem_answer
from hvac_platform.dashboard.source import Remembered, Source
from hvac_platform.stores.records import User
from hvac_platform.visible_text import visible

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
"""After so many wrong tokens or passwords within so long an address waits; after so many wrong passwords a name does."""
USERS_SECONDS = 5.0
"""So long after it was revoked a token, or a password that was changed, may still work."""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Log in · HVAC</title>
<link rel="icon" href="/assets/icon-192.png"><link rel="stylesheet" href="/assets/dashboard.css"></head>
<body><main class="log-in"><h1>HVAC platform</h1>
<form id="log-in" data-to="{to}"><label for="name">Name</label>
<input id="name" autocomplete="username" maxlength="{longest_name}" required autofocus>
<label for="password">Password</label>
<input id="password" type="password" autocomplete="current-password" maxlength="{longest_password}" required>
<button type="submit">Log in</button></form>
<form id="log-in-by-token"><label for="token">Or a token</label>
<input id="token" type="password" autocomplete="off" required>
<button type="submit">Log in by token</button></form>
<p id="said" role="alert"></p>
<p class="small">Who runs the platform gives you a token (<code>hvac users add NAME</code>) and has you enter a password
there (<code>hvac users password NAME</code>).</p>
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
        self._sessions = Sessions()
        self._failures, self._failures_of_names = (Limit(MOST_FAILURES, FAILURES_SECONDS) for _ in range(2))
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
            found = user_of_token(self._users.get(), token.strip())
            if found is None:
                self._note_wrong_token()
            return None if found is None else person(found)
        session = self._sessions.find(request.cookies.get(COOKIE, ""))
        mine = (user for user in self._users.get() if session is not None and _is_of(session, user))
        return next(map(person, mine), None)

    def _note_wrong_token(self) -> None:
        """Who tries tokens is slowed down, and is in the log."""
        self._failures.note(_address())
        logger.warning("a token that nobody has came from %s, for %s", _address(), visible(request.path, 100))

    def _note_wrong_password(self, name: str) -> None:
        """As with tokens; the name counts too, whoever tries it, and is in the log where it is one."""
        self._failures.note(_address())
        self._failures_of_names.note(name)
        known = any(user.name == name for user in self._users.get())
        whose = f"that isn't {name}'s" if known else "for a name that nobody has"
        logger.warning("a password %s came from %s", whose, _address())

    def log_in(self) -> Response:
        """A session for a token, or for a name and a password."""
        wait = self._failures.wait_seconds(_address())
        if wait > 0:
            return _too_many(wait)
        if not self._is_closed():
            return _plain(
                HTTPStatus.CONFLICT, "this platform has no users, so nobody needs to log in: all of it is open"
            )
        body = request.get_json(silent=True)
        given = body if isinstance(body, Mapping) else {}
        token, name, password = (_text(given.get(part)) for part in ("token", "name", "password"))
        return self._by_password(name, password) if password else self._by_token(token)

    def _by_token(self, token: str) -> Response:
        found = user_of_token(self._users.get(), token.strip())
        if found is None:
            self._note_wrong_token()
            return _plain(HTTPStatus.UNAUTHORIZED, "no such token, or it was revoked")
        return self._let_in(found, found.token_sha256)

    def _by_password(self, name: str, password: str) -> Response:
        tried = name.strip()[: LONGEST_NAME + 1]
        wait = self._failures_of_names.wait_seconds(tried)
        if wait > 0:
            return _too_many(wait)
        try:
            found = user_of(self._users.get(), tried, password)
        except BusyError:
            return _too_many(1.0)
        if found is None or found.password_argon2 is None:
            self._note_wrong_password(tried)
            return _plain(HTTPStatus.UNAUTHORIZED, "no such name with this password")
        return self._let_in(found, found.password_argon2)

    def _let_in(self, user: User, proof: str) -> Response:
        logger.info("%s logged in from %s as %s", user.name, _address(), user.role)
        answer = _plain(HTTPStatus.OK, f"logged in as {user.name}")
        answer.set_cookie(
            COOKIE,
            self._sessions.begin(Session(user.name, proof)),
            max_age=int(LASTS_SECONDS),
            httponly=True,
            samesite="Strict",
            secure=request.is_secure or request.headers.get("X-Forwarded-Proto") == "https",
        )
        return answer

    def log_out(self) -> Response:
        """End the session of who asks."""
        session_id = request.cookies.get(COOKIE, "")
        if (session := self._sessions.find(session_id)) is not None:
            logger.info("%s logged out from %s", session.name, _address())
        self._sessions.end(session_id)
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
    longest = {"longest_name": LONGEST_NAME, "longest_password": MOST_CHARACTERS}
    return Response(PAGE.format(to=escape(inside, quote=True), **longest), mimetype="text/html")


def _is_of(session: Session, user: User) -> bool:
    """Whether a session is a user's who is let in, with the token or the password that they have now."""
    return (
        user.name == session.name
        and user.revoked_at is None
        and session.proof in (user.token_sha256, user.password_argon2)
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


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
    answer = _refusal(HTTPStatus.TOO_MANY_REQUESTS, f"too many wrong tokens or passwords: try again in {wait:.0f} s")
    answer.headers["Retry-After"] = str(int(wait) + 1)
    return answer


def _refusal(status: HTTPStatus, text: str) -> Response:
    return problem_answer(status, text) if request.path.startswith(PREFIX) else _plain(status, text)


def _plain(status: HTTPStatus, text: str) -> Response:
    return Response(json.dumps({"said": text}), status, content_type="application/json")


def _address() -> str:
    return request.remote_addr or ""
