"""UTC days and instants: int64 milliseconds inside, timezone-aware at the edges."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

DAY_MS = 86_400_000


def now_ms() -> int:
    """The present in epoch milliseconds."""
    return int(datetime.now(tz=UTC).timestamp() * 1000)


def to_ms(instant: datetime) -> int:
    """Epoch milliseconds of a datetime; a naive one is taken as UTC."""
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


def to_datetime(milliseconds: int) -> datetime:
    """Timezone-aware UTC datetime.

    >>> to_datetime(0).isoformat()
    '1970-01-01T00:00:00+00:00'
    """
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def iso(milliseconds: int) -> str:
    """Time for people, to the second.

    >>> iso(1_000), iso(-62_135_596_800_000)
    ('1970-01-01 00:00:01Z', '0001-01-01 00:00:00Z')
    """
    return f"{to_datetime(milliseconds).replace(tzinfo=None).isoformat(' ', 'seconds')}Z"


def parse_instant(text: str) -> int:
    """Epoch milliseconds of an ISO 8601 date or time; without an offset it is UTC.

    Raises:
        ValueError: it is not one, or none in UTC, whose years are 1 to 9999 too.

    >>> parse_instant("1970-01-02")
    86400000
    """
    found = to_ms(datetime.fromisoformat(text))
    to_datetime(found)
    return found


def day_of(milliseconds: int) -> str:
    """UTC day of an instant.

    >>> day_of(86_400_000)
    '1970-01-02'
    """
    return to_datetime(milliseconds).date().isoformat()


def day_start(date: str) -> int:
    """Epoch milliseconds of the midnight that begins a UTC day.

    >>> day_start("1970-01-02")
    86400000
    """
    return to_ms(datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC))


def days_between(start: str, end: str) -> list[str]:
    """UTC days from one to another, both included.

    >>> days_between("2026-02-28", "2026-03-01")
    ['2026-02-28', '2026-03-01']
    """
    first, last = day_start(start), day_start(end)
    return [day_of(t) for t in range(first, last + 1, DAY_MS)]


def day_labels(times_ms: NDArray[np.int64]) -> list[str]:
    """UTC day of each instant, int64 [n].

    >>> day_labels(np.array([86_400_000, 0, 5]))
    ['1970-01-02', '1970-01-01', '1970-01-01']
    """
    distinct, of = np.unique(times_ms // DAY_MS, return_inverse=True)
    names = [day_of(day * DAY_MS) for day in distinct.tolist()]
    return [names[place] for place in of.tolist()]


def days_of(times_ms: NDArray[np.int64]) -> list[str]:
    """The distinct UTC days of some instants, in order."""
    return [day_of(int(d) * DAY_MS) for d in np.unique(times_ms // DAY_MS)]


def divides_day(window_ms: int) -> bool:
    """Whether windows of a length fill each UTC day evenly, each a second long at least.

    >>> divides_day(300_000), divides_day(420_000), divides_day(500)
    (True, False, False)
    """
    return 1_000 <= window_ms <= DAY_MS and DAY_MS % window_ms == 0


def window_floor(times_ms: NDArray[np.int64], window_ms: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """Start of the window, aligned to the epoch, that holds each instant; of one length for all, or one for each."""
    floored: NDArray[np.int64] = times_ms - times_ms % window_ms
    return floored


def days_before(date: str, days: int) -> str:
    """The UTC day that many days earlier.

    >>> days_before("2026-03-01", 1)
    '2026-02-28'
    """
    return day_of(to_ms(to_datetime(day_start(date)) - timedelta(days=days)))


def day_windows(date: str, window_ms: int) -> tuple[int, int]:
    """Half-open range of the window starts that belong to a UTC day: a window is of the day it starts in.

    >>> day_windows("1970-01-02", 7_000)
    (86401000, 172802000)
    """
    first = -(-day_start(date) // window_ms) * window_ms
    last = -(-(day_start(date) + DAY_MS) // window_ms) * window_ms
    return first, last
