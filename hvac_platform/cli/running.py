"""Commands that run the platform: ``up``, ``ingest``, ``demo``, ``dashboard``."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from dotenv import dotenv_values

from hvac_platform.cli.output import console, errors, progress_bar
from hvac_platform.config import Settings, load_settings
from hvac_platform.devices.registry import DEVICE_TYPES_VARIABLE
from hvac_platform.log.base import LogError
from hvac_platform.runtime.signals import ignore_hangup, stop_on_signals
from hvac_platform.shipped import INSTANCE_FILE, WORKSPACE_FILE, checkout, place_instance_file
from hvac_platform.stores.base import StoreError
from hvac_platform.timestamps import now_ms

if TYPE_CHECKING:
    from hvac_platform.resources import PlatformResource

OTHER_HOME = "choose another HVAC_HOME"
LIVE_SIMULATOR = ["--anomaly-rate", "8"]
"""The machines are those of the store, see `hvac_platform.simulation.fleet_seed`."""
DashboardPort = Annotated[int, typer.Option(help="Port of the dashboard on 127.0.0.1.", min=1, max=65535)]


def _dagster_folder(home: Path) -> Path:
    """Where ``dagster.yaml`` is: the working directory if it has one, else the checkout, else HVAC_HOME, which gets one."""
    if (Path.cwd() / INSTANCE_FILE).exists():
        return Path.cwd()
    found = checkout()
    if found is None:
        found = home
        place_instance_file(found)
    return found


def _enter(folder: Path, settings: Settings) -> None:
    """Work where ``dagster.yaml`` is, with everything else where it was: Dagster's paths are relative to the folder."""
    for name, value in dotenv_values(".env").items():
        if value:
            os.environ.setdefault(name, value)  # the new folder has no .env
    for name, value in settings:
        if isinstance(value, Path):
            os.environ[name.upper()] = str(value.absolute())
    if folders := os.environ.get(DEVICE_TYPES_VARIABLE):
        os.environ[DEVICE_TYPES_VARIABLE] = os.pathsep.join(os.path.abspath(f) for f in folders.split(os.pathsep) if f)
    os.chdir(folder)


def ingest(
    reject_ahead: Annotated[
        bool,
        typer.Option(
            "--reject-ahead",
            help="Put messages of the future aside even where it may be this machine's clock that is wrong.",
        ),
    ] = False,
) -> None:
    """Ingest everything that is waiting in the log, now and in this process: what the sensor would launch.

    Partitions that another process ingests at the moment are left to it and waited for.
    """
    import hvac_platform.execution as execution
    from hvac_platform.ingestion.flow import flows
    from hvac_platform.lost_runs import end_lost_ingestion
    from hvac_platform.partitions import restore_devices
    from hvac_platform.resources import PlatformResource
    from hvac_platform.sensors.kafka_ingestion import made_again

    settings = load_settings()
    _enter(_dagster_folder(settings.hvac_home), settings)
    stop_on_signals()
    platform, instance = PlatformResource(), execution.open_instance(Path.cwd())
    end_lost_ingestion(instance, platform, now_ms())
    restore_devices(instance, platform.store)
    for line in made_again(platform):
        errors.print(f"hvac: {line}")
    skipped = _skipped(platform)
    waiting = sum(flow.waiting for flow in flows(platform.log, platform.store, platform.topic, now_ms()))
    with progress_bar("messages") as progress:
        task = progress.add_task("ingest", total=waiting)
        messages = runs = 0
        rejected: list[int] = []
        told: set[str] = set()

        def on_wait(reason: str) -> None:
            if reason not in told:
                told.add(reason)
                errors.print(f"waiting: {reason}")

        try:
            for taken in execution.ingest_everything(
                instance, platform, reject_ahead=reject_ahead, on_wait=on_wait, on_rejected=rejected.append
            ):
                messages, runs = messages + taken, runs + 1
                progress.update(task, completed=messages, total=max(waiting, messages))
        except execution.RunFailedError as error:
            errors.print(f"hvac: {error}")
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            errors.print(f"stopped; {messages} messages of {runs} runs are in, and hvac ingest goes on from there")
            raise typer.Exit(130) from None
    for partition, offsets in _skipped(platform).items():
        if lost := offsets - skipped.get(partition, 0):
            errors.print(f"hvac: partition {partition}: {lost} offsets were removed from the log before they were read")
    aside = f"; {sum(rejected)} of them are dead letters, with the reason: hvac verify" if sum(rejected) else ""
    console.print(f"ingested {messages} messages in {runs} run{'' if runs == 1 else 's'}{aside}")


