"""What a program asks to be done with an incident, from the body of its request."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from hvac_platform.api.problems import ProblemError
from hvac_platform.monitoring.incident_actions import ACTIONS, LONGEST_NAME, LONGEST_NOTE, Action
from hvac_platform.timestamps import now_ms, parse_instant

HOUR_MS = 3_600_000
MOST_HOURS = 24 * 366
FIELDS: Mapping[str, dict[str, Any]] = {
    "action": {"type": "string", "enum": list(ACTIONS), "description": "What to do; hvac incidents has the same."},
    "note": {"type": "string", "maxLength": LONGEST_NOTE, "description": "What is said about it."},
    "to": {"type": "string", "maxLength": LONGEST_NAME, "description": "assign: who takes care of it; empty: nobody."},
    "hours": {"type": "number", "exclusiveMinimum": 0, "maximum": MOST_HOURS, "description": "snooze: for so long."},
    "until": {"type": "string", "format": "date-time", "description": "snooze: or until then."},
    "label": {"type": "string", "maxLength": LONGEST_NAME, "description": "label: what it was; empty takes it back."},
    "alone": {"type": "boolean", "default": False, "description": "Of a parent: leave the incidents of other devices."},
}
OF: Mapping[str, str] = {"to": "assign", "hours": "snooze", "until": "snooze", "label": "label"}
"""Fields that belong to one action."""


def schema() -> dict[str, Any]:
    """JSON Schema of the body."""
    return {"type": "object", "required": ["action"], "additionalProperties": False, "properties": dict(FIELDS)}


def action_of(body: object) -> tuple[Action, bool]:
    """What a body asks for, and whether for the incident alone.

    Args:
        body: as JSON was read; anything.

    Raises:
        ProblemError: a field is unknown, missing or of another type; says which, and how it is written.
    """
    if not isinstance(body, Mapping) or not isinstance(body.get("action"), str) or body["action"] not in ACTIONS:
        raise _wrong(f'a JSON object such as {{"action": "ack"}}; action is one of {", ".join(ACTIONS)}')
    name = body["action"]
    for field, value in body.items():
        if field not in FIELDS:
            raise _wrong(f"no field {str(field)[:60]!r}; there are {', '.join(FIELDS)}")
        if OF.get(field, name) != name:
            raise _wrong(f"{field} is for {OF[field]}, not for {name}")
        kind = FIELDS[field]["type"]
        fits = isinstance(value, {"string": str, "number": int | float, "boolean": bool}[kind])
        if not fits or (kind == "number" and isinstance(value, bool)):
            raise _wrong(f"{field}: a {kind}, not {type(value).__name__}")
    for field in ("assign", "label"):
        needed = {"assign": "to", "label": "label"}[field]
        if name == field and needed not in body:
            raise _wrong(f"{name} needs {needed}; an empty one takes it back")
    action = Action(
        name=name,
        note=body.get("note", ""),
        to=body.get("to", ""),
        until_ms=_until(body) if name == "snooze" else None,
        label=body.get("label", ""),
    )
    return action, body.get("alone", False)


def _until(body: Mapping[str, Any]) -> int:
    if ("hours" in body) == ("until" in body):
        raise _wrong("snooze needs either hours or until")
    if "hours" in body:
        if not 0 < body["hours"] <= MOST_HOURS:
            raise _wrong(f"hours: more than 0, at most {MOST_HOURS}")
        return now_ms() + int(body["hours"] * HOUR_MS)
    try:
        return int(parse_instant(body["until"]))
    except ValueError:
        raise _wrong("until: a time of ISO 8601 such as 2026-11-29T12:00:00Z, with Z or an offset") from None


def _wrong(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.BAD_REQUEST, detail)
