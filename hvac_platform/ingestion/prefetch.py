"""Making the next item while the one before is used."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")


class _End:
    """What comes after the last item."""


_END: Final = _End()


def ahead(items: Iterator[T], *, parallel: bool = True) -> Iterator[T]:
    """The same items, each made in a thread of its own while the caller is busy with the one before.

    An error comes where its item would. Leaving early waits for the item that is being made.

    Args:
        items: what to make; only one thread at a time runs it.
        parallel: False makes each item when it is asked for, for what must not be used by two threads.

    >>> list(ahead(iter([1, 2, 3])))
    [1, 2, 3]
    """
    if not parallel:
        yield from items
        return
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as maker:
        made = maker.submit(next, items, _END)
        while not isinstance(item := made.result(), _End):
            made = maker.submit(next, items, _END)
            yield item
