"""Files as building engineers have them, each of a kind, with what is right for it: read, or asked for what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.ingestion.importing import ImportMap, ImportRefusedError, ImportResult, plan_import, send
from hvac_platform.ingestion.messages import decode_batch
from hvac_platform.log.embedded import EmbeddedLog
from hvac_platform.timestamps import now_ms, parse_instant

CASES = Path(__file__).parent.parent / "data" / "imports"
TOPIC = "iot-metrics"
RTU = FleetDevice("RTU-900", "rooftop_unit")
QUARTER, HOUR = 900_000, 3_600_000
MARCH = "2024-03-01T00:00:00Z"


@pytest.fixture
def log(tmp_path: Path) -> EmbeddedLog:
    log = EmbeddedLog(tmp_path / "log.db")
    log.create_topic(TOPIC, 1)
    return log


def series(log: EmbeddedLog) -> dict[tuple[str, str], dict[int, float]]:
    """Values by time, by device and metric, of all messages of a log; none of them is a dead letter."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for batch in log.read(TOPIC, 0, 0, log.end_offsets(TOPIC)[0]):
        decoded, rejected = decode_batch(batch, now_ms=now_ms())
        assert rejected == []
        for device, metric, at, value in zip(
            decoded.device_id,
            decoded.metric_name,
            decoded.timestamps_ms.tolist(),
            decoded.metric_value.tolist(),
            strict=True,
        ):
            found.setdefault((device, metric), {})[at] = value
    return found


def imported(log: EmbeddedLog, name: str, map_name: str | None, **options: object) -> ImportResult:
    mapping = (ImportMap.load(CASES / f"{map_name}.yaml") if map_name else ImportMap()).given(**options)
    return send(log, TOPIC, plan_import(CASES / name, RTU, RTU, mapping))[0]


@dataclass(frozen=True)
class Case:
    """A file that is read.

    Attributes:
        file: its name.
        map: name of its map, or None.
        start: time of its first reading.
        step: milliseconds between rows.
        rows: readings of the supply air temperature.
        first: the first one, °F.
        refused: how many rows or cells are refused.
        options: options of the command.
        device: device of the readings.
        metric: their metric.
    """

    file: str
    map: str | None = None
    start: str = MARCH
    step: int = QUARTER
    rows: int = 200
    first: float | None = None
    refused: int = 0
    options: tuple[tuple[str, object], ...] = ()
    device: str = "RTU-900"
    metric: str = "supply_air_temp"


READ = [
    Case("01_ddmmyyyy.csv", step=HOUR, rows=480, first=55.07),
    Case("03_date_time_cols.csv", first=55.12),
    Case("03_date_time_cols.csv", "datecol", first=55.12),
    Case("05_tzabbr_est.csv", start="2024-03-01T05:00:00Z", first=55.23, options=(("timezone", "America/New_York"),)),
    Case("05_tzabbr_est.csv", start="2024-03-01T05:00:00Z", first=55.23, options=(("zones", {"EST": -300}),)),
    Case("07_semicolon_decimalcomma.csv", first=55.16),
    Case("08_utf16.csv", first=55.29),
    Case("09_latin1_units.csv", first=55.21),
    Case("10_utf8_units.csv", first=55.01),
    Case("12_celsius_header.csv", first=12.81 * 1.8 + 32),
    Case("12_celsius_header.csv", "badcol", first=12.81 * 1.8 + 32),
    Case("14_preamble_metasys.csv", first=55.0),
    Case("17_onoff.csv", "onoff", first=1.0, metric="compressor_status"),
    Case("20_tz_offset_with_map.csv", "tz", start="2024-03-01T05:00:00Z", first=55.06),
    Case("22_excel_serial.csv", first=55.23),
    Case("23_epoch_us.csv", first=55.02),
    Case("25_epoch_s_onebad.csv", first=55.01, rows=199, refused=1),
    Case("28_energyplus.csv", "eplus", "2023-01-01T01:00:00Z", HOUR, 72, first=131.504, options=(("year", 2023),)),
    Case("30_influx_annotated.csv", first=55.07, device="RTU-9"),
    Case("31_jsonlines.jsonl", first=55.07, device="RTU-9"),
    Case("32_niagara.csv", "niagara", "2024-03-01T05:00:00Z", first=55.07, options=(("timezone", "America/New_York"),)),
    Case("33_device_missing.csv", start="2024-03-01T00:15:00Z", step=HOUR, rows=50, first=55.25, refused=50, device="RTU-1"),
    Case("35_one_device_dead.csv", first=55.07, device="RTU-3"),
    Case("38_dst_local.csv", "berlin", start="2024-10-26T22:00:00Z", rows=32, first=55.09),
    Case("40_24h.csv", start="2024-03-01T01:00:00Z", step=HOUR, rows=96, first=55.48),
    Case("44_unit_in_cell.csv", first=55.07),
    Case("50_two_digit_year.csv", step=HOUR, rows=480, first=55.04),
    Case("53_long_unknown_points.csv", "long53", first=55.07),
    Case("61_long_nometric.csv", start="2024-03-01T00:01:00Z", step=120_000, rows=30, first=55.0, refused=30),
    Case("p2_index.parquet", first=55.01),
]  # fmt: skip


