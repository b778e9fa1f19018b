"""What a file leaves open is asked for, and what it does say is not overlooked."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hvac_platform.ingestion.importing import ImportRefusedError
from hvac_platform.ingestion.importing.refusing import shown
from hvac_platform.timestamps import parse_instant
from hvac_platform_tests.ingestion.test_import_kinds import SAT, read

KEY = ("RTU-1", SAT)
YEARLESS = datetime(2023, 12, 10, 6)  # noqa: DTZ001 - as files write it


def rows(written: str, header: str = "time,supply_air_temp") -> str:
    return "\n".join([header, *(f"{YEARLESS + timedelta(hours=6 * i):{written}},{i}" for i in range(30))]) + "\n"


@pytest.mark.parametrize(
    ("written", "mapping"),
    [
        ("%m/%d %H:%M:%S", {}),
        ("%m-%d %H:%M:%S", {}),
        ("%m/%d %H:%M:%S.000", {}),
        ("%d/%m %H:%M:%S", {"day_first": True}),
        ("%d.%m. %H:%M:%S", {"day_first": True}),
        ("%a %m/%d %H:%M:%S", {}),
        ("%b %d %H:%M:%S", {}),
        ("%b %d %H:%M", {}),
        ("%d %b %H:%M", {}),
        ("%d-%b %H:%M:%S", {}),
        ("%a %d %b %I:%M:%S %p", {}),
        ("%m/%d %H:%M:%S", {"time_format": "%m/%d %H:%M:%S"}),
        ("%d %b %H:%M", {"time_format": "%d %b %H:%M"}),
        ("%d %b %H:%M +0000", {"time_format": "%d %b %H:%M %z"}),
    ],
)
def test_times_without_a_year_are_of_the_one_that_is_given(
    tmp_path: Path, written: str, mapping: dict[str, Any]
) -> None:
    (tmp_path / "a.csv").write_text(rows(written))
    found, refusals, _ = read(tmp_path / "a.csv", {**mapping, "year": 2023}, "rooftop_unit")
    first = parse_instant("2023-12-10T06:00:00Z")
    assert (found, refusals.count) == ({KEY: {first + i * 6 * 3_600_000: float(i) for i in range(30)}}, 0)
    with pytest.raises(ImportRefusedError, match="have no year; give it with --year"):
        read(tmp_path / "a.csv", mapping, "rooftop_unit")


def test_a_format_without_a_day_is_refused_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(rows("%H:%M"))
    with pytest.raises(ImportRefusedError, match="has no day, %d, or no month"):
        read(tmp_path / "a.csv", {"time_format": "%H:%M", "year": 2023}, "rooftop_unit")


@pytest.mark.parametrize(
    "written", ["%m/%d/%y %H:%M:%S", "%d %b %y %H:%M:%S", "%d%b%y:%H:%M:%S", "%d/%b/%y:%H:%M:%S", "%m/%d/%y:%H:%M:%S"]
)
def test_two_digits_of_a_year_stay_one(tmp_path: Path, written: str) -> None:
    (tmp_path / "a.csv").write_text(rows(written))
    found, _, _ = read(tmp_path / "a.csv", {}, "rooftop_unit")
    assert next(iter(found[KEY])) == parse_instant("2023-12-10T06:00:00Z")


SHORT = timedelta(minutes=1)


def block(header: str, count: int, value: float, start: int = 0) -> str:
    times = (YEARLESS + i * SHORT for i in range(start, start + count))
    if header.startswith("time,point"):
        return "".join(f"{t},supply_air_temp,{value}\n" for t in times)
    return "".join(f"{t},{value}\n" for t in times)


@pytest.mark.parametrize("header", ["time,supply_air_temp", "time,point,value"])
@pytest.mark.parametrize(
    ("count", "again", "is_header_again"), [(96, 96, False), (96, 96, True), (30_000, 30_000, False), (50_000, 7, True)]
)
def test_readings_that_later_ones_replace_are_counted(
    tmp_path: Path, header: str, count: int, again: int, is_header_again: bool
) -> None:
    between = f"{header}\n" if is_header_again else ""
    (tmp_path / "a.csv").write_text(f"{header}\n{block(header, count, 55)}{between}{block(header, again, 56)}")
    _, _, reading = read(tmp_path / "a.csv", {}, "rooftop_unit")
    told = f"{again} readings are replaced by a later one of the same device, metric and time with another value"
    assert told in reading.notes


@pytest.mark.parametrize("header", ["time,supply_air_temp", "time,point,value"])
def test_readings_that_are_there_twice_with_the_same_value_replace_none(tmp_path: Path, header: str) -> None:
    text = f"{header}\n{block(header, 30_000, 55)}{header}\n{block(header, 30_000, 55)}{block(header, 9, 56, 30_000)}"
    (tmp_path / "a.csv").write_text(text)
    assert not any("replaced" in note for note in read(tmp_path / "a.csv", {}, "rooftop_unit")[2].notes)


@pytest.mark.parametrize(
    ("name", "good", "bad", "says"),
    [
        ("Questionable", "False", "True", "good_status: ['False']"),
        ("Questionable", "0", "1", "good_status: ['0']"),
        ("IsBad", "False", "True", "good_status: ['False']"),
        ("Substituted", "No", "Yes", "good_status: ['No']"),
        ("supply_air_temp_questionable", "False", "True", "good_status: ['False']"),
        ("Valid", "1", "0", "good_status: ['1']"),
        ("IsGood", "True", "False", "good_status: ['True']"),
        ("OPCQuality", "Good", "Bad", "good_status: ['Good']"),
        ("OPCQuality", "192", "24", "good_status: ['192']"),
        ("Quality", "1", "3", "good_status: [WORD] for what good rows have, one or more of '1', '3'"),
        ("QualityDetail", "Good", "Sensor Failure", "good_status: ['Good']"),
        ("Trend Flags", "{ }", "{outOfOrder}", "good_status: ['{ }']"),
        ("Flag", "OK", "E", "good_status: ['OK']"),
        ("Flag", "0", "1", "one or more of '0', '1'"),
        ("Qualität", "gut", "schlecht", "one or more of 'gut', 'schlecht'"),
    ],
)
def test_a_column_of_quality_is_asked_about_with_what_good_rows_have(
    tmp_path: Path, name: str, good: str, bad: str, says: str
) -> None:
    text = "".join(f"{YEARLESS + i * SHORT},{i},{bad if 30 <= i < 40 else good}\n" for i in range(96))
    (tmp_path / "a.csv").write_text(f"time,supply_air_temp,{name}\n{text}", encoding="utf-8")
    with pytest.raises(ImportRefusedError) as refused:
        read(tmp_path / "a.csv", {}, "rooftop_unit")
    assert shown(name) in str(refused.value)
    assert says in str(refused.value)


@pytest.mark.parametrize(("words", "says"), [(("False", "True"), "good_status: ['False']"), (("0", "1"), "['0']")])
def test_a_column_that_is_true_of_bad_rows_is_never_taken_the_other_way_round(
    tmp_path: Path, words: tuple[str, str], says: str
) -> None:
    text = "".join(f"{YEARLESS + i * SHORT},{i},{words[i % 9 == 0]}\n" for i in range(96))
    (tmp_path / "a.csv").write_text(f"time,supply_air_temp,Questionable\n{text}")
    with pytest.raises(ImportRefusedError, match="says which rows are bad") as refused:
        read(tmp_path / "a.csv", {"status_column": "Questionable"}, "rooftop_unit")
    assert says in str(refused.value)
    told = {"status_column": "Questionable", "good_status": [words[0]]}
    assert read(tmp_path / "a.csv", told, "rooftop_unit")[1].count == 11
