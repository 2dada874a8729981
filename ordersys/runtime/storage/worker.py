"""A thread that works for the event loop: one thing after the other, in the order they were handed in.

`ThreadPoolExecutor(1)` does the same by a future of its own that is chained to asyncio's, with a lock and a condition
for each: twice the cost of handing over, which every commit pays.
"""

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from ordersys.runtime.base.futures import resolve_once

R = TypeVar("R")


class Worker:
    """A thread of its own, named `name`; it keeps no process from ending."""

    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def do(self, function: Callable[..., R], *arguments: Any) -> "asyncio.Future[R]":
        """Has the thread call `function(*arguments)`; the future has what it returns or raises.

        It is called though the future be cancelled: whoever waits may go, what was handed in is done.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()

        def work() -> None:
            try:
                result = function(*arguments)
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                loop.call_soon_threadsafe(_fail, future, error)
            else:
                loop.call_soon_threadsafe(resolve_once, future, result)

        self._work.put(work)
        return future

    def end(self) -> None:
        """Lets the thread end when all is done that was handed in. Blocks until then."""
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work  # the next wait may be long, and what is done holds what it was about


def _fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
