"""run_failure and run_success: a failed run is told once, with what to do, until the next one of its job succeeds.

Neither asks for a resource: Dagster would make it at each look, also where no run has ended.
"""

import dagster as dg

from hvac_platform.alerts.troubles import KINDS, Trouble, clear_trouble, raise_trouble
from hvac_platform.monitoring.counted import count_run
from hvac_platform.resources import PlatformResource
from hvac_platform.timestamps import now_ms

LONGEST_MESSAGE = 500
COUNT_SECONDS = 60


def _seconds(instance: dg.DagsterInstance, run_id: str) -> float:
    """How long a run took; 0 where it never began."""
    record = instance.get_run_record_by_id(run_id)
    if record is None or record.start_time is None or record.end_time is None:
        return 0.0
    return float(record.end_time - record.start_time)


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Logs every failed run with its partition and error, and opens an incident of the platform.",
)
def run_failure(context: dg.RunFailureSensorContext) -> None:
    """One line a failed run, in the sensor's log, and one incident a job."""
    run, platform = context.dagster_run, PlatformResource()
    partition = run.tags.get("dagster/partition") or run.tags.get("dagster/asset_partition_range_start", "no partition")
    said = context.failure_event.message or ""
    context.log.error("%s run %s of %s failed: %s", run.job_name, run.run_id, partition, said)
    count_run(platform.store, run.job_name, _seconds(context.instance, run.run_id), succeeded=False)
    text = f"run {run.run_id[:8]} of job {run.job_name} over {partition} failed: {' '.join(said.split())}"
    raise_trouble(platform.store, Trouble("run", run.job_name, KINDS["run"], text[:LONGEST_MESSAGE]), now_ms())


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    minimum_interval_seconds=COUNT_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Counts runs and how long they took, for /metrics; resolves the incident of a job whose run has failed.",
)
def run_success(context: dg.RunStatusSensorContext) -> None:
    """One count a run."""
    run, platform = context.dagster_run, PlatformResource()
    count_run(platform.store, run.job_name, _seconds(context.instance, run.run_id), succeeded=True)
    if clear_trouble(platform.store, "run", run.job_name, now_ms(), f"run {run.run_id[:8]} of the job succeeded"):
        context.log.info("%s succeeds again", run.job_name)
