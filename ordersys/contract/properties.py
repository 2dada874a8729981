"""The properties of a message as bytes (AMQP 0-9-1 §4.2.6.1): read as far as wanted, copied without being understood.

Anybody may publish properties that no decoder takes: timestamps beyond the year 9999, tables nested 1,200 deep, names
that are not UTF-8. Values are skipped by type and length, nested ones in one step, so that whatever one holds spoils
nothing but itself, and a copy is the same to the byte.
"""

import struct
from collections.abc import Iterator, Sequence
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
_MORE_FLAGS = 1
# Bytes of a value, by its type. RabbitMQ's errata to AMQP 0-9-1 §4.2.1: its s is a 16-bit number, no short string.
_SIZES = dict(zip(b"tbBsuUIiflLdDTV", (1, 1, 1, 2, 2, 2, 4, 4, 4, 8, 8, 8, 5, 8, 0), strict=True))
_COUNT, _COUNTED = 4, frozenset(b"SxAF")  # with so many bytes in front that say how many follow
# RabbitMQ writes these on a message on its way …
_OF_THE_BROKER = frozenset(
    [b"x-death", b"x-delivery-count", b"x-acquired-count"]
    + [b"x-%s-death-%s" % (which, what) for which in (b"first", b"last") for what in (b"exchange", b"queue", b"reason")]
)
# … and sends a copy to each queue named in these, whoever the message is for (Sender-selected Distribution).
_ROUTING = frozenset([b"CC", b"BCC"])


class Malformed(ValueError):
    """Bytes that are no properties; the text says where."""


class Death(NamedTuple):
    """The newest entry of the x-death header, which anybody may have written, as far as it can be read."""

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
        self._found: dict[str, bytes] = {}
        at = 2
        for name, kind in _present(int.from_bytes(_taken(raw, 0, at))):
            end = at + _size(kind, raw, at)
            if end > len(raw):
                raise Malformed(f"{name} at {at} of {len(raw)} bytes")
            self._found[name] = raw[at:end]
            at = end

    def text(self, name: str) -> str | bytes | None:
        """A text property, as bytes when it is not UTF-8, None when it is not there."""
        found = self._found.get(name)
        if found is None:
            return None
        try:
            return found[1:].decode()
        except UnicodeDecodeError:
            return found[1:]

    def number(self, name: str) -> int | None:
        """A number, None when it is not there."""
        found = self._found.get(name)
        return None if found is None else int.from_bytes(found)

    def table(self) -> bytes:
        """The headers, empty when there are none."""
        return self._found.get("headers", b"")[_COUNT:]

    def for_a_copy(self) -> bytes:
        """The properties for a copy in one queue: all as they are, but for what the broker wrote, checks or routes by.

        (A user_id has to be that of whoever publishes: it says nothing of a copy, and refuses it.)
        """
        kept = {name: raw for name, raw in self._found.items() if name != "user_id"}
        if "headers" in kept and not (headers := _for_a_copy(kept["headers"])):
            del kept["headers"]
        elif "headers" in kept:
            kept["headers"] = headers
        flags = sum(BITS[name] for name in kept)
        return b"".join([flags.to_bytes(2), *kept.values()])


def for_a_copy(raw: bytes) -> bytes:
    """The properties in `raw` for a copy in one queue, as they are where they are none."""
    try:
        return Properties(raw).for_a_copy()
    except Malformed:
        return raw


def death(raw: bytes) -> Death:
    """Why and when the broker put the message with these properties aside, as far as it can be read."""
    try:
        return _death(Properties(raw).table())
    except Malformed:
        return Death()


def entries(table: bytes) -> Iterator[Entry]:
    """The entries of a table, in order. Raises Malformed."""
    at = 0
    while at < len(table):
        begin, size = at, 1 + _taken(table, at, 1)[0]
        name = _taken(table, at, size)[1:]
        at += size
        kind, value = _value(table, at)
        at += 1 + len(value)
        yield Entry(name, kind, value, table[begin:at])


def _for_a_copy(headers: bytes) -> bytes:
    """A table with its length, without what does not belong to a copy; one that can't be read as it is."""
    try:
        found = list(entries(headers[_COUNT:]))
    except Malformed:
        return headers
    kept = [one.raw for one in found if one.name not in _OF_THE_BROKER | _ROUTING]
    if len(kept) == len(found):
        return headers
    table = b"".join(kept)
    return len(table).to_bytes(_COUNT) + table if table else b""


def _death(table: bytes) -> Death:
    deaths = next((one for one in entries(table) if one.name == b"x-death"), None)
    if deaths is None or deaths.kind != ord("A") or len(deaths.value) <= _COUNT:
        return Death()
    kind, newest = _value(deaths.value, _COUNT)
    if kind != ord("F"):
        return Death()
    said = {one.name: one for one in entries(newest[_COUNT:])}
    reason, time = said.get(b"reason"), said.get(b"time")
    return Death(
        reason.value[_COUNT:].decode(errors="replace") if reason and reason.kind == ord("S") else "",
        struct.unpack(">q", time.value)[0] if time and time.kind == ord("T") else None,
    )


def _value(raw: bytes, at: int) -> tuple[int, bytes]:
    """The type and the bytes of the value that begins there, the length in front of it included."""
    kind = _taken(raw, at, 1)[0]
    if kind in _COUNTED:
        return kind, _taken(raw, at + 1, _COUNT + int.from_bytes(_taken(raw, at + 1, _COUNT)))
    if kind not in _SIZES:
        raise Malformed(f"a value of type {kind:#x} at {at}")
    return kind, _taken(raw, at + 1, _SIZES[kind])


@lru_cache(maxsize=64)
def _present(flags: int) -> Sequence[tuple[str, int]]:
    """The properties that are there, and their kinds, in order. Raises Malformed."""
    if flags & _MORE_FLAGS:
        raise Malformed("properties that AMQP 0-9-1 does not have")
    return [(name, kind) for name, kind in _KINDS.items() if flags & BITS[name]]


def _size(kind: int, raw: bytes, at: int) -> int:
    """The bytes of a property that begins there. Raises Malformed where not even its length is there."""
    if kind == _SHORT:
        return 1 + _taken(raw, at, 1)[0]
    if kind == _TABLE:
        return _COUNT + int.from_bytes(_taken(raw, at, _COUNT))
    return 1 if kind == _OCTET else 8


def _taken(raw: bytes, at: int, size: int) -> bytes:
    part = raw[at : at + size]
    if len(part) < size:
        raise Malformed(f"{size} bytes at {at} of {len(raw)}")
    return part
