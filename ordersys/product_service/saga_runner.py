"""Sagas run in tasks of the service, each once at a time: no cancelled call ever cuts one in two."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeAlias, TypeVar

from sqlalchemy import Connection

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract.errors import Refused, refuse
from ordersys.product_service.order_client import OutcomeUnknown
from ordersys.runtime.base.ids import now, uuid7_time
from ordersys.runtime.storage.database import Database

_log = logging.getLogger(__name__)
# A third of the calls the Order Service admits by default, so that live traffic finds room after an outage.
_RECOVERED_AT_A_TIME = 100
# What began later than that is in the hands of the call that began it, or about to be completed.
_YOUNG_MICROSECONDS = 1_000_000

R = TypeVar("R")
T = TypeVar("T")


class Pending(Protocol):
    """A saga without an outcome."""

    @property
    def order_id(self) -> str:
        """The order it is about."""
        ...

    @property
    def saga_id(self) -> str:
        """A UUID of version 7, which tells when it began."""
        ...


P = TypeVar("P", bound=Pending)
Step: TypeAlias = Callable[[list[T]], Awaitable[Sequence[R | Exception]]]
"""Does something for many sagas at once: one result, or exception, for each."""


class SagaRunner:
    """Runs sagas, `most` at a time. A saga keeps its place until it is done, also when its call is cancelled."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._places = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._recovering: set[asyncio.Task[Any]] = set()
        self._by_id: dict[str, asyncio.Future[Any]] = {}

    async def detached(self, saga: Coroutine[Any, Any, R]) -> R:
        """Runs `saga` to its end, also when the caller is cancelled; its result. Raises Refused (TOO_MANY_CALLS)."""
        try:
            self.take_place()
        except Refused:
            saga.close()
            raise
        task = self.start(saga)
        task.add_done_callback(lambda _: self.leave_place())
        return await asyncio.shield(task)

    def take_place(self) -> None:
        """Takes one of the places. Raises Refused (TOO_MANY_CALLS)."""
        if self._places >= self._most:
            raise refuse(ErrorReason.TOO_MANY_CALLS)
        self._places += 1

    def leave_place(self, places: int = 1) -> None:
        """Gives so many places free."""
        self._places -= places

    def start(self, saga: Coroutine[Any, Any, R]) -> "asyncio.Task[R]":
        """Runs `saga`, to which places were given, in a task that `drained` waits for."""
        return _running(saga, self._tasks)

    async def background(self, work: Coroutine[Any, Any, R]) -> R:
        """Runs `work` of the service itself to its end, also when the caller is cancelled; its result.

        So the end of recovery at SIGTERM cancels no step that a client's call shares. It takes nobody's place.
        """
        return await asyncio.shield(_running(work, self._recovering))

    async def once(self, saga_id: str, step: Callable[[T], Awaitable[R]], argument: T) -> R:
        """Single-flight: the result of `step(argument)`; a caller who comes while it runs for this saga shares it."""

        async def alone(arguments: list[T]) -> list[R | Exception]:
            return [await step(*arguments)]

        result = (await self.each_once(alone, {saga_id: argument}))[saga_id]
        if isinstance(result, Exception):
            raise result
        return result

    async def each_once(self, step: Step[T, R], arguments: Mapping[str, T]) -> dict[str, R | Exception]:
        """Single-flight for many: runs `step` once for the sagas not running already; running ones share their result.

        By saga id: one result or exception for each.
        """
        theirs = {saga_id: self._by_id[saga_id] for saga_id in arguments if saga_id in self._by_id}
        mine = {saga_id: argument for saga_id, argument in arguments.items() if saga_id not in theirs}
        found = await self._take(step, mine) if mine else {}
        return found | {saga_id: (await asyncio.shield(theirs[saga_id]))[saga_id] for saga_id in theirs}

    async def drained(self, seconds: float) -> None:
        """Gives the sagas under way that long; what is not done then, recovery does at the next start."""
        if under_way := self._tasks | self._recovering:
            await asyncio.wait(under_way, timeout=seconds)

    async def _take(self, step: Step[T, R], mine: Mapping[str, T]) -> dict[str, R | Exception]:
        """The results of `step`; a caller who comes for one of these sagas meanwhile finds it under way."""
        under_way: asyncio.Future[dict[str, R | Exception]] = asyncio.get_running_loop().create_future()
        self._by_id.update(dict.fromkeys(mine, under_way))
        try:
            under_way.set_result(await _tried(step, mine))
        finally:
            under_way.cancel()  # where there is no result: nobody else is left waiting for one
            for saga_id in mine:
                del self._by_id[saga_id]
        return under_way.result()


