"""The file of prices: what is wrong is said with file, line, key and what would be right; without one there is no money."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devtools import PROJECT_ROOT
from hvac_platform.config import Settings
from hvac_platform.detection.tariffs import prices
from hvac_platform.monitoring.tariffs import (
    NO_FILE,
    TariffsFileError,
    current_tariffs,
    load_tariffs,
    parse_tariffs,
    usable_tariffs,
)

FILE = """
currency: EUR
timezone: Europe/Berlin
price: 0.28
periods:
  - {name: peak, days: mon-fri, from: "08:00", until: "20:00", months: nov-feb, price: 0.41}
  - {name: night, from: "22:00", until: "06:00", price: 0.19}
buildings:
  plant-us: {timezone: America/Chicago, price: 0.11, periods: []}
  annex: {price: 0.35}
"""
WINTER_NOON = np.array(
    [1_768_474_800_000]
)  # Thursday 2026-01-15 11:00 UTC: noon in Berlin, 5 in the morning in Chicago


def settings_of(path: Path | None, **more: object) -> Settings:
    return Settings(_env_file=None, hvac_tariffs=path, **more)  # type: ignore[call-arg, arg-type]


def test_a_building_has_what_it_does_not_say_from_the_site(tmp_path):
    path = tmp_path / "tariffs.yaml"
    path.write_text(FILE)
    tariffs = current_tariffs(settings_of(path))
    assert tariffs is not None
    assert (tariffs.currency, tariffs.price) == ("EUR", 0.28)
    assert prices(WINTER_NOON, *tariffs.of("anywhere")).tolist() == [0.41]
    assert prices(WINTER_NOON, *tariffs.of("plant-us")).tolist() == [0.11]
    assert prices(WINTER_NOON, *tariffs.of("annex")).tolist() == [0.41], "its periods are those of the site"
    assert prices(WINTER_NOON + 9 * 3_600_000, *tariffs.of("annex")).tolist() == [0.35]


@pytest.mark.parametrize(
    ("period", "told"),
    [
        ("{from: 8, until: 20, price: 1}", "in quotes"),
        ('{from: "08:00", until: 20, price: 1}', "in quotes"),
        ("{days: [], price: 1}", "no day is named"),
        ("{months: [], price: 1}", "no month is named"),
    ],
)
def test_hours_without_minutes_and_periods_that_never_hold_are_refused(tmp_path, period, told):
    path = tmp_path / "tariffs.yaml"
    path.write_text(f"currency: EUR\nprice: 0.3\nperiods:\n  - {period}\n")
    with pytest.raises(TariffsFileError, match=told):
        load_tariffs(path)


def test_where_no_timezone_is_said_it_is_that_of_the_file_of_alerts(tmp_path):
    path, alerts = tmp_path / "tariffs.yaml", tmp_path / "alerts.yaml"
    path.write_text(FILE.replace("timezone: Europe/Berlin\n", ""))
    alerts.write_text("timezone: Asia/Tokyo\nbuildings: {annex: {timezone: Europe/Paris}}\n")
    tariffs = current_tariffs(settings_of(path, hvac_alerts=alerts))
    assert tariffs is not None
    assert [str(tariffs.of(name)[1]) for name in ("hall", "annex", "plant-us")] == [
        *("Asia/Tokyo", "Europe/Paris", "America/Chicago")
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("price: 0.28\n", "", ["price", "is missing", "such as price: 0.28"]),
        ("price: 0.28\n", "price: cheap\n", ["line 4", "price", "number", "such as price: 0.28"]),
        ("price: 0.28\n", "price: -1\n", ["line 4", "greater than or equal to 0"]),
        ("price: 0.28\n", "price: .inf\n", ["line 4", "price"]),
        ("currency: EUR\n", "", ["currency", "is missing", "such as currency: EUR"]),
        (
            "currency: EUR\n",
            f"name: {'x' * 41}\ncurrency: EUR\n",
            ["line 2", "name", "40 printable characters at most"],
        ),
        ("currency: EUR\n", "currency: 12\n", ["line 2", "currency"]),
        ("EUR", "'[red]'", ["line 2", "letters or the sign of a currency"]),
        ("Europe/Berlin", "Europe/Bonn", ["line 3", "timezone", "Europe/Bonn"]),
        ("mon-fri", "monday", ["line 6", "periods[0].days", "'monday' is no day", "[mon-fri]"]),
        ("nov-feb", "winter", ["line 6", "periods[0].months", "'winter' is no month", "[nov-feb]"]),
        ('"08:00"', '"25:00"', ["line 6", "periods[0].from", "time of day", 'from: "08:00"']),
        ('"20:00"', '"08:00"', ["line 6", "periods[0]", "from and until are the same"]),
        ("price: 0.41", "prize: 0.41", ["line 6", "periods[0]"]),
        ("{price: 0.35}", "{price: 0.35, currency: USD}", ["line 10", "buildings.annex.currency", "no such key"]),
        ("buildings:", "houses:", ["line 8", "houses", "no such key", "docs/worth.md"]),
        (FILE, "[]", ["line 1", "must be a mapping"]),
        (FILE, "currency: [", ["not valid YAML"]),
        ("price: 0.28", "price: 0.28\nprice: 0.29", ["is repeated"]),
    ],
)
def test_what_is_wrong_is_said_with_file_line_key_and_what_would_be_right(tmp_path, old, new, said):
    path = tmp_path / "tariffs.yaml"
    assert old in FILE
    path.write_text(FILE.replace(old, new, 1))
    with pytest.raises(TariffsFileError) as refused:
        load_tariffs(path)
    for words in (str(path), *said):
        assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_and_none_at_all_are_told_apart(tmp_path):
    found, why = usable_tariffs(settings_of(None))
    assert (found, why) == (None, NO_FILE)
    assert "HVAC_TARIFFS" in why
    missing = tmp_path / "gone.yaml"
    with pytest.raises(TariffsFileError, match=r"gone\.yaml: No such file"):
        current_tariffs(settings_of(missing))
    found, why = usable_tariffs(settings_of(missing))
    assert found is None
    assert "gone.yaml" in why


def test_the_file_is_read_again_when_it_has_changed(tmp_path):
    path = tmp_path / "tariffs.yaml"
    path.write_text(FILE)
    settings = settings_of(path)
    first, again = current_tariffs(settings), current_tariffs(settings)
    assert first is not None
    assert again is not None
    assert first.written is again.written
    path.write_text(FILE.replace("price: 0.28", "price: 0.5"))
    os.utime(path, ns=(1, 1))
    changed = current_tariffs(settings)
    assert changed is not None
    assert changed.price == 0.5


def test_the_example_can_be_used():
    written = load_tariffs(PROJECT_ROOT / "docs" / "examples" / "tariffs.yaml")
    assert written.periods
    assert written.buildings


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=8), lambda c: st.lists(c, max_size=3)))
def test_any_price_is_taken_or_refused_in_one_line(value):
    said = ""
    try:
        parse_tariffs(f"currency: EUR\nprice: {json.dumps(value)}\n")
    except TariffsFileError as error:
        said = str(error)
    assert "\n" not in said
