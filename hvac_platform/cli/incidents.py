"""Commands about incidents and maintenance: ``incidents``, ``maintenance``."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from hvac_platform.alerts.troubles import trouble_incidents
from hvac_platform.cli.choosing import (
    MOST_DAYS,
    Devices,
    IncidentId,
    Names,
    OneDevice,
    OneName,
    chosen_device,
    chosen_devices,
    chosen_incident,
    finite,
    instant,
    known_incident,
    named,
    require_order,
)
from hvac_platform.cli.incident_actions import add_actions
from hvac_platform.cli.output import AsJson, at, console, errors, print_json, print_rows
from hvac_platform.config import load_settings
from hvac_platform.detection.urgency import points_in_order
from hvac_platform.monitoring.data_loss import DATA_LOSS, told_method
from hvac_platform.monitoring.lifecycle import (
    ATTENTION,
    PLATFORM,
    State,
    children_of,
    handling_of,
    history_of,
    history_of_gone,
    state_of,
    told_transition,
)
from hvac_platform.monitoring.maintenance import enter
from hvac_platform.monitoring.notifying import explained_urgency, urgency_now
from hvac_platform.monitoring.similar import NoSnapshotError, similar_states
from hvac_platform.monitoring.worth import (
    Prices,
    Worth,
    comfort_words,
    cost_words,
    maintenance_words,
    savings_document,
    savings_of,
    savings_words,
    worth_document,
    worth_of,
)
from hvac_platform.runtime.connections import make_encoders, open_store
from hvac_platform.stores.records import Incident, IncidentHandling, IncidentTransition, MaintenanceSpan
from hvac_platform.timestamps import DAY_MS, iso, now_ms

incidents = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
maintenance = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

add_actions(incidents)


class AtLeast(enum.StrEnum):
    """Least severity to show."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


SEVERITIES = tuple(AtLeast)


def _known_states(names: list[str] | None) -> list[str] | None:
    listed = [name for text in names or [] for name in text.replace(",", " ").split()]
    if unknown := [name for name in listed if name not in {*State}]:
        raise typer.BadParameter(f"{unknown[0][:40]!r} is none of {', '.join(State)}")
    return listed or None


@incidents.command("list")
def list_incidents(
    names: Names = None,
    devices: Devices = None,
    days_back: Annotated[float, typer.Option(help="Days before now.", min=0, max=MOST_DAYS, callback=finite)] = 7.0,
    start: Annotated[str | None, typer.Option("--from", help="From here (ISO 8601) instead.")] = None,
    end: Annotated[str | None, typer.Option("--until", help="Up to here.")] = None,
    severity: Annotated[AtLeast, typer.Option(help="Least severity.")] = AtLeast.INFO,
    state: Annotated[
        list[str] | None,
        typer.Option(help=f"States, repeated or separated by commas: {', '.join(State)}.", callback=_known_states),
    ] = None,
    only_open: Annotated[
        bool, typer.Option("--open", help="Only those that are open, acknowledged or snoozed.")
    ] = False,
    assignee: Annotated[str | None, typer.Option(help="Only those that this person takes care of.")] = None,
    as_json: AsJson = False,
) -> None:
    """Incidents, what needs attention first: state, how severe, when, what it looks like and why."""
    store = open_store(load_settings())
    start_ms, end_ms = instant(start, "--from"), instant(end, "--until")
    require_order(start_ms, end_ms)
    now = now_ms()
    begin = start_ms if start_ms is not None else now - round(days_back * DAY_MS)
    wanted = SEVERITIES[: SEVERITIES.index(severity) + 1]
    states = {*(state or State)} & ({*ATTENTION} if only_open else {*State})
    span = (begin, now + 1 if end_ms is None else end_ms)
    found: list[tuple[Incident, IncidentHandling | None]] = []
    chosen = named(names, devices)
    by_device = [Incident.read(store, device.device_id, span) for device in chosen_devices(store, chosen)]
    for several in by_device if chosen else [*by_device, trouble_incidents(store, span)]:
        of_device = [i for i in several if i.severity in wanted]
        handlings = handling_of(store, of_device)
        found += [
            (incident, handling)
            for incident in of_device
            for handling in [handlings.get(incident.incident_id)]
            if state_of(handling, now) in states
            and (assignee is None or (handling is not None and handling.assignee == assignee))
        ]
    found.sort(key=lambda one: _attention(one[0], one[1], now))
    rows = [_summary(incident, handling, now) for incident, handling in found]
    if as_json:  # what version 0.2 told beside it
        rows = [{**row, **_for_programs(incident)} for row, (incident, _) in zip(rows, found, strict=True)]
    print_rows(
        rows,
        as_json=as_json,
        title=f"Incidents ({len(found)})",
        empty=f"no incident began since {iso(begin)}: --days-back or --from look further back",
        narrow=("incident", "severity", "from", "minutes", "likely"),
    )


