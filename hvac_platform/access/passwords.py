"""Passwords of users, of which the store has the Argon2id alone: it takes so long and so much memory that few can be tried.

A password is guessed where a token of 256 random bits is not, so it is hashed slowly, one at a time in a process: however
many log in at once, they take 64 MB and one of the server's threads at work.
"""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Collection

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from hvac_platform.access.users import ALL, NAME, UserError, require_user
from hvac_platform.stores.base import Store
from hvac_platform.stores.records import User

LEAST_CHARACTERS, MOST_CHARACTERS = 12, 1_000
HASHER = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
NOBODYS = "$argon2id$v=19$m=65536,t=3,p=4$wlxJ2T9WbfZAr6Q1zDtqZw$GfUQPKM/3Im9kxxw8M/EGTrdogcHQ0X99FU2mN9jGUc"
"""What a password is compared with where there is none, so that the answer takes as long."""
WAIT_SECONDS = 2.0
_at_work = threading.Lock()


class BusyError(RuntimeError):
    """So many log in at once that this one would wait for too long."""


def set_password(store: Store, name: str, password: str) -> None:
    """Give a user a password, in place of the one that they had.

    Args:
        store: keeps users.
        name: of one who is let in.
        password: characters of any kind.

    Raises:
        UserError: there is no such user, or the password is too short, too long, their name or no text.
    """
    require_user(store, name)
    if not LEAST_CHARACTERS <= len(password) <= MOST_CHARACTERS:
        raise UserError(
            f"a password has {LEAST_CHARACTERS} to {MOST_CHARACTERS:,} characters, this one has {len(password)}"
        )
    if password.casefold() == name.casefold():
        raise UserError("a password that is the user's name is the first that is tried")
    try:
        kept = HASHER.hash(_normal(password))
    except UnicodeEncodeError:
        raise UserError("a password is text in UTF-8") from None
    store.update(User.TABLE, {"scope": [ALL], "name": [name], "password_argon2": [kept]})


def user_of(known: Collection[User], name: str, password: str) -> User | None:
    """Whose name and password it is, or None; takes as long whether there is such a name or not.

    Raises:
        BusyError: others are being let in, and this one waited for too long.
    """
    if not NAME.fullmatch(name) or len(password) > MOST_CHARACTERS:
        name, password = "", ""
    found = next((user for user in known if user.name == name and user.revoked_at is None), None)
    kept = found.password_argon2 if found is not None else None
    if not _at_work.acquire(timeout=WAIT_SECONDS):
        raise BusyError("many log in at once")
    try:
        return found if HASHER.verify(kept or NOBODYS, _normal(password)) and kept else None
    except VerificationError:
        return None
    finally:
        _at_work.release()


def _normal(password: str) -> str:
    """As it is however a keyboard composes its characters."""
    return unicodedata.normalize("NFKC", password)
