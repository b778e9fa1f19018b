"""What a receiver answers, and what goes wrong on the way to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hvac_platform.alerts.messages import Message


class DeliveryError(Exception):
    """A message was not taken; the text says why.

    Attributes:
        everything: whether the receiver can't be reached at all, so that other messages would fare the same.
        retry_after_ms: how long the receiver asked to be left alone; 0 where it didn't say.
    """

    def __init__(self, said: str, *, everything: bool, retry_after_ms: int = 0) -> None:
        super().__init__(said)
        self.everything, self.retry_after_ms = everything, retry_after_ms


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said when it took a message.

    Attributes:
        reference: what it calls it there, such as the number of a work order; empty where it named none.
    """

    reference: str = ""


class Sender(Protocol):
    """A way to one receiver."""

    def send(self, message: Message) -> Answer:
        """Send; returns once the receiver has taken it.

        Raises:
            DeliveryError: it was not taken.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