def _attention(incident: Incident, handling: IncidentHandling | None, at_ms: int) -> tuple[int, float, int, int]:
    """Place in the list: what nobody has seen yet first, the most urgent of those, then the newest; what is over last."""
    state = state_of(handling, at_ms)
    if state not in ATTENTION:
        return len(ATTENTION), 0.0, 0, -incident.started_at
    points = points_in_order(incident.urgency, incident.severity)
    return ATTENTION[state], -points, incident.level, -incident.started_at


def _summary(found: Incident, handling: IncidentHandling | None, at_ms: int) -> dict[str, object]:
    likely = f"{found.kinds[0]['title']} ({found.kinds[0]['similarity']:.2f})" if found.kinds else None
    return {
        "incident": found.incident_id,
        "state": str(state_of(handling, at_ms)).replace("_", " "),
        "severity": found.severity,
        "urgency": None if found.urgency is None else round(found.urgency),
        "from": at(found.started_at, to_minutes=True),
        "minutes": round((found.ended_at - found.started_at) / 60_000),
        "assignee": handling.assignee if handling is not None else None,
        "scope": f"part of {found.parent_id}" if found.parent_id else found.cause or found.scope,
        "likely": found.label or likely,
        "seen": next((similar["incident_id"] for similar in found.similar if similar["known"]), None),
        "why": next(iter(found.reasons), None),
    }


def _for_programs(found: Incident) -> dict[str, object]:
    """What people are told in one sentence, in its parts."""
    likely = next(iter(found.kinds), None)
    return {
        "status": found.status,
        "scope": found.scope,
        "cause": found.cause or None,
        "parent": found.parent_id,
        "label": found.label,
        "likely": None if likely is None else likely["title"],
        "similarity": None if likely is None else round(likely["similarity"], 2),
    }