def _skipped(platform: PlatformResource) -> dict[int, int]:
    """Offsets that were gone before they were read, by partition."""
    return {p: entry.skipped_offsets for p, entry in sorted(platform.store.ledger(platform.topic).items())}


def up(
    port: Annotated[int, typer.Option(help="Port of the Dagster pages on 127.0.0.1.", min=1, max=65535)] = 3000,
    simulate: Annotated[bool, typer.Option("--simulate/--no-simulate", help="Stream the default fleet too.")] = False,
    dashboard: Annotated[bool, typer.Option("--dashboard/--no-dashboard", help="Serve the dashboard too.")] = False,
    dashboard_port: DashboardPort = 8050,
) -> None:
    """Bring the platform up: Dagster's pages, sensors and schedules; Ctrl-C stops what this command started."""
    from hvac_platform.runtime.claims import HOME_LOCK

    settings = load_settings()
    _enter(_dagster_folder(settings.hvac_home), settings)
    simulator = LIVE_SIMULATOR if simulate else None
    with _claimed(settings.hvac_home / HOME_LOCK, port, OTHER_HOME):
        _run_live(settings, Path.cwd(), port, simulator, dashboard_port if dashboard else None)


def _this_command() -> str:
    """How to call this command again: by its name where the shell finds it, else by its path."""
    there = Path(os.environ.get("PWD", ""))  # where it was called, whatever the working directory is by now
    called = there / sys.argv[0]
    if called.stem != "hvac":
        return f"{os.path.relpath(sys.executable, there)} -m hvac_platform"
    found = shutil.which("hvac")
    known = found is not None and Path(found).resolve() == called.resolve()
    return "hvac" if known else os.path.relpath(called, there)


@contextmanager
def _claimed(lock: Path, port: int, otherwise: str) -> Iterator[None]:
    """Hold a folder while the platform runs on it; where another process holds it, one line says so and who."""
    from hvac_platform.runtime.claims import ClaimError, claim

    with ExitStack() as held:
        try:
            held.enter_context(claim(lock, f"process {os.getpid()}, port {port}"))
        except ClaimError as error:
            errors.print(f"hvac: {error}: stop that one first, or {otherwise}" if error.held else f"hvac: {error}")
            raise typer.Exit(1) from None
        yield


def dashboard(
    host: Annotated[
        str, typer.Option(help="Address to listen on; without users (hvac users add) who reaches it reads it.")
    ] = "127.0.0.1",
    port: DashboardPort = 8050,
    debug: Annotated[
        bool, typer.Option("--debug", help="For work on the dashboard: reloads, shows tracebacks.")
    ] = False,
) -> None:
    """Serve the dashboard: fleet, devices, incidents, methods and ingestion in a browser; Ctrl-C ends it."""
    from hvac_platform.dashboard.serving import DashboardError, require_free, serve
    from hvac_platform.hosts import is_loopback_name

    settings = load_settings()
    stop_on_signals()
    try:
        require_free(host, port)
        console.print(f"Dashboard: http://{host}:{port}   (Ctrl-C ends it)")
        if not is_loopback_name(host):
            errors.print("hvac: without users (hvac users add) there is no log-in: who reaches this address reads it")
        serve(settings, host, port, debug=debug)
    except DashboardError as error:
        errors.print(f"hvac: {error}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        pass


def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop after the report.")] = False,
    port: Annotated[int, typer.Option(help="Port of the Dagster pages on 127.0.0.1.", min=1, max=65535)] = 3000,
    dashboard: Annotated[
        bool, typer.Option("--dashboard/--no-dashboard", help="Serve the dashboard too when live.")
    ] = True,
    dashboard_port: DashboardPort = 8050,
) -> None:
    """History learned from, a day of labelled faults judged, then live.

    In a folder of its own, and where servers are named in a topic and a keyspace of its own.
    """
    from hvac_platform.runtime.claims import HOME_LOCK
    from hvac_platform.runtime.live import LiveError, require_free_port

    home = load_settings().hvac_home / "demo"
    with _claimed(home / HOME_LOCK, port, OTHER_HOME):
        if not once:
            try:
                require_free_port(port)
                if dashboard:
                    require_free_port(dashboard_port, "--dashboard-port")
            except LiveError as error:
                errors.print(f"hvac: {error}")
                raise typer.Exit(1) from None
        _demonstrate(home, once, port, dashboard_port if dashboard else None)


