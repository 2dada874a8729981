"""Messages as pika has them: an event on its way to the broker, a delivery of it, and a copy on its way back."""

from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import pika

from ordersys.contract.events import CONTENT_TYPE, SPEC_VERSION, EventMessage, rfc3339
from ordersys.contract.properties import BITS, Malformed, Properties, for_a_copy
from ordersys.contract.topology import Publication

_SHORT = 255  # bytes of a short string (AMQP 0-9-1 §4.2.5.3)
_PERSISTENT = pika.DeliveryMode.Persistent.value
_PRESENT = sum(BITS[p] for p in ("content_type", "headers", "delivery_mode", "message_id", "timestamp", "type"))


class Outgoing(Protocol):
    """An event, and where it is published to."""

    @property
    def event(self) -> EventMessage: ...  # noqa: D102

    @property
    def to(self) -> Publication: ...  # noqa: D102


class Message(NamedTuple):
    """A message and where it is published to; the exchange "" is the queue its routing key names."""

    exchange: str
    routing_key: str
    body: bytes
    properties: pika.BasicProperties


class AmqpDelivery(NamedTuple):
    """A message as the broker delivered it (contract.events.Received)."""

    message_id: str | bytes | None
    type: str | bytes | None
    content_type: str | bytes | None
    body: bytes
    redelivered: bool = False
    properties: bytes = b""
    """All of them, as they came: what is needed to publish the message again."""
    user_id: str | bytes | None = None
    exchange: str = ""
    """The exchange it came through; empty where that is the default one, or not known."""


class RawProperties(pika.BasicProperties):
    """Properties as the bytes they are on the wire, so that nothing is decoded or encoded that nobody asks for.

    pika decodes whatever comes, headers and all, which costs more than the delivery itself; and what it can't decode
    (ValueError, OverflowError, RecursionError) ends the connection, and comes again on the next one, for ever. Here the
    texts that a subscriber asks for are read at once, the others when they are; what can't be decoded has none.
    """

    raw: bytes
    # pika, too, gives bytes for a text that is not UTF-8; its stubs do not say so.
    message_id: str | bytes | None  # type: ignore[assignment]
    type: str | bytes | None  # type: ignore[assignment]
    content_type: str | bytes | None  # type: ignore[assignment]
    user_id: str | bytes | None  # type: ignore[assignment]

    def __init__(self) -> None:
        """Without the fields of BasicProperties: `__getattr__` has them."""
        self.raw = b""

    @classmethod
    def of(cls, raw: bytes) -> "RawProperties":
        """The properties in `raw`."""
        return cls().decode(raw)

    def decode(self, encoded: bytes, offset: int = 0) -> "RawProperties":
        """Keeps what came, and reads the texts. Raises nothing."""
        self.raw = bytes(encoded[offset:])
        try:
            properties = Properties(self.raw)
        except Malformed:  # to pika it may be some, as long as it reads no further
            self._decode_all()
        else:
            self.message_id, self.type = properties.text("message_id"), properties.text("type")
            self.content_type, self.user_id = properties.text("content_type"), properties.text("user_id")
        return self

    def encode(self) -> list[bytes]:
        """The bytes as they came."""
        return [self.raw]

    def __getattr__(self, name: str) -> Any:
        """A field that was not read yet: all are then, by pika."""
        if name not in _FIELDS:
            raise AttributeError(name)
        texts = {text: value for text, value in self.__dict__.items() if text in _FIELDS}
        self._decode_all()
        self.__dict__.update(texts)
        return self.__dict__[name]

    def _decode_all(self) -> None:
        super().__init__()
        try:
            # A timestamp in milliseconds, tables 1,200 deep (docs/reliability.md, "a message with a header
            # that pika can't decode").
            super().decode(self.raw)
        except Exception:  # noqa: BLE001 - whatever the decoder raises costs this message, never the connection
            super().__init__()


_FIELDS = frozenset(vars(pika.BasicProperties()))


