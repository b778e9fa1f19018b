"""The application: every command, and one line for every expected error."""

from __future__ import annotations

import sys

import apsw
import typer

from hvac_platform.cli import detecting, incidents, running, streaming, upkeep
from hvac_platform.cli.output import errors
from hvac_platform.config import ConfigError
from hvac_platform.detection.profile import TooFewSnapshotsError
from hvac_platform.devices.fleet import FleetError
from hvac_platform.devices.registry import DeviceTypeError
from hvac_platform.stores.base import StoreError
from hvac_platform.streams.base import LogError

app = typer.Typer(
    help="Watch HVAC equipment: ingest its metrics, learn what is normal, say what is wrong and whether it happened before.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command("simulate")(streaming.simulate)
app.command("import")(streaming.import_files)
app.command("ingest")(running.ingest)
app.command("check")(upkeep.check)
app.command("verify")(upkeep.verify)
app.command("lag")(upkeep.lag)
app.add_typer(upkeep.schema, name="schema", help="Show or apply the store's schema.")
app.add_typer(detecting.profiles, name="profiles", help="Build, list and show device profiles.")
app.command("detect")(detecting.detect)
app.command("compare")(detecting.compare_methods)
app.command("similar")(detecting.similar)
app.command("trends")(detecting.trends)
app.add_typer(incidents.incidents, name="incidents", help="List, show and label incidents.")
app.add_typer(incidents.maintenance, name="maintenance", help="Known work on devices, in which nothing alarms.")
app.command("up")(running.up)
app.command("dashboard")(running.dashboard)
app.command("demo")(running.demo)

EXPECTED = (
    ConfigError,
    DeviceTypeError,
    FleetError,
    LogError,
    StoreError,
    TooFewSnapshotsError,
    apsw.BusyError,
    apsw.FullError,
    apsw.ReadOnlyError,
)


def main() -> None:
    """Run the command line; an expected error is one line on standard error and exit code 1."""
    try:
        app()
    except EXPECTED as error:
        errors.print(f"hvac: {error}")
        sys.exit(1)
    except (apsw.CorruptError, apsw.NotADBError, apsw.IOError, apsw.CantOpenError) as error:
        errors.print(
            f"hvac: the embedded store or log in HVAC_HOME is damaged or can't be read: {error}; hvac check says which "
            "file, docs/recovery.md what can be done"
        )
        sys.exit(1)
    except OSError as error:
        errors.print(f"hvac: {error.filename or ''}: {error.strerror or error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not type(error).__module__.startswith("sqlalchemy."):
            raise
        cause = getattr(error, "orig", None) or error
        errors.print(f"hvac: Dagster's storage can't be used: {cause}; is its disk full? docs/recovery.md")
        sys.exit(1)
