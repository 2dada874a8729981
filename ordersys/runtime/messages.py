"""Messages as pika has them: an event on its way to the broker, a delivery of it, and a dead letter on its way back."""

from typing import Any, NamedTuple

import pika

from ordersys.contract.events import CONTENT_TYPE, Delivery, EventMessage, headers
from ordersys.contract.topology import Publication

_SHORT = 255  # bytes of a short string (AMQP 0-9-1 §4.2.5.3)
_OF_THE_BROKER = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count")


class Message(NamedTuple):
    """A message and where it is published to; the exchange "" is the queue its routing key names."""

    exchange: str
    routing_key: str
    body: bytes
    properties: pika.BasicProperties


def of_event(event: EventMessage, to: Publication) -> Message:
    """An event, for the exchange named. Raises whatever is wrong with it."""
    if not to.exchange:
        raise ValueError(f"this release does not know where {event.type} is published")
    if len(to.exchange) > _SHORT or len(to.routing_key) > _SHORT:
        raise ValueError("AMQP has no exchange or routing key that long")
    properties = pika.BasicProperties(
        content_type=CONTENT_TYPE,
        delivery_mode=pika.DeliveryMode.Persistent,
        message_id=event.event_id,
        timestamp=event.time // 1_000_000,
        type=event.type,
        headers=headers(event),
    )
    return Message(to.exchange, to.routing_key, event.body, properties)


def again(delivery: Delivery, queue: str) -> Message:
    """What was delivered, for one queue, as it was published: without what the broker wrote on it on its way."""
    properties = delivery.properties
    properties.headers = {k: v for k, v in delivery.headers.items() if not k.startswith(_OF_THE_BROKER)}
    properties.delivery_mode = pika.DeliveryMode.Persistent.value
    return Message("", queue, delivery.body, properties)


def delivered(method: Any, found: Any, body: bytes) -> Delivery:
    """A delivery."""
    sort = found.message_id, found.type, found.content_type
    return Delivery(*sort, found.headers or {}, body, method.redelivered, found)
