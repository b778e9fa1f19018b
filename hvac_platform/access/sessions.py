"""Sessions of browsers: a random id in a cookie for a user's name, kept in this process and lost with it."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

LASTS_SECONDS = 12 * 3600.0
MOST_SESSIONS = 1_000


class Sessions:
    """Which browser is whose.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._open: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def begin(self, name: str) -> str:
        """Begin a session of a user; returns its id. The oldest of too many end."""
        session = secrets.token_urlsafe(32)
        with self._lock:
            self._open[session] = name, self._clock() + LASTS_SECONDS
            while len(self._open) > MOST_SESSIONS:
                self._open.popitem(last=False)
        return session

    def name_of(self, session: str) -> str | None:
        """Whose session it is; None where it has ended."""
        with self._lock:
            name, until = self._open.get(session, (None, 0.0))
            if name is not None and self._clock() > until:
                del self._open[session]
                return None
            return name

    def end(self, session: str) -> None:
        """End a session, if it is one."""
        with self._lock:
            self._open.pop(session, None)
