"""The demonstration: days of history that are learned from, and a day with labelled faults that is judged."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hvac_platform.config import Settings
from hvac_platform.detection.consensus import agreed
from hvac_platform.detection.evaluation import NOTHING, FaultScore, score_faults
from hvac_platform.detection.methods import method_names
from hvac_platform.devices.fleet import FleetDevice, default_fleet
from hvac_platform.execution import build_profiles, ingest_everything, judge_days, open_instance, run_job
from hvac_platform.monitoring.worth import Prices, short_cost, worth_of
from hvac_platform.partitions import devices as device_partitions
from hvac_platform.resources import PlatformResource
from hvac_platform.runtime.claims import HOME_LOCK
from hvac_platform.schedules import partition_tags
from hvac_platform.shipped import place_instance_file
from hvac_platform.simulation.faults import Fault, plan_one_of_each
from hvac_platform.simulation.fleet_seed import seed_of_fleet
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.simulation.streaming import stream_history
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import AnomalyEvent, Incident
from hvac_platform.stores.series import on_common_windows, verdict_series
from hvac_platform.timestamps import day_of, day_start, days_before, iso, now_ms

INTERVAL_MS = 10_000
SEED = 2026
LEARNED_DAYS = 3
"""One day has one weather, and knows neither how another night begins nor what a warmer noon asks for."""
FAULTS_FILE = "faults.json"
TARIFFS_FILE = "tariffs.yaml"
TARIFFS = """\
# An example: prices of the demonstration, so that it says what faults cost. Yours go into a file of your own: docs/worth.md.
name: example prices             # told with each amount
currency: USD
timezone: America/Chicago
price: 0.12                      # of a kWh
periods:
  - {name: weekday peak, days: [mon-fri], from: "12:00", until: "20:00", price: 0.19}
"""


@dataclass
class DemoReport:
    """What the demonstration counted."""

    messages: int = 0
    rejected: int = 0
    snapshots: int = 0
    profiles: int = 0
    anomalies: int = 0
    faults: int = 0
    by_method: dict[str, FaultScore] = field(default_factory=dict)
    device_days: int = 0
    seconds: float = 0.0

    def line(self) -> str:
        """The last line of ``make demo ONCE=1``."""
        union = self.by_method.get("any method", NOTHING)
        return (
            f"demo: messages={self.messages} rejected={self.rejected} snapshots={self.snapshots} "
            f"profiles={self.profiles} anomalies={self.anomalies} faults={self.faults} found={union.found} "
            f"false_alarms_per_device_day={union.false_alarms / max(1, self.device_days):.2f} seconds={self.seconds:.0f}"
        )


def prepare_home(home: Path) -> None:
    """A folder of the demonstration's own with Dagster's configuration in it; only the lock of who holds it stays."""
    home.mkdir(parents=True, exist_ok=True)
    for entry in home.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != HOME_LOCK:
            entry.unlink()
    place_instance_file(home)


def place_tariffs(home: Path) -> Path:
    """Write the prices of the demonstration into its folder; returns the file."""
    file = home / TARIFFS_FILE
    file.write_text(TARIFFS, encoding="utf-8")
    return file


def demo_names(settings: Settings, at_ms: int) -> dict[str, str]:
    """Topic and keyspace of a demonstration on servers: new ones, so that nothing of the user's is touched."""
    mark = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y%m%d%H%M%S")
    names = {}
    if settings.kafka_bootstrap_servers:
        names["KAFKA_TOPIC"] = f"{settings.kafka_topic}-demo-{mark}"
    if settings.scylla_hosts:
        names["SCYLLA_KEYSPACE"] = f"{settings.scylla_keyspace[:28]}_demo_{mark}"  # 48 characters at most
    return names


