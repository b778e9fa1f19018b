"""Commands that put messages into the log: ``simulate`` and ``import``."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvac_platform.cli.choosing import MOST_SECONDS, finite, instant
from hvac_platform.cli.output import AsJson, at, console, errors, print_json, print_rows, progress_bar
from hvac_platform.config import Settings, load_settings
from hvac_platform.devices.fleet import (
    FleetDevice,
    check_fleet,
    default_fleet,
    fleet_of_size,
    load_fleet,
    load_topology,
    parse_device,
)
from hvac_platform.ingestion.messages import name_problem, type_problem
from hvac_platform.runtime.connections import open_log, open_store
from hvac_platform.runtime.signals import stop_on_signals
from hvac_platform.simulation.faults import Fault, plan_faults
from hvac_platform.simulation.fleet_seed import FIRST_SEED, seed_of_fleet
from hvac_platform.simulation.fleet_simulation import FleetSimulation
from hvac_platform.simulation.plant import Plant
from hvac_platform.simulation.streaming import stream_history, stream_live
from hvac_platform.timestamps import DAY_MS, iso, now_ms

if TYPE_CHECKING:
    from hvac_platform.ingestion.importing import ImportResult, Plan

DEFAULT_ANOMALY_RATE = 24.0
LIVE_FAULT_DAYS = 7


def _fleet(devices: list[str] | None, config: Path | None, size: int | None) -> list[FleetDevice]:
    if sum(x is not None for x in (devices or None, config, size)) > 1:
        raise typer.BadParameter("give one of --devices, --fleet-config and --fleet-size")
    if devices:
        return check_fleet([parse_device(text) for listed in devices for text in listed.replace(",", " ").split()])
    if config is not None:
        return load_fleet(config)
    return default_fleet() if size is None else fleet_of_size(size)


def _warn_of_retention(settings: Settings, first_ms: int) -> None:
    """Kafka's retention goes by the time of the readings, so old history may be gone before it is ingested."""
    if settings.kafka_bootstrap_servers and first_ms < now_ms() - settings.kafka_retention_ms:
        errors.print(
            f"warning: readings of {iso(first_ms)} are older than KAFKA_RETENTION_DAYS={settings.kafka_retention_days:g}; "
            f"where topic {settings.kafka_topic} has that retention, Kafka deletes them within minutes: ingest them at "
            "once, or lengthen the topic's retention.ms first",
            soft_wrap=True,
        )


