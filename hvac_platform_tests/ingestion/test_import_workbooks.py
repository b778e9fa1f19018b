"""Cells of workbooks whose format or error says what their value does not, in each kind of workbook."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.ingestion.importing import ImportMap, ImportRefusedError, plan_import
from hvac_platform_tests.cli.test_import_command import workbook
from hvac_platform_tests.ingestion.test_import_cases import CASES
from hvac_platform_tests.ingestion.test_import_kinds import FIRST, ROWS, read

QUARTER = 900_000
HUMIDITY, SAT = ("RTU-1", "supply_air_humidity"), ("RTU-1", "supply_air_temp")
NAMES = ("office", "table", "text", "calcext")


def ods(path: Path, rows: list[str]) -> None:
    """A spreadsheet of OpenDocument with two sheets, the second one with two empty rows above its rows."""
    spaces = " ".join(f'xmlns:{name}="urn:{name}"' for name in NAMES).replace(
        "urn:", "urn:oasis:names:tc:opendocument:xmlns:"
    )
    spaces = " ".join(f'{one[:-1]}:1.0"' for one in spaces.split())
    empty = (
        '<table:table-row table:number-rows-repeated="2"><table:table-cell table:number-columns-repeated="3"/>'
        "</table:table-row>"
    )
    sheets = f'<table:table table:name="Notes"/><table:table table:name="RTU-1">{empty}{"".join(rows)}</table:table>'
    document = (
        f'<?xml version="1.0"?><office:document-content {spaces}><office:body><office:spreadsheet>{sheets}'
        "</office:spreadsheet></office:body></office:document-content>"
    )
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    manifest = (
        '<?xml version="1.0"?><m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
        f'<m:file-entry m:full-path="/" m:media-type="{kind}"/></m:manifest>'
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in (("mimetype", kind), ("content.xml", document), ("META-INF/manifest.xml", manifest)):
            archive.writestr(name, text)


def cell(kind: str, value: str = "", shown: str = "", more: str = "") -> str:
    attribute = {"string": "string-value", "date": "date-value"}.get(kind, "value")
    return (
        f'<table:table-cell office:value-type="{kind}" office:{attribute}="{value}" {more}>'
        f"<text:p>{shown or value}</text:p></table:table-cell>"
    )


def row(*cells: str, times: int = 1) -> str:
    return f'<table:table-row table:number-rows-repeated="{times}">{"".join(cells)}</table:table-row>'


HEADER = row(*(cell("string", name) for name in ("time", "supply_air_humidity", "supply_air_temp")))
ERROR = 'calcext:value-type="error"'


def test_cells_that_an_ods_shows_as_percent_are_percent(tmp_path: Path) -> None:
    rows = [
        row(
            cell("date", f"2024-03-01T{i:02d}:00:00"), cell("percentage", f"{0.55 + i / 100}", "x"), cell("float", "55")
        )
        for i in range(ROWS)
    ]
    ods(tmp_path / "a.ods", [HEADER, *rows])
    found, refusals, _ = read(tmp_path / "a.ods", {}, "rooftop_unit")
    assert found[HUMIDITY] == {FIRST + i * 4 * QUARTER: float(f"{55 + i}") for i in range(ROWS)}
    assert set(found[SAT].values()) == {55.0}
    assert refusals.count == 0


@pytest.mark.parametrize("value", [("string", ""), ("float", "0")], ids=["no value", "a value of 0"])
def test_an_error_of_an_ods_is_no_reading_whatever_its_value_is(tmp_path: Path, value: tuple[str, str]) -> None:
    rows = [
        row(
            cell("date", f"2024-03-01T{i:02d}:00:00"),
            cell("percentage", "0.55", "55 %"),
            cell(*value, "#DIV/0!", ERROR) if i == 3 else cell("float", "55"),
        )
        for i in range(ROWS)
    ]
    ods(tmp_path / "a.ods", [HEADER, *rows])
    found, refusals, reading = read(tmp_path / "a.ods", {}, "rooftop_unit")
    (refused,) = refusals.first
    assert (refused.line, refused.column, refused.value) == (7, "supply_air_temp", "#DIV/0!")
    assert refused.reason == "an error of a spreadsheet"
    assert (len(found[SAT]), set(found[SAT].values()), reading.empty) == (ROWS - 1, {55.0}, 0)


def test_cells_that_stand_for_several_are_percent_each(tmp_path: Path) -> None:
    header = row(*(cell("string", name) for name in ("time", "supply_air_humidity", "return_air_humidity")))
    percent = cell("percentage", "0.55", "55 %", 'table:number-columns-repeated="2"')
    rows = [row(cell("date", f"2024-03-01T{i:02d}:00:00"), percent) for i in range(ROWS)]
    ods(tmp_path / "a.ods", [header, *rows])
    found, _, _ = read(tmp_path / "a.ods", {}, "rooftop_unit")
    assert {metric: set(series.values()) for (_, metric), series in found.items()} == {
        "supply_air_humidity": {55.0},
        "return_air_humidity": {55.0},
    }


def test_an_xls_has_percent_and_errors_as_an_xlsx_has() -> None:
    """Its second column is shown as percent (RK and double), its third ends in the text " %", its fourth has two errors."""
    found, refusals, reading = read(CASES / "percent_and_errors.xls", {"columns": {}}, "rooftop_unit")
    assert found[HUMIDITY] == {FIRST + i * QUARTER: round(55 + i / 10, 6) for i in range(ROWS)}
    assert set(found["RTU-1", "return_air_humidity"].values()) == {55.5}
    assert [(one.line, one.column, one.value) for one in refusals.first] == [
        (3, "supply_air_temp", "#DIV/0!"),
        (4, "supply_air_temp", "#N/A"),
    ]
    assert (len(found[SAT]), reading.empty) == (ROWS - 2, 0)


def test_an_error_of_an_xlsx_is_named(tmp_path: Path) -> None:
    rows: list[list[str | float]] = [
        ["time", "supply_air_humidity", "supply_air_temp"],
        *[[45352 + i / 96, 0.55 if i else "#REF!", "#N/A" if i == 1 else 55.0] for i in range(ROWS)],
    ]
    (tmp_path / "a.xlsx").write_bytes(workbook(rows, percent=(1,)))
    found, refusals, reading = read(tmp_path / "a.xlsx", {}, "rooftop_unit")
    assert sorted((one.line, one.column, one.value, one.reason) for one in refusals.first) == [
        (2, "supply_air_humidity", "#REF!", "an error of a spreadsheet"),
        (3, "supply_air_temp", "#N/A", "an error of a spreadsheet"),
    ]
    assert (set(found[HUMIDITY].values()), reading.empty) == ({55.0}, 0)


@pytest.mark.parametrize("number_format", ['0.0" °C"', "0.0\\ \\°\\C", '[Blue]#,##0.00_ "degC";-0.00'])
def test_a_unit_that_only_the_format_of_a_cell_shows_is_its_unit(tmp_path: Path, number_format: str) -> None:
    rows: list[list[str | float]] = [
        ["time", "outdoor_air_temp", "supply_air_temp"],
        *[[45352 + i / 96, 15.0, 60.0] for i in range(ROWS)],
    ]
    (tmp_path / "a.xlsx").write_bytes(workbook(rows, percent=(1,), number_format=number_format))
    found, _, _ = read(tmp_path / "a.xlsx", {}, "rooftop_unit")
    assert (set(found["RTU-1", "outdoor_air_temp"].values()), set(found[SAT].values())) == ({59.0}, {60.0})


def test_a_unit_that_an_ods_shows_behind_a_number_is_its_unit(tmp_path: Path) -> None:
    cells = (cell("date", "2024-03-01T00:00:00"), cell("float", "55"), cell("float", "15", "15,0 °C"))
    ods(tmp_path / "a.ods", [HEADER, row(*cells)])
    found, _, _ = read(tmp_path / "a.ods", {}, "rooftop_unit")
    assert found[SAT] == {FIRST: 59.0}


def test_formulas_without_their_results_are_told(tmp_path: Path) -> None:
    rows: list[list[str | float]] = [
        ["time", "outdoor_air_temp", "supply_air_temp"],
        *[[45352 + i / 96, 55.0, "=B2+1"] for i in range(ROWS)],
    ]
    (tmp_path / "a.xlsx").write_bytes(workbook(rows))
    device = FleetDevice("RTU-1", "rooftop_unit")
    (plan,) = plan_import(tmp_path / "a.xlsx", device, device, ImportMap.of({}))
    told = f"{ROWS} cells hold formulas without their results: open the workbook in a spreadsheet and save it"
    assert told in plan.understood.notes
    (tmp_path / "b.xlsx").write_bytes(workbook([[row[0], row[2]] for row in rows]))
    with pytest.raises(ImportRefusedError, match=f"column 'supply_air_temp' is empty; {told}"):
        read(tmp_path / "b.xlsx", {}, "rooftop_unit")


@pytest.mark.parametrize(
    "error", ["#DIV/0!", "#N/A", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#NULL!", "#WERT!", "#NV", "#SPILL!", "Err:502"]
)
def test_an_error_in_a_text_is_named_and_no_empty_cell(tmp_path: Path, error: str) -> None:
    lines = [f"2024-03-01 00:{i:02d},{error if i == 2 else '' if i == 3 else 55}" for i in range(ROWS)]
    (tmp_path / "a.csv").write_text("\n".join(["time,supply_air_temp", *lines]))
    found, refusals, reading = read(tmp_path / "a.csv", {}, "rooftop_unit")
    (refused,) = refusals.first
    assert (refused.line, refused.column, refused.value) == (4, "supply_air_temp", error)
    assert refused.reason == "an error of a spreadsheet"
    assert (len(found[SAT]), reading.empty) == (ROWS - 2, 1)


def test_a_column_of_errors_is_refused_as_what_it_is(tmp_path: Path) -> None:
    lines = [f"2024-03-01 00:{i:02d},#REF!,55" for i in range(ROWS)]
    (tmp_path / "a.csv").write_text("\n".join(["time,supply_air_temp,return_air_temp", *lines]))
    _, refusals, _ = read(tmp_path / "a.csv", {}, "rooftop_unit")
    (refused,) = refusals.first
    assert (refused.column, refused.count) == ("supply_air_temp", ROWS)
    assert refused.reason == f"0 of {ROWS} values could be read: all are errors of a spreadsheet, first '#REF!'"
