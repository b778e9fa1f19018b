"""Everything that Dagster loads: the table of contents of the platform."""

from __future__ import annotations

import dagster as dg

from hvac_platform.assets.alert_outbox import alert_outbox
from hvac_platform.assets.anomaly_events import anomaly_events
from hvac_platform.assets.checks import checks
from hvac_platform.assets.consumer_offsets import consumer_offsets
from hvac_platform.assets.detection_report import detection_report
from hvac_platform.assets.device_profiles import device_profiles
from hvac_platform.assets.incidents import incidents
from hvac_platform.assets.iot_metrics import iot_metrics
from hvac_platform.assets.metric_trends import metric_trends
from hvac_platform.assets.raw_metrics import raw_metrics
from hvac_platform.assets.snapshot_embeddings import snapshot_embeddings
from hvac_platform.assets.what_if import what_if
from hvac_platform.assets.windowed_snapshots import windowed_snapshots
from hvac_platform.io_managers.store_io_manager import StoreIOManager
from hvac_platform.jobs import jobs
from hvac_platform.resources import PlatformResource
from hvac_platform.runtime.dagster_private import fork_runs_from_a_process_that_imported
from hvac_platform.schedules import schedules
from hvac_platform.sensors.alert_delivery import alert_delivery
from hvac_platform.sensors.ingestion_watch import ingestion_watch
from hvac_platform.sensors.kafka_ingestion import kafka_ingestion
from hvac_platform.sensors.run_failure import run_failure, run_success

fork_runs_from_a_process_that_imported("hvac_platform.prepared_run")

platform = PlatformResource()

defs = dg.Definitions(
    # With file and line of each, which its page in the UI shows.
    assets=dg.with_source_code_references(
        [
            iot_metrics,
            raw_metrics,
            windowed_snapshots,
            snapshot_embeddings,
            consumer_offsets,
            device_profiles,
            metric_trends,
            anomaly_events,
            incidents,
            detection_report,
            what_if,
            alert_outbox,
        ]
    ),
    asset_checks=checks,
    jobs=jobs,
    schedules=schedules,
    sensors=[kafka_ingestion, ingestion_watch, run_failure, run_success, alert_delivery],
    resources={"platform": platform, "store": StoreIOManager(platform=platform)},
    executor=dg.in_process_executor,
)
