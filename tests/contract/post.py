"""Puts messages before a subscriber, as publishers do or past them, and looks into its queues."""

from collections.abc import Callable
from typing import Any

import pika
from google.protobuf.message import Message
from pika.adapters.blocking_connection import BlockingChannel

from ordersys.contract.events import CONTENT_TYPE
from ordersys.contract.topology import Subscription, publication, subscriptions
from tests.contract.world import new_id

SUBSCRIPTIONS = {taken.consumer: taken for taken in subscriptions()}


class Post:
    """A connection of the suite's own to the broker. Closed by `close`."""

    def __init__(self, url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel: BlockingChannel = self._connection.channel()
        self._channel.confirm_delivery()

    def publish(self, event: Message, **properties: Any) -> str:
        """Publishes an event as the contract says; its id."""
        to = publication(event.DESCRIPTOR)
        return self._send(to.exchange, to.routing_key, event.SerializeToString(), event, properties)

    def route(self, exchange: str, routing_key: str, event: Message) -> str:
        """Publishes an event to another place; its id."""
        return self._send(exchange, routing_key, event.SerializeToString(), event, {})

    def deliver(self, role: str, event: Message, body: bytes | None = None, **properties: Any) -> str:
        """Puts an event into a subscriber's own queue, past every exchange; with another body or other properties."""
        content = event.SerializeToString() if body is None else body
        return self._send("", SUBSCRIPTIONS[role].queue, content, event, properties)

    def put_aside(self, role: str, event: Message, body: bytes | None = None, **properties: Any) -> str:
        """Puts an event among the dead letters of a subscriber, which never saw it; its id."""
        content = event.SerializeToString() if body is None else body
        return self._send("", SUBSCRIPTIONS[role].dead_letter_queue, content, event, properties)

    def dead_letter(self, role: str, mark: str) -> tuple[Any, bytes] | None:
        """Takes the dead letter with this correlation id; the others go back."""
        queue, back, found = SUBSCRIPTIONS[role].dead_letter_queue, [], None
        while found is None:
            method, properties, body = self._channel.basic_get(queue)
            if method is None or method.delivery_tag is None:
                break
            if properties is not None and properties.correlation_id == mark:
                found = (properties, body or b"")
                self._channel.basic_ack(method.delivery_tag)
            else:
                back.append(method.delivery_tag)
        for tag in back:
            self._channel.basic_reject(tag, requeue=True)
        return found

    def waiting(self, role: str) -> int:
        """How many messages in a subscriber's queue wait to be delivered."""
        return int(self._channel.queue_declare(SUBSCRIPTIONS[role].queue, passive=True).method.message_count)

    def try_to(self, act: Callable[[BlockingChannel], object]) -> str:
        """What the broker says to something that may cost the channel, empty when it is content."""
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
            "delivery_mode": pika.DeliveryMode.Persistent.value,
            **changed,
        }
        self._channel.basic_publish(exchange, key, body, pika.BasicProperties(**said), mandatory=True)
        return str(said["message_id"])


def takes(taken: Subscription, event: Message) -> bool:
    """Whether a subscriber has a handler for an event."""
    return event.DESCRIPTOR.full_name in taken.handlers
