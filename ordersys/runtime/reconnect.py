"""Sessions to RabbitMQ with the contract declared in them: one now, or one after the other for ever."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from ordersys.contract.topology import topology
from ordersys.runtime.broker import BrokerUnavailable, Session, first, place
from ordersys.runtime.pauses import growing

_log = logging.getLogger(__name__)
_DECLARED_EVERY_SECONDS = 5.0


async def declare(url: str) -> None:
    """Declares the topology of the contract. Raises BrokerUnavailable."""
    session = await Session.open(url, "declare")
    try:
        await session.declare(topology())
    finally:
        await session.close()


async def keep_open(url: str, name: str, use: Callable[[Session], Awaitable[None]]) -> None:
    """Gives `use` a declared session, and a new one whenever it broke, after growing pauses; never returns.

    `use` returns or raises BrokerUnavailable when its session is closed.
    """
    pauses = growing()
    while True:
        try:
            session = await Session.open(url, name)
            try:
                await session.declare(topology())
                _log.info("%s: connected to RabbitMQ at %s", name, place(url))
                pauses = growing()
                async with _kept_declared(session):
                    await use(session)
                session.check()
            finally:
                await session.close()
        except BrokerUnavailable as error:
            _log.warning("%s: waiting for RabbitMQ: %s", name, error)
        await asyncio.sleep(next(pauses))


@asynccontextmanager
async def _kept_declared(session: Session) -> AsyncIterator[None]:
    """Declares again now and then: a binding or a queue somebody has deleted is missed by nobody else."""
    task = asyncio.create_task(_declare_again_and_again(session))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _declare_again_and_again(session: Session) -> None:
    with suppress(BrokerUnavailable):  # whoever uses the session is told as well
        while not session.closed.done():
            await first(session.closed, seconds=_DECLARED_EVERY_SECONDS)
            await session.declare(topology())
