"""From what a pass has found to where each incident stands: the rows of handling, history and outbox that follow from it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from hvac_platform.config import Settings
from hvac_platform.monitoring.incidents import IncidentChanges
from hvac_platform.monitoring.lifecycle import (
    ACTIVE,
    PLATFORM,
    Rules,
    State,
    Step,
    Transition,
    after_pass,
    after_withdrawal,
    message_key,
    step_batches,
)
from hvac_platform.monitoring.notifying import Quiet
from hvac_platform.monitoring.suppression import SuppressionError, Suppressions, read_suppressions
from hvac_platform.stores.base import Store
from hvac_platform.stores.batches import TableBatch
from hvac_platform.stores.records import Incident, IncidentHandling, OutboxMessage
from hvac_platform.timestamps import DAY_MS

LARGE = ("signature", "kinds", "similar", "reasons")
"""Columns of incidents that say nothing about where one stands."""
OUTBOX_MS = 30 * DAY_MS
SUPPRESSED = "suppressed"

_logger = logging.getLogger(__name__)


def history_batches(
    store: Store,
    settings: Settings,
    changes: Mapping[str, IncidentChanges],
    *,
    now_ms: int,
    open_past: bool = False,
) -> Iterator[TableBatch]:
    """Rows that follow from a pass over incidents, whose content is in the store by now.

    What a crash between content and these rows has left open is made up for by the next pass over the device.

    Args:
        store: where incidents are.
        settings: from when on an incident is of the past; the file of suppressions.
        changes: what became of the incidents of each device.
        now_ms: the present.
        open_past: open those of the past too.
    """
    rules = Rules(settings.incident_past_ms, open_past)
    found: list[tuple[Step, Incident | None]] = []
    for device_id, changed in changes.items():
        if changed.present or changed.merged or changed.gone:
            found += _steps(store, device_id, changed, rules, now_ms)
    moved = [(step, incident) for step, incident in found if step.handling != step.before or step.transitions]
    if moved:
        suppressed = _suppressed(store, settings, moved, now_ms) if any(step.transitions for step, _ in moved) else {}
        yield from step_batches([step for step, _ in moved], now_ms, suppressed)


def _steps(
    store: Store, device_id: str, changed: IncidentChanges, rules: Rules, now_ms: int
) -> Iterator[tuple[Step, Incident | None]]:
    """What becomes of the incidents of a device, with the content of those that are there."""
    known = {handling.incident_id: handling for handling in IncidentHandling.read(store, device_id)}
    only = Incident.all_but(*LARGE)
    starts = changed.present.values()
    span = (min(starts), max(starts) + 1) if starts else (0, 0)
    incidents = [
        incident
        for incident in (Incident.read(store, device_id, span, only=only) if starts else [])
        if changed.present.get(incident.incident_id) == incident.started_at
    ]
    heirs: dict[str, list[IncidentHandling]] = {}
    for incident_id, handling in known.items():
        if incident_id in changed.merged and handling.continues is None:
            heirs.setdefault(changed.merged[incident_id], []).append(handling)
            yield after_withdrawal(handling, changed.merged[incident_id], now_ms), None
        elif handling.state in ACTIVE and incident_id not in changed.present and incident_id not in changed.merged:
            content = Incident.first(store, device_id, only=only, equals={"incident_id": incident_id})
            if content is None:
                yield after_withdrawal(handling, None, now_ms), None
            else:
                yield after_pass(handling, content, rules, now_ms), content
    for incident in incidents:
        step = after_pass(known.get(incident.incident_id), incident, rules, now_ms)
        yield _with_what_was_said(step, heirs.get(incident.incident_id, [])), incident


def _with_what_was_said(step: Step, merged: Sequence[IncidentHandling]) -> Step:
    """A step with the labels and the assignee of incidents that the one took in."""
    handling = step.handling
    labels = list(dict.fromkeys([*handling.labels, *(label for one in merged for label in one.labels)]))
    assignee = handling.assignee or next((one.assignee for one in merged if one.assignee), None)
    return replace(step, handling=replace(handling, labels=labels, assignee=assignee))


# -- suppression ---------------------------------------------------------------------------------------------------------


def known_suppressions(store: Store, settings: Settings) -> Suppressions:
    """The suppressions; those of a file that can't be used are told in the log, and the others hold."""
    try:
        return read_suppressions(store, settings.hvac_suppressions)
    except SuppressionError as error:
        _logger.error("%s: its suppressions don't hold until that is put right", error)
        return read_suppressions(store, None)


def _suppressed(
    store: Store, settings: Settings, moved: Sequence[tuple[Step, Incident | None]], now_ms: int
) -> dict[str, str]:
    """Name of the suppression by message key, of transitions that nobody is to be told of.

    The end of an incident is told where its beginning was, whatever holds by then, and is not where that was not.
    """
    quiet = Quiet.of(store, settings, known_suppressions(store, settings))
    ending = any(step.before and step.handling.state not in ACTIVE for step, _ in moved)
    untold = _untold(store, now_ms) if ending else {}
    found: dict[str, str] = {}
    for step, incident in moved:
        began = untold.get(opening_key(step.before)) if step.before is not None else None
        name = began.error or SUPPRESSED if began is not None else None
        for transition in step.transitions:
            opens = transition.transition in (Transition.OPENED, Transition.REOPENED)
            if opens or step.handling.state in ACTIVE:
                name = quiet.reason(incident, now_ms) if incident is not None else None
            if name is not None:
                found[message_key(transition)] = name
    return found


def opening_key(handling: IncidentHandling) -> str:
    """Key in the outbox of what opened an incident last, where the platform did."""
    times = handling.openings
    return f"{handling.incident_id}#{Transition.OPENED if times <= 1 else f'{Transition.REOPENED}/{times}'}"


def _untold(store: Store, now_ms: int) -> dict[str, OutboxMessage]:
    """Transitions that were suppressed, by key."""
    span = (now_ms - OUTBOX_MS, now_ms + DAY_MS)
    rows = OutboxMessage.read(store, None, span, equals={"state": SUPPRESSED, "kind": "transition"})
    return {row.message_key: row for row in rows}


def release_batches(store: Store, settings: Settings, now_ms: int) -> Iterator[TableBatch]:
    """Rows of incidents that still go on although the suppression that they began under is over: they are told now."""
    untold = _untold(store, now_ms)
    if not untold:
        return
    quiet = Quiet.of(store, settings, known_suppressions(store, settings))
    free: list[OutboxMessage] = []
    for device_id in sorted({row.device_id for row in untold.values()}):
        for handling in IncidentHandling.read(store, device_id):
            row = untold.get(opening_key(handling))
            if row is None or handling.state not in ACTIVE:
                continue
            named = {"incident_id": handling.incident_id}
            incident = Incident.first(store, device_id, only=Incident.all_but(*LARGE), equals=named)
            if incident is not None and quiet.reason(incident, now_ms) is None:
                free.append(replace(row, state="new", error=None, updated_at=now_ms))
    if free:
        yield TableBatch(OutboxMessage.columns(free), table=OutboxMessage.TABLE)


def active_incidents(store: Store) -> list[IncidentHandling]:
    """Incidents of all devices that somebody should look at, or does; not those of the platform itself."""
    return [
        handling
        for state in sorted(ACTIVE, key=list(State).index)
        for handling in IncidentHandling.read(store, equals={"state": str(state)})
        if handling.device_id != PLATFORM
    ]
