"""How often Python looks for garbage: seldom, where much is kept for long."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

SELDOM = 100_000, 50, 1000
"""Thresholds of Python's garbage collector."""


def look_for_garbage_seldom() -> None:
    """For a process that stays: what it keeps, of devices or of pages, are many objects that live as long as it does.

    To look through them for garbage again and again, as Python does by itself, took a sixth of what detection takes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*SELDOM)


@contextmanager
def garbage_seldom_looked_for() -> Iterator[None]:
    """The same for a piece of work: of a hundred thousand messages that are decoded nothing is garbage for long."""
    usual = gc.get_threshold()
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
