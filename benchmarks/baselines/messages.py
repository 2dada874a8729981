"""The events of a round as the product would publish them: body, properties, exchange and routing key alike."""

from collections.abc import Iterator
from typing import NamedTuple

import pika

from benchmarks import samples
from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.contract.events import CONTENT_TYPE, EventMessage, headers
from ordersys.contract.topology import publication


class Message(NamedTuple):
    """A persistent message about a created order."""

    body: bytes
    properties: pika.BasicProperties


class Route(NamedTuple):
    """An exchange and a routing key to publish to."""

    exchange: str
    routing_key: str


def created_route() -> Route:
    """The route of OrderCreated: through the exchange that feeds both queues."""
    to = publication(OrderCreated.DESCRIPTOR)
    return Route(to.exchange, to.routing_key)


def messages(count: int, user: str | None = None) -> Iterator[Message]:
    """`count` messages, each about an order of its own, ready to be published by that user."""
    return (as_message(event, user) for event in samples.events(count))


def as_message(event: EventMessage, user: str | None = None) -> Message:
    """An event as a message, ready to be published by that user."""
    properties = pika.BasicProperties(
        content_type=CONTENT_TYPE,
        delivery_mode=pika.DeliveryMode.Persistent,
        message_id=event.event_id,
        timestamp=event.time // 1_000_000,
        type=event.type,
        headers=headers(event),
        user_id=user,
    )
    return Message(event.body, properties)
