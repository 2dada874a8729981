"""Messages as pika has them: an event on its way to the broker, a delivery of it, and a copy on its way back."""

from contextlib import suppress
from typing import Any, NamedTuple

import pika

from ordersys.contract.events import CONTENT_TYPE, Delivery, EventMessage, headers
from ordersys.contract.properties import Malformed, Properties, for_a_copy
from ordersys.contract.topology import Publication

_SHORT = 255  # bytes of a short string (AMQP 0-9-1 §4.2.5.3)


class Message(NamedTuple):
    """A message and where it is published to; the exchange "" is the queue its routing key names."""

    exchange: str
    routing_key: str
    body: bytes
    properties: pika.BasicProperties


class RawProperties(pika.BasicProperties):
    """Properties that keep the bytes they came as, and whose decoding never fails.

    pika decodes whatever comes, headers and all; what it can't decode (ValueError, OverflowError, RecursionError) ends
    the connection, and comes again on the next one, for ever. Here only the texts are left then, which is all that a
    subscriber asks for.
    """

    raw = b""
    # pika, too, gives bytes for a text that is not UTF-8; its stubs do not say so.
    message_id: str | bytes | None  # type: ignore[assignment]
    type: str | bytes | None  # type: ignore[assignment]
    content_type: str | bytes | None  # type: ignore[assignment]

    @classmethod
    def of(cls, raw: bytes) -> "RawProperties":
        """The properties in `raw`."""
        return cls().decode(raw)

    def decode(self, encoded: bytes, offset: int = 0) -> "RawProperties":
        """Keeps what came, and reads what can be read of it. Raises nothing."""
        self.raw = bytes(encoded[offset:])
        try:
            super().decode(encoded, offset)
        except Exception:  # noqa: BLE001 - whatever the decoder raises costs this message, never the connection
            self._read_texts()
        return self

    def encode(self) -> list[bytes]:
        """What came, to the byte."""
        return [self.raw]

    def _read_texts(self) -> None:
        try:
            found = Properties(self.raw)
        except Malformed:  # such a message has neither id nor type, and so is no event
            self.message_id = self.type = self.content_type = None
        else:
            self.message_id, self.type = found.text("message_id"), found.text("type")
            self.content_type = found.text("content_type")


def receive_raw(by_class: dict[int, Any]) -> None:
    """Has pika put what it receives into RawProperties, given its table of the classes of properties."""
    by_class[pika.BasicProperties.INDEX] = RawProperties


# No public part of pika 1.4: without it messages are decoded by pika, and encoded anew for a copy.
with suppress(AttributeError):
    receive_raw(pika.spec.props)


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


def copy(properties: bytes, body: bytes, queue: str) -> Message:
    """A message for one queue, as it was published: without what does not belong to a copy."""
    return Message("", queue, body, RawProperties.of(for_a_copy(properties)))


def kept(properties: bytes, body: bytes) -> Delivery:
    """A delivery that was kept."""
    found = RawProperties.of(properties)
    return Delivery(found.message_id, found.type, found.content_type, body, properties=properties)


def delivered(method: Any, found: pika.BasicProperties, body: bytes) -> Delivery:
    """A delivery."""
    raw = found.raw if isinstance(found, RawProperties) else b"".join(found.encode())
    return Delivery(found.message_id, found.type, found.content_type, body, method.redelivered, raw)
