"""What a workbook says of a cell beside its value: that it is shown as percent, or that it holds an error.

The number behind 55 % is 0.55, and only the format of the cell says so. A cell with an error has no value that is one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hvac_platform.devices.units import names_unit

BUILT_IN = (9, 10)
"""Numbers of the formats 0% and 0.00%."""
_NOT_SHOWN = re.compile(r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]')
"""What a format writes as text, or not at all."""

_WORDS = r'"[^"]*"|\\.| |_.|\*.|\[\$[^\]]*\]'
_NUMBER_AND_WORDS = re.compile(rf"(?:\[(?!\$)[^\]]*\])?(?:{_WORDS})*[#0?,./ ]*[0?](,*)(?:[#0?.]*[0?])?((?:{_WORDS})+)")
"""A number and nothing but words behind it."""


@dataclass
class Marks:
    """Cells by row and column, counted from 0.

    Attributes:
        percent: those that are shown as percent.
        units: unit that is shown behind the number, which is not in the cell, and by how much the number is divided for it.
        unsaved: those with a formula whose result the file does not hold.
        errors: what is shown by those that hold an error.
    """

    percent: set[tuple[int, int]] = field(default_factory=set)
    errors: dict[tuple[int, int], str] = field(default_factory=dict)
    units: dict[tuple[int, int], tuple[str, int]] = field(default_factory=dict)
    unsaved: int = 0


def unit_formats(formats: Mapping[int, str]) -> dict[int, tuple[str, int]]:
    r"""Units that formats show behind a number, and by how much the number is divided for it, by the format's number.

    >>> unit_formats({164: '0.0" °C"', 165: '0.0\ "kW"', 166: '#,##0.00;-0.00', 167: 'yyyy"年"', 168: '"No. "0'})
    {164: ('°C', 1), 165: ('kW', 1)}
    >>> unit_formats({164: '0.0[$°C-407]', 165: '"T="0.0" °C"', 166: '0.0," kW"', 167: '# ?/?" °C"', 168: '0.0* "°C"'})
    {164: ('°C', 1), 165: ('°C', 1), 166: ('kW', 1000), 167: ('°C', 1), 168: ('°C', 1)}
    """
    found = {}
    for number, code in formats.items():
        match = _NUMBER_AND_WORDS.fullmatch(code.split(";")[0])
        if match is None:
            continue
        parts = re.findall(r'"([^"]*)"|\\(.)|\[\$([^\]-]*)(?:-[0-9A-Fa-f]+)?\]|( )', match[2])
        words = "".join("".join(part) for part in parts).strip()
        if names_unit(words):
            found[number] = words, 1000 ** len(match[1])
    return found


def unit_behind(text: str) -> str:
    """The unit behind a number that is shown with one; empty where there is none.

    >>> unit_behind("15.6 °C"), unit_behind("1.234,5 kW"), unit_behind("15.6"), unit_behind("55 %")
    ('°C', 'kW', '', '')
    """
    match = re.fullmatch(r"[-+−]?[\d.,'\s]*\d\s*([^\d\s.,].*)", text)
    words = match[1].strip() if match is not None else ""
    return words if names_unit(words) and words != "%" else ""


def percent_formats(formats: Mapping[int, str]) -> set[int]:
    """Numbers of the formats that show percent, those that need no text among them.

    >>> sorted(percent_formats({164: "0.0%", 165: '0.0"%"'}))
    [9, 10, 164]
    """
    return {number for number, code in formats.items() if "%" in _NOT_SHOWN.sub("", code)} | set(BUILT_IN)
