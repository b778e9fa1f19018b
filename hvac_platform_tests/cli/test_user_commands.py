"""Users as an operator adds, lists and revokes them."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from hvac_platform.access.passwords import user_of
from hvac_platform.access.users import user_of_token, users
from hvac_platform.cli.main import app
from hvac_platform.stores.base import Device
from hvac_platform.timestamps import parse_instant


def hvac(*arguments, given=None):
    return CliRunner().invoke(app, list(arguments), input=given)


def test_a_user_gets_a_token_that_is_printed_alone_and_once(platform):
    platform.store.register_devices([Device("CH-001", "chiller", "roof", "north", 0, 1, 0)])
    added = hvac("users", "add", "ana", "--role", "operator", "--building", "north")
    token = added.stdout.strip()
    assert added.exit_code == 0
    assert "need a token" in added.stderr
    found = user_of_token(users(platform.store), token)
    assert (found.name, found.role, found.buildings) == ("ana", "operator", ["north"])
    listed = hvac("users", "list", "--json")
    (row,) = json.loads(listed.stdout)
    assert (row["name"], row["role"], row["buildings"], row["revoked"]) == ("ana", "operator", ["north"], None)
    assert parse_instant(row["added"]) > 0
    assert token not in listed.stdout + hvac("users", "list").stdout
    assert hvac("users", "revoke", "ana").exit_code == 0
    assert user_of_token(users(platform.store), token) is None


def test_refusals_say_what_there_is(platform):
    platform.store.register_devices([Device("CH-001", "chiller", "roof", "north", 0, 1, 0)])
    assert "no users" in hvac("users", "list").stdout
    assert hvac("users", "add", "ana", "--role", "king").exit_code == 2
    assert "buildings with devices: north" in str(hvac("users", "add", "ana", "--building", "south").exception)
    assert "there are none" in str(hvac("users", "revoke", "ana").exception)


def test_a_password_is_asked_for_twice_or_read_from_standard_input(platform):
    hvac("users", "add", "ana")
    mistyped = hvac("users", "password", "ana", given="seven white chillers\nseven white chiller\n" * 2)
    assert mistyped.exit_code != 0
    assert users(platform.store)[0].password_argon2 is None
    asked = hvac("users", "password", "ana", given="seven white chillers\n" * 2)
    assert asked.exit_code == 0
    assert user_of(users(platform.store), "ana", "seven white chillers") is not None
    assert "seven" not in asked.output
    assert hvac("users", "password", "ana", "--stdin", given="another password\n").exit_code == 0
    assert user_of(users(platform.store), "ana", "another password") is not None
    listed = hvac("users", "list", "--json")
    assert json.loads(listed.stdout)[0]["password"] is True
    assert "argon2" not in listed.stdout
    assert "12 to 1,000 characters" in str(hvac("users", "password", "ana", "--stdin", given="short\n").exception)
    assert "no user 'ben': ana" in str(hvac("users", "password", "ben", "--stdin", given="x\n").exception)
