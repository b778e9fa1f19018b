"""Commands about alerts: who is told and why, tests of receivers, the outbox, and sending what waits."""

from __future__ import annotations

import enum
from dataclasses import replace
from typing import Annotated, Any

import typer

from hvac_platform.alerts import outbox
from hvac_platform.alerts.delivery import Deliverer, Sent
from hvac_platform.alerts.explaining import Explained, explain
from hvac_platform.alerts.facts import PLATFORM
from hvac_platform.alerts.messages import Content, Message
from hvac_platform.alerts.receivers import DeliveryError, make_sender
from hvac_platform.alerts.standing import told
from hvac_platform.alerts.tree import AlertsFileError, Route, Tree, current_tree, redaction
from hvac_platform.cli.choosing import MOST_DAYS, finite
from hvac_platform.cli.output import AsJson, at, console, errors, print_json, print_rows
from hvac_platform.config import load_settings
from hvac_platform.monitoring.lifecycle import device_of, incident_by_id
from hvac_platform.monitoring.notifying import explained_urgency
from hvac_platform.runtime.connections import open_store
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import OutboxMessage
from hvac_platform.timestamps import DAY_MS, now_ms

alerts = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

PATIENCE_SECONDS = 6.0
"""The lease of a deliverer that was killed lapses after five seconds."""


class MessageState(enum.StrEnum):
    """State of a row of the outbox."""

    NEW = "new"
    WAITING = "waiting"
    SENT = "sent"
    DEAD = "dead"
    SUPPRESSED = "suppressed"
    SUPERSEDED = "superseded"
    PLANNED = "planned"


def _tree() -> Tree:
    tree = current_tree(load_settings().hvac_alerts)
    if tree is None:
        raise AlertsFileError("HVAC_ALERTS names no file, so nobody is told of anything: docs/alerts.md")
    return tree


@alerts.command("explain")
def explain_incident(
    incident: Annotated[str, typer.Argument(help="Incident, as `hvac incidents list` shows it.", metavar="INCIDENT")],
    as_json: AsJson = False,
) -> None:
    """Who was told of an incident, who was not, and why; of what hasn't happened yet, who would be."""
    tree, store, now = _tree(), open_store(load_settings()), now_ms()
    content, device_id = incident_by_id(store, incident), device_of(incident)
    known = device_id == PLATFORM or content is not None
    found = explain(store, tree, incident, device_id, now) if known or _has_happened(store, incident, now) else []
    if not found:
        raise typer.BadParameter(f"no incident {incident!r}; `hvac incidents list` shows them", param_hint="INCIDENT")
    rows = [_explained(one) for one in found]
    print_rows(
        rows,
        as_json=as_json,
        title=f"Who is told of {incident}",
        narrow=("transition", "receiver", "what", "state", "why"),
    )
    if content is not None and not as_json:
        console.print(explained_urgency(store, load_settings(), content))


def _has_happened(store: Store, incident: str, now: int) -> bool:
    return bool(outbox.read_outbox(store, now, incident_id=incident))


def _explained(one: Explained) -> dict[str, Any]:
    decision = one.decision
    return {
        "transition": one.transition,
        "at": at(one.at_ms),
        "receiver": decision.receiver or "nobody",
        "what": f"{decision.action} {decision.step}" if decision.step else str(decision.action),
        "due": at(decision.due_ms) if decision.tells else None,
        "state": one.state,
        "why": decision.reason,
        "said": one.said or None,
    }


@alerts.command("test")
def try_receivers(
    name: Annotated[str, typer.Argument(help="Receiver, or route by its name.", metavar="ROUTE|RECEIVER")],
    as_json: AsJson = False,
) -> None:
    """Send a test message to a receiver, or to all of a route; says what each answered. Exit code 1 when one failed."""
    tree, now = _tree(), now_ms()
    names = [name] if name in tree.receivers else _receivers_of(tree.route, name, ())
    if names is None:
        routes = ", ".join(_names(tree.route)) or "none has a name"
        raise typer.BadParameter(
            f"no receiver and no route is called {name!r}; receivers are {', '.join(tree.receivers)}; routes: {routes}",
            param_hint="ROUTE|RECEIVER",
        )
    text = "a test of the alerts: nothing is wrong"
    content = Content(f"{PLATFORM}/test/{now}", PLATFORM, severity="info", since_ms=now, text=text)
    rows = []
    for receiver in names:
        message = Message(
            key=f"{PLATFORM}/test/{now}#opened",
            transition="opened",
            happened_at=now,
            made_at=now,
            contents=(content,),
            zone=tree.zone_of(""),
            extra={"route": "", "receiver": receiver},
        )
        said, ok = "taken", True
        try:
            sender = make_sender(receiver, tree.receivers[receiver], errors.print)
            try:
                answer = sender.send(message)
            finally:
                sender.close()
            said = f"taken as {answer.reference}" if answer.reference else said
        except DeliveryError as error:
            said, ok = redaction(tree)(str(error)), False
        rows.append({"receiver": receiver, "way": tree.receivers[receiver].way, "ok": ok, "said": said})
    print_rows(rows, as_json=as_json, title="Test", empty="this route has no receivers: nobody is told")
    if not rows or not all(row["ok"] for row in rows):
        raise typer.Exit(1)


