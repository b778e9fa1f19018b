"""Sessions of browsers: a random id in a cookie for who logged in, kept in this process and lost with it."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

LASTS_SECONDS = 12 * 3600.0
MOST_SESSIONS = 1_000


@dataclass(frozen=True, slots=True)
class Session:
    """Who logged in, and by what.

    Attributes:
        name: of the user.
        proof: hash of the token or of the password that they logged in with; with another one the session is over.
    """

    name: str
    proof: str


class Sessions:
    """Which browser is whose.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._open: OrderedDict[str, tuple[Session, float]] = OrderedDict()

    def begin(self, session: Session) -> str:
        """Begin a session; returns its id. The oldest of too many end."""
        session_id = secrets.token_urlsafe(32)
        with self._lock:
            self._open[session_id] = session, self._clock() + LASTS_SECONDS
            while len(self._open) > MOST_SESSIONS:
                self._open.popitem(last=False)
        return session_id

    def find(self, session_id: str) -> Session | None:
        """The session of an id; None where it has ended."""
        with self._lock:
            session, until = self._open.get(session_id, (None, 0.0))
            if session is not None and self._clock() > until:
                del self._open[session_id]
                return None
            return session

    def end(self, session_id: str) -> None:
        """End a session, if it is one."""
        with self._lock:
            self._open.pop(session_id, None)
