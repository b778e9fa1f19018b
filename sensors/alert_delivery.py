"""alert_delivery: sends what lies in the outbox while no detection run stands to do so, and says what it sent."""

import dagster as dg

from hvac_platform.alerts.delivery import Deliverer
from hvac_platform.alerts.outbox import late
from hvac_platform.alerts.standing import told
from hvac_platform.resources import PlatformResource
from hvac_platform.timestamps import now_ms

LOOK_SECONDS = 60
LATE_MS = 30_000
"""What is due for longer is nobody else's work."""
LONGEST_SECONDS = 30.0


@dg.sensor(
    minimum_interval_seconds=LOOK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "A detection run sends alerts as soon as it has written them. What lies in the outbox for longer than 30 s, because "
        "none stands or a receiver was away, is sent here; the tick says what it was."
    ),
)
def alert_delivery(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """One look; it asks for no resource, whose making costs more than the look."""
    platform = PlatformResource()
    if platform.settings.hvac_alerts is None:
        return dg.SkipReason("HVAC_ALERTS names no file: nobody is told")
    waiting = late(platform.store, now_ms(), LATE_MS)
    if not waiting:
        return dg.SkipReason("nothing is late")
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
        return dg.SkipReason(f"{waiting} are late" + ("" if delivers else ", and another process delivers"))
    return dg.SkipReason(f"{len(sent)} messages sent: {'; '.join(sent)}"[:2_000])