@pytest.mark.parametrize("case", READ, ids=lambda case: f"{case.file}-{case.map or 'no map'}")
def test_a_file_is_read_as_what_it_is(log: EmbeddedLog, case: Case) -> None:
    result = imported(log, case.file, case.map, **dict(case.options))
    found = series(log)[case.device, case.metric]
    start = parse_instant(case.start)
    steps = np.unique(np.diff(sorted(found)))
    assert len(found) == case.rows
    assert min(found) == start
    assert found[start] == pytest.approx(case.first, abs=1e-9)
    assert max(found) == start + (case.rows - 1 + case.refused * (case.rows == 199)) * case.step
    assert set(steps) <= {case.step, 2 * case.step}
    assert result.refused == case.refused


@pytest.mark.parametrize(
    ("file", "map_name", "says"),
    [
        ("05_tzabbr_est.csv", None, ("'timestamp'", "'EST'", "--timezone", "zones")),
        ("28_energyplus.csv", None, ("'Date/Time'", "no year", "--year")),
        ("28_energyplus.csv", "eplus", ("'Date/Time'", "no year", "--year")),
        ("32_niagara.csv", "niagara", ("'Timestamp'", "'EST'", "--timezone")),
        ("37_bdg2_wide.csv", None, ("'Site_office_Al'", "columns_are: devices", "metric")),
        ("47_two_columns_same_metric.csv", None, ("'supply_air_temp'", "'Supply Air Temp'", "ignore")),
        ("53_long_unknown_points.csv", None, ("'AHU01/SAT (°F)'", "supply_air_temp", "--map")),
    ],
)
def test_a_file_that_does_not_say_enough_is_asked_about(
    log: EmbeddedLog, file: str, map_name: str | None, says: tuple[str, ...]
) -> None:
    with pytest.raises(ImportRefusedError) as refused:
        imported(log, file, map_name)
    assert [text for text in says if text not in str(refused.value)] == []
    assert series(log) == {}


def test_a_file_with_a_column_a_device_is_read_with_a_map_that_says_so(log: EmbeddedLog) -> None:
    mapping = ImportMap.of({"columns_are": "devices", "metric": "power_consumption", "unit": "W"})
    send(log, TOPIC, plan_import(CASES / "37_bdg2_wide.csv", RTU, RTU, mapping))
    start = parse_instant(MARCH)
    assert {key: values[start] for key, values in series(log).items()} == {
        ("Site_office_Al", "power_consumption"): 0.1,
        ("Site_office_Bo", "power_consumption"): 0.2,
        ("Site_lodging_Cy", "power_consumption"): 0.05,
    }


def test_a_device_without_values_is_told_and_stops_no_other(log: EmbeddedLog) -> None:
    result = imported(log, "35_one_device_dead.csv", None)
    assert result.devices == ["RTU-1", "RTU-3"]
    assert result.messages == 800
    assert result.empty == 400
    assert "device 'RTU-2' has no values" in result.notes


def test_a_point_that_the_map_does_not_name_is_left_out_and_counted(log: EmbeddedLog) -> None:
    result = imported(log, "53_long_unknown_points.csv", "long53")
    assert {metric for _, metric in series(log)} == {"supply_air_temp"}
    assert (result.messages, result.left_out_values, list(result.left_out)) == (200, 200, ["AHU01/RAT"])


def test_a_refused_cell_is_named_with_line_column_value_and_reason(log: EmbeddedLog, tmp_path: Path) -> None:
    plans = plan_import(CASES / "25_epoch_s_onebad.csv", RTU, RTU, ImportMap())
    (result,) = send(log, TOPIC, plans, refused_rows=tmp_path)
    (refusal,) = result.first_refusals
    bad = (CASES / "25_epoch_s_onebad.csv").read_text().splitlines()[refusal.line - 1].split(",")[0]
    assert (refusal.column, refusal.value) == ("timestamp", bad)
    assert result.refused_rows is not None
    assert result.refused_rows.read_text().splitlines() == [
        "line,column,value,reason,count",
        f"{refusal.line},timestamp,{bad},{refusal.reason},1",
    ]
