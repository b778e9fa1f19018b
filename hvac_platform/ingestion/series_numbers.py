"""Series by number: what all messages of a series have in common is looked at once; each is a number, a time and a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hvac_platform.coding import Coded

Int64 = NDArray[np.int64]
Said = tuple[str, str, str, str | None, str | None, str | None]
"""Device, its type, metric, unit, location and building as a message has them."""

MOST_SERIES = 500_000
"""Of more than so many the table begins anew: 0.3 kB each."""
UNUSABLE = -1
"""Number of a message whose device, type or metric can't be used."""


class Series(NamedTuple):
    """What is the same in all messages of a series, as its readings are stored."""

    device_id: str
    device_type: str
    metric_name: str
    unit: str
    location: str
    building_id: str


class SeriesTable:
    """The series of a process by number; they are numbered from 0 as they are met.

    Args:
        checked: the series that a message says; None where it can't be used.
    """

    def __init__(self, checked: Callable[[Said], Series | None]) -> None:
        self._checked, self._lock = checked, Lock()
        self._series: list[Series] = []
        self._codes: dict[Series, int] = {}
        self._said: dict[Said, int] = {}

    @property
    def full(self) -> bool:
        """Whether it is time for another table."""
        return len(self._said) > MOST_SERIES

    def codes(self, said: Sequence[Said]) -> list[int]:
        """Numbers of the series of some messages; :data:`UNUSABLE` where there is none."""
        found = list(map(self._said.get, said))
        if None in found:
            found = [self._met(one) if code is None else code for code, one in zip(found, said, strict=True)]
        return found  # type: ignore[return-value]

    def _met(self, said: Said) -> int:
        """Number of a series that is met for the first time, or in other words than before."""
        series = self._checked(said)
        with self._lock:
            code = UNUSABLE if series is None else self._codes.setdefault(series, len(self._series))
            if series is not None and code == len(self._series):
                self._series.append(series)
            self._said[said] = code
        return code

    def columns(self, codes: Int64) -> list[Coded[str]]:
        """Columns of the fields of some messages: of each field the values that occur, in order of their first row.

        Args:
            codes: int64 [n], of the series of each.
        """
        of_rows = Coded(self._series, codes).rows(np.arange(len(codes)))
        found: list[Coded[str]] = []
        for values in zip(*of_rows.names, strict=True) if of_rows.names else [()] * len(Series._fields):
            place = {value: code for code, value in enumerate(dict.fromkeys(values))}
            of_series = np.fromiter(map(place.__getitem__, values), dtype=np.int64, count=len(values))
            found.append(Coded(list(place), of_series[of_rows.codes]))
        return found
