"""As of when upkeep deletes: never by a clock alone that may be wrong."""

from __future__ import annotations

from hvac_platform.stores.base import Store
from hvac_platform.timestamps import DAY_MS, iso

REACHED = "upkeep_reached"
REFUSED = "upkeep_jumps_refused"
LONGEST_STEP_MS = 2 * DAY_MS
REFUSALS = 24
"""Upkeep goes every hour, so a jump that lasts for a day is believed."""


def upkeep_time(store: Store, now_ms: int, *, accept_jump: bool = False) -> tuple[int, str | None]:
    """The instant as of which rows and records may be called old.

    It is the earlier of the clock and the newest reading, so that a clock far ahead deletes nothing that the data don't
    bear out. When that has jumped by more than two days since the last upkeep, as after a long standstill or with a clock
    and a device that are both wrong, it stays where it was for a day, or until ``accept_jump`` says that it is right.

    Returns:
        Epoch milliseconds, and what is to be told as an error where time has jumped.
    """
    newest = max((device.last_seen for device in store.devices()), default=now_ms)
    at = min(now_ms, newest)
    remembered = store.remembered()
    before, refused = int(remembered.get(REACHED, at)), int(remembered.get(REFUSED, 0))
    if at - before > LONGEST_STEP_MS and not accept_jump and refused < REFUSALS:
        store.remember(REFUSED, str(refused + 1))
        return before, (
            f"time has jumped from {iso(before)} to {iso(at)} since the last upkeep, so nothing is deleted by the new time "
            f"yet ({refused + 1} of {REFUSALS} times): check this machine's clock. If it is right, launch the job "
            "housekeeping with accept_jump: true, or let a day pass"
        )
    if at > before or REACHED not in remembered:
        store.remember(REACHED, str(at))
    if refused:
        store.remember(REFUSED, "0")
    return at, None


def reached(store: Store, now_ms: int) -> int:
    """The instant as of which the last upkeep deleted; the earlier of the clock and the newest reading before the first."""
    newest = max((device.last_seen for device in store.devices()), default=now_ms)
    return int(store.remembered().get(REACHED, min(now_ms, newest)))