def run_demo(settings: Settings, console: Console, *, fleet: Sequence[FleetDevice] | None = None) -> DemoReport:
    """Make and ingest days of history, learn from all but the last, judge that one, and print a report.

    Works in the current directory, which must hold ``dagster.yaml``; the store and the log are where ``settings`` says.

    Args:
        settings: of this process.
        console: where progress and report go.
        fleet: devices; the default five when absent.
    """
    began = time.monotonic()
    fleet = fleet or default_fleet()
    platform, instance = PlatformResource(), open_instance(Path.cwd())
    today = day_of(now_ms())
    first_day, judged_day = days_before(today, LEARNED_DAYS + 1), days_before(today, 1)
    last_learned = days_before(today, 2)
    start_ms, end_ms = day_start(first_day), day_start(today)
    faults = plan_one_of_each(fleet, day_start(judged_day), end_ms, seed=SEED)
    (settings.hvac_home / FAULTS_FILE).write_text(json.dumps([f.to_dict() for f in faults], indent=1))
    report = DemoReport(faults=len(faults), device_days=len(fleet))
    seed, _ = seed_of_fleet(platform.store, SEED)  # what is simulated later into this store goes on with these machines
    with _progress(console) as progress:
        hours = (end_ms - start_ms) // 3_600_000
        task = progress.add_task(f"simulate {first_day} to {judged_day}", total=hours, unit="hours")
        simulation = FleetSimulation(fleet, seed=seed, faults=faults)
        for reached, messages in stream_history(
            platform.log, platform.topic, simulation, fleet, start_ms, end_ms, INTERVAL_MS
        ):
            progress.update(task, completed=(reached - start_ms) // 3_600_000)
            report.messages = messages
        task = progress.add_task("ingest through the log", total=report.messages, unit="messages")
        for taken in ingest_everything(instance, platform):
            progress.update(task, advance=taken)
        registered = list(instance.get_dynamic_partitions(str(device_partitions.name)))
        task = progress.add_task(f"learn profiles until {last_learned}", total=len(registered), unit="devices")
        build_profiles(instance, registered, until=judged_day)
        progress.update(task, completed=len(registered))
        task = progress.add_task(f"judge {judged_day}", total=1, unit="day")
        judge_days(instance, judged_day, judged_day)
        progress.update(task, completed=1)
    store = platform.store
    report.rejected = store.count("dead_letters")
    report.snapshots = store.count("device_state_snapshots")
    report.profiles = store.count("device_profiles")
    report.anomalies = store.count("anomaly_events")
    report.by_method = score_methods(store, fleet, faults, day_start(judged_day), end_ms)
    report.seconds = time.monotonic() - began
    print_report(report, store, faults, console)
    print_costs(settings, store, (day_start(judged_day), end_ms), console)
    return report


def go_on_until_now(
    console: Console, *, fleet: Sequence[FleetDevice] | None = None, now: Callable[[], int] = now_ms
) -> int:
    """The present day of the same machines, as far as it has passed: without it a hole would lie before the live part.

    Works in the current directory, as :func:`run_demo` does and after it.

    Args:
        console: where progress goes.
        fleet: devices; the default five when absent.
        now: the present, epoch milliseconds.

    Returns:
        Messages that were ingested.
    """
    fleet = fleet or default_fleet()
    platform, instance = PlatformResource(), open_instance(Path.cwd())
    today, until_ms = day_of(now()), now() // INTERVAL_MS * INTERVAL_MS
    start_ms = day_start(today)
    seed, _ = seed_of_fleet(platform.store, SEED)
    simulation = FleetSimulation(fleet, seed=seed)
    simulation.run_in(start_ms)
    taken = messages = 0
    with _progress(console) as progress:
        hours = -(-(until_ms - start_ms) // 3_600_000)
        task = progress.add_task(f"simulate {today} until now", total=hours, unit="hours")
        for reached, messages in stream_history(  # noqa: B007 - the last count is wanted
            platform.log, platform.topic, simulation, fleet, start_ms, until_ms, INTERVAL_MS
        ):
            progress.update(task, completed=-(-(reached - start_ms) // 3_600_000))
        task = progress.add_task("ingest and judge it", total=messages, unit="messages")
        for some in ingest_everything(instance, platform):
            taken += some
            progress.update(task, advance=some)
        if taken:
            run_job("detection", instance, partition_tags(today, today))
    return taken


def _progress(console: Console) -> Progress:
    """Bars of long work."""
    return Progress(
        TextColumn("{task.description:<34}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        console=console,
    )


def score_methods(
    store: Store, fleet: Sequence[FleetDevice], faults: Sequence[Fault], start_ms: int, end_ms: int
) -> dict[str, FaultScore]:
    """Found, missed and false alarms of each method, of the consensus and of the union, over the fleet."""
    totals = dict.fromkeys((*method_names(), "consensus", "any method"), NOTHING)
    for device in fleet:
        verdicts = verdict_series(store, device.device_id, (start_ms, end_ms))
        if not verdicts:
            continue
        times, alarms = on_common_windows(verdicts)
        count = np.sum(list(alarms.values()), axis=0)
        spans = [(f.start_ms, f.end_ms, f.recovered_ms) for f in faults if f.device_id == device.device_id]
        for name, alarm in {**alarms, "consensus": agreed(count), "any method": count >= 1}.items():
            totals[name] = totals[name] + score_faults(times, alarm, spans)
    return totals


def print_report(report: DemoReport, store: Store, faults: Sequence[Fault], console: Console) -> None:
    """Methods side by side, then each fault with what was said of it."""
    table = Table(title="Methods against the labelled faults", title_justify="left")
    for heading in ("method", "found", "missed", "false alarms per device-day", "median delay"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for name, score in report.by_method.items():
        delay = f"{np.median(score.delays_ms) / 60_000:.0f} min" if score.delays_ms else "-"
        false = f"{score.false_alarms / max(1, report.device_days):.2f}"
        table.add_row(name, str(score.found), str(score.missed), false, delay)
    console.print(table, soft_wrap=False)
    table = Table(title="Faults", title_justify="left")
    for heading in ("device", "fault", "from", "to", "found by", "first reason"):
        table.add_column(heading, overflow="fold")
    for fault in faults:
        events = AnomalyEvent.read(store, fault.device_id, (fault.start_ms, fault.end_ms), only=("methods", "reasons"))
        methods = sorted({method for event in events for method in event.methods})
        reason = next((event.reasons[0] for event in events if event.reasons), "-")
        label = fault.kind.replace("_", " ") + (f" ({fault.metric})" if fault.metric else "")
        times = iso(fault.start_ms)[11:16], iso(fault.end_ms)[11:16]
        table.add_row(fault.device_id, label, *times, ", ".join(methods) or "missed", reason)
    console.print(table, soft_wrap=False)


def print_costs(settings: Settings, store: Store, span: tuple[int, int], console: Console) -> None:
    """What the incidents of a span cost a day, the dearest first, and at what prices; those that cost nothing are left out.

    Args:
        settings: name the file of prices.
        store: has the incidents.
        span: from one instant until another, epoch milliseconds.
        console: where it is printed.
    """
    prices = Prices.of(settings)
    found = [(incident, worth_of(store, incident, prices)) for incident in Incident.read(store, span=span)]
    dear = [(incident, worth) for incident, worth in found if short_cost(worth)]
    dear.sort(key=lambda one: -one[1].daily.kwh.value if one[1].daily is not None else 0.0)
    table = Table(title=f"What {len(dear)} of {len(found)} incidents cost, each if it went on", title_justify="left")
    for heading in ("incident", "likely", "costs"):
        table.add_column(heading, overflow="fold")
    for incident, worth in dear:
        likely = next((kind["kind"].replace("_", " ") for kind in incident.kinds), "-")
        table.add_row(incident.incident_id, likely, short_cost(worth))
    console.print(table, soft_wrap=False)
    if settings.hvac_tariffs is not None:
        console.print(f"Prices are those of {settings.hvac_tariffs}.")
    if others := len(found) - len(dear):
        console.print(f"What the other {others} cost isn't known, or may be nothing; the page of each says why.")
