"""Delivery beside work that goes on: a thread with a store of its own, woken when something was written."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from hvac_platform.alerts.delivery import Deliverer, Sent
from hvac_platform.config import Settings
from hvac_platform.stores.base import Store

LAST_SECONDS = 10.0
"""What the work wrote last is sent before its run ends, if it takes no longer."""
MOST_LINES = 200


class StandingDelivery:
    """Delivers in a thread until it is stopped. Without a file of alerts it does nothing.

    Args:
        settings: where the routing tree is.
        open_store: gives the thread its store.
        write: where the console's messages go.
    """

    def __init__(
        self, settings: Settings, open_store: Callable[[], Store], *, write: Callable[[str], object] = print
    ) -> None:
        self._settings, self._open_store, self._write = settings, open_store, write
        self._stop = threading.Event()
        self._deliverer: Deliverer | None = None
        self._thread: threading.Thread | None = None
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self.sent = 0

    def start(self) -> None:
        """Begin."""
        if self._settings.hvac_alerts is not None:
            self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Look at once: something was written."""
        if self._deliverer is not None:
            self._deliverer.wake()

    def lines(self) -> list[str]:
        """What is to be told since this was asked last: messages that were sent, and troubles."""
        found = []
        while self._lines:
            found.append(self._lines.popleft())
        return found

    def stop(self) -> None:
        """Send what was written last, and end."""
        self._stop.set()
        self.wake()
        if self._thread is not None:
            self._thread.join(LAST_SECONDS + 25.0)

    def _run(self) -> None:
        try:
            self._deliverer = Deliverer(
                self._open_store(),
                self._settings,
                write=self._write,
                on_sent=self._tell,
                on_trouble=lambda line: self._lines.append(f"alerts: {line}"),
            )
            self._deliverer.run(self._stop)
            self._deliverer.deliver_everything(LAST_SECONDS)
            self._deliverer.close()
        except Exception as error:  # the work beside it goes on; a sensor sends what lies
            self._lines.append(f"alerts: {type(error).__name__}: {error}; the sensor alert_delivery goes on")

    def _tell(self, sent: Sent) -> None:
        self.sent += 1
        self._lines.append(told(sent))


def told(sent: Sent) -> str:
    """A message that was sent, in a line.

    The number of a work order stands behind it.
    """
    reference = f" ({sent.reference})" if sent.reference else ""
    return f"sent to {sent.row.receiver}{reference}: {sent.title}"
