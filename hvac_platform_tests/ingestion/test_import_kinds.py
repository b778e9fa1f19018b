"""Kinds of files beside the cases: what is in them is read, or asked for, or refused with its cause, cell by cell."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hvac_platform.devices.fleet import FleetDevice
from hvac_platform.ingestion.importing import ImportMap, ImportRefusedError, plan_import
from hvac_platform.ingestion.importing.readings import Reading
from hvac_platform.ingestion.importing.refusing import Refusals
from hvac_platform.timestamps import parse_instant

START, STEP, ROWS = datetime(2024, 3, 1), timedelta(minutes=15), 20  # noqa: DTZ001 - as files write it
FIRST = parse_instant("2024-03-01")


def table(header: str, row: Callable[[datetime, int], str], *, before: str = "", step: timedelta = STEP) -> str:
    return before + "\n".join([header, *(row(START + i * step, i) for i in range(ROWS))]) + "\n"


def read(
    path: Path, mapping: dict[str, Any], kind: str
) -> tuple[dict[tuple[str, str], dict[int, float]], Refusals, Reading]:
    device = FleetDevice("RTU-1", kind)
    (plan,) = plan_import(path, device, device, ImportMap.of(mapping))
    refusals = Refusals()
    reading = Reading(plan.understood, refusals)
    found: dict[tuple[str, str], dict[int, float]] = {}
    for some in reading.readings():
        for name, column in zip(some.metrics, some.values.T, strict=True):
            known = column == column
            series = found.setdefault((some.device.device_id, name), {})
            series.update(zip(some.times_ms[known].tolist(), column[known].tolist(), strict=True))
    return found, refusals, reading


SAT, STATUS = "supply_air_temp", "compressor_status"
READ: dict[str, tuple[str | bytes, dict[str, Any], str, dict[int, float]]] = {
    "cells as formulas": (
        table("time,supply_air_temp", lambda t, i: f'="{t}",="{i}"'), {}, SAT, {FIRST: 0, FIRST + 900_000: 1}),
    "the second one of two columns of times": (
        table("Time,a,Time,supply_air_temp", lambda t, i: f"{t},1,{t + timedelta(minutes=7)},55"),
        {"time_column": "Time (2)"}, SAT, {FIRST + 7 * 60_000: 55}),
    "two columns of the same times": (
        table("Time,return_air_temp,Time,supply_air_temp", lambda t, i: f"{t},1,{t},55"), {}, SAT, {FIRST: 55}),
    "a row of units": (table("Time;supply_air_temp", lambda t, i: f"{t};12,5", before="")
                       .replace("supply_air_temp\n", "supply_air_temp\n-;°C\n"), {}, SAT, {FIRST: 54.5}),
    "a line that says the separator": (
        table("Time|supply_air_temp", lambda t, i: f"{t}|55", before="sep=|\n"), {}, SAT, {FIRST: 55}),
    "a report padded with commas": (
        table("Time,supply_air_temp,x", lambda t, i: f"{t},55,", before="Report,,\n,,\n"), {}, SAT, {FIRST: 55}),
    "a timezone above the header": (
        table("time,supply_air_temp", lambda t, i: f"{t},55", before="Report: RTU-1\nTime Zone: America/New_York\n\n"),
        {}, SAT, {FIRST + 5 * 3_600_000: 55}),
    "a timezone above the header, in a cell of its own": (
        table("time,supply_air_temp", lambda t, i: f"{t},55", before='"Timezone","UTC-05:00"\n'),
        {}, SAT, {FIRST + 5 * 3_600_000: 55}),
    "hours of several metrics in a long file": (
        table("Date,HE,metric,value", lambda t, i: f"{t:%Y-%m-%d},{i + 1},supply_air_temp,55", step=timedelta(0)),
        {"time_column": ["Date", "HE"]}, SAT, {FIRST + 3_600_000: 55, FIRST + 20 * 3_600_000: 55}),
    "24 hours of the day with a PM behind them": (
        table("time,supply_air_temp", lambda t, i: f"03/15/2024 {t + timedelta(hours=11):%H:%M:%S %p},55"),
        {}, SAT, {FIRST + 14 * 86_400_000 + 11 * 3_600_000: 55, FIRST + 14 * 86_400_000 + 56_700_000: 55}),
    "flags with semicolons in a cell between commas": (
        table("time,supply_air_temp,StatusFlags", lambda t, i: f"{t},{i + 40},F;F;F;F"), {}, SAT, {FIRST: 40}),
    "hours that are counted from 1": (
        table("Date,Hour,supply_air_temp", lambda t, i: f"{t:%Y-%m-%d},{i + 5},55", step=timedelta(0)),
        {"hours": "beginning"}, SAT, {FIRST + 4 * 3_600_000: 55, FIRST + 23 * 3_600_000: 55}),
    "hours that are called by their ends": (
        table("Date,Hour,supply_air_temp", lambda t, i: f"{t:%Y-%m-%d},{i + 5},55", step=timedelta(0)),
        {"hours": "ending"}, SAT, {FIRST + 5 * 3_600_000: 55, FIRST + 24 * 3_600_000: 55}),
    "a unit by metric": (
        table("time,OAT", lambda t, i: f"{t},10"),
        {"columns": {"OAT": "outdoor_air_temp"}, "units": {"outdoor_air_temp": "°C"}}, "outdoor_air_temp", {FIRST: 50}),
    "a column of the offset": (
        table("time,utc_offset,supply_air_temp", lambda t, i: f"{t},{'-05:00' if i else '-04:00'},55"), {}, SAT,
        {FIRST + 4 * 3_600_000: 55, FIRST + 900_000 + 5 * 3_600_000: 55}),
    "a column of the timezone, which is given": (
        table("time,timezone,supply_air_temp", lambda t, i: f"{t},America/New_York,55"),
        {"timezone": "America/New_York"}, SAT, {FIRST + 5 * 3_600_000: 55}),
    "a timezone above the header by another of its names": (
        table("time,supply_air_temp", lambda t, i: f"{t},55", before="Time Zone: US/Eastern\n"),
        {"timezone": "America/New_York"}, SAT, {FIRST + 5 * 3_600_000: 55}),
    "minutes from UTC above the header": (
        table("time,supply_air_temp", lambda t, i: f"{t},55", before="utc_offset: -300 min\n"),
        {}, SAT, {FIRST + 5 * 3_600_000: 55}),
    "a unit in the header and another one in the cells, as the map says": (
        table("time,outdoor_air_temp (°F)", lambda t, i: f"{t},15 °C"), {"units": {"outdoor_air_temp (°F)": "°C"}},
        "outdoor_air_temp", {FIRST: 59}),
    "a unit above the header": (
        table("time,outdoor_air_temp", lambda t, i: f"{t},10", before="Units,degC\n"), {}, "outdoor_air_temp", {FIRST: 50}),
    "a unit by metric over the column of units": (
        table("time,point,value,unit", lambda t, i: f"{t},OAT,10,°F"),
        {"columns": {"OAT": "outdoor_air_temp"}, "units": {"outdoor_air_temp": "°C"}}, "outdoor_air_temp", {FIRST: 50}),
    "units of columns that are called as others' metrics": (
        table("time,outdoor_air_temp,return_air_temp", lambda t, i: f"{t},10,60"),
        {"columns": {"outdoor_air_temp": "return_air_temp", "return_air_temp": "outdoor_air_temp"},
         "units": {"outdoor_air_temp": "°C"}}, "outdoor_air_temp", {FIRST: 60}),
    "the one value, by the map": (
        table("Sequence,Timestamp,Log Datum", lambda t, i: f"{i},{t},55"),
        {"metric": SAT, "value_column": "Log Datum"}, SAT, {FIRST: 55}),
    "flags of BACnet, as the map says": (
        table("time,supply_air_temp,StatusFlags", lambda t, i: f"{t},55,F;F;F;F"),
        {"status_column": "StatusFlags"}, SAT, {FIRST: 55}),
    "remarks in brackets": (
        table("time,Supply Air Temp (main) (°C)", lambda t, i: f"{t},10"), {}, SAT, {FIRST: 50}),
    "the id of the machine in brackets": (
        table("time,supply_air_temp [AHU-1]", lambda t, i: f"{t},55"), {}, SAT, {FIRST: 55}),
    "hours that are counted from 1, with minutes": (
        table("Date,Hour,Minute,supply_air_temp", lambda t, i: f"{t:%Y-%m-%d},{i + 5},30,55", step=timedelta(0)),
        {"hours": "beginning"}, SAT, {FIRST + 4 * 3_600_000 + 1_800_000: 55, FIRST + 23 * 3_600_000 + 1_800_000: 55}),
    "comments": (table("time,supply_air_temp", lambda t, i: f"{t},55", before="# exported\n# by x\n"), {}, SAT, {FIRST: 55}),
    "gz": (gzip.compress(table("time,supply_air_temp", lambda t, i: f"{t},55").encode()), {}, SAT, {FIRST: 55}),
    "an index of pandas": (table(",supply_air_temp", lambda t, i: f"{t},55"), {}, SAT, {FIRST: 55}),
    "old line ends": (table("time,supply_air_temp", lambda t, i: f"{t},55").replace("\n", "\r"), {}, SAT, {FIRST: 55}),
    "UTF-16 without a mark": (
        table("time,supply_air_temp", lambda t, i: f"{t},55").encode("utf-16-le"), {}, SAT, {FIRST: 55}),
    "a degree sign in the wrong encoding": (
        table("time,Supply Air Temp (Â°C)", lambda t, i: f"{t},12.5"), {}, SAT, {FIRST: 54.5}),
    "no header": (table("", lambda t, i: f"{t},55").lstrip(), {"header": ["t", SAT], "time_column": "t"}, SAT, {FIRST: 55}),
    "digits of date and hour": (
        table("Date,Hour,supply_air_temp", lambda t, i: f"{t:%Y%m%d},{i},55", step=timedelta(0)), {}, SAT,
                                {FIRST: 55, FIRST + 19 * 3_600_000: 55}),
    "digits of date and time": (
        table("Date,Time,supply_air_temp", lambda t, i: f"{t:%Y%m%d},{t:%H%M},55"), {}, SAT, {FIRST + 900_000: 55}),
    "dates at midnight only": (
        table("time,supply_air_temp", lambda t, i: f"{t:%Y-%m-%d},55" if not i else f"{t},56"), {}, SAT, {FIRST: 55}),
    "a zone of the world behind the time": (table("time,supply_air_temp", lambda t, i: f"{t} America/New_York,55"),
                                            {"timezone": "America/New_York"}, SAT, {FIRST + 5 * 3_600_000: 55}),
    "an abbreviation of the zone": (
        table("time,supply_air_temp", lambda t, i: f"{t} CET,55"), {"timezone": "Europe/Berlin"}, SAT,
                                    {FIRST - 3_600_000: 55}),
    "newest first": (
        "time,supply_air_temp\n2024-03-01 00:15,56\n2024-03-01 00:00,55\n", {}, SAT, {FIRST: 55, FIRST + 900_000: 56}),
    "thousands beside decimals": (
        table("time,supply_air_temp,fan_speed", lambda t, i: f'{t},55.25,"1,200"'), {}, "fan_speed", {FIRST: 1200}),
    "watts and kilowatts in cells": (table("time,power_consumption", lambda t, i: f"{t},{'500 W' if i else '0.5 kW'}"), {},
                                     "power_consumption", {FIRST: 0.5, FIRST + 900_000: 0.5}),
    "one value a row with its unit beside it": (
        table("Time,Value,Units", lambda t, i: f"{t},12.5,degC"), {"metric": SAT}, SAT, {FIRST: 54.5}),
    "days that are the month": (
        table("time,supply_air_temp", lambda t, i: f"{t:03/03/2024 %H:%M},{i}"), {}, SAT, {FIRST + 2 * 86_400_000: 0}),
    "days of a spreadsheet with six decimals": (
        table("time,supply_air_temp", lambda t, i: f"{45352 + i / 96:.6f},{i}"), {}, SAT,
        {FIRST + i * 900_000: i for i in range(ROWS)}),
    "days of a spreadsheet with five decimals": (
        table("time,supply_air_temp", lambda t, i: f"{45352 + i / 96:.5f},{i}"), {}, SAT,
        {FIRST + i * 900_000: i for i in range(ROWS)}),
    "degrees Celsius in words": (
        table("time,supply air temp - degrees Celsius", lambda t, i: f"{t},12.5"), {}, SAT, {FIRST: 54.5}),
    "halves of the day in one letter": (
        table("time,supply_air_temp", lambda t, i: f"{t:%m/%d/%Y %I:%M}{f'{t:%p}'[0].lower()},{i}", step=timedelta(hours=6)),
        {"day_first": False}, SAT, {FIRST: 0, FIRST + 6 * 3_600_000: 1, FIRST + 18 * 3_600_000: 3}),
    "days of a spreadsheet beside times of day": (
        table("Date,Time,supply_air_temp", lambda t, i: f"45352,{t:%H:%M},{i}"), {"time_column": ["Date", "Time"]}, SAT,
        {FIRST: 0, FIRST + 900_000: 1}),
    "inches of water": (
        table("time,filter_pressure_drop (″H2O)", lambda t, i: f"{t},0.5"), {}, "filter_pressure_drop", {FIRST: 0.5}),
    "a share whose unit is a dash": (
        table("time,supply_air_humidity [-]", lambda t, i: f"{t},0.55"), {}, "supply_air_humidity", {FIRST: 55}),
    "a share whose unit is one": (
        table("time,supply_air_humidity (1)", lambda t, i: f"{t},0.55"), {}, "supply_air_humidity", {FIRST: 55}),
    "a share in a row of a long file": (
        table("time,point,value,unit", lambda t, i: f"{t},supply_air_humidity,{'0.55,-' if i % 2 else '56,%'}"),
        {}, "supply_air_humidity", {FIRST: 56, FIRST + 900_000: 55}),
    "a share, as the map says": (
        table("time,supply_air_humidity", lambda t, i: f"{t},0.55"), {"units": {"supply_air_humidity": "fraction"}},
        "supply_air_humidity", {FIRST: 55}),
    "less than a percent, as the map says": (
        table("time,supply_air_humidity", lambda t, i: f"{t},0.55"), {"units": {"supply_air_humidity": "%"}},
        "supply_air_humidity", {FIRST: 0.55}),
    "a valve that is open or closed": (
        table("time,heating_valve_position", lambda t, i: f"{t},{i % 2}"), {"units": {"heating_valve_position": "fraction"}},
        "heating_valve_position", {FIRST: 0, FIRST + 900_000: 100}),
    "a valve that is always closed": (
        table("time,heating_valve_position", lambda t, i: f"{t},0"), {}, "heating_valve_position", {FIRST: 0}),
    "percent in cells, beside fractions, as the map says": (
        table("time,supply_air_humidity", lambda t, i: f"{t},{'0.42' if i % 2 else '41%'}"),
        {"units": {"supply_air_humidity": "fraction"}}, "supply_air_humidity", {FIRST: 41, FIRST + 900_000: 42}),
    "percent in cells, beside fractions, as the header says": (
        table("time,supply_air_humidity [-]", lambda t, i: f"{t},{'0.42' if i % 2 else '41%'}"), {},
        "supply_air_humidity", {FIRST: 41, FIRST + 900_000: 42}),
    "a share for a valve": (
        table("time,heating_valve_position (fraction)", lambda t, i: f"{t},0.25"), {}, "heating_valve_position",
                            {FIRST: 25}),
    "words of a map": (table("time,mode", lambda t, i: f"{t},{['Cooling', 'Off'][i % 2]}"),
                       {"columns": {"mode": STATUS}, "states": {"Cooling": 1, False: 0}}, STATUS,
                       {FIRST: 1, FIRST + 900_000: 0}),

    "a unit for each row": (
        "time,point,value,unit\n2024-03-01,supply_air_temp,12.5,degC\n2024-03-01 01:00,supply_air_temp,55,degF\n",
                            {}, SAT, {FIRST: 54.5, FIRST + 3_600_000: 55}),
    "JSON": (
        json.dumps([{"time": "2024-03-01T00:00:00Z", "data": {"supply_air_temp": {"value": 12.5, "unit": "degC"}}}]),
        {}, SAT,
             {FIRST: 54.5}),
    "cells with line ends": (
        'time,note,supply_air_temp\n2024-03-01,"stuck,\nsee mail",55\n2024-03-01 00:15,5" pipe,56\n', {}, SAT,
        {FIRST: 55, FIRST + 900_000: 56}),
    "an offset in the header": (
        table("Timestamp (UTC+05:30),supply_air_temp", lambda t, i: f"{t},55"), {}, SAT, {FIRST - 19_800_000: 55}),
    "a timezone in the header": (
        table("time (Europe/Berlin),supply_air_temp", lambda t, i: f"{t},55"), {}, SAT, {FIRST - 3_600_000: 55}),
    "an abbreviation in the header, and its offset": (
        table("Time EST,supply_air_temp", lambda t, i: f"{t},55"), {"zones": {"EST": "-05:00"}}, SAT,
        {FIRST + 18_000_000: 55}),
    "halves of the day in a column": (
        table("Date,Time,AM/PM,supply_air_temp", lambda t, i: f"{t:%m/%d/%Y},{t:%I:%M},{t:%p},{i}", step=timedelta(hours=2)),
        {"day_first": False}, SAT, {FIRST: 0, FIRST + 7 * 7_200_000: 7}),
    "halves of the day beside a given format": (
        table("When,half,supply_air_temp", lambda t, i: f"{t:%d-%m-%Y %I:%M},{t:%p},{i}", step=timedelta(hours=2)),
        {"time_format": "%d-%m-%Y %I:%M"}, SAT, {FIRST: 0, FIRST + 7 * 7_200_000: 7}),
    "words like halves of the day beside 24 hours": (
        table("time,shift,supply_air_temp", lambda t, i: f"{t},{'AM' if i % 2 else 'PM'},{i}", step=timedelta(hours=2)), {},
        SAT,
        {FIRST: 0, FIRST + 7 * 7_200_000: 7}),
    "times of a spreadsheet": (
        table("Date,Time,supply_air_temp", lambda t, i: f"{t:%Y-%m-%d},1899-12-30{t: %H:%M:%S},55"), {}, SAT,
        {FIRST + 900_000: 55}),
    "digits to the second": (
        table("date,time,supply_air_temp", lambda t, i: f"{t:%Y%m%d},{t:%H%M%S},55"), {}, SAT, {FIRST + 900_000: 55}),
    "fractions behind digits": ("time,supply_air_temp\n20240301000000.125,55\n20240301000001.5,56\n", {}, SAT,
                                {FIRST + 125: 55, FIRST + 1500: 56}),
    "microseconds to the millisecond": (
        "time,supply_air_temp\n1709251200123000,55\n1709251200457000,56\n", {}, SAT, {FIRST + 123: 55, FIRST + 457: 56}),
    "hours of a given format": (
        table("time,supply_air_temp", lambda t, i: f"{t:%Y%m%d%H},{i}", step=timedelta(hours=1)),
        {"time_format": "%Y%m%d%H"}, SAT, {FIRST + 3_600_000: 1}),
    "dates of weeks": (
        "time,supply_air_temp\n2024-W09-5T00:00:00,55\n2020-W53-7T00:00:00,56\n2024-W01-1T00:00:00,57\n", {}, SAT,
        {FIRST: 55, parse_instant("2021-01-03"): 56, parse_instant("2024-01-01"): 57}),
    "dates a month apart, several readings each, of a given format": (
        table("time,supply_air_temp", lambda t, i: f"{t:%Y-%d-%m %H:%M:%S},{i}", step=timedelta(hours=6)),
        {"time_format": "%Y-%d-%m %H:%M:%S"}, SAT, {FIRST + 4 * 86_400_000: 16}),
    "seconds with an exponent and all digits that are not zero": (
        table("time,supply_air_temp", lambda t, i: f"{f'{1709251200 + 900 * i:.9e}'.rstrip('e+09').rstrip('0')}e+09,{i}"),
        {}, SAT, {FIRST + 900_000: 1}),
    "local times beside UTC": (
        table("Time (Local),Time (UTC),supply_air_temp", lambda t, i: f"{t - timedelta(hours=5)},{t},{i}"), {}, SAT,
        {FIRST: 0, FIRST + 900_000: 1}),
    "local times beside UTC, in other words": (
        table("local_time,utc_time,supply_air_temp", lambda t, i: f"{t - timedelta(hours=5)},{t},{i}"), {}, SAT, {FIRST: 0}),
    "times without a zone beside UTC": (
        table("timestamp,DateTimeUTC,supply_air_temp", lambda t, i: f"{t - timedelta(hours=5)},{t},{i}"), {}, SAT,
        {FIRST: 0}),
    "UTC beside the local times of a timezone that is given": (
        table("timestamp_utc,timestamp_local,supply_air_temp", lambda t, i: f"{t},{t - timedelta(hours=5)},{i}"),
        {"timezone": "America/New_York"}, SAT, {FIRST: 0}),
    "dates and times of day, local and UTC": (
        table("Date (Local),Time (Local),Date (UTC),Time (UTC),supply_air_temp",
              lambda t, i: f"{t - timedelta(hours=5):%Y-%m-%d,%H:%M},{t:%Y-%m-%d,%H:%M},{i}"), {}, SAT, {FIRST: 0}),
    "local times of a timezone that is given": (
        table("Timestamp (Local),supply_air_temp", lambda t, i: f"{t},{i}"), {"timezone": "America/New_York"}, SAT,
        {FIRST + 5 * 3_600_000: 0}),
    "local times with offsets": (
        table("local_time,supply_air_temp", lambda t, i: f"{t}-05:00,{i}"), {}, SAT, {FIRST + 5 * 3_600_000: 0}),
    "dates a month apart": (
        table("time,supply_air_temp", lambda t, i: f"{2023 + i // 12}-{i % 12 + 1:02d}-01 06:00,{i}"), {}, SAT,
        {FIRST + 6 * 3_600_000: 14}),
    "numbers with decimal comma and exponent": (
        table("time;supply_air_temp", lambda t, i: f"{t};5,525E+01"), {}, SAT, {FIRST: 55.25}),
    "thousands beside decimal commas": (
        table("time;supply_air_temp;fan_speed", lambda t, i: f"{t};55,25;1.020"), {}, "fan_speed", {FIRST: 1020}),
    "three decimals": (
        table("time,fan_current", lambda t, i: f"{t},{1 + i / 1000:.3f}"), {}, "fan_current", {FIRST + 900_000: 1.001}),
    "words with their numbers": (
        table("time,compressor_status", lambda t, i: f"{t},{['0 - Off', '1 - On'][i % 2]}"), {}, STATUS,
        {FIRST: 0, FIRST + 900_000: 1}),
    "a label of Prometheus": (
        table('time,"fan_speed {device=""RTU-1""}"', lambda t, i: f"{t},900"), {}, "fan_speed", {FIRST: 900}),
    "names, units and kinds of a logger": (
        '"TOA5","CR1000"\n"TIMESTAMP","RECORD","supply_air_temp"\n"TS","RN","Deg C"\n"","","Avg"\n'
        '"2024-03-01 00:00:00",0,12.5\n"2024-03-01 00:15:00",1,12.5\n', {}, SAT, {FIRST: 54.5}),
    "series with object values": (
        table("Time,Object Name,Object Value", lambda t, i: f"{t},supply_air_temp,55"), {}, SAT, {FIRST: 55}),
    "lists of readings by metric": (json.dumps({metric: [{"ts": FIRST, "value": value}]
                                                for metric, value in ((SAT, "55.1"), ("return_air_temp", "72"))}),
                                    {}, "return_air_temp", {FIRST: 72}),
    "a grid of Haystack 3": (
        json.dumps({"meta": {"ver": "3.0"}, "cols": [{"name": "ts"}, {"name": "v0", "id": f"r:p:1 {SAT}"}],
                    "rows": [{"ts": "t:2024-03-01T00:00:00-05:00 New_York", "v0": "n:12.5 °C"}]}), {}, SAT,
        {FIRST + 18_000_000: 54.5}),
    "a grid of Haystack 4": (
        json.dumps({"_kind": "grid", "cols": [{"name": "ts"}, {"name": SAT, "meta": {"unit": "°C"}}],
                    "rows": [{"ts": {"_kind": "dateTime", "val": "2024-03-01T00:00:00Z", "tz": "UTC"},
                              SAT: {"_kind": "number", "val": 12.5}}]}), {}, SAT, {FIRST: 54.5}),
    "a good word of Metasys": (
        table("time,supply_air_temp,Reliability", lambda t, i: f"{t},55,Reliable"), {"status_column": "Reliability"}, SAT,
        {FIRST: 55}),
    "a column with its device": (table("time,AHU1 SAT", lambda t, i: f"{t},12.5"),
                                 {"columns": {"AHU1 SAT": {"metric": SAT, "unit": "°C", "device": "RTU-1"}}}, SAT,
                                 {FIRST: 54.5}),

}  # fmt: skip


@pytest.mark.parametrize("kind", READ)
def test_a_kind_is_read(tmp_path: Path, kind: str) -> None:
    content, mapping, metric, expected = READ[kind]
    path = tmp_path / "a.file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found, refusals, _ = read(path, mapping, "rooftop_unit")
    series = found["RTU-1", metric]
    assert {at: series.get(at) for at in expected} == pytest.approx(expected)
    assert refusals.first == []


ASKED: dict[str, tuple[str, dict[str, Any], str]] = {
    "columns with times of their own": (
        table("Time,return_air_temp,Time,supply_air_temp", lambda t, i: f"{t},72,{t + timedelta(minutes=7)},55"), {},
        "columns 'Time' and 'Time (2)' hold different times, in line 2 '2024-03-01 00:00:00' and '2024-03-01 00:07:00'"),
    "events of a trend log": (
        table("Timestamp,Type,supply_air_temp", lambda t, i: f"{t},{'log-status,1' if i % 5 == 0 else 'real-value,55'}"), {},
        "give status_column: 'Type' in the map, with good_status: ['real-value']"),
    "the least and the most of a temperature": (
        table("time,supply_air_temp Min,supply_air_temp Max", lambda t, i: f"{t},50,60"), {},
        "no column matches a metric"),
    "times of day alone": (table("time,supply_air_temp", lambda t, i: f"{t:%H:%M},55"), {}, "times of day without a date"),
    "dates that are rows of a day": (
        table("date,supply_air_temp", lambda t, i: f"{t:%Y-%m-%d},55"), {}, "several rows of one date"),
    "days in either order": (
        table("date,supply_air_temp", lambda t, i: f"{i % 12 + 1:02d}/03/2024,55"), {}, "--day-first or --month-first"),
    "small numbers": (
        table("time,supply_air_temp", lambda t, i: f"{i},55"),
        {}, "0 of 20 times in column 'time' could be read, first '0'"),
    "years before 2000": (
        table("time,supply_air_temp", lambda t, i: f"{315532800 + i},55"), {}, "0 of 20 times in column 'time'"),
    "thousands or decimals": (
        table("time,fan_speed", lambda t, i: f'{t},"1,200"'), {}, "numbers in column 'fan_speed' such as '1,200'"),
    "no unit of the kind": (
        table("time,Supply Air Temp (kW)", lambda t, i: f"{t},5"), {}, "unit 'kW' does not measure what '°F' does"),
    "an unknown unit": (
        table("time,Supply Air Temp (smoot)", lambda t, i: f"{t},5"), {}, "unit 'smoot' of the header is not known"),
    "two columns of one name": (
        table("time,supply_air_temp,supply_air_temp", lambda t, i: f"{t},5,6"), {}, "are both supply_air_temp"),
    "a time in a zone of its header": (
        table("Time (EST),supply_air_temp", lambda t, i: f"{t},5"), {}, "'EST', which is no timezone for"),
    "a value of no metric": (table("Timestamp,Value", lambda t, i: f"{t},5"), {}, "does not say which metric it holds"),
    "decimal commas between commas": (
        table("time,supply_air_temp", lambda t, i: f"{t},5,5"), {}, "line 2 has 3 cells where the header has 2"),
    "no header": (table("", lambda t, i: f"{t},55").lstrip(), {}, "no line looks like a header"),
    "an empty column": (table("time,supply_air_temp", lambda t, i: f"{t},"), {}, "column 'supply_air_temp' is empty"),
    "a zone of the world": (
        table("time,supply_air_temp", lambda t, i: f"{t} America/New_York,5"), {}, "--timezone America/New_York"),
    "a header that contradicts the timezone": (
        table("timestamp (UTC),supply_air_temp", lambda t, i: f"{t},5"), {"timezone": "America/New_York"}, "--timezone UTC"),
    "percent of a fan's turns": (
        table("time,Fan Speed (%)", lambda t, i: f"{t},45"), {}, "'%' does not measure what 'rpm' does"),
    "percent before the name": (table("time,% Fan Speed", lambda t, i: f"{t},45"), {},
        "'%' does not measure what 'rpm' does"),
    "percent of on and off": (
        table("time,Compressor Status %", lambda t, i: f"{t},45"), {}, "'%' does not measure what is on or off"),
    "words of a position": (
        table("time,economizer_damper_position", lambda t, i: f"{t},{['Open', 'Closed'][i % 2]}"), {},
        "states: {WORD: NUMBER}"),
    "words for a speed": (table("time,fan_speed", lambda t, i: f"{t},{['true', 'false'][i % 2]}"), {}, "first 'true'"),
    "words whose numbers contradict usage": (
        table("time,compressor_status", lambda t, i: f"{t},{['(1) Off', '(2) On'][i % 2]}"), {}, "states: {WORD: NUMBER}"),
    "points of thousands between semicolons": (
        table("time;fan_speed", lambda t, i: f"{t};{1.0 + i / 1000:.3f}".replace("1.000", "1.100")), {}, "such as '1.100'"),
    "points of thousands beside hundreds": (
        table("time,fan_speed", lambda t, i: f"{t},{['980', '1.020'][i % 2]}"), {}, "'1.020' can have a decimal point"),
    "hours without halves of the day": (
        table("time,supply_air_temp", lambda t, i: f"{t:%Y-%m-%d %I:%M},5"), {}, "time_column: [DATE, TIME, AM_PM]"),
    "hours without halves of the day, newest first": (
        table("time,supply_air_temp", lambda t, i: f"{START - i * 4 * STEP:%Y-%m-%d %I:%M},5"), {}, "AM or PM"),
    "cells with and without a unit": (
        table("time,supply_air_temp", lambda t, i: f"{t},12.8{' °C' if i % 2 else ''}"), {},
        "units: {'supply_air_temp': UNIT}"),
    "rows with and without a unit": (
        table("time,point,value,unit", lambda t, i: f"{t},supply_air_temp,12.8,{'degC' if i % 2 else ''}"), {},
        "units: {'supply_air_temp': UNIT}"),
    "series taken for one": (
        table("Zone,Time,Value", lambda t, i: f"{'AB'[i % 2]}x,{START + i // 2 * STEP},{i}"), {"metric": SAT},
        "metric_column: 'Zone' and value_column: 'Value'"),
    "series that nothing names": (
        table("Zone,Time,Value", lambda t, i: f"{'AB'[i % 2]}x,{START + i // 2 * STEP},{i}"), {},
        "metric_column: 'Zone' and value_column: 'Value'"),
    "bad quality": (
        table("time,supply_air_temp,quality", lambda t, i: f"{t},5,{['Good', 'Bad'][i % 2]}"), {},
        "status_column: 'quality'"),
    "numbers of quality": (
        table("time,supply_air_temp,quality", lambda t, i: f"{t},5,{[192, 0][i % 2]}"), {"status_column": "quality"},
        "good_status: [NUMBER]"),
    "another unit below the header again": (
        table("time,supply_air_temp\n,degC", lambda t, i: "time,supply_air_temp\n,degF" if i == 9 else f"{t},5"), {},
        "line 13 gives 'supply_air_temp' the unit 'degF', where the first header has 'degC'"),
    "other names below other names": (
        table("time,supply_air_temp,fan_speed", lambda t, i: "Timestamp,a,b" if i == 9 else f"{t},5,6"), {},
        "line 11 is another header, with 'Timestamp', 'a', 'b'"),
    "another header further on": (
        table("time,fan_speed,supply_air_temp", lambda t, i: "time,fan_current,supply_air_temp" if i == 9 else f"{t},5,6"),
        {},
        "line 11 is another header, with 'fan_current'"),
    "digits of date and time in ten": (table("time,supply_air_temp", lambda t, i: f"{t:%y%m%d%H%M},5"), {}, "%y%m%d%H%M"),
    "ten digits that are seconds too": (
        table("time,supply_air_temp", lambda t, i: f"{t.replace(year=2017):%y%m%d%H%M},5"), {}, "%y%m%d%H%M"),
    "a date for each day only": (
        table("Date,Time,supply_air_temp", lambda t, i: f"{'' if i else t.date()},{t:%H:%M:%S},5"), {},
        "19 of 20 rows in columns 'Date and Time' have a time of day and no date"),
    "lists of other things": (
        json.dumps({name: [{"ts": FIRST, name: 1}] for name in "ab"}), {}, "several lists of objects, 'a', 'b'"),
    "a field that stands twice": ('{"ts": 1709251200, "fan_speed": 1, "fan_speed": 2}\n', {}, "'fan_speed' stands twice"),
    "line protocol": ("fan_speed,device=RTU-1 value=55 1709251200000000000\n", {}, "line protocol of InfluxDB"),
    "an error of InfluxDB": (
        "#datatype,string,string\n#group,true,true\n#default,,\n,error,reference\n,no bucket,8\n", {},
        "an error that InfluxDB"),
    "an unknown unit in a row of units": (
        "time;fan_speed;power_consumption\n-;rpm;smoot\n2024-03-01 00:00;;5\n2024-03-01 00:15;;5\n", {},
        "'smoot' is not known"),
    "quality beside its point": (
        table("time,supply_air_temp,supply_air_temp_status", lambda t, i: f"{t},5,{['ok', 'fault'][i % 2]}"), {},
        "status_columns: {'supply_air_temp': 'supply_air_temp_status'}"),
    "quality beside its point, in brackets": (
        table("time,supply_air_temp (°F),supply_air_temp (Status)", lambda t, i: f"{t},5,{['ok', 'fault'][i % 2]}"), {},
        "status_columns: {'supply_air_temp (°F)': 'supply_air_temp (Status)'}"),
    "validity of its point as numbers": (
        table("time,supply_air_temp,supply_air_temp_valid", lambda t, i: f"{t},5,{i % 2}"), {},
        "status_columns: {'supply_air_temp': 'supply_air_temp_valid'}"),
    "quality of the second point": (
        table("time,supply_air_temp,return_air_temp,supply_air_temp_q,return_air_temp_q", lambda t, i: f"{t},5,6,good,bad"),
        {"status_columns": {SAT: "supply_air_temp_q"}}, "status_columns: {'return_air_temp': 'return_air_temp_q'}"),
    "numbers of quality beside a point": (
        table("time,supply_air_temp,x", lambda t, i: f"{t},5,{[192, 0][i % 2]}"), {"status_columns": {SAT: "x"}},
        "good_status: [NUMBER]"),
    "more columns than a time has": (
        table("Date,h,n,s,half,zone,supply_air_temp", lambda t, i: f"{t:%Y-%m-%d,%I,%M,%S,%p},EST,5"),
        {"time_column": ["Date", "h", "n", "s", "half", "zone"]}, "in place of TIME, and 6 are given"),
    "an unknown unit of a map": (
        table("time,supply_air_temp,return_air_temp", lambda t, i: f"{t},5,6"), {"units": {SAT: "degX"}},
        "the map gives column 'supply_air_temp' a unit that is not known, 'degX'"),
    "times of day with no date anywhere": (
        table("time,supply_air_temp", lambda t, i: f"{t:%H:%M},55"), {}, "else write the date in each row"),
    "averages": (
        table("time,supply_air_temp_avg (°C)", lambda t, i: f"{t},5"), {}, "{'supply_air_temp_avg (°C)': supply_air_temp}"),
    "averages behind the unit": (
        table("time,supply_air_temp [°C] avg", lambda t, i: f"{t},5"), {}, "{'supply_air_temp [°C] avg': supply_air_temp}"),
    "shares without a unit": (
        table("time,supply_air_humidity", lambda t, i: f"{t},0.5{i:02}"), {}, "units: {'supply_air_humidity': fraction}"),
    "shares without a unit in a long file": (
        table("time,point,value", lambda t, i: f"{t},supply_air_humidity,0.5"), {}, "lie from 0 to 1, the largest is 0.5"),
    "shares with decimal commas": (
        table("time;supply_air_humidity", lambda t, i: f"{t};0,5{i:02}"), {}, "lie from 0 to 1, the largest is 0.519"),
    "a valve that is open or closed": (
        table("time,heating_valve_position", lambda t, i: f"{t},{i % 2}"), {},
        "are 0 or 1, and no unit says whether they are fractions of 1, off and on, or percent"),
    "percent in cells beside numbers that may be fractions": (
        table("time,supply_air_humidity", lambda t, i: f"{t},{f'0.4{i % 9}' if i % 2 else f'4{i % 9}%'}"), {},
        "has values in %, and 10 that name no unit and lie from 0 to 1"),
    "percent in cells and in the header beside numbers that may be fractions": (
        table("time,supply_air_humidity (%)", lambda t, i: f"{t},{'0.42' if i == 7 else '41%'}"), {},
        "has values in %, and 1 that name no unit"),
    "percent in some rows of a column of units": (
        table("time,point,value,unit", lambda t, i: f"{t},supply_air_humidity,{'0.42,' if i % 3 else '41,%'}"), {},
        "has values in %, and 13 that name no unit"),
    "percent whose unit says shares": (
        table("time,supply_air_humidity [-]", lambda t, i: f"{t},55"), {}, "which says fractions of 1, and values up to 55"),
    "rows of an hour each in a long file": (
        table("Date,HE,metric,value", lambda t, i: f"{t:%Y-%m-%d},{i % 24 + 1},supply_air_temp,{50 + i % 7}"), {},
        "several rows of one date of one metric; name the column of the time of day too"),
    "rows of an hour each of several devices": (
        table("Date,HE,device,supply_air_temp", lambda t, i: f"{t:%Y-%m-%d},{i % 24 + 1},RTU-{i % 2},{50 + i % 7}"), {},
        "several rows of one date of one device"),
    "hours of 1 to 24": (
        table("Date,Hour,supply_air_temp", lambda t, i: f"{t:%Y-%m-%d},{i + 5},55", step=timedelta(0)), {},
        "hours in column 'Hour' go from 5 to 24, and nothing says whether a value is of the beginning or of the end"),
    "a unit in another encoding": (
        table("time,outdoor_air_temp(¡æ)", lambda t, i: f"{t},12.5"), {},
        "is not known; give it in the map: units: {'outdoor_air_temp(¡æ)': UNIT}"),
    "a unit in other letters": (
        table("time,outdoor_air_temp (摄氏)", lambda t, i: f"{t},12.5"), {}, "unit '摄氏' of the header is not known"),
    "a unit of what is not there": (
        table("time,supply_air_temp", lambda t, i: f"{t},55"), {"units": {"SAT": "°C"}},
        "the map gives units of 'SAT', which the file has neither as columns nor as metrics"),
    "a column of the timezone": (
        table("time,timezone,supply_air_temp", lambda t, i: f"{t},America/New_York,55"), {},
        "give --timezone America/New_York"),
    "a column of zones that are none": (
        table("time,timezone,supply_air_temp", lambda t, i: f"{t},zone 4,55"), {}, "'zone 4' is none that is known"),
    "a timezone below the table": (
        table("time,supply_air_temp", lambda t, i: f"{t},55") + "Time Zone: America/New_York\n", {},
        "line 22 says 'Time Zone: America/New_York', and nothing else says of which zone the times are"),
    "a zone of Windows above the header": (
        "Time zone: (UTC-05:00) Eastern Time (US & Canada)\n" + table("time,supply_air_temp", lambda t, i: f"{t},55"), {},
        "which is no timezone for certain"),
    "a unit in the header and another one in the cells": (
        table("time,outdoor_air_temp (°F)", lambda t, i: f"{t},15 °C"), {},
        "has °F in its header and °C in 20 of its cells; where the cells are right, give units"),
    "a unit above several metrics": (
        "Units: °C\n" + table("time,outdoor_air_temp,supply_air_temp", lambda t, i: f"{t},10,12"), {},
        "a line above the header says '°C', and nothing says of which columns"),
    "two units of one column": (
        table("time,OAT", lambda t, i: f"{t},10"),
        {"columns": {"OAT": "outdoor_air_temp"}, "units": {"OAT": "°C", "outdoor_air_temp": "°F"}}, "leave one of them out"),
    "what was made of the values of a day": (
        table("Date,metric,statistic,value",
              lambda t, i: f"2024-03-{1 + i // 2:02d},supply_air_temp,{'max' if i % 2 else 'min'},5{i % 7}"), {},
        "where 'statistic' tells them apart ('max', 'min'), import the rows of one of them alone"),
    "flags of BACnet": (
        table("time,supply_air_temp,StatusFlags", lambda t, i: f"{t},55,{'F;T;F;F' if i == 9 else 'F;F;F;F'}"), {},
        "good_status: ['F;F;F;F'] for what good rows have"),
    "AM of hours above 12": (
        table("time,supply_air_temp", lambda t, i: f"03/15/2024 {t + timedelta(hours=11):%H:%M} AM,55"), {},
        "say AM of hours above 12, first '03/15/2024 13:00 AM'"),
    "PM in the afternoon alone": (
        table("time,supply_air_temp", lambda t, i: f"03/15/2024 {i % 12 + 1}:00{' PM' if i > 11 else ''},55"), {},
        "8 times in column 'time' say AM or PM and 12 don't"),
    "hours from one to another": (
        table("Day,Slot,supply_air_temp", lambda t, i: f"{t:%Y-%m-%d},{i:02d}:00-{i + 1:02d}:00,55", step=timedelta(0)),
        {"time_column": ["Day", "Slot"]}, "different offsets, as spans do that are written from one time to another"),
    "an abbreviation above the header": (
        "Times are in EST\n\n" + table("time,supply_air_temp", lambda t, i: f"{t},55"), {},
        "said by a line above the header to be in 'EST', which is no timezone for certain"),
    "a timezone above the header that is not the one that is given": (
        "Time Zone: America/New_York\n\n" + table("time,supply_air_temp", lambda t, i: f"{t},55"),
        {"timezone": "Europe/Berlin"}, "--timezone America/New_York"),
    "local times of no place": (
        table("Timestamp (Local),supply_air_temp", lambda t, i: f"{t},5"), {}, "local ones, as its header says"),
    "local times of no place, in other words": (
        table("Date,LocalTime,supply_air_temp", lambda t, i: f"{t:%Y-%m-%d,%H:%M},5"), {}, "give --timezone AREA/CITY"),
    "UTC in front, against the timezone": (
        table("UTC Time,supply_air_temp", lambda t, i: f"{t},5"), {"timezone": "America/New_York"}, "--timezone UTC"),
    "days that a spreadsheet took for months, beside those that it left": (
        table("time,supply_air_temp", lambda t, i: f"{t:%Y-%d-%m %H:%M:%S},5" if t.day < 13 else f"{t:%d/%m/%Y %H:%M},5",
              step=timedelta(days=1)), {}, "12 such as '2024-01-03 00:00:00' and 8 such as '13/03/2024 00:00'"),
    "days that a spreadsheet took for months, as numbers": (
        table("time,supply_air_temp", lambda t, i: f"{45294 + 30.5 * i},5" if i < 12 else f"{t:%d/%m/%Y %H:%M},5",
              step=timedelta(days=2)), {}, "has times of 2 kinds"),
    "days that a spreadsheet took for months, all of them": (
        table("time,supply_air_temp", lambda t, i: f"{t:%Y-%d-%m %H:%M:%S},5", step=timedelta(hours=6)), {},
        "'%Y-%d-%m %H:%M:%S' where they are swapped"),
    "seconds that a spreadsheet rounded": (
        table("time,supply_air_temp", lambda t, i: f"{1709251200 + 900 * i:.5E},5"), {}, "'1.70925E+09', are rounded"),
    "milliseconds that a spreadsheet rounded": (
        table("time,supply_air_temp", lambda t, i: f"{1709251200000 + 900_000 * i:.5E},5"), {}, "are rounded"),
    "seconds that were rounded before they were written in full": (
        table("time,supply_air_temp", lambda t, i: f"{float(f'{1709251200 + 9000 * i:.5E}'):.0f},5"), {}, "are rounded"),
    "digits of date and time that a spreadsheet rounded": (
        table("time,supply_air_temp", lambda t, i: f"{float(f'{t:%Y%m%d%H%M}'):.5E},5"), {}, "'2.02403E+11', are rounded"),
    "bytes that are no text": ("\0" * 600, {}, "its first lines hold 600 NUL bytes"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ASKED)
def test_a_kind_is_asked_about_with_its_cause(tmp_path: Path, kind: str) -> None:
    text, mapping, says = ASKED[kind]
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ImportRefusedError) as refused:
        read(tmp_path / "a.csv", mapping, "rooftop_unit")
    assert says in str(refused.value)


REFUSED: dict[str, tuple[str, dict[str, Any], int, tuple[int, str, str, str]]] = {
    "a column that was too narrow": (
        table("time,supply_air_temp", lambda t, i: f"{t if i else '#######'},{55 if i else '####'}"), {}, 1,
        (2, "time", "#######", "not a time like the others of the column")),
    "an event of a trend log": (
        table("Timestamp,Type,supply_air_temp", lambda t, i: f"{t},{'real-value,55' if i else 'log-status,1'}"),
        {"status_column": "Type", "good_status": ["real-value"]}, 1, (2, "Type", "log-status", "its status is not good")),
    "a value that was too wide": (
        table("time,supply_air_temp", lambda t, i: f"{t},{55 if i else '####'}"), {}, 1,
        (2, SAT, "####", "the spreadsheet's column was too narrow to show it")),
    "words among numbers": (table("time,supply_air_temp", lambda t, i: f"{t},{'No Data' if i == 3 else 5}"), {}, 1,
                            (5, SAT, "No Data", "not a number")),
    "a decimal comma among points": (
        "time,supply_air_temp\n" + "".join(
            f"{START + i * STEP}," + ('"55,1"' if i == 3 else "55.2") + "\n" for i in range(100)), {}, 1,
        (5, SAT, "55,1", "not a number")),
    "a state of PI in the place of a number": (
        json.dumps({"Items": [
            {"Timestamp": f"2024-03-01T{i:02}:00:00Z", "Value": 55 if i else {"Name": "Bad", "Value": 255}, "Good": i > 0}
            for i in range(9)]}),
        {"metric": SAT, "ignore": ["Good"]}, 1, (1, "Value", "Bad", "not a number")),
    "a line that is no JSON": (
        '{bad json\n' + "".join(json.dumps({"time": str(START + i * STEP), SAT: 55}) + "\n" for i in range(20)), {}, 1,
        (1, "", "{bad json",
         "not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)")),
    "a last line of JSON that is cut": (
        "".join(json.dumps({"time": str(START + i * STEP), SAT: 55}) + "\n" for i in range(3)) + '{"time"', {}, 1,
        (4, "", '{"time"', "not JSON: Expecting ':' delimiter: line 1 column 8 (char 7)")),
    "a value whose own status is bad": (
        table("time,supply_air_temp,return_air_temp,q", lambda t, i: f"{t},5,6,{'fault' if i == 3 else 'ok'}"),
        {"status_columns": {SAT: "q"}}, 1, (5, SAT, "5.0", "its status is 'fault'")),
    "a status": (
        table("Timestamp,Status,Value (°F)", lambda t, i: f"{t},{{{'fault' if i == 3 else 'ok'}}},5"), {"metric": SAT}, 1,
                 (5, "Status", "{fault}", "its status is not good")),
    "a column of errors": (table("time,supply_air_temp,return_air_temp", lambda t, i: f"{t},#REF!,5"), {}, 20,
        (0, SAT, "#REF!", "0 of 20 values could be read: all are errors of a spreadsheet, first '#REF!'")),
    "a local time that there is not": (
        "time,supply_air_temp\n2024-03-31 01:45,5\n2024-03-31 02:15,5\n2024-03-31 03:00,5\n",
        {"timezone": "Europe/Berlin"}, 1,
        (3, "time", "2024-03-31 02:15", "a local time that clocks leave out")),
    "a unit that does not fit, in one row": (
        "time,point,value,unit\n2024-03-01 00:00,supply_air_temp,5,degC\n2024-03-01 00:15,supply_air_temp,5,kW\n", {}, 1,
        (3, "value of supply_air_temp", "5", "unit 'kW' does not measure what '°F' does")),
    "a quote that is not closed": (
        table("time,note,supply_air_temp", lambda t, i: f"{t},{'' if i != 3 else chr(34)}x,{i}"), {}, 1,
        (5, "", '2024-03-01 00:45:00,"x,3', "a quote opens and is not closed")),
    "a quote that a later row closes": (
        table("time,note,supply_air_temp", lambda t, i: f"{t},{'x' if i not in (3, 9) else chr(34) + 'x'},{i}".replace(
            '"x,9', '"x",9')), {}, 1,
        (5, "", '2024-03-01 00:45:00,"x,3', "a quote opens and is not closed")),
    "bytes that are no text": (
        table("time,supply_air_temp", lambda t, i: f"{t},5") + "\0" * 4096, {}, 1,
        (22, "", "4096 NUL bytes", "bytes that are no text")),
    "a temperature that is off": (
        table("time,supply_air_temp", lambda t, i: f"{t},{'Off' if i == 3 else 5}"), {}, 1, (5, SAT, "Off", "not a number")),
    "a unit that does not fit, in one cell": (
        table("time,fan_speed", lambda t, i: f"{t},{'1.2K' if i == 3 else 900}"), {}, 1,
        (5, "fan_speed", "1.2K", "unit 'K' does not measure what 'rpm' does")),
    "half of a date of digits": (
        table("time,supply_air_temp", lambda t, i: f"{t:%Y%m%d}{'.5' if i == 3 else ''},5", step=timedelta(days=1)), {}, 1,
        (5, "time", "20240304.5", "not a time like the others of the column")),
    "a last line about the report": (table("time,supply_air_temp", lambda t, i: f"{t},5") + "\nTotal rows: 20\n", {}, 1,
                                     (23, "time", "Total rows: 20", "not a time like the others of the column")),
    "a number beyond all numbers": (table("time,supply_air_temp", lambda t, i: f"{t},{'1e400' if i == 3 else 5}"), {}, 1,
                                    (5, SAT, "1e400", "not a finite number")),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_is_named(tmp_path: Path, kind: str) -> None:
    text, mapping, count, first = REFUSED[kind]
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    _, refusals, _ = read(tmp_path / "a.csv", mapping, "rooftop_unit")
    (one,) = refusals.first
    assert (refusals.count, (one.line, one.column, one.value, one.reason)) == (count, first)


def test_a_header_further_on_says_the_order_of_the_rows_below_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        table("time,supply_air_temp,return_air_temp", lambda t, i: f"{t},55,72" if i < 9 else f"{t},72,55").replace(
            "2024-03-01 02:15:00", "time,return_air_temp,supply_air_temp\n2024-03-01 02:15:00"
        )
    )
    found, refusals, _ = read(tmp_path / "a.csv", {}, "rooftop_unit")
    assert set(found["RTU-1", SAT].values()) == {55}
    assert set(found["RTU-1", "return_air_temp"].values()) == {72}
    assert [(one.line, one.reason) for one in refusals.first] == [(11, "the header again")]


@pytest.mark.parametrize(
    ("header", "ditto"),
    [
        ("time,supply_air_temp,return_air_temp", '{time},",{value}'),
        ("time,return_air_temp,supply_air_temp", '{time},{value},"'),
        ("time,supply_air_temp,return_air_temp", '",55,{value}'),
        ("time,supply_air_temp,fan_speed,return_air_temp", '{time},",",{value}'),
    ],
)
def test_ditto_marks_move_no_value_to_another_row_or_column(tmp_path: Path, header: str, ditto: str) -> None:
    columns = header.split(",")
    rows = []
    for i in range(ROWS):
        at = START + i * STEP
        values = {"time": str(at), "return_air_temp": str(70 + i), SAT: "55", "fan_speed": "900"}
        is_whole = i % 5 == 0
        rows.append(",".join(values[name] for name in columns) if is_whole else ditto.format(time=at, value=70 + i))
    (tmp_path / "a.csv").write_text("\n".join([header, *rows]) + "\n")
    found, refusals, reading = read(tmp_path / "a.csv", {}, "rooftop_unit")
    assert found["RTU-1", "return_air_temp"] == {FIRST + i * 900_000: 70.0 + i for i in range(0, ROWS, 5)}
    assert [one.line for one in refusals.first] == [i + 2 for i in range(ROWS) if i % 5]
    assert reading.rows == ROWS


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_stay_numbered_behind_cells_with_line_ends_and_open_quotes_far_into_a_file(
    tmp_path: Path, end: str
) -> None:
    rows = [f'{START + i * timedelta(seconds=1)},"a ""b""",{i}' for i in range(60_000)]
    rows[40_000] = rows[40_000].replace('"a ""b"""', '"a')
    rows[50_000] = rows[50_000].replace("a ", f"a{end}{end}")
    rows[50_001] += "x"
    (tmp_path / "a.csv").write_bytes(end.join(["time,note,supply_air_temp", *rows]).encode())
    found, refusals, reading = read(tmp_path / "a.csv", {}, "rooftop_unit")
    assert [(one.line, one.value[-7:]) for one in refusals.first] == [
        (40_002, "a,40000"),
        (50_005, "50001x"),
    ]
    assert (len(found["RTU-1", SAT]), reading.rows) == (59_998, 60_000)


