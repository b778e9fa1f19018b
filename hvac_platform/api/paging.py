"""What a request asks of a long list: a span of time, how many rows, and where the page before ended."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from hvac_platform.api.problems import ProblemError
from hvac_platform.timestamps import parse_instant

FEWEST, USUAL, MOST = 1, 500, 10_000
"""Rows of a page."""
LONGEST_TEXT = 400
EARLIEST_MS, LATEST_MS = 0, 253_402_300_799_999
"""Readings are of 1970 to 9999; an earlier instant asks for the same as the first of these."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Parameters of a request.

    Attributes:
        limit: most rows; rows of the last instant come together, so a page may have some more.
        start_ms: first instant, from the cursor where there is one.
        end_ms: first instant after the span; None for no end.
        after: key that the page before ended with; None on the first.
        given: the other parameters.
    """

    limit: int
    start_ms: int | None
    end_ms: int | None
    after: str | None
    given: Mapping[str, str]


def given_once(parameters: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The parameters of a request, each of which stands there once.

    >>> given_once({"limit": ["5"]})
    {'limit': '5'}

    Raises:
        ProblemError: one is given more than once.
    """
    several = next((name for name, texts in parameters.items() if len(texts) > 1), None)
    if several is not None:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"{several[:60]}: given more than once")
    return {name: texts[0] for name, texts in parameters.items()}


def asked(parameters: Mapping[str, str], known: frozenset[str]) -> Asked:
    """Read the parameters of a request.

    Args:
        parameters: as they came.
        known: names that this list takes.

    Raises:
        ProblemError: one is unknown or can't be read; says which, and how it is written.
    """
    unknown = sorted(set(parameters) - known)
    if unknown:
        raise ProblemError(
            HTTPStatus.BAD_REQUEST, f"no parameter {unknown[0][:60]!r} here; there are {', '.join(sorted(known))}"
        )
    too_long = next((name for name, text in parameters.items() if len(text) > LONGEST_TEXT), None)
    if too_long is not None:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"{too_long}: at most {LONGEST_TEXT} characters")
    start_ms, end_ms = _instant(parameters, "from"), _instant(parameters, "until")
    after = None
    if "cursor" in parameters:
        after = _cursor(parameters["cursor"])
        if after.startswith("t"):
            start_ms, after = int(after[1:]), None
    elif start_ms is not None and end_ms is not None and start_ms >= end_ms:
        raise ProblemError(HTTPStatus.BAD_REQUEST, "until: not after from")
    return Asked(_limit(parameters), start_ms, end_ms, after[1:] if after is not None else None, parameters)


def cursor_at(time_ms: int) -> str:
    """Where a list by time goes on.

    >>> asked({"cursor": cursor_at(5)}, frozenset({"cursor"})).start_ms
    5
    """
    return _packed(f"t{time_ms}")


def cursor_after(key: str) -> str:
    """Where a list by key goes on.

    >>> asked({"cursor": cursor_after("RTU-1")}, frozenset({"cursor"})).after
    'RTU-1'
    """
    return _packed(f"k{key}")


def _packed(text: str) -> str:
    return base64.urlsafe_b64encode(json.dumps(text).encode()).decode().rstrip("=")


def _cursor(text: str) -> str:
    try:
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        found = None
    if isinstance(found, str) and (
        found[:1] == "k" or (found[:1] == "t" and found[1:].isdecimal() and len(found) < 16)
    ):
        return found
    raise ProblemError(HTTPStatus.BAD_REQUEST, "cursor: not one that an answer of this list had as next")


def _limit(parameters: Mapping[str, str]) -> int:
    text = parameters.get("limit", str(USUAL))
    if not (text.isascii() and text.isdecimal() and len(text) < 9 and FEWEST <= int(text) <= MOST):
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"limit: a number from {FEWEST} to {MOST}")
    return int(text)


def _instant(parameters: Mapping[str, str], name: str) -> int | None:
    if name not in parameters:
        return None
    try:
        return min(max(int(parse_instant(parameters[name])), EARLIEST_MS), LATEST_MS)
    except ValueError:
        raise ProblemError(
            HTTPStatus.BAD_REQUEST,
            f"{name}: a date or time of ISO 8601 such as 2026-11-29T12:00:00Z, with Z or an offset",
        ) from None
