"""Sessions to RabbitMQ with the contract declared in them: one now, or one after the other for ever."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ordersys.contract.topology import topology
from ordersys.runtime.broker import BrokerUnavailable, Session, place
from ordersys.runtime.pauses import growing

_log = logging.getLogger(__name__)


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
                await use(session)
                session.check()
            finally:
                await session.close()
        except BrokerUnavailable as error:
            _log.warning("%s: waiting for RabbitMQ: %s", name, error)
        await asyncio.sleep(next(pauses))
