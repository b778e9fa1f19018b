"""alert_delivery: sends what lies in the outbox while no detection run stands to do so, and says how the outbox stands."""

import json
from dataclasses import asdict

import dagster as dg

from hvac_platform.alerts.delivery import Deliverer
from hvac_platform.alerts.outbox import late, outbox_counts
from hvac_platform.alerts.standing import told
from hvac_platform.assets.alert_outbox import NOBODY, evaluate_outbox, observation_of
from hvac_platform.assets.checks import ALERTS_ARE_DELIVERED, alerts_are_delivered
from hvac_platform.resources import PlatformResource
from hvac_platform.timestamps import now_ms

LOOK_SECONDS = 60
LATE_MS = 30_000
"""What is due for longer is nobody else's work."""
LONGEST_SECONDS = 30.0
REPEAT_MS = 3_600_000
"""How the outbox stands is told again after so long, changed or not, so that its age tells that somebody looks."""


@dg.sensor(
    asset_selection=dg.AssetSelection.checks(alerts_are_delivered),
    minimum_interval_seconds=LOOK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "A detection run sends alerts as soon as it has written them. What lies in the outbox for longer than 30 s, because "
        "none stands or a receiver was away, is sent here; the tick says what it was. How the outbox stands is told on the "
        "page of the asset alert_outbox, with the check alerts_are_delivered."
    ),
)
def alert_delivery(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """One look; it asks for no resource, whose making costs more than the look."""
    platform = PlatformResource()
    told_to_somebody = platform.settings.hvac_alerts is not None
    said, now = deliver_late(context, platform) if told_to_somebody else NOBODY, now_ms()
    counts = outbox_counts(platform.store, now)
    result = evaluate_outbox(counts, now, told_to_somebody=told_to_somebody)
    stands = {**asdict(counts), "said": result.description}
    memory = json.loads(context.cursor) if context.cursor else {}
    if memory.get("stands") == stands and now - memory.get("told_at", 0) < REPEAT_MS:
        return dg.SkipReason(said)
    context.update_cursor(json.dumps({"stands": stands, "told_at": now}))
    evaluation = dg.AssetCheckEvaluation(
        asset_key=ALERTS_ARE_DELIVERED.asset_key,
        check_name=ALERTS_ARE_DELIVERED.name,
        passed=result.passed,
        severity=result.severity,
        metadata=result.metadata,
        description=result.description,
    )
    return dg.SensorResult(skip_reason=said, asset_events=[observation_of(counts), evaluation])


def deliver_late(context: dg.SensorEvaluationContext, platform: PlatformResource) -> str:
    """Send what is late; what came of it, in words."""
    waiting = late(platform.store, now_ms(), LATE_MS)
    if not waiting:
        return "nothing is late"
    sent: list[str] = []
    deliverer = Deliverer(
        platform.store,
        platform.settings,
        write=lambda text: context.log.info("%s", text),
        on_sent=lambda one: sent.append(told(one)),
        on_trouble=lambda line: context.log.error("%s", line),
    )
    try:
        deliverer.deliver_everything(LONGEST_SECONDS)
        delivers = deliverer.delivers
    finally:
        deliverer.close()
    for line in sent:
        context.log.info("%s", line)
    if not sent:
        return f"{waiting} are late" + ("" if delivers else ", and another process delivers")
    return f"{len(sent)} messages sent: {'; '.join(sent)}"[:2_000]
