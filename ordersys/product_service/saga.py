"""Sagas run in tasks of the service, each once at a time: no cancelled call ever cuts one in two."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract.errors import refuse

R = TypeVar("R")
T = TypeVar("T")
Step: TypeAlias = Callable[[list[T]], Awaitable[Sequence[R | Exception]]]
"""Does something for many sagas at once: one result, or exception, for each."""


class Sagas:
    """The sagas under way, `most` at a time: who gives up a call gives its place free, not that of its saga."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._tasks: set[asyncio.Task[Any]] = set()
        self._by_id: dict[str, asyncio.Future[Any]] = {}

    async def detached(self, saga: Coroutine[Any, Any, R]) -> R:
        """What `saga` answers; it goes on when whoever waits for it is cancelled. Raises Refused (TOO_MANY_CALLS)."""
        if len(self._tasks) >= self._most:
            saga.close()
            raise refuse(ErrorReason.TOO_MANY_CALLS)
        task = asyncio.create_task(saga)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def once(self, saga_id: str, step: Callable[[T], Awaitable[R]], argument: T) -> R:
        """What `step(argument)` answers; who comes while it is under way for this very saga shares the answer."""

        async def alone(arguments: list[T]) -> list[R | Exception]:
            return [await step(*arguments)]

        result = (await self.each_once(alone, {saga_id: argument}))[saga_id]
        if isinstance(result, Exception):
            raise result
        return result

    async def each_once(self, step: Step[T, R], arguments: Mapping[str, T]) -> dict[str, R | Exception]:
        """What `step` answers for each saga, by its id: one result or exception for each of those it is given.

        It is given what is not under way already; what is shares its answer.
        """
        theirs = {saga_id: self._by_id[saga_id] for saga_id in arguments if saga_id in self._by_id}
        mine = {saga_id: argument for saga_id, argument in arguments.items() if saga_id not in theirs}
        found = await self._take(step, mine) if mine else {}
        return found | {saga_id: (await asyncio.shield(theirs[saga_id]))[saga_id] for saga_id in theirs}

    async def drained(self, seconds: float) -> None:
        """Gives the sagas under way that long; what is not done then, the sweep does at the next start."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    async def _take(self, step: Step[T, R], mine: Mapping[str, T]) -> dict[str, R | Exception]:
        """What `step` answers for each saga; who comes for one of them meanwhile finds it under way."""
        under_way: asyncio.Future[dict[str, R | Exception]] = asyncio.get_running_loop().create_future()
        self._by_id.update(dict.fromkeys(mine, under_way))
        try:
            under_way.set_result(await _tried(step, mine))
        finally:
            under_way.cancel()  # where there is no result: nobody else is left waiting for one
            for saga_id in mine:
                del self._by_id[saga_id]
        return under_way.result()

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody may have


async def _tried(step: Step[T, R], arguments: Mapping[str, T]) -> dict[str, R | Exception]:
    try:
        return dict(zip(arguments, await step(list(arguments.values())), strict=True))
    except Exception as error:  # noqa: BLE001 - the result of each, for whoever waits for it
        return dict.fromkeys(arguments, error)
