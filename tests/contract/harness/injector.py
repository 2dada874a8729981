"""Injects messages into a subscriber's queues, as publishers do or past every exchange; counts what waits there."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pika
from google.protobuf.message import Message
from pika.adapters.blocking_connection import BlockingChannel

from ordersys.contract.access import service_name
from ordersys.contract.events import CONTENT_TYPE
from ordersys.contract.properties import Properties
from ordersys.contract.topology import Subscription, events, publication, subscriptions, topology
from tests.contract.harness.amqp_properties import EncodedProperties, decoded, encoded, short
from tests.contract.harness.system_under_test import new_id

SUBSCRIPTIONS = {subscription.consumer: subscription for subscription in subscriptions()}


class Injector:
    """A connection of the suite's own to the broker. Closed by `close`."""

    def __init__(self, broker: str | pika.connection.Parameters, names_publishers: bool = False) -> None:
        """Given the URL of a broker, or whatever else pika connects by.

        With `names_publishers` each event has the user that the contract names, unless another is given. The user of
        the connection may set any then (tag `impersonator` of RabbitMQ).
        """
        self._names_publishers = names_publishers
        parameters = pika.URLParameters(broker) if isinstance(broker, str) else broker
        self._connection = pika.BlockingConnection(parameters)
        self._channel: BlockingChannel = self._connection.channel()
        self._channel.confirm_delivery()

    def publish(self, event: Message, **properties: Any) -> str:
        """Publishes an event as the contract says; its id."""
        to = publication(event.DESCRIPTOR)
        return self._send(to.exchange, to.routing_key, event.SerializeToString(), event, properties)

    def route(self, exchange: str, routing_key: str, event: Message, **properties: Any) -> str:
        """Publishes an event to another place; its id."""
        return self._send(exchange, routing_key, event.SerializeToString(), event, properties)

    @contextmanager
    def leading_to(self, queue: str, limits: Mapping[str, int]) -> Iterator[str]:
        """A queue for a while, from which goes to `queue` what its `limits` do not let stay."""
        behind = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}
        name = str(self._channel.queue_declare("", arguments={**behind, **limits}).method.queue)
        try:
            yield name
        finally:
            self._channel.queue_delete(name)

    def deliver(self, role: str, event: Message, body: bytes | None = None, **properties: Any) -> str:
        """Puts an event into a subscriber's own queue, past every exchange; with another body or other properties."""
        content = event.SerializeToString() if body is None else body
        return self._send("", SUBSCRIPTIONS[role].queue, content, event, properties)

    def put_aside(self, role: str, event: Message, body: bytes | None = None, **properties: Any) -> str:
        """Puts an event among the dead letters of a subscriber, which never saw it; its id."""
        content = event.SerializeToString() if body is None else body
        return self._send("", SUBSCRIPTIONS[role].dead_letter_queue, content, event, properties)

    def publish_as(self, kind: str, body: bytes, **properties: Any) -> None:
        """Publishes bytes as an event of that type, with these properties."""
        to = publication(events()[kind])
        self._put(to.exchange, to.routing_key, body, properties)

    def put(self, queue: str, body: bytes, **properties: Any) -> None:
        """Puts bytes into a queue, with these properties."""
        self._put("", queue, body, properties)

    def put_raw(self, queue: str, body: bytes, properties: bytes) -> None:
        """Puts a message into a queue with properties as no library has them."""
        self._publish("", queue, body, EncodedProperties.of(self._signed(properties)))

    def make_anew(self, queue: str, seconds: float) -> None:
        """Deletes a queue with all that is in it, and declares it again as the contract has it, so much later."""
        (declared,) = [candidate for candidate in topology().queues if candidate.name == queue]
        self._channel.queue_delete(queue)
        self._connection.sleep(seconds)
        self._channel.queue_declare(queue, durable=True, arguments=dict(declared.arguments))
        for binding in topology().bindings:
            if binding.destination == queue:
                self._channel.queue_bind(queue, binding.source, binding.routing_key)

    def delete(self, queue: str) -> None:
        """Deletes a queue with all that is in it."""
        self._channel.queue_delete(queue)

    def waiting(self, role: str) -> int:
        """The number of messages in a subscriber's queue that wait to be delivered."""
        return self.left_in(SUBSCRIPTIONS[role].queue)

    def left_in(self, queue: str) -> int:
        """The number of messages in a queue that wait to be delivered."""
        return int(self._channel.queue_declare(queue, passive=True).method.message_count)

    def is_there(self, queue: str) -> bool:
        """True once a queue is declared."""
        return not self.try_to(lambda channel: channel.queue_declare(queue, passive=True))

    def try_to(self, act: Callable[[BlockingChannel], object]) -> str:
        """The broker's error for an action that may close the channel, empty when there is none."""
        channel = self._connection.channel()
        try:
            act(channel)
        except pika.exceptions.ChannelClosedByBroker as closed:
            return str(closed.reply_text)
        channel.close()
        return ""

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def _send(self, exchange: str, key: str, body: bytes, event: Message, changed: dict[str, Any]) -> str:
        said = {
            "message_id": new_id(),
            "type": event.DESCRIPTOR.full_name,
            "content_type": CONTENT_TYPE,
            **changed,
        }
        self._put(exchange, key, body, said)
        return str(said["message_id"])

    def _put(self, exchange: str, key: str, body: bytes, said: Mapping[str, Any]) -> None:
        """Publishes a message, which is persistent unless it says something else."""
        persistent = {"delivery_mode": pika.DeliveryMode.Persistent.value}
        properties = pika.BasicProperties(**{**persistent, **said})
        if "user_id" not in said:
            properties = EncodedProperties.of(self._signed(b"".join(properties.encode())))
        self._publish(exchange, key, body, properties)

    def _signed(self, properties: bytes) -> bytes:
        """With the user of the event's publisher, where that is to be named."""
        values = decoded(properties)
        event = events().get(str(Properties(properties).text("type")))
        if not self._names_publishers or "user_id" in values or event is None:
            return properties
        user = service_name(publication(event).publisher)
        return encoded({**values, "user_id": short(user.encode())})

    def _publish(self, exchange: str, key: str, body: bytes, properties: pika.BasicProperties) -> None:
        self._channel.basic_publish(exchange, key, body, properties, mandatory=True)


def takes(subscription: Subscription, event: Message) -> bool:
    """True if a subscriber has a handler for an event."""
    return event.DESCRIPTOR.full_name in subscription.handlers
