"""The thread that works for the event loop: in order, whatever becomes of those who wait."""

import asyncio
import threading

import pytest

from ordersys.runtime.storage.worker import Worker


async def test_everything_is_done_in_the_order_it_was_handed_in_by_one_thread() -> None:
    """Results come to whoever handed it in."""
    worker = Worker("in order")
    done: list[tuple[int, str]] = []

    def work(number: int) -> int:
        done.append((number, threading.current_thread().name))
        return -number

    assert await asyncio.gather(*(worker.do(work, number) for number in range(100))) == [-n for n in range(100)]
    assert done == [(number, "in order") for number in range(100)]
    worker.end()


async def test_what_is_raised_is_raised_where_it_is_waited_for() -> None:
    """The thread goes on."""
    worker = Worker("raising")
    with pytest.raises(ZeroDivisionError):
        await worker.do(lambda: 1 / 0)
    assert await worker.do(lambda: 1) == 1
    worker.end()


async def test_what_was_handed_in_is_done_though_nobody_waits_for_it_any_more() -> None:
    """Cancelled or not: end() returns when all of it is done."""
    worker = Worker("given up")
    begun, go_on = threading.Event(), threading.Event()
    done: list[int] = []

    def block() -> None:
        begun.set()
        go_on.wait(60)

    blocked, given_up = worker.do(block), worker.do(done.append, 1)
    assert begun.wait(60)
    given_up.cancel()
    go_on.set()
    worker.end()
    assert done == [1]
    await blocked
