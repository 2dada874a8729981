"""RabbitMQ: one connection with one AMQP channel for events, until it breaks or falls silent.

Together with frames.py, messages.py and urls.py all that knows pika.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from copy import copy
from functools import partial
from typing import Any, NamedTuple

from pika.channel import Channel
from pika.exceptions import AMQPError

from ordersys.runtime.base.failpoints import failpoint
from ordersys.runtime.base.futures import first, resolve
from ordersys.runtime.rabbitmq import refusals
from ordersys.runtime.rabbitmq.confirms import CONFIRMED, Confirms, Fate, Outcome, Window
from ordersys.runtime.rabbitmq.errors import BrokerRefused, BrokerUnavailable, unavailable
from ordersys.runtime.rabbitmq.frames import Connection, Take
from ordersys.runtime.rabbitmq.messages import Message, delivered
from ordersys.runtime.rabbitmq.urls import BrokerUrl

_log = logging.getLogger(__name__)
# pika tells every broken connection several times over, with tracebacks; what matters is logged here.
logging.getLogger("pika").setLevel(logging.CRITICAL)

HEARTBEAT_SECONDS, BLOCKED_SECONDS = 20, 60
_SENT_AT_A_TIME = 200  # messages between two turns of the event loop: some 2 ms of it
_CLOSE_TIMEOUT_SECONDS = 1.5  # twice: a silent broker is noticed by its heartbeat, but not within a grace period
_RESPONSE_TIMEOUT_SECONDS = 6.0  # nor in time for another node to take over


Call = Callable[..., Awaitable[Any]]
"""Calls an AMQP method, by its name, and waits for the answer. Raises BrokerUnavailable."""


class _Opened(NamedTuple):
    """An AMQP channel, and what says that it was closed, and why."""

    channel: Channel
    closed: "asyncio.Future[BaseException]"


class Session:
    """A connection with one channel for events. Made by `Session.open`; of no use once `closed` is done."""

    def __init__(self, url: BrokerUrl) -> None:
        self._loop = asyncio.get_running_loop()
        self._place = str(url)
        self._connection: Connection
        self._events: _Opened
        self._blocked = self._silent = False
        self._confirms = Confirms()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self.closed: asyncio.Future[BrokerUnavailable] = self._loop.create_future()

    @classmethod
    async def open(cls, url: BrokerUrl, name: str) -> "Session":
        """Connects, with publisher confirms switched on. Raises BrokerUnavailable."""
        session, parameters = cls(url), copy(url.parameters)
        parameters.heartbeat = HEARTBEAT_SECONDS
        parameters.blocked_connection_timeout = BLOCKED_SECONDS
        parameters.socket_timeout = parameters.stack_timeout = _RESPONSE_TIMEOUT_SECONDS
        parameters.client_properties = {"connection_name": name}
        opened = session._loop.create_future()
        session._connection = Connection(
            parameters,
            on_open_callback=partial(resolve, opened),
            on_open_error_callback=session._on_end,
            on_close_callback=session._on_end,
        )
        try:
            await first(opened, session.closed)
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
    async def methods(self) -> AsyncIterator[Call]:
        """An AMQP channel that calls methods: one that hangs, or is refused, keeps no event waiting."""
        opened = await self._open_channel()
        try:
            yield partial(self.call, opened)
        finally:
            if opened.channel.is_open:
                opened.channel.close()

    async def publish(self, messages: Sequence[Message]) -> list[bool]:
        """Publishes `messages` pipelined; for each whether the broker has it for sure, also when the session breaks."""
        return [outcome == CONFIRMED for outcome in await self.publish_each(messages)]

    async def publish_each(self, messages: Sequence[Message]) -> list[Outcome]:
        """Publishes `messages` pipelined; what became of each, also when the session breaks.

        One that can't be encoded costs the others nothing. Where the broker has closed the channel for one of those
        that are open they all have its reason.
        """
        impossible: dict[int, str] = {}
        if self.closed.done() or not messages:
            return [Outcome(Fate.OPEN)] * len(messages)
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
            await self._answer(self._confirms.settled, lambda: window.steps)
        except (AMQPError, BrokerUnavailable) as error:
            self.fail(error)
        return self._outcomes(len(messages), impossible, window)

    async def intake(self, queue: str, prefetch: int, take: Take) -> "Intake":
        """Has every delivery of `queue` given to `take` with its tag, at most `prefetch` unsettled at a time."""
        intake = Intake(self, await self._open_channel())
        await intake.begin(queue, prefetch, take)
        return intake

    def take(self, opened: _Opened, take: Take | None) -> None:
        """Has deliveries on that channel given to `take`, past pika where that can be; with None to pika again."""
        self._connection.take(opened.channel, take)

    async def consumers(self, queue: str) -> int:
        """The number of consumers of `queue`, of any process. Raises BrokerUnavailable."""
        async with self.methods() as call:
            answer = await call("queue_declare", queue=queue, passive=True)
        return int(answer.method.consumer_count)

    def fail(self, error: BaseException) -> None:
        """Gives the session up; what is not settled comes again. The first reason is the one that counts."""
        if not self.closed.done():
            self.closed.set_result(unavailable(self._place, error))
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
        channel = self._events.channel
        channel.add_on_close_callback(lambda _, error: self.fail(error))
        channel.add_on_return_callback(self._on_return)
        confirming = self._loop.create_future()
        channel.confirm_delivery(self._confirms.take, callback=partial(resolve, confirming))
        await self._answer(confirming)

    async def _open_channel(self) -> _Opened:
        self.check()
        opened, closed = self._loop.create_future(), self._loop.create_future()
        channel = self._connection.channel(on_open_callback=partial(resolve, opened))
        channel.add_on_close_callback(lambda _, error: resolve(closed, error))
        await self._answer(opened, partial(getattr, self._connection, "bytes_received"))
        return _Opened(channel, closed)

    async def call(self, opened: _Opened, method: str, **arguments: Any) -> Any:
        """A synchronous AMQP method."""
        answered = self._loop.create_future()
        self.send(method, on=opened, callback=partial(resolve, answered), **arguments)
        await first(answered, opened.closed, self.closed)
        self.check()
        if not answered.done():
            raise unavailable(self._place, opened.closed.result(), method)
        return answered.result()

    def send(self, method: str, *positional: Any, on: _Opened | None = None, **arguments: Any) -> Any:
        """Sends a method, on the channel for events unless another is given."""
        self.check()
        try:
            return getattr((on or self._events).channel, method)(*positional, **arguments)
        except AMQPError as error:
            self.fail(error)
            raise self.closed.result() from error

    def _sent(self, message: Message) -> str:
        """Sends a message; why it can't be, where that is the message's own fault: nothing of it is sent then."""
        try:
            self._connection.publish(self._events.channel, message)
        except Exception as error:  # whatever the encoder raises costs this message, never the session
            if not self._events.channel.is_open or not self._connection.is_open:
                raise
            return f"it can't be encoded: {type(error).__name__}: {error}"
        return ""

    def _outcomes(self, count: int, impossible: dict[int, str], window: Window) -> list[Outcome]:
        """The outcome of each of `count` messages, given the window of those that were sent."""
        if window.confirmed and not impossible:
            return [CONFIRMED] * count
        closed = self.closed.result() if self.closed.done() else None
        lasts = isinstance(closed, BrokerRefused)  # and concerns them all
        reason = str(closed) if closed and not lasts and refusals.is_of_a_message(closed.code) else ""
        shared = {fate: Outcome(fate, reason if fate is Fate.OPEN else "") for fate in Fate}
        sent = iter(window.fates())
        return [
            Outcome(Fate.IMPOSSIBLE, impossible[number]) if number in impossible else shared[next(sent, Fate.OPEN)]
            for number in range(count)
        ]

    async def _answer(self, future: "asyncio.Future[Any]", moved: Callable[[], object] = lambda: None) -> None:
        """Waits for `future`; gives the session up when nothing moves for too long, unless the broker is blocked."""
        while not (future.done() or self.closed.done()):
            before = moved()
            await first(future, self.closed, seconds=_RESPONSE_TIMEOUT_SECONDS)
            if not future.done() and moved() == before and not self._blocked:
                self._silent = True
                self.fail(AMQPError(f"it has been silent for {_RESPONSE_TIMEOUT_SECONDS:.0f} s"))
        self.check()

    def _on_end(self, _: object, error: BaseException) -> None:
        self.fail(error)
        resolve(self._ended, None)

    def _on_return(self, _: Channel, method: Any, properties: Any, __: bytes) -> None:
        _log.warning("no queue took %s (%s): %s", properties.message_id, method.routing_key, method.reply_text)
        self._confirms.returned(properties.message_id)

    def _on_blocked(self, _: object, frame: Any) -> None:
        self._blocked = True
        _log.warning("RabbitMQ at %s takes no events for now: %s", self._place, frame.method.reason)

    def _on_unblocked(self, _: object, __: object) -> None:
        self._blocked = False
        _log.info("RabbitMQ at %s takes events again", self._place)


class Intake:
    """Deliveries of one queue, on an AMQP channel of its session that is theirs. Made by `Session.intake`."""

    def __init__(self, session: Session, opened: _Opened) -> None:
        self._session = session
        self._opened = opened
        self._consumer_tag = ""
        self._leaving = False
        opened.channel.add_on_close_callback(self._on_close)
        opened.channel.add_on_cancel_callback(lambda _: session.fail(AMQPError("the queue was deleted")))

    async def begin(self, queue: str, prefetch: int, take: Take) -> None:
        """Returns when the broker has said that it delivers. Raises BrokerUnavailable."""

        def on_message(_: Channel, method: Any, properties: Any, body: bytes) -> None:
            take(method.delivery_tag, delivered(method, properties, body))

        await self._session.call(self._opened, "basic_qos", prefetch_count=prefetch)
        self._session.take(self._opened, take)
        answered = asyncio.get_running_loop().create_future()
        consume = partial(self._session.send, "basic_consume", on=self._opened, callback=partial(resolve, answered))
        self._consumer_tag = consume(queue=queue, on_message_callback=on_message)
        await first(answered, self._opened.closed, self._session.closed)
        self._session.check()

    async def cancel(self) -> None:
        """Stops deliveries; what was delivered may still be settled. Returns soon, whatever the broker does.

        What comes until the channel is closed is taken as well: given back, it would count toward the delivery limit,
        and a copy of a dead letter would count as one that was kept before.
        """
        if not self._session.closed.done():
            try:
                cancelled = self._session.call(self._opened, "basic_cancel", consumer_tag=self._consumer_tag)
                await asyncio.wait_for(cancelled, _CLOSE_TIMEOUT_SECONDS)
            except TimeoutError as error:
                self._session.fail(error)

    async def close(self) -> None:
        """Closes the channel: what is not settled comes again. Returns soon, whatever the broker does."""
        self._leaving = True
        self._session.take(self._opened, None)
        if self._opened.channel.is_open:
            self._opened.channel.close()
        await first(self._opened.closed, self._session.closed, seconds=_CLOSE_TIMEOUT_SECONDS)
        if not self._opened.closed.done():
            self._session.fail(AMQPError("it does not close an AMQP channel"))

    def ack(self, tag: int, multiple: bool) -> None:
        """Settles a delivery, or all up to it. Raises BrokerUnavailable."""
        self._session.send("basic_ack", tag, multiple=multiple, on=self._opened)

    def reject(self, tag: int, requeue: bool) -> None:
        """Refuses a delivery: to the dead-letter queue, or back to be tried again within its delivery limit."""
        self._session.send("basic_reject", tag, requeue=requeue, on=self._opened)

    def _on_close(self, _: Channel, error: BaseException) -> None:
        if not self._leaving:
            self._session.fail(error)
