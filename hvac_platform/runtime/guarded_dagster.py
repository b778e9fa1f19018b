"""Dagster's services with the request guard before their web pages, so that no unguarded port is behind it.

``python -m hvac_platform.runtime.guarded_dagster dev …`` is ``dagster dev``, ``… webserver …`` is ``dagster-webserver``;
both take the options of what they stand for. Dagster offers no place for this, so names of its modules are replaced here
and nowhere else. A name that a newer Dagster no longer has ends the start; the pages are never served without the guard.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from hvac_platform.config import ConfigError, load_settings
from hvac_platform.runtime.request_guard import Request, RequestGuard

CHECKED_VERSION = "1.13.27"
"""Version of Dagster whose modules were read for this."""
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
    cli: Any = import_module("dagster_webserver.cli")
    guard = RequestGuard(load_settings().allowed_hosts)
    make_app = cli.create_app_from_workspace_process_context

    def make_guarded_app(*positional: Any, **named: Any) -> GuardedApp:
        return GuardedApp(make_app(*positional, **named), guard)

    cli.create_app_from_workspace_process_context = make_guarded_app
    cli.dagster_webserver.main(list(arguments), "dagster-webserver", auto_envvar_prefix="DAGSTER_WEBSERVER")


def serve_dev(arguments: Sequence[str]) -> None:
    """Run ``dagster dev``, which starts the guarded web server in place of its own."""
    dev: Any = import_module("dagster._cli.dev")
    open_subprocess = dev.open_ipc_subprocess

    def open_guarded(parts: Sequence[str], **named: Any) -> Any:
        return open_subprocess(guarded_command(parts), **named)

    dev.open_ipc_subprocess = open_guarded
    dev.dev_command.main(list(arguments), "dagster dev")


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
    try:
        services[name](arguments)
    except ConfigError as error:
        sys.exit(f"hvac: {error}")


if __name__ == "__main__":
    main()
