"""Words in the cells of values: what they are as numbers, by usage, by the number beside them, or by the map."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from hvac_platform.devices.registry import Point
from hvac_platform.ingestion.importing.cells import STATES, ColumnEvidence

MOSTLY = 0.5
_NUMBER_FIRST = re.compile(r"^[(\[]?(\d{1,4})[)\]]?\s*[-–:=.]?\s*([^\W\d_].*)$")
_NUMBER_BEHIND = re.compile(r"^([^\W\d_].*?)\s*[(\[](\d{1,4})[)\]]$")


def coded(words: Iterable[str]) -> dict[str, float]:
    """Numbers that stand in the words themselves, by word in small letters; none where they contradict each other or usage.

    >>> coded(["(1) On", "(0) Off"]), coded(["1 - On", "2 - On"]), coded(["(1) Off"])
    ({'(1) on': 1.0, '(0) off': 0.0}, {}, {})
    """
    found: dict[str, float] = {}
    number_of: dict[str, float] = {}
    for word in words:
        first, behind = _NUMBER_FIRST.match(word), _NUMBER_BEHIND.match(word)
        if first is not None:
            number, name = float(first.group(1)), first.group(2).lower().strip()
        elif behind is not None:
            number, name = float(behind.group(2)), behind.group(1).lower().strip()
        else:
            continue
        if number_of.setdefault(name, number) != number or STATES.get(name, number) != number:
            return {}
        found[word.lower()] = number
    return found if len(set(number_of.values())) == len(number_of) else {}


def states_for(evidence: ColumnEvidence, point: Point | None, own: Mapping[str, float]) -> dict[str, float]:
    """Numbers by word, in small letters, of a column.

    Words of usage are on and off: they are numbers of a point that is on or off, and of a column that no type declares and
    that has no other numbers. A temperature is never off.
    """
    usual = point.kind == "binary" if point is not None else not evidence.numbers and not evidence.units
    if not usual:
        return dict(own)
    written = coded(evidence.words)
    if point is not None and any(number not in (0.0, 1.0) for number in written.values()):
        written = {}
    if point is None and evidence.states + sum(evidence.words[w] for w in evidence.words if w.lower() in written) < (
        MOSTLY * evidence.filled
    ):
        return dict(own)
    return {**STATES, **written, **own}
