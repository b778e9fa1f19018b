"""How numbers are written with a decimal point or a decimal comma: one set of rules for files and for messages."""

from __future__ import annotations

import re

GAP = "'’\u00a0\u202f\u2009 "
"""What may stand between thousands, beside the mark that is not the decimal one."""
EXPONENT = r"(?:[eE][-+]?[0-9]+)?"
BY_POINT = rf"^[-+]?(?:[0-9]{{1,3}}(?:[,{GAP}][0-9]{{3}})+|[0-9]+)?(?:\.[0-9]*)?{EXPONENT}$"
BY_COMMA = rf"^[-+]?(?:[0-9]{{1,3}}(?:[.{GAP}][0-9]{{3}})+|[0-9]+)?(?:,[0-9]*)?{EXPONENT}$"
"""Patterns, of Python and of Arrow alike, of a number with a decimal point or comma; they also fit no digit at all."""

_BY_COMMA, _NOT_PART = re.compile(BY_COMMA), re.compile(rf"[.{GAP}]")


def number_with_comma(text: str) -> float | None:
    """The number that a text with a decimal comma is, points and blanks between thousands; None where it is none.

    >>> number_with_comma("55,1"), number_with_comma("1.234"), number_with_comma("1.23"), number_with_comma("1,25E+01")
    (55.1, 1234.0, None, 12.5)
    """
    text = text.strip()
    if not _BY_COMMA.match(text):
        return None
    try:
        return float(_NOT_PART.sub("", text).replace(",", "."))
    except ValueError:
        return None
