"""RabbitMQ: one connection with one AMQP channel, until it breaks.

The only module that knows pika. Everything it declares comes from the contract.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.exceptions import AMQPConnectionError, AMQPError, ProbableAccessDeniedError, ProbableAuthenticationError

from ordersys.contract import topology as contract
from ordersys.contract.events import CONTENT_TYPE, Delivery, EventMessage, headers
from ordersys.runtime.confirms import Window
from ordersys.runtime.crash import crash_point

_log = logging.getLogger(__name__)
# pika tells every broken connection several times over, with tracebacks; what matters is logged here.
logging.getLogger("pika").setLevel(logging.CRITICAL)

HEARTBEAT_SECONDS, BLOCKED_SECONDS = 20, 60
_PARTING_SECONDS = 1.5  # twice: a silent broker is noticed by its heartbeat, but not within a grace period


class BrokerUnavailable(OSError):
    """RabbitMQ can't be used for now; the text says where and why, never a password."""


def place(url: str) -> str:
    """host:port and virtual host of an AMQP URL, fit to be shown."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 5672}{parts.path}"


class Session:
    """A connection with one channel. Made by `Session.open`; of no use any more once `closed` is done."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._place = place(url)
        self._connection: AsyncioConnection
        self._channel: Channel
        self._window: Window | None = None
        self._window_settled: asyncio.Future[None] = self._loop.create_future()
        self._next_tag = 1
        self._consumer_tag = ""
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self.closed: asyncio.Future[BrokerUnavailable] = self._loop.create_future()

    @classmethod
    async def open(cls, url: str, name: str) -> "Session":
        """Connects, with publisher confirms switched on. Raises BrokerUnavailable."""
        session, parameters = cls(url), pika.URLParameters(url)
        parameters.heartbeat = HEARTBEAT_SECONDS
        parameters.blocked_connection_timeout = BLOCKED_SECONDS
        parameters.client_properties = {"connection_name": name}
        opened = session._loop.create_future()
        session._connection = AsyncioConnection(
            parameters,
            on_open_callback=lambda connection: _resolve(opened, connection),
            on_open_error_callback=session._on_end,
            on_close_callback=session._on_end,
        )
        try:
            await session._answer(opened)
            await session._open_channel()
        except BaseException:
            await session.close()
            raise
        return session

    def check(self) -> None:
        """Raises BrokerUnavailable when the session is closed."""
        if self.closed.done():
            raise self.closed.result()

    async def declare(self, topology: contract.Topology) -> None:
        """Declares all of `topology`; what is there already is left as it is. Raises BrokerUnavailable."""
        for exchange in topology.exchanges:
            await self._call("exchange_declare", exchange=exchange.name, exchange_type=exchange.type, durable=True)
        for queue in topology.queues:
            await self._call("queue_declare", queue=queue.name, durable=True, arguments=dict(queue.arguments))
        for binding in topology.bindings:
            await self._bind(binding)

    async def publish(self, events: Sequence[EventMessage]) -> list[bool]:
        """Publishes `events` pipelined; for each whether the broker has it for sure, also when the session breaks."""
        if self.closed.done():
            return [False] * len(events)
        window = Window(self._next_tag, [event.event_id for event in events])
        self._window, self._window_settled = window, self._loop.create_future()
        self._next_tag += len(events)
        try:
            for event in events:
                to = contract.publication(contract.events()[event.type])
                self._channel.basic_publish(to.exchange, to.routing_key, event.body, _properties(event), mandatory=True)
            crash_point("broker.sent")
            await first(self._window_settled, self.closed)
        except AMQPError as error:
            self.fail(error)
        return window.outcome()

    async def consume(self, queue: str, prefetch: int, take: Callable[[int, Delivery], None]) -> None:
        """Has every delivery of `queue` given to `take` with its tag, at most `prefetch` unsettled at a time."""
        await self._call("basic_qos", prefetch_count=prefetch)

        def on_message(_: Channel, method: Any, properties: Any, body: bytes) -> None:
            take(method.delivery_tag, _delivery(method, properties, body))

        answered = self._loop.create_future()
        self._consumer_tag = self._send(
            "basic_consume", queue=queue, on_message_callback=on_message, callback=lambda ok: _resolve(answered, ok)
        )
        await self._answer(answered)

    async def cancel(self) -> None:
        """Stops deliveries; what was delivered may still be settled. Returns soon, whatever the broker does."""
        if self._consumer_tag and not self.closed.done():
            try:
                await asyncio.wait_for(self._call("basic_cancel", consumer_tag=self._consumer_tag), _PARTING_SECONDS)
            except TimeoutError as error:
                self.fail(error)

    def ack(self, tag: int, multiple: bool) -> None:
        """Settles a delivery, or all up to it."""
        self._send("basic_ack", tag, multiple=multiple)

    def reject(self, tag: int, requeue: bool) -> None:
        """Refuses a delivery: to the dead-letter queue, or back to be tried again within its delivery limit."""
        self._send("basic_reject", tag, requeue=requeue)

    def fail(self, error: BaseException) -> None:
        """Gives the session up; what is not settled comes again. The first reason is the one that counts."""
        if not self.closed.done():
            self.closed.set_result(BrokerUnavailable(f"{self._place}: {_reason(error)}"))
        if self._connection.is_open:
            self._connection.close()

    async def close(self) -> None:
        """Closes the connection, what was settled being sent before; returns when nothing is left of it, or soon."""
        if self._connection.is_open:
            self._connection.close()
        if self._connection.is_closed or self._connection.is_closing:
            await asyncio.wait([self._ended], timeout=_PARTING_SECONDS)

    async def _open_channel(self) -> None:
        opened = self._loop.create_future()
        self._connection.channel(on_open_callback=lambda channel: _resolve(opened, channel))
        self._channel = await self._answer(opened)
        self._channel.add_on_close_callback(lambda _, error: self.fail(error))
        self._channel.add_on_cancel_callback(lambda _: self.fail(AMQPError("the queue was deleted")))
        self._channel.add_on_return_callback(self._on_return)
        self._connection.add_on_connection_blocked_callback(self._on_blocked)
        self._connection.add_on_connection_unblocked_callback(self._on_unblocked)
        confirming = self._loop.create_future()
        self._channel.confirm_delivery(self._on_confirm, callback=lambda ok: _resolve(confirming, ok))
        await self._answer(confirming)

    async def _bind(self, binding: contract.Binding) -> None:
        common = {"routing_key": binding.routing_key}
        if binding.to_exchange:
            await self._call("exchange_bind", destination=binding.destination, source=binding.source, **common)
        else:
            await self._call("queue_bind", queue=binding.destination, exchange=binding.source, **common)

    async def _call(self, method: str, **arguments: Any) -> Any:
        """A synchronous AMQP method."""
        answered = self._loop.create_future()
        self._send(method, callback=lambda ok: _resolve(answered, ok), **arguments)
        return await self._answer(answered)

    def _send(self, method: str, *positional: Any, **arguments: Any) -> Any:
        self.check()
        try:
            return getattr(self._channel, method)(*positional, **arguments)
        except AMQPError as error:
            self.fail(error)
            raise self.closed.result() from error

    async def _answer(self, future: "asyncio.Future[Any]") -> Any:
        await first(future, self.closed)
        self.check()
        return future.result()

    def _on_end(self, _: object, error: BaseException) -> None:
        self.fail(error)
        _resolve(self._ended, None)

    def _on_confirm(self, frame: Any) -> None:
        if self._window is None:
            return
        settle = self._window.ack if frame.method.NAME == "Basic.Ack" else self._window.nack
        settle(frame.method.delivery_tag, frame.method.multiple)
        if self._window.settled:
            _resolve(self._window_settled, None)

    def _on_return(self, _: Channel, method: Any, properties: Any, __: bytes) -> None:
        _log.warning("no queue took %s (%s): %s", properties.message_id, method.routing_key, method.reply_text)
        if self._window is not None:
            self._window.returned(properties.message_id)

    def _on_blocked(self, _: object, frame: Any) -> None:
        _log.warning("RabbitMQ at %s takes no events for now: %s", self._place, frame.method.reason)

    def _on_unblocked(self, _: object, __: object) -> None:
        _log.info("RabbitMQ at %s takes events again", self._place)


