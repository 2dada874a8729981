"""Properties as bytes (AMQP 0-9-1 §4.2.6.1), for messages as no client library publishes them."""

import struct
from collections.abc import Mapping, Sequence

import pika
from hypothesis import strategies as st

from ordersys.contract.properties import Malformed, Properties, entries

NAMES = (
    "content_type",
    "content_encoding",
    "headers",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
)
"""In the order in which they stand (AMQP 0-9-1 §1.8)."""
_LENGTH = 4  # bytes, of a table
ORIGINAL_USER = b"ordersys:user_id"
"""The header of a replay that says who published what was replayed."""
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


def decoded(raw: bytes) -> dict[str, bytes]:
    """Properties by name, each as it is encoded."""
    flags, at, values = int.from_bytes(raw[:2]), 2, {}
    for name in (name for name in NAMES if flags & _BITS[name]):
        table = _LENGTH + int.from_bytes(raw[at : at + _LENGTH])
        size = {"headers": table, "delivery_mode": 1, "priority": 1, "timestamp": 8}.get(name) or 1 + raw[at]
        values[name] = raw[at : at + size]
        at += size
    return values


def nested(kind: bytes, depth: int) -> bytes:
    """Arrays (A) or tables (F) in each other."""
    value = b"V"
    for _ in range(depth):
        value = kind + counted(entry(b"a", value) if kind == b"F" else value)
    return value


class EncodedProperties(pika.BasicProperties):
    """Properties that are bytes, whatever they mean; with the texts that say which event it is."""

    raw = b""
    message_id: str | bytes | None  # type: ignore[assignment]
    type: str | bytes | None  # type: ignore[assignment]
    content_type: str | bytes | None  # type: ignore[assignment]

    @classmethod
    def of(cls, raw: bytes) -> "EncodedProperties":
        """The properties in `raw`."""
        return cls().decode(raw)

    def decode(self, encoded: bytes, offset: int = 0) -> "EncodedProperties":
        """Raises nothing."""
        self.raw = bytes(encoded[offset:])
        try:
            parsed = Properties(self.raw)
        except Malformed:
            return self
        self.message_id, self.type = parsed.text("message_id"), parsed.text("type")
        self.content_type = parsed.text("content_type")
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

Bytes = st.SearchStrategy[bytes]
_NUMBERS = {"priority": 1, "timestamp": 8}
_DELIVERY_MODES = st.sampled_from([b"\x01", b"\x02"])  # RabbitMQ takes no message with another one (406)
# The broker looks at these before it takes a message.
COPIED = [name for name in NAMES if name not in ("message_id", "type", "content_type", "user_id", "expiration")]
"""The properties a message may have in the broker whatever is in them, but for those that name it."""


def _fixed(kind: bytes, size: int) -> Bytes:
    return st.binary(min_size=size, max_size=size).map(lambda value: kind + value)


def _counted(kind: bytes) -> Bytes:
    return st.binary(max_size=20).map(lambda value: kind + counted(value))


def _fields(values: Bytes) -> Bytes:
    return st.lists(st.builds(entry, FIELD_NAMES, values), max_size=4).map(b"".join)


def _values(scalars: Bytes) -> Bytes:
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            _fields(inner).map(lambda table: b"F" + counted(table)),
            st.lists(inner, max_size=4).map(lambda items: b"A" + counted(b"".join(items))),
        ),
    )


FIELD_NAMES = st.binary(max_size=12).filter(lambda name: not name.startswith((b"x-", b"CC", b"BCC")))
_SIZES = {b"b": 1, b"B": 1, b"u": 2, b"I": 4, b"i": 4, b"l": 8, b"D": 5, b"T": 8, b"V": 0}
# RabbitMQ writes the headers anew when it puts a message aside: of a truth value that is neither 0 nor 1 it makes 1.
_BOOLEANS = st.sampled_from([b"t\x00", b"t\x01"])
_SCALARS = [_BOOLEANS, *(_fixed(kind, size) for kind, size in _SIZES.items()), _counted(b"S"), _counted(b"x")]
_FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)
# RabbitMQ ends the connection of a publisher of numbers that are none (541), and knows neither s nor U.
_FINITE = [
    _FLOATS.map(lambda value: struct.pack(">cf", b"f", value)),
    _FLOATS.map(lambda value: struct.pack(">cd", b"d", value)),
]
SENT_TABLES = _fields(_values(st.one_of(*_SCALARS, *_FINITE)))
"""Tables as RabbitMQ takes them, with fields of every type it has."""
_OTHERS = {b"s": 2, b"U": 2, b"L": 8, b"f": 4, b"d": 8}
VALUES = _values(st.one_of(*_SCALARS, *(_fixed(kind, size) for kind, size in _OTHERS.items())))
TABLES = _fields(VALUES)
"""Tables with any bytes in the fields of any type."""


@st.composite
def properties(draw: st.DrawFn, names: Sequence[str] = NAMES, tables: Bytes = TABLES) -> dict[str, bytes]:
    """Some properties, each as it is encoded, whatever is in it."""
    chosen = draw(st.sets(st.sampled_from(names)))
    properties = {}
    for name in NAMES:
        if name in chosen and name == "headers":
            properties[name] = counted(draw(tables))
        elif name in chosen and name == "delivery_mode":
            properties[name] = draw(_DELIVERY_MODES)
        elif name in chosen and name in _NUMBERS:
            properties[name] = draw(st.binary(min_size=_NUMBERS[name], max_size=_NUMBERS[name]))
        elif name in chosen:
            properties[name] = short(draw(st.binary(max_size=255)))
    return properties


def published(values: Mapping[str, bytes]) -> dict[str, bytes]:
    """The properties of a copy: all of them but a user_id, which the broker checks."""
    return {name: raw for name, raw in values.items() if name != "user_id"}


def unsigned(raw: bytes) -> bytes:
    """Properties without what says by whom they were published."""
    values = published(decoded(raw))
    kept = b"".join(e.raw for e in entries(values.pop("headers", bytes(_LENGTH))[_LENGTH:]) if e.name != ORIGINAL_USER)
    return encoded({**values, **({"headers": counted(kept)} if kept else {})})
