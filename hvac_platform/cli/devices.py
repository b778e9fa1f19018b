"""Commands about the registry of devices and their points: ``devices``."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from hvac_platform.cli.choosing import Devices, Names, OneDevice, OneName, chosen_device, chosen_devices, named
from hvac_platform.cli.output import AsJson, Length, at, console, errors, print_rows, progress_bar
from hvac_platform.config import load_settings
from hvac_platform.devices.topology import NO_TOPOLOGY
from hvac_platform.monitoring.data_loss import spelled
from hvac_platform.monitoring.points import fitting_window_ms, points_of, retire_point, states_now, window_command
from hvac_platform.monitoring.renaming import rename_device
from hvac_platform.monitoring.site_topology import topology_of_site
from hvac_platform.runtime.connections import make_encoders, open_store
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import WHOLE_DEVICE, read_points
from hvac_platform.timestamps import day_windows, divides_day, now_ms
from hvac_platform.visible_text import visible

devices = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Device = Annotated[str, typer.Argument(help="Device.", metavar="DEVICE")]
Point = Annotated[str | None, typer.Option("--point", help="One of its points (metric) alone.")]


@devices.command("list")
def list_devices(names: Names = None, chosen: Devices = None, as_json: AsJson = False) -> None:
    """Every device: what it is, when it was heard, how good its points are, what it feeds."""
    settings = load_settings()
    store = open_store(settings)
    topology = topology_of_site(settings) or NO_TOPOLOGY
    rows = []
    fitting: dict[str, int | None] = {}
    for device in chosen_devices(store, named(names, chosen)):
        points = points_of(store, device.device_id)
        stored, _ = read_points(store, device.device_id)
        grades = [p.grade["grade"] for p in stored if p.grade is not None and p.retired_at is None]
        fitting_ms = fitting_window_ms(points, device.window(settings))
        fitting[device.device_id] = fitting_ms
        rows.append(
            {
                "device": device.device_id,
                "type": device.device_type,
                "location": device.location or None,
                "building": device.building_id or None,
                "last_reading": at(device.last_seen),
                "age": Length(now_ms() - device.last_seen),
                "points": len(points.paces),
                "good": grades.count("good"),
                "fair": grades.count("fair"),
                "poor": grades.count("poor"),
                "retired": at(points.gone_ms) if points.gone_ms is not None else None,
                "window": Length(device.window(settings), spelled(device.window(settings))),
                "fitting_window": None if fitting_ms is None else Length(fitting_ms, spelled(fitting_ms)),
                "feeds": ", ".join(topology.feeds.get(device.device_id, ())) or None,
                "fed_by": ", ".join(topology.fed_by.get(device.device_id, ())) or None,
            }
        )
    print_rows(
        rows,
        as_json=as_json,
        title=f"Devices ({len(rows)})",
        empty="no device was heard of yet: hvac simulate",
        narrow=("device", "type", "points", "poor", "age", *(("fed_by",) if topology else ())),
    )
    unfit = next(((name, length) for name, length in fitting.items() if length is not None), None)
    if unfit is not None and not as_json:
        console.print(f"most windows of {unfit[0]} are empty: {window_command(*unfit)}")


@devices.command("points")
def list_points(name: OneName = None, option: OneDevice = None, as_json: AsJson = False) -> None:
    """The points of a device: what each does now, at which pace it reports, and how good its readings are."""
    store = open_store(load_settings())
    device = chosen_device(store, name, option)
    states = states_now(store, device)
    points = read_points(store, device.device_id)[0]
    rows = [
        {
            "point": point.metric,
            "now": "retired" if point.retired_at is not None else states.get(point.metric),
            "interval": Length(point.interval_ms, spelled(point.interval_ms)),
            "sent": "regularly" if point.regular else f"on change, each {spelled(point.longest_ms)} at most",
            "grade": None if point.grade is None else point.grade["grade"],
            "complete": None if point.grade is None else point.grade["completeness"],
            "stale": None if point.grade is None else point.grade["staleness"],
            "stuck": None if point.grade is None else point.grade["stuck"],
            "out_of_range": None if point.grade is None else point.grade["out_of_range"],
            "retired": None if point.retired_at is None else at(point.retired_at),
        }
        for point in points
    ]
    known = device.device_id
    learned = max((point.updated_at for point in points if point.grade is not None), default=None)
    empty = f"nothing was learned of the points of {known} yet: hvac profiles build {known}"
    print_rows(
        rows,
        as_json=as_json,
        title=f"Points of {known} ({len(rows)})"
        + (f", graded when its profile was built, {at(learned)}" if learned else ""),
        empty=empty,
        narrow=("point", "now", "interval", "grade", "complete", "stale"),
    )


@devices.command("retire")
def retire(name: OneName = None, option: OneDevice = None, point: Point = None) -> None:
    """A device, or one of its points, is no longer expected: its silence is no incident from now on."""
    said = _retire(name, option, point, now_ms())
    console.print(f"{said} is retired; hvac devices return takes it back")


@devices.command("return")
def take_back(name: OneName = None, option: OneDevice = None, point: Point = None) -> None:
    """A device, or one of its points, that was retired is expected again."""
    console.print(f"{_retire(name, option, point, None)} is expected again")


@devices.command("window")
def window(
    name: Device,
    length: Annotated[
        str,
        typer.Argument(
            help="Length of its windows: 5min, 300 (seconds), 1h; or default, that of the store.", metavar="LENGTH"
        ),
    ],
) -> None:
    """Windows of another length for a device: its history is made anew from its readings, learned from and judged.

    A platform that runs writes windows of the new length from then on. Killed in the middle, run it again.
    """
    # Here, because the other commands should start at once.
    from hvac_platform.ingestion.decoding import days_label
    from hvac_platform.monitoring.counted import count_judged
    from hvac_platform.monitoring.passes import (
        DetectionPass,
        IncidentsPass,
        LearningPass,
        Span,
        spans_of_days,
        write_pass,
    )
    from hvac_platform.monitoring.window_change import WindowChange

    settings = load_settings()
    store = open_store(settings)
    (device,) = chosen_devices(store, [name])
    change = WindowChange(store, make_encoders(settings, store), settings, device, window_length(length))
    with progress_bar("days") as progress:
        task = progress.add_task("make windows anew", total=len(change.begin()))
        for _ in change.make_anew():
            progress.advance(task)
    (device,) = chosen_devices(store, [name])
    learning = LearningPass(store, make_encoders(settings, store), settings, [device])
    write_pass(learning)
    change.finish()
    judging = DetectionPass(
        store, make_encoders(settings, store), settings, list(spans_of_days([device], change.days, settings))
    )
    write_pass(judging)
    length_ms = device.window(settings)
    ends = [day_windows(date, length_ms) for date in change.days]
    whole = [Span(device, ends[0][0], ends[-1][1])] if ends else []
    incidents = IncidentsPass(store, settings, whole, now_ms=now_ms())
    write_pass(incidents)
    count_judged(store, judging.windows)
    told = f"{name} has windows of {spelled(length_ms)} now"
    if change.days:
        told += f": {change.counts.windows} were made anew from its readings, {judging.windows} of them are judged"
    if change.kept:
        told += f"; those of {days_label(change.kept)} stay as they are, because their readings are gone"
    console.print(told)
    for reason in learning.refused:
        errors.print(f"no profile is built from them yet: {reason}")
    failed = [*learning.failed.values(), *judging.failed.values(), *incidents.failed.values()]
    for failure in failed:
        errors.print(f"hvac: {failure}")
    if failed:
        raise typer.Exit(1)


def window_length(text: str) -> int | None:
    """Milliseconds of a length as people write it; None for ``default``.

    >>> window_length("5min"), window_length("300"), window_length("90 s"), window_length("default")
    (300000, 300000, 90000, None)

    Raises:
        typer.BadParameter: it is none, or windows of it don't fill a day evenly.
    """
    if text.strip().lower() == "default":
        return None
    found = re.fullmatch(r"(\d{1,6})\s*(s|min|h|)", text.strip().lower())
    length = int(found[1]) * {"": 1_000, "s": 1_000, "min": 60_000, "h": 3_600_000}[found[2]] if found else 0
    if not divides_day(length):
        raise typer.BadParameter(
            f"{text!r} is not the length of a window: it looks like 5min, 300 (seconds), 1h or default, is a second or more "
            "and divides a day evenly",
            param_hint="LENGTH",
        )
    return length


@devices.command("rename")
def rename(
    old: Annotated[str, typer.Argument(help="Id that the device had.", metavar="OLD")],
    new: Annotated[str, typer.Argument(help="Id that it reports under now, or will.", metavar="NEW")],
) -> None:
    """A device that was renamed or replaced keeps its history: what the old id has goes over to the new one."""
    store = open_store(load_settings())
    (device,) = chosen_devices(store, [old])
    moved = rename_device(store, device, new)
    told = ", ".join(f"{rows} {table}" for table, rows in moved.items() if rows)
    console.print(f"{old} is {new} now: {told or 'it had no history'}")


def _retire(name: str | None, option: str | None, point: str | None, since_ms: int | None) -> str:
    """Retire a device or a point, or take it back; returns what it is called."""
    store = open_store(load_settings())
    device = chosen_device(store, name, option).device_id
    if point is not None:
        _require_point(store, device, point)
    retire_point(store, device, WHOLE_DEVICE if point is None else point, since_ms)
    return device if point is None else f"{device}: {point}"


def _require_point(store: Store, device_id: str, point: str) -> None:
    known = [found.metric for found in read_points(store, device_id)[0]]
    if point not in known:
        listed = ", ".join(known) or "none that was learned yet: hvac profiles build"
        raise typer.BadParameter(
            f"{visible(device_id)} has no point {point!r}; it has {visible(listed, None)}", param_hint="--point"
        )
