"""Roles: what somebody may do."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """A viewer reads; an operator acts on incidents too; an admin may do all that a server lets anybody do."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
