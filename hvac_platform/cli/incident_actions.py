"""What people do with incidents: ``incidents ack``, ``assign``, ``snooze``, ``resolve``, ``reopen`` and others."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from typing import Annotated

import typer

from hvac_platform.cli.choosing import chosen_incident, finite, instant
from hvac_platform.cli.output import console, errors
from hvac_platform.config import load_settings
from hvac_platform.monitoring import lifecycle
from hvac_platform.monitoring.incident_actions import ACTIONS, Action, perform
from hvac_platform.monitoring.lifecycle import NotAllowedError
from hvac_platform.runtime.connections import open_store
from hvac_platform.stores.records import Incident
from hvac_platform.timestamps import now_ms

MOST_HOURS = 24.0 * 366

ManyIncidents = Annotated[
    list[str],
    typer.Argument(help="Incidents, as `hvac incidents list` shows them.", metavar="INCIDENT..."),
]
By = Annotated[str | None, typer.Option("--by", help="Who does it; who is logged in when absent.")]
Note = Annotated[str, typer.Option("--note", help="What is to be said about it.")]
Alone = Annotated[
    bool, typer.Option("--alone", help="Of a parent: leave the incidents of the other devices that are part of it.")
]


def add_actions(app: typer.Typer) -> None:
    """Add the commands to ``hvac incidents``."""
    for name, command in COMMANDS.items():
        app.command(name)(command)


def acknowledge(incidents: ManyIncidents, by: By = None, note: Note = "", alone: Alone = False) -> None:
    """Say that you have seen an incident and take it on."""
    _do(incidents, Action(name="ack", note=note), by, alone, "acknowledged")


def assign(
    incidents: ManyIncidents,
    to: Annotated[str, typer.Option("--to", help="Who takes care of it; empty for nobody.")],
    by: By = None,
    note: Note = "",
    alone: Alone = False,
) -> None:
    """Say who takes care of an incident."""
    told = f"assigned to {to}" if to else "assigned to nobody"
    _do(incidents, Action(name="assign", to=to, note=note), by, alone, told)


def snooze(
    incidents: ManyIncidents,
    hours: Annotated[
        float | None, typer.Option(help="For so many hours.", min=0.01, max=MOST_HOURS, callback=finite)
    ] = None,
    until: Annotated[str | None, typer.Option(help="Or until then (ISO 8601).")] = None,
    by: By = None,
    note: Note = "",
    alone: Alone = False,
) -> None:
    """Be left in peace about an incident for a while, or until it becomes more severe."""
    if (hours is None) == (until is None):
        raise typer.BadParameter("say how long, by --hours or by --until", param_hint="--hours")
    given = instant(until, "--until")
    until_ms = given if given is not None else now_ms() + round(3_600_000 * (hours or 0.0))
    _do(incidents, Action(name="snooze", until_ms=until_ms, note=note), by, alone, "snoozed")


def resolve(incidents: ManyIncidents, by: By = None, note: Note = "", alone: Alone = False) -> None:
    """Say that it is put right: what is anomalous half an hour later is a new incident."""
    _do(incidents, Action(name="resolve", note=note), by, alone, "resolved")


def reopen(incidents: ManyIncidents, by: By = None, note: Note = "", alone: Alone = False) -> None:
    """Say that it is not over after all."""
    _do(incidents, Action(name="reopen", note=note), by, alone, "reopened")


def false_alarm(incidents: ManyIncidents, by: By = None, note: Note = "", alone: Alone = False) -> None:
    """Say that there was nothing wrong with the machine."""
    _do(incidents, Action(name="false-alarm", note=note), by, alone, "false alarm")


def comment(
    incident: Annotated[str, typer.Argument(help="Incident.", metavar="INCIDENT")],
    note: Annotated[str, typer.Argument(help="What is to be said.", metavar="NOTE")],
    by: By = None,
) -> None:
    """Say something about an incident: it is kept in its history."""
    if not note.strip():
        raise typer.BadParameter("say something", param_hint="NOTE")
    _do([incident], Action(name="comment", note=note), by, True, "commented")


def label(
    incident: Annotated[str, typer.Argument(help="Incident.", metavar="INCIDENT")],
    label: Annotated[
        str,
        typer.Argument(help="What it turned out to be, e.g. 'refrigerant leak'; empty takes it back.", metavar="LABEL"),
    ],
    by: By = None,
) -> None:
    """Say what an incident was: later ones like it will say so too."""
    _do([incident], Action(name="label", label=label), by, True, label.strip() or "label removed")


COMMANDS: dict[str, Callable[..., None]] = dict(
    zip(ACTIONS, (acknowledge, assign, snooze, resolve, reopen, false_alarm, comment, label), strict=True)
)


def _do(ids: list[str], action: Action, by: str | None, alone: bool, told: str) -> None:
    """Do it to each incident, and to those that are part of it; one that can't be is named and makes the exit code 1."""
    store = open_store(load_settings())
    who = person(by)
    chosen, refused = list[Incident](), False
    for incident_id in ids:
        try:
            chosen.append(chosen_incident(store, incident_id))
        except typer.BadParameter as error:
            if len(ids) == 1:
                raise
            errors.print(f"hvac: {error.message}")
            refused = True
    for incident in chosen:
        try:
            parts = [] if alone else lifecycle.children_of(store, incident)
            others = perform(store, incident, action, by=who, at_ms=now_ms(), parts=parts)
        except NotAllowedError as error:
            errors.print(f"hvac: {error}")
            refused = True
            continue
        console.print(f"{incident.incident_id}: {told}" + (f", and {others} that are part of it" if others else ""))
    if refused:
        raise typer.Exit(1)


def person(by: str | None) -> str:
    """Who does it.

    Raises:
        typer.BadParameter: nobody was named, and it isn't known who is logged in.
    """
    try:
        name = (by if by is not None else getpass.getuser()).strip()
    except (OSError, KeyError):
        name = ""
    if not name or name == lifecycle.PLATFORM or len(name) > 128 or not name.isprintable():
        raise typer.BadParameter("say who does it: a name of up to 128 characters", param_hint="--by")
    return name
