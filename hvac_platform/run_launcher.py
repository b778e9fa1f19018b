"""The run launcher of one machine, which knows whether the process of a run still lives.

Dagster's own launches runs as processes of the code server and, when code server and daemon were killed together, asks
nobody afterwards: such a run stays STARTED for ever and keeps its place among the runs that may go at once. This one asks
the code server, so that ``run_monitoring`` marks it as failed.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from hvac_platform.runtime.dagster_private import (
    CheckRunHealthResult,
    DagsterUserCodeUnreachableError,
    WorkerStatus,
    code_server_of,
    has_process,
)


class WatchedRunLauncher(dg.DefaultRunLauncher):
    """Dagster's default launcher, with the question whether a run is alive."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Yes: ``run_monitoring`` may ask."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the code server has a process for the run.

        A run that a command executes in its own process is no concern of the code server, nor is one that can't be asked
        about because the server does not answer at the moment.
        """
        client = code_server_of(self, run.run_id)
        if client is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        try:
            alive = has_process(client, run.run_id)
        except DagsterUserCodeUnreachableError as error:
            if _is_there(client.socket):
                return CheckRunHealthResult(WorkerStatus.RUNNING, str(error))
            return CheckRunHealthResult(WorkerStatus.FAILED, "the code server that executed it is gone")
        if alive:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "the code server has no process for it")


def _is_there(socket: str | None) -> bool:
    return socket is not None and Path(socket).exists()