def _running(work: Coroutine[Any, Any, R], among: "set[asyncio.Task[Any]]") -> "asyncio.Task[R]":
    """A task for `work` that stands in `among` until it is done."""

    def done(task: "asyncio.Task[R]") -> None:
        among.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody may have

    task = asyncio.create_task(work)
    among.add(task)
    task.add_done_callback(done)
    return task


class Turns:
    """Lets the changes of one order go one at a time, in the order they came.

    Without it a crowd of changes would read the order, all but one of them lose the race for its version and read
    again: a quadratic number of calls. Where one is left in doubt those waiting behind it are as well: the Order
    Service is away, and each would wait for it as long again.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def turn(self, order_id: str) -> AsyncIterator[None]:
        """Waits until it is the caller's turn. Raises OutcomeUnknown when a change before it was left in doubt."""
        await self._come(order_id)
        try:
            yield
        except OutcomeUnknown as error:
            self._give_up(order_id, error)
            raise
        finally:
            self._go(order_id)

    async def _come(self, order_id: str) -> None:
        if order_id not in self._waiting:
            self._waiting[order_id] = deque()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[order_id].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._go(order_id)  # it was this one's turn already
            raise

    def _go(self, order_id: str) -> None:
        """Gives the turn to the next one that still waits."""
        waiting = self._waiting[order_id]
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._waiting[order_id]

    def _give_up(self, order_id: str, error: OutcomeUnknown) -> None:
        waiting = self._waiting[order_id]
        for turn in waiting:
            if not turn.done():
                turn.set_exception(OutcomeUnknown(error.status))
        waiting.clear()


async def recover(
    database: Database,
    pending: Callable[[Connection, str, int], list[P]],
    after: str,
    settle: Callable[[list[P]], Awaitable[Sequence[object]]],
) -> str:
    """Settles what `pending` finds behind the order `after`, a portion at a time; where to go on the next time.

    Ends with the first portion of which something is left in doubt: the Order Service is away, or busy. The next time
    goes on behind it, so that what fails for ever keeps nothing behind it from being recovered.
    """
    found = await database.read(pending, after, _RECOVERED_AT_A_TIME)
    if after and not found:  # there was nothing behind it: from the beginning
        found = await database.read(pending, "", _RECOVERED_AT_A_TIME)
    while found:
        after = found[-1].order_id
        due = [one for one in found if not 0 <= now() - uuid7_time(one.saga_id) < _YOUNG_MICROSECONDS]
        results = await settle(due) if due else []
        for one, result in zip(due, results, strict=True):
            if isinstance(result, Exception) and not isinstance(result, OutcomeUnknown):
                _log.warning("the saga of order %s came to no success: %s", one.order_id, result)
        if any(isinstance(result, OutcomeUnknown) for result in results):
            return after
        found = await database.read(pending, after, _RECOVERED_AT_A_TIME)
    return ""


async def _tried(step: Step[T, R], arguments: Mapping[str, T]) -> dict[str, R | Exception]:
    try:
        return dict(zip(arguments, await step(list(arguments.values())), strict=True))
    except Exception as error:  # noqa: BLE001 - the result of each, for whoever waits for it
        return dict.fromkeys(arguments, error)
