"""AMQP channels: methods that return when the broker has answered, and the deliveries of one queue.

A method that is refused costs its channel (AMQP 0-9-1 §1.2, "soft" errors): so whatever may be refused has a channel of
its own, beside the one on which events are published.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

from pika import BasicProperties
from pika.channel import Channel
from pika.exceptions import AMQPError
from pika.frame import Method
from pika.spec import Basic, Queue

from ordersys.runtime.base.futures import resolve_once, wait_first
from ordersys.runtime.rabbitmq.errors import BrokerUnavailable, unavailable
from ordersys.runtime.rabbitmq.frames import Connection, Take
from ordersys.runtime.rabbitmq.messages import delivered

_CLOSE_TIMEOUT_SECONDS = 1.5  # a silent broker is noticed by its heartbeat, but not within a grace period
OnMessage = Callable[[Channel, Basic.Deliver, BasicProperties, bytes], object]
_Answered = Callable[[Any], None]


class Owner(Protocol):
    """The session a channel belongs to."""

    closed: "asyncio.Future[BrokerUnavailable]"
    place: str

    def check(self) -> None:
        """Raises BrokerUnavailable when the session is closed."""
        ...

    def abort(self, error: BaseException) -> None:
        """Gives the session up."""
        ...


class QueueCounts(NamedTuple):
    """A queue in numbers: the messages that wait in it, and its consumers, of any process."""

    messages: int
    consumers: int


class RpcChannel:
    """An AMQP channel. Each `async` method returns when the broker has answered.

    It raises BrokerUnavailable, or BrokerRefused where only a person can change that; the channel is closed then.
    """

    def __init__(self, owner: Owner, amqp: Channel) -> None:
        self._owner = owner
        self.amqp = amqp
        self.closed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        """Done when the channel is closed, with the reason."""
        amqp.add_on_close_callback(lambda _, error: resolve_once(self.closed, error))

    async def declare_exchange(self, name: str, kind: str) -> None:
        """Makes a durable exchange, unless there is an equal one."""
        await self._call(
            "exchange_declare", lambda done: self.amqp.exchange_declare(name, kind, durable=True, callback=done)
        )

    async def find_exchange(self, name: str) -> None:
        """Returns when there is an exchange of that name; asking needs little permission (`passive`)."""
        await self._call("exchange_declare", lambda done: self.amqp.exchange_declare(name, passive=True, callback=done))

    async def declare_queue(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Makes a durable queue, unless there is an equal one."""
        await self._call(
            "queue_declare",
            lambda done: self.amqp.queue_declare(name, durable=True, arguments=dict(arguments), callback=done),
        )

    async def find_queue(self, name: str) -> QueueCounts:
        """The counts of the queue of that name; asking needs little permission (`passive`)."""
        answer: Method[Queue.DeclareOk] = await self._call(
            "queue_declare", lambda done: self.amqp.queue_declare(name, passive=True, callback=done)
        )
        return QueueCounts(int(answer.method.message_count or 0), int(answer.method.consumer_count or 0))

    async def bind_queue(self, queue: str, exchange: str, routing_key: str) -> None:
        """Has an exchange put what has that routing key into a queue."""
        await self._call("queue_bind", lambda done: self.amqp.queue_bind(queue, exchange, routing_key, callback=done))

    async def bind_exchange(self, destination: str, source: str, routing_key: str) -> None:
        """Has an exchange pass what has that routing key on to another one."""
        await self._call(
            "exchange_bind", lambda done: self.amqp.exchange_bind(destination, source, routing_key, callback=done)
        )

    async def set_prefetch(self, count: int) -> None:
        """Has the broker deliver no more before something is settled, to consumers that begin from now on."""
        await self._call("basic_qos", lambda done: self.amqp.basic_qos(prefetch_count=count, callback=done))

    async def consume(self, queue: str, on_message: OnMessage) -> str:
        """Has deliveries of a queue given to `on_message`; the tag by which that is cancelled."""
        answer: Method[Basic.ConsumeOk] = await self._call(
            "", lambda done: self.amqp.basic_consume(queue, on_message, callback=done)
        )
        return str(answer.method.consumer_tag)

    async def cancel(self, consumer_tag: str) -> None:
        """Ends the deliveries of `consume`; those that are on their way still come."""
        await self._call("basic_cancel", lambda done: self.amqp.basic_cancel(consumer_tag, callback=done))

    def ack(self, tag: int, multiple: bool) -> None:
        """Settles a delivery, or all up to it, without waiting. Raises BrokerUnavailable."""
        self._send(partial(self.amqp.basic_ack, tag, multiple))

    def reject(self, tag: int, requeue: bool) -> None:
        """Refuses a delivery, without waiting. Raises BrokerUnavailable."""
        self._send(partial(self.amqp.basic_reject, tag, requeue))

    def close(self) -> None:
        """Closes the channel, without waiting, where it is open: what is not settled comes again."""
        if self.amqp.is_open:
            self.amqp.close()

    async def _call(self, method: str, send: Callable[[_Answered], object]) -> Any:
        """The answer to a method, which `send` sends; `method` names it in the words for a refusal."""
        answered = asyncio.get_running_loop().create_future()
        self._send(lambda: send(partial(resolve_once, answered)))
        # pika calls back for an answer only: where the broker refuses, it closes the channel instead.
        await wait_first(answered, self.closed, self._owner.closed)
        self._owner.check()
        if not answered.done():
            raise unavailable(self._owner.place, self.closed.result(), method)
        return answered.result()

    def _send(self, send: Callable[[], object]) -> None:
        self._owner.check()
        try:
            send()
        except AMQPError as error:  # pika raises where the channel, or the connection, is closed by now
            self._owner.abort(error)
            raise self._owner.closed.result() from error


