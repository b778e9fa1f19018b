"""Roles: what somebody is meant to do; the dashboard and the API are for reading, so none is asked for yet."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """Kept with each user and shown; all of them read."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
