"""New transitions of the outbox become its messages; a crash at any point leads to the same messages again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hvac_platform.alerts import outbox
from hvac_platform.alerts.planning import Planned, plan
from hvac_platform.alerts.tree import Tree
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import OutboxMessage
from hvac_platform.timestamps import DAY_MS

STALE_MS = DAY_MS
"""What was written longer ago, and nobody was there to tell it, is no news any more."""


def plan_transitions(store: Store, tree: Tree, rows: Sequence[OutboxMessage], now: int) -> None:
    """Write the messages of some transitions, then that they are planned; in this order a crash in between repeats it."""
    facts = outbox.KnownFacts(store)
    told = outbox.told(store, now)
    fresh = [row for row in rows if now - row.updated_at < STALE_MS]
    transitions = [outbox.transition_of(row, facts) for row in fresh]
    planned = plan(tree, transitions, told, now, known=facts.known)
    details: dict[tuple[str, str], dict[str, Any]] = {
        (row.incident_id, outbox.transition_key(row)): dict(row.details) for row in fresh
    }
    outbox.write(store, outbox.rows_of(planned, details, now))
    unheard = _unheard(planned)
    changed = [
        replace(row, state="planned", error=unheard.get((row.incident_id, outbox.transition_key(row))), updated_at=now)
        for row in fresh
    ]
    stale = f"it was {STALE_MS // 3_600_000} hours old when it could be told"
    changed += [replace(row, state="superseded", error=stale, updated_at=now) for row in rows if row not in fresh]
    outbox.write(store, changed)


def _unheard(planned: Sequence[Planned]) -> dict[tuple[str, str], str]:
    """Transitions that no receiver hears of, and why."""
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    heard: set[tuple[str, str]] = set()
    for one in planned:
        for incident_id in one.incidents:
            if one.decision.tells:
                heard.add((incident_id, one.transition))
            else:
                reasons[incident_id, one.transition].append(one.decision.reason)
    return {key: "nobody is told: " + "; ".join(dict.fromkeys(why)) for key, why in reasons.items() if key not in heard}
