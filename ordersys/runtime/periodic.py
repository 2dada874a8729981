"""Periodic jobs of a service: health probe, purge of old requests."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from ordersys.runtime.base.errors import Unavailable
from ordersys.runtime.base.tasks import endless
from ordersys.runtime.retention import Retention
from ordersys.runtime.storage.interface import Operation, Storage

_log = logging.getLogger(__name__)
HEALTH_SECONDS = 1.0  # a load balancer that asks every few seconds is told the truth
LEAD_SECONDS = 3.0  # so often a lease of 10 s is renewed: two tries may fail
PURGE_SECONDS = 5.0  # often, and a little each time, so that no purge is felt


@asynccontextmanager
async def every(
    tasks: asyncio.TaskGroup, name: str, seconds: float, work: Callable[[], Awaitable[object]]
) -> AsyncIterator[None]:
    """Does `work` now and then every so many seconds, as the task `name` of `tasks`, while the context is open.

    A job that finds something unavailable, such as a disk without room, is put off to the next time; any other error
    ends the process.
    """
    task = endless(tasks, name, _repeat(name, seconds, work))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _repeat(name: str, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await work()
        except Unavailable as error:
            _log.warning("%s: put off for %g s: %s", name, seconds, error)
        await asyncio.sleep(seconds)


async def purge(database: Storage, operation: Operation, retention: Retention) -> None:
    """Forgets what is older than `retention`, some at a time; of the processes that share a database one does."""
    before = retention.limit()
    while before is not None and database.leadership.held and await database.write(operation, before):
        pass


def leading(tasks: asyncio.TaskGroup, database: Storage) -> AbstractAsyncContextManager[None]:
    """Takes part in who leads, while the context is open; a database that is not shared needs no task for it."""
    if not database.leadership.shared:
        return nullcontext()
    return every(tasks, "leadership", LEAD_SECONDS, database.lead)
