"""Calls that go on together: what they ask for is begun, settled and answered as one group.

A call parks one future and is woken once. When a group departs decides what an order costs: alone it pays for two
commits and a call to the Order Service by itself, in a group of twenty for a twentieth of each. So a group departs
when four fifths of those that were here at a time lately have come, at the latest after 20 ms; after 0.1 s without a
group at once, so that a lone call does not wait. The part and the time were chosen by measuring (docs/performance.md):
half of the crowd makes groups of a third of the size, for a fifth more processor time an order; to wait longer saves
nothing more.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from ordersys.contract.errors import StatusError
from ordersys.product_service.saga_runner import SagaRunner
from ordersys.runtime.metrics.instruments import histogram
from ordersys.runtime.metrics.table import BATCH_ITEMS, BATCH_WAIT_SECONDS
from ordersys.runtime.rpc.status import foreseen

T = TypeVar("T")
R = TypeVar("R")
MOST = 256
"""Items of a group, unless a single call has more."""
_PART = 0.8  # of the crowd
_PATIENCE_SECONDS = 0.02  # at most, for the rest of the crowd; longer saves nothing more (docs/performance.md)
_FADING = 0.75  # of the crowd, from one departure to the next, when fewer come
_LONELY_SECONDS = 0.1  # without a departure: there is no crowd any more


class _Call(NamedTuple, Generic[T, R]):
    """The items of one call, and the future it waits for."""

    items: list[T]
    answer: "asyncio.Future[list[R | StatusError]]"


class Groups(Generic[T, R]):
    """Gathers calls into groups for `work`, which answers a result or an exception for each item, in order.

    A call takes a place among `sagas` from its arrival to the end of its group. Each group runs in a task of theirs.
    """

    def __init__(self, work: Callable[[list[T]], Awaitable[Sequence[R | Exception]]], sagas: SagaRunner) -> None:
        self._work = work
        self._sagas = sagas
        self._size = histogram(BATCH_ITEMS, batch="placements")
        self._seconds = histogram(BATCH_WAIT_SECONDS, batch="placements")
        self._first_came = 0.0
        self._waiting: deque[_Call[T, R]] = deque()
        self._items_waiting = self._items_under_way = 0
        self._crowd = self._departed = 0.0
        self._departure: asyncio.Handle | None = None
        self._latest: asyncio.TimerHandle | None = None

    async def join(self, items: list[T]) -> list[R | StatusError]:
        """The result of each item, in order. Cancelled before its group departs, the call is withdrawn.

        Raises StatusError (TOO_MANY_CALLS) when there is no place, and what nobody foresaw.
        """
        self._sagas.take_place()
        if not self._waiting:
            self._first_came = time.perf_counter()
        call: _Call[T, R] = _Call(items, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        self._items_waiting += len(items)
        self._look()
        return await call.answer

    def _look(self) -> None:
        """Has the next group depart when its time has come, with whoever arrives in the same turn of the event loop."""
        if self._departure is not None or not self._waiting:
            return
        loop = asyncio.get_running_loop()
        if loop.time() > self._departed + _LONELY_SECONDS:
            self._crowd = 0.0
        if self._items_waiting >= min(_PART * self._crowd, MOST):
            self._departure = loop.call_soon(self._depart)
        elif self._latest is None:
            self._latest = loop.call_later(_PATIENCE_SECONDS, self._depart)

    def _depart(self) -> None:
        for handle in (self._departure, self._latest):
            if handle is not None:
                handle.cancel()
        self._departure = self._latest = None
        self._crowd = max(_FADING * self._crowd, self._items_waiting + self._items_under_way)
        self._departed = asyncio.get_running_loop().time()
        if group := self._next_group():
            self._measure(group)
            self._sagas.start(self._go(group))
        self._look()

    def _next_group(self) -> list[_Call[T, R]]:
        """As many calls as fit, at least one; nobody waits for those that were cancelled, and nothing was begun."""
        group: list[_Call[T, R]] = []
        room = MOST
        while self._waiting and (not group or len(self._waiting[0].items) <= room):
            call = self._waiting.popleft()
            self._items_waiting -= len(call.items)
            if call.answer.cancelled():
                self._sagas.leave_place()
            else:
                group.append(call)
                room -= len(call.items)
        return group

    def _measure(self, group: list[_Call[T, R]]) -> None:
        departed = time.perf_counter()
        self._size.observe(sum(len(call.items) for call in group))
        self._seconds.observe(departed - self._first_came)
        self._first_came = departed  # of calls that did not fit, which have waited since then at least

    async def _go(self, group: list[_Call[T, R]]) -> None:
        items = [item for call in group for item in call.items]
        self._items_under_way += len(items)
        try:
            results = await self._work(items)
        except Exception as error:  # noqa: BLE001 - raised for each call
            results = [error] * len(items)
        finally:
            self._items_under_way -= len(items)
            self._sagas.leave_place(len(group))
        first = 0
        for call in group:
            _answer(call.answer, results[first : first + len(call.items)])
            first += len(call.items)


def _answer(answer: "asyncio.Future[list[R | StatusError]]", results: Sequence[R | Exception]) -> None:
    """Answers a call. An unforeseen exception is raised for the whole of it."""
    if answer.done():  # given up
        return
    answered: list[R | StatusError] = []
    for outcome in results:
        result = foreseen(outcome) if isinstance(outcome, Exception) else outcome
        if isinstance(result, Exception) and not isinstance(result, StatusError):
            answer.set_exception(result)
            return
        answered.append(result)
    answer.set_result(answered)
