"""Ctrl-C, a closed terminal and a polite kill that work wherever a command was started from."""

from __future__ import annotations

import signal

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that ask a command to stop: Ctrl-C, kill, a terminal that was closed."""


def stop_on_signals() -> None:
    """Make the stopping signals raise KeyboardInterrupt here, also where SIGINT was inherited as ignored.

    A SIGHUP that was inherited as ignored stays so: ``nohup`` asks for that.
    """

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for number in STOPPING:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def ignore_hangup() -> None:
    """Let a closed terminal no longer interrupt, as what follows must be done to its end."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