@incidents.command("show")
def show_incident(incident: IncidentId, as_json: AsJson = False) -> None:
    """One incident: where it stands, its history, rules that fired, what moved, likely kinds, and what is like it."""
    settings = load_settings()
    store = open_store(settings)
    if known_incident(store, incident) is None and (gone := history_of_gone(store, incident)):
        _show_gone(incident, gone, as_json=as_json)
        return
    found = chosen_incident(store, incident)
    handling = handling_of(store, [found]).get(found.incident_id)
    history, parts = history_of(store, found), children_of(store, found)
    of_platform = found.device_id == PLATFORM
    prices = Prices.of(settings)
    worth = worth_of(store, found, prices)
    saved = savings_of(store, found, handling, prices, now_ms())
    lost = DATA_LOSS in found.methods or of_platform
    states = None
    if not lost:
        device = chosen_devices(store, [found.device_id])[0]
        middle = (found.started_at + found.ended_at) // 2
        with contextlib.suppress(NoSnapshotError):
            states = similar_states(
                store, device, make_encoders(settings, store), at_ms=middle, before_ms=found.started_at
            )
    past = [
        {
            "window": at(s.time_ms),
            "cosine": round(s.cosine, 4),
            "state": "anomalous" if s.anomalous else "normal",
            "became": s.outcome,
        }
        for s in (states.similar if states else [])
    ]
    if as_json:
        times = {name: at(getattr(found, name)) for name in ("started_at", "ended_at", "updated_at")}
        stands = (
            {} if handling is None else {n: getattr(handling, n) for n in ("actor", "assignee", "labels", "openings")}
        )
        stands |= {"state": str(state_of(handling, now_ms()))}
        if handling is not None:
            stands |= {name: at(getattr(handling, name)) for name in ("since", "snoozed_until", "reopened_at")}
        told = [{**asdict(one), "at": at(one.at)} for one in history]
        children = [child.incident_id for child in parts]
        handled = {"handling": stands, "history": told, "children": children}
        valued = {
            "worth": worth_document(worth),
            "urgency_parts": urgency_now(store, found, worth),
            "savings": savings_document(*saved, worth.currency),
        }
        print_json({**asdict(found), **times, **handled, **valued, "similar_states": past})
        return
    if of_platform:
        console.print(f"{found.incident_id}  {found.severity}, {_stands(handling)}\nsince {iso(found.started_at)}")
        _print_history(history)
        console.print(f"\nwhy\n  {found.reasons[0]}")
        return
    console.print(
        f"{found.incident_id}  {found.severity} (level {found.level}), {_stands(handling)}\n"
        f"{found.device_id} ({found.device_type}, {found.location}): {iso(found.started_at)} to {iso(found.ended_at)}, "
        f"{found.windows} windows, score {found.peak_score:.1f} (1 is the limit)\n"
        f"methods: {', '.join(f'{told_method(m)} {n}' for m, n in found.methods.items())}"
    )
    if found.scope == "fleet":
        console.print(f"one of many devices at once: {found.cause}")
    if found.scope == "plant":
        console.print(found.cause)
    if found.parent_id is not None:
        console.print(f"part of {found.parent_id}")
    elif parts:
        of_others = "" if parts[0].device_id == found.device_id else " of other devices"
        console.print(f"{len(parts)} incidents{of_others} are part of it")
    console.print(explained_urgency(store, settings, found, worth))
    _print_worth(worth)
    if said := savings_words(*saved, worth):
        console.print(f"saved since: {said}")
    if found.excess_kwh is not None:
        console.print(f"energy: {found.excess_kwh:+.1f} kWh against what its state calls for")
    if found.label:
        console.print(f"it was: {found.label}")
    _print_history(history)
    console.print("\nwhy")
    for reason in found.reasons or ["no reason was given"]:
        console.print(f"  {reason}")
    if lost:
        return
    if found.rules:
        console.print(f"  rules: {', '.join(found.rules)}")
    console.print(f"  metrics: {', '.join(found.metrics) or '-'}\n")
    print_rows(
        [{"likely kind": k["title"], "similarity": round(k["similarity"], 2)} for k in found.kinds],
        as_json=False,
        title="Likely kinds of fault",
        empty="nothing known resembles it",
    )
    print_rows(
        [
            {
                "incident": s["incident_id"],
                "from": at(s["started_at"], to_minutes=True),
                "similarity": round(s["similarity"], 2),
                "the same": s["known"],
                "it was": s["label"],
            }
            for s in found.similar
        ],
        as_json=False,
        title="Earlier incidents like it, on this device and others of its type",
        empty="no earlier incident is like it",
    )
    print_rows(
        past, as_json=False, title="Past states of the device most like it", empty="no past state to compare with"
    )


def _print_worth(worth: Worth) -> None:
    """What the incident is worth, a line each."""
    console.print(f"avoidable cost: {cost_words(worth)}")
    if worth.daily is not None and worth.money_unknown:
        console.print(f"  {worth.money_unknown}")
    console.print(f"comfort: {comfort_words(worth)}")
    console.print(f"maintenance risk: {maintenance_words(worth)}")


