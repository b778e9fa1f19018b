"""device_profiles: what normal looks like, one partition a device."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from hvac_platform.assets.common import OWNERS, RETRIES, registered, tell_failures
from hvac_platform.assets.plots import line_plot
from hvac_platform.assets.snapshot_embeddings import snapshot_embeddings
from hvac_platform.config import LONGEST_DAYS
from hvac_platform.detection.profile import similarity_to
from hvac_platform.ingestion.snapshotting import EmbeddingCounts
from hvac_platform.io_managers.table_output import Metadata, TableOutput, table_output
from hvac_platform.monitoring.lasting import sentence_of
from hvac_platform.monitoring.learning import (
    Lesson,
    history_coverage,
    mode_calibration,
    told_counts,
    told_metrics,
)
from hvac_platform.monitoring.passes import LearningOptions, LearningPass
from hvac_platform.partitions import daily, devices
from hvac_platform.resources import PlatformResource
from hvac_platform.runtime.learning_processes import learning_elsewhere
from hvac_platform.stores.base import Device
from hvac_platform.stores.batches import TableBatch
from hvac_platform.stores.records import StoredMode
from hvac_platform.timestamps import day_of, days_between, iso, parse_instant

THIN_HISTORY = 0.5


class ProfileConfig(dg.Config):
    """How far back to learn from."""

    days_back: float | None = Field(
        None, gt=0, le=LONGEST_DAYS, description="Days of history; HVAC_PROFILE_DAYS_BACK when absent"
    )
    min_snapshots: int | None = Field(
        None, ge=2, le=1_000_000, description="Fewest normal snapshots; HVAC_PROFILE_MIN_SNAPSHOTS when absent"
    )
    until: str | None = Field(None, description="End of the history, ISO 8601; the device's newest reading when absent")
    refit: bool = Field(False, description="Fit the encoder anew, whether or not the history calls for it")
    include_flagged: bool = Field(False, description="Learn from flagged windows too: what they show is the new normal")


@dg.asset(
    partitions_def=devices,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[dg.AssetDep(snapshot_embeddings, partition_mapping=dg.AllPartitionMapping())],
    group_name="learning",
    kinds={"scylladb", "sqlite", "numpy"},
    owners=OWNERS,
    io_manager_key="store",
    metadata={"table": "device_profiles"},
    retry_policy=RETRIES,
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=26)),
)
def device_profiles(
    context: dg.AssetExecutionContext, config: ProfileConfig, platform: PlatformResource
) -> TableOutput:
    """What is normal for a device, in `device_profiles`: encoder, centroid, per-metric statistics and calibrated limits.

    Why: detection compares every window with it. Learned from the last days of normal snapshots (flagged and incomplete
    ones are left out); rebuilt every night for all devices in one run, or on demand for one. A new encoder is fitted only
    when history has doubled, normal states have drifted, or on request; the device's snapshots then get new embeddings.
    Many devices are learned in several processes (`HVAC_PROFILE_PROCESSES`).
    """
    days_back = config.days_back or platform.settings.hvac_profile_days_back
    unknown: list[str] = []
    options = LearningOptions(
        days_back=days_back,
        min_snapshots=config.min_snapshots,
        until_ms=parse_instant(config.until) if config.until else None,
        refit=config.refit,
        include_flagged=config.include_flagged,
    )
    chosen = registered(context, platform.store, unknown)
    found = LearningPass(
        platform.store,
        platform.encoders,
        platform.settings,
        chosen,
        options,
        elsewhere=learning_elsewhere(platform.settings, len(chosen)),
    )
    found.refused += unknown

    def batches(metadata: Metadata) -> Iterator[TableBatch]:
        reembedded: Counter[str] = Counter()

        def tell(device: Device, lesson: Lesson, counts: EmbeddingCounts) -> None:
            profile = lesson.profile
            coverage = history_coverage(profile, device.window(platform.settings), days_back)
            _log_lesson(context, lesson, coverage, days_back)
            if len(context.partition_keys) == 1:
                metadata.update(_one_device(lesson), history_coverage=coverage)
            if counts.encoded:
                reembedded.update(days_between(day_of(profile.span_start), day_of(device.last_seen)))

        found.on_lesson = tell
        yield from found.batches()
        built, refused = found.lessons, found.refused
        for reason in refused:
            context.log.warning(reason)
        tell_failures(context, metadata, found)
        if refused and not built:
            raise dg.Failure("no profile was built: " + "; ".join(refused[:5]), allow_retries=False)
        for day, count in sorted(reembedded.items()):
            if daily.has_partition_key(day):
                context.log_event(
                    dg.AssetMaterialization(
                        snapshot_embeddings.key, partition=day, metadata={"devices_with_a_new_encoder": count}
                    )
                )
        metadata["profiles"] = len(built)
        metadata["candidates_refused"] = sum(bool(lesson.gate and not lesson.gate["promoted"]) for lesson in built)
        changes = [f"- {change.device_id}: {sentence_of(change)}" for lesson in built for change in lesson.changes]
        if changes:
            metadata["lasting_changes"] = dg.MetadataValue.md("\n".join(changes[:200]))
        metadata["encoders_fitted"] = sum(bool(lesson.refitted) for lesson in built)
        if refused:
            metadata["refused"] = dg.MetadataValue.md("\n".join(f"- {reason}" for reason in refused))
        review = [f"- {lesson.profile.device_id}: {rule.sentence()}" for lesson in built for rule in lesson.review]
        if review:
            metadata["rules_to_review"] = dg.MetadataValue.md("\n".join(review[:200]))
        if len(built) > 1:
            metadata["devices"] = _table_of(built)

    return table_output(batches)


def _log_lesson(context: dg.AssetExecutionContext, lesson: Lesson, coverage: float, days_back: float) -> None:
    profile = lesson.profile
    context.log.info(
        "%s: profile of %d snapshots, %s to %s; encoder %s",
        *(profile.device_id, profile.snapshot_count, iso(profile.span_start), iso(profile.span_end)),
        f"fitted anew: {lesson.refitted}" if lesson.refitted else f"kept, {profile.embedding_method}",
    )
    if lesson.note:
        context.log.info("%s: %s", profile.device_id, lesson.note)
    for change in lesson.changes:
        context.log.info("%s: %s", profile.device_id, sentence_of(change))
    if lesson.gate is not None:
        told = "promoted" if lesson.gate["promoted"] else "refused"
        context.log.info("%s: candidate %s: %s", profile.device_id, told, lesson.gate["said"])
    if lesson.left_out:
        context.log.info("%s: left out: %s", profile.device_id, told_counts(lesson.left_out))
    for rule in lesson.review:
        context.log.warning("%s: %s", profile.device_id, rule.sentence())
    if coverage < THIN_HISTORY:
        context.log.warning(
            "%s: its snapshots cover %.0f %% of %g days; the profile is not yet typical, build it again later",
            *(profile.device_id, 100 * coverage, days_back),
        )


def _one_device(lesson: Lesson) -> dict[str, Any]:
    profile = lesson.profile
    limits = profile.calibration
    rows = [
        f"| {name} | {s.mean:.4g} | {s.std:.3g} | {s.min:.4g} | {s.max:.4g} |"
        for name, s in profile.metric_stats.items()
    ]
    return {
        "snapshots_used": profile.snapshot_count,
        "snapshots_left_out": lesson.left_out_count,
        "left_out_because": told_counts(lesson.left_out) or "nothing was left out",
        "snapshots_judged_first": lesson.judged,
        "span": f"{iso(profile.span_start)} to {iso(profile.span_end)}",
        "metrics_left_out": len(lesson.metrics_left_out),
        "metrics_left_out_because": dg.MetadataValue.md(told_metrics(lesson.metrics_left_out) or "none"),
        "embedding_method": profile.embedding_method,
        "encoder": f"fitted anew: {lesson.refitted}" if lesson.refitted else lesson.note or "kept",
        "gate": lesson.gate["said"] if lesson.gate else "nothing to compare with",
        "similarity_limit": limits.similarity,
        "sigma_limit": limits.sigma,
        "neighbour_distance_limit": limits.neighbour_distance,
        "metric_statistics": dg.MetadataValue.md(
            "\n".join(["| metric | mean | std | min | max |", "|---|---|---|---|---|", *rows])
        ),
        "operating_modes": dg.MetadataValue.md(_modes_table(lesson.modes)),
        "similarity_plot": dg.MetadataValue.md(
            line_plot(
                {"similarity to the centroid": similarity_to(lesson.series, profile)},
                lesson.series.times_ms,
                limit=limits.similarity,
            )
        ),
    }


def _modes_table(modes: list[StoredMode] | None) -> str:
    if not modes:
        return "too little history to tell"
    rows = [
        f"| {mode['name'].replace('_', ' ')} | {mode['share']:.1%} | {mode['episodes']} | {mode_calibration(mode)} |"
        for mode in modes
    ]
    return "\n".join(["| mode | share of the time | entered | measured against |", "|---|---|---|---|", *rows])


def _table_of(built: list[Lesson]) -> dg.MetadataValue[Any]:
    rows = [
        f"| {p.device_id} | {p.snapshot_count} | {told_counts(lesson.left_out) or 0} | {iso(p.span_start)} | "
        f"{iso(p.span_end)} | {p.embedding_method}{' (new)' if lesson.refitted else ''} |"
        for lesson in built[:200]
        for p in (lesson.profile,)
    ]
    return dg.MetadataValue.md(
        "\n".join(["| device | snapshots | left out | from | to | encoder |", "|---|---|---|---|---|---|", *rows])
    )
