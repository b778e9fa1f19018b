"""What needs somebody now, in order, with what to look at first: the top of the home page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dash import dcc, html

from hvac_platform.dashboard.components import Content, named, severity_badge
from hvac_platform.dashboard.formatting import incident_href, number, span_words, state_words
from hvac_platform.dashboard.known_of_incidents import KnownOfIncidents
from hvac_platform.dashboard.reading import incidents_of
from hvac_platform.detection.urgency import points_in_order
from hvac_platform.devices.first_checks import FIRST_CHECKS
from hvac_platform.monitoring import lifecycle
from hvac_platform.monitoring.worth import short_cost
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import Incident, IncidentHandling
from hvac_platform.visible_text import visible

SHOWN, READ = 5, 15
"""So many are shown, chosen among so many: what nobody has seen yet comes before what somebody has taken on."""


def most_urgent(incidents: Mapping[str, Sequence[Incident]]) -> list[Incident]:
    """Open incidents, the most urgent first, then the newest; parts of another one that is open are left to that.

    Args:
        incidents: open ones by device.
    """
    known = {one.incident_id for of_device in incidents.values() for one in of_device}
    found = [one for of_device in incidents.values() for one in of_device if one.parent_id not in known]
    return sorted(found, key=lambda one: (-points_in_order(one.urgency, one.severity), -one.started_at, one.device_id))


def attention(
    store: Store,
    incidents: Mapping[str, Sequence[Incident]],
    at_ms: int,
    known: KnownOfIncidents | None = None,
    *,
    silent: int = 0,
) -> Content:
    """The list; a sentence where nothing is open.

    Args:
        store: has the rows of what is shown.
        incidents: open ones by device.
        at_ms: the present.
        known: what incidents are worth; nothing is said of it where it isn't given.
        silent: devices that are silent; told where nothing is open.
    """
    ordered = most_urgent(incidents)
    if not ordered and silent:
        told = "1 device is silent" if silent == 1 else f"{number(silent, 0)} devices are silent"
        return html.P(f"No incident is open; {told}.", className="note")
    if not ordered:
        return html.P("Nothing needs attention: no incident is open.", className="note")
    read = incidents_of(store, [(one.device_id, one.started_at) for one in ordered[:READ]])
    handlings = lifecycle.handling_of(store, read)
    states = {one.incident_id: lifecycle.state_of(handlings.get(one.incident_id), at_ms) for one in read}
    last = len(lifecycle.ATTENTION)
    shown = sorted(read, key=lambda one: lifecycle.ATTENTION.get(states[one.incident_id], last))[:SHOWN]
    others = len(ordered) - len(shown)
    more = [html.P(dcc.Link(f"{number(others, 0)} more that are open", href="/incidents"))] if others > 0 else []
    worths = known.of_several(store, shown, at_ms) if known is not None else {}
    costs = {incident_id: short_cost(worth) for incident_id, worth in worths.items()}
    items = [
        _item(one, handlings.get(one.incident_id), states[one.incident_id], at_ms, costs.get(one.incident_id, ""))
        for one in shown
    ]
    return html.Section(
        [html.H2("Needs attention"), html.Ol(items), *more], className="attention", **named("Needs attention")
    )


def _item(one: Incident, handling: IncidentHandling | None, state: lifecycle.State, at_ms: int, cost: str) -> Content:
    place = ", ".join(visible(part, 60) for part in (one.location, one.building_id) if part)
    who = f", {visible(handling.assignee, 40)}" if handling is not None and handling.assignee else ""
    return html.Li(
        [
            severity_badge(one.severity),
            " ",
            dcc.Link(visible(one.device_id, 60), href=incident_href(one.incident_id)),
            html.Span(
                f" {place}{' · ' if place else ''}for {span_words(at_ms - one.started_at)} · {state_words(state)}{who}",
                className="small",
            ),
            *what_is_wrong(one, cost),
        ]
    )


def what_is_wrong(one: Incident, cost: str, *, over: bool = False) -> list[Content]:
    """An incident in two lines: the first reason; what it probably is, and while it goes on what to check and what it costs.

    Args:
        one: the incident.
        cost: what it costs a day, in words; empty where that isn't known.
        over: whether nobody need look at it any more.
    """
    kind = next(iter(one.kinds), None)
    likely = one.label or (kind["kind"].replace("_", " ") if kind is not None else "")
    said = visible(next(iter(one.reasons), "no reason was recorded"), 200)
    check = "" if over or kind is None or one.label else FIRST_CHECKS.get(kind["kind"], "")
    rest = [
        part
        for part in (
            (f"It turned out to be {visible(likely, 80)}." if one.label else f"Likely {visible(likely, 80)}.")
            if likely
            else "",
            f"Check first: {check}{'' if check.endswith('?') else '.'}" if check else "",
            f"Costs about {cost}." if cost and not over else "",
        )
        if part
    ]
    lines: list[Content] = [html.Div(f"{said[:1].upper()}{said[1:]}.")]
    return [*lines, html.Div(" ".join(rest), className="small")] if rest else lines
