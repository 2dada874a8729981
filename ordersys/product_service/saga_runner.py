"""Sagas run in tasks of the service, each once at a time: no cancelled call ever cuts one in two."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract.errors import StatusError, status_error

R = TypeVar("R")
T = TypeVar("T")


Work: TypeAlias = Callable[[list[T]], Awaitable[Sequence[R | Exception]]]
"""Does something for many sagas at once: one result, or exception, for each."""


class SagaRunner:
    """Runs sagas, `most` at a time. A saga keeps its place until it is done, also when its call is cancelled."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._places = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._recovering: set[asyncio.Task[Any]] = set()
        self._by_id: dict[str, asyncio.Task[Any]] = {}
        """By saga id the steps under way."""

    async def detached(self, saga: Coroutine[Any, Any, R]) -> R:
        """The result of `saga`, which goes on when the caller is cancelled. Raises StatusError (TOO_MANY_CALLS)."""
        try:
            self.take_place()
        except StatusError:
            saga.close()  # never begun, which Python would warn of
            raise
        task = self.start(saga)
        # The place belongs to the saga, not to its call (docs/reliability.md, "calls cancelled one after the other").
        task.add_done_callback(lambda _: self.leave_place())
        return await asyncio.shield(task)

    def take_place(self) -> None:
        """Takes one of the places. Raises StatusError (TOO_MANY_CALLS)."""
        if self._places >= self._most:
            raise status_error(ErrorReason.TOO_MANY_CALLS)
        self._places += 1

    def leave_place(self, places: int = 1) -> None:
        """Gives so many places free."""
        self._places -= places

    def start(self, saga: Coroutine[Any, Any, R]) -> "asyncio.Task[R]":
        """Runs `saga`, to which places were given, in a task that `drained` waits for."""
        return _running(saga, self._tasks)

    def background(self, work: Coroutine[Any, Any, R]) -> "asyncio.Future[R]":
        """Runs `work` of the service itself to its end, also when the caller is cancelled; its result.

        So the end of recovery at SIGTERM cancels no step that a client's call shares. It takes nobody's place.
        """
        return asyncio.shield(_running(work, self._recovering))

    def is_under_way(self, saga_id: str) -> bool:
        """True while a step of that saga runs, which another one would share."""
        return saga_id in self._by_id

    async def single_flight(self, step: Work[T, R], arguments: Mapping[str, T]) -> dict[str, R | Exception]:
        """Single-flight for many: runs `step` once for the sagas not running already; running ones share their result.

        By saga id: one result or exception for each. A step goes on when its caller is cancelled: others share it.
        """
        under_way = {saga_id: self._by_id[saga_id] for saga_id in arguments if saga_id in self._by_id}
        if mine := {saga_id: argument for saga_id, argument in arguments.items() if saga_id not in under_way}:
            under_way |= self._take(step, mine)
        return {saga_id: (await asyncio.shield(under_way[saga_id]))[saga_id] for saga_id in arguments}

    async def drained(self, seconds: float) -> None:
        """Gives the sagas under way that long; what is not done then, recovery does at the next start."""
        if under_way := self._tasks | self._recovering:
            await asyncio.wait(under_way, timeout=seconds)

    def _take(self, step: Work[T, R], mine: Mapping[str, T]) -> "dict[str, asyncio.Task[dict[str, R | Exception]]]":
        """Begins `step`; a caller who comes for one of these sagas meanwhile finds it under way."""

        async def taken() -> dict[str, R | Exception]:
            try:
                return await _tried(step, mine)
            finally:
                for saga_id in mine:
                    del self._by_id[saga_id]

        # A task of its own: a call that was cancelled would end the step for others, who wait for it in groups.
        begun = dict.fromkeys(mine, self.start(taken()))
        self._by_id.update(begun)
        return begun


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


async def _tried(step: Work[T, R], arguments: Mapping[str, T]) -> dict[str, R | Exception]:
    try:
        return dict(zip(arguments, await step(list(arguments.values())), strict=True))
    except Exception as error:  # noqa: BLE001 - the result of each, for whoever waits for it
        return dict.fromkeys(arguments, error)
