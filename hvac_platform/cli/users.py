"""Commands about who may use the dashboard and the API: ``users``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hvac_platform.access.passwords import set_password
from hvac_platform.access.roles import Role
from hvac_platform.access.users import add_user, require_user, revoke_user
from hvac_platform.access.users import users as all_users
from hvac_platform.cli.output import AsJson, at, console, errors, print_rows
from hvac_platform.config import load_settings
from hvac_platform.runtime.connections import open_store
from hvac_platform.timestamps import now_ms

users = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(help="Name of the user, such as ana or ana@example.com.", metavar="NAME")]


@users.command("add")
def add(
    name: Name,
    role: Annotated[
        Role,
        typer.Option(
            help="viewer: reads; operator: acts on incidents too, on their pages and by the API; admin: as operator."
        ),
    ] = Role.VIEWER,
    building: Annotated[
        list[str] | None, typer.Option(help="Building that they see, with this option several times; all when absent.")
    ] = None,
) -> None:
    """Add a user and print their token, which is shown this once.

    As soon as there is a user, nobody reads the dashboard or the API without a token.
    """
    store = open_store(load_settings())
    first = not all_users(store)
    token = add_user(store, name, role, building, now_ms())
    seen = f", who sees {', '.join(sorted(building))}" if building else ""
    errors.print(f"{name}, {role}{seen}. The token is shown this once; the store has its hash alone:")
    console.print(token, soft_wrap=True, highlight=False)
    if first:
        errors.print("From now on the dashboard and the API need a token; Dagster's pages are as they were.")


@users.command("list")
def list_users(as_json: AsJson = False) -> None:
    """All users, what they may do and see, and since when."""
    rows = [
        {
            "name": user.name,
            "role": user.role,
            "buildings": user.buildings if as_json else ", ".join(user.buildings or ["all"]),
            "added": at(user.added_at),
            "revoked": at(user.revoked_at),
            "password": user.password_argon2 is not None if as_json else "yes" if user.password_argon2 else "no",
        }
        for user in all_users(open_store(load_settings()))
    ]
    empty = "no users: who reaches the dashboard reads everything; hvac users add NAME"
    print_rows(rows, as_json=as_json, title="Users", empty=empty, narrow=("name", "role", "buildings"))


@users.command("revoke")
def revoke(name: Name) -> None:
    """End a user's access, within seconds."""
    revoke_user(open_store(load_settings()), name, now_ms())
    console.print(f"{name} is let in no longer")


@users.command("password")
def password(
    name: Name,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read it from the first line of standard input.")] = False,
) -> None:
    """Set a user's password, with which they log in beside their token; asks twice, and shows nothing.

    Sessions that were begun with the one before end within seconds.
    """
    store = open_store(load_settings())
    require_user(store, name)
    given = (
        sys.stdin.readline().rstrip("\r\n")
        if stdin
        else typer.prompt(f"Password of {name}", hide_input=True, confirmation_prompt="Again", err=True)
    )
    set_password(store, name, given)
    errors.print(f"{name} logs in with this name and password, or with their token")
