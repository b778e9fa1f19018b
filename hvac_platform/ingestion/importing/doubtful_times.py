"""Times that a spreadsheet or a narrow number has spoilt: days and months swapped, seconds rounded. They are asked about."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvac_platform.ingestion.importing.instants import DAY, Bools, Int64, Shape, days
from hvac_platform.ingestion.importing.numeric_times import NUMBERS, instants_of
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, shown

NEAR, FAR = 7 * DAY, 20 * DAY
"""Readings that follow each other are nearer than a week; read in the wrong order, days are a month or a year apart."""
CLEAR = 0.9
"""So much of the changes of date must be near under one order and far under the others."""
FEW = 0.02
"""So few rows of another kind are a fault of these rows."""
LEAST_CHANGES = 3
"""So many changes of date tell the order of day and month."""
DATED = (Shape.YEAR_FIRST, Shape.THREE_NUMBERS, Shape.NUMBER)
COARSE_MS, LEAST_DIFFERENT = 128_000, 3
"""Seconds that a single-precision number leaves out today, and so many different times that are all multiples of them."""
_EXPONENT = re.compile(r"^[-+]?\d(?:[.,](\d*))?[eE]\+?(\d+)$")
_COARSE_DIGITS = {"yyyymmdd": 1, "yyyymmddhhmm": 3, "yyyymmddhhmmss": 5}
"""By kind of digits, so many of them at the end are missing where an exponent cut them off; of epochs 1,000 s."""
_WITH_NUMBERS = re.compile(r"\d{4}[-/. ]\d{1,2}[-/. ]\d{1,2}(?!\d)")
_EXAMPLE = "their times in one format, such as 2024-03-01 00:15"


@dataclass
class Order:
    """How well an order of three numbers fits."""

    good: int = 0
    near: int = 0
    far: int = 0
    changes: int = 0
    last: int | None = None

    def see(self, day: Int64, good: Bools) -> None:
        """Days of rows that follow each other."""
        self.good += int(good.sum())
        found = day[good]
        if not len(found):
            return
        steps = np.diff(found, prepend=found[0] if self.last is None else self.last)
        steps = np.abs(steps[steps != 0]) * DAY
        self.changes += len(steps)
        self.near += int((steps <= NEAR).sum())
        self.far += int((steps >= FAR).sum())
        self.last = int(found[-1])


@dataclass
class Doubts:
    """What speaks against times that look as if they could be read.

    Attributes:
        first_of: the first text of each shape.
        dates: rows whose year comes first and that have no named month.
        readings_of_a_date: rows of the date of the row before, at another time of day.
    """

    first_of: dict[Shape, str] = field(default_factory=dict)
    dates: int = 0
    readings_of_a_date: int = 0
    _written: Order = field(default_factory=Order)
    _swapped: Order = field(default_factory=Order)
    _divisor: dict[str, int] = field(default_factory=dict)
    _different: dict[str, set[int]] = field(default_factory=dict)
    _missing_digits: dict[str, int] = field(default_factory=dict)
    _rounded: str = ""

    def see(self, texts: NDArray[np.str_], shape: NDArray[np.int8]) -> None:
        """Some rows more, for the first one of each shape."""
        for one in DATED:
            if one not in self.first_of and (rows := np.flatnonzero(shape == one)).size:
                self.first_of[one] = str(texts[rows[0]])

    def see_dates(self, text: str, year: Int64, month: Int64, day: Int64, of_day: Int64) -> None:
        """Dates and times of day of some rows, of which the first one is written so, and whose year comes first."""
        if not _WITH_NUMBERS.search(text):
            return
        self.dates += len(year)
        written, swapped = days(year, month, day), days(year, day, month)
        self._written.see(*written)
        self._swapped.see(*swapped)
        same = (np.diff(written[0]) == 0) & (np.diff(of_day) != 0)
        self.readings_of_a_date += int(same.sum())

    def see_numbers(self, texts: NDArray[np.str_], numbers: NDArray[np.float64], kinds: NDArray[np.int8]) -> None:
        """Some numbers, each of a kind, a place in NUMBERS."""
        for kind in np.unique(kinds[kinds >= 0]).tolist():
            name = NUMBERS[kind][0]
            mine = kinds == kind
            if name.startswith("epoch"):
                unique = np.unique(instants_of(numbers[mine], name)[0])
                self._divisor[name] = int(np.gcd.reduce(np.append(unique, self._divisor.get(name, 0))))
                self._different.setdefault(name, set()).update(unique[:LEAST_DIFFERENT].tolist())
            matches = [_EXPONENT.match(text) for text in texts[mine].tolist()]
            missing = [int(m.group(2)) - len(m.group(1) or "") if m is not None else 0 for m in matches]
            self._missing_digits[name] = min(min(missing), self._missing_digits.get(name, 99))
            self._rounded = self._rounded or str(texts[mine][0])

    @property
    def named_month(self) -> str:
        """How dates with a named month are written, in words; empty where dates are numbers."""
        first = self.first_of.get(Shape.YEAR_FIRST, "")
        if _WITH_NUMBERS.search(first) or not re.search(r"[^\W\d_]{3}", first):
            return ""
        return f"dates with a named month, such as {shown(first)}"

    def check(self, column: str, shapes: Mapping[Any, int], number: str, total: int, *, may_be_digits: bool) -> None:
        """Nothing speaks against the times of a column.

        Args:
            column: its name.
            shapes: rows by what they look like.
            number: kind of its numbers; empty where they are none.
            total: rows that are not empty.
            may_be_digits: whether its seconds since 1970 are digits of date and time of day as well.

        Raises:
            ImportRefusedError: something does; the message says what and what to do.
        """
        kinds = [shape for shape in DATED if shapes.get(shape, 0) > FEW * total and shape in self.first_of]
        if len(kinds) > 1:
            told = " and ".join(f"{shapes[shape]} such as {shown(self.first_of[shape])}" for shape in kinds)
            raise ImportRefusedError(
                f"column {shown(column)} has times of {len(kinds)} kinds, {told}; a spreadsheet writes such files when it "
                "takes days up to 12 for months, and these are wrong then: export the file anew without opening it in one, "
                f"or, where all are right, write {_EXAMPLE}"
            )
        self._check_swapped(column)
        self._check_rounded(column, number, may_be_digits=may_be_digits)

    def _check_swapped(self, column: str) -> None:
        written, swapped = self._written, self._swapped
        if (
            written.changes >= LEAST_CHANGES
            and self.readings_of_a_date > written.changes
            and swapped.good == written.good
            and written.far >= CLEAR * written.changes
            and swapped.near >= CLEAR * swapped.changes
        ):
            raise ImportRefusedError(
                f"the dates of column {shown(column)}, first {shown(self.first_of.get(Shape.YEAR_FIRST, ''))}, are a month "
                "apart as they are written, and follow each other where day and month are swapped, as a spreadsheet does; "
                "give --time-format (in the map: time_format), such as '%Y-%d-%m %H:%M:%S' where they are swapped, or "
                "'%Y-%m-%d %H:%M:%S' where they are right"
            )

    def _check_rounded(self, column: str, number: str, *, may_be_digits: bool) -> None:
        if not number:
            return
        divisor, different = self._divisor.get(number, 0), len(self._different.get(number, ()))
        coarse = divisor >= COARSE_MS and divisor % 60_000 != 0 and different >= LEAST_DIFFERENT and not may_be_digits
        missing = self._missing_digits.get(number, 0)
        if number.startswith("epoch"):
            factor = next(per for name, _, _, per in NUMBERS if name == number)
            cut = missing > 0 and 10**missing * factor >= 1e6
        else:
            cut = missing >= _COARSE_DIGITS.get(number, 99)
        if coarse or cut:
            raise ImportRefusedError(
                f"the times of column {shown(column)}, such as {shown(self._rounded)}, are rounded: digits are missing at "
                "their end, as where a spreadsheet shows large numbers in short or a number of single precision keeps them; "
                "export them anew with all digits"
            )