async def first(*futures: "asyncio.Future[Any]", seconds: float | None = None) -> None:
    """Returns when one of `futures` is done, or that many seconds are over."""
    await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


def _resolve(future: "asyncio.Future[Any]", result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _properties(event: EventMessage) -> pika.BasicProperties:
    return pika.BasicProperties(
        content_type=CONTENT_TYPE,
        delivery_mode=pika.DeliveryMode.Persistent,
        message_id=event.event_id,
        timestamp=event.time // 1_000_000,
        type=event.type,
        headers=headers(event),
    )


def _delivery(method: Any, found: Any, body: bytes) -> Delivery:
    return Delivery(found.message_id, found.type, found.content_type, found.headers or {}, body, method.redelivered)


def _reason(error: BaseException) -> str:
    """What a person needs of pika's errors, which nest and hide their causes."""
    if isinstance(error, ProbableAuthenticationError):
        return "it refuses the user or the password"
    if isinstance(error, ProbableAccessDeniedError):
        return "it has no such virtual host, or the user may not use it"
    nested = getattr(error, "exceptions", None) or [getattr(error, "exception", None)]
    if nested[-1] is not None:
        return _reason(nested[-1])
    if isinstance(error, AMQPConnectionError) and error.args:
        return _reason(error.args[-1]) if isinstance(error.args[-1], BaseException) else str(error.args[-1])
    return str(error) or type(error).__name__
