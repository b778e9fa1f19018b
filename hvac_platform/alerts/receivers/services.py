"""Services of others (ntfy, Slack, Teams, Telegram, PagerDuty and over a hundred more) through apprise."""

from __future__ import annotations

import re
import threading
from typing import Any

from pydantic import SecretStr

from hvac_platform.alerts.messages import Message
from hvac_platform.alerts.receivers.answers import Answer, DeliveryError

_one_at_a_time = threading.Lock()
"""What apprise has to say goes to one log; whose failure it was is known only so."""


class ServiceSender:
    """One address of apprise."""

    def __init__(self, url: SecretStr) -> None:
        import apprise  # takes a sixth of a second to load

        self._apprise: Any = apprise
        self._service = apprise.Apprise()
        # Its word for a title that a service can't show, and no reading of files that a text may name.
        self._service.asset = apprise.AppriseAsset(app_id="HVAC platform", app_desc="HVAC platform", app_url="")
        if not self._service.add(url.get_secret_value()):
            raise DeliveryError("apprise doesn't know such an address", everything=True)

    def send(self, message: Message) -> Answer:
        """Title and text, in the service's own way.

        Raises:
            DeliveryError: the service did not take it.
        """
        kind = {"critical": self._apprise.NotifyType.FAILURE, "warning": self._apprise.NotifyType.WARNING}
        over = message.base in ("resolved", "taken_back", "false_alarm")
        of_kind = (
            self._apprise.NotifyType.SUCCESS if over else kind.get(message.severity, self._apprise.NotifyType.INFO)
        )
        with (
            _one_at_a_time,
            self._apprise.LogCapture(level=self._apprise.logging.WARNING, fmt="%(message)s") as said,
        ):
            taken = self._service.notify(
                title=message.title,
                body=message.text(),
                notify_type=of_kind,
                body_format=self._apprise.NotifyFormat.TEXT,
            )
            told = " ".join(said.getvalue().split())
        if not taken:
            raise DeliveryError(told[:500] or "the service did not take it", everything=not _of_this_one(told))
        return Answer()

    def close(self) -> None:
        """Nothing stays open."""


def _of_this_one(said: str) -> bool:
    """Whether it is this message that a service refuses, as far as apprise says: others may fare better.

    >>> _of_this_one("Failed to send ntfy notification: Bad Request, error=400."), _of_this_one("A Connection error.")
    (True, False)
    """
    found = re.search(r"error=(\d{3})", said)
    return found is not None and found[1].startswith("4") and found[1] not in ("401", "403", "404", "408", "429")
