"""Asset checks: what must hold after each step."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import numpy as np

from hvac_platform.alerts.outbox import outbox_counts
from hvac_platform.assets.alert_outbox import LATE_MINUTES, alert_outbox, evaluate_outbox
from hvac_platform.assets.anomaly_events import anomaly_events
from hvac_platform.assets.common import listed
from hvac_platform.assets.consumer_offsets import consumer_offsets
from hvac_platform.assets.device_profiles import device_profiles
from hvac_platform.assets.incidents import incidents
from hvac_platform.assets.metric_trends import metric_trends
from hvac_platform.assets.raw_metrics import raw_metrics
from hvac_platform.assets.snapshot_embeddings import snapshot_embeddings
from hvac_platform.assets.windowed_snapshots import windowed_snapshots
from hvac_platform.ingestion.flow import PartitionFlow, flows
from hvac_platform.ingestion.proof import RangeProof, newest_proofs
from hvac_platform.monitoring.profile_versions import VersionState
from hvac_platform.resources import PlatformResource
from hvac_platform.snapshots import EMBEDDING_DIMENSION
from hvac_platform.stores.records import NO_POINTS, DevicePoint, ProfileVersion, Snapshot, StoredProfile
from hvac_platform.timestamps import DAY_MS, now_ms

MOST_REJECTED = 0.01
OLDEST_PROFILE_MS = 2 * DAY_MS
SAMPLE = 500
RECENT = 50


def _latest(context: dg.AssetCheckExecutionContext, asset: dg.AssetsDefinition) -> dict[str, Any]:
    """Metadata of the asset's materialization by this run, or else of its latest one, as plain values.

    Runs over other partitions of the topic go on in parallel, so the latest one need not be this run's.
    """
    for most in (1, RECENT):  # the latest is this run's as a rule
        events = [r.event_log_entry for r in context.instance.fetch_materializations(asset.key, limit=most).records]
        own = [event for event in events if event.run_id == context.run.run_id]
        if own or not events:
            break
    found = next((event.asset_materialization for event in own or events), None)
    return {name: value.value for name, value in found.metadata.items()} if found else {}


@dg.asset_check(asset=raw_metrics, description=f"At most {MOST_REJECTED:.0%} of a run's messages are rejected.")
def few_messages_rejected(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """A producer that sends bad messages is noticed."""
    share = float(_latest(context, raw_metrics).get("rejected_share", 0.0))
    return dg.AssetCheckResult(
        passed=share <= MOST_REJECTED,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"rejected_share": share},
        description=f"{share:.2%} of the messages were rejected; see the table dead_letters",
    )


@dg.asset_check(asset=raw_metrics, description="Retention removed nothing before it was read.")
def no_offsets_lost(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Offsets below the log's start are an explicit gap, never silence."""
    latest = _latest(context, raw_metrics)
    skipped, again = int(latest.get("skipped_offsets", 0)), int(latest.get("logs_made_again", 0))
    told = []
    if skipped:
        told.append(f"{skipped} offsets were gone before they were read: lengthen the topic's retention")
    if again:
        told.append(f"{again} partitions are of another log than before, read from its begin; what was unread is lost")
    return dg.AssetCheckResult(
        passed=not told,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"skipped_offsets": skipped, "logs_made_again": again},
        description="; ".join(told) or "nothing was removed before it was read",
    )


def evaluate_flow(found: Sequence[PartitionFlow], proofs: Sequence[RangeProof]) -> dg.AssetCheckResult:
    """What the check says of some partitions, and of the proofs of their last ranges."""
    troubles = [f"partition {flow.partition}: {flow.said or flow.state}" for flow in found if not flow.ok]
    troubles += [f"partition {proof.partition}: {proof.said}" for proof in proofs if not proof.ok]
    return dg.AssetCheckResult(
        passed=not troubles,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "waiting": sum(flow.waiting for flow in found),
            "partitions": dg.MetadataValue.json([flow.document() for flow in found]),
            "proofs": dg.MetadataValue.json([proof.document() for proof in proofs]),
        },
        description="; ".join(troubles) or "the ledger moves wherever messages wait, and what it counts as in is there",
    )


