"""The outbox of alerts, as an external asset: detection and people fill it, delivery empties it."""

import dagster as dg

from hvac_platform.alerts.outbox import OutboxCounts
from hvac_platform.assets.common import OWNERS
from hvac_platform.assets.incidents import incidents
from hvac_platform.timestamps import iso

LATE_MINUTES = 5
"""A message that is due for longer has not reached its receiver as it should."""
NOBODY = "HVAC_ALERTS names no file: nobody is told"

alert_outbox = dg.AssetSpec(
    "alert_outbox",
    deps=[incidents],
    group_name="detection",
    kinds={"scylladb", "sqlite"},
    owners=OWNERS,
    metadata={"table": "alert_outbox"},
    description=(
        "What people are to be told of incidents, and what receivers were told. Why: an incident that nobody hears of helps "
        "nobody. Detection and people's acts fill it; a detection run that stands, or the sensor `alert_delivery`, empties "
        "it. The sensor's looks are the observations of this page: what waits, since when, what was sent and what was "
        "given up in the last day."
    ),
)


def observation_of(counts: OutboxCounts) -> dg.AssetObservation:
    """What the outbox's page shows of one look."""
    return dg.AssetObservation(
        asset_key=alert_outbox.key,
        metadata={
            "waiting": counts.waiting,
            "waits_since": "nothing is due" if counts.oldest_due_ms is None else iso(counts.oldest_due_ms),
            "sent_in_the_last_day": counts.sent,
            "given_up_in_the_last_day": counts.given_up,
        },
    )


def evaluate_outbox(counts: OutboxCounts, now_ms: int, *, told_to_somebody: bool) -> dg.AssetCheckResult:
    """Whether what is due is delivered, in a sentence; where there is nobody to be told, that."""
    told = []
    if counts.oldest_due_ms is not None and now_ms - counts.oldest_due_ms > LATE_MINUTES * 60_000:
        waited = (now_ms - counts.oldest_due_ms) // 60_000
        told.append(f"a message has been due for {waited} min, and {counts.waiting} wait")
    if counts.given_up:
        told.append(f"{counts.given_up} messages of the last day were given up")
    said = "; ".join(told)
    fine = "what was due was delivered" if told_to_somebody else NOBODY
    return dg.AssetCheckResult(
        passed=not told,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"waiting": counts.waiting, "given_up_in_the_last_day": counts.given_up},
        description=f"{said}: hvac alerts outbox says which and why" if said else fine,
    )