@pytest.mark.parametrize(
    ("clock", "told"),
    [(("00:30", "01:30", "02:30"), "there once"), (("00:30", "01:30", "01:30", "02:30"), "which pass")],
)
def test_the_hour_that_clocks_repeat_is_told_as_it_was_resolved(
    tmp_path: Path, clock: tuple[str, ...], told: str
) -> None:
    (tmp_path / "a.csv").write_text("time,fan_speed\n" + "".join(f"2024-11-03 {at},1\n" for at in clock))
    assert told in read(tmp_path / "a.csv", {"timezone": "America/New_York"}, "rooftop_unit")[2].notes[0]


def test_a_misspelled_type_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table("time,supply_air_temp", lambda t, i: f"{t},5"))
    assert "perhaps rooftop_unit" in read(tmp_path / "a.csv", {}, "rooftop_unt")[2].notes[0]


def test_times_that_jump_back_are_told(tmp_path: Path) -> None:
    rows = table("time,supply_air_temp", lambda t, i: f"{t},55")
    (tmp_path / "a.csv").write_text(rows + rows.partition("\n")[2])
    assert read(tmp_path / "a.csv", {}, "rooftop_unit")[2].notes == ["times jump back 1 times, first in line 22"]


def test_each_series_of_a_long_file_passes_the_repeated_hour_for_itself(tmp_path: Path) -> None:
    clock = ("00:30", "01:00", "01:30", "01:00", "01:30", "02:00")
    rows = [f"{d},2024-11-03 {at},{m},1" for at in clock for d in "AB" for m in (SAT, "return_air_temp")]
    (tmp_path / "a.csv").write_text("\n".join(["device,time,point,value", *rows]))
    found, _, _ = read(tmp_path / "a.csv", {"timezone": "America/New_York"}, "rooftop_unit")
    first = parse_instant("2024-11-03T04:30:00Z")
    assert {tuple(series) for series in found.values()} == {tuple(first + i * 1_800_000 for i in range(6))}
    assert len(found) == 4


