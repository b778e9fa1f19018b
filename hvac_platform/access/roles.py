"""Roles: what somebody may do; each includes those before it."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """A viewer reads; an operator acts on incidents; an admin also starts work on the whole platform."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, needed: Role) -> bool:
        """Whether who has this role may do what another role is needed for.

        >>> Role.OPERATOR.includes(Role.VIEWER), Role.OPERATOR.includes(Role.ADMIN)
        (True, False)
        """
        order = list(Role)
        return order.index(self) >= order.index(needed)
