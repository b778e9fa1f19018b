"""Users as an operator adds, lists and revokes them."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from hvac_platform.access.users import person_of, users
from hvac_platform.cli.main import app
from hvac_platform.stores.base import Device
from hvac_platform.timestamps import parse_instant


def hvac(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_a_user_gets_a_token_that_is_printed_alone_and_once(platform):
    platform.store.register_devices([Device("CH-001", "chiller", "roof", "north", 0, 1, 0)])
    added = hvac("users", "add", "ana", "--role", "operator", "--building", "north")
    token = added.stdout.strip()
    assert added.exit_code == 0
    assert "need a token" in added.stderr
    found = person_of(users(platform.store), token)
    assert (found.name, str(found.role), found.buildings) == ("ana", "operator", {"north"})
    listed = hvac("users", "list", "--json")
    (row,) = json.loads(listed.stdout)
    assert (row["name"], row["role"], row["buildings"], row["revoked"]) == ("ana", "operator", ["north"], None)
    assert parse_instant(row["added"]) > 0
    assert token not in listed.stdout + hvac("users", "list").stdout
    assert hvac("users", "revoke", "ana").exit_code == 0
    assert person_of(users(platform.store), token) is None


def test_refusals_say_what_there_is(platform):
    platform.store.register_devices([Device("CH-001", "chiller", "roof", "north", 0, 1, 0)])
    assert "no users" in hvac("users", "list").stdout
    assert hvac("users", "add", "ana", "--role", "king").exit_code == 2
    assert "buildings with devices: north" in str(hvac("users", "add", "ana", "--building", "south").exception)
    assert "there are none" in str(hvac("users", "revoke", "ana").exception)
