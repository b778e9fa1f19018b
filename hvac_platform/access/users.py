"""Users of the dashboard's server and their tokens, of which the store has the hash alone.

A token is 256 random bits, so its SHA-256 needs no salt and no slow hash: nobody guesses it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from hvac_platform.access.roles import Role
from hvac_platform.stores.base import Store, StoreError
from hvac_platform.stores.records import User

ALL = "all"
TOKEN_PREFIX, TOKEN_BYTES = "hvac_", 32
"""The prefix lets those who look for secrets in files find them."""
LONGEST_TOKEN, LONGEST_NAME = 200, 64
NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._@-]{{0,{LONGEST_NAME - 1}}}")


class UserError(StoreError):
    """What was asked of a user can't be done; the message says why."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks.

    Attributes:
        name: of the user; of nobody in particular where the platform has no users.
        role: what they may do.
        buildings: ids of the buildings that they see; None for the whole site.
    """

    name: str
    role: Role
    buildings: frozenset[str] | None = None


ANYBODY = Person("", Role.VIEWER)
"""Who reaches a server of a platform without users: they read everything."""


def add_user(store: Store, name: str, role: Role, buildings: Collection[str] | None, at_ms: int) -> str:
    """Add a user, or give one that was revoked a new beginning; returns the token, which is nowhere else.

    Args:
        store: keeps users.
        name: letters, digits, dots, dashes, underscores and @, at most 64.
        role: what they may do.
        buildings: what they see; None for the whole site.
        at_ms: the present.

    Raises:
        UserError: the name can't be one or is taken, or a building has no device.
    """
    if not NAME.fullmatch(name):
        raise UserError(f"{name[:80]!r} can't be a user's name: letters, digits and ._@- only, at most 64")
    known = {user.name: user for user in users(store)}
    if name in known and known[name].revoked_at is None:
        raise UserError(f"there is a user {name} already: hvac users revoke {name}, then add them again")
    there = {device.building_id for device in store.devices()}
    strange = sorted(set(buildings or ()) - there)
    if strange:
        named = ", ".join(sorted(filter(None, there))) or "none yet"
        raise UserError(f"no device is in a building {', '.join(strange)}; buildings with devices: {named}")
    token = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    kept = User(ALL, name, str(role), None if buildings is None else sorted(buildings), digest(token), at_ms, None)
    store.upsert(User.TABLE, User.columns([kept]))
    return token


def revoke_user(store: Store, name: str, at_ms: int) -> None:
    """End a user's access; their name stays in the history of what they did.

    Raises:
        UserError: there is no such user, or no longer.
    """
    require_user(store, name)
    store.update(User.TABLE, {"scope": [ALL], "name": [name], "revoked_at": [at_ms]})


def require_user(store: Store, name: str) -> None:
    """Check that there is such a user, who is let in.

    Raises:
        UserError: there isn't, or no longer.
    """
    let_in = [user.name for user in users(store) if user.revoked_at is None]
    if name not in let_in:
        raise UserError(f"no user {name[:80]!r}: {', '.join(let_in) or 'there are none'}")


def users(store: Store) -> list[User]:
    """All users by name, revoked ones too."""
    return sorted(User.read(store, equals={"scope": ALL}), key=lambda user: user.name)


def user_of_token(known: Collection[User], token: str) -> User | None:
    """Whose token it is, or None; takes as long whoever it is."""
    if len(token) > LONGEST_TOKEN:
        return None
    sought, found = digest(token), None
    for user in known:
        if hmac.compare_digest(user.token_sha256, sought) and user.revoked_at is None:
            found = user
    return found


def person(user: User) -> Person:
    """A user as somebody who asks."""
    return Person(user.name, Role(user.role), None if user.buildings is None else frozenset(user.buildings))


def digest(token: str) -> str:
    """SHA-256 of a token, hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()
