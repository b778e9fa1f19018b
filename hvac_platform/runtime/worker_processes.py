"""Work on many things in a few processes, with results in order.

Processes are started anew (spawned), never forked: a connection to a store must not be in two of them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import current_process, get_context
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Generic, TypeVar

from hvac_platform.runtime.linear_algebra import THREADS

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_BY_DEFAULT = 4
"""Processes where none were asked for: one process writes what they find, and more would wait for it."""
AHEAD = 2
"""Things under way or done and not yet asked for, for each process: this bounds memory."""


class WorkerLostError(RuntimeError):
    """The process that worked on one thing ended before it was done: out of memory, most likely."""


def usable_processors() -> int:
    """Processors that this process may use; a container's share of them is not known to it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worth_starting(asked_for: int, items: int, least_items: int) -> int:
    """How many processes to work in: those asked for (0: one a processor, at most four) with enough to do; 1 is this one.

    >>> worth_starting(3, 100, 4), worth_starting(3, 9, 4), worth_starting(3, 7, 4)
    (3, 2, 1)
    """
    if current_process().daemon:  # a worker of somebody else's pool may start none
        return 1
    return max(1, min(asked_for or min(usable_processors(), MOST_BY_DEFAULT), items // least_items))


def in_processes(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    processes: int,
    *,
    follow: Callable[[Item, Item], bool] = lambda _item, _other: False,
) -> Generator[tuple[Item, Callable[[], Result]]]:
    """Each item with a function that waits for what came of it, in order; that raises what the work raised.

    A process that ends in the middle costs the item that it worked on, which raises :class:`WorkerLostError`. All processes
    end when the iterator is closed, and with this process, however that ends.

    Args:
        work: a function of a module, or a partial one of such; it and what it takes and gives can be pickled.
        items: what to work on.
        processes: how many at once.
        follow: whether an item is to begin only when the next is asked for after another one was given.
    """
    todo = _Todo(items, follow)
    pool = _Pool[Item, Result](work, processes)
    try:
        while (taken := pool.next(todo)) is not None:
            item, future = taken
            if pool.is_lost(future):
                # Whose fault it was can't be told of those that were under way: each gets a process of its own.
                for suspect in [item, *pool.end()]:
                    yield suspect, _alone(work, suspect)
                pool = _Pool[Item, Result](work, processes)
            else:
                yield item, future.result
    finally:
        pool.end()


class _Todo(Generic[Item]):
    """Items that are still to be begun, in order."""

    def __init__(self, items: Iterable[Item], follow: Callable[[Item, Item], bool]) -> None:
        self._items, self._follow = iter(items), follow
        self._waiting: list[Item] = []

    def next(self, under_way: Iterable[Item]) -> list[Item]:
        """The next item; none where none is left, or where it has to wait for one that is under way."""
        if not self._waiting:
            self._waiting = list(islice(self._items, 1))
        if any(self._follow(item, other) for item in self._waiting for other in under_way):
            return []
        found, self._waiting = self._waiting, []
        return found


class _Pool(Generic[Item, Result]):
    """Some processes, what they work on, and a leash: they end when its other end is let go."""

    def __init__(self, work: Callable[[Item], Result], processes: int) -> None:
        context = get_context("spawn")
        self._held_by_them, self._leash = context.Pipe(duplex=False)
        self._work, self._most = work, AHEAD * processes
        self._executor = ProcessPoolExecutor(processes, context, _end_with, (self._held_by_them,))
        self._under_way: deque[tuple[Item, Future[Result]]] = deque()

    def next(self, todo: _Todo[Item]) -> tuple[Item, Future[Result]] | None:
        """The next item with its result to come, after those behind it were begun; None when there is none left."""
        while len(self._under_way) < self._most and (found := todo.next(item for item, _ in self._under_way)):
            self._under_way += [(item, self._submitted(item)) for item in found]
        return self._under_way.popleft() if self._under_way else None

    def _submitted(self, item: Item) -> Future[Result]:
        try:
            with _clean_start():
                return self._executor.submit(self._work, item)
        except BrokenProcessPool as error:
            lost: Future[Result] = Future()
            lost.set_exception(error)
            return lost

    @staticmethod
    def is_lost(future: Future[Result]) -> bool:
        """Whether its process has ended before it was done; waits until it is."""
        return isinstance(future.exception(), BrokenProcessPool)

    def end(self) -> list[Item]:
        """End the processes now; what was under way."""
        self._leash.close()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._held_by_them.close()
        left = [item for item, _ in self._under_way]
        self._under_way.clear()
        return left


def _alone(work: Callable[[Item], Result], item: Item) -> Callable[[], Result]:
    """A function that works on one item in a process of its own."""

    def result() -> Result:
        pool = _Pool[Item, Result](work, 1)
        try:
            taken = pool.next(_Todo([item], lambda *_: False))
            assert taken is not None
            return taken[1].result()
        except BrokenProcessPool:
            raise WorkerLostError("the process that worked on it ended, perhaps for lack of memory") from None
        finally:
            pool.end()

    return result


@contextmanager
def _clean_start() -> Iterator[None]:
    """What is started inside has one thread for linear algebra, doesn't hear Ctrl-C, and doesn't run the main module again.

    Ctrl-C reaches all processes of a terminal; the one that started them ends them.
    """
    main, before = sys.modules["__main__"], {name: os.environ.get(name) for name in THREADS}
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    sys.modules["__main__"] = ModuleType("__main__")
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)


def _end_with(leash: Connection) -> None:
    """In a process that was started: end, whatever it is at, when the other end of the leash is gone."""

    def watch() -> None:
        leash.poll(None)  # nothing is ever sent: what comes is the end of the file
        os._exit(1)

    threading.Thread(target=watch, name="leash", daemon=True).start()