@dg.asset_check(
    asset=consumer_offsets,
    description="The ledger moves where messages wait; the sensor ingestion_watch looks each half minute.",
)
def data_flow(platform: PlatformResource) -> dg.AssetCheckResult:
    """Ingestion that fails, stands still although messages wait, or loses some, is noticed, whether a run goes or not."""
    log, store, topic, now = platform.log, platform.store, platform.topic, now_ms()
    return evaluate_flow(flows(log, store, topic, now), newest_proofs(log, store, topic, now))


DATA_FLOW = next(iter(data_flow.check_keys))


@dg.asset_check(asset=windowed_snapshots, description="A run over accepted readings yields snapshots.")
def snapshots_not_empty(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Readings without windows would mean that something is wrong with times or windows."""
    accepted = int(_latest(context, raw_metrics).get("accepted", 0))
    windows = int(_latest(context, windowed_snapshots).get("windows", 0))
    return dg.AssetCheckResult(
        passed=windows > 0 or accepted == 0,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"windows": windows, "accepted_readings": accepted},
    )


@dg.asset_check(asset=device_profiles, description="No point of a device is graded poor.")
def points_are_good(platform: PlatformResource) -> dg.AssetCheckResult:
    """Points that are often missing, stale, stuck or out of range tell little of their machine."""
    points = [
        point
        for point in DevicePoint.read(platform.store)
        if point.grade is not None and point.retired_at is None and point.metric not in NO_POINTS
    ]
    poor = sorted(
        f"{point.device_id}: {point.metric}" for point in points if point.grade and point.grade["grade"] == "poor"
    )
    return dg.AssetCheckResult(
        passed=not poor,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"points": len(points), "poor": len(poor)},
        description=f"poor: {listed(poor)}; hvac devices points says why" if poor else "no point is poor",
    )


@dg.asset_check(asset=snapshot_embeddings, description="Vectors are finite and of unit length.")
def vectors_are_sane(context: dg.AssetCheckExecutionContext, platform: PlatformResource) -> dg.AssetCheckResult:
    """The newest vectors of every device, a sample of them."""
    found = [
        snapshot.embedding
        for device in platform.store.devices()[:50]
        for snapshot in Snapshot.read(
            platform.store,
            device.device_id,
            (device.last_seen - 10 * device.window(platform.settings), None),
            only=("embedding",),
        )
        if snapshot.embedding is not None
    ]
    vectors = np.array(found[:SAMPLE], dtype=np.float32).reshape(-1, EMBEDDING_DIMENSION)
    norms = np.linalg.norm(vectors, axis=1)
    bad = int((~np.isfinite(norms) | (np.abs(norms - 1) > 1e-3)).sum())
    return dg.AssetCheckResult(passed=bad == 0, metadata={"vectors_checked": len(vectors), "bad": bad})


@dg.asset_check(asset=snapshot_embeddings, description="Every snapshot of the run got its embedding.")
def every_snapshot_embedded(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """An encoder that is down, or can't take a state, is noticed; no vector is made up in its place."""
    latest = _latest(context, snapshot_embeddings)
    waiting, refused = int(latest.get("waiting", 0)), int(latest.get("refused", 0))
    outage = str(latest.get("outage", "none"))
    return dg.AssetCheckResult(
        passed=waiting == 0 and refused == 0 and outage == "none",
        severity=dg.AssetCheckSeverity.ERROR if outage != "none" else dg.AssetCheckSeverity.WARN,
        metadata={"waiting": waiting, "refused": refused},
        description=f"{waiting} snapshots wait for an embedding and {refused} can't have one; outage: {outage}",
    )


@dg.asset_check(asset=device_profiles, description="Every device has a profile younger than two days.")
def profiles_are_current(context: dg.AssetCheckExecutionContext, platform: PlatformResource) -> dg.AssetCheckResult:
    """A stale profile compares today with a past that may no longer be normal."""
    profiles = StoredProfile.read(platform.store, only=("device_id", "profile_updated_at"))
    updated = {profile.device_id: profile.profile_updated_at for profile in profiles}
    limit = now_ms() - OLDEST_PROFILE_MS
    stale = [d.device_id for d in platform.store.devices() if updated.get(d.device_id, 0) < limit]
    return dg.AssetCheckResult(
        passed=not stale,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"devices_without_current_profile": len(stale), "examples": ", ".join(stale[:10])},
    )