def test_an_unknown_type_takes_all_numbers_with_their_own_units(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table("time,Flow (l/min),State,Remark", lambda t, i: f"{t},5,On,ok"))
    found, _, reading = read(tmp_path / "a.csv", {}, "mystery")
    assert {(metric, series[FIRST]) for (_, metric), series in found.items()} == {("flow", 5.0), ("state", 1.0)}
    assert {use.metric: use.unit for use in reading.of.uses.values()} == {"flow": "l/min", "state": ""}
    assert reading.of.left_out == {"Remark": "no numbers, first 'ok'"}


def test_a_percent_that_is_always_below_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table("time,supply_air_humidity (%)", lambda t, i: f"{t},0.5"))
    (note,) = read(tmp_path / "a.csv", {}, "rooftop_unit")[2].notes
    assert "lie from 0 to 1" in note
    assert "where they are fractions of 1, give units" in note


@pytest.mark.parametrize(
    ("header", "value", "says"),
    [
        ("supply_air_temp", "12.8", "20 of 20 values of column 'supply_air_temp' lie outside"),
        ("supply_air_temp", "12.8", "they would be right in °C: units: {'supply_air_temp': '°C'}"),
        ("supply_air_temp (°F)", "-459", "what supply_air_temp can be"),
    ],
)
def test_values_that_cannot_be_are_told_with_the_unit_in_which_they_can(
    tmp_path: Path, header: str, value: str, says: str
) -> None:
    (tmp_path / "a.csv").write_text(table(f"time,{header}", lambda t, i: f"{t},{value}"))
    (note,) = read(tmp_path / "a.csv", {}, "rooftop_unit")[2].notes
    assert says in note


@pytest.mark.parametrize("written", ["%A, %B %d, %Y %H:%M", "%d. %b %Y %H:%M"])
def test_the_report_says_that_months_are_named(tmp_path: Path, written: str) -> None:
    (tmp_path / "a.csv").write_text(table("time;supply_air_temp", lambda t, i: f"{t.strftime(written)};55"))
    description = read(tmp_path / "a.csv", {}, "rooftop_unit")[2].of.times.description
    assert description.startswith(f"dates with a named month, such as {START.strftime(written)!r}")
