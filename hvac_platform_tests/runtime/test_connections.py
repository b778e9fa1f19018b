"""Which store and which log are opened: the first line of wiring whose setting is there."""

from __future__ import annotations

import pytest

from hvac_platform.config import load_settings
from hvac_platform.log.embedded import EmbeddedLog
from hvac_platform.runtime import connections
from hvac_platform.runtime.connections import LOGS, STORES, Wiring
from hvac_platform.stores.embedded import EmbeddedStore


def test_without_settings_store_and_log_are_files_in_the_home_folder(home):
    settings = load_settings()
    for opened in (connections.open_store(settings), connections.open_store_as_it_is(settings)):
        assert isinstance(opened, EmbeddedStore)
        assert opened.location == str(home / "store.db")
    for opened in (connections.open_log(settings), connections.open_log_as_it_is(settings)):
        assert isinstance(opened, EmbeddedLog)
        assert opened.path == home / "log.db"


def test_a_store_needs_one_line_of_wiring(home, tmp_path, monkeypatch):
    mine = EmbeddedStore(tmp_path / "mine.db")
    line = Wiring(lambda settings: settings.scylla_keyspace == "mine", lambda _: mine, lambda _: mine)
    monkeypatch.setattr(connections, "STORES", (line, *STORES))
    assert connections.open_store(load_settings()) is not mine
    monkeypatch.setenv("SCYLLA_KEYSPACE", "mine")
    assert connections.open_store(load_settings()) is mine
    assert connections.open_store_as_it_is(load_settings()) is mine
    mine.close()


def test_a_log_needs_one_line_of_wiring(home, tmp_path, monkeypatch):
    mine = EmbeddedLog(tmp_path / "mine.db")
    line = Wiring(lambda settings: settings.kafka_topic == "mine", lambda _: mine, lambda _: mine)
    monkeypatch.setattr(connections, "LOGS", (line, *LOGS))
    assert connections.open_log(load_settings()) is not mine
    monkeypatch.setenv("KAFKA_TOPIC", "mine")
    assert connections.open_log(load_settings()) is mine
    assert connections.open_log_as_it_is(load_settings()) is mine
    mine.close()


@pytest.mark.parametrize("wirings", [STORES, LOGS], ids=["stores", "logs"])
def test_the_last_line_takes_whatever_is_left(home, wirings):
    settings = load_settings()
    assert [bool(wiring.asked_for(settings)) for wiring in wirings] == [*[False] * (len(wirings) - 1), True]
