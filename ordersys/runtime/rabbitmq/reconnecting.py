"""Sessions to RabbitMQ with the contract declared in them: one now, or one after the other for ever.

Of several URLs each is tried in its turn, after the one that was used last.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from ordersys.contract.topology import topology
from ordersys.runtime.base.backoff import jittered_backoff
from ordersys.runtime.base.futures import resolve_once, wait_first
from ordersys.runtime.metrics.instruments import counter, reading
from ordersys.runtime.metrics.table import BROKER_BLOCKED, BROKER_CONNECTED, BROKER_RECONNECTS
from ordersys.runtime.rabbitmq.connection import Session
from ordersys.runtime.rabbitmq.errors import BrokerRefused, BrokerUnavailable
from ordersys.runtime.rabbitmq.topology import Declarer
from ordersys.runtime.rabbitmq.topology import missing as missing_of
from ordersys.runtime.rabbitmq.urls import BrokerUrl, BrokerUrls

_log = logging.getLogger(__name__)
# The broker tells nobody that a binding is gone, or that it sleeps.
_DECLARED_EVERY_SECONDS, _PROBED_EVERY_SECONDS = 5.0, 3.0
# While a node of a cluster hangs, the others declare nothing until they have given it up.
_NEW_SECONDS, _KNOWN_SECONDS = 30.0, 1.0
_SOUND_SECONDS = 1.0
_OVER_SECONDS = 30.0  # whoever was not refused for that long has got what was missing

T = TypeVar("T")
Use = Callable[[Session], Awaitable[None]]
OnRefusal = Callable[[BrokerRefused | None], None]
"""Gets the refusal of a broker that only a person can change, and None as soon as that is over."""


async def declare(urls: BrokerUrls) -> Sequence[BrokerRefused]:
    """Declares the topology of the contract at the first broker that works; what of it the user may not declare.

    Raises BrokerUnavailable.
    """

    async def open_and_declare(url: BrokerUrl) -> Sequence[BrokerRefused]:
        session = await Session.open(url, "declare")
        try:
            return await Declarer(topology()).declare(session.rpc_channel)
        finally:
            await session.close()

    return await _at_the_first(urls, open_and_declare)


async def missing(urls: BrokerUrls) -> Sequence[str]:
    """The exchanges and queues of the contract that are not there, in words. Raises BrokerUnavailable.

    Asks the first broker that answers.
    """
    async with opened(urls, "check") as session:
        return await missing_of(topology(), session.rpc_channel)


@asynccontextmanager
async def opened(urls: BrokerUrls, name: str) -> AsyncIterator[Session]:
    """A session to the first broker that answers, as it is. Raises BrokerUnavailable."""
    session = await _at_the_first(urls, lambda url: Session.open(url, name))
    try:
        yield session
    finally:
        await session.close()


async def _at_the_first(urls: BrokerUrls, work: Callable[[BrokerUrl], Awaitable[T]]) -> T:
    """Does `work` at the first URL at which it can be done. Raises BrokerUnavailable with the reasons of all.

    It is BrokerRefused where one of them refuses: the nodes of a cluster know the same users and queues.
    What nobody foresaw at one of them is logged, and hides none behind it; where all fail so, it is raised.
    """
    reasons: list[BrokerUnavailable] = []
    unforeseen: list[Exception] = []
    for number, url in enumerate(urls, 1):
        try:
            return await work(url)
        except BrokerUnavailable as error:
            reasons.append(error)
        except Exception as error:  # noqa: BLE001 - logged, and raised unless another one works
            _log.error("RabbitMQ's URL number %d of %d can't be used", number, len(urls), exc_info=error)
            unforeseen.append(error)
    if not reasons:
        raise unforeseen[0]
    kind, code = next(((type(r), r.code) for r in reasons if isinstance(r, BrokerRefused)), (BrokerUnavailable, 0))
    raise kind("; ".join(map(str, reasons)), code)


async def keep_open(
    urls: BrokerUrls, name: str, use: Use, on_refusal: OnRefusal = lambda refusal: None, consumed: str = ""
) -> None:
    """Gives `use` a declared session, and a new one whenever it broke, with jittered backoff; never returns.

    Whoever publishes has a session only as long as the whole topology is declared: while part of it is refused for
    good, what is published would never come to a queue it is owed to. Whoever consumes a queue (`consumed`) is told of
    what is refused of that queue, and goes on.

    `use` returns or raises BrokerUnavailable when its session is closed. Raises what nobody foresaw: what happens with
    a URL as soon as none of the others works, anything else at once.
    """
    await _Keeper(urls, name, use, on_refusal, consumed).keep()


class _Keeper:
    """Knowledge that outlives a session."""

    def __init__(self, urls: BrokerUrls, name: str, use: Use, on_refusal: OnRefusal, consumed: str) -> None:
        self._urls = urls
        self._name = name
        self._use = use
        self._on_refusal = on_refusal
        self._consumed = consumed
        self._known = False
        """True when everything was declared before, and not refused for good since: it is not insisted on again."""
        self._said: set[str] = set()
        """The refusals that the log has: each is said once, and again when it was over meanwhile."""
        self._shown = _Shown(consumed or "publisher")

    async def keep(self) -> None:
        """See `keep_open`."""
        pauses = jittered_backoff()
        while True:
            refusals: list[BrokerRefused] = []
            unusable: list[Exception] = []
            for number, url in enumerate(self._urls, 1):
                try:
                    if await self._used(url, refusals):
                        pauses = jittered_backoff()
                except _Unusable as error:
                    self._log_unusable(number, error)
                    unusable.append(error)
            if len(unusable) == len(self._urls):
                raise unusable[0]
            self._on_refusal(refusals[0] if refusals else None)
            await asyncio.sleep(next(pauses))

    async def _used(self, url: BrokerUrl, refusals: list[BrokerRefused]) -> bool:
        """Gives `use` a session until it breaks; whether it was sound: lasted, and ended otherwise than by a refusal.

        A refusal is added to `refusals`. A broker that takes connections and breaks each at once (541) is no reason to
        connect without pauses.
        """
        loop = asyncio.get_running_loop()
        began = math.inf
        refused = False
        try:
            async with _opened(url, self._name) as session, self._kept_declared(session):
                _log.info("%s: connected to RabbitMQ at %s", self._name, url)
                self._known = True
                refusals.clear()  # of other nodes: they don't matter while this one works
                began = loop.time()
                with self._shown.open(session):
                    await self._use(session)
                if loop.time() - began > _OVER_SECONDS:
                    self._said.clear()
                session.check()
        except BrokerUnavailable as error:
            self._log_unavailable(error, "waiting for RabbitMQ")
            if isinstance(error, BrokerRefused):
                refusals.append(error)
                refused = True
        return loop.time() - began > _SOUND_SECONDS and not refused

    @asynccontextmanager
    async def _kept_declared(self, session: Session) -> AsyncIterator[None]:
        """Declares, and again now and then: a binding or a queue somebody has deleted is missed by nobody else.

        What is known to have been declared before is not insisted on. Raises BrokerUnavailable.
        """
        declared: asyncio.Future[BrokerUnavailable | None] = asyncio.get_running_loop().create_future()
        seconds = _KNOWN_SECONDS if self._known else _NEW_SECONDS
        works = self._declare_again_and_again(session, declared), _probe_again_and_again(session)
        async with _beside(session, *works):
            await wait_first(declared, session.closed, seconds=seconds)
            session.check()
            late = BrokerUnavailable(f"declaring takes longer than {seconds:.0f} s")
            if error := declared.result() if declared.done() else late:
                if not (self._known or isinstance(error, BrokerRefused)):
                    raise error
                self._log_unavailable(error, "not declared again")
            yield

    async def _declare_again_and_again(
        self, session: Session, declared: "asyncio.Future[BrokerUnavailable | None]"
    ) -> None:
        """Resolves `declared` the first time."""
        # On channels of its own: while a node hangs the others declare nothing, and what is published on the same
        # channel would wait for that (docs/reliability.md, "a node of a cluster suspended").
        declarer = Declarer(topology(), self._consumed, self._is_own(session.user))
        while not session.closed.done():
            error = None
            try:
                await declarer.declare(session.rpc_channel)
            except BrokerUnavailable as raised:
                error = raised
            if not session.closed.done():
                self._conclude(session, error, declared.done())
            resolve_once(declared, error)
            await wait_first(session.closed, seconds=_DECLARED_EVERY_SECONDS)

    def _is_own(self, user: str) -> bool:
        """True for a user that has the name of its service, with which the name of the connection begins."""
        return self._name.startswith((f"{user} ", f"{user}."))

    def _conclude(self, session: Session, error: BrokerUnavailable | None, again: bool) -> None:
        """A refusal ends the session of whoever publishes, and is over when all was declared.

        That the broker declares nothing for now ends nothing: a cluster that gives up a node may still take events.
        """
        # Who publishes into a topology with a queue missing loses events for that queue (docs/reliability.md, "a queue
        # of the contract deleted"); who consumes one only hears less.
        if isinstance(error, BrokerRefused) and not self._consumed:
            self._known = False
            session.abort(error)
        elif error and again:
            self._log_unavailable(error, "not declared again")
        if error is None or isinstance(error, BrokerRefused):
            self._on_refusal(error)

    def _log_unavailable(self, error: BrokerUnavailable, consequence: str) -> None:
        """Logs a warning each time a broker is away, and an error, once, when it refuses: that is somebody's task."""
        if not isinstance(error, BrokerRefused):
            _log.warning("%s: %s: %s", self._name, consequence, error)
        elif str(error) not in self._said:
            self._said.add(str(error))
            _log.error("%s: RabbitMQ refuses, and will until somebody changes it: %s", self._name, error)

    def _log_unusable(self, number: int, error: "_Unusable") -> None:
        if repr(error) not in self._said:
            self._said.add(repr(error))
            text = "%s: RabbitMQ's URL number %d of %d can't be used"
            _log.error(text, self._name, number, len(self._urls), exc_info=error.__cause__)