def _demonstrate(home: Path, once: bool, port: int, dashboard_port: int | None) -> None:
    from hvac_platform.demo import demo_names, go_on_until_now, place_tariffs, prepare_home, run_demo
    from hvac_platform.demo_alerts import QUIET_MINUTES, LiveAlerts, operator_path, prepare_live
    from hvac_platform.execution import RunFailedError
    from hvac_platform.runtime.live import HOST

    prepare_home(home)
    os.environ["HVAC_HOME"] = str(home)
    os.environ["HVAC_INCIDENT_PAST_HOURS"] = "0"  # what was wrong yesterday is no news
    own_prices = load_settings().hvac_tariffs is not None
    if not own_prices:
        os.environ["HVAC_TARIFFS"] = str(place_tariffs(home))
    named = demo_names(load_settings(), now_ms())
    os.environ.update(named)
    settings = load_settings()
    _enter(home, settings)
    os.environ.pop("HVAC_ALERTS", None)  # the demonstration tells nobody but who looks at it, whatever .env says
    try:
        report = run_demo(settings, console)
    except (LogError, StoreError, RunFailedError) as error:
        errors.print(f"hvac: {error}")
        raise typer.Exit(1) from None
    files = {"HVAC_HOME": str(home), **({} if own_prices else {"HVAC_TARIFFS": os.environ["HVAC_TARIFFS"]})}
    from_here = os.environ.get("PWD", str(home))
    look = {**{name: os.path.relpath(file, from_here) for name, file in files.items()}, **named}
    settings_of_it = " ".join(f"{k}={v}" for k, v in look.items())
    console.print(f"To look around: {settings_of_it} {_this_command()} --help", soft_wrap=True)
    removal = {
        "KAFKA_TOPIC": "kafka-topics.sh --bootstrap-server {0} --delete --topic {1}",
        "SCYLLA_KEYSPACE": 'cqlsh -e "DROP KEYSPACE {1}"',
    }
    for name, value in named.items():
        command = removal[name].format(settings.kafka_bootstrap_servers, value)
        console.print(f"To remove what it made: {command}", soft_wrap=True, highlight=False)
    if not once:
        try:
            go_on_until_now(console)
        except (LogError, StoreError, RunFailedError) as error:
            errors.print(f"hvac: {error}")
            raise typer.Exit(1) from None
        simulator = [*LIVE_SIMULATOR, *prepare_live(home, now_ms())]
        os.environ.pop("HVAC_INCIDENT_PAST_HOURS", None)
        os.environ["HVAC_INCIDENT_QUIET_MINUTES"] = str(QUIET_MINUTES)
        access = ""
        if dashboard_port is not None:
            os.environ["HVAC_DASHBOARD_URL"] = f"http://{HOST}:{dashboard_port}"
            access = operator_path(load_settings())
        alerts = LiveAlerts(load_settings(), lambda text: console.print(text, soft_wrap=True))
        alerts.start()
        try:
            _run_live(settings, home, port, simulator, dashboard_port, access)
        finally:
            alerts.stop()
    console.print(report.line())


