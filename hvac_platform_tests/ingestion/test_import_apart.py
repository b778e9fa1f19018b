"""Times that stand in many columns: year, month, day, hour and minute apart, and a column for each hour of a day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hvac_platform.ingestion.importing import ImportRefusedError
from hvac_platform_tests.cli.test_import_command import workbook
from hvac_platform_tests.ingestion.test_import_kinds import FIRST, ROWS, START, read, table

HOUR, DAY = 3_600_000, 86_400_000
SAT, POWER = ("RTU-1", "supply_air_temp"), ("RTU-1", "power_consumption")
QUARTERS = {FIRST + i * HOUR // 4: float(i) for i in range(ROWS)}


@pytest.mark.parametrize(
    ("header", "written"),
    [
        ("Year,Month,Day,Hour,Minute,supply_air_temp", "%Y,%m,%d,%H,%M"),
        ("YEAR,MONTH,DAY,HOUR,MIN,SEC,supply_air_temp", "%Y,%m,%d,%H,%M,%S"),
        ("Jahr,Monat,Tag,Uhrzeit,supply_air_temp", "%Y,%m,%d,%H:%M"),
        ("Day,Month,Year,Time,supply_air_temp", "%d,%m,%Y,%H:%M:%S"),
        ("Year,Month,Day,Time,supply_air_temp", "%Y,%b,%d,%H%M"),
        ("year,month,day,hour,minute,AM/PM,supply_air_temp", "%Y,%m,%d,%I,%M,%p"),
        ("Date,Hour,Minute,supply_air_temp", "%Y-%m-%d,%H,%M"),
    ],
)
def test_parts_of_a_time_in_columns_of_their_own_are_joined(tmp_path: Path, header: str, written: str) -> None:
    (tmp_path / "a.csv").write_text(table(header, lambda t, i: f"{t.strftime(written)},{i}"))
    found, refusals, _ = read(tmp_path / "a.csv", {}, "rooftop_unit")
    assert (found, refusals.count) == ({SAT: QUARTERS}, 0)


def test_parts_of_a_time_need_no_zeros_in_front(tmp_path: Path) -> None:
    header = "Year,Month,Day,Hour,supply_air_temp"
    (tmp_path / "a.csv").write_text(table(header, lambda t, i: f"2024.0,3,1,{i},{i}"))
    assert read(tmp_path / "a.csv", {}, "rooftop_unit")[0][SAT] == {FIRST + i * HOUR: i for i in range(ROWS)}


def test_halves_of_the_day_are_heard_whatever_the_minutes_are(tmp_path: Path) -> None:
    header = "Year,Month,Day,Hour,Minute,AM/PM,supply_air_temp"
    text = table(header, lambda t, i: f"{t:%Y,%m,%d,%I},20,{t:%p},{i}", step=timedelta(hours=1))
    (tmp_path / "a.csv").write_text(text)
    expected = {FIRST + 20 * 60_000 + i * HOUR: float(i) for i in range(ROWS)}
    assert read(tmp_path / "a.csv", {}, "rooftop_unit")[0][SAT] == expected


def test_a_table_whose_columns_are_times_is_refused_as_such(tmp_path: Path) -> None:
    times = ",".join(f"{START + timedelta(hours=i)}" for i in range(ROWS))
    (tmp_path / "a.csv").write_text(f"point,{times}\nsupply_air_temp,{','.join(['55'] * ROWS)}\n")
    with pytest.raises(
        ImportRefusedError, match="each column is a time and each row a point; turn rows and columns round"
    ):
        read(tmp_path / "a.csv", {}, "mystery")


def test_the_map_names_parts_of_a_time(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table("j,m,t,h,n,supply_air_temp", lambda t, i: f"{t:%Y,%m,%d,%H,%M},{i}"))
    mapping = {"time_column": ["j", "m", "t", "h", "n"]}
    assert read(tmp_path / "a.csv", mapping, "rooftop_unit")[0][SAT] == QUARTERS


def test_a_day_that_there_is_not_is_refused_by_itself(tmp_path: Path) -> None:
    text = table("Year,Month,Day,Time,supply_air_temp", lambda t, i: f"2024,2,{28 + i % 3},{i % 24}:00,{i}")
    (tmp_path / "a.csv").write_text(text)
    _, refusals, _ = read(tmp_path / "a.csv", {}, "rooftop_unit")
    assert set(refusals.reasons) == {"Year and Month and Day and Time: no such date or time of day"}


def test_a_column_of_whole_times_counts_before_its_parts(tmp_path: Path) -> None:
    text = table("timestamp,year,month,day,hour,supply_air_temp", lambda t, i: f"{t},{t:%Y,%m,%d,%H},{i}")
    (tmp_path / "a.csv").write_text(text)
    assert read(tmp_path / "a.csv", {}, "rooftop_unit")[0][SAT] == QUARTERS


# -- a column an hour ---------------------------------------------------------------------------------------------------


def days(names: Sequence[str], *, before: str = "Date", written: str = "%Y-%m-%d", count: int = 3) -> str:
    """Days in rows, their hours in columns: 0, 1, 2, … through all of them."""
    rows = [
        ",".join([f"{START + timedelta(days=i):{written}}", *(str(i * len(names) + j) for j in range(len(names)))])
        for i in range(count)
    ]
    return "\n".join([",".join([before, *names]), *rows]) + "\n"


CLOCK = [f"{i:02d}:00" for i in range(24)]
POWER_OF_ALL = {"metric": "power_consumption"}
WIDE: dict[str, tuple[str, dict[str, Any], int, int]] = {
    "times of day": (days(CLOCK), {}, 0, HOUR),
    "times of day without a zero": (
        days([f"{i}:00" for i in range(24)], written="%m/%d/%Y 0:00"),
        {"day_first": False},
        0,
        HOUR,
    ),
    "halves of the day": (
        days([f"{(i + 11) % 12 + 1} {'AP'[i // 12]}M".replace(" ", ":00 ") for i in range(24)]),
        {},
        0,
        HOUR,
    ),
    "until 24:00": (days([f"{i:02d}:00" for i in range(1, 25)]), {}, HOUR, HOUR),
    "quarters": (days([f"{i // 4:02d}:{i % 4 * 15:02d}" for i in range(96)]), {}, 0, HOUR // 4),
    "hours ending": (days([f"HE{i}" for i in range(1, 25)]), {}, HOUR, HOUR),
    "hours ending, in words": (days([f"Hour Ending {i:02d}" for i in range(1, 25)]), {}, HOUR, HOUR),
    "hours beginning": (days([f"HB{i:02d}" for i in range(24)]), {}, 0, HOUR),
    "hours from 0": (days([f"Hour {i}" for i in range(24)]), {}, 0, HOUR),
    "numbered hours, said to be ending": (days([f"Hour {i}" for i in range(1, 25)]), {"hours": "ending"}, HOUR, HOUR),
    "numbered hours, said to be beginning": (days([f"H{i}" for i in range(1, 25)]), {"hours": "beginning"}, 0, HOUR),
    "numbers, said to be ending": (days([str(i) for i in range(1, 25)]), {"hours": "ending"}, HOUR, HOUR),
    "from and to": (days([f"{i:02d}:00-{i + 1:02d}:00" for i in range(24)]), {"hours": "ending"}, HOUR, HOUR),
    "midnight behind the others": (days([*CLOCK[1:], CLOCK[0]]), {"hours": "ending"}, HOUR, HOUR),
    "year, month and day apart": (days(CLOCK, before="Year,Month,Day", written="%Y,%m,%d"), {}, 0, HOUR),
}


@pytest.mark.parametrize("kind", WIDE)
def test_a_column_an_hour_is_read_as_a_reading_an_hour(tmp_path: Path, kind: str) -> None:
    text, mapping, first, step = WIDE[kind]
    (tmp_path / "a.csv").write_text(text)
    found, refusals, reading = read(tmp_path / "a.csv", POWER_OF_ALL | mapping, "rooftop_unit")
    count = 3 * DAY // step
    assert (found, refusals.count) == ({POWER: {FIRST + first + i * step: float(i) for i in range(count)}}, 0)
    assert "values of the row's day" in reading.notes[0]


ASKED: dict[str, tuple[str, dict[str, Any], str]] = {
    "numbered hours": (days([f"Hour {i}" for i in range(1, 25)]), POWER_OF_ALL,
                       "columns 'Hour 1' to 'Hour 24' are the hours of a day, and nothing says whether a value is of the "
                       "beginning or of the end of its hour; give hours: ending or hours: beginning in the map"),
    "numbers": (days([str(i) for i in range(1, 25)]), {}, "columns '1' to '24' are the hours of a day"),
    "from and to": (days([f"{i:02d}:00-{i + 1:02d}:00" for i in range(24)]), POWER_OF_ALL, "give hours: ending or"),
    "midnight behind the others": (
        days([*CLOCK[1:], CLOCK[0]]), POWER_OF_ALL, "whether '00:00' behind the others is the end of the day"),
    "no metric": (days(CLOCK), {}, "does not say which metric it holds; give it in the map"),
    "ends that are said to be beginnings": (
        days([f"HE{i}" for i in range(1, 25)]), POWER_OF_ALL | {"hours": "beginning"}, "say ending"),
}  # fmt: skip


@pytest.mark.parametrize("device_type", ["rooftop_unit", "mystery"])
@pytest.mark.parametrize("kind", ASKED)
def test_a_column_an_hour_is_asked_about_where_two_readings_fit(tmp_path: Path, kind: str, device_type: str) -> None:
    text, mapping, says = ASKED[kind]
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ImportRefusedError) as refused:
        read(tmp_path / "a.csv", mapping, device_type)
    assert says in str(refused.value)


def test_each_day_of_a_point_and_device_is_a_row(tmp_path: Path) -> None:
    rows = [
        f"{device},{point},{START + timedelta(days=day):%Y-%m-%d},{','.join(['7'] * 24)}"
        for device in ("RTU-1", "RTU-2")
        for point in ("supply_air_temp", "power_consumption")
        for day in range(2)
    ]
    (tmp_path / "a.csv").write_text("\n".join([f"device,point,date,{','.join(CLOCK)}", *rows]))
    found, _, _ = read(tmp_path / "a.csv", {}, "rooftop_unit")
    assert {key: len(series) for key, series in found.items()} == {
        (device, point): 48 for device in ("RTU-1", "RTU-2") for point in ("supply_air_temp", "power_consumption")
    }


def test_a_refused_cell_is_named_by_its_line_and_the_column_of_its_hour(tmp_path: Path) -> None:
    text = days(CLOCK).replace(",26,", ",#N/A,").replace(",27,", ",,").replace(",28,", ",bad,")
    (tmp_path / "a.csv").write_text(text)
    found, refusals, reading = read(tmp_path / "a.csv", POWER_OF_ALL, "rooftop_unit")
    assert [(one.line, one.column, one.value, one.reason) for one in refusals.first] == [
        (3, "02:00", "#N/A", "an error of a spreadsheet"),
        (3, "04:00", "bad", "not a number"),
    ]
    assert (len(found[POWER]), reading.empty) == (69, 1)


def test_a_total_of_the_day_is_no_reading_of_its_hours(tmp_path: Path) -> None:
    lines = days(CLOCK).splitlines()
    text = "\n".join([f"{lines[0]},Total", *(f"{line},{999}" for line in lines[1:])])
    (tmp_path / "a.csv").write_text(text)
    found, _, reading = read(tmp_path / "a.csv", POWER_OF_ALL, "mystery")
    assert (len(found[POWER]), 999 in found[POWER].values()) == (72, False)
    assert reading.of.left_out == {"Total": "a value a day"}


def test_a_day_of_25_hours_is_refused_whole(tmp_path: Path) -> None:
    lines = days([f"HE{i}" for i in range(1, 26)]).splitlines()
    text = "\n".join([lines[0], *(line.rpartition(",")[0] + "," for line in lines[1:3]), lines[3]])
    (tmp_path / "a.csv").write_text(text)
    found, refusals, _ = read(tmp_path / "a.csv", POWER_OF_ALL, "rooftop_unit")
    assert len(found[POWER]) == 48
    assert (refusals.count, refusals.first[0].line, refusals.first[0].column) == (25, 4, "HE25")


@pytest.mark.parametrize("again", ["02:00", "02:00*", "02:00 DST"])
def test_a_day_whose_hour_stands_there_twice_is_refused_whole(tmp_path: Path, again: str) -> None:
    names = [*CLOCK[:3], again, *CLOCK[3:]]
    (tmp_path / "a.csv").write_text(f"Date,{','.join(names)}\n2024-11-02,1,1,1,,{','.join('1' * 21)}\n"
                                    f"2024-11-03,1,1,1,1,{','.join('1' * 21)}\n")  # fmt: skip
    found, refusals, _ = read(tmp_path / "a.csv", POWER_OF_ALL, "rooftop_unit")
    assert (len(found[POWER]), refusals.count, refusals.first[0].line) == (24, 25, 3)


def test_some_hours_of_a_day_are_enough_where_they_are_times(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Date,06:00,12:00,18:00\n2024-03-01,1,2,3\n2024-03-02,4,5,6\n")
    found, _, _ = read(tmp_path / "a.csv", POWER_OF_ALL, "mystery")
    assert list(found[POWER].values()) == [1, 2, 3, 4, 5, 6]


def test_numbered_sensors_stay_columns(tmp_path: Path) -> None:
    names = ",".join(str(i) for i in range(1, 25))
    (tmp_path / "a.csv").write_text(table(f"time,{names}", lambda t, i: f"{t},{','.join(['5'] * 24)}"))
    found, _, _ = read(tmp_path / "a.csv", {}, "mystery")
    assert len(found) == 24


def test_a_column_an_hour_of_a_workbook(tmp_path: Path) -> None:
    header: list[str | float] = ["Date", *CLOCK]
    rows: list[list[str | float]] = [[45352.0 + i, *(float(i * 24 + j) for j in range(24))] for i in range(3)]
    (tmp_path / "a.xlsx").write_bytes(workbook([header, *rows]))
    found, _, _ = read(tmp_path / "a.xlsx", POWER_OF_ALL, "rooftop_unit")
    assert found == {POWER: {FIRST + i * HOUR: float(i) for i in range(72)}}


def test_the_hours_of_a_day_that_clocks_change_are_local_ones(tmp_path: Path) -> None:
    text = f"Date,{','.join(CLOCK)}\n2024-03-31,{','.join(map(str, range(24)))}\n"
    (tmp_path / "a.csv").write_text(text)
    found, refusals, _ = read(tmp_path / "a.csv", POWER_OF_ALL | {"timezone": "Europe/Berlin"}, "rooftop_unit")
    (refused,) = refusals.first
    assert (refused.value, refused.reason) == ("2024-03-31 02:00", "a local time that clocks leave out")
    assert len(found[POWER]) == 23


BESIDE = "Date,HE,power_consumption\n" + "".join(f"2024-03-10,{hour},{hour}\n" for hour in range(1, 25))


@pytest.mark.parametrize(
    ("text", "mapping"),
    [
        (
            f"Date,{','.join(f'HE{i}' for i in range(1, 25))}\n2024-03-10,{','.join(map(str, range(1, 25)))}\n",
            POWER_OF_ALL,
        ),
        (
            f"Date,{','.join(f'Hour {i}' for i in range(1, 25))}\n2024-03-10,{','.join(map(str, range(1, 25)))}\n",
            POWER_OF_ALL | {"hours": "ending"},
        ),
        (BESIDE, {"time_column": ["Date", "HE"]}),
    ],
)
def test_an_hour_that_is_named_by_its_end_is_left_out_where_clocks_leave_out_its_beginning(
    tmp_path: Path, text: str, mapping: dict[str, Any]
) -> None:
    (tmp_path / "a.csv").write_text(text)
    found, refusals, _ = read(tmp_path / "a.csv", mapping | {"timezone": "America/New_York"}, "rooftop_unit")
    (refused,) = refusals.first
    assert (refused.line, refused.reason) == (2 if text != BESIDE else 4, "the end of an hour that clocks leave out")
    begin = FIRST + 9 * DAY + 5 * HOUR
    hours = [hour for hour in range(1, 25) if hour != 3]
    assert found == {POWER: {begin + (i + 1) * HOUR: float(hour) for i, hour in enumerate(hours)}}
