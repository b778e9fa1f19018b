"""The OpenAPI 3.1 document of the API, made of its routes and of the catalogue of tables."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import version
from typing import Any

from hvac_platform.api.actions import schema
from hvac_platform.api.documents import schema_of
from hvac_platform.api.paging import FEWEST, LONGEST_TEXT, MOST, USUAL
from hvac_platform.api.problems import PREFIX
from hvac_platform.api.routes import ROUTES, Route
from hvac_platform.stores.tables import table

PARAMETERS: dict[str, tuple[dict[str, Any], str]] = {
    "limit": ({"type": "integer", "minimum": FEWEST, "maximum": MOST, "default": USUAL}, "Most rows of the page."),
    "cursor": ({"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT}, "What the page before had as next."),
    "from": ({"type": "string", "format": "date-time"}, "First instant of the span."),
    "until": ({"type": "string", "format": "date-time"}, "First instant after the span."),
    "metric_name": ({"type": "string"}, "Readings of this metric alone."),
    "method": ({"type": "string"}, "Verdicts of this method alone."),
    "device": ({"type": "string"}, "Incidents of this device alone."),
    "device_type": ({"type": "string"}, "Devices of this type alone."),
    "building_id": ({"type": "string"}, "What is in this building alone."),
    "severity": ({"type": "string", "enum": ["critical", "warning", "info"]}, "Incidents of this severity alone."),
    "state": ({"type": "string"}, "Incidents that stand so: open, acknowledged, snoozed, resolved, false_alarm, past."),
}


@cache
def openapi() -> dict[str, Any]:
    """The document."""
    named = sorted({route.table for route in ROUTES if route.table})
    problem = {
        "type": "object",
        "properties": {
            **{name: {"type": "string"} for name in ("type", "title", "detail")},
            "status": {"type": "integer"},
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hvac_platform",
            "version": version("hvac_platform"),
            "description": "What the platform knows of devices, for programs. Times are RFC 3339 in UTC.",
        },
        "paths": {_path(route): {route.method.lower(): _operation(route)} for route in ROUTES},
        "components": {
            "schemas": {
                **{name: schema_of(table(name)) for name in named},
                "incident_worth": _worth(),
                "problem": problem,
            }
        },
    }


def _worth() -> dict[str, Any]:
    """What one incident has beside the columns of its table: its worth, and what its repair has saved."""
    amount = {
        "type": ["object", "null"],
        "description": "An estimate and its interval of 95 %.",
        "properties": {name: {"type": "number"} for name in ("value", "low", "high")},
    }
    points = {"type": "number", "minimum": 0, "maximum": 10}
    by_name = {"type": "object", "additionalProperties": {"type": "number"}}
    hours = {"type": ["number", "null"], "description": "Hours that were compared."}
    currency = {"type": ["string", "null"], "description": "As the file of prices has it; null without one."}
    return {
        "type": "object",
        "properties": {
            "worth": {
                "type": "object",
                "properties": {
                    "avoidable_kwh_a_day": amount,
                    "avoidable_cost_a_day": amount,
                    "currency": currency,
                    "prices": {
                        "type": ["string", "null"],
                        "description": "What the prices are, such as example prices; null where their file doesn't say it.",
                    },
                    "compared_hours": hours,
                    "extrapolated": {
                        "type": ["boolean", "null"],
                        "description": "Whether less than a day was compared.",
                    },
                    "degree_hours": {
                        "type": ["number", "null"],
                        "description": "K·h beyond setpoints in its last 24 h.",
                    },
                    "cost": points,
                    "comfort": points,
                    "maintenance_risk": points,
                    "maintenance_risk_parts": by_name,
                    "unknown": {
                        "type": "object",
                        "additionalProperties": {"type": "string"},
                        "description": "Why cost, money or comfort are not known.",
                    },
                },
            },
            "urgency_parts": {**by_name, "description": "Points by what they are for; their sum is the urgency."},
            "savings": {
                "type": ["object", "null"],
                "description": "Of a resolved incident: what has been saved since.",
                "properties": {
                    **dict.fromkeys(("kwh", "kwh_a_day", "cost", "cost_a_day"), amount),
                    "currency": currency,
                    "hours_before": hours,
                    "hours_after": hours,
                    "unknown": {"type": "string", "description": "Why it isn't known; empty where it is."},
                },
            },
        },
    }


def _path(route: Route) -> str:
    return PREFIX + re.sub(r"<(?:path:)?(\w+)>", r"{\1}", route.path)


def _operation(route: Route) -> dict[str, Any]:
    in_path = re.findall(r"<(?:path:)?(\w+)>", route.path)
    document: dict[str, Any] = {"$ref": f"#/components/schemas/{route.table}"} if route.table else {"type": "object"}
    if route.name in ("incident", "act"):
        document = {"allOf": [document, {"$ref": "#/components/schemas/incident_worth"}]}
    if route.many:
        document = {
            "type": "object",
            "required": ["items", "next"],
            "properties": {"items": {"type": "array", "items": document}, "next": {"type": ["string", "null"]}},
        }
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/problem"}}}
    doc = getattr(route.answer, "func", route.answer).__doc__ or ""
    return {
        "operationId": route.name,
        "summary": doc.strip().splitlines()[0] if not route.table or not route.many else table(route.table).description,
        "parameters": [
            *({"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in in_path),
            *(
                {"name": n, "in": "query", "schema": PARAMETERS[n][0], "description": PARAMETERS[n][1]}
                for n in route.takes
            ),
        ],
        **({"requestBody": _body()} if route.takes_body else {}),
        "responses": {
            "200": {"description": "The answer.", "content": {"application/json": {"schema": document}}},
            "304": {"description": "The same as the client has, by If-None-Match."},
            "default": {"description": "What is wrong.", "content": problem},
        },
    }


def _body() -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema()}}}
