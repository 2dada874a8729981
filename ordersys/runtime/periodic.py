"""Periodic jobs of a service: health probe, purge of old requests, looks for metrics."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from ordersys.runtime.base.errors import Unavailable
from ordersys.runtime.base.tasks import endless
from ordersys.runtime.metrics.instruments import are_on
from ordersys.runtime.retention import Retention
from ordersys.runtime.storage.interface import Operation, Storage

_log = logging.getLogger(__name__)
HEALTH_SECONDS = 1.0  # a load balancer that asks every few seconds is told the truth
LEAD_SECONDS = 3.0  # so often a lease of 10 s is renewed: two tries may fail
SAMPLE_SECONDS = 1.0  # metrics are read every few seconds
AUDIT_SECONDS = 30.0
_REST = 20  # times as long as a look has taken nothing is looked at: it never has more than a twentieth of a reader
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


def sampled(
    tasks: asyncio.TaskGroup,
    *looks: Callable[[], Awaitable[None]],
    name: str = "metrics",
    seconds: float = SAMPLE_SECONDS,
) -> AbstractAsyncContextManager[None]:
    """Does each of `looks` every so many seconds while the context is open, where metrics are on: they show what is.

    Whatever goes wrong with one costs the service nothing but a line of its log: what it shows stays as it was.
    """
    if not are_on():
        return nullcontext()
    return every(tasks, name, seconds, _Sampling(looks, seconds).sample)


class _Sampling:
    """The looks for metrics."""

    def __init__(self, looks: Sequence[Callable[[], Awaitable[None]]], seconds: float) -> None:
        self._looks = looks
        self._seconds = seconds
        self._said: set[str] = set()

    async def sample(self) -> None:
        """All of them once, and a rest where they took long."""
        began = time.perf_counter()
        for look in self._looks:
            try:
                await look()
            except Unavailable as error:
                _log.debug("not measured: %s", error)
            except Exception as error:  # noqa: BLE001 - logged; a figure is worth no service
                kind = type(error).__name__
                if kind not in self._said:
                    self._said.add(kind)
                    _log.error("not measured", exc_info=error)
        await asyncio.sleep(max(0.0, _REST * (time.perf_counter() - began) - self._seconds))


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
