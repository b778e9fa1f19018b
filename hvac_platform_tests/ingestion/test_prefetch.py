"""Items made ahead are the same items, in order, with the same errors."""

from __future__ import annotations

import threading

import pytest

from hvac_platform.ingestion.prefetch import ahead


@pytest.mark.parametrize("parallel", [True, False])
def test_an_error_comes_after_the_items_before_it(parallel):
    def items():
        yield 1
        yield 2
        raise OSError("broken")

    found = ahead(items(), parallel=parallel)
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(OSError, match="broken"):
        next(found)


def test_the_next_item_is_made_while_the_caller_has_the_one_before():
    making = threading.Event()

    def items():
        yield "first"
        making.set()
        yield "second"

    found = ahead(items())
    assert next(found) == "first"
    assert making.wait(10)
    assert list(found) == ["second"]


def test_one_thread_makes_all_items_and_ends_with_them():
    def items():
        for _ in range(3):
            yield threading.current_thread()

    makers = set(ahead(items()))
    assert len(makers) == 1
    assert not makers.pop().is_alive()


def test_leaving_early_ends_the_thread():
    found = ahead(threading.current_thread() for _ in range(100))
    maker = next(found)
    found.close()
    assert not maker.is_alive()


def test_without_a_thread_nothing_is_made_before_it_is_asked_for():
    made = []
    found = ahead((made.append(i) for i in range(3)), parallel=False)
    next(found)
    assert made == [0]
