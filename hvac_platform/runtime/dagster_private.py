"""All that the platform uses of Dagster beyond its public API; no other module may.

A newer Dagster may change any of it without a word, so its version is pinned: before another one is used, the test of
:data:`CHECKED_ON` asks that this be read again.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import dagster as dg
import sqlalchemy as sa
from alembic.migration import MigrationContext
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult

__all__ = [
    "CHECKED_ON",
    "CheckRunHealthResult",
    "DagsterGrpcClient",
    "DagsterUserCodeUnreachableError",
    "KeptEnginesStorage",
    "UnresolvedAssetJobDefinition",
    "WorkerStatus",
    "code_server_of",
    "empty_event_log",
    "event_log_folder",
    "fork_runs_from_a_process_that_imported",
    "has_process",
    "output_folder",
    "run_dev",
    "run_webserver",
]

CHECKED_ON = ("1.13.27",)
"""Versions of dagster and dagster-webserver on which all tests passed, the live ones too."""
BUSY_SECONDS = 30.0
"""So long a statement waits for another process's transaction on the same file."""


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


def fork_runs_from_a_process_that_imported(module: str) -> None:
    """Have this process, if it is a code server, start its runs so; on Linux alone, where libraries bear a fork.

    Dagster starts each in an interpreter of its own that imports everything anew. The process that they are forked from is
    started with the first run, has no thread, and ends with the code server.
    """
    code_server: Any = sys.modules.get("dagster._grpc.server")
    if code_server is None or sys.platform != "linux":
        return
    prepared = multiprocessing.get_context("forkserver")
    prepared.set_forkserver_preload([module])
    start_run = code_server.DagsterApiServer.StartRun

    def start_forked(server: Any, request: Any, context: Any) -> Any:
        server._mp_ctx = prepared
        return start_run(server, request, context)

    code_server.DagsterApiServer.StartRun = start_forked


# -- storage -----------------------------------------------------------------------------------------------------------


S = TypeVar("S", SqliteRunStorage, SqliteScheduleStorage)
_checked: dict[Path, list[Path]] = {}


@lru_cache(maxsize=64)
def _engine(url: str) -> sa.Engine:
    """The engine of a file, kept with the statements that it has compiled. It keeps no connection open."""
    return sa.create_engine(url, poolclass=sa.NullPool, connect_args={"timeout": BUSY_SECONDS})


@contextmanager
def _connection(url: str) -> Iterator[sa.Connection]:
    with _engine(url).begin() as connection:
        yield connection


class _Runs(SqliteRunStorage):
    """Dagster's storage of runs with its engine kept, and what has been migrated once."""

    def connect(self) -> Any:
        """A connection in a transaction."""
        return _connection(self._conn_string)

    def has_built_index(self, migration_name: str) -> bool:
        """Whether a migration is done; once it is, it stays so."""
        return _stays(self, migration_name, super().has_built_index)


class _Schedules(SqliteScheduleStorage):
    """Dagster's storage of schedules and sensors, likewise."""

    def connect(self) -> Any:
        """A connection in a transaction."""
        return _connection(self._conn_string)

    def has_built_index(self, migration_name: str) -> bool:
        """Whether a migration is done; once it is, it stays so."""
        return _stays(self, migration_name, super().has_built_index)

    def has_instigators_table(self) -> bool:
        """Whether there is the table of states; once there is, it stays."""
        return _stays(self, "instigators", lambda _: super(_Schedules, self).has_instigators_table())


@lru_cache(maxsize=1)
def empty_event_log() -> tuple[bytes, str | None]:
    """The file of an event log without an event, as Dagster makes it, and its revision.

    Making one reads Dagster's migrations of all years, which is a tenth of what a short run costs.
    """
    with tempfile.TemporaryDirectory() as folder:
        SqliteEventLogStorage(folder)
        (file,) = Path(folder).glob("*.db")
        with sa.create_engine(f"sqlite:///{file}", poolclass=sa.NullPool).connect() as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
        return file.read_bytes(), revision


class _Events(SqliteEventLogStorage):
    """Dagster's event logs, one file a run, likewise; a new one is a copy of an empty one."""

    def _initdb(self, engine: sa.Engine, for_index_shard: bool = False) -> None:
        content, newest = empty_event_log()
        file = Path(str(engine.url.database))
        if not file.exists():
            written = file.with_suffix(f".{uuid4().hex}")
            with suppress(
                OSError
            ):  # another process was sooner; without links or room Dagster makes it, or says why not
                written.write_bytes(content)
                os.link(written, file)
            written.unlink(missing_ok=True)
        with engine.connect() as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
        if revision != newest:
            super()._initdb(engine, for_index_shard)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sa.Connection]:
        with self._db_lock:
            url = self.conn_string_for_shard(shard)
            if shard not in self._initialized_dbs:
                self._initdb(_engine(url))
                self._initialized_dbs.add(shard)
            with _connection(url) as connection:
                yield connection


def _opened(kind: type[S], folder: Path) -> S:
    """A storage in a folder; its revision is looked at once a process, as long as its file is there."""
    files = _checked.setdefault(folder, [])
    if not files or not files[0].exists():
        made = kind.from_local(str(folder))
        files[:] = folder.glob("*.db")
        return made
    return kind(f"sqlite:///{files[0]}")


def _stays(storage: Any, name: str, ask: Callable[[str], bool]) -> bool:
    """What is asked until it is so, and not again."""
    known: set[str] = storage.__dict__.setdefault("_known_to_be", set())
    if name not in known and ask(name):
        known.add(name)
    return name in known


class KeptEnginesStorage(DagsterSqliteStorage):
    """Dagster's storage in SQLite files, the same files, for less processor time.

    Dagster's own makes an engine for each statement, which compiles it anew, and asks before many whether a migration of
    years ago is done. ``dagster.yaml`` names this one; a file that names Dagster's own goes on to work.
    """

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]
        self.base_dir, self._inst_data = base_dir, inst_data
        history = Path(base_dir).absolute() / "history"
        self._run_storage = _opened(_Runs, history)
        self._event_log_storage = _Events(str(history / "runs"))
        self._schedule_storage = _opened(_Schedules, history.parent / "schedules")

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> KeptEnginesStorage:
        """As Dagster makes it from its file."""
        return cls.from_local(inst_data=inst_data, **config_value)


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
