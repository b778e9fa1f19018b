"""Import historian exports through the message log: whole or not at all, and what is refused is told row by row.

A file is passed twice. The first pass decides (``understanding``): one format for its times, what each column is, its unit
and how its cells are read. Only then the second one sends (``readings``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.devices.registry import canonical_type, device_type
from hvac_platform.ingestion.importing.columns import slug
from hvac_platform.ingestion.importing.formats import Content, contents, open_table
from hvac_platform.ingestion.importing.mapping import ColumnMeaning, ImportMap
from hvac_platform.ingestion.importing.readings import Reading, Readings, begins_in_second_pass, joined
from hvac_platform.ingestion.importing.refusing import ImportRefusedError, Refusal, Refusals, shown
from hvac_platform.ingestion.importing.understanding import Understanding, understand
from hvac_platform.ingestion.messages import encode_readings, name_problem
from hvac_platform.log.base import MessageLog

__all__ = [
    "ColumnMeaning",
    "ColumnReport",
    "ImportMap",
    "ImportRefusedError",
    "ImportResult",
    "Plan",
    "Refusal",
    "import_file",
    "plan_import",
    "send",
    "slug",
]


@dataclass(frozen=True, slots=True)
class ColumnReport:
    """What became of a column, or of a name in the column of metrics.

    Attributes:
        column: its name.
        metric: its metric; empty where it was left out.
        unit: unit of the messages.
        unit_in_file: unit in the file, where one is named.
        known_by: how the metric was found: map, name, title, …
        device: its device, where the column itself says so.
        values: readings of it.
    """

    column: str
    metric: str
    unit: str
    unit_in_file: str
    known_by: str
    device: str
    values: int


@dataclass
class ImportResult:
    """What came of a file.

    Attributes:
        rows: rows that were read.
        messages: messages that were sent, or would be.
        refused: rows, cells and whole columns' cells that were not.
        empty: cells that hold nothing.
        devices: devices that have readings.
        first_ms: time of the first reading.
        last_ms: time of the last one.
        ignored_columns: columns and metrics that were left out.
        left_out: the same, each with the reason.
        left_out_values: values of them.
        columns: what became of the others.
        format: what kind of file it is.
        times: how its times were read.
        reasons: how many were refused, by reason.
        first_refusals: the first of them.
        refused_rows: CSV of all of them, or None.
        notes: what else is worth telling.
    """

    rows: int = 0
    messages: int = 0
    refused: int = 0
    empty: int = 0
    devices: list[str] = field(default_factory=list)
    first_ms: int | None = None
    last_ms: int | None = None
    ignored_columns: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    left_out_values: int = 0
    columns: list[ColumnReport] = field(default_factory=list)
    format: str = ""
    times: str = ""
    reasons: dict[str, int] = field(default_factory=dict)
    first_refusals: list[Refusal] = field(default_factory=list)
    refused_rows: Path | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """A file that was understood and can be sent."""

    content: Content
    understood: Understanding


def plan_import(
    path: Path, device: FleetDevice | None, kind: FleetDevice, mapping: ImportMap, *, alone: bool = True
) -> list[Plan]:
    """Understand a file, or each table of an archive.

    Args:
        path: the file.
        device: device of rows that name none, or None for that of the file's name.
        kind: type and place of all devices of the file.
        mapping: what is said of the file.
        alone: whether it is the only file.

    Raises:
        ImportRefusedError: it can't be read; the message says why and what to give.
    """
    kind = replace(kind, device_type=canonical_type(kind.device_type))
    plans = []
    found = contents(path)
    for content in found:
        one = device if device is not None else replace(kind, device_id=content.stem)
        one = replace(one, device_type=kind.device_type)
        meaning = next(
            (m for name, m in mapping.files.items() if name in (content.name, path.name, content.stem)), None
        )
        if meaning is not None and meaning.device is not None:
            one = replace(one, device_id=meaning.device)
        if (problem := name_problem(one.device_id)) is not None:
            raise ImportRefusedError(f"device id {one.device_id!r} {problem}")
        try:
            table = open_table(content, mapping)
            declared = device_type(one.device_type)
            understood = understand(content, table, one, declared, mapping, alone=alone and len(found) == 1)
            if device is not None and understood.roles.device is not None:
                understood = replace(understood, notes=[*understood.notes, _unused_id(device, understood.roles.device)])
            plans.append(Plan(content, understood))
        except ImportRefusedError as error:
            raise ImportRefusedError(f"{content.member}: {error}" if content.member else str(error)) from None
    return plans


def _unused_id(device: FleetDevice, column: str) -> str:
    return (
        f"column {shown(column)} says whose the rows are, so --device-id {device.device_id} is not used; to take all rows "
        f"as of {device.device_id}, give a map with 'device: {device.device_id}'"
    )


def send(
    log: MessageLog | None,
    topic: str,
    plans: Sequence[Plan],
    *,
    refused_rows: Path | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[ImportResult]:
    """Send what the files of some plans hold, one message a reading, joined by time; without a log, only count.

    Rows whose time can't be read and cells that are no finite numbers are refused, counted and written to a CSV; empty cells
    are counted.

    Args:
        log: the message log, or None to send nothing.
        topic: its topic.
        plans: the files.
        refused_rows: folder of the CSVs that what is refused goes to, one a file; or None.
        on_progress: called with the bytes read so far.
    """
    passes: list[tuple[Reading, ImportResult, Refusals]] = []
    for plan in plans:
        name = plan.content.name.replace("/", "_").replace("\\", "_")
        refusals = Refusals(None if refused_rows is None else refused_rows / f"{name}.csv")
        of = plan.understood
        result = ImportResult(format=of.table.description, times=of.times.description)
        goes_on = any(begins_in_second_pass(of, other.understood) for other in plans if other is not plan)
        passes.append((Reading(of, refusals, goes_on=goes_on), result, refusals))
    conflicts: Counter[tuple[int, int]] = Counter()
    try:
        for readings in joined([_counted(reading, result) for reading, result, _ in passes], conflicts):
            if log is not None:
                device, times = readings.device, readings.times_ms
                log.append(topic, encode_readings(device, times, readings.metrics, readings.units, readings.values))
            on_progress(sum(reading.done for reading, _, _ in passes))
    finally:
        for _, _, refusals in passes:
            refusals.close()
    for reading, result, refusals in passes:
        _finish(result, reading, refusals)
    for (i, j), count in conflicts.items():
        passes[j][1].notes.append(
            f"{count} readings have the device, metric and time of one in {plans[i].content.name}, with another value; "
            f"those of {plans[j].content.name} count"
        )
    return [result for _, result, _ in passes]


def _counted(reading: Reading, result: ImportResult) -> Iterator[Readings]:
    for readings in reading.readings():
        result.messages += readings.count
        if readings.device.device_id not in result.devices:
            result.devices.append(readings.device.device_id)
        filled = readings.times_ms[np.isfinite(readings.values).any(axis=1)]
        result.first_ms = int(filled[0]) if result.first_ms is None else min(result.first_ms, int(filled[0]))
        result.last_ms = int(filled[-1]) if result.last_ms is None else max(result.last_ms, int(filled[-1]))
        yield readings


def _finish(result: ImportResult, reading: Reading, refusals: Refusals) -> None:
    of = reading.of
    result.rows, result.refused, result.empty = reading.rows, refusals.count, reading.empty
    result.reasons, result.first_refusals, result.refused_rows = refusals.reasons, refusals.first, refusals.written
    result.left_out = dict(of.left_out)
    result.left_out_values = of.left_out_values
    result.ignored_columns = list(of.left_out)
    result.notes = reading.notes
    result.columns = [
        ColumnReport(
            use.name, use.metric, use.unit, use.given or ", ".join(use.cell_units), use.by, use.device or "",
            reading.values.get(use.name, 0),
        )
        for use in of.uses.values()
    ]  # fmt: skip


def import_file(
    log: MessageLog,
    topic: str,
    path: Path,
    device: FleetDevice,
    mapping: ImportMap,
    *,
    on_progress: Callable[[int], None] = lambda _: None,
) -> ImportResult:
    """Understand a file and send its readings to the log.

    Args:
        log: the message log.
        topic: its topic.
        path: the file.
        device: device of the rows where no column says so; its type and place are those of all rows.
        mapping: what is said of the file.
        on_progress: called with the bytes read so far.

    Raises:
        ImportRefusedError: the file as a whole can't be read, or is an archive of several; nothing was sent.
    """
    plans = plan_import(path, device, device, mapping)
    if len(plans) > 1:
        raise ImportRefusedError(f"an archive of {len(plans)} tables; plan_import and send take them")
    return send(log, topic, plans, on_progress=on_progress)[0]
