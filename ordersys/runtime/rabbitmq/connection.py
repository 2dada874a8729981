"""RabbitMQ: one connection with one AMQP channel for events, until it breaks or falls silent.

pika is known to this folder alone, of its modules to connection, channel, frames, messages, urls and errors.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pika
from pika.channel import Channel
from pika.exceptions import AMQPError

from ordersys.runtime.base.failpoints import failpoint
from ordersys.runtime.base.futures import resolve_once, wait_first
from ordersys.runtime.rabbitmq import refusals
from ordersys.runtime.rabbitmq.channel import Intake, QueueCounts, RpcChannel
from ordersys.runtime.rabbitmq.confirms import CONFIRMED, Confirms, Fate, PublishResult, Window
from ordersys.runtime.rabbitmq.errors import BrokerRefused, BrokerUnavailable, unavailable
from ordersys.runtime.rabbitmq.frames import Connection
from ordersys.runtime.rabbitmq.messages import Message
from ordersys.runtime.rabbitmq.tls import trouble
from ordersys.runtime.rabbitmq.urls import BrokerUrl

_log = logging.getLogger(__name__)
# pika tells every broken connection several times over, with tracebacks; what matters is logged here.
logging.getLogger("pika").setLevel(logging.CRITICAL)

HEARTBEAT_SECONDS, BLOCKED_SECONDS = 20, 60
_SENT_AT_A_TIME = 200  # messages between two turns of the event loop: some 2 ms of it
_CLOSE_TIMEOUT_SECONDS = 1.5  # twice: a silent broker is noticed by its heartbeat, but not within a grace period
_RESPONSE_TIMEOUT_SECONDS = 6.0  # nor in time for another node to take over


class Session:
    """A connection with one channel for events. Made by `Session.open`; of no use once `closed` is done."""

    def __init__(self, url: BrokerUrl) -> None:
        self._loop = asyncio.get_running_loop()
        self.place, self.user = str(url), url.user
        self._connection: Connection
        self._events: RpcChannel
        self._silent = False
        self.blocked = False
        """True while the broker says that it takes nothing (connection.blocked)."""
        self._confirms = Confirms()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self.closed: asyncio.Future[BrokerUnavailable] = self._loop.create_future()

    @classmethod
    async def open(cls, url: BrokerUrl, name: str) -> "Session":
        """Connects, with publisher confirms switched on. Raises BrokerUnavailable."""
        session, parameters = cls(url), _parameters(url)
        parameters.heartbeat = HEARTBEAT_SECONDS
        parameters.blocked_connection_timeout = BLOCKED_SECONDS
        # pika's own limits, 10 s for each address and 15 s for all, outlast the time in which another node has to take
        # over.
        parameters.socket_timeout = parameters.stack_timeout = _RESPONSE_TIMEOUT_SECONDS
        parameters.client_properties = {"connection_name": name}
        opened = session._loop.create_future()
        session._connection = Connection(
            parameters,
            on_open_callback=partial(resolve_once, opened),
            on_open_error_callback=session._on_end,
            on_close_callback=session._on_end,
        )
        try:
            await wait_first(opened, session.closed)
            await session._prepare()
        except BaseException:
            await session.close()
            raise
        return session

    def check(self) -> None:
        """Raises BrokerUnavailable when the session is closed."""
        if self.closed.done():
            raise self.closed.result()

    @asynccontextmanager
    async def rpc_channel(self) -> AsyncIterator[RpcChannel]:
        """An AMQP channel for methods: one that hangs, or is refused, keeps no event waiting."""
        channel = await self._open_channel()
        try:
            yield channel
        finally:
            channel.close()

    async def publish(self, messages: Sequence[Message]) -> list[bool]:
        """Publishes `messages` pipelined; for each whether the broker has it for sure, also when the session breaks."""
        return [outcome == CONFIRMED for outcome in await self.publish_each(messages)]

    async def publish_each(self, messages: Sequence[Message]) -> list[PublishResult]:
        """Publishes `messages` pipelined; what became of each, also when the session breaks.

        One that can't be encoded costs the others nothing. Where the broker has closed the channel for one of those
        that are open they all have its reason.
        """
        impossible: dict[int, str] = {}
        if self.closed.done() or not messages:
            return [PublishResult(Fate.OPEN)] * len(messages)
        window = self._confirms.begin()
        try:
            for number, message in enumerate(messages):
                if fault := self._sent(message):
                    impossible[number] = fault
                    continue
                window.sent(message.properties.message_id)
                if len(window) % _SENT_AT_A_TIME == 0:  # the broker works on these while the next are laid out
                    self._connection.flush()
                    await asyncio.sleep(0)
            self._connection.flush()
            self._confirms.complete()
            failpoint("broker.sent")
            await self._answer(self._confirms.settled, lambda: window.progress)
        except (AMQPError, BrokerUnavailable) as error:
            self.abort(error)
        return self._outcomes(len(messages), impossible, window)

    async def intake(self) -> Intake:
        """An intake of this session, which takes nothing before it begins. Raises BrokerUnavailable."""
        return Intake(self, self._connection, await self._open_channel())

    async def consumers(self, queue: str) -> int:
        """The number of consumers of `queue`, of any process. Raises BrokerUnavailable."""
        return (await self.counts(queue)).consumers

    async def counts(self, queue: str) -> QueueCounts:
        """The numbers of `queue`. Raises BrokerUnavailable."""
        async with self.rpc_channel() as channel:
            return await channel.find_queue(queue)

    def abort(self, error: BaseException) -> None:
        """Gives the session up; what is not settled comes again. The first reason is the one that counts."""
        if not self.closed.done():
            self.closed.set_result(unavailable(self.place, error))
        if self._connection.is_open:
            self._connection.close()

    async def close(self) -> None:
        """Closes the connection, what was settled being sent before; returns when nothing is left of it, or soon."""
        if not (self._connection.is_closed or self._connection.is_closing):
            self._connection.close()
        await asyncio.wait([self._ended], timeout=0 if self._silent else _CLOSE_TIMEOUT_SECONDS)

    async def _prepare(self) -> None:
        self._connection.add_on_connection_blocked_callback(self._on_blocked)
        self._connection.add_on_connection_unblocked_callback(self._on_unblocked)
        self._events = await self._open_channel()
        channel = self._events.amqp
        channel.add_on_close_callback(lambda _, error: self.abort(error))
        channel.add_on_return_callback(self._on_return)
        confirming = self._loop.create_future()
        channel.confirm_delivery(self._confirms.take, callback=partial(resolve_once, confirming))
        await self._answer(confirming)

    async def _open_channel(self) -> RpcChannel:
        self.check()
        opened = self._loop.create_future()
        channel = RpcChannel(self, self._connection.channel(on_open_callback=partial(resolve_once, opened)))
        # Opening waits behind whatever the broker sends: as long as that moves, it is not silent.
        await self._answer(opened, lambda: self._connection.received)
        return channel

    def _sent(self, message: Message) -> str:
        """Sends a message; why it can't be, where that is the message's own fault: nothing of it is sent then."""
        try:
            self._connection.publish(self._events.amqp, message)
        except Exception as error:  # whatever the encoder raises costs this message, never the session
            if not self._events.amqp.is_open or not self._connection.is_open:
                raise
            return f"it can't be encoded: {type(error).__name__}: {error}"
        return ""

    def _outcomes(self, count: int, impossible: dict[int, str], window: Window) -> list[PublishResult]:
        """The outcome of each of `count` messages, given the window of those that were sent."""
        if window.confirmed and not impossible:
            return [CONFIRMED] * count
        closed = self.closed.result() if self.closed.done() else None
        lasts = isinstance(closed, BrokerRefused)  # and concerns them all
        reason = str(closed) if closed and not lasts and refusals.is_of_a_message(closed.code) else ""
        shared = {fate: PublishResult(fate, reason if fate is Fate.OPEN else "") for fate in Fate}
        sent = iter(window.fates())
        return [
            PublishResult(Fate.IMPOSSIBLE, impossible[number])
            if number in impossible
            else shared[next(sent, Fate.OPEN)]
            for number in range(count)
        ]

    async def _answer(self, future: "asyncio.Future[Any]", moved: Callable[[], object] = lambda: None) -> None:
        """Waits for `future`; gives the session up when nothing moves for too long, unless the broker is blocked."""
        while not (future.done() or self.closed.done()):
            before = moved()
            await wait_first(future, self.closed, seconds=_RESPONSE_TIMEOUT_SECONDS)
            # A broker with an alarm says that it takes nothing (connection.blocked), and then answers nothing for as
            # long as that lasts: pika gives it BLOCKED_SECONDS.
            if not future.done() and moved() == before and not self.blocked:
                self._silent = True
                self.abort(AMQPError(f"it has been silent for {_RESPONSE_TIMEOUT_SECONDS:.0f} s"))
        self.check()

    def _on_end(self, _: object, error: BaseException) -> None:
        self.abort(error)
        resolve_once(self._ended, None)

    def _on_return(self, _: Channel, method: Any, properties: Any, __: bytes) -> None:
        _log.warning("no queue took %s (%s): %s", properties.message_id, method.routing_key, method.reply_text)
        self._confirms.returned(properties.message_id)

    def _on_blocked(self, _: object, frame: Any) -> None:
        self.blocked = True
        _log.warning("RabbitMQ at %s takes no events for now: %s", self.place, frame.method.reason)

    def _on_unblocked(self, _: object, __: object) -> None:
        self.blocked = False
        _log.info("RabbitMQ at %s takes events again", self.place)


def _parameters(url: BrokerUrl) -> pika.URLParameters:
    """For one connection. Raises BrokerUnavailable: files that are replaced right now may fit in a moment."""
    try:
        return url.fresh()
    except OSError as error:
        raise BrokerUnavailable(f"{url}: {trouble(error)}") from error
