"""Serve the dashboard: waitress, or Flask's own server with Dash's tools for who works on it."""

from __future__ import annotations

import ipaddress
import logging

import waitress

from hvac_platform.config import Settings
from hvac_platform.dashboard.app import make_app

THREADS = 4


class DashboardError(Exception):
    """The dashboard can't be served; the message says what to do."""


def is_loopback(host: str) -> bool:
    """Whether a host is this machine only.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(settings: Settings, host: str, port: int, *, debug: bool = False) -> None:
    """Serve until interrupted.

    Raises:
        DashboardError: the port is in use, or debugging was asked for on an address that others can reach.
    """
    if debug and not is_loopback(host):
        raise DashboardError("--debug lets who reaches the port run code: use it on 127.0.0.1 only")
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a page asks several things at once, which is no news
    app = make_app(settings)
    try:
        if debug:
            # The check for newer versions would ask a server elsewhere.
            app.run(host=host, port=str(port), debug=True, dev_tools_disable_version_check=True)
        else:
            waitress.serve(app.server, host=host, port=port, threads=THREADS, ident=None, _quiet=True)
    except OSError as error:
        raise DashboardError(
            f"can't listen on {host}:{port}: {error.strerror or error}; choose another port with --port"
        ) from None
