"""Ctrl-C that works wherever a command was started from."""

from __future__ import annotations

import signal


def stop_on_signals() -> None:
    """Make SIGINT and SIGTERM raise KeyboardInterrupt here, also where SIGINT was inherited as ignored."""

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
