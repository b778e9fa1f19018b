"""Users of the dashboard's server."""

from __future__ import annotations

from dataclasses import dataclass

from hvac_platform.stores.records.record import Record


@dataclass(frozen=True, slots=True)
class User(Record):
    """Somebody who may use the dashboard and the API.

    Attributes:
        scope: ``all``; they are read together.
        buildings: ids of the buildings that they see; None for the whole site.
        token_sha256: of their token, hexadecimal.
        revoked_at: when their access ended, epoch milliseconds; None while it goes on.
        password_argon2: Argon2id of their password with its parameters and salt; None where they have none.
    """

    TABLE = "users"

    scope: str
    name: str
    role: str
    buildings: list[str] | None
    token_sha256: str
    added_at: int
    revoked_at: int | None
    password_argon2: str | None = None
