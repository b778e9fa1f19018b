"""The device specifications as a Markdown document, written from the device types' YAML.

``python -m hvac_platform.devices.document docs/device-specifications.md`` rewrites the document.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hvac_platform.devices.registry import Comfort, DeviceType, Point, Rule, load_device_types, show

_HEAD = """# Device specifications

This document is written from the files in `hvac_platform/devices/types`; to change it, change those and run
`python -m hvac_platform.devices.document docs/device-specifications.md`.

**Points.** *Normal* is the range of ordinary operation; it serves as the prior of a device that has no history yet.
*Hard* is what can be real: a reading beyond it is a sensor fault (level 3), as is a value that is not finite or marks a
broken sensor (-999). A sensor that repeats itself to the digit for the number of windows given below, while the machine
runs and at least half of its other sensors move, is frozen (level 4); points marked *holds* are exempt, as are
counters, states, and sensors at zero or at an end of their range.

**Rules.** A rule fires when its condition has held without interruption for the time in the column *for*. It is silent
while one of the conditions under *silent while* holds, where an input is missing, and where an input is beyond its hard
limits (except where the fault itself may drive it there). Conditions are judged on the means of windows.

**Levels** are those of ASHRAE Guideline 36: 1 life safety, 2 critical, 3 urgent, 4 normal priority.

**Sources.** G36: form of ASHRAE Guideline 36 fault detection as open-fdd's public rules encode it, with their rule ids.
D: documents of the original demo. E: engineering judgement; set the parameter for the site. Others by name.
"""


def device_specifications(types: Mapping[str, DeviceType]) -> str:
    """The document for these device types, in the order of their names."""
    return "\n".join([_HEAD, *(_section(types[name]) for name in sorted(types))])


def main(arguments: Sequence[str]) -> None:
    """Write the document of the built-in types to the path given."""
    Path(arguments[0]).write_text(device_specifications(load_device_types()), encoding="utf-8")


def _section(device_type: DeviceType) -> str:
    points, parameters = device_type.points, device_type.parameters.values()
    lines = [f"## {device_type.title.capitalize()}", ""]
    brick = f"`brick:{device_type.brick}`" if device_type.brick else "none"
    lines.append(
        f"Name `{device_type.name}`; also {', '.join(f'`{alias}`' for alias in device_type.aliases)}. "
        f"Brick class {brick}. {len(points)} points. Frozen after {device_type.frozen_windows} windows."
    )
    lines += ["", f"### Points of the {device_type.title}", ""]
    lines += _table(
        ("Point", "Meaning", "Unit", "UCUM", "Brick", "QUDT", "Normal", "Hard", "Kind"), map(_point_row, points)
    )
    lines += ["", f"### Rules of the {device_type.title}", ""]
    lines += _table(
        ("Rule", "Fault", "Level", "Condition", "For", "Silent while", "Points", "Source"),
        map(_rule_row, device_type.rules),
    )
    lines += ["", "Conditions and derived quantities:", ""]
    lines += _table(
        ("Name", "Is", "Unit"),
        [
            *((f"`{name}`", f"`{expression}`", "") for name, expression in device_type.conditions.items()),
            *((f"`{d.name}`", f"`{d.expression}`", d.unit) for d in device_type.derived.values()),
        ],
    )
    lines += ["", "Parameters:", ""]
    lines += _table(
        ("Parameter", "Value", "Meaning", "Source"),
        ((f"`{p.name}`", show(p.value, p.unit), p.note, p.source) for p in parameters),
    )
    if device_type.comfort is not None:
        lines += ["", f"Comfort: {_comfort(device_type.comfort)}."]
    return "\n".join([*lines, ""])


def _comfort(comfort: Comfort) -> str:
    limits = [
        f"{said} `{name}`"
        for said, name in (("above", comfort.warmest), ("below", comfort.coldest))
        if name is not None
    ]
    room = f" by more than `{comfort.tolerance}`" if comfort.tolerance else ""
    then = f", while `{comfort.condition}`" if comfort.condition else ""
    where = f"is to be neither {' nor '.join(limits)}" if len(limits) > 1 else f"is not to be {limits[0]}"
    return f"`{comfort.temperature}` {where}{room}{then}"


def _point_row(point: Point) -> tuple[str, ...]:
    kind = f"{point.kind}, holds" if point.may_hold else point.kind
    return (
        f"`{point.name}`",
        point.title,
        point.unit,
        f"`{point.ucum}`" if point.ucum else "",
        point.brick or "",
        point.qudt or "",
        _interval(point.normal),
        _interval(point.hard),
        kind,
    )


def _rule_row(rule: Rule) -> tuple[str, ...]:
    return (
        rule.id,
        rule.title,
        str(rule.level),
        f"`{rule.when}`",
        show(rule.for_minutes, "min") if rule.for_minutes else "at once",
        ", ".join(rule.suppress),
        ", ".join(f"`{name}`" for name in rule.metrics),
        rule.source,
    )


def _interval(limits: tuple[float, float] | None) -> str:
    return f"{limits[0]:.10g} to {limits[1]:.10g}" if limits else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    # A bar inside a cell, as in an expression with "or", would end the cell.
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]


if __name__ == "__main__":
    main(sys.argv[1:])
