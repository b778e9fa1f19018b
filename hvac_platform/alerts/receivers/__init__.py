"""The ways to a receiver: services through apprise, mail, signed webhooks, the console."""

from __future__ import annotations

from collections.abc import Callable

from hvac_platform.alerts.messages import Message
from hvac_platform.alerts.receivers.answers import Answer, DeliveryError, Sender
from hvac_platform.alerts.tree import Receiver
from hvac_platform.visible_text import visible_lines

__all__ = ["Answer", "DeliveryError", "Sender", "make_sender"]


def make_sender(name: str, receiver: Receiver, write: Callable[[str], object] = print) -> Sender:
    """What sends to a receiver; libraries are loaded here, where they are wanted.

    Args:
        name: of the receiver.
        receiver: as the file has it.
        write: where the console's messages go.
    """
    if receiver.email is not None:
        from hvac_platform.alerts.receivers.email import EmailSender

        return EmailSender(receiver.email)
    if receiver.webhook is not None:
        from hvac_platform.alerts.receivers.webhook import WebhookSender

        return WebhookSender(receiver.webhook)
    if receiver.apprise is not None:
        from hvac_platform.alerts.receivers.services import ServiceSender

        return ServiceSender(receiver.apprise)
    return _Console(name, write)


class _Console:
    """Prints."""

    def __init__(self, name: str, write: Callable[[str], object]) -> None:
        self._name, self._write = name, write

    def send(self, message: Message) -> Answer:
        """Title and text."""
        body = "\n".join(f"  {line}" for line in message.text().splitlines())
        self._write(visible_lines(f"{message.title}\n{body}"))
        return Answer()

    def close(self) -> None:
        """Nothing is open."""
