"""How many threads NumPy's linear algebra takes: one, for the matrices of a device are too small to share out."""

from __future__ import annotations

import os

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Each library of linear algebra reads one of these when it is loaded."""


def one_thread() -> None:
    """Have one thread, here and in processes started from here, where nothing else was asked for.

    Without effect in a process that has loaded NumPy. A second thread waits for work by spinning: with two of them, to fit a
    detector to a day takes three times the processor time, and no less by the clock.
    """
    for name in THREADS:
        os.environ.setdefault(name, "1")
