"""Commands about recurring times at which nobody is told of certain incidents: ``suppressions``."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, cast

import typer

from hvac_platform.cli.incident_actions import By, person
from hvac_platform.cli.output import AsJson, console, errors, print_rows
from hvac_platform.config import load_settings
from hvac_platform.monitoring.suppression import (
    MATCHES,
    SCOPE,
    WEEKDAYS,
    checked,
    in_words,
    read_suppressions,
    without_devices,
)
from hvac_platform.runtime.connections import open_store
from hvac_platform.stores.records import OutboxMessage, StoredCalendar, StoredMatches, Suppression
from hvac_platform.timestamps import DAY_MS, now_ms

COUNTED_DAYS = 30

suppressions = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


def _listed(texts: list[str] | None) -> list[str]:
    return [name for text in texts or [] for name in text.replace(",", " ").split()]


@suppressions.command("add")
def add_suppression(
    name: Annotated[str, typer.Argument(help="Name, such as 'weekends'.", metavar="NAME")],
    device: Annotated[str | None, typer.Option("--device", "--devices", help="Devices, as a pattern: RTU-*.")] = None,
    point: Annotated[str | None, typer.Option(help="Metric that moved most, as a pattern.")] = None,
    rule: Annotated[str | None, typer.Option(help="Rules that fired, as a pattern; data-loss for data losses.")] = None,
    building: Annotated[str | None, typer.Option(help="Buildings, as a pattern.")] = None,
    weekdays: Annotated[list[str] | None, typer.Option(help=f"Days of the week: {','.join(WEEKDAYS)}.")] = None,
    hours: Annotated[str | None, typer.Option(help="Hours of the day, such as 22:00-06:00.")] = None,
    dates: Annotated[
        list[str] | None, typer.Option(help="Days, such as 2026-12-24, or spans of days: 2026-12-24/2027-01-06.")
    ] = None,
    holidays: Annotated[list[str] | None, typer.Option(help="Lists of days that HVAC_SUPPRESSIONS has.")] = None,
    timezone: Annotated[str, typer.Option(help="Time zone of days and hours, such as Europe/Berlin.")] = "UTC",
    note: Annotated[str, typer.Option(help="Why.")] = "",
    by: By = None,
) -> None:
    """Enter times at which nobody is told of certain incidents; they are recorded all the same."""
    settings = load_settings()
    store = open_store(settings)
    known = read_suppressions(store, settings.hvac_suppressions)
    given = {"device": device, "point": point, "rule": rule, "building": building}
    lists = {"weekdays": _listed(weekdays), "dates": _listed(dates), "holidays": _listed(holidays)}
    calendar = {k: v for k, v in {**lists, "hours": hours, "timezone": timezone}.items() if v}
    made = checked(
        Suppression(
            SCOPE,
            name,
            cast("StoredMatches", {k: v for k, v in given.items() if v}),
            cast("StoredCalendar", calendar),
            note,
            person(by),
            now_ms(),
        ),
        known.holidays,
    )
    if name in known.of_file:
        errors.print(f"hvac: {name} is in {settings.hvac_suppressions}: change it there")
        raise typer.Exit(1)
    before = next((rule for rule in known.rules if rule.suppression_id == name), None)
    store.upsert(Suppression.TABLE, Suppression.columns([made]))
    console.print(f"{name}: {in_words(made.calendar)}")
    for line in without_devices(made.matches, store.devices()):
        errors.print(f"hvac: {line}")
    if before is not None:
        note = f" ({before.note})" if before.note else ""
        console.print(f"it takes the place of what had that name: {in_words(before.calendar)}{note}")


@suppressions.command("list")
def list_suppressions(as_json: AsJson = False) -> None:
    """All suppressions, what each holds for and when, and how many transitions it kept back in the last 30 days."""
    settings = load_settings()
    store = open_store(settings)
    known, now = read_suppressions(store, settings.hvac_suppressions), now_ms()
    span = (now - COUNTED_DAYS * DAY_MS, now + DAY_MS)
    kept_back = OutboxMessage.read(
        store, None, span, only=("error",), equals={"state": "suppressed", "kind": "transition"}
    )
    counts = Counter(message.error for message in kept_back)
    names = [rule.suppression_id for rule in known.rules]
    rows = [
        {
            "name": rule.suppression_id,
            **{match: rule.matches.get(match) for match in MATCHES},
            "when": in_words(rule.calendar),
            "suppressed": counts[rule.suppression_id],
            "entered_by": rule.added_by,
            "note": rule.note,
        }
        for rule in known.rules
    ]
    print_rows(rows, as_json=as_json, title="Suppressions", empty="no suppression: hvac suppressions add")
    if not as_json and (removed := sum(n for name, n in counts.items() if name not in names)):
        console.print(f"{removed} more were kept back by suppressions that are no longer there")


@suppressions.command("remove")
def remove_suppression(
    name: Annotated[str, typer.Argument(help="Name, as `hvac suppressions list` shows it.", metavar="NAME")],
) -> None:
    """Take one back that was entered by a command; what still goes on is told within a minute."""
    settings = load_settings()
    store = open_store(settings)
    known = read_suppressions(store, settings.hvac_suppressions)
    if name in known.of_file:
        errors.print(f"hvac: {name} is in {settings.hvac_suppressions}: take it out there")
        raise typer.Exit(1)
    if name not in {rule.suppression_id for rule in known.rules}:
        raise typer.BadParameter(f"no suppression {name[:64]!r}: hvac suppressions list", param_hint="NAME")
    store.delete(Suppression.TABLE, {"scope": [SCOPE], "suppression_id": [name]})
    console.print(f"{name}: removed")
