"""Cells mean something: people see seconds and per cent, programs RFC 3339 and numbers."""

from __future__ import annotations

import json

import pytest

from hvac_platform.cli.output import Share, at, in_precision, print_rows

ROWS = [{"device": "a", "from": at(1_700_000_000_000), "rate": Share(0.125), "none": at(None), "near": [Share(1.0)]}]


def test_programs_read_times_as_rfc_3339_and_shares_as_numbers(capsys):
    print_rows(ROWS, as_json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert row == {"device": "a", "from": "2023-11-14T22:13:20Z", "rate": 0.125, "none": None, "near": [1.0]}


def test_people_read_seconds_and_per_cent(capsys):
    print_rows(ROWS, as_json=False, title="T")
    said = capsys.readouterr().out
    assert "2023-11-14 22:13:20Z" in said
    assert "12.5%" in said


@pytest.mark.parametrize(
    ("value", "said"),
    [(1.8e6, "1,800,000"), (1.421e-14, "0"), (0.00001234, "0.00001234"), (float("inf"), "inf"), (-70.0, "-70")],
)
def test_no_number_is_shown_as_a_power_of_ten(value, said):
    assert in_precision(value) == said