class Intake:
    """Deliveries of one queue, on an AMQP channel of its session that is theirs. Made by `Session.intake`."""

    def __init__(self, owner: Owner, connection: Connection, channel: RpcChannel) -> None:
        self._owner = owner
        self._connection = connection
        self._channel = channel
        self._consumer_tag = ""
        self._leaving = False
        channel.amqp.add_on_close_callback(self._on_close)
        channel.amqp.add_on_cancel_callback(lambda _: owner.abort(AMQPError("the queue was deleted")))

    async def begin(self, queue: str, prefetch: int, take: Take) -> None:
        """Has every delivery of `queue` given to `take` with its tag, at most `prefetch` unsettled at a time.

        Returns when the broker has said that it delivers; the first ones may be taken, and settled, before that.
        Raises BrokerUnavailable.
        """

        def on_message(_: Channel, method: Any, properties: Any, body: bytes) -> None:
            take(method.delivery_tag, delivered(method, properties, body))

        # Before consume: in RabbitMQ it counts for consumers that begin afterwards (RabbitMQ: Consumer Prefetch).
        await self._channel.set_prefetch(prefetch)
        # Also before: the first delivery may come with the very bytes that answer consume.
        self._connection.take(self._channel.amqp, take)
        self._consumer_tag = await self._channel.consume(queue, on_message)

    async def cancel(self) -> None:
        """Stops deliveries; what was delivered may still be settled. Returns soon, whatever the broker does.

        What comes until the channel is closed is taken as well: given back, it would count toward the delivery limit,
        and a copy of a dead letter would count as one that was kept before. Raises BrokerUnavailable.
        """
        if not self._owner.closed.done():
            try:
                await asyncio.wait_for(self._channel.cancel(self._consumer_tag), _CLOSE_TIMEOUT_SECONDS)
            except TimeoutError as error:
                self._owner.abort(error)

    async def close(self) -> None:
        """Closes the channel: what is not settled comes again. Returns soon, whatever the broker does."""
        self._leaving = True
        self._connection.take(self._channel.amqp, None)
        self._channel.close()
        await wait_first(self._channel.closed, self._owner.closed, seconds=_CLOSE_TIMEOUT_SECONDS)
        if not self._channel.closed.done():
            self._owner.abort(AMQPError("it does not close an AMQP channel"))

    def ack(self, tag: int, multiple: bool) -> None:
        """Settles a delivery, or all up to it. Raises BrokerUnavailable."""
        self._channel.ack(tag, multiple)

    def reject(self, tag: int, requeue: bool) -> None:
        """Refuses a delivery: to the dead-letter queue, or back to be tried again within its delivery limit."""
        self._channel.reject(tag, requeue)

    def _on_close(self, _: Channel, error: BaseException) -> None:
        if not self._leaving:
            self._owner.abort(error)
