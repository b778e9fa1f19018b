"""docs/alerts.md: its files load, its commands bring a message to a phone, its verification verifies."""

from __future__ import annotations

import base64
import re

import pytest
from typer.testing import CliRunner

from hvac_platform.alerts.receivers.webhook import signature
from hvac_platform.alerts.tree import parse_tree
from hvac_platform.cli.main import app
from hvac_platform_tests.test_docs import PROJECT_ROOT, blocks_of

PAGE = PROJECT_ROOT / "docs/alerts.md"
FIRST, WHOLE = (block.text for block in blocks_of(PAGE) if block.language == "yaml")


@pytest.mark.parametrize("text", [FIRST, WHOLE])
def test_the_files_of_the_page_load(text):
    named = dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), "x")
    assert parse_tree(text, named).receivers


def test_the_first_file_brings_a_message_to_a_phone(home, http, monkeypatch):
    (home / "alerts.yaml").write_text(FIRST)
    typed = next(b.text for b in blocks_of(PAGE) if b.language == "console")
    assert "export HVAC_ALERTS=alerts.yaml NTFY_TOPIC=" in typed
    monkeypatch.setenv("HVAC_ALERTS", "alerts.yaml")
    monkeypatch.setenv("NTFY_TOPIC", f"127.0.0.1:{http.port}/hvac-7f3a9c0b")  # an ntfy of one's own
    for words in (["alerts", "test", "phone"], ["alerts", "test", "everything"]):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
    assert [taken.event["topic"] for taken in http.taken] == ["hvac-7f3a9c0b"] * 2
    assert "a test of the alerts" in http.taken[0].event["title"]


@pytest.mark.parametrize("secret", ["whsec_" + base64.b64encode(b"key").decode(), "abc123", "abc1"])
def test_the_verification_of_the_page_tells_genuine_from_forged(secret):
    (code,) = (block.text for block in blocks_of(PAGE) if block.language == "python")
    names = {}
    exec(code, names)
    body = b'{"a": 1}'
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": "7",
        "webhook-signature": signature(secret, "msg_1", 7, body),
    }
    assert names["is_genuine"](secret, headers, body)
    assert not names["is_genuine"](secret, headers, body + b" ")