def _run_live(
    settings: Settings,
    folder: Path,
    port: int,
    simulator: list[str] | None,
    dashboard_port: int | None,
    access: str = "",
) -> None:
    import hvac_platform.execution as execution
    from hvac_platform.runtime.claims import STORAGE_LOCK

    stop_on_signals()
    instance = execution.open_instance(folder)
    # Two homes of one checkout share Dagster's storage, and two daemons on it would launch everything twice.
    other = "start this one in a folder with a dagster.yaml of its own"
    with _claimed(Path(instance.root_directory) / STORAGE_LOCK, port, other):
        _live(settings, folder, port, simulator, dashboard_port, access)


def _live(
    settings: Settings,
    folder: Path,
    port: int,
    simulator: list[str] | None,
    dashboard_port: int | None,
    access: str,
) -> None:
    """Start the parts and watch them until Ctrl-C.

    Args:
        settings: of all parts.
        folder: with Dagster's configuration.
        port: of Dagster's pages.
        simulator: arguments of the simulator; None for none.
        dashboard_port: of the dashboard; None for none.
        access: path of the dashboard that is printed; the path that logs in, where a token is needed.
    """
    import hvac_platform.execution as execution
    from hvac_platform.lost_runs import end_runs_of_a_dead_platform
    from hvac_platform.resources import PlatformResource
    from hvac_platform.runtime.dagster_health import DAGSTER_BEARS_SECONDS, DagsterParts, dagster_trouble
    from hvac_platform.runtime.live import (
        HOST,
        LiveError,
        Service,
        StartedProcess,
        require_guard,
        service,
        start,
        start_dagster,
        start_dashboard,
        stop,
        wait_until_ready,
        watch,
    )

    log, dashboard_log = settings.hvac_home / "live.log", settings.hvac_home / "dashboard.log"
    environment = {"HVAC_HOME": str(settings.hvac_home)}
    services: list[Service] = []

    def begin_dagster() -> StartedProcess:
        instance, platform = execution.open_instance(folder), PlatformResource()
        _ = platform.store, platform.log  # nothing is started on what can't be used
        for run_id in end_runs_of_a_dead_platform(instance, platform, now_ms()):
            errors.print(
                f"run {run_id[:8]} ended without a word when an earlier process did; what it did is done again"
            )
        return start_dagster(folder, WORKSPACE_FILE, port, environment, log)

    try:
        trouble, gone = lambda: dagster_trouble(port), DagsterParts().gone
        services.append(service("Dagster", begin_dagster, log, trouble, gone, DAGSTER_BEARS_SECONDS))
        if simulator is not None:
            command = [sys.executable, "-m", "hvac_platform.cli", "simulate", *simulator]
            output = settings.hvac_home / "simulator.log"
            services.append(
                service("the simulator", lambda: start("simulator", command, folder, environment, output), output)
            )
        if dashboard_port is not None:
            beside = {**environment, "HVAC_DAGSTER_URL": f"http://{HOST}:{port}"}
            dashboard = partial(start_dashboard, folder, dashboard_port, beside, dashboard_log)
            services.append(service("the dashboard", dashboard, dashboard_log))
        with errors.status("starting Dagster"):
            started = [one.process for one in services]
            wait_until_ready(started, port, log)
            require_guard(port)
            if dashboard_port is not None:
                wait_until_ready(started, dashboard_port, dashboard_log, page="healthz")
                require_guard(dashboard_port)
        pages = f"http://{HOST}:{port}"
        groups = ",".join(f"global@global:{group}" for group in ("ingestion", "learning", "detection"))
        console.print(
            f"Dagster: {pages}   (log: {log})\nLineage: {pages}/asset-groups?expanded={groups}", soft_wrap=True
        )
        if dashboard_port is not None:
            console.print(f"Dashboard: http://{HOST}:{dashboard_port}{access}   (log: {dashboard_log})", soft_wrap=True)
        console.print("Ctrl-C stops everything that this command started.")
        watch(services, lambda line: errors.print(f"hvac: {line}"))
    except LiveError as error:
        errors.print(f"hvac: {error}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        pass
    finally:
        if services:
            ignore_hangup()
            with suppress(OSError):  # the terminal may be gone
                errors.print("stopping")
            stop([one.process for one in services])
            end_runs_of_a_dead_platform(execution.open_instance(folder), PlatformResource(), now_ms())
