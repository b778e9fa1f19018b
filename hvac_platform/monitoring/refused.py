"""Dead letters, counted by what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import chain, islice

from hvac_platform.stores.base import Store
from hvac_platform.stores.records import DeadLetter
from hvac_platform.timestamps import DAY_MS, day_of

MOST_READ = 500_000
"""Dead letters that are looked at; a count of so many is a count of at least so many."""
MOST_DEVICES = 10
MOST_OF_A_DAY, MOST_DAYS = 50_000, 2
"""Letters of a day, and days, that are looked at for what was refused of a point; the newest days count."""
_VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|\d[\d.,:TZ+-]*")
"""What differs between reasons of one kind: what was sent, numbers and times."""


@dataclass(slots=True)
class Refusal:
    """Dead letters of one kind.

    Attributes:
        reason: of the first of them, as an example.
        count: how many.
        devices: keys of some of them, which is the device where the producer says so.
        last_at: when the last one was refused, epoch milliseconds.
    """

    reason: str
    count: int = 0
    devices: set[str] = field(default_factory=set)
    last_at: int = 0


def refusals(store: Store, *, since_ms: int | None = None, by_device: bool = False) -> list[Refusal]:
    """Dead letters by kind of reason, most frequent first.

    Args:
        store: where they are.
        since_ms: only those that were refused from here on.
        by_device: those of each device apart.
    """
    found: dict[tuple[str, str], Refusal] = {}
    read = 0
    for batch in DeadLetter.batches(store, only=("record_key", "reason", "rejected_at")):
        for letter in batch:
            if since_ms is not None and letter.rejected_at < since_ms:
                continue
            device_id = (letter.record_key or b"").decode(errors="replace")
            named = _VARYING.sub("…", letter.reason), device_id if by_device else ""
            kind = found.setdefault(named, Refusal(letter.reason))
            kind.count += 1
            kind.last_at = max(kind.last_at, letter.rejected_at)
            if len(kind.devices) < MOST_DEVICES:
                kind.devices.add(device_id or "-")
        read += len(batch)
        if read >= MOST_READ:
            break
    return sorted(found.values(), key=lambda kind: -kind.count)


def refused_points(
    store: Store, device_id: str, metrics: Collection[str], start_ms: int, end_ms: int
) -> dict[str, str]:
    """Why readings of some points of a device were refused in a span, by metric, as far as the reason names the metric."""
    found: dict[str, str] = {}
    days = range(max(start_ms, end_ms - MOST_DAYS * DAY_MS) // DAY_MS, end_ms // DAY_MS + 1)
    only = ("record_key", "record_time", "reason")
    for day in days:
        batches = DeadLetter.batches(store, only=only, equals={"date": day_of(day * DAY_MS)})
        for letter in islice(chain.from_iterable(batches), MOST_OF_A_DAY):
            if (letter.record_key or b"").decode(errors="replace") != device_id:
                continue
            if start_ms <= letter.record_time < end_ms:
                words = set(re.findall(r"\w+", letter.reason))
                found |= {metric: letter.reason for metric in metrics if metric in words and metric not in found}
        if len(found) == len(metrics):
            break
    return found
