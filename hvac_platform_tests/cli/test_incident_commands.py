"""`hvac incidents` and `hvac suppressions`, as people and scripts use them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from hvac_platform.cli.main import app
from hvac_platform.runtime.connections import open_store
from hvac_platform_tests.monitoring.faults import Clock, anomalous, heard, minute, replace_settings

SINCE = "2025-03-01"
DEVICES = ["CH-001", "CH-002", "CH-003"]
FIRST = f"CH-001/{minute(60)}"


def hvac(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def done(*arguments: str) -> str:
    result = hvac(*arguments)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def as_json(*arguments: str) -> Any:
    return json.loads(hvac(*arguments, "--json").stdout)


@pytest.fixture
def store(home, monkeypatch):
    """Three chillers; two have an open incident, one has one that is over."""
    monkeypatch.setenv("LOGNAME", "kim")
    opened = open_store(replace_settings())
    heard(opened, DEVICES, 0)
    anomalous(opened, "CH-001", range(60, 90))
    anomalous(opened, "CH-002", range(80, 90), "compressor off")
    anomalous(opened, "CH-003", range(5, 10))
    Clock(opened).look(91)
    return opened


def listed(*options: str) -> list[tuple[str, str, str | None]]:
    rows = as_json("incidents", "list", "--from", SINCE, *options)
    return [(row["incident"].split("/")[0], row["state"], row["assignee"]) for row in rows]


def test_what_needs_attention_comes_first(store):
    assert listed() == [("CH-002", "open", None), ("CH-001", "open", None), ("CH-003", "resolved", None)]
    second = f"CH-002/{minute(80)}"
    assert done("incidents", "ack", second, "--note", "on my way") == f"{second}: acknowledged"
    done("incidents", "assign", FIRST, "--to", "alex", "--by", "robin")
    assert listed() == [("CH-001", "open", "alex"), ("CH-002", "acknowledged", None), ("CH-003", "resolved", None)]
    assert listed("--state", "acknowledged,resolved") == [
        ("CH-002", "acknowledged", None),
        ("CH-003", "resolved", None),
    ]
    assert listed("--open", "--assignee", "alex") == [("CH-001", "open", "alex")]
    assert hvac("incidents", "list", "--state", "done").exit_code == 2


def test_show_has_the_history_with_who_and_when(store):
    done("incidents", "ack", FIRST, "--note", "on my way")
    done("incidents", "snooze", FIRST, "--hours", "2", "--by", "robin")
    done("incidents", "comment", FIRST, "the filter was clogged")
    done("incidents", "resolve", FIRST)
    done("incidents", "reopen", FIRST)
    done("incidents", "false-alarm", FIRST)
    done("incidents", "label", FIRST, "clogged filter")
    shown = done("incidents", "show", FIRST)
    for said in (
        "false alarm by kim",
        "acknowledged by kim: on my way",
        "snoozed until",
        "by robin",
        "commented by kim: the filter was clogged",
        "labelled: clogged filter by kim",
        "it was: clogged filter",
    ):
        assert said in shown
    found = as_json("incidents", "show", FIRST)
    assert found["handling"]["state"] == "false_alarm"
    assert [one["transition"] for one in found["history"]] == [
        *("opened", "acknowledged", "snoozed", "commented", "resolved", "reopened", "false_alarm", "labelled")
    ]


def test_what_is_not_possible_is_said_in_a_line_and_makes_the_exit_code_1(store):
    done("incidents", "resolve", FIRST)
    refused = hvac("incidents", "ack", FIRST, f"CH-002/{minute(80)}")
    assert refused.exit_code == 1
    assert f"{FIRST} was resolved by kim at" in refused.output
    assert f"CH-002/{minute(80)}: acknowledged" in refused.output
    unknown = hvac("incidents", "ack", "CH-001/1", f"CH-003/{minute(100)}")
    assert (unknown.exit_code, "no incident 'CH-001/1'" in unknown.output) == (1, True)
    for wrong in (
        ("ack", "CH-001/1"),
        ("ack", "nonsense"),
        ("ack", FIRST, "--by", "platform"),
        ("ack", FIRST, "--by", " "),
        ("snooze", FIRST),
        ("snooze", FIRST, "--hours", "1", "--until", "2030-01-01"),
        ("comment", FIRST, " "),
    ):
        assert hvac("incidents", *wrong).exit_code == 2, wrong


def test_a_parent_is_handled_with_its_children_unless_alone(store):
    heard(store, [f"RTU-{n}" for n in range(6)], 91)
    for n in range(6):
        anomalous(store, f"RTU-{n}", range(200, 210), metric="power_consumption")
    Clock(store).look(211)
    parent = f"RTU-0/{minute(200)}"
    assert done("incidents", "ack", parent, "--alone") == f"{parent}: acknowledged"
    assert done("incidents", "resolve", parent).endswith("resolved, and 5 that are part of it")
    assert "5 incidents of other devices are part of it" in done("incidents", "show", parent)
    assert f"part of {parent}" in done("incidents", "show", f"RTU-1/{minute(200)}")


def test_what_people_said_of_an_incident_that_was_taken_back_can_be_read(store):
    done("incidents", "comment", FIRST, "belt ordered")
    store.delete("anomaly_events", {"device_id": ["CH-001"] * 30, "detected_at": [minute(m) for m in range(60, 90)]})
    Clock(store).look(92)
    shown = done("incidents", "show", FIRST)
    assert "taken back" in shown
    assert "belt ordered" in shown
    document = as_json("incidents", "show", FIRST)
    assert document["handling"]["state"] == "taken_back"
    assert "belt ordered" in [one["note"] for one in document["history"]]
    assert hvac("incidents", "show", "CH-001/7").exit_code == 2


def test_suppressions_are_entered_counted_and_removed(store, tmp_path, monkeypatch):
    file = tmp_path / "suppressions.yaml"
    file.write_text("holidays: {national: [2026-12-25]}\nsuppressions: [{name: roof, building: roof}]\n")
    monkeypatch.setenv("HVAC_SUPPRESSIONS", str(file))
    options = (
        "--weekdays",
        "sat,sun",
        "--hours",
        "22:00-06:00",
        "--holidays",
        "national",
        "--timezone",
        "Europe/Berlin",
    )
    said = done("suppressions", "add", "weekends", "--device", "CH-*", *options, "--note", "closed")
    assert said == "weekends: sat, sun, national 22:00-06:00 (Europe/Berlin)"
    slips = hvac("suppressions", "add", "slip", "--device", "XX-*", "--building", "nowhere")
    assert slips.exit_code == 0
    assert "no device that is known fits 'XX-*'" in slips.stderr
    assert "no building that is known fits 'nowhere'" in slips.stderr
    done("suppressions", "remove", "slip")
    rows = {row["name"]: (row["entered_by"], row["suppressed"]) for row in as_json("suppressions", "list")}
    assert rows == {"roof": ("file", 0), "weekends": ("kim", 0)}
    for wrong, code in (
        (("add", "roof", "--device", "x"), 1),
        (("add", "x"), 1),
        (("add", "x", "--device", "x", "--hours", "9-17"), 1),
        (("remove", "roof"), 1),
        (("remove", "nothing"), 2),
    ):
        assert hvac("suppressions", *wrong).exit_code == code, wrong
    done("suppressions", "remove", "weekends")
    checked = {row["part"]: row for row in as_json("check")}
    assert (checked["suppressions"]["ok"], checked["suppressions"]["state"]) == (True, f"{file}: roof")
    file.write_text("suppressions: [{name: roof}]\n")
    checked = {row["part"]: row for row in as_json("check")}
    assert not checked["suppressions"]["ok"]
    file.write_text("suppressions: [{name: roof, building: roof}]\n")
    assert [row["name"] for row in as_json("suppressions", "list")] == ["roof"]


def test_show_says_what_an_incident_is_worth_and_why_what_is_unknown_is(store, tmp_path, monkeypatch):
    shown = done("incidents", "show", FIRST)
    assert "avoidable cost: not known: " in shown
    assert "comfort: not known: " in shown
    assert "maintenance risk: " in shown
    found = as_json("incidents", "show", FIRST)
    assert found["worth"]["unknown"].keys() == {"cost", "money", "comfort"}
    assert found["worth"]["avoidable_kwh_a_day"] is None
    assert found["urgency"] == pytest.approx(sum(found["urgency_parts"].values()), abs=0.11)
    assert found["savings"] is None
    monkeypatch.setenv("HVAC_TARIFFS", str(tmp_path / "gone.yaml"))
    assert done("incidents", "show", FIRST).count("avoidable cost") == 1
    checked = hvac("check", "--json")
    (row,) = [row for row in json.loads(checked.stdout) if row["part"] == "tariffs"]
    assert (row["ok"], "gone.yaml" in row["state"], "docs/worth.md" in row["what_to_do"]) == (False, True, True)
    (tmp_path / "gone.yaml").write_text("currency: EUR\nprice: 0.3\n")
    (row,) = [row for row in json.loads(hvac("check", "--json").stdout) if row["part"] == "tariffs"]
    assert row["state"].endswith("0.3 EUR a kWh, 0 periods")
