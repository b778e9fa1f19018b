"""All that the platform uses of Dagster beyond its public API; no other module may.

A newer Dagster may change any of it without a word, so its version is pinned: before another one is used, the test of
:data:`CHECKED_ON` asks that this be read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult

__all__ = [
    "CHECKED_ON",
    "CheckRunHealthResult",
    "DagsterGrpcClient",
    "DagsterUserCodeUnreachableError",
    "UnresolvedAssetJobDefinition",
    "WorkerStatus",
    "code_server_of",
    "event_log_folder",
    "has_process",
    "output_folder",
    "run_dev",
    "run_webserver",
]

CHECKED_ON = ("1.13.27",)
"""Versions of dagster and dagster-webserver on which all tests passed, the live ones too."""


# -- runs --------------------------------------------------------------------------------------------------------------


def code_server_of(launcher: dg.DefaultRunLauncher, run_id: str) -> DagsterGrpcClient | None:
    """The code server that executes a run; None for a run that it knows nothing of."""
    client: DagsterGrpcClient | None = launcher._get_grpc_client_for_termination(run_id)  # type: ignore[no-untyped-call]
    return client


def has_process(code_server: DagsterGrpcClient, run_id: str) -> bool:
    """Whether a code server has a process for a run.

    Raises:
        DagsterUserCodeUnreachableError: it does not answer.
    """
    answer = code_server.can_cancel_execution(CanCancelExecutionRequest(run_id=run_id), timeout=10)
    return dg.deserialize_value(answer, CanCancelExecutionResult).can_cancel


# -- storage -----------------------------------------------------------------------------------------------------------


def event_log_folder(instance: dg.DagsterInstance) -> Path | None:
    """Where the event log of each run is a file of its own; None on a server."""
    storage = instance.event_log_storage
    return Path(storage._base_dir) if isinstance(storage, SqliteEventLogStorage) else None


def output_folder(instance: dg.DagsterInstance) -> Path | None:
    """Where the captured output of each run is a folder of its own; None on a server."""
    captured = instance.compute_log_manager
    return Path(captured._base_dir) if isinstance(captured, LocalComputeLogManager) else None


# -- services ----------------------------------------------------------------------------------------------------------


def run_webserver(arguments: Sequence[str], wrapped: Callable[[Any], Any]) -> None:
    """``dagster-webserver`` with its ASGI application wrapped."""
    cli: Any = import_module("dagster_webserver.cli")
    make_app = cli.create_app_from_workspace_process_context

    def make_wrapped(*positional: Any, **named: Any) -> Any:
        return wrapped(make_app(*positional, **named))

    cli.create_app_from_workspace_process_context = make_wrapped
    cli.dagster_webserver.main(list(arguments), "dagster-webserver", auto_envvar_prefix="DAGSTER_WEBSERVER")


def run_dev(
    arguments: Sequence[str],
    command_of: Callable[[Sequence[str]], list[str]],
    before_the_end: Callable[[dg.DagsterInstance], object],
) -> None:
    """``dagster dev`` with the command of each process that it starts replaced.

    Args:
        arguments: of ``dagster dev``.
        command_of: the command to start in place of one of Dagster's.
        before_the_end: called when pages and daemon have ended and the code servers have not.
    """
    dev: Any = import_module("dagster._cli.dev")
    code_servers: Any = dev.ProxyServerManager

    @contextmanager
    def with_an_end(instance: dg.DagsterInstance, **named: Any) -> Iterator[Any]:
        with code_servers(instance=instance, **named) as started:
            try:
                yield started
            finally:
                before_the_end(instance)

    dev.ProxyServerManager = with_an_end
    open_subprocess = dev.open_ipc_subprocess

    def open_replaced(parts: Sequence[str], **named: Any) -> Any:
        return open_subprocess(command_of(parts), **named)

    dev.open_ipc_subprocess = open_replaced
    dev.dev_command.main(list(arguments), "dagster dev")
