"""An event <-> a message on the wire: CloudEvents 1.0, binary mode, adapted to AMQP 0-9-1.

The layout is stated in proto/ordersys/api/order/v1/order_events.proto.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from ordersys.contract import descriptors, topology
from ordersys.contract.times import microseconds
from ordersys.contract.validation import violations

CONTENT_TYPE = "application/protobuf"
SPEC_VERSION = "1.0"
# Bytes of a body. The largest valid event has 50 items, in less than 10 KiB. The rest is room for unknown fields of a
# newer publisher, which are kept; a subscriber holds up to ORDERSYS_PREFETCH such bodies at a time.
MAXIMUM_BYTES = 262_144


class EventMessage(NamedTuple):
    """An event as it is published: a row in the outbox; on the wire AMQP properties and a body.

    `time` is in microseconds since 1970-01-01 UTC.
    """

    event_id: str
    type: str
    source: str
    subject: str
    time: int
    traceparent: str
    body: bytes


class Received(Protocol):
    """A received message, with the properties the contract needs; the classes of an AMQP client have more.

    A text property is bytes where it is not UTF-8.
    """

    @property
    def message_id(self) -> str | bytes | None: ...  # noqa: D102
    @property
    def type(self) -> str | bytes | None: ...  # noqa: D102
    @property
    def content_type(self) -> str | bytes | None: ...  # noqa: D102
    @property
    def body(self) -> bytes: ...  # noqa: D102


class Delivery(NamedTuple):
    """A received message that has only the properties the contract needs."""

    message_id: str | bytes | None
    type: str | bytes | None
    content_type: str | bytes | None
    body: bytes


class Event(NamedTuple):
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
    return f"{_second(seconds)}.{micros:06d}Z"


@lru_cache(maxsize=16)  # hundreds of events that are published one after the other share a second
def _second(seconds: int) -> str:
    """Seconds since 1970 -> 2026-01-31T12:00:00."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


class _Kind(NamedTuple):
    """An event type as decoding needs it, looked up in the descriptors once."""

    parse: Callable[[bytes], Message]
    about: Callable[[Message], tuple[str, int]]
    """The order id and the version of an event."""
    time: Callable[[Message], Timestamp]
    """The time of the change an event tells of."""


def decode(delivery: Received) -> Event:
    """The event in `delivery`. Raises Undecodable when it is none, or breaks a rule of the contract.

    A decoded event can be recorded and answered again, in protobuf and in JSON.
    """
    event_id, event_type = _identity(delivery)
    body = delivery.body
    # Before anything is parsed: whoever may publish decides what is parsed here.
    if len(body) > MAXIMUM_BYTES:
        raise Undecodable(f"the body is larger than {MAXIMUM_BYTES} bytes")
    kind = _kinds().get(event_type)
    if kind is None:
        raise Undecodable("the type is no event of the contract")
    try:
        message = kind.parse(body)
    except DecodeError as error:
        raise Undecodable(f"the body is no {event_type}") from error
    if broken := violations(message):
        raise Undecodable(str(broken[0]))
    order_id, version = kind.about(message)
    return Event(event_id, event_type, order_id, version, message, body)


def time_of(event: Event) -> int:
    """The time of the change that `event` tells of, in microseconds since 1970."""
    return microseconds(_kinds()[event.type].time(event.message))


def _identity(delivery: Received) -> tuple[str, str]:
    event_id, event_type = _text("message_id", delivery.message_id), _text("type", delivery.type)
    if _text("content_type", delivery.content_type) != CONTENT_TYPE:
        raise Undecodable(f"content_type is not {CONTENT_TYPE}")
    if not event_id or not event_type:
        raise Undecodable("message_id or type is missing")
    return event_id, event_type


def _text(name: str, value: str | bytes | None) -> str:
    """A property, empty when it is absent. Raises Undecodable for one that is not UTF-8: no reply could hold it."""
    if not (value is None or isinstance(value, str)):
        raise Undecodable(f"{name} is not text")
    return value or ""


@cache
def _kinds() -> Mapping[str, _Kind]:
    return {
        name: _Kind(descriptors.message_class(kind).FromString, _about(kind), _time(kind))
        for name, kind in topology.events().items()
    }


def _time(kind: Descriptor) -> Callable[[Message], Timestamp]:
    """That of the order as it became; an event about no order has a time of its own."""
    own = (field.name for field in kind.fields if field.message_type is Timestamp.DESCRIPTOR)
    return attrgetter("order.update_time" if "order" in kind.fields_by_name else next(own))


def _about(kind: Descriptor) -> Callable[[Message], tuple[str, int]]:
    if "order" in kind.fields_by_name:
        return attrgetter("order.id", "order.version")
    order_id = attrgetter("order_id")
    return lambda message: (order_id(message), 0)
