"""What the platform has done, counted in the store for who measures it: windows judged, runs and how long they took.

A count is an entry of the ledger under a name that no topic can have, so that it grows by compare-and-set: two processes
that count at once lose nothing, and a count never falls.
"""

from __future__ import annotations

from dataclasses import dataclass

from hvac_platform.stores.base import Store

JUDGED = ":counted/windows_judged"
RUNS = ":counted/runs/{job}"
SUCCEEDED, FAILED, MILLISECONDS = 0, 1, 2
TRIES = 5


@dataclass(frozen=True, slots=True)
class RunsCounted:
    """Runs of one job that have ended.

    Attributes:
        succeeded: so many succeeded.
        failed: so many failed.
        seconds: how long all of them took together.
    """

    succeeded: int
    failed: int
    seconds: float


def count_judged(store: Store, windows: int) -> None:
    """Some more windows are judged."""
    _add(store, JUDGED, 0, windows)


def windows_judged(store: Store) -> int:
    """So many windows were judged since counting began."""
    return _counted(store, JUDGED).get(0, 0)


def count_run(store: Store, job: str, seconds: float, *, succeeded: bool) -> None:
    """A run of a job has ended."""
    topic = RUNS.format(job=job)
    _add(store, topic, SUCCEEDED if succeeded else FAILED, 1)
    _add(store, topic, MILLISECONDS, max(0, round(seconds * 1000)))


def runs_counted(store: Store, job: str) -> RunsCounted:
    """Runs of a job since counting began."""
    found = _counted(store, RUNS.format(job=job))
    return RunsCounted(found.get(SUCCEEDED, 0), found.get(FAILED, 0), found.get(MILLISECONDS, 0) / 1000)


def _counted(store: Store, topic: str) -> dict[int, int]:
    return {number: entry.next_offset for number, entry in store.ledger(topic).items()}


def _add(store: Store, topic: str, number: int, amount: int) -> None:
    """Count up; what loses against others again and again is left out, for a count is not worth a failure."""
    for _ in range(TRIES):
        stands = _counted(store, topic).get(number, 0)
        if not amount or store.advance_ledger(topic, number, stands, stands + amount, run_id="", watermark=None):
            return
