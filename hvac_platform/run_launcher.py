"""The run launcher of one machine, which knows whether the process of a run still lives.

Dagster's own launches runs as processes of the code server and, when code server and daemon were killed together, asks
nobody afterwards: such a run stays STARTED for ever and keeps its place among the runs that may go at once. This one asks
the code server, so that ``run_monitoring`` marks it as failed. It rests on ``dagster._grpc`` (checked on Dagster 1.13.27).
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value


class WatchedRunLauncher(DefaultRunLauncher):
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
        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        try:
            answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id), timeout=10)
        except DagsterUserCodeUnreachableError as error:
            if _is_there(client.socket):
                return CheckRunHealthResult(WorkerStatus.RUNNING, str(error))
            return CheckRunHealthResult(WorkerStatus.FAILED, "the code server that executed it is gone")
        if deserialize_value(answer, CanCancelExecutionResult).can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "the code server has no process for it")


def _is_there(socket: str | None) -> bool:
    return socket is not None and Path(socket).exists()