def simulate(
    devices: Annotated[
        list[str] | None, typer.Option("--device", "--devices", help="Devices as ID:type, e.g. RTU-001:rooftop_unit.")
    ] = None,
    fleet_config: Annotated[
        Path | None, typer.Option(help="Fleet as JSON, with what feeds what.", exists=True, dir_okay=False)
    ] = None,
    fleet_size: Annotated[
        int | None, typer.Option(help="A made-up fleet of this many devices.", min=1, max=100_000)
    ] = None,
    interval: Annotated[
        float, typer.Option(help="Seconds between readings.", min=0.1, max=86_400, callback=finite)
    ] = 10.0,
    duration: Annotated[
        float | None,
        typer.Option(help="Seconds to run; for ever when absent.", min=0, max=MOST_SECONDS, callback=finite),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", "--from", help="Make history from here (ISO 8601) instead of live data.")
    ] = None,
    end: Annotated[str | None, typer.Option("--end", "--until", help="End of the history; now when absent.")] = None,
    anomaly_devices: Annotated[
        list[str] | None,
        typer.Option(
            "--anomaly-device", "--anomaly-devices", help="Devices that get faults; all when only a rate is given."
        ),
    ] = None,
    anomaly_rate: Annotated[
        float | None,
        typer.Option(
            help=f"Faults per device-day; {DEFAULT_ANOMALY_RATE:g} when only devices are given.",
            min=0,
            max=1_000,
            callback=finite,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help=f"The same seed gives the same machines; when absent, those simulated before, or {FIRST_SEED} at first.",
            min=0,
            max=2**63 - 1,
        ),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Write the planned faults to this JSON file.")] = None,
    faults_file: Annotated[
        Path | None,
        typer.Option("--faults", help="More faults, as --labels writes them.", exists=True, dir_okay=False),
    ] = None,
) -> None:
    """Simulate a fleet into the message log, live at the pace of the clock or as history at full speed."""
    settings = load_settings()
    log = open_log(settings)
    fleet = _fleet(devices, fleet_config, fleet_size)
    listed = [d for text in anomaly_devices or [] for d in text.replace(",", " ").split()]
    rate = anomaly_rate if anomaly_rate is not None else (DEFAULT_ANOMALY_RATE if listed else 0.0)
    interval_ms = round(interval * 1000)
    began = now_ms()
    wanted_ms = instant(start, "--start")
    start_ms = began if wanted_ms is None else wanted_ms
    if end:
        end_ms = instant(end, "--end")
    elif start:
        end_ms = began
    else:
        end_ms = None if duration is None else began + round(duration * 1000)
    if end_ms is not None and end_ms <= start_ms and duration != 0:
        raise typer.BadParameter(f"the end {iso(end_ms)} is not after the start {iso(start_ms)}", param_hint="--end")
    chosen_seed, warning = seed_of_fleet(open_store(settings), seed)
    if warning:
        errors.print(warning)
    try:
        faults = plan_faults(
            fleet,
            start_ms,
            end_ms or start_ms + LIVE_FAULT_DAYS * DAY_MS,
            seed=chosen_seed,
            rate=rate,
            device_ids=listed or None,
        )
        if faults_file is not None:
            faults += [Fault.from_dict(given) for given in json.loads(faults_file.read_text(encoding="utf-8"))]
        plant = None if fleet_config is None else Plant(load_topology(fleet_config))
        simulation = FleetSimulation(fleet, seed=chosen_seed, faults=faults, plant=plant)
    except (ValueError, TypeError, KeyError) as error:
        raise typer.BadParameter(str(error)) from None
    _announce(faults, labels)
    where = f"{settings.kafka_topic} in {settings.kafka_bootstrap_servers or settings.hvac_home}"
    if start:
        _warn_of_retention(settings, start_ms)
        with progress_bar("hours") as progress:
            assert end_ms is not None
            task = progress.add_task(f"{len(fleet)} devices into {where}", total=round((end_ms - start_ms) / 3_600_000))
            messages = 0
            for reached, messages in stream_history(  # noqa: B007 - the last count is wanted
                log, settings.kafka_topic, simulation, fleet, start_ms, end_ms, interval_ms
            ):
                progress.update(task, completed=round((reached - start_ms) / 3_600_000))
        console.print(f"simulated {len(fleet)} devices, {messages} messages, {iso(start_ms)} to {iso(end_ms)}")
        return
    simulation.run_in(began)
    errors.print(f"simulating {len(fleet)} devices every {interval:g} s into {where}; Ctrl-C stops")
    messages = 0
    stop_on_signals()
    try:
        for reached, messages in stream_live(log, settings.kafka_topic, simulation, interval_ms, until_ms=end_ms):
            errors.print(f"{iso(reached)}  {messages} messages", end="\r" if errors.is_terminal else "\n")
    except KeyboardInterrupt:
        pass
    console.print(f"simulated {len(fleet)} devices, {messages} messages")


def _announce(faults: list[Fault], labels: Path | None) -> None:
    if labels is not None:
        labels.write_text(json.dumps([fault.to_dict() for fault in faults], indent=1))
    for fault in faults[:10]:
        metric = f" of {fault.metric}" if fault.metric else ""
        errors.print(f"fault: {fault.device_id} {fault.kind}{metric} {iso(fault.start_ms)} to {iso(fault.end_ms)}")
    if len(faults) > 10:
        errors.print(f"… and {len(faults) - 10} more faults")


def import_files(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="CSV, Parquet, JSON, Zinc, workbooks; also in gz or zip.",
            exists=True,
            dir_okay=False,
            metavar="FILE",
        ),
    ],
    device_type: Annotated[str, typer.Option(help="Device type of the rows.")],
    device_id: Annotated[
        str | None, typer.Option(help="Device of the rows, where no column says so; the file's name when absent.")
    ] = None,
    map_file: Annotated[
        Path | None, typer.Option("--map", help="YAML that maps columns to metrics.", exists=True, dir_okay=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what is understood and refused; send nothing.")
    ] = False,
    time_column: Annotated[str | None, typer.Option(help="Column of the time; found when absent.")] = None,
    time_format: Annotated[
        str | None, typer.Option(help="Format of the times, e.g. '%d/%m/%Y %H:%M'; found when absent.")
    ] = None,
    day_first: Annotated[
        bool | None, typer.Option("--day-first/--month-first", help="Order of day and month, where both fit.")
    ] = None,
    timezone: Annotated[str | None, typer.Option(help="Timezone of times that name none, e.g. Europe/Berlin.")] = None,
    year: Annotated[int | None, typer.Option(help="Year of times that have none.", min=2000, max=2100)] = None,
    decimal: Annotated[str | None, typer.Option(help="Decimal mark, . or , where both fit.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of the text, e.g. cp1252; found when absent.")] = None,
    location: Annotated[str, typer.Option(help="Location of the device.")] = "",
    building_id: Annotated[str, typer.Option(help="Building of the device.")] = "",
    refused_rows: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the CSVs of refused rows; refused-rows in HVAC_HOME when absent.", file_okay=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Import historian exports through the message log: all of the files, or none where one is not understood."""
    from hvac_platform.ingestion.importing import (  # brings pandas and pyarrow
        ImportMap,
        ImportRefusedError,
        plan_import,
        send,
    )

    settings = load_settings()
    log = None if dry_run else open_log(settings)
    for option, problem in (
        ("--device-id", None if device_id is None else name_problem(device_id)),
        ("--device-type", type_problem(device_type)),
    ):
        if problem is not None:
            raise typer.BadParameter(problem, param_hint=option)
    began = time.monotonic()
    refused = None
    try:
        mapping = (ImportMap.load(map_file) if map_file else ImportMap()).given(
            time_column=time_column,
            time_format=time_format,
            day_first=day_first,
            timezone=timezone,
            year=year,
            decimal=decimal,
            encoding=encoding,
        )
        kind = FleetDevice(device_id or "", device_type, location, building_id)
        plans = []
        for path in files:
            refused = path
            plans += plan_import(path, kind if device_id else None, kind, mapping, alone=len(files) == 1)
    except ImportRefusedError as error:
        print_rows([], as_json=as_json, empty="nothing imported")
        errors.print(f"hvac: {refused}: {error}" if refused else f"hvac: {error}")
        raise typer.Exit(1) from None
    total = sum(path.stat().st_size for path in files)
    with progress_bar("bytes") as progress:
        task = progress.add_task("reading" if dry_run else "importing", total=2 * total)
        results = send(
            log,
            settings.kafka_topic,
            plans,
            refused_rows=refused_rows or (None if dry_run else settings.hvac_home / "refused-rows"),
            on_progress=lambda done: progress.update(task, completed=min(total + done, 2 * total)),
        )
        progress.update(task, completed=2 * total)
    seconds = round(time.monotonic() - began, 2)
    rows = [_imported(plan.content.name, result, seconds) for plan, result in zip(plans, results, strict=True)]
    first = min((result.first_ms for result in results if result.first_ms is not None), default=None)
    if first is not None:
        _warn_of_retention(settings, first)
    if as_json:
        details = [asdict(result) for result in results]
        print_json([row | _details(one, dry_run=dry_run) for row, one in zip(rows, details, strict=True)])
    else:
        _print_imported(plans, results, rows, dry_run=dry_run)
    if not any(result.messages for result in results):
        reasons: Counter[str] = Counter()
        for result in results:
            reasons.update(result.reasons)
        why = ", ".join(f"{count} x {reason}" for reason, count in reasons.most_common(4))
        said = f"all is refused or empty: {why}" if why else "no row has a time and a value that can be read"
        errors.print(f"hvac: nothing to send: {said}")
        raise typer.Exit(1)


MOST_LEFT_OUT = 20


def _print_imported(
    plans: list[Plan], results: list[ImportResult], rows: list[dict[str, object]], *, dry_run: bool
) -> None:
    """What came of some files, for people."""
    narrow = ("rows_read", "messages_sent", "refused", "from", "file")
    print_rows(rows, as_json=False, title="Understood; nothing was sent" if dry_run else "Imported", narrow=narrow)
    for plan, result in zip(plans, results, strict=True):
        _print_understanding(plan.content.name, result, at_length=dry_run)
    if dry_run:
        count = sum(result.messages for result in results)
        console.print(f"Nothing was sent. Without --dry-run, {count} messages are.")
    elif any(result.messages for result in results):
        console.print("The ingestion sensor picks them up; without a running Dagster, `hvac ingest` does it now.")


def _imported(name: str, result: ImportResult, seconds: float) -> dict[str, object]:
    return {
        "file": name,
        "device": result.devices,
        "rows_read": result.rows,
        "messages_sent": result.messages,
        "refused": result.refused,
        "from": at(result.first_ms),
        "to": at(result.last_ms),
        "times": result.times,
        "ignored_columns": list(result.ignored_columns),
        "seconds": seconds,
    }


def _details(result: dict[str, Any], *, dry_run: bool) -> dict[str, object]:
    """What programs get beside the summary."""
    kept = ("format", "columns", "left_out", "left_out_values", "empty", "reasons", "first_refusals", "notes")
    path = result["refused_rows"]
    return {
        **{name: result[name] for name in kept},
        "refused_rows": None if path is None else str(path),
        "dry_run": dry_run,
        **({"messages_sent": 0, "messages": result["messages"]} if dry_run else {}),
    }


def _print_understanding(name: str, result: ImportResult, *, at_length: bool) -> None:
    """Columns, notes and refused rows of a file; its columns and the first refused rows only where asked for."""
    if at_length:
        rows = [
            {
                "column": one.column,
                "metric": one.metric,
                "unit_in_file": one.unit_in_file or "-",
                "unit": one.unit or "-",
                "known_by": one.known_by,
                "device": one.device or "-",
                "values": one.values,
            }
            for one in result.columns
        ]
        print_rows(
            rows,
            as_json=False,
            title=f"{name}: {result.format}",
            narrow=("unit_in_file", "unit", "values", "metric", "column"),
        )
    for column, why in list(result.left_out.items())[:MOST_LEFT_OUT]:
        console.print(f"left out: {name}: {column}: {why}")
    if len(result.left_out) > MOST_LEFT_OUT:
        console.print(f"left out: {name}: {len(result.left_out) - MOST_LEFT_OUT} columns more; --json has all of them")
    if result.empty:
        console.print(f"empty: {name}: {result.empty} cells")
    for note in result.notes:
        console.print(f"note: {name}: {note}")
    for reason, count in result.reasons.items():
        console.print(f"refused: {name}: {count} x {reason}")
    if at_length and result.first_refusals:
        rows = [
            {"line": one.line or "all", "column": one.column, "value": one.value, "reason": one.reason}
            for one in result.first_refusals
        ]
        print_rows(rows, as_json=False, title="Refused")
    if result.refused_rows is not None:
        console.print(f"All refused rows of {name} are in {result.refused_rows}")
