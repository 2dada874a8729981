"""Natural batching: while a batch is being worked on, arrivals collect; they are the next batch.

No fixed size, only an upper bound: alone, an item is worked on at once; under load the cost of a commit, a call
or a confirm is shared. Items keep their order; the worker sees one batch at a time.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from ordersys.runtime.metrics.instruments import OFF, histogram
from ordersys.runtime.metrics.table import BATCH_ITEMS, BATCH_WAIT_SECONDS

T = TypeVar("T")
R = TypeVar("R")
_MAX_DELAY_SECONDS = 0.05  # for an item nobody waits for: soon enough that a crash leaves little to be repeated
_LARGE_FRACTION = 8  # of the limit: with an eighth of it waiting a pause would make no batch much larger
_log = logging.getLogger(__name__)


class Batcher(Generic[T, R]):
    """Collects items for `work`, which is given up to `limit` of them and answers one result for each.

    A result that is an exception is raised for its item alone; an exception from `work` is raised for all.
    Sleeps `pause` seconds after each batch unless limit/8 items wait. For background work: fewer, larger batches.
    """

    def __init__(
        self,
        work: Callable[[list[T]], Awaitable[Sequence[R | Exception]]],
        limit: int,
        pause: float = 0.0,
        name: str = "",
    ) -> None:
        """Metrics know it by `name`."""
        self._items = histogram(BATCH_ITEMS, batch=name) if name else OFF
        self._seconds = histogram(BATCH_WAIT_SECONDS, batch=name) if name else OFF
        self._first_came = 0.0
        self._work = work
        self._limit = limit
        self._pause = pause
        self._waiting: deque[tuple[T, asyncio.Future[R] | None]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._departure: asyncio.TimerHandle | None = None

    def submit(self, item: T, urgent: bool = True) -> "asyncio.Future[R]":
        """Hands in `item`; the future has its result. Cancelling the future before its batch begins withdraws the item.

        A non-urgent item joins the batch of the next urgent one; after 50 ms without one it is worked on by itself.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._put(item, future)
        if urgent:
            self._start()
        elif self._departure is None:
            self._departure = loop.call_later(_MAX_DELAY_SECONDS, self._start)
        return future

    def submit_and_log(self, item: T) -> None:
        """Hands in `item` where nobody asks for its result; should `work` fail, that is logged."""
        self._put(item, None)
        self._start()

    def __len__(self) -> int:
        """The number of items that wait for the next batch."""
        return len(self._waiting)

    async def drained(self) -> None:
        """Returns when everything handed in so far, and meanwhile, is worked on."""
        # What is not urgent would wait for its time where its worker has just ended.
        while self._waiting or self._worker is not None:
            await asyncio.wait([self._start()])

    def _put(self, item: T, future: "asyncio.Future[R] | None") -> None:
        if not self._waiting:
            self._first_came = time.perf_counter()
        self._waiting.append((item, future))

    def _start(self) -> "asyncio.Task[None]":
        if self._departure is not None:
            self._departure.cancel()
            self._departure = None
        if self._worker is None:
            self._worker = asyncio.create_task(self._run())
        return self._worker

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._next_batch()
                if self._pause and len(self._waiting) < self._limit // _LARGE_FRACTION:
                    await asyncio.sleep(self._pause)
        finally:
            self._worker = None

    async def _next_batch(self) -> None:
        size = min(len(self._waiting), self._limit)
        waiting = [self._waiting.popleft() for _ in range(size)]
        # Nobody waits for what was withdrawn, others for their turn
        # (docs/reliability.md, "calls cancelled one after the other").
        batch = [(item, future) for item, future in waiting if future is None or not future.cancelled()]
        if not batch:
            return
        self._measure(len(batch))
        results = await self._outcome([item for item, _ in batch])
        for (_, future), result in zip(batch, results, strict=True):
            _settle(future, result)

    def _measure(self, size: int) -> None:
        begun = time.perf_counter()
        self._items.observe(size)
        self._seconds.observe(begun - self._first_came)
        self._first_came = begun  # of what did not fit, which has waited since then at least

    async def _outcome(self, items: list[T]) -> Sequence[R | Exception]:
        # Whatever goes wrong is the items' own: the task that works has no parent, and an error of it would be seen by
        # nobody, while those who wait for a result would wait for ever.
        try:
            results = await self._work(items)
        except Exception as error:  # noqa: BLE001 - it is raised again, for each item
            return [error] * len(items)
        if len(results) != len(items):
            return [ValueError(f"{len(results)} results of {len(items)} items")] * len(items)
        return results


def _settle(future: "asyncio.Future[R] | None", result: R | Exception) -> None:
    if future is None:
        if isinstance(result, Exception):
            _log.error("what nobody waited for failed", exc_info=result)
        return
    if future.done():  # cancelled by whoever waited
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