def _show_gone(incident_id: str, history: Sequence[IncidentTransition], *, as_json: bool) -> None:
    """What is left of an incident that was taken back: who said and did what."""
    if as_json:
        told = [{**asdict(one), "at": at(one.at)} for one in history]
        print_json({"incident_id": incident_id, "handling": {"state": str(State.TAKEN_BACK)}, "history": told})
        return
    console.print(f"{incident_id}  taken back: its windows are not anomalous after all")
    _print_history(history)


def _print_history(history: Sequence[IncidentTransition]) -> None:
    if history:
        console.print("\nhistory")
        for one in history:
            console.print(f"  {iso(one.at)}  {told_transition(one)}")


def _stands(handling: IncidentHandling | None) -> str:
    """Where an incident stands, in words."""
    state = state_of(handling, now_ms())
    if handling is None or state is State.PAST:
        return "past: it was over when it was found"
    told = str(state).replace("_", " ")
    if state in (State.ACKNOWLEDGED, State.FALSE_ALARM, State.RESOLVED):
        itself = "the platform" if handling.device_id == PLATFORM else "itself"
        told += f" by {itself if handling.actor == PLATFORM else handling.actor}"
    if state is State.SNOOZED and handling.snoozed_until is not None:
        told += f" until {iso(handling.snoozed_until)}"
    return told + (f", assigned to {handling.assignee}" if handling.assignee else "")


@maintenance.command("add")
def add_span(
    start: Annotated[str, typer.Option("--from", help="Start (ISO 8601).")],
    end: Annotated[str, typer.Option("--until", help="End (ISO 8601).")],
    name: OneName = None,
    option: OneDevice = None,
    note: Annotated[str, typer.Option(help="What is done.")] = "",
) -> None:
    """Enter known work on a device: nothing alarms in it, and nothing is learned from it."""
    store = open_store(load_settings())
    device = chosen_device(store, name, option).device_id
    start_ms, end_ms = instant(start, "--from"), instant(end, "--until")
    require_order(start_ms, end_ms)
    assert start_ms is not None
    assert end_ms is not None
    enter(store, device, start_ms, end_ms, note, now_ms())
    console.print(f"{device}: maintenance from {iso(start_ms)} to {iso(end_ms)}")
    if start_ms < now_ms():
        console.print(
            f"windows that were judged before stay as they are: hvac detect --devices {device} --from {start}"
        )


@maintenance.command("list")
def list_spans(names: Names = None, devices: Devices = None, as_json: AsJson = False) -> None:
    """All spans, newest first."""
    store = open_store(load_settings())
    spans = [
        span for d in chosen_devices(store, named(names, devices)) for span in MaintenanceSpan.read(store, d.device_id)
    ]
    print_rows(
        [
            {"device": s.device_id, "from": at(s.starts_at), "until": at(s.ends_at), "note": s.note}
            for s in sorted(spans, key=lambda s: -s.starts_at)
        ],
        as_json=as_json,
        title="Maintenance",
        empty="no maintenance has been entered: hvac maintenance add",
    )


@maintenance.command("remove")
def remove_span(
    start: Annotated[str, typer.Option("--from", help="Start of the span (ISO 8601).")],
    name: OneName = None,
    option: OneDevice = None,
) -> None:
    """Take a span back."""
    store = open_store(load_settings())
    device = chosen_device(store, name, option).device_id
    start_ms = instant(start, "--from")
    if start_ms not in {span.starts_at for span in MaintenanceSpan.read(store, device)}:
        errors.print(f"hvac: {device} has no maintenance from {start}: hvac maintenance list --devices {device}")
        raise typer.Exit(1)
    store.delete("maintenance_spans", {"device_id": [device], "starts_at": [start_ms]})
    console.print(f"{device}: removed")
