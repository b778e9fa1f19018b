"""ingestion_watch: says in Dagster whether data flow, also when no ingestion run does."""

import json
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from hvac_platform.alerts.troubles import KINDS, Trouble, tell_troubles
from hvac_platform.assets.checks import DATA_FLOW, data_flow, evaluate_flow
from hvac_platform.ingestion.flow import FlowWatch, PartitionFlow, flows
from hvac_platform.ingestion.proof import LedgerWatch, RangeProof
from hvac_platform.partitions import restore_devices
from hvac_platform.resources import PlatformResource
from hvac_platform.timestamps import now_ms

LOOK_SECONDS = 30
WATCHED = ("ingestion", "proof", "lag")
"""Kinds of the platform's own incidents that a look opens and resolves."""
LONGEST_BEHIND_MS = 900_000
"""A partition in which messages wait for so long without a break lags."""
RESTORE_MS = 600_000
"""Devices come to Dagster with their first messages; its storage may have been lost since, and the cursor with it."""
REPEAT_MS = 3_600_000
"""An evaluation that is the same as before is repeated after this long, so that its age tells that somebody looks."""


@dg.sensor(
    asset_selection=dg.AssetSelection.checks(data_flow),
    minimum_interval_seconds=LOOK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Looks whether the ledger moves where messages wait, and whether what it counts as in is in the tables; reports "
        "both as the check data_flow."
    ),
)
def ingestion_watch(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """One look; the cursor holds what the looks before have seen.

    It asks for no resource, and seldom for the instance: to make either costs more than the look.
    """
    platform, now = PlatformResource(), now_ms()
    memory = json.loads(context.cursor) if context.cursor else {}
    restored_at = memory.get("restored_at", 0)
    if now - restored_at >= RESTORE_MS:
        restored_at = now
        if restored := restore_devices(context.instance, platform.store):
            context.log.info("devices that Dagster did not know: %s", ", ".join(restored))
    watch = FlowWatch(memory.get("seen"))
    found = watch.look(flows(platform.log, platform.store, platform.topic, now), now)
    ledger = LedgerWatch(memory.get("proven"), memory.get("unproven"))
    proofs = ledger.look(platform.log, platform.store, platform.topic, now)
    behind = {
        str(flow.partition): memory.get("behind", {}).get(str(flow.partition), now)
        for flow in found
        if flow.waiting and flow.ok
    }
    for trouble in tell_troubles(platform.store, WATCHED, list(_troubles(found, proofs, behind, now)), now):
        context.log.warning("%s: %s", " ".join(trouble.name), trouble.text)
    troubles = [f"partition {flow.partition}: {flow.said}" for flow in found if not flow.ok]
    troubles += [f"partition {proof.partition}: {proof.said}" for proof in proofs if not proof.ok]
    for line in troubles:
        context.log.error("%s", line)
    unchanged = memory.get("ok") == (not troubles) and now - memory.get("told_at", 0) < REPEAT_MS
    told_at = memory.get("told_at", 0) if unchanged else now
    seen = {"behind": behind, "seen": watch.seen, "proven": ledger.proven, "unproven": ledger.unproven}
    context.update_cursor(json.dumps({**seen, "ok": not troubles, "told_at": told_at, "restored_at": restored_at}))
    if unchanged:
        return dg.SkipReason("; ".join(troubles) or "data flow")
    result = evaluate_flow(found, proofs)
    evaluation = dg.AssetCheckEvaluation(
        asset_key=DATA_FLOW.asset_key,
        check_name=DATA_FLOW.name,
        passed=result.passed,
        severity=result.severity,
        metadata=result.metadata,
        description=result.description,
    )
    return dg.SensorResult(asset_events=[evaluation])


def _troubles(
    found: Sequence[PartitionFlow], proofs: Sequence[RangeProof], behind: Mapping[str, int], now: int
) -> Iterator[Trouble]:
    """What is wrong at one look."""
    for flow in found:
        since = behind.get(str(flow.partition))
        if not flow.ok:
            said = f"partition {flow.partition} of the topic: {flow.said or flow.state}"
            yield Trouble("ingestion", f"partition-{flow.partition}", KINDS["ingestion"], said)
        elif since is not None and now - since >= LONGEST_BEHIND_MS:
            said = (
                f"partition {flow.partition} has lagged for {(now - since) // 60_000} min, {flow.waiting} messages wait"
            )
            yield Trouble("lag", f"partition-{flow.partition}", KINDS["lag"], said)
    failed: dict[int, RangeProof] = {proof.partition: proof for proof in reversed(proofs) if not proof.ok}
    for partition, proof in failed.items():
        said = f"partition {partition} of the topic: {proof.said}"
        yield Trouble("proof", f"partition-{partition}", KINDS["proof"], said)
