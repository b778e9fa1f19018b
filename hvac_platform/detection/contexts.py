"""Contexts of the clock: half-hours in which normal rows are odder than at other times, such as daily start-ups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from hvac_platform.detection.alarms import gumbel_limit

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

SLOT_MS, SLOTS, DAY_MS = 1_800_000, 48, 86_400_000
QUARTER_MS = 900_000
"""Clocks change at whole quarters of an hour."""
LEAST_DAYS = 4
"""Fewer days of a kind don't show what recurs on them."""
SATURDAY, EPOCH_WEEKDAY = 5, 3
LEAST_SHARE_OF_LIMIT = 0.7
"""A half-hour counts where on half of the days its oddest row comes as near to the limit."""
MOST_FACTOR = 2.5
"""More would hide small faults at these hours: with 4, one of 612 of a tenth of the usual size, of seeds 101 to 144."""


def _flat() -> Float64:
    return np.ones((2, SLOTS))


@dataclass(frozen=True, slots=True)
class Contexts:
    """By how much more surprise is usual in each half-hour of the local day: on working days, and at weekends.

    Attributes:
        timezone: IANA name; half-hours are those of its local time.
        now: float64 [2, 48], factors from 1 to 2.5 on the surprise of a row, on working days and at weekends.
        sustained: float64 [2, 48], the same for averages.
    """

    timezone: str = "UTC"
    now: Float64 = field(default_factory=_flat)
    sustained: Float64 = field(default_factory=_flat)

    @property
    def flat(self) -> bool:
        """Whether all half-hours are alike."""
        return bool((self.now == 1.0).all() and (self.sustained == 1.0).all())

    def factors(self, times_ms: Int64) -> Float64:
        """Factors of both alarms at each time, float64 [n, 2]."""
        if self.flat:
            return np.ones((len(times_ms), 2))
        weekend, slot, _ = local_slots(times_ms, self.timezone)
        return np.stack([self.now[weekend, slot], self.sustained[weekend, slot]], axis=1)


def local_slots(times_ms: Int64, timezone: str) -> tuple[Int64, Int64, Int64]:
    """Whether each time is at a weekend (0 or 1), its half-hour of the day, and its day; local, int64 [n] each.

    >>> sunday = 1_783_209_600_000 + np.array([0, 1_800_000])  # 2026-07-05 00:00 UTC
    >>> [part.tolist() for part in local_slots(sunday, "America/Chicago")[:2]]
    [[1, 1], [38, 39]]
    """
    local_ms = times_ms + _offsets_ms(times_ms, timezone)
    day = local_ms // DAY_MS
    weekend = ((day + EPOCH_WEEKDAY) % 7 >= SATURDAY).astype(np.int64)
    return weekend, local_ms % DAY_MS // SLOT_MS, day


def _offsets_ms(times_ms: Int64, timezone: str) -> Int64:
    """Local time less UTC, int64 [n]."""
    if timezone == "UTC":
        return np.zeros(len(times_ms), dtype=np.int64)
    zone = ZoneInfo(timezone)
    quarters, which = np.unique(times_ms // QUARTER_MS, return_inverse=True)
    moments = [datetime.fromtimestamp(int(q) * QUARTER_MS / 1000.0, UTC).astimezone(zone) for q in quarters]
    offsets = [0 if (o := m.utcoffset()) is None else round(o.total_seconds() * 1000.0) for m in moments]
    return np.array(offsets, dtype=np.int64)[which]


def slot_factors(times_ms: Int64, timezone: str) -> Callable[[Float64, float], Float64]:
    """How to get the factors of one alarm from levels at ``times_ms`` [n] and the limit that they are held to.

    In each half-hour, the largest level of every day, its neighbours' included since a start-up keeps no exact time,
    follows a Gumbel distribution; the factor is its high quantile over the limit. A few faulty days hardly move its
    quartiles. Working days and weekends have their own where four days of the kind were seen, else those of all days.

    Args:
        times_ms: int64 [n].
        timezone: IANA name.
    """
    _, slot, day = local_slots(times_ms, timezone)
    days, which = np.unique(day, return_inverse=True)
    at_weekend = (days + EPOCH_WEEKDAY) % 7 >= SATURDAY

    def factors(level: Float64, limit: float) -> Float64:
        maxima = np.full((len(days), SLOTS), -np.inf)
        np.maximum.at(maxima, (which, slot), level)
        seen = np.isfinite(maxima)
        around = np.maximum.reduce([maxima, np.roll(maxima, 1, axis=1), np.roll(maxima, -1, axis=1)])
        result = np.ones((2, SLOTS))
        for kind, mine in enumerate((~at_weekend, at_weekend)):
            for s in range(SLOTS):
                chosen = mine & seen[:, s]
                if chosen.sum() < LEAST_DAYS:
                    chosen = seen[:, s]
                if chosen.sum() < LEAST_DAYS:
                    continue
                values = around[chosen, s]
                if np.median(values) >= LEAST_SHARE_OF_LIMIT * limit:
                    high = gumbel_limit(values, 1.0 / (3.0 * len(values)))
                    result[kind, s] = np.clip(high / limit, 1.0, MOST_FACTOR)
        return result

    return factors
