"""The application: every command, and one line for every expected error."""

from __future__ import annotations

import sqlite3
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from hvac_platform.cli.commands import STOPPED, LazyCommands
from hvac_platform.runtime.linear_algebra import one_thread
from hvac_platform.runtime.signals import stop_on_signals

app = typer.Typer(
    cls=LazyCommands,
    help="Watch HVAC equipment: ingest its metrics, learn what is normal, say what is wrong and whether it happened before.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hvac {version('hvac-platform')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options of the command line itself."""


def _expected() -> tuple[type[BaseException], ...]:
    """Errors that say what to do; loaded only where one has come."""
    import apsw

    from hvac_platform.alerts.tree import AlertsFileError
    from hvac_platform.config import ConfigError
    from hvac_platform.detection.profile import TooFewSnapshotsError
    from hvac_platform.devices.fleet import FleetError
    from hvac_platform.devices.registry import DeviceTypeError
    from hvac_platform.log.base import LogError
    from hvac_platform.stores.base import StoreError

    ours = (AlertsFileError, ConfigError, DeviceTypeError, FleetError, LogError, StoreError, TooFewSnapshotsError)
    return (*ours, apsw.Error, sqlite3.Error, OSError)


def expected_cause(error: BaseException) -> BaseException | None:
    """The error itself, or what it came from, where that is nothing unusual: a full disk, a missing server, a wrong value.

    What a library makes of a full disk is an error of its own, several layers away from what happened.
    """
    seen: set[int] = set()
    found: BaseException | None = error
    expected = _expected()
    while found is not None and id(found) not in seen:
        if isinstance(found, expected):
            return found
        seen.add(id(found))
        found = found.__cause__ or found.__context__
    return None


def told(error: BaseException) -> str:
    """An expected error in one line.

    >>> told(OSError(30, "Read-only file system", "/data/store.db"))
    '/data/store.db: Read-only file system'
    """
    import apsw

    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, apsw.CorruptError | apsw.NotADBError) or "short read" in str(error).lower():
        return f"a file in HVAC_HOME is damaged ({error}): hvac check says which one, docs/recovery.md what can be done"
    if isinstance(error, apsw.Error | sqlite3.Error):
        return f"{' '.join(str(error).split())}. Is HVAC_HOME a writable folder with free space?"
    return " ".join(str(error).split()) or type(error).__name__


def main() -> None:
    """Run the command line; an expected error is one line on standard error and exit code 1.

    Ctrl-C, ``kill`` and a closed terminal stop every command alike.
    """
    stop_on_signals()
    one_thread()
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    except Exception as error:
        from hvac_platform.cli.output import errors

        if type(error).__module__.startswith("sqlalchemy."):
            original = getattr(error, "orig", None) or error
            errors.print(f"hvac: Dagster's storage can't be used: {original}; is its disk full? docs/recovery.md")
            sys.exit(1)
        cause = expected_cause(error)
        if cause is None:
            raise
        errors.print(f"hvac: {told(cause)}")
        sys.exit(1)
