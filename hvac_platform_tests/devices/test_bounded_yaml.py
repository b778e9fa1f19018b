"""YAML of people: what is wrong is told by its place and what to do, not in the parser's terms."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvac_platform.devices.bounded_yaml import TextRefusedError, load_yaml
from hvac_platform.monitoring.tariffs import TariffsFileError, load_tariffs

TERMS = re.compile(r"scanning|parsing|constructing|token|stream|block|mapping values|flow|scalar|<|unicode string")


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("a: 1\nb\nc: 2\n", "line 2, column 1", "has no 'key: value'"),
        ("price:0.12\nperiods: []\n", "line 2, column 8", "with a space, here and on the line above"),
        ("a: 1\n b: 2\n", "line 2, column 3", "indent lines of one group alike"),
        ("a: 1\n\tb: 2\n", "line 2, column 1", "indent with spaces"),
        ("a: @x\n", "line 1, column 4", "a text can't begin with @: put it in quotes"),
        ('a: "x\nb: 2\n', "line 1, column 4", "the quote that opens here is never closed"),
        ("a: [1, 2\nb: 3\n", "line 1, column 4", "lacks a comma or its ]"),
        ("a:\n- {name: x days: [mon]}\n", "line 2, column 3", "lacks a comma, a space behind a colon, or its }"),
        ("- a\nb: 1\n", "line 2, column 1", "doesn't continue what is above"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1", "delete the line ---"),
        ('a: "\\d"\n', "line 1, column 6", "\\d means nothing in double quotes"),
        ("a: !x 3\n", "line 1, column 4", "!x is a tag"),
        ("a: {{x}}\n", "line 1, column 5", "put a text that begins with [ or { in quotes"),
        ("a: 1\nb: \x07\n", "line 2, column 4", "a control character"),
        ("a: *b\n", "line 1, column 4", "stands for nothing"),
        ("a: 1\na: 2\n", "line 2, column 1", "key 'a' is repeated"),
        ("a: - b\n", "line 1, column 4", "begins a line of its own"),
        ("a: 2026-02-31\n", "line 1, column 4", "no date or number that there can be"),
        ("[" * 40, "line 1, column 31", "nested more than 30 levels deep"),
    ],
)
def test_a_fault_is_told_by_its_place_and_what_to_do(text: str, place: str, said: str) -> None:
    with pytest.raises(TextRefusedError) as refused:
        load_yaml(text)
    assert str(refused.value).startswith(f"not valid YAML: {place}: ")
    assert said in str(refused.value)
    assert not TERMS.search(str(refused.value))


@given(st.text(alphabet="ab:-[]{}\"'\n \t#&*!|>%@1", max_size=40))
def test_whatever_is_wrong_is_one_line(text: str) -> None:
    said = "not valid YAML: line 1, column 1: "
    try:
        load_yaml(text)
    except TextRefusedError as error:
        said = str(error)
    assert re.match(r"not valid YAML: line \d+, column \d+: ", said)
    assert "\n" not in said


def test_a_file_is_named_with_it(tmp_path) -> None:
    file = tmp_path / "tariffs.yaml"
    file.write_text("currency: EUR\nprice 0.28\n")
    with pytest.raises(TariffsFileError) as refused:
        load_tariffs(file)
    assert str(refused.value).startswith(f"{file}: not valid YAML: line 2, column 1: ")
