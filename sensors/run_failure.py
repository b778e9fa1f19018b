"""run_failure: a failed run is said once, with what to do."""

import dagster as dg


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Logs every failed run with its partition and error.",
)
def run_failure(context: dg.RunFailureSensorContext) -> None:
    """One line a failed run, in the sensor's log."""
    run = context.dagster_run
    partition = run.tags.get("dagster/partition") or run.tags.get("dagster/asset_partition_range_start", "no partition")
    context.log.error("%s run %s of %s failed: %s", run.job_name, run.run_id, partition, context.failure_event.message)
