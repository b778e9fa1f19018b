"""The detection methods. A method is one object, see :mod:`hvac_platform.detection.methods.base`."""

from __future__ import annotations

from hvac_platform.detection.methods.base import Method
from hvac_platform.detection.methods.profile import ProfileSimilarity
from hvac_platform.detection.methods.rules import Rules
from hvac_platform.detection.methods.vector import VectorSearch

METHODS: tuple[Method, ...] = (Rules(), ProfileSimilarity(), VectorSearch())
"""All of them, in the order in which tables and pages list them."""


def method_names() -> tuple[str, ...]:
    """Names of all methods, in their order."""
    return tuple(method.name for method in METHODS)


def knows_limits(name: str) -> bool:
    """Whether a method speaks of declared limits rather than of what is usual."""
    return any(method.speaks_of == "limits" for method in METHODS if method.name == name)
