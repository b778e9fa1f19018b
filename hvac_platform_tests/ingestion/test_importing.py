"""Historian exports, wide and long, clean and messy, through the log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.ingestion.importing import ImportMap, ImportRefusedError, ImportResult, import_file
from hvac_platform.ingestion.messages import decode_batch
from hvac_platform.log.embedded import EmbeddedLog
from hvac_platform.timestamps import now_ms, parse_instant

TOPIC = "iot-metrics"
CHILLER = FleetDevice("CH-9", "chiller", "plant", "b-9")


@pytest.fixture
def log(tmp_path: Path) -> EmbeddedLog:
    log = EmbeddedLog(tmp_path / "log.db")
    log.create_topic(TOPIC, 1)
    return log


def readings(log: EmbeddedLog) -> pd.DataFrame:
    frames = []
    for batch in log.read(TOPIC, 0, 0, log.end_offsets(TOPIC)[0]):
        decoded, rejected = decode_batch(batch, now_ms=now_ms())
        assert rejected == []
        frames.append(
            pd.DataFrame(
                {
                    "device": decoded.device_id,
                    "type": decoded.device_type,
                    "time": decoded.timestamps_ms,
                    "metric": decoded.metric_name,
                    "value": decoded.metric_value,
                    "unit": decoded.unit,
                }
            )
        )
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def imported(log: EmbeddedLog, path: Path, text: str, mapping: ImportMap | None = None) -> ImportResult:
    path.write_text(text, encoding="utf-8")
    return import_file(log, TOPIC, path, CHILLER, mapping or ImportMap())


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_wide_file_sends_a_message_for_every_cell(log: EmbeddedLog, tmp_path: Path, separator: str) -> None:
    text = "datetime,cop,power_consumption,remark\n2026-01-01 00:00:00,5.1,80,ok\n2026-01-01 00:01:00,5.2,,ok\n"
    result = imported(log, tmp_path / "a.csv", text.replace(",", separator))
    assert (result.rows, result.messages, result.refused) == (2, 3, 0)
    assert result.ignored_columns == ["remark"]
    frame = readings(log)
    assert frame["metric"].tolist() == ["cop", "power_consumption", "cop"]
    assert frame["value"].tolist() == [5.1, 80.0, 5.2]
    assert frame["unit"].tolist() == ["", "kW", ""]
    assert frame["time"].iloc[0] == parse_instant("2026-01-01")
    assert set(frame["device"]) == {"CH-9"}


def test_a_long_file_names_metric_and_device_in_columns(log: EmbeddedLog, tmp_path: Path) -> None:
    text = (
        "timestamp,device_id,point,value\n2026-01-01T00:00:00Z,A,COP,5\n"
        "2026-01-01T00:00:00+01:00,B,COP,6\n2026-01-01T00:00:30Z,A,Power,7\n"
    )
    result = imported(log, tmp_path / "a.csv", text, ImportMap(columns={"Power": "power_consumption"}))
    assert result.devices == ["A", "B"]
    frame = readings(log)
    assert set(zip(frame["device"], frame["metric"], frame["value"], strict=True)) == {
        ("A", "cop", 5.0),
        ("B", "cop", 6.0),
        ("A", "power_consumption", 7.0),
    }
    assert frame.loc[frame["device"] == "B", "time"].item() == parse_instant("2025-12-31T23:00")


def test_bad_times_and_values_are_refused_and_counted_while_the_rest_goes_through(
    log: EmbeddedLog, tmp_path: Path
) -> None:
    text = (
        "time,cop\n2026-01-01 00:00,5\nnot a time,5\n2026-01-01 00:02,five\n2026-01-01 00:03,inf\n2026-01-01 00:04,4\n"
    )
    result = imported(log, tmp_path / "a.csv", text)
    assert (result.rows, result.messages, result.refused) == (5, 2, 3)
    assert readings(log)["value"].tolist() == [5.0, 4.0]


def test_a_map_says_which_column_is_which(log: EmbeddedLog, tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text("time_column: When\ncolumns: {Effizienz: cop}\ntimezone: Europe/Berlin\n")
    mapping = ImportMap.load(tmp_path / "map.yaml")
    result = imported(log, tmp_path / "a.csv", "When;Effizienz;Sonst\n2026-07-01 12:00;5;1\n", mapping)
    assert (result.messages, result.ignored_columns) == (1, ["Sonst"])
    assert readings(log)["time"].item() == parse_instant("2026-07-01T10:00")


def test_parquet_and_epoch_seconds(log: EmbeddedLog, tmp_path: Path) -> None:
    start = parse_instant("2026-01-01") // 1000
    frame = pd.DataFrame({"ts": start + np.arange(50_000), "cop": np.linspace(3, 5, 50_000)})
    frame.to_parquet(tmp_path / "a.parquet")
    seen: list[int] = []
    result = import_file(log, TOPIC, tmp_path / "a.parquet", CHILLER, ImportMap(), on_progress=seen.append)
    assert result.messages == 50_000
    assert seen == sorted(seen)
    assert len(seen) > 1
    assert readings(log)["time"].iloc[-1] == (start + 49_999) * 1000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "readable"),
        ("a,b\n", "no rows"),
        ("a,b\n1,2\n", "--time-column"),
        ("time,x\n2026-01-01,1\n", "--map"),
        ("time,cop\n2026-01-01,55,1\n2026-01-02,55,2\n", "line 2 has 3 cells where the header has 2"),
        ("time,cop\nsoon,1\nlater,2\n", "0 of 2 times in column 'time' could be read, first 'soon' in line 2"),
        ("2026-01-01,1\n2026-01-02,2\n", "header"),
        ("<html><body>login</body></html>", "web page"),
    ],
)
def test_a_file_that_cannot_be_read_says_what_to_give(log: EmbeddedLog, tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ImportRefusedError, match=says):
        imported(log, tmp_path / "a.csv", text)


def test_a_row_with_more_cells_than_the_header_is_refused_with_its_line(log: EmbeddedLog, tmp_path: Path) -> None:
    text = "time,cop\n2026-01-01,1\n2026-01-02,1,2,3\n\n2026-01-03\n2026-01-04,4\n"
    result = imported(log, tmp_path / "a.csv", text)
    assert (result.rows, result.messages, result.refused, result.empty) == (4, 2, 1, 1)
    assert [(one.line, one.reason) for one in result.first_refusals] == [(3, "4 cells where the header has 2")]


def test_a_separator_at_the_end_of_every_line_does_no_harm(log: EmbeddedLog, tmp_path: Path) -> None:
    assert imported(log, tmp_path / "a.csv", "time;cop\n2026-01-01 00:00;5;\n2026-01-01 00:01;6;\n").messages == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time_colum: When", "time_colum"),
        ("a: [", "not valid YAML"),
        ("ignore: 5", "ignore"),
        ("columns: [a]", "columns"),
        ("timezone: Mars/Base", "Mars/Base"),
    ],
)
def test_a_map_that_is_none_says_why(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(ImportRefusedError, match=says):
        ImportMap.load(tmp_path / "map.yaml")


@pytest.mark.parametrize(("columns", "says"), [({"x": "curent"}, "curent"), ({"x": "cop"}, "lacks: x")])
def test_a_map_that_does_not_fit_type_or_file_is_refused(
    log: EmbeddedLog, tmp_path: Path, columns: dict[str, str], says: str
) -> None:
    with pytest.raises(ImportRefusedError, match=says):
        imported(log, tmp_path / "a.csv", "time,cop\n2026-01-01,5\n", ImportMap(columns=columns))
