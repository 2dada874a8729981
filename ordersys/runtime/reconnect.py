"""Sessions to RabbitMQ with the contract declared in them: one now, or one after the other for ever.

Of several URLs each is tried in its turn, after the one that was used last.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from ordersys.contract.topology import topology
from ordersys.runtime import declaring
from ordersys.runtime.broker import BrokerUnavailable, Session
from ordersys.runtime.pauses import growing
from ordersys.runtime.urls import BrokerUrl, BrokerUrls
from ordersys.runtime.waiting import first, resolve

_log = logging.getLogger(__name__)
_DECLARED_EVERY_SECONDS, _PROBED_EVERY_SECONDS = 5.0, 3.0
# While a node of a cluster hangs, the others declare nothing until they have given it up.
_NEW_SECONDS, _KNOWN_SECONDS = 30.0, 1.0

Use = Callable[[Session], Awaitable[None]]


async def declare(urls: BrokerUrls) -> None:
    """Declares the topology of the contract at the first broker that works. Raises BrokerUnavailable."""
    reasons: list[str] = []
    for url in urls:
        try:
            async with opened((url,), "declare") as session:
                return await _declare(session)
        except BrokerUnavailable as error:
            reasons.append(str(error))
    raise BrokerUnavailable("; ".join(reasons))


@asynccontextmanager
async def opened(urls: BrokerUrls, name: str) -> AsyncIterator[Session]:
    """A session to the first broker that answers, as it is. Raises BrokerUnavailable."""
    session = await _connected(urls, name)
    try:
        yield session
    finally:
        await session.close()


async def _connected(urls: BrokerUrls, name: str) -> Session:
    reasons: list[str] = []
    for url in urls:
        try:
            return await Session.open(url, name)
        except BrokerUnavailable as error:
            reasons.append(str(error))
    raise BrokerUnavailable("; ".join(reasons))


async def keep_open(urls: BrokerUrls, name: str, use: Use) -> None:
    """Gives `use` a declared session, and a new one whenever it broke, after growing pauses; never returns.

    `use` returns or raises BrokerUnavailable when its session is closed.
    """
    pauses, known = growing(), False
    while True:
        for url in urls:
            if await _used(url, name, use, known):
                pauses, known = growing(), True
        await asyncio.sleep(next(pauses))


async def _used(url: BrokerUrl, name: str, use: Use, known: bool) -> bool:
    """Gives `use` a session until it breaks; whether one came about."""
    used = False
    try:
        async with opened((url,), name) as session, _kept_declared(session, known):
            _log.info("%s: connected to RabbitMQ at %s", name, url)
            used = True
            await use(session)
            session.check()
    except BrokerUnavailable as error:
        _log.warning("%s: waiting for RabbitMQ: %s", name, error)
    return used


async def _declare(session: Session) -> None:
    async with session.methods() as call:
        await declaring.declare(call, topology())


@asynccontextmanager
async def _kept_declared(session: Session, known: bool) -> AsyncIterator[None]:
    """Declares, and again now and then: a binding or a queue somebody has deleted is missed by nobody else.

    What is known to have been declared before is not insisted on. Raises BrokerUnavailable.
    """
    declared: asyncio.Future[BrokerUnavailable | None] = asyncio.get_running_loop().create_future()
    works = _declare_again_and_again(session, declared), _probe_again_and_again(session)
    tasks = [asyncio.create_task(work) for work in works]
    seconds = _KNOWN_SECONDS if known else _NEW_SECONDS
    try:
        await first(declared, session.closed, seconds=seconds)
        session.check()
        late = BrokerUnavailable(f"declaring takes longer than {seconds:.0f} s")
        if refusal := declared.result() if declared.done() else late:
            if not known:
                raise refusal
            _log.warning("not declared again: %s", refusal)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _declare_again_and_again(session: Session, declared: "asyncio.Future[BrokerUnavailable | None]") -> None:
    """Resolves `declared` the first time; a refusal later on leaves the session as it is."""
    while not session.closed.done():
        refusal = None
        try:
            await _declare(session)
        except BrokerUnavailable as error:
            refusal = error
        if refusal and declared.done() and not session.closed.done():
            _log.warning("not declared again: %s", refusal)
        resolve(declared, refusal)
        await first(session.closed, seconds=_DECLARED_EVERY_SECONDS)


async def _probe_again_and_again(session: Session) -> None:
    with suppress(BrokerUnavailable):  # whoever uses the session is told as well
        while not session.closed.done():
            await first(session.closed, seconds=_PROBED_EVERY_SECONDS)
            async with session.methods():
                pass  # a broker that is silent does not even open an AMQP channel