class _Shown:
    """The session there is, as metrics show it."""

    def __init__(self, connection: str) -> None:
        self._session: Session | None = None
        self._opened = False
        self._reconnects = counter(BROKER_RECONNECTS, connection=connection)
        reading(BROKER_CONNECTED, lambda: self._session is not None, connection=connection)
        reading(BROKER_BLOCKED, self._is_blocked, connection=connection)

    @contextmanager
    def open(self, session: Session) -> Iterator[None]:
        """Shows `session`, which is another one each time."""
        if self._opened:
            self._reconnects.inc()
        self._session, self._opened = session, True
        try:
            yield
        finally:
            self._session = None

    def _is_blocked(self) -> bool:
        session = self._session  # it may end while a scrape, in its own thread, looks
        return session is not None and session.blocked


class _Unusable(Exception):
    """The cause of an unforeseen error while a session was opened."""


@asynccontextmanager
async def _opened(url: BrokerUrl, name: str) -> AsyncIterator[Session]:
    """A session, while the context is open. Raises BrokerUnavailable and _Unusable."""
    try:
        session = await Session.open(url, name)
    except BrokerUnavailable:
        raise
    except Exception as error:
        raise _Unusable(repr(error)) from error
    try:
        yield session
    finally:
        await session.close()


@asynccontextmanager
async def _beside(session: Session, *works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Does `works` while the context is open; what nobody foresaw in one of them ends the session, and is raised.

    No TaskGroup: before Python 3.13 it forgets a cancellation that comes while it ends for an error of its body.
    """
    tasks = [asyncio.create_task(work) for work in works]
    for task in tasks:
        task.add_done_callback(partial(_ended_beside, session))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()):
                raise error


def _ended_beside(session: Session, task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()):
        session.abort(error)


async def _probe_again_and_again(session: Session) -> None:
    with suppress(BrokerUnavailable):  # whoever uses the session is told as well
        while not session.closed.done():
            await wait_first(session.closed, seconds=_PROBED_EVERY_SECONDS)
            async with session.rpc_channel():
                pass  # a broker that is silent does not even open an AMQP channel
