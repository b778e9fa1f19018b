"""``hvac export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hvac_platform.cli.choosing import Devices, chosen_devices, instant, require_order
from hvac_platform.cli.output import AsJson, errors, print_rows, progress_bar
from hvac_platform.config import load_settings
from hvac_platform.exporting import FORMATS, TABLES, export
from hvac_platform.runtime.connections import open_store
from hvac_platform.timestamps import DAY_MS


def export_files(
    folder: Annotated[
        Path, typer.Argument(help="Folder for the files; made when it is missing.", file_okay=False, metavar="FOLDER")
    ],
    devices: Devices = None,
    start: Annotated[
        str | None, typer.Option("--from", help="From here (ISO 8601); from the first data when absent.")
    ] = None,
    end: Annotated[str | None, typer.Option("--until", help="Up to here; up to the newest data when absent.")] = None,
    table: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(TABLES)}; repeated or separated by commas; all when absent.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help=" or ".join(FORMATS) + ".")] = "parquet",
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Take the place of files that have more rows, too; they are kept otherwise."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write readings, states and events as files: a file a table and UTC day, for DuckDB, pandas and the like."""
    names = [name.strip() for listed in table or TABLES for name in listed.split(",")]
    if unknown := [name for name in names if name not in TABLES]:
        raise typer.BadParameter(
            f"{', '.join(unknown)} is no table; they are {', '.join(TABLES)}", param_hint="--table"
        )
    if form not in FORMATS:
        raise typer.BadParameter(f"{form!r} is no format; they are {', '.join(FORMATS)}", param_hint="--format")
    start_ms, end_ms = instant(start, "--from"), instant(end, "--until")
    require_order(start_ms, end_ms)
    store = open_store(load_settings())
    chosen = chosen_devices(store, devices)
    start_ms = min(device.first_seen for device in chosen) if start_ms is None else start_ms
    end_ms = max(device.last_seen for device in chosen) + 1 if end_ms is None else end_ms
    days = max(0, -(-end_ms // DAY_MS) - start_ms // DAY_MS)
    rows: list[dict[str, Any]] = []
    with progress_bar("files") as progress:
        task = progress.add_task("export", total=days * len(names))

        def step(name: str, day: str) -> None:
            progress.update(task, advance=1, description=f"export {name} of {day}")

        for file in export(
            store, folder, chosen, start_ms, end_ms, names=names, form=form, overwrite=overwrite, on_step=step
        ):
            size = file.path.stat().st_size
            row = {"file": str(file.path), "table": file.table, "day": file.day, "rows": file.rows, "bytes": size}
            rows.append(row | {"kept": file.kept})
    if kept := sum(row["kept"] for row in rows):
        errors.print(
            f"hvac: {kept} files have more rows than there are now and were kept; --overwrite takes their place"
        )
    print_rows(rows, as_json=as_json, title="Exported", empty="no data in that span: hvac verify shows what there is")
