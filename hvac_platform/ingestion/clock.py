"""Whether this machine's clock can be trusted, judged by what devices say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hvac_platform.ingestion.messages import MAX_AHEAD_MS, Rejected
from hvac_platform.stores.base import Device
from hvac_platform.timestamps import iso


class ClockError(Exception):
    """This machine's clock can't be right, so nothing can be said of the times of messages."""


FEWEST_AHEAD = 10
"""So few messages from the future are a device's own mistake."""
RECENT_MS = 15 * 60_000


def require_right_clock(
    partition: int, rejected: Sequence[Rejected], messages: int, devices: Callable[[], Sequence[Device]], now_ms: int
) -> None:
    """Check that it is not this machine's clock that makes messages seem to come from the future.

    A machine that wakes with its clock days behind would reject everything that arrives, and count it as done. So where
    most of a batch is ahead of the clock, the clock must be confirmed by a device: one that was heard within the last
    quarter of an hour, while none was heard in what the clock calls the future.

    Args:
        partition: of the topic.
        rejected: messages of the batch that are no good.
        messages: how many there are in the batch.
        devices: gives the registry.
        now_ms: what the clock says.

    Raises:
        ClockError: the clock may be wrong; says what to do.
    """
    ahead = [bad for bad in rejected if bad.ahead]
    if len(ahead) < FEWEST_AHEAD or 2 * len(ahead) <= messages:
        return
    seen = [d.last_seen for d in devices()]
    recent = any(now_ms - RECENT_MS <= at <= now_ms + MAX_AHEAD_MS for at in seen)
    if recent and not any(at > now_ms + MAX_AHEAD_MS for at in seen):
        return
    raise ClockError(
        f"{len(ahead)} of {messages} messages of partition {partition} are more than an hour ahead of this machine's clock, "
        f"which says {iso(now_ms)}; nothing of them was taken or rejected. Set the clock right and ingestion goes on by "
        "itself; if it is the producers' clocks that are wrong, hvac ingest --reject-ahead puts the messages aside"
    )
