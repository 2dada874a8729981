"""Properties as bytes (AMQP 0-9-1 §4.2.6.1), for messages as no client library publishes them."""

import struct
from collections.abc import Mapping

import pika

from ordersys.contract.properties import Malformed, Properties

NAMES = ("content_type", "content_encoding", "headers", "delivery_mode", "priority", "correlation_id", "reply_to")
NAMES += ("expiration", "message_id", "timestamp", "type", "user_id", "app_id", "cluster_id")
_BITS = {name: 1 << (15 - index) for index, name in enumerate(NAMES)}


def short(text: bytes) -> bytes:
    """A text of up to 255 bytes, also the name of a field."""
    return bytes([len(text)]) + text


def counted(content: bytes) -> bytes:
    """A long text, a table or an array: with its length in front."""
    return len(content).to_bytes(4) + content


def entry(name: bytes, value: bytes) -> bytes:
    """An entry of a table; `value` begins with its type."""
    return short(name) + value


def encoded(properties: Mapping[str, bytes]) -> bytes:
    """Properties by name, each encoded."""
    flags = sum(_BITS[name] for name in properties)
    return struct.pack(">H", flags) + b"".join(properties[name] for name in NAMES if name in properties)


def nested(kind: bytes, depth: int) -> bytes:
    """Arrays (A) or tables (F) in each other."""
    value = b"V"
    for _ in range(depth):
        value = kind + counted(entry(b"a", value) if kind == b"F" else value)
    return value


class Raw(pika.BasicProperties):
    """Properties that are bytes, whatever they mean; with the texts that say which event it is."""

    raw = b""

    @classmethod
    def of(cls, raw: bytes) -> "Raw":
        """The properties in `raw`."""
        return cls().decode(raw)

    def decode(self, encoded: bytes, offset: int = 0) -> "Raw":
        """Raises nothing."""
        self.raw = bytes(encoded[offset:])
        try:
            found = Properties(self.raw)
        except Malformed:
            return self
        self.message_id, self.type = found.text("message_id"), found.text("type")
        self.content_type = found.text("content_type")
        return self

    def encode(self) -> list[bytes]:
        """The bytes."""
        return [self.raw]


HOSTILE_HEADERS = {
    "a timestamp in milliseconds": b"T" + struct.pack(">Q", 1_764_000_000_000),
    "the last timestamp there is": b"T" + b"\xff" * 8,
    "a negative timestamp": b"T" + struct.pack(">q", -5),
    "such a timestamp in a table in an array": b"A" + counted(b"F" + counted(entry(b"a", b"T" + b"\xff" * 8))),
    "arrays nested deep": nested(b"A", 1200),
    "tables nested deep": nested(b"F", 1200),
    "text that is not UTF-8": b"S" + counted(b"\xff\xfe"),
}
"""Values of a header that RabbitMQ takes, and client libraries can't decode, or decode as something else."""