def receive_raw(by_class: dict[int, Any]) -> None:
    """Has pika put what it receives into RawProperties, given its table of the classes of properties."""
    by_class[pika.BasicProperties.INDEX] = RawProperties


# No public part of pika 1.4: without it messages are decoded by pika, and encoded anew for a copy.
with suppress(AttributeError):
    receive_raw(pika.spec.props)


def of_event(event: EventMessage, to: Publication, user: str = "") -> Message:
    """An event, for the exchange named, published by that user. Raises whatever is wrong with it."""
    if not to.exchange:
        raise ValueError(f"this release does not know where {event.type} is published")
    if len(to.exchange) > _SHORT or len(to.routing_key) > _SHORT:
        raise ValueError("AMQP has no exchange or routing key that long")
    properties = RawProperties()
    properties.raw = _laid_out(event, user)
    properties.message_id = event.event_id
    return Message(to.exchange, to.routing_key, event.body, properties)


def _laid_out(event: EventMessage, user: str) -> bytes:
    """The properties of `event` as they are on the wire (AMQP 0-9-1 §4.2.6.1), byte by byte what pika makes of them.

    pika asks of each value anew how it is encoded, which costs as much as all the rest of publishing.
    """
    before, origin, after = _constant(event.type, event.source, user)
    subject, traceparent = event.subject.encode(), event.traceparent.encode()
    headers = b"%b\x13cloudEvents:subjectS%b%b\x10cloudEvents:timeS\0\0\0\x1b%b\x0btraceparentS%b%b" % (
        origin,
        len(subject).to_bytes(4),
        subject,
        rfc3339(event.time).encode(),
        len(traceparent).to_bytes(4),
        traceparent,
    )
    return b"%b%b%b%c%b%b%b" % (
        before,
        len(headers).to_bytes(4),
        headers,
        _PERSISTENT,
        short_string(event.event_id),
        (event.time // 1_000_000).to_bytes(8),
        after,
    )


@lru_cache(maxsize=100)
def _constant(event_type: str, source: str, user: str) -> tuple[bytes, bytes, bytes]:
    """The constant parts of a type's events: the bytes before the headers, the first headers, and the last bytes."""
    present, last = (_PRESENT | BITS["user_id"], short_string(user)) if user else (_PRESENT, b"")
    origin = source.encode()
    headers = b"\x17cloudEvents:specversionS%b%b\x12cloudEvents:sourceS%b%b" % (
        len(SPEC_VERSION).to_bytes(4),
        SPEC_VERSION.encode(),
        len(origin).to_bytes(4),
        origin,
    )
    return present.to_bytes(2) + short_string(CONTENT_TYPE), headers, short_string(event_type) + last


def short_string(text: str) -> bytes:
    """A short string. Raises ValueError."""
    encoded = text.encode()
    if len(encoded) > _SHORT:
        raise ValueError(f"AMQP has no short string as long as {text[:20]!r}…")
    return b"%c%b" % (len(encoded), encoded)


def copy(properties: bytes, body: bytes, exchange: str, queue: str, user: str = "") -> Message:
    """A message for one queue, as it was published: without what does not belong to a copy.

    `exchange` leads to that queue alone, or is the default exchange. With the `user` who publishes it, it says so, and
    who published it first: raises Malformed where it can't.
    """
    copied = Properties(properties).for_a_replay(user) if user else for_a_copy(properties)
    return Message(exchange, queue, body, RawProperties.of(copied))


def received(properties: bytes, body: bytes, redelivered: bool = False, exchange: str = "") -> AmqpDelivery:
    """A delivery, given its properties as they came. Raises nothing."""
    read = RawProperties.of(properties)
    return AmqpDelivery(
        read.message_id, read.type, read.content_type, body, redelivered, properties, read.user_id, exchange
    )


def delivered(method: Any, properties: pika.BasicProperties, body: bytes) -> AmqpDelivery:
    """A delivery, as pika gives it."""
    raw = properties.raw if isinstance(properties, RawProperties) else b"".join(properties.encode())
    return received(raw, body, method.redelivered, method.exchange)
