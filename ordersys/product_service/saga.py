"""Sagas run in tasks of the service, each once at a time: no cancelled call ever cuts one in two."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract.errors import refuse

R = TypeVar("R")
T = TypeVar("T")


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
        if saga_id in self._by_id:
            shared: R = await asyncio.shield(self._by_id[saga_id])
            return shared
        future = self._by_id[saga_id] = asyncio.get_running_loop().create_future()
        try:
            future.set_result(await step(argument))
        except BaseException as error:  # noqa: BLE001 - raised below, and for all who share it
            future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
        finally:
            del self._by_id[saga_id]
        result: R = future.result()
        return result

    async def drained(self, seconds: float) -> None:
        """Gives the sagas under way that long; what is not done then, the sweep does at the next start."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody may have
