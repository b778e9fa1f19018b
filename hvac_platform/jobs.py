"""Jobs: ingestion, profiles, detection, report, backfill, housekeeping."""

import dagster as dg

from hvac_platform.assets.anomaly_events import anomaly_events
from hvac_platform.assets.common import tell_the_ledger
from hvac_platform.assets.consumer_offsets import consumer_offsets
from hvac_platform.assets.detection_report import detection_report
from hvac_platform.assets.device_profiles import device_profiles
from hvac_platform.assets.incidents import incidents
from hvac_platform.assets.metric_trends import metric_trends
from hvac_platform.assets.raw_metrics import raw_metrics
from hvac_platform.assets.snapshot_embeddings import snapshot_embeddings
from hvac_platform.assets.windowed_snapshots import windowed_snapshots
from hvac_platform.housekeeping import apply_log_retention, delete_old_runs, purge_expired_rows
from hvac_platform.runtime.dagster_private import UnresolvedAssetJobDefinition

ingestion_job = dg.define_asset_job(
    "ingestion",
    tags={"hvac/job": "ingestion"},
    selection=dg.AssetSelection.assets(raw_metrics, windowed_snapshots, snapshot_embeddings, consumer_offsets),
    description="New offsets of the topic to raw rows, snapshots and embeddings; the ledger moves last.",
    hooks={tell_the_ledger},
    executor_def=dg.in_process_executor,
)

profiles_job = dg.define_asset_job(
    "profiles",
    tags={"hvac/job": "profiles"},
    selection=dg.AssetSelection.assets(device_profiles, metric_trends),
    description="Learn what normal looks like and look for slow degradation, for one device or for all in one run.",
    executor_def=dg.in_process_executor,
)

detection_job = dg.define_asset_job(
    "detection",
    tags={"hvac/job": "detection"},
    selection=dg.AssetSelection.assets(anomaly_events, incidents),
    description="Judge complete windows with rules, profile similarity and vector search; group what belongs together.",
    executor_def=dg.in_process_executor,
)

report_job = dg.define_asset_job(
    "report",
    tags={"hvac/job": "report"},
    selection=dg.AssetSelection.assets(detection_report),
    description="The methods side by side for a day, and its incidents with what they cost.",
    executor_def=dg.in_process_executor,
)

backfill_job = dg.define_asset_job(
    "backfill",
    tags={"hvac/job": "backfill"},
    # Without what is partitioned by device: a selection of both kinds falls apart into separate runs.
    selection=dg.AssetSelection.assets(
        raw_metrics, windowed_snapshots, snapshot_embeddings, anomaly_events, incidents, detection_report
    ),
    description="Past days once more, from the log or the raw rows that are kept to the report, in a single run.",
    executor_def=dg.in_process_executor,
)


@dg.job(
    name="housekeeping",
    description="Delete expired rows, old log records and old runs.",
    executor_def=dg.in_process_executor,
)
def housekeeping_job() -> None:
    """Upkeep of the store, of the log and of Dagster's own storage."""
    purge_expired_rows()
    apply_log_retention()
    delete_old_runs()


jobs: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
    ingestion_job,
    profiles_job,
    detection_job,
    report_job,
    backfill_job,
    housekeeping_job,
]
