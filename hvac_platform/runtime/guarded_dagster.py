"""Dagster's services with the request guard before their web pages, so that no unguarded port is behind it.

``python -m hvac_platform.runtime.guarded_dagster dev …`` is ``dagster dev``, ``… webserver …`` is ``dagster-webserver``;
both take the options of what they stand for. Dagster offers no place for this, so names of its modules are replaced, in
``dagster_private``. A name that a newer Dagster no longer has ends the start; the pages are never served without the guard.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from hvac_platform.config import ConfigError, load_settings
from hvac_platform.runtime.linear_algebra import one_thread
from hvac_platform.runtime.request_guard import Request, RequestGuard

if TYPE_CHECKING:
    from dagster import DagsterInstance

POLICY_VIOLATION = 1008


class GuardedApp:
    """An ASGI application that answers only what the guard lets pass."""

    def __init__(self, app: ASGIApp, guard: RequestGuard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._guard.refusal(_request(scope))
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(POLICY_VIOLATION, refusal.reason)(scope, receive, send)
        else:
            await PlainTextResponse(f"{refusal.reason}\n", refusal.status)(scope, receive, send)


def _request(scope: Scope) -> Request:
    return Request(
        scope.get("method", "GET"),
        scope["path"],
        scope["query_string"].decode("latin-1"),
        [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]],
        websocket=scope["type"] == "websocket",
    )


def serve_webserver(arguments: Sequence[str]) -> None:
    """Run ``dagster-webserver`` with the guard before it."""
    from hvac_platform.runtime.dagster_private import run_webserver  # Dagster takes a while to load

    guard = RequestGuard(load_settings().allowed_hosts)
    run_webserver(arguments, lambda app: GuardedApp(app, guard))


def serve_dev(arguments: Sequence[str]) -> None:
    """Run ``dagster dev``, which starts the guarded web server in place of its own, and ends runs before it ends."""
    from hvac_platform.runtime.dagster_private import run_dev
    from hvac_platform.runtime.ending_runs import end_runs

    def before_the_end(instance: DagsterInstance) -> None:
        try:
            left = end_runs(instance)
        except Exception as error:  # whatever it is, the code servers have to be ended
            left = [f"{type(error).__name__}: {error}"]
        if left:
            print(f"hvac: runs that did not end when they were asked to: {', '.join(left)}", file=sys.stderr)

    run_dev(arguments, guarded_command, before_the_end)


def guarded_command(parts: Sequence[str]) -> list[str]:
    """The command of a process of Dagster, with the guarded web server for its own.

    >>> guarded_command(["python", "-m", "dagster_webserver", "--port", "3000"])
    ['python', '-m', 'hvac_platform.runtime.guarded_dagster', 'webserver', '--port', '3000']
    """
    match list(parts):
        case [python, "-m", "dagster_webserver", *rest]:
            return [python, "-m", "hvac_platform.runtime.guarded_dagster", "webserver", *rest]
    return list(parts)


def main() -> None:
    """Run the service that the first argument names."""
    services = {"dev": serve_dev, "webserver": serve_webserver}
    name, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    if name not in services:
        sys.exit(f"usage: python -m hvac_platform.runtime.guarded_dagster {'|'.join(services)} [options of Dagster]")
    one_thread()
    try:
        services[name](arguments)
    except ConfigError as error:
        sys.exit(f"hvac: {error}")


if __name__ == "__main__":
    main()