def _receivers_of(route: Route, name: str, above: tuple[str, ...]) -> list[str] | None:
    """Receivers of the route of a name, those of escalations too; None where there is no such route."""
    own = route.receivers if route.receivers is not None else above
    if route.name == name:
        return list(dict.fromkeys([*own, *(name for step in route.escalate or () for name in step.receivers)]))
    found = (_receivers_of(child, name, own) for child in route.routes)
    return next((names for names in found if names is not None), None)


def _names(route: Route) -> list[str]:
    return [*([route.name] if route.name else []), *(name for child in route.routes for name in _names(child))]


@alerts.command("outbox")
def show_outbox(
    state: Annotated[
        list[MessageState] | None, typer.Option(help="States to show, repeated; all but planned and sent when absent.")
    ] = None,
    days_back: Annotated[
        float, typer.Option(help="Days before now; 30 are kept.", min=0, max=MOST_DAYS, callback=finite)
    ] = 7.0,
    limit: Annotated[int, typer.Option(help="Rows to show, the newest.", min=1, max=1_000_000)] = 50,
    retry: Annotated[
        str | None, typer.Option(help="Try a dead message again: its key, the name of a receiver, or all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What waits to be sent, what was given up, what was not told and why; --state sent shows what was."""
    store, now = open_store(load_settings()), now_ms()
    if retry is not None:
        _retry(store, retry, now)
        return
    wanted = set(state or [s for s in MessageState if s not in (MessageState.SENT, MessageState.PLANNED)])
    since_ms = now - round(days_back * DAY_MS)
    found = [row for row in outbox.read_outbox(store, now, since_ms=since_ms) if row.state in wanted]
    newest = sorted(found, key=lambda row: (-row.queued_at, row.message_key))[:limit]
    shown = f", the newest {limit}; --limit for more" if len(found) > limit else ""
    print_rows(
        [_outbox_row(row, now) for row in newest],
        as_json=as_json,
        title=f"Outbox ({len(found)}{shown})",
        empty="nothing waits, and nothing was given up",
        narrow=("state", "receiver", "minutes", "key"),
    )


def _outbox_row(row: OutboxMessage, now: int) -> dict[str, Any]:
    return {
        "key": row.message_key,
        "state": row.state,
        "receiver": row.receiver,
        "minutes": round((now - outbox.queued_ms(row)) / 60_000, 1),
        "attempts": row.attempts,
        "next": at(row.next_attempt_at) if row.state == "waiting" else None,
        "sent": at(row.sent_at),
        "error": row.error,
    }


def _retry(store: Store, which: str, now: int) -> None:
    dead = outbox.messages(store, now, "dead")
    chosen = [row for row in dead if which in ("all", row.receiver, row.message_key)]
    if not chosen:
        raise typer.BadParameter(f"no dead message is {which!r}: hvac alerts outbox --state dead", param_hint="--retry")
    outbox.write(
        store,
        [replace(row, state="waiting", attempts=0, next_attempt_at=now, error=None, updated_at=now) for row in chosen],
    )
    console.print(f"{len(chosen)} are tried again; hvac alerts send does so at once")


@alerts.command("send")
def send(
    seconds: Annotated[float, typer.Option(help="For so long at most.", min=1, max=3600, callback=finite)] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Send all that is due now. Exit code 1 when a receiver did not take something; it stays in the outbox."""
    settings, store = load_settings(), open_store(load_settings())
    sent: list[Sent] = []
    troubles: list[str] = []
    _tree()
    deliverer = Deliverer(
        store,
        settings,
        write=errors.print if as_json else console.print,
        on_sent=sent.append,
        on_trouble=troubles.append,
    )
    try:
        deliverer.deliver_everything(seconds, patience=PATIENCE_SECONDS)
        delivers = deliverer.delivers
    finally:
        deliverer.close()
    if as_json:
        print_json(
            {
                "sent": [{"key": s.row.message_key, "receiver": s.row.receiver, "title": s.title} for s in sent],
                "troubles": troubles,
                "delivers": delivers,
            }
        )
    else:
        for one in sent:
            console.print(told(one))
        if not sent:
            console.print(
                "nothing was due" if delivers else "another process delivers; hvac alerts outbox shows what waits"
            )
        for line in troubles:
            errors.print(f"hvac: {line}")
    if troubles:
        raise typer.Exit(1)
