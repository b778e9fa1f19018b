"""What a workbook says of a cell beside its value: that it is shown as percent, or that it holds an error.

The number behind 55 % is 0.55, and only the format of the cell says so. A cell with an error has no value that is one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hvac_platform.devices.units import SAYS_NOTHING, parse_unit, plain

BUILT_IN = (9, 10)
"""Numbers of the formats 0% and 0.00%."""
_NOT_SHOWN = re.compile(r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]')
"""What a format writes as text, or not at all."""

_NUMBER_AND_WORDS = re.compile(r'(?:\[[^\]]*\])?[#0?,.]*[0?][#0?,.]*((?:"[^"]*"|\\.| |_.)+)')
"""A number and nothing but words behind it."""


@dataclass
class Marks:
    """Cells by row and column, counted from 0.

    Attributes:
        percent: those that are shown as percent.
        units: unit that is shown behind the number, which is not in the cell.
        unsaved: those with a formula whose result the file does not hold.
        errors: what is shown by those that hold an error.
    """

    percent: set[tuple[int, int]] = field(default_factory=set)
    errors: dict[tuple[int, int], str] = field(default_factory=dict)
    units: dict[tuple[int, int], str] = field(default_factory=dict)
    unsaved: int = 0


def unit_formats(formats: Mapping[int, str]) -> dict[int, str]:
    r"""Units that formats show behind a number, by the format's number.

    >>> unit_formats({164: '0.0" °C"', 165: '0.0\ "kW"', 166: '#,##0.00;-0.00', 167: 'yyyy"年"', 168: '"No. "0'})
    {164: '°C', 165: 'kW'}
    """
    found = {}
    for number, code in formats.items():
        match = _NUMBER_AND_WORDS.fullmatch(code.split(";")[0])
        if match is None:
            continue
        words = "".join(part.strip('"\\') for part in re.findall(r'"[^"]*"|\\.| ', match[1])).strip()
        if words and parse_unit(words) is not None and plain(words).lower() not in SAYS_NOTHING and words != "%":
            found[number] = words
    return found


def unit_behind(text: str) -> str:
    """The unit behind a number that is shown with one; empty where there is none.

    >>> unit_behind("15.6 °C"), unit_behind("1.234,5 kW"), unit_behind("15.6"), unit_behind("55 %")
    ('°C', 'kW', '', '')
    """
    match = re.fullmatch(r"[-+−]?[\d.,'\s]*\d\s*([^\d\s.,].*)", text)
    words = match[1].strip() if match is not None else ""
    is_unit = bool(words) and parse_unit(words) is not None and plain(words).lower() not in SAYS_NOTHING
    return words if is_unit and words != "%" else ""


def percent_formats(formats: Mapping[int, str]) -> set[int]:
    """Numbers of the formats that show percent, those that need no text among them.

    >>> sorted(percent_formats({164: "0.0%", 165: '0.0"%"'}))
    [9, 10, 164]
    """
    return {number for number, code in formats.items() if "%" in _NOT_SHOWN.sub("", code)} | set(BUILT_IN)
