"""run_failure and run_success: a failed run is told once, with what to do, until a later one of its job succeeds.

A run that was begun by hand over some assets is of no job of ours: it is known by these assets.

Neither asks for a resource: Dagster would make it at each look, also where no run has ended.
"""

import dagster as dg

from hvac_platform.alerts.troubles import KINDS, Trouble, clear_trouble, raise_trouble
from hvac_platform.monitoring.counted import count_run
from hvac_platform.resources import PlatformResource
from hvac_platform.timestamps import now_ms

LONGEST_MESSAGE = 500
COUNT_SECONDS = 60


TOLD_ON_THE_SPOT = "what_if"
"""An asset that answers a question of whoever materializes it, and sees it fail: nothing of the platform is wrong."""


def what_ran(run: dg.DagsterRun) -> list[str]:
    """The job, or what a run of no job of ours was over: names of its assets, or of its checks where these ran alone."""
    if not run.job_name.startswith("__"):  # Dagster's own: __ASSET_JOB, and those of its command line
        return [run.job_name]
    assets = {key.to_user_string() for key in run.asset_selection or ()}
    checks = {f"{key.asset_key.to_user_string()}:{key.name}" for key in run.asset_check_selection or ()}
    return sorted(assets or checks) or ["every asset"]


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
    partition = run.tags.get("dagster/partition") or run.tags.get("dagster/asset_partition_range_start")
    over = f" over {partition}" if partition else ""
    said = context.failure_event.message or ""
    names = what_ran(run)
    of = f"of job {run.job_name}" if names == [run.job_name] else f"of {', '.join(names)}"
    context.log.error("run %s %s%s failed: %s", run.run_id, of, over, said)
    count_run(platform.store, run.job_name, _seconds(context.instance, run.run_id), succeeded=False)
    if names == [TOLD_ON_THE_SPOT]:
        return
    text = f"run {run.run_id[:8]} {of}{over} failed: {' '.join(said.split())}"
    record = context.instance.get_run_record_by_id(run.run_id)
    ended_ms = now_ms() if record is None or record.end_time is None else int(record.end_time * 1_000)
    trouble = Trouble("run", ",".join(names), KINDS["run"], text[:LONGEST_MESSAGE], happened_ms=ended_ms)
    raise_trouble(platform.store, trouble, now_ms())


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
    record = context.instance.get_run_record_by_id(run.run_id)
    began_ms = None if record is None or record.start_time is None else int(record.start_time * 1_000)
    subject, said = ",".join(what_ran(run)), f"run {run.run_id[:8]} of the same succeeded"
    for known in {subject, run.job_name}:  # by the job's name: what was opened before runs were known by their assets
        if clear_trouble(platform.store, "run", known, now_ms(), said, began_ms):
            context.log.info("%s succeeds again", known)
