"""Runs that are under way when the platform is stopped: they are asked to end, as the pages' *Terminate* does it."""

from __future__ import annotations

import time

import dagster as dg

from hvac_platform.runs import RUNNING

RUNS_END_SECONDS = 30.0
"""A run that stands ends within seconds; one that computes is interrupted at once."""
ASK_SECONDS = 1.0
"""A run that could not be asked is asked again after so long."""


def end_runs(instance: dg.DagsterInstance, seconds: float = RUNS_END_SECONDS) -> list[str]:
    """Ask the runs that a daemon launched to end, and wait until they have.

    What a run that stands has taken in is in, and it ends as a success; another one is marked as canceled. Both hand
    back what they own. The daemon must have ended, or it would launch others.

    Args:
        instance: Dagster's, whose code servers still live.
        seconds: how long to wait.

    Returns:
        Ids of the runs that have not ended by then.
    """
    asked: dict[str, float] = {}
    deadline = time.monotonic() + seconds
    while True:
        found = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING, *RUNNING]))
        going = [run for run in found if run.remote_job_origin is not None]
        now = time.monotonic()
        if not going or now > deadline:
            return [run.run_id for run in going]
        for run in going:  # one that is starting would not know that it was asked, and seem to have failed
            if run.status in RUNNING and now - asked.get(run.run_id, -ASK_SECONDS) >= ASK_SECONDS:
                asked[run.run_id] = float("inf") if instance.run_launcher.terminate(run.run_id) else now
        time.sleep(0.2)
