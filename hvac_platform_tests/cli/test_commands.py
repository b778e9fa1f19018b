"""The `hvac` command line, as a person and as a script use it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from devtools import PROJECT_ROOT
from hvac_platform.cli import streaming
from hvac_platform.cli.main import app, main
from hvac_platform.config import Settings, load_settings
from hvac_platform.runtime.connections import open_log
from hvac_platform.timestamps import DAY_MS, now_ms
from hvac_platform_tests.conftest import NOON_MS, reading

COMMANDS = [
    [],
    *[
        [name]
        for name in (
            "simulate",
            "import",
            "ingest",
            "check",
            "verify",
            "lag",
            "detect",
            "compare",
            "replay",
            "similar",
            "up",
        )
    ],
    ["degradation"],
    ["demo"],
    ["dashboard"],
    ["schema"],
    ["schema", "show"],
    ["schema", "apply"],
    ["profiles"],
    ["profiles", "build"],
    ["profiles", "list"],
    ["profiles", "show"],
    ["profiles", "history"],
    ["profiles", "rollback"],
    ["profiles", "promote"],
]
FLEET = "RTU-001:rooftop_unit,CH-001:chiller"
MESSAGES = 29 * 1440


def hvac(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def as_json(*arguments: str) -> Any:
    result = hvac(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A day of two devices, the second half of it faulty on one, ingested."""
    home = tmp_path_factory.mktemp("cli")
    shutil.copy(PROJECT_ROOT / "dagster.yaml", home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HVAC_HOME", str(home))
        patch.chdir(home)
        done = hvac(
            *("simulate", "--devices", FLEET, "--interval", "60", "--start", "2026-06-10", "--end", "2026-06-11"),
            *("--seed", "5", "--labels", "faults.json"),
        )
        assert done.exit_code == 0, done.output
        assert f"{MESSAGES} messages" in done.stdout
        assert json.loads((home / "faults.json").read_text()) == []
        assert sum(row["lag"] for row in as_json("lag")) == MESSAGES
        done = hvac("ingest")
        assert done.exit_code == 0, done.output
        assert f"ingested {MESSAGES} messages" in done.stdout
        yield home


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c) or "hvac")
def test_every_command_explains_itself(command: list[str]) -> None:
    result = hvac(*command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout
    assert len(result.stdout.splitlines()) > 4


def test_the_ledger_and_the_group_stand_at_the_end_after_ingestion(ingested: Path) -> None:
    rows = as_json("lag")
    assert [row["lag"] for row in rows] == [0, 0, 0]
    assert all(row["committed"] in (row["end"], None) for row in rows)
    assert "ingested 0 messages in 0 runs" in hvac("ingest").stdout


def test_verify_counts_rows_gaps_and_freshness(ingested: Path) -> None:
    rows = {row["device"]: row for row in as_json("verify")}
    assert set(rows) == {"RTU-001", "CH-001"}
    assert rows["RTU-001"]["readings"] == 14 * 1440
    assert rows["CH-001"]["snapshots"] == 1440
    assert rows["CH-001"]["without_embedding"] == rows["CH-001"]["gaps"] == 0
    assert rows["CH-001"]["age_seconds"] > 86_400


def test_dead_letters_are_told_with_reason_count_and_example(home: Path) -> None:
    settings = load_settings()
    bad = [reading(metric="supply_air_temp", value=1.0, unit=unit) for unit in ("kW", "smoots", "smoots")]
    open_log(settings).append(settings.kafka_topic, [reading(), *bad, (None, b"{", NOON_MS)])
    assert hvac("ingest").exit_code == 0
    told = hvac("verify").stdout
    assert "dead letters: 4" in told
    assert "unit 'smoots' is not known, the unit of supply_air_temp" in told
    device, others = as_json("verify")
    assert [(one["count"], one["example"][:13]) for one in device["dead_letters"]] == [
        (2, "unit 'smoots'"),
        (1, "unit 'kW' doe"),
    ]
    assert others["device"] is None
    assert [one["count"] for one in others["dead_letters"]] == [1]
    (state,) = [row["state"] for row in as_json("check", "--wait", "0") if row["part"] == "dead letters"]
    assert state.startswith("4 in the last hour, 2 of them such as RTU-001: unit 'smoots' is not known")


def test_trends_need_days_and_say_so(ingested: Path) -> None:
    result = hvac("trends")
    assert result.exit_code == 1
    assert "CH-001: 1 whole day in the last 30, 10 are needed to see degradation" in result.stderr


def test_check_passes_on_a_healthy_installation(ingested: Path) -> None:
    rows = as_json("check")
    assert {row["part"] for row in rows} >= {"store", "schema", "message log", "encoder", "device types"}
    assert all(row["ok"] for row in rows)


def test_check_names_the_file_of_a_wrong_device_type_once_and_blames_nothing_else(
    ingested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "heat_pump.yaml").write_text("{name: heat_pump, points: [{name: a, normal: [9, 1]}]}")
    monkeypatch.setenv("HVAC_DEVICE_TYPES", str(tmp_path))
    result = hvac("check", "--json", "--wait", "0")
    assert result.exit_code == 1
    first, *others = json.loads(result.stdout)
    assert first["part"] == "device types"
    assert "heat_pump.yaml: points[a].normal" in first["state"]
    assert first["what_to_do"].startswith("correct that file")
    failed = [row for row in others if not row["ok"]]
    assert [(row["part"], row["what_to_do"]) for row in failed] == [("store", "see device types")]
    assert {row["part"] for row in others} == {"store", "message log"}  # the rest can't be asked without a store


def test_schema_is_shown_and_applied_again_without_effect(ingested: Path) -> None:
    shown = {row["table"] for row in as_json("schema", "show")}
    assert shown >= {"device_metrics_raw", "device_state_snapshots", "device_profiles", "anomaly_events"}
    assert "nothing to do" in hvac("schema", "apply").stdout
    assert "nothing to do" in hvac("schema", "apply", "--dry-run").stdout


def test_learn_judge_compare_and_look_up_the_past(ingested: Path) -> None:
    assert hvac("profiles", "show", "CH-001").exit_code == 1
    built = as_json("profiles", "build", "--until", "2026-06-10T12:00")
    assert {row["device"]: row["snapshots"] for row in built} == {"CH-001": 720, "RTU-001": 720}
    assert all(row["snapshots"] == 720 for row in as_json("profiles", "list"))
    assert {m["metric"] for m in as_json("profiles", "show", "CH-001")["metrics"]} >= {"cop", "power_consumption"}
    assert [(v["version"], v["state"]) for v in as_json("profiles", "history", "CH-001")] == [(1, "present")]
    gone_back = hvac("profiles", "rollback", "CH-001")
    assert gone_back.exit_code == 1
    assert "CH-001 has no version to go back to; there are: 1 (present)" in str(gone_back.exception)
    unrecorded = as_json("detect", "--from", "2026-06-10T12:00", "--until", "2026-06-11", "--no-record")
    assert as_json("compare") == []
    recorded = as_json("detect", "--from", "2026-06-10T12:00", "--until", "2026-06-11")
    assert recorded == unrecorded
    only_rules = as_json("detect", "--method", "rules", "--from", "2026-06-10T12:00", "--until", "2026-06-11")
    assert all(row["methods"] == ["rules"] for row in only_rules)
    rows = as_json("compare", "--device", "CH-001")
    assert [row["method"] for row in rows] == ["rules", "profile", "vector", "consensus", "any_method"]
    assert all(row["windows"] == 720 for row in rows)
    strict = as_json(
        *("detect", "--from", "2026-06-10T12:00", "--until", "2026-06-11", "--no-record"),
        *("--sigma-threshold", "0.5", "--similarity-threshold", "0.99999"),
    )
    assert len(strict) > len(recorded)
    found = as_json("similar", "--device", "CH-001", "--at", "2026-06-10T20:00", "--limit", "3")
    assert len(found["similar"]) == 3
    assert found["similar"][0]["cosine"] >= found["similar"][-1]["cosine"] > 0.5
    assert found["window"].startswith("2026-06-10T20:00")
    assert set(found["similar"][0]["metrics"]) >= {"cop"}
    assert "seen" in hvac("similar", "--device", "CH-001").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["simulate", "--devices", "RTU-001", "--duration", "1"], "RTU-001"),
        (["simulate", "--devices", "X:teapot", "--duration", "1"], "teapot"),
        (["simulate", "--start", "yesterday"], "ISO 8601"),
        (["simulate", "--start", "2026-01-02", "--end", "2026-01-01"], "not after"),
        (["simulate", "--anomaly-devices", "NOPE", "--duration", "1"], "NOPE"),
        (["simulate", "--fleet-size", "2", "--devices", "RTU-001:rooftop_unit"], "one of"),
        (["detect", "--devices", "NOPE"], "known devices"),
        (["detect", "--from", "noon"], "ISO 8601"),
        (["detect", "--method", "magic"], "rules"),
        (["compare", "--device", "NOPE"], "known devices"),
        (["similar", "--device", "CH-001", "--at", "2001-01-01"], "its data run from"),
        (["profiles", "show", "NOPE"], "known devices"),
        (["import", "missing.csv", "--device-type", "chiller"], "missing.csv"),
    ],
)
def test_a_wrong_argument_is_said_in_words(
    ingested: Path, arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["hvac", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code not in (0, None)
    said = capsys.readouterr()
    text = " ".join((said.out + said.err).replace("│", " ").split())
    assert says in text
    assert "Traceback" not in text


def test_a_bad_setting_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HVAC_WINDOW_SECONDS", "soon")
    monkeypatch.setattr("sys.argv", ["hvac", "lag"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "HVAC_WINDOW_SECONDS='soon'" in said[0]


def test_too_little_data_says_what_to_do(ingested: Path) -> None:
    result = hvac("profiles", "build", "--devices", "CH-001", "--until", "2026-06-10T00:03")
    assert result.exit_code == 1
    assert "5 are needed" in " ".join(result.output.split())


def test_history_that_kafka_would_delete_at_once_is_warned_of(monkeypatch):
    said = []
    monkeypatch.setattr(streaming.errors, "print", lambda text, **_: said.append(text))
    week = Settings(kafka_bootstrap_servers="broker:9092", kafka_retention_days=7)
    streaming._warn_of_retention(week, now_ms() - 6 * DAY_MS)
    streaming._warn_of_retention(Settings(kafka_bootstrap_servers=""), 0)
    assert said == []
    streaming._warn_of_retention(week, now_ms() - 8 * DAY_MS)
    assert "older than KAFKA_RETENTION_DAYS=7" in said[0]
    assert "retention.ms" in said[0]
