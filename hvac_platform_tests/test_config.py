"""Settings: whatever a variable or .env says, it is taken, or refused in one line that names it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hvac_platform.config import ConfigError, Settings, load_settings

NUMBERS = {name: field for name, field in Settings.model_fields.items() if field.annotation in (int, float)}
HOSTILE = (
    "nan",
    "inf",
    "-inf",
    "-1",
    "9e19",
    "1e400",
    "9" * 400,
    "ten",
    "1,5",
    "0x10",
    "\x1b[31m",
    "1\n2",
    "–1",
    "1 2",
)


def said_of(text: str, name: str) -> str:
    """What is said of a hostile value: one line with the variable in it, and not too long."""
    with pytest.raises(ConfigError) as refusal:
        load_settings()
    message = str(refusal.value)
    assert message.startswith(f"{name.upper()}="), text
    assert message.isprintable()
    assert len(message) < 400
    return message


def test_there_are_numbers_to_try():
    assert len(NUMBERS) >= 12


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_that_makes_no_sense_is_refused_in_one_line_that_names_it(home, monkeypatch, name, text):
    monkeypatch.setenv(name.upper(), text)
    said_of(text, name)


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_a_largest_value(name):
    bounds = [bound for bound in NUMBERS[name].metadata if hasattr(bound, "le")]
    assert bounds, f"{name} has no upper bound"


@given(st.sampled_from(sorted(Settings.model_fields)), st.text(max_size=40).filter(lambda text: "\0" not in text))
@example("hvac_start_date", "2999-01-01")
@example("hvac_start_date", "0001-01-01")
@example("kafka_topic", "a\nb")
@example("hvac_home", "x" * 5000)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
def test_any_text_in_any_variable_is_taken_or_refused_in_one_line(home, name, text):
    with pytest.MonkeyPatch.context() as patch:
        try:
            patch.setenv(name.upper(), text)
        except UnicodeEncodeError:  # no environment can hold it
            return
        said = ""
        try:
            load_settings()
        except ConfigError as error:
            said = str(error)
        assert said.isprintable()
        assert len(said) < 400


@pytest.mark.parametrize("days", [1, 1000])
def test_a_start_date_in_the_future_is_refused(home, monkeypatch, days):
    monkeypatch.setenv("HVAC_START_DATE", (datetime.now(tz=UTC).date() + timedelta(days=days)).isoformat())
    assert "must lie between 2000-01-01 and today" in said_of("", "hvac_start_date")


def test_today_may_be_the_start_date(home, monkeypatch):
    today = datetime.now(tz=UTC).date()
    monkeypatch.setenv("HVAC_START_DATE", today.isoformat())
    assert load_settings().hvac_start_date in {today, date.today()}  # noqa: DTZ011 - either side of a midnight


def test_a_password_is_never_part_of_what_is_said(home, monkeypatch):
    monkeypatch.setenv("SCYLLA_PASSWORD", "top\nsecret")
    assert "secret" not in said_of("", "scylla_password")


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\x00H\x00V", bytes(range(256)) * 8, b"\x7fELF\x02\x01\x01" + b"\x90" * 100, b"HVAC_HOME=\x80\n"],
    ids=["UTF-16", "all bytes", "a program", "one byte"],
)
def test_a_binary_env_file_is_refused_in_one_line_that_names_it(home, content):
    Path(".env").write_bytes(content)
    with pytest.raises(ConfigError, match=r"\.env: not a text file in UTF-8") as refusal:
        load_settings()
    assert str(refusal.value).isprintable()


def test_what_env_says_is_refused_as_what_the_environment_says(home):
    Path(".env").write_text("HVAC_PROFILE_DAYS_BACK=inf\n")
    said_of("", "hvac_profile_days_back")


def test_the_bounds_are_told(home, monkeypatch):
    monkeypatch.setenv("HVAC_ALLOWED_LATENESS_SECONDS", "9000000")
    assert re.search(r"less than or equal to 2592000", said_of("", "hvac_allowed_lateness_seconds"))
