"""When a site is in use: local time with daylight saving, days without work, and schedules that are changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
#: Clocks change at whole quarters of an hour.
_QUARTER_MS = 900_000
_NIGHT_HOUR = 2.0
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday


@dataclass(frozen=True, slots=True)
class ScheduleChange:
    """From ``from_ms`` (epoch milliseconds UTC) on, everything begins and ends ``hours_earlier`` than first set."""

    from_ms: int
    hours_earlier: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """The clock that a site's machines and people go by.

    Attributes:
        timezone: IANA name; local time follows its daylight saving.
        working_days: days of the week with work, 0 Monday to 6 Sunday; on others it stays night for the machines.
        holidays: further local days without work.
        changes: in order of time; the latest holds. At most two hours either way, so that nights stay nights.

    Raises:
        ValueError: an unknown timezone, a day of the week that isn't one, or a change of more than two hours.
    """

    timezone: str = "UTC"
    working_days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    holidays: tuple[date, ...] = ()
    changes: tuple[ScheduleChange, ...] = ()

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError) as error:
            raise ValueError(f"no timezone {self.timezone!r}: use an IANA name such as America/Chicago") from error
        if strange := [day for day in self.working_days if not 0 <= day <= 6]:
            raise ValueError(f"no day of the week: {strange}; days go from 0 (Monday) to 6 (Sunday)")
        if any(abs(change.hours_earlier) > 2.0 for change in self.changes):
            raise ValueError("a schedule changes by two hours at most")

    def hours(self, times_ms: Int64) -> Float64:
        """Hour of the day by the schedule's clock, 0 <= hour < 24, at ascending ``times_ms`` [t]; float64 [t].

        >>> office = Schedule("America/Chicago", working_days=(0, 1, 2, 3, 4))
        >>> noon_utc = int(datetime(2026, 7, 6, 12, tzinfo=UTC).timestamp() * 1000)  # a Monday
        >>> office.hours(np.array([noon_utc, noon_utc + 5 * 86_400_000])).tolist()  # and the Saturday after it
        [7.0, 2.0]
        """
        local_ms = times_ms + self._offsets_ms(times_ms)
        day = local_ms // _DAY_MS
        works = np.isin((day + _EPOCH_WEEKDAY) % 7, self.working_days)
        works &= ~np.isin(day, [(holiday - date(1970, 1, 1)).days for holiday in self.holidays])
        earlier = np.zeros(len(times_ms))
        for change in self.changes:
            earlier[times_ms >= change.from_ms] = change.hours_earlier
        hours = (local_ms % _DAY_MS / _HOUR_MS + earlier) % 24.0
        return np.where(works, hours, _NIGHT_HOUR)

    def _offsets_ms(self, times_ms: Int64) -> Int64:
        """Local time less UTC, int64 [t]."""
        zone = ZoneInfo(self.timezone)
        quarters, which = np.unique(times_ms // _QUARTER_MS, return_inverse=True)
        offsets = [_offset_ms(zone, int(quarter) * _QUARTER_MS) for quarter in quarters]
        return np.array(offsets, dtype=np.int64)[which]


def _offset_ms(zone: ZoneInfo, time_ms: int) -> int:
    offset = datetime.fromtimestamp(time_ms / 1000.0, UTC).astimezone(zone).utcoffset()
    return 0 if offset is None else round(offset.total_seconds() * 1000.0)
