"""Commands about the registry of devices and their points: ``devices``."""

from __future__ import annotations

from typing import Annotated

import typer

from hvac_platform.cli.choosing import Devices, Names, chosen_devices, named
from hvac_platform.cli.output import AsJson, Length, at, console, print_rows
from hvac_platform.config import load_settings
from hvac_platform.monitoring.data_loss import spelled
from hvac_platform.monitoring.points import fitting_window_ms, points_of, retire_point
from hvac_platform.monitoring.renaming import rename_device
from hvac_platform.runtime.connections import open_store
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import WHOLE_DEVICE, read_points
from hvac_platform.timestamps import now_ms

devices = typer.Typer(no_args_is_help=True)

Device = Annotated[str, typer.Argument(help="Device.")]
Point = Annotated[str | None, typer.Option("--point", help="One of its points (metric) alone.")]


@devices.command("list")
def list_devices(names: Names = None, chosen: Devices = None, as_json: AsJson = False) -> None:
    """Every device: what it is, when it was heard, how good its points are."""
    settings = load_settings()
    store = open_store(settings)
    rows = []
    for device in chosen_devices(store, named(names, chosen)):
        points = points_of(store, device.device_id)
        stored, _ = read_points(store, device.device_id)
        grades = [p.grade["grade"] for p in stored if p.grade is not None and p.retired_at is None]
        window_ms = fitting_window_ms(points, settings.window_ms)
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
                "fitting_window": None if window_ms is None else Length(window_ms, spelled(window_ms)),
            }
        )
    print_rows(
        rows,
        as_json=as_json,
        title=f"Devices ({len(rows)})",
        empty="no device was heard of yet: hvac simulate",
        narrow=("device", "type", "points", "poor", "age"),
    )


@devices.command("points")
def list_points(name: Device, as_json: AsJson = False) -> None:
    """The points of a device: at which pace each reports, and how good its readings are."""
    store = open_store(load_settings())
    (device,) = chosen_devices(store, [name])
    rows = [
        {
            "point": point.metric,
            "interval": Length(point.interval_ms, spelled(point.interval_ms)),
            "sent": "regularly" if point.regular else f"on change, each {spelled(point.longest_ms)} at most",
            "grade": None if point.grade is None else point.grade["grade"],
            "complete": None if point.grade is None else point.grade["completeness"],
            "stale": None if point.grade is None else point.grade["staleness"],
            "stuck": None if point.grade is None else point.grade["stuck"],
            "out_of_range": None if point.grade is None else point.grade["out_of_range"],
            "retired": None if point.retired_at is None else at(point.retired_at),
        }
        for point in read_points(store, device.device_id)[0]
    ]
    empty = f"nothing was learned of the points of {name} yet: hvac profiles build {name}"
    print_rows(
        rows,
        as_json=as_json,
        title=f"Points of {name} ({len(rows)})",
        empty=empty,
        narrow=("point", "interval", "grade", "complete", "stale", "stuck"),
    )


@devices.command("retire")
def retire(name: Device, point: Point = None) -> None:
    """A device, or one of its points, is no longer expected: its silence is no incident from now on."""
    _retire(name, point, now_ms())
    console.print(f"{name}{f': {point}' if point else ''} is retired; hvac devices return takes it back")


@devices.command("return")
def take_back(name: Device, point: Point = None) -> None:
    """A device, or one of its points, that was retired is expected again."""
    _retire(name, point, None)
    console.print(f"{name}{f': {point}' if point else ''} is expected again")


@devices.command("rename")
def rename(
    old: Annotated[str, typer.Argument(help="Id that the device had.")],
    new: Annotated[str, typer.Argument(help="Id that it reports under now, or will.")],
) -> None:
    """A device that was renamed or replaced keeps its history: what the old id has goes over to the new one."""
    store = open_store(load_settings())
    (device,) = chosen_devices(store, [old])
    moved = rename_device(store, device, new)
    told = ", ".join(f"{rows} {table}" for table, rows in moved.items() if rows)
    console.print(f"{old} is {new} now: {told or 'it had no history'}")


def _retire(name: str, point: str | None, since_ms: int | None) -> None:
    store = open_store(load_settings())
    (device,) = chosen_devices(store, [name])
    if point is not None:
        _require_point(store, device.device_id, point)
    retire_point(store, device.device_id, WHOLE_DEVICE if point is None else point, since_ms)


def _require_point(store: Store, device_id: str, point: str) -> None:
    known = [found.metric for found in read_points(store, device_id)[0]]
    if point not in known:
        listed = ", ".join(known) or "none that was learned yet: hvac profiles build"
        raise typer.BadParameter(f"{device_id} has no point {point!r}; it has {listed}", param_hint="--point")
