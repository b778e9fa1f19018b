"""Serve the dashboard: waitress, or Flask's own server with Dash's tools for who works on it."""

from __future__ import annotations

import json
import logging
import resource
import socket

import waitress
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError, TransferEncodingNotImplemented
from waitress.task import ErrorTask
from waitress.utilities import RequestHeaderFieldsTooLarge

from hvac_platform.api.problems import PROBLEM
from hvac_platform.config import Settings
from hvac_platform.dashboard.app import make_app
from hvac_platform.dashboard.front import LONGEST_BODY
from hvac_platform.dashboard.log_lines import log_bounded
from hvac_platform.garbage import look_for_garbage_seldom
from hvac_platform.hosts import is_loopback_name
from hvac_platform.runtime.port_owner import port_owner

THREADS = 4
CONNECTIONS = 1000
"""Open connections; a half-open one that has sent no whole request counts too, until it is closed."""
SILENT_SECONDS = 15
"""After so long without a byte a connection that waits for nothing is closed; a browser opens another when it asks."""
CLEANING_SECONDS = 5
LONGEST_HEADERS = 32_768
READ_AWAY = 4 * LONGEST_BODY
"""Bytes of a body that are read although they are refused: who is still sending when the connection ends never sees why."""
OTHER_FILES = 200
"""Descriptors beside connections: store, log, libraries."""


class DashboardError(Exception):
    """The dashboard can't be served; the message says what to do."""


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """Reads requests as waitress does; a transfer coding that it doesn't know is a fault of who sent it (400), not 501.

    Attributes:
        path: of the request; empty where it couldn't be read, which waitress looks at when who sent it has gone.
    """

    path = ""

    def parse_header(self, header_plus: bytes) -> None:
        """Read the first line and the headers.

        Raises:
            ParsingError: they can't be read.
        """
        try:
            super().parse_header(header_plus)
        except TransferEncodingNotImplemented as error:
            raise ParsingError(str(error)) from None


class RefusalTask(ErrorTask):  # type: ignore[misc]
    """Answers what could not even be read, such as headers that are too long, as the API answers what is wrong."""

    def execute(self) -> None:
        """Write the answer and end the connection."""
        error = self.request.error
        told = " ".join(str(error.body).split())[:300]
        if isinstance(error, RequestHeaderFieldsTooLarge):
            told = f"the headers are longer than {LONGEST_HEADERS:,} bytes"
        document = {"type": "about:blank", "title": error.reason, "status": error.code, "detail": told}
        body = json.dumps(document).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", PROBLEM))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


def serve(settings: Settings, host: str, port: int, *, debug: bool = False) -> None:
    """Serve until interrupted.

    Raises:
        DashboardError: the port is in use, or debugging was asked for on an address that others can reach.
    """
    if debug and not is_loopback_name(host):
        raise DashboardError("--debug lets who reaches the port run code: use it on 127.0.0.1 only")
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a page asks several things at once, which is no news
    log_bounded()
    HTTPChannel.parser_class, HTTPChannel.error_task_class = Parser, RefusalTask
    app = make_app(settings, host=host)
    try:
        if debug:
            # The check for newer versions would ask a server elsewhere.
            app.run(host=host, port=str(port), debug=True, dev_tools_disable_version_check=True)
        else:
            look_for_garbage_seldom()
            waitress.serve(
                app.server,
                host=host,
                port=port,
                threads=THREADS,
                ident=None,
                connection_limit=most_connections(),
                backlog=CONNECTIONS,
                channel_timeout=SILENT_SECONDS,
                cleanup_interval=CLEANING_SECONDS,
                asyncore_use_poll=True,  # select ends at descriptor 1,024
                max_request_body_size=READ_AWAY,
                max_request_header_size=LONGEST_HEADERS,
                _quiet=True,
            )
    except OSError as error:
        raise _taken(host, port, error) from None


def require_free(host: str, port: int) -> None:
    """Check that an address can be listened on.

    Raises:
        DashboardError: it can't; says who has it.
    """
    try:
        for family, kind, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        raise _taken(host, port, error) from None


def _taken(host: str, port: int, error: OSError) -> DashboardError:
    owner = port_owner(port)
    by = f" by {owner}" if owner is not None else ""
    return DashboardError(
        f"can't listen on {host}:{port}: {error.strerror or error}{by}; choose another port with --port"
    )


def most_connections() -> int:
    """How many connections may be open: as many as wanted, or as the limit of open files leaves room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return CONNECTIONS if soft == resource.RLIM_INFINITY else max(100, min(CONNECTIONS, soft - OTHER_FILES))
