"""Cells mean something: people see seconds and per cent, programs RFC 3339 and numbers."""

from __future__ import annotations

import json

import pytest

from hvac_platform.cli import output
from hvac_platform.cli.output import Length, Share, at, in_precision, print_rows

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


WIDE = [
    {"device": f"RTU-{n}", "readings": 10 * n, "age": Length(90_000), **{f"more_{i}": "x" * 20 for i in range(6)}}
    for n in range(3)
]


def test_a_narrow_terminal_gets_a_line_a_row_of_the_columns_that_say_most_and_the_last_is_cut(capsys, monkeypatch):
    monkeypatch.setattr(output.console, "width", 30)
    print_rows(WIDE, as_json=False, title="Devices", narrow=("device", "age", "more_0"))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 30
    assert len([line for line in lines if "RTU-" in line]) == len(WIDE)
    assert any(line.rstrip().endswith("…") for line in lines)
    assert "6 more columns in a wider terminal, or with --json" in lines


def test_where_not_even_those_fit_rows_stand_one_below_the_other(capsys, monkeypatch):
    monkeypatch.setattr(output.console, "width", 20)
    print_rows(WIDE, as_json=False, narrow=("device", "age", "more_0", "more_1"))
    assert "  readings  20" in capsys.readouterr().out


def test_programs_read_lengths_of_time_as_seconds_under_a_name_that_says_so(capsys):
    print_rows(WIDE[:1], as_json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert row["age_seconds"] == 90
    assert "age" not in row


def test_names_from_messages_hide_nothing(capsys):
    row = {"device": "RTU\u202e1-\x1b[31m", "listed": ["a\u202eb", "two\nlines"], "building": "Köln 7"}
    print_rows([row], as_json=False, title="Devices of \u2066x")
    output.console.print("RTU\u202e-1 is retired\nand so is \x1b]0;title\x07")
    output.errors.print("no device \u202e")
    said = capsys.readouterr()
    assert not set(said.out + said.err) & set("\u202e\u2066\x1b\x07")
    assert "RTU\\u202e1-\\x1b[31m" in said.out
    assert "a\\u202eb; two\\nlines" in said.out
    assert "Köln 7" in said.out
    assert "RTU\\u202e-1 is retired\nand so is" in said.out
    assert "no device \\u202e" in said.err


def test_programs_read_names_as_they_are(capsys):
    print_rows([{"device": "RTU\u202e-1"}], as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"device": "RTU\u202e-1"}]
