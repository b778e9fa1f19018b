"""What is written is what is read, or it is refused with its cause: formats of time, separators, encodings, marks, units."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.ingestion.importing import ImportMap, ImportRefusedError, plan_import
from hvac_platform.ingestion.importing.readings import Reading
from hvac_platform.ingestion.importing.refusing import Refusals
from hvac_platform.timestamps import to_ms

RTU = FleetDevice("RTU-1", "rooftop_unit")
Writer = Callable[[datetime], str]


def am_pm(at: datetime) -> str:
    return at.strftime("%I:%M:%S %p")


TIMES: dict[str, tuple[Writer, tuple[str, ...]]] = {
    "iso": (lambda t: t.isoformat(), ()),
    "iso with offset": (lambda t: (t + timedelta(hours=5, minutes=30)).isoformat() + "+05:30", ()),
    "rfc 3339": (lambda t: t.strftime("%Y-%m-%dT%H:%M:%S.000Z"), ()),
    "minutes": (lambda t: t.strftime("%Y/%m/%d %H:%M"), ()),
    "day first": (lambda t: t.strftime("%d/%m/%Y %H:%M"), ("--day-first",)),
    "day first with points": (lambda t: t.strftime("%d.%m.%Y %H:%M:%S"), ("--day-first",)),
    "month first": (lambda t: t.strftime("%m/%d/%Y ") + am_pm(t), ("--day-first",)),
    "month first, short": (lambda t: f"{t.month}/{t.day}/{t.year} {t.hour}:{t:%M}", ("--day-first",)),
    "two digits of the year": (lambda t: t.strftime("%y-%m-%d %H:%M"), ("--time-format",)),
    "named month": (lambda t: t.strftime("%d-%b-%y ") + am_pm(t) + " UTC", ()),
    "named month in front": (lambda t: t.strftime("%b %d, %Y %H:%M:%S"), ()),
    "of C": (lambda t: t.strftime("%a %b %d %H:%M:%S %Y"), ()),
    "compact": (lambda t: t.strftime("%Y%m%dT%H%M%SZ"), ()),
    "digits": (lambda t: t.strftime("%Y%m%d%H%M"), ()),
    "digits to the second": (lambda t: t.strftime("%Y%m%d%H%M%S"), ()),
    "epoch": (lambda t: str(to_ms(t) // 1000), ()),
    "epoch milliseconds": (lambda t: str(to_ms(t)), ()),
    "epoch microseconds": (lambda t: str(to_ms(t) * 1000), ()),
    "epoch nanoseconds": (lambda t: str(to_ms(t) * 1_000_000), ()),
    "excel": (lambda t: repr(to_ms(t) / 86_400_000 + 25_569), ()),
}
"""How times are written, and what may be asked for where they can be read in two ways."""

UNITS: dict[str, Callable[[float], float]] = {
    "°F": lambda f: f,
    "degF": lambda f: f,
    "°C": lambda f: (f - 32) / 1.8,
    "Cel": lambda f: (f - 32) / 1.8,
    "K": lambda f: (f + 459.67) / 1.8,
    "": lambda f: f,
}
HEADERS = ("{} ({})", "{} [{}]", "{}, {}")
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "cp1252")


def number(value: float, decimal: str, thousands: str) -> str:
    text = f"{value:,.2f}"
    return text.replace(",", "T").replace(".", decimal).replace("T", thousands)


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, list[int], list[float], str, str]:
    """Bytes of a file, its times and values (°F and rpm), how times are written, and the decimal mark."""
    written = draw(st.sampled_from(sorted(TIMES)))
    separator = draw(st.sampled_from([",", ";", "\t", "|"]))
    decimal = draw(st.sampled_from([".", ","]))
    thousands = draw(st.sampled_from(["", "", "." if decimal == "," else ",", " "]))
    unit = draw(st.sampled_from(sorted(UNITS)))
    in_cells = draw(st.booleans()) and bool(unit)
    start = datetime(2001, 1, 1, tzinfo=UTC) + timedelta(minutes=draw(st.integers(0, 24 * 365 * 24 * 60)))
    step = timedelta(minutes=draw(st.sampled_from([1, 5, 15, 60])))
    instants = [start + i * step for i in range(draw(st.integers(2, 120)))]
    fahrenheit = draw(st.lists(st.floats(-40, 120), min_size=len(instants), max_size=len(instants)))
    cells = [number(UNITS[unit](f), decimal, thousands) for f in fahrenheit]
    read = [
        float(c.replace(thousands, "").replace(decimal, ".") if thousands else c.replace(decimal, ".")) for c in cells
    ]
    name = "Supply Air Temp"
    if unit and not in_cells:
        name = draw(st.sampled_from(HEADERS)).format(name, unit)
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=separator, lineterminator=draw(st.sampled_from(["\n", "\r\n"])))
    for line in draw(st.sampled_from([[], [["Trend report"], ["Site: A"], []], [["Report", "Trend"]]])):
        writer.writerow(line)
    writer.writerow(["Timestamp", name, "fan_speed"])
    for at, cell in zip(instants, cells, strict=True):
        writer.writerow([TIMES[written][0](at.replace(tzinfo=None) if "epoch" not in written and written != "excel" else at),
                         f"{cell} {unit}" if in_cells else cell, number(1234.56, decimal, thousands)])  # fmt: skip
    try:
        content = buffer.getvalue().encode(draw(st.sampled_from(ENCODINGS)))
    except UnicodeEncodeError:
        content = buffer.getvalue().encode()
    to_fahrenheit = {"°C": 1, "Cel": 1, "K": 2}.get(unit, 0)
    values = [v * 1.8 + 32 if to_fahrenheit == 1 else v * 1.8 - 459.67 if to_fahrenheit == 2 else v for v in read]
    return content, [to_ms(at) for at in instants], values, written, decimal


def read(path: Path, mapping: ImportMap) -> tuple[dict[str, dict[int, float]], Refusals]:
    found: dict[str, dict[int, float]] = {}
    refusals = Refusals()
    for plan in plan_import(path, RTU, RTU, mapping):
        for readings in Reading(plan.understood, refusals).readings():
            for name, column in zip(readings.metrics, readings.values.T, strict=True):
                found.setdefault(name, {}).update(zip(readings.times_ms.tolist(), column.tolist(), strict=True))
    return found, refusals


def refusal(path: Path, mapping: ImportMap) -> str:
    """Why a file is refused; empty where it is read."""
    try:
        read(path, mapping)
    except ImportRefusedError as refused:
        return str(refused)
    return ""


def told_what_it_asks_for(path: Path, written: str, decimal: str) -> ImportMap:
    """A map with the answers to what is asked of a file, which is nothing but what can't be known from it."""
    mapping = ImportMap()
    formats = {"two digits of the year": {"time_format": "%y-%m-%d %H:%M"}}
    answers = {
        **{option: formats.get(written, {"day_first": written.startswith("day")}) for option in TIMES[written][1]},
        "--decimal": {"decimal": decimal},
    }
    while (asked := refusal(path, mapping)) and answers:
        option = next((one for one in answers if one in asked), None)
        assert option is not None, asked
        mapping = mapping.given(**answers.pop(option))
    return mapping


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files())
def test_what_is_written_is_what_is_read_or_is_refused_with_its_cause(
    tmp_path: Path, file: tuple[bytes, list[int], list[float], str, str]
) -> None:
    content, times, values, written, decimal = file
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    found, refusals = read(path, told_what_it_asks_for(path, written, decimal))
    assert refusals.count == 0
    assert list(found["supply_air_temp"]) == times
    assert np.allclose(list(found["supply_air_temp"].values()), values, rtol=1e-9, atol=1e-6)
    assert set(found["fan_speed"].values()) == {1234.56}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
@example(b"\xff\xfe")
@example(b"PK\x03\x04")
@example(b"\x1f\x8b")
@example(b"PAR1")
@example(b'ver:"3.0"\n')
@example(b"{}\n")
@example(b"[{}]")
@example(b"#group,false\n")
@example(b'time,cop\n"2026-01-01,1\n')
@example(b"time,cop\r2026-01-01,1\r")
def test_whatever_a_file_holds_it_is_read_or_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert "\n" not in refusal(path, ImportMap())


@pytest.mark.parametrize("written", ["day first", "month first", "two digits of the year"])
def test_times_of_one_day_that_can_be_read_in_two_ways_are_asked_about(tmp_path: Path, written: str) -> None:
    start = datetime(2024, 3, 4, 8, tzinfo=UTC)
    rows = [f"{TIMES[written][0]((start + timedelta(minutes=i)).replace(tzinfo=None))},55" for i in range(50)]
    path = tmp_path / "a.csv"
    path.write_text("time,supply_air_temp\n" + "\n".join(rows))
    with pytest.raises(ImportRefusedError) as refused:
        read(path, ImportMap())
    assert "'time'" in str(refused.value)
    assert TIMES[written][1][0] in str(refused.value)
