"""What a workbook says of a cell beside its value: that it is shown as percent, or that it holds an error.

The number behind 55 % is 0.55, and only the format of the cell says so. A cell with an error has no value that is one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

BUILT_IN = (9, 10)
"""Numbers of the formats 0% and 0.00%."""
_NOT_SHOWN = re.compile(r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]')
"""What a format writes as text, or not at all."""


@dataclass
class Marks:
    """Cells by row and column, counted from 0.

    Attributes:
        percent: those that are shown as percent.
        errors: what is shown by those that hold an error.
    """

    percent: set[tuple[int, int]] = field(default_factory=set)
    errors: dict[tuple[int, int], str] = field(default_factory=dict)


def percent_formats(formats: Mapping[int, str]) -> set[int]:
    """Numbers of the formats that show percent, those that need no text among them.

    >>> sorted(percent_formats({164: "0.0%", 165: '0.0"%"'}))
    [9, 10, 164]
    """
    return {number for number, code in formats.items() if "%" in _NOT_SHOWN.sub("", code)} | set(BUILT_IN)
