"""Sessions of browsers: a random id in a cookie for a user's name, kept in this process and lost with it."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

LASTS_SECONDS = 12 * 3600.0
MOST_SESSIONS = 1_000
MOST_FAILURES, FAILURES_SECONDS = 10, 60.0
MOST_ADDRESSES = 1_000


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


class Failures:
    """Tokens that were wrong, by address: after ten within a minute an address waits.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._of: OrderedDict[str, deque[float]] = OrderedDict()

    def note(self, address: str) -> None:
        """One more."""
        with self._lock:
            self._of.setdefault(address, deque(maxlen=MOST_FAILURES)).append(self._clock())
            self._of.move_to_end(address)
            while len(self._of) > MOST_ADDRESSES:
                self._of.popitem(last=False)

    def wait_seconds(self, address: str) -> float:
        """How long an address must wait; 0 where it need not."""
        with self._lock:
            times = self._of.get(address)
            if times is None or len(times) < MOST_FAILURES:
                return 0.0
            return max(0.0, times[0] + FAILURES_SECONDS - self._clock())
