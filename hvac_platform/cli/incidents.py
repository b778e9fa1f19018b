"""Commands about incidents and maintenance: ``incidents``, ``maintenance``."""

from __future__ import annotations

import contextlib
import enum
from typing import Annotated, Any

import typer

from hvac_platform.cli.choosing import MOST_DAYS, Devices, Names, chosen_devices, finite, instant, named, require_order
from hvac_platform.cli.output import AsJson, at, console, errors, print_json, print_rows
from hvac_platform.config import load_settings
from hvac_platform.monitoring.incidents import incident_rows
from hvac_platform.monitoring.maintenance import maintenance_spans
from hvac_platform.monitoring.silence import SILENCE
from hvac_platform.monitoring.similar import NoSnapshotError, similar_states
from hvac_platform.runtime.connections import make_encoders, open_store
from hvac_platform.stores.base import Store
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
    found = [
        row
        for device in chosen_devices(store, named(names, devices))
        for row in incident_rows(store, device.device_id, begin, now + 1 if end_ms is None else end_ms)
        if row["severity"] in wanted and (row["status"] == "open" or not only_open)
    ]
    found.sort(key=lambda row: -row["started_at"])
    print_rows(
        [_summary(row) for row in found],
        as_json=as_json,
        title=f"Incidents ({len(found)})",
        empty=f"no incident began since {iso(begin)}: --days-back or --from look further back",
    )


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    likely = f"{row['kinds'][0]['title']} ({row['kinds'][0]['similarity']:.2f})" if row["kinds"] else None
    seen = next((s for s in row["similar"] if s["known"]), None)
    return {
        "incident": row["incident_id"],
        "from": at(row["started_at"], to_minutes=True),
        "minutes": round((row["ended_at"] - row["started_at"]) / 60_000),
        "severity": row["severity"],
        "status": row["status"],
        "scope": row["cause"] or row["scope"],
        "likely": row["label"] or likely,
        "seen": seen["incident_id"] if seen else None,
        "why": next(iter(row["reasons"]), None),
    }


@incidents.command("show")
def show_incident(incident: IncidentId, as_json: AsJson = False) -> None:
    """One incident: rules that fired, metrics that moved, likely kinds, and where the same was seen before."""
    settings = load_settings()
    store = open_store(settings)
    row = _incident(store, incident)
    device = chosen_devices(store, [row["device_id"]])[0]
    silent = SILENCE in row["methods"]
    states = None
    if not silent:
        middle = (row["started_at"] + row["ended_at"]) // 2
        with contextlib.suppress(NoSnapshotError):
            states = similar_states(
                store, device, make_encoders(settings, store), at_ms=middle, before_ms=row["started_at"]
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
        times = {name: at(row[name]) for name in ("started_at", "ended_at", "updated_at")}
        print_json({**row, **times, "similar_states": past})
        return
    console.print(
        f"{row['incident_id']}  {row['severity']} (level {row['level']}), {row['status']}\n"
        f"{row['device_id']} ({row['device_type']}, {row['location']}): {iso(row['started_at'])} to {iso(row['ended_at'])}, "
        f"{row['windows']} windows, score {row['peak_score']:.1f} (1 is the limit)\n"
        f"methods: {', '.join(f'{m} {n}' for m, n in row['methods'].items())}"
    )
    if row["scope"] == "fleet":
        console.print(f"one of many devices at once: {row['cause']}")
    if row["excess_kwh"] is not None:
        console.print(f"energy: {row['excess_kwh']:+.1f} kWh against what its state calls for")
    if row["label"]:
        console.print(f"it was: {row['label']}")
    console.print("\nwhy")
    for reason in row["reasons"] or ["no reason was given"]:
        console.print(f"  {reason}")
    if silent:
        return
    if row["rules"]:
        console.print(f"  rules: {', '.join(row['rules'])}")
    console.print(f"  metrics: {', '.join(row['metrics']) or '-'}\n")
    print_rows(
        [{"likely kind": k["title"], "similarity": round(k["similarity"], 2)} for k in row["kinds"]],
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
            for s in row["similar"]
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
    row = _incident(store, incident)
    key = {"device_id": [row["device_id"]], "started_at": [row["started_at"]]}
    store.update("incidents", {**key, "label": [label.strip() or None]})
    console.print(f"{incident}: {label.strip() or 'label removed'}")


def _incident(store: Store, incident: str) -> dict[str, Any]:
    device_id, _, started = incident.rpartition("/")
    at = int(started) if started.isascii() and started.isdigit() and len(started) <= 15 else -1
    row = next(iter(incident_rows(store, device_id, at, at + 1)), None) if device_id and at >= 0 else None
    if row is None:
        raise typer.BadParameter(f"no incident {incident!r}; `hvac incidents list` shows them", param_hint="INCIDENT")
    return row


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
    store.upsert(
        "maintenance_spans",
        {"device_id": [device], "starts_at": [start_ms], "ends_at": [end_ms], "note": [note], "added_at": [now_ms()]},
    )
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
        span for d in chosen_devices(store, named(names, devices)) for span in maintenance_spans(store, d.device_id)
    ]
    print_rows(
        [
            {"device": s.device_id, "from": at(s.start_ms), "until": at(s.end_ms), "note": s.note}
            for s in sorted(spans, key=lambda s: -s.start_ms)
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
    if start_ms not in {s.start_ms for s in maintenance_spans(store, device)}:
        errors.print(f"hvac: {device} has no maintenance from {start}: hvac maintenance list --devices {device}")
        raise typer.Exit(1)
    store.delete("maintenance_spans", {"device_id": [device], "starts_at": [start_ms]})
    console.print(f"{device}: removed")
