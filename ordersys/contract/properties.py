"""The properties of a message as bytes (AMQP 0-9-1 §4.2.6.1): read only where needed, copied without decoding.

Anybody who may publish can send properties that make decoders raise: timestamps beyond the year 9999, tables nested
1,200 deep, names that are not UTF-8. So values are skipped by type and length, nested ones in one step: an odd value
affects nothing but itself, and a copy is equal to the byte (docs/reliability.md, "a dead letter replayed").
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

_SHORT, _TABLE, _OCTET, _LONGLONG = range(4)
# In the order in which they stand, the first with the highest bit of the flags (AMQP 0-9-1 §1.8).
_KINDS = {
    "content_type": _SHORT,
    "content_encoding": _SHORT,
    "headers": _TABLE,
    "delivery_mode": _OCTET,
    "priority": _OCTET,
    "correlation_id": _SHORT,
    "reply_to": _SHORT,
    "expiration": _SHORT,
    "message_id": _SHORT,
    "timestamp": _LONGLONG,
    "type": _SHORT,
    "user_id": _SHORT,
    "app_id": _SHORT,
    "cluster_id": _SHORT,
}
BITS = {name: 1 << (15 - index) for index, name in enumerate(_KINDS)}
"""The flag of each property."""
_MORE_FLAGS = 1  # the lowest bit: another 16 flags follow, for properties that AMQP 0-9-1 does not define
# Bytes of a value, by its type. RabbitMQ's errata to AMQP 0-9-1 §4.2.1: its s is a 16-bit number, no short string.
_SIZES = dict(zip(b"tbBsuUIiflLdDTV", (1, 1, 1, 2, 2, 2, 4, 4, 4, 8, 8, 8, 5, 8, 0), strict=True))
_COUNT, _COUNTED = 4, frozenset(b"SxAF")  # types of values that begin with their length, in so many bytes
# RabbitMQ writes these on a message on its way …
_OF_THE_BROKER = frozenset(
    [b"x-death", b"x-delivery-count", b"x-acquired-count"]
    + [b"x-%s-death-%s" % (end, key) for end in (b"first", b"last") for key in (b"exchange", b"queue", b"reason")]
)
# … and sends a copy to each queue named in these, whoever the message is for (Sender-selected Distribution).
_ROUTING = frozenset([b"CC", b"BCC"])
_NOT_COPIED = _OF_THE_BROKER | _ROUTING
_ORIGINAL_USER = b"ordersys:user_id"
"""The header of a replay that names the user by whom the event was published, where there was one."""


class Malformed(ValueError):
    """Bytes that are no AMQP properties; the text says at which position."""


class Death(NamedTuple):
    """The newest entry of the header x-death, as far as it can be read: a publisher may have forged it."""

    reason: str = ""
    time: int | None = None
    """In seconds since 1970."""


class Entry(NamedTuple):
    """An entry of a table: its name, the type and the bytes of its value, and the bytes of all of it."""

    name: bytes
    kind: int
    value: bytes
    raw: bytes


class Properties:
    """The properties in `raw`, each with its bytes. Raises Malformed."""

    def __init__(self, raw: bytes) -> None:
        self._values: dict[str, bytes] = {}
        at = 2
        for name, kind in _present(int.from_bytes(_slice(raw, 0, at))):
            end = at + _size(kind, raw, at)
            if end > len(raw):
                raise Malformed(f"{name} at {at} of {len(raw)} bytes")
            self._values[name] = raw[at:end]
            at = end

    def text(self, name: str) -> str | bytes | None:
        """A text property; as bytes when it is not UTF-8, None when it is absent."""
        value = self._values.get(name)
        if value is None:
            return None
        try:
            return value[1:].decode()  # the first byte is the length
        except UnicodeDecodeError:
            return value[1:]

    def number(self, name: str) -> int | None:
        """A number; None when it is absent."""
        value = self._values.get(name)
        return None if value is None else int.from_bytes(value)

    def table(self) -> bytes:
        """The headers, empty when there are none."""
        return self._values.get("headers", b"")[_COUNT:]

    def for_a_copy(self) -> bytes:
        """The properties for a copy in one queue: all but those that the broker wrote, checks or routes by.

        (RabbitMQ refuses a message whose user_id is not that of the connection: the copy has another publisher.)
        """
        kept = {name: raw for name, raw in self._values.items() if name != "user_id"}
        if "headers" in kept and not (headers := _for_a_copy(kept["headers"])):
            del kept["headers"]
        elif "headers" in kept:
            kept["headers"] = headers
        return _joined(kept)

    def for_a_replay(self, user: str) -> bytes:
        """As `for_a_copy`, published by `user`, with the user of the first publisher as its last header.

        Raises Malformed where that can't be said, since the headers are no table.
        """
        original = self.original_user(user)
        before = self._values.get("headers", b"")
        kept = [e.raw for e in entries(before[_COUNT:]) if e.name not in _NOT_COPIED and e.name != _ORIGINAL_USER]
        if original is not None:
            text = original if isinstance(original, bytes) else original.encode()
            kept.append(b"%c%bS%b" % (len(_ORIGINAL_USER), _ORIGINAL_USER, _counted(text)))
        values = {**self._values, "user_id": b"%c%b" % (len(user.encode()), user.encode())}
        values["headers"] = _counted(b"".join(kept))
        if not kept and len(before) != _COUNT:  # an empty table stays, as in any copy
            del values["headers"]
        return _joined(values)

    def original_user(self, replayer: str) -> str | bytes | None:
        """The user by whom a message was published first, given the one who may replay it; None where there was none.

        Raises Malformed where it is a replay whose headers are no table.
        """
        user = self.text("user_id")
        if user != replayer:
            return user
        named = [e for e in list(entries(self.table())) if e.name == _ORIGINAL_USER and e.kind == ord("S")]
        return _text(named[0].value[_COUNT:]) if named else None


def for_a_copy(raw: bytes) -> bytes:
    """The properties in `raw` for a copy in one queue; `raw` itself where it is malformed."""
    try:
        return Properties(raw).for_a_copy()
    except Malformed:
        return raw


def death(raw: bytes) -> Death:
    """The reason why and the time when the broker dead-lettered the message, as far as they can be read."""
    try:
        return _death(Properties(raw).table())
    except Malformed:
        return Death()


def entries(table: bytes) -> Iterator[Entry]:
    """The entries of a table, in order. Raises Malformed."""
    at = 0
    while at < len(table):
        begin, size = at, 1 + _slice(table, at, 1)[0]
        name = _slice(table, at, size)[1:]
        at += size
        kind, value = _value(table, at)
        at += 1 + len(value)
        yield Entry(name, kind, value, table[begin:at])


def _for_a_copy(headers: bytes) -> bytes:
    """A table with its length, without the entries that do not belong to a copy; a malformed one as it is."""
    try:
        table_entries = list(entries(headers[_COUNT:]))
    except Malformed:
        return headers
    kept = [entry.raw for entry in table_entries if entry.name not in _NOT_COPIED]
    if len(kept) == len(table_entries):
        return headers
    return _counted(b"".join(kept)) if kept else b""


def _joined(values: Mapping[str, bytes]) -> bytes:
    flags = sum(BITS[name] for name in values)
    return b"".join([flags.to_bytes(2), *(values[name] for name in _KINDS if name in values)])


def _counted(content: bytes) -> bytes:
    return len(content).to_bytes(_COUNT) + content


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _death(table: bytes) -> Death:
    deaths = next((entry for entry in entries(table) if entry.name == b"x-death"), None)
    if deaths is None or deaths.kind != ord("A") or len(deaths.value) <= _COUNT:
        return Death()
    kind, newest = _value(deaths.value, _COUNT)  # RabbitMQ puts the newest first
    if kind != ord("F"):
        return Death()
    by_name = {entry.name: entry for entry in entries(newest[_COUNT:])}
    reason, time = by_name.get(b"reason"), by_name.get(b"time")
    return Death(
        reason.value[_COUNT:].decode(errors="replace") if reason and reason.kind == ord("S") else "",
        struct.unpack(">q", time.value)[0] if time and time.kind == ord("T") else None,
    )


def _value(raw: bytes, at: int) -> tuple[int, bytes]:
    """The type and the bytes of the value that begins there, the length in front of it included."""
    kind = _slice(raw, at, 1)[0]
    if kind in _COUNTED:
        return kind, _slice(raw, at + 1, _COUNT + int.from_bytes(_slice(raw, at + 1, _COUNT)))
    if kind not in _SIZES:
        raise Malformed(f"a value of type {kind:#x} at {at}")
    return kind, _slice(raw, at + 1, _SIZES[kind])


@lru_cache(maxsize=64)  # publishers use few combinations of properties
def _present(flags: int) -> Sequence[tuple[str, int]]:
    """The properties that are present, and their kinds, in order. Raises Malformed."""
    if flags & _MORE_FLAGS:
        raise Malformed("properties that AMQP 0-9-1 does not have")
    return [(name, kind) for name, kind in _KINDS.items() if flags & BITS[name]]


def _size(kind: int, raw: bytes, at: int) -> int:
    """The size in bytes of the property that begins there. Raises Malformed where `raw` ends before its length."""
    if kind == _SHORT:
        return 1 + _slice(raw, at, 1)[0]
    if kind == _TABLE:
        return _COUNT + int.from_bytes(_slice(raw, at, _COUNT))
    return 1 if kind == _OCTET else 8


def _slice(raw: bytes, at: int, size: int) -> bytes:
    part = raw[at : at + size]
    if len(part) < size:  # a slice beyond the end is short, and no error to Python
        raise Malformed(f"{size} bytes at {at} of {len(raw)}")
    return part
