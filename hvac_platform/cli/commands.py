"""The commands by name: none is loaded before it is asked for, so that help and errors come at once."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command is.

    Attributes:
        module: of the folder ``cli``.
        name: its function, or the group of commands.
        help: its line in the list; that of its docstring.
        hidden: an old name, which is not listed.
    """

    module: str
    name: str
    help: str
    hidden: bool = False


COMMANDS = {
    "simulate": Command(
        "streaming",
        "simulate",
        "Simulate a fleet into the message log, live at the pace of the clock or as history at full speed.",
    ),
    "import": Command(
        "streaming",
        "import_files",
        "Import historian exports through the message log: all of the files, or none where one is not understood.",
    ),
    "export": Command(
        "exporting",
        "export_files",
        "Write readings, states and events as files: a file a table and UTC day, for DuckDB, pandas and the like.",
    ),
    "ingest": Command(
        "running",
        "ingest",
        "Ingest everything that is waiting in the log, now and in this process: what the sensor would launch.",
    ),
    "check": Command(
        "upkeep",
        "check",
        "Check every connection, the schema, and that data flow; says what to do where something fails.",
    ),
    "verify": Command("upkeep", "verify", "Row counts, gaps and freshness of every device."),
    "lag": Command("lagging", "lag", "How far ingestion is behind the log, by partition."),
    "schema": Command("upkeep", "schema", "Show or apply the store's schema."),
    "profiles": Command("detecting", "profiles", "Build, list and show device profiles."),
    "detect": Command(
        "detecting",
        "detect",
        "Judge windows and show how many are anomalous by device, and the newest of them with reasons.",
    ),
    "compare": Command(
        "detecting",
        "compare_methods",
        "The methods side by side on judged windows: anomalies, rates, consensus of two or more, disagreements.",
    ),
    "replay": Command(
        "replaying",
        "replay",
        "What other limits would have shown, beside the record, which stays as it is.",
    ),
    "similar": Command(
        "detecting",
        "similar",
        "Has this happened before? The most similar past states, with the difference of every metric.",
    ),
    "degradation": Command(
        "detecting",
        "degradation",
        "Slow degradation: which metrics depart more every day from what the others imply, since when, and "
        "what time is left.",
    ),
    "trends": Command("detecting", "trends", "What `hvac degradation` was called up to version 0.1.", hidden=True),
    "devices": Command("devices", "devices", "List devices and their points; retire, return and rename them."),
    "incidents": Command(
        "incidents", "incidents", "List, show, acknowledge, assign, snooze, resolve and label incidents."
    ),
    "suppressions": Command(
        "suppressions", "suppressions", "Recurring times at which nobody is told of certain incidents."
    ),
    "alerts": Command(
        "alerts", "alerts", "Who is told of incidents and why; test receivers, see the outbox, send what waits."
    ),
    "users": Command("users", "users", "Who may use the dashboard and the API: add, list and revoke users."),
    "maintenance": Command("incidents", "maintenance", "Known work on devices, in which nothing alarms."),
    "up": Command(
        "running",
        "up",
        "Bring the platform up: Dagster's pages, sensors and schedules; Ctrl-C stops what this command started.",
    ),
    "dashboard": Command(
        "running",
        "dashboard",
        "Serve the dashboard: fleet, devices, incidents, methods and ingestion in a browser; Ctrl-C ends it.",
    ),
    "demo": Command("running", "demo", "History learned from, a day of labelled faults judged, then live."),
}


STOPPED = 130
"""Exit code of a command that was interrupted, as shells have it."""


class LazyCommands(TyperGroup):
    """A group whose commands are loaded one by one."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the commands that are listed."""
        return [name for name, command in COMMANDS.items() if not command.hidden]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command by its name, or None."""
        found = COMMANDS.get(cmd_name)
        if found is None:
            return None
        loaded = getattr(import_module(f"hvac_platform.cli.{found.module}"), found.name)
        if not isinstance(loaded, typer.Typer):
            alone = typer.Typer(rich_markup_mode=None, add_completion=False)
            alone.command(cmd_name)(loaded)
            loaded = alone
        command = typer.main.get_command(loaded)
        command.name, command.help = cmd_name, command.help or found.help
        return command

    def invoke(self, ctx: Any) -> Any:
        """Run a command; who stops it gets one line and exit code 130."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo(
                "hvac: stopped; what was written by then is whole, and the same command goes on from there", err=True
            )
            raise typer.Exit(STOPPED) from None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list of commands in the help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].help) for name in self.list_commands(ctx)])
