"""The loop of work that stands: step after step, a pause where nothing is to do, patience where a server is away."""

from __future__ import annotations

import time
from collections.abc import Callable

from hvac_platform.garbage import look_for_garbage_seldom


def stand(
    step: Callable[[], bool],
    over: Callable[[], bool],
    *,
    away: tuple[type[Exception], ...],
    on_trouble: Callable[[str], object],
    poll_seconds: float,
    retries: int,
    retry_seconds: float,
    hopeless: Callable[[], bool] = lambda: False,
) -> None:
    """Take steps until it is over.

    Args:
        step: does what there is to do, and says whether that was anything.
        over: says whether to end.
        away: errors of a server that may be back in a moment.
        on_trouble: told of each of them, in one line.
        poll_seconds: pause after a step that had nothing to do.
        retries: so many of those errors in a row are waited for.
        retry_seconds: pause after the first of them; each next one is twice as long.
        hopeless: whether an error is to be raised at once, because it was waited for already.

    Raises:
        Exception: one of those errors, again and again; any other at once.
    """
    look_for_garbage_seldom()
    failures, begun = 0, False
    while not begun or not over():  # a busy machine may have taken all of its time before the first step
        begun = True
        try:
            worked = step()
        except away as error:
            failures += 1
            if failures > retries or hopeless():
                raise
            pause = retry_seconds * 2 ** (failures - 1)
            on_trouble(f"{type(error).__name__}: {error}; tried again in {pause:.0f} s")
            time.sleep(pause)
            continue
        failures = 0
        if not worked:
            time.sleep(poll_seconds)
