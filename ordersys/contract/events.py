"""An event <-> a message on the wire: CloudEvents 1.0, binary mode, adapted to AMQP 0-9-1.

The layout is stated in proto/ordersys/api/order/v1/order_events.proto.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import DecodeError, Message

from ordersys.contract import descriptors, topology
from ordersys.contract.validation import violations

CONTENT_TYPE = "application/protobuf"
SPEC_VERSION = "1.0"
MAXIMUM_BYTES = 262_144


@dataclass(frozen=True, slots=True)
class EventMessage:
    """An event as it is published: what stands in the outbox and, as AMQP properties, on the wire.

    `time` is in microseconds since 1970-01-01 UTC.
    """

    event_id: str
    type: str
    source: str
    subject: str
    time: int
    traceparent: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the broker delivered, as far as the contract knows it."""

    message_id: str | bytes | None
    type: str | bytes | None
    content_type: str | bytes | None
    """Texts; pika hands over bytes where what stands there is no UTF-8."""
    body: bytes
    redelivered: bool = False
    properties: bytes = field(default=b"", compare=False, repr=False)
    """All of them, as they came: what is needed to publish the message again."""


@dataclass(frozen=True, slots=True)
class Event:
    """A decoded event. `version` is 0 for an event about no order version."""

    event_id: str
    type: str
    order_id: str
    version: int
    message: Any
    body: bytes


class Undecodable(Exception):
    """A delivery that is no event of the contract; the text says why."""


def headers(event: EventMessage) -> dict[str, str]:
    """The AMQP headers of `event`."""
    return {
        "cloudEvents:specversion": SPEC_VERSION,
        "cloudEvents:source": event.source,
        "cloudEvents:subject": event.subject,
        "cloudEvents:time": rfc3339(event.time),
        "traceparent": event.traceparent,
    }


def rfc3339(time: int) -> str:
    """Microseconds since 1970 -> 2026-01-31T12:00:00.000000Z."""
    seconds, micros = divmod(time, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{micros:06d}Z"


def decode(delivery: Delivery) -> Event:
    """The event in `delivery`. Raises Undecodable when it is none, or breaks a rule of the contract.

    What is decoded can be recorded and answered again, in protobuf and in JSON.
    """
    event_id, event_type = _identity(delivery)
    message = _parse(event_type, delivery.body)
    order_id, version = _about(message)
    return Event(event_id, event_type, order_id, version, message, delivery.body)


def _identity(delivery: Delivery) -> tuple[str, str]:
    event_id, event_type = _text("message_id", delivery.message_id), _text("type", delivery.type)
    if _text("content_type", delivery.content_type) != CONTENT_TYPE:
        raise Undecodable(f"content_type is not {CONTENT_TYPE}")
    if not event_id or not event_type:
        raise Undecodable("message_id or type is missing")
    return event_id, event_type


def _text(name: str, value: str | bytes | None) -> str:
    """A property, empty when it is not there. Raises Undecodable for one that is no text: no answer could hold it."""
    if not isinstance(value, str | None):
        raise Undecodable(f"{name} is not text")
    return value or ""


def _parse(event_type: str, body: bytes) -> Message:
    if len(body) > MAXIMUM_BYTES:
        raise Undecodable(f"the body is larger than {MAXIMUM_BYTES} bytes")
    if event_type not in topology.events():
        raise Undecodable("the type is no event of the contract")
    try:
        message = descriptors.message_class(topology.events()[event_type]).FromString(body)
    except DecodeError as error:
        raise Undecodable(f"the body is no {event_type}") from error
    if broken := violations(message):
        raise Undecodable(str(broken[0]))
    return message


def _about(message: Any) -> tuple[str, int]:
    """The order an event is about, and which version of it."""
    if "order" in message.DESCRIPTOR.fields_by_name:
        return message.order.id, message.order.version
    return message.order_id, 0
