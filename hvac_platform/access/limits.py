"""How often something may happen, by who or where it comes from."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

MOST_KEYS = 1_000


class Limit:
    """So many times within so many seconds; after that a key waits.

    Args:
        most: so many times.
        seconds: within so many.
        clock: seconds that only go forward.
    """

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds = most, seconds
        self._clock, self._lock = clock, threading.Lock()
        self._of: OrderedDict[str, deque[float]] = OrderedDict()

    def note(self, key: str) -> None:
        """It happened once more."""
        with self._lock:
            self._of.setdefault(key, deque(maxlen=self._most)).append(self._clock())
            self._of.move_to_end(key)
            while len(self._of) > MOST_KEYS:
                self._of.popitem(last=False)

    def wait_seconds(self, key: str) -> float:
        """How long a key must wait; 0 where it need not."""
        with self._lock:
            times = self._of.get(key)
            if times is None or len(times) < self._most:
                return 0.0
            return max(0.0, times[0] + self._seconds - self._clock())
