"""Commands about incidents and maintenance: ``incidents``, ``maintenance``."""

from __future__ import annotations

import contextlib
import enum
from dataclasses import asdict
from typing import Annotated

import typer

from hvac_platform.cli.choosing import MOST_DAYS, Devices, Names, chosen_devices, finite, instant, named, require_order
from hvac_platform.cli.output import AsJson, at, console, errors, print_json, print_rows
from hvac_platform.config import load_settings
from hvac_platform.monitoring.data_loss import DATA_LOSS, told_method
from hvac_platform.monitoring.similar import NoSnapshotError, similar_states
from hvac_platform.runtime.connections import make_encoders, open_store
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import Incident, MaintenanceSpan
from hvac_platform.timestamps import DAY_MS, iso, now_ms

incidents = typer.Typer(no_args_is_help=True)
maintenance = typer.Typer(no_args_is_help=True)

IncidentId = Annotated[str, typer.Argument(help="Incident, as `hvac incidents list` shows it.")]


class AtLeast(enum.StrEnum):
    """Least severity to show."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


SEVERITIES = tuple(AtLeast)


@incidents.command("list")
def list_incidents(
    names: Names = None,
    devices: Devices = None,
    days_back: Annotated[float, typer.Option(help="Days before now.", min=0, max=MOST_DAYS, callback=finite)] = 7.0,
    start: Annotated[str | None, typer.Option("--from", help="From here (ISO 8601) instead.")] = None,
    end: Annotated[str | None, typer.Option("--until", help="Up to here.")] = None,
    severity: Annotated[AtLeast, typer.Option(help="Least severity.")] = AtLeast.INFO,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that may still go on.")] = False,
    as_json: AsJson = False,
) -> None:
    """Incidents, newest first: when, how severe, what it looks like and why."""
    store = open_store(load_settings())
    start_ms, end_ms = instant(start, "--from"), instant(end, "--until")
    require_order(start_ms, end_ms)
    now = now_ms()
    begin = start_ms if start_ms is not None else now - round(days_back * DAY_MS)
    wanted = SEVERITIES[: SEVERITIES.index(severity) + 1]
    span = (begin, now + 1 if end_ms is None else end_ms)
    found = [
        incident
        for device in chosen_devices(store, named(names, devices))
        for incident in Incident.read(store, device.device_id, span)
        if incident.severity in wanted and (incident.status == "open" or not only_open)
    ]
    found.sort(key=lambda incident: -incident.started_at)
    print_rows(
        [_summary(incident) for incident in found],
        as_json=as_json,
        title=f"Incidents ({len(found)})",
        empty=f"no incident began since {iso(begin)}: --days-back or --from look further back",
    )


def _summary(found: Incident) -> dict[str, object]:
    likely = f"{found.kinds[0]['title']} ({found.kinds[0]['similarity']:.2f})" if found.kinds else None
    return {
        "incident": found.incident_id,
        "from": at(found.started_at, to_minutes=True),
        "minutes": round((found.ended_at - found.started_at) / 60_000),
        "severity": found.severity,
        "status": found.status,
        "scope": found.cause or found.scope,
        "likely": found.label or likely,
        "seen": next((similar["incident_id"] for similar in found.similar if similar["known"]), None),
        "why": next(iter(found.reasons), None),
    }


@incidents.command("show")
def show_incident(incident: IncidentId, as_json: AsJson = False) -> None:
    """One incident: rules that fired, metrics that moved, likely kinds, and where the same was seen before."""
    settings = load_settings()
    store = open_store(settings)
    found = _incident(store, incident)
    device = chosen_devices(store, [found.device_id])[0]
    lost = DATA_LOSS in found.methods
    states = None
    if not lost:
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
        print_json({**asdict(found), **times, "similar_states": past})
        return
    console.print(
        f"{found.incident_id}  {found.severity} (level {found.level}), {found.status}\n"
        f"{found.device_id} ({found.device_type}, {found.location}): {iso(found.started_at)} to {iso(found.ended_at)}, "
        f"{found.windows} windows, score {found.peak_score:.1f} (1 is the limit)\n"
        f"methods: {', '.join(f'{told_method(m)} {n}' for m, n in found.methods.items())}"
    )
    if found.scope == "fleet":
        console.print(f"one of many devices at once: {found.cause}")
    if found.excess_kwh is not None:
        console.print(f"energy: {found.excess_kwh:+.1f} kWh against what its state calls for")
    if found.label:
        console.print(f"it was: {found.label}")
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


@incidents.command("label")
def label_incident(
    incident: IncidentId,
    label: Annotated[
        str, typer.Argument(help="What it turned out to be, e.g. 'refrigerant leak'; empty takes it back.")
    ],
) -> None:
    """Say what an incident was: later ones like it will say so too."""
    store = open_store(load_settings())
    found = _incident(store, incident)
    key = {"device_id": [found.device_id], "started_at": [found.started_at]}
    store.update("incidents", {**key, "label": [label.strip() or None]})
    console.print(f"{incident}: {label.strip() or 'label removed'}")


def _incident(store: Store, incident: str) -> Incident:
    device_id, _, started = incident.rpartition("/")
    at = int(started) if started.isascii() and started.isdigit() and len(started) <= 15 else -1
    found = Incident.first(store, device_id, (at, at + 1)) if device_id and at >= 0 else None
    if found is None:
        raise typer.BadParameter(f"no incident {incident!r}; `hvac incidents list` shows them", param_hint="INCIDENT")
    return found


@maintenance.command("add")
def add_span(
    device: Annotated[str, typer.Option("--device", "--devices", help="Device.")],
    start: Annotated[str, typer.Option("--from", help="Start (ISO 8601).")],
    end: Annotated[str, typer.Option("--until", help="End (ISO 8601).")],
    note: Annotated[str, typer.Option(help="What is done.")] = "",
) -> None:
    """Enter known work on a device: nothing alarms in it, and nothing is learned from it."""
    store = open_store(load_settings())
    chosen_devices(store, [device])
    start_ms, end_ms = instant(start, "--from"), instant(end, "--until")
    require_order(start_ms, end_ms)
    assert start_ms is not None
    assert end_ms is not None
    span = MaintenanceSpan(device, start_ms, end_ms, note, added_at=now_ms())
    store.upsert(MaintenanceSpan.TABLE, MaintenanceSpan.columns([span]))
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
    device: Annotated[str, typer.Option("--device", "--devices", help="Device.")],
    start: Annotated[str, typer.Option("--from", help="Start of the span (ISO 8601).")],
) -> None:
    """Take a span back."""
    store = open_store(load_settings())
    chosen_devices(store, [device])
    start_ms = instant(start, "--from")
    if start_ms not in {span.starts_at for span in MaintenanceSpan.read(store, device)}:
        errors.print(f"hvac: {device} has no maintenance from {start}: hvac maintenance list --devices {device}")
        raise typer.Exit(1)
    store.delete("maintenance_spans", {"device_id": [device], "starts_at": [start_ms]})
    console.print(f"{device}: removed")
