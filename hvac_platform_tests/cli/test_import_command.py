"""hvac import end to end: exports as historians write them, options, whole or nothing, a dry run, what programs get."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import date, timedelta
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from hvac_platform.cli.main import app
from hvac_platform.config import load_settings
from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.ingestion.importing.readings import Readings, joined
from hvac_platform.ingestion.messages import DecodedBatch, decode_batch
from hvac_platform.runtime.connections import open_log
from hvac_platform.timestamps import now_ms, parse_instant

DATA = Path(__file__).parent.parent / "data"
HISTORIANS, CASES = DATA / "historians", DATA / "imports"


@pytest.fixture(autouse=True)
def _home(home: Path) -> None:
    """A home folder of its own."""


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["import", *map(str, words), "--device-type", "rooftop_unit"])


def imported(*words: object) -> list[dict[str, object]]:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def sent() -> list[DecodedBatch]:
    """What is in the log, batch by batch; none of it a dead letter."""
    settings = load_settings()
    log = open_log(settings)
    batches = []
    for partition, end in log.end_offsets(settings.kafka_topic).items():
        for batch in log.read(settings.kafka_topic, partition, 0, end):
            decoded, rejected = decode_batch(batch, now_ms=now_ms())
            assert rejected == []
            batches.append(decoded)
    return batches


def readings() -> dict[tuple[str, str, int], float]:
    return {
        (device, metric, at): value
        for batch in sent()
        for device, metric, at, value in zip(
            batch.device_id, batch.metric_name, batch.timestamps_ms.tolist(), batch.metric_value.tolist(), strict=True
        )
    }


def test_a_trend_report_of_siemens_apogee_names_its_points_above_the_table() -> None:
    (row,) = imported(HISTORIANS / "siemens_apogee.csv", "--map", HISTORIANS / "siemens.yaml", "--device-id", "RTU-1")
    assert (row["rows_read"], row["messages_sent"], row["refused"]) == (121, 359, 2)
    assert sorted((one["line"], one["value"]) for one in row["first_refusals"]) == [
        (17, "No Data"),
        (130, "******************************** End of Report *********************************"),
    ]
    start = parse_instant("2024-03-01T05:00:00Z")
    assert readings()["RTU-1", "supply_air_temp", start] == 55.0
    assert readings()["RTU-1", "compressor_status", start] == 0.0


def test_histories_of_niagara_a_file_a_point_are_joined_by_time() -> None:
    files = [HISTORIANS / f"RTU1_{name}AirTemp.csv" for name in ("Supply", "Return")]
    rows = imported(*files, "--map", HISTORIANS / "niagara.yaml")
    assert [(row["device"], row["messages_sent"], row["refused"]) for row in rows] == [
        (["RTU-1"], 119, 1),
        (["RTU-1"], 120, 0),
    ]
    assert rows[0]["reasons"] == {"Status: its status is not good": 1}
    start = parse_instant("2024-03-01T05:00:00Z")
    assert readings()["RTU-1", "supply_air_temp", start] == pytest.approx(12.8 * 1.8 + 32)
    times = np.concatenate([batch.timestamps_ms for batch in sent()])
    assert (np.diff(times) >= 0).all()


def test_a_history_of_haystack_has_its_units_in_the_grid() -> None:
    (row,) = imported(HISTORIANS / "haystack.zinc", "--map", HISTORIANS / "haystack.yaml", "--device-id", "RTU-1")
    assert (row["rows_read"], row["messages_sent"], row["refused"]) == (96, 119, 0)
    assert readings()["RTU-1", "fan_speed", parse_instant("2024-03-01T05:00:00Z")] == 900.0


def test_meters_of_bdg2_have_a_column_each() -> None:
    (row,) = imported(HISTORIANS / "bdg2_electricity.csv", "--map", HISTORIANS / "bdg2.yaml")
    assert row["device"] == ["Panther_parking_Lorriane", "Panther_lodging_Cora", "Panther_office_Hannah"]
    assert readings()["Panther_office_Hannah", "power_consumption", parse_instant("2016-01-01T08:00:00Z")] == 7.5


def test_a_dry_run_shows_what_is_understood_and_sends_nothing() -> None:
    result = run(CASES / "25_epoch_s_onebad.csv", "--device-id", "RTU-1", "--dry-run")
    assert result.exit_code == 0
    for text in ("supply_air_temp", "epoch seconds", "°F", "n/a?", "52", "Nothing was sent"):
        assert text in result.output
    (row,) = imported(CASES / "12_celsius_header.csv", "--device-id", "RTU-1", "--dry-run")
    assert (row["dry_run"], row["messages_sent"], row["messages"]) == (True, 0, 400)
    assert [(c["column"], c["metric"], c["unit_in_file"], c["unit"], c["known_by"]) for c in row["columns"]] == [
        ("Supply Air Temp (°C)", "supply_air_temp", "°C", "°F", "name"),
        ("Return Air Temp (°C)", "return_air_temp", "°C", "°F", "name"),
    ]
    assert not (load_settings().hvac_home / "log.db").exists()


def test_nothing_is_sent_where_one_of_several_files_is_not_understood() -> None:
    result = run(CASES / "12_celsius_header.csv", CASES / "28_energyplus.csv", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == []
    assert "28_energyplus.csv: times in column 'Date/Time' have no year; give it with --year" in result.stderr
    assert sent() == []


@pytest.mark.parametrize(
    ("file", "options", "first"),
    [
        ("05_tzabbr_est.csv", ("--timezone", "America/New_York"), "2024-03-01T05:00:00Z"),
        ("01_ddmmyyyy.csv", ("--day-first",), "2024-03-01T00:00:00Z"),
        ("01_ddmmyyyy.csv", ("--time-format", "%d/%m/%Y %H:%M"), "2024-03-01T00:00:00Z"),
        ("38_dst_local.csv", ("--timezone", "Europe/Berlin", "--time-column", "timestamp"), "2024-10-26T22:00:00Z"),
        ("09_latin1_units.csv", ("--encoding", "latin-1"), "2024-03-01T00:00:00Z"),
        ("07_semicolon_decimalcomma.csv", ("--decimal", ","), "2024-03-01T00:00:00Z"),
    ],
)
def test_what_is_asked_is_answered_by_an_option(file: str, options: tuple[str, ...], first: str) -> None:
    (row,) = imported(CASES / file, "--device-id", "RTU-1", *options)
    assert row["from"] == first
    assert list(row)[:7] == ["file", "device", "rows_read", "messages_sent", "refused", "from", "to"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--timezone", "Mars/Base"), "unknown timezone 'Mars/Base'"),
        (("--encoding", "klingon"), "unknown encoding 'klingon'"),
        (("--decimal", ";"), "decimal must be"),
        (("--time-format", "%Q"), "%Q is not known"),
        (("--time-column", "When"), "there is no column 'When'; the columns are 'timestamp'"),
        (("--time-format", "%H:%M"), "0 of 480 times in column 'timestamp' could be read as %H:%M, first"),
    ],
)  # fmt: skip
def test_an_option_that_does_not_fit_says_so(options: tuple[str, ...], says: str) -> None:
    result = run(CASES / "01_ddmmyyyy.csv", *options)
    assert result.exit_code == 1
    assert says in result.stderr
    assert sent() == []


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (date.today() + timedelta(days=2), "a time in the future"),  # noqa: DTZ011 - any day ahead will do
        (date(1999, 1, 1), "a time before 2000"),
    ],
)
def test_a_file_whose_rows_are_all_refused_ends_with_1_and_the_cause(tmp_path: Path, first: date, reason: str) -> None:
    rows = [f"{first + timedelta(days=i)},55" for i in range(3)]
    (tmp_path / "a.csv").write_text("\n".join(["time,supply_air_temp", *rows]))
    result = run(tmp_path / "a.csv")
    assert result.exit_code == 1
    assert f"3 x time: {reason}" in result.output
    assert f"nothing to send: all is refused or empty: 3 x time: {reason}" in " ".join(result.stderr.split())
    assert "sensor picks them up" not in result.stdout


def test_each_table_of_an_archive_is_a_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "site.zip", "w") as archive:
        for name in ("RTU-1", "RTU-2"):
            archive.writestr(f"export/{name}.csv", "time,supply_air_temp\n2024-03-01 00:00,55\n2024-03-01 00:15,56\n")
    assert [(row["file"], row["device"]) for row in imported(tmp_path / "site.zip")] == [
        ("site.zip/export/RTU-1.csv", ["RTU-1"]),
        ("site.zip/export/RTU-2.csv", ["RTU-2"]),
    ]


def workbook(
    rows: list[list[str | float]],
    *,
    percent: tuple[int, ...] = (),
    sheets: tuple[str, ...] = ("Trend",),
    number_format: str = r"0.0\ %",
) -> bytes:
    """A workbook of Excel, its first column formatted as dates, and some as percent; all sheets hold the same.

    Cells that begin with = hold a formula without its result.
    """

    def cell(value: str | float, column: int) -> str:
        if isinstance(value, str) and value.startswith("#"):
            return f'<c t="e" s="{2 if column in percent else 0}"><v>{value}</v></c>'
        if isinstance(value, str) and value.startswith("="):
            return f"<c><f>{value[1:]}</f><v></v></c>"
        if isinstance(value, str):
            return f'<c t="inlineStr"><is><t>{value}</t></is></c>'
        return f'<c s="{1 if column == 0 else 2 if column in percent else 0}"><v>{value!r}</v></c>'

    space = "http://schemas.openxmlformats.org"
    office, package = f"{space}/officeDocument/2006", f"{space}/package/2006"
    main = f'xmlns="{space}/spreadsheetml/2006/main"'
    sheet = "".join(f"<row>{''.join(cell(v, i) for i, v in enumerate(row))}</row>" for row in rows)

    def relations(**targets: str) -> str:
        listed = "".join(
            f'<Relationship Id="{kind}" Target="{target}" Type="{office}/relationships/{kind}"/>'
            for kind, target in targets.items()
        )
        return f'<Relationships xmlns="{package}/relationships">{listed}</Relationships>'

    files = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="xml" ContentType="application/xml"/>'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/></Types>',
        "_rels/.rels": relations(officeDocument="xl/workbook.xml"),
        "xl/workbook.xml": f'<workbook {main} xmlns:r="{office}/relationships"><sheets>'
        + "".join(f'<sheet name="{name}" sheetId="{i}" r:id="worksheet"/>' for i, name in enumerate(sheets, 1))
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": relations(worksheet="worksheets/sheet1.xml", styles="styles.xml"),
        "xl/styles.xml": f'<styleSheet {main}><numFmts><numFmt numFmtId="164" '
        f"formatCode={quoteattr(number_format)}/></numFmts><cellXfs>"
        '<xf numFmtId="0"/><xf numFmtId="22"/><xf numFmtId="164"/></cellXfs></styleSheet>',
        "xl/worksheets/sheet1.xml": f"<worksheet {main}><sheetData>{sheet}</sheetData></worksheet>",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def test_a_workbook_is_read_with_its_dates(tmp_path: Path) -> None:
    rows: list[list[str | float]] = [["Trend of RTU-1"], ["Time", "Supply Air Temp (°C)", "Compressor Status"]]
    rows += [[45352 + i / 96, 12.5, "On"] for i in range(200)]
    (tmp_path / "a.xlsx").write_bytes(workbook(rows))
    (row,) = imported(tmp_path / "a.xlsx", "--device-id", "RTU-1")
    assert (row["messages_sent"], row["refused"]) == (400, 0)
    assert (row["from"], row["to"]) == ("2024-03-01T00:00:00Z", "2024-03-03T01:45:00Z")
    assert set(readings().values()) == {54.5, 1.0}


def test_what_is_left_out_or_empty_is_told_without_being_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,supply_air_temp,remark\n2024-03-01 00:00,55,ok\n2024-03-01 00:15,,ok\n")
    output = " ".join(run(tmp_path / "a.csv").output.split())
    assert "left out: a.csv: remark: no metric of rooftop_unit" in output
    assert "empty: a.csv: 1 cells" in output


def test_what_is_no_table_of_an_archive_is_told(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("README.txt", "by hand")
        archive.writestr("b.csv", "time,supply_air_temp\n2024-03-01 00:00,55\n")
    (row,) = imported(tmp_path / "a.zip")
    assert row["notes"] == ["of the archive 'README.txt' is no table"]


def test_an_archive_in_an_archive_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("b.zip", b"PK\x03\x04")
    result = run(tmp_path / "a.zip")
    assert result.exit_code == 1
    assert "another archive, 'b.zip'; unpack it" in " ".join(result.output.split())


def test_files_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    for name, value in (("a", 55), ("b", 60)):
        rows = "".join(f"2024-03-01 00:{i:02}:00,{value},72\n" for i in range(50))
        (tmp_path / f"{name}.csv").write_text(f"time,supply_air_temp,return_air_temp\n{rows}")
    first, second = imported(tmp_path / "a.csv", tmp_path / "b.csv", "--device-id", "RTU-1")
    told = "50 readings have the device, metric and time of one in a.csv, with another value; those of b.csv count"
    assert (first["notes"], second["notes"]) == ([], [told])
    assert {value for (_, metric, _), value in readings().items() if metric == "supply_air_temp"} == {60}


def test_the_hour_that_clocks_repeat_over_two_files_keeps_both_passes(tmp_path: Path) -> None:
    def clock(first: int, count: int) -> str:
        return "".join(f"2024-10-27 {i // 4:02}:{i % 4 * 15:02},{50 + i}\n" for i in range(first, first + count))

    (tmp_path / "a.csv").write_text(f"time,supply_air_temp\n{clock(0, 12)}")
    (tmp_path / "b.csv").write_text(f"time,supply_air_temp\n{clock(8, 12)}")
    first, second = imported(
        tmp_path / "a.csv", tmp_path / "b.csv", "--device-id", "RTU-1", "--timezone", "Europe/Berlin"
    )
    start = parse_instant("2024-10-26T22:00:00Z")
    assert sorted(at for *_, at in readings()) == [start + i * 900_000 for i in range(24)]
    assert "taken as the first pass" in first["notes"][0]
    assert second["notes"] == [
        "4 times are of the hour that clocks repeat: the file before has the first pass, so this is the second one"
    ]


def test_cells_that_a_workbook_shows_as_percent_are_percent(tmp_path: Path) -> None:
    rows: list[list[str | float]] = [["time", "supply_air_humidity", "supply_air_temp"], *[[45352 + i / 96, 0.55, 55.0]
                                                                                          for i in range(30)]]  # fmt: skip
    (tmp_path / "a.xlsx").write_bytes(workbook(rows, percent=(1,)))
    imported(tmp_path / "a.xlsx", "--device-id", "RTU-1")
    assert {(metric, value) for (_, metric, _), value in readings().items()} == {
        ("supply_air_humidity", 55.0),
        ("supply_air_temp", 55.0),
    }


def test_sheets_that_are_not_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(
        workbook([["time", "supply_air_temp"], [45352.0, 55.0]], sheets=("RTU-1", "RTU-2"))
    )
    (row,) = imported(tmp_path / "a.xlsx", "--device-id", "RTU-1")
    (note,) = row["notes"]
    assert "'RTU-2'" in note
    assert "sheet: 'RTU-2'" in note


def test_a_device_that_is_given_where_a_column_names_them_is_told_to_be_unused(tmp_path: Path) -> None:
    file = tmp_path / "both.csv"
    file.write_text("time,device,supply_air_temp\n2026-01-01T00:00:00Z,A,60\n2026-01-01T00:01:00Z,B,61\n")
    (row,) = imported(file, "--device-id", "RTU-9")
    assert row["device"] == ["A", "B"]
    assert any("--device-id RTU-9 is not used" in note for note in row["notes"])
    (row,) = imported(file)
    assert not any("--device-id" in note for note in row["notes"])


def test_files_of_one_device_are_joined_row_by_row_and_none_is_read_ahead() -> None:
    device = FleetDevice("RTU-1", "rooftop_unit")
    taken = {"a": 0, "b": 0}

    def file(name: str, step: int):
        for first in range(0, 100, 10 * step):
            taken[name] += 1
            times = np.arange(first, first + 10 * step, step)
            yield Readings(device, times, [name], [""], times[:, None].astype(float))

    found = []
    for one in joined([file("a", 1), file("b", 2)]):
        assert abs(taken["a"] * 10 - taken["b"] * 20) <= 20
        rows, columns = np.nonzero(np.isfinite(one.values))
        assert (one.values[rows, columns] == one.times_ms[rows]).all()
        found += [(int(one.times_ms[i]), one.metrics[j]) for i, j in zip(rows, columns, strict=True)]
    assert sorted(found) == sorted([(t, "a") for t in range(100)] + [(t, "b") for t in range(0, 100, 2)])
    assert [t for t, _ in found] == sorted(t for t, _ in found)