@dg.asset_check(
    asset=device_profiles, description="No candidate of the last builds was judged worse than the present one."
)
def candidates_are_promoted(context: dg.AssetCheckExecutionContext, platform: PlatformResource) -> dg.AssetCheckResult:
    """A new profile that raises more false alarms, or misses a labelled fault, doesn't take the present one's place."""
    only = ("device_id", "number", "state", "decided_at", "gate")
    versions = ProfileVersion.read(platform.store, only=only)
    limit = now_ms() - OLDEST_PROFILE_MS
    newest: dict[str, ProfileVersion] = {version.device_id: version for version in versions}
    refused = [v for v in newest.values() if v.state == VersionState.REFUSED and v.decided_at >= limit]
    said = [f"- {v.device_id}: {v.gate['said'] if v.gate else 'refused'}" for v in refused]
    return dg.AssetCheckResult(
        passed=not refused,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"candidates_refused": len(refused), "refused": dg.MetadataValue.md("\n".join(said[:50]) or "none")},
        description=f"{len(refused)} candidates were judged worse than the present profile; hvac profiles history"
        if refused
        else "every candidate was promoted",
    )


def _no_device_failed(context: dg.AssetCheckExecutionContext, asset: dg.AssetsDefinition) -> dg.AssetCheckResult:
    latest = _latest(context, asset)
    failed = int(latest.get("devices_failed", 0))
    return dg.AssetCheckResult(
        passed=failed == 0,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"devices_failed": failed},
        description=str(latest.get("failures", "")) or "every device was dealt with",
    )


@dg.asset_check(asset=device_profiles, description="No device failed in the building of profiles.")
def every_device_learned(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """A device whose profile can't be built costs no other its own, and is named."""
    return _no_device_failed(context, device_profiles)


@dg.asset_check(asset=metric_trends, description="No device failed in the search for degradation.")
def every_device_examined(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """A device that can't be looked at costs no other its trends, and is named."""
    return _no_device_failed(context, metric_trends)


@dg.asset_check(asset=anomaly_events, description="No device failed in detection.")
def every_device_judged(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """A device that can't be judged costs no other its judgement, and is named."""
    return _no_device_failed(context, anomaly_events)


@dg.asset_check(asset=incidents, description="No device failed in the grouping of incidents.")
def every_device_grouped(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """A device whose incidents can't be computed costs no other its own, and is named."""
    return _no_device_failed(context, incidents)


@dg.asset_check(
    asset=alert_outbox.key,
    description=(
        f"No message to people is due for longer than {LATE_MINUTES} minutes, and none was given up in the last day; the "
        "sensor alert_delivery looks each minute."
    ),
)
def alerts_are_delivered(platform: PlatformResource) -> dg.AssetCheckResult:
    """A receiver that is away, or refuses, is noticed."""
    now = now_ms()
    told_to_somebody = platform.settings.hvac_alerts is not None
    return evaluate_outbox(outbox_counts(platform.store, now), now, told_to_somebody=told_to_somebody)


ALERTS_ARE_DELIVERED = next(iter(alerts_are_delivered.check_keys))


checks = [
    alerts_are_delivered,
    few_messages_rejected,
    no_offsets_lost,
    data_flow,
    snapshots_not_empty,
    vectors_are_sane,
    every_snapshot_embedded,
    profiles_are_current,
    candidates_are_promoted,
    points_are_good,
    every_device_learned,
    every_device_examined,
    every_device_judged,
    every_device_grouped,
]
