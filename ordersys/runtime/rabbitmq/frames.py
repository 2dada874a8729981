"""AMQP frames in bulk: what is published is laid out and written together, deliveries are read where they lie.

pika makes ten objects of each delivery and three system calls of each message it sends, which costs more than all the
rest that the relay and a consumer do with it (docs/performance.md). So the frames that come with every event are
handled here. Connection, channels, methods, confirms, returns and heartbeats stay pika's, and so does every delivery
that is not laid out as usual: read here or by pika, it is the same to whoever takes it.

pika's core and its adapters meet in two methods whose names are not public. Where a release of pika has no such
methods, `IN_BULK` is false, and pika does everything. (mypy is told to ignore them: no stub has them.)
"""

from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import Any, NamedTuple

from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.exceptions import ChannelWrongStateError

from ordersys.runtime.rabbitmq.messages import AmqpDelivery, Message, received, short_string

Take = Callable[[int, AmqpDelivery], None]
"""Takes a delivery, given the tag it is settled by."""

IN_BULK = all(callable(getattr(AsyncioConnection, name, None)) for name in ("_adapter_emit_data", "_on_data_available"))

# AMQP 0-9-1 §4.2.3: type, channel, size of the payload; the payload; an end.
_FRAME, _END = Struct(">BHI"), 0xCE
_AROUND = _FRAME.size + 1
_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
_TYPES = frozenset((_METHOD, _HEADER, _BODY, _HEARTBEAT))
_PUBLISH, _DELIVER = b"\0\x3c\0\x28\0\0", b"\0\x3c\0\x3c"  # class and method, of Basic.Publish a reserved field as well
_CONSUMER_TAG_AT = _FRAME.size + len(_DELIVER)
_MANDATORY = b"\x01"
# §4.2.6: class, weight, size of the body; then the properties.
_CONTENT, _BASIC = Struct(">HHQ"), 60
_TAGGED = Struct(">QB")  # the tag of a delivery, and whether it was redelivered
# pika copies what is left of a write each time the system takes a part of it: of 50 MB on a slow link, for seconds.
_WRITTEN_BYTES = 131_072


class _Incomplete(Exception):
    """The rest of it has not arrived yet."""


class _Foreign(Exception):
    """No AMQP frame."""


def publication(channel: int, message: Message, frame_max: int) -> bytes:
    """The frames of a Basic.Publish, mandatory, each of at most `frame_max` bytes. Raises whatever is wrong with it."""
    properties, body = b"".join(message.properties.encode()), message.body
    room = frame_max - _AROUND
    return b"".join(
        (
            _publish(channel, message.exchange, message.routing_key),
            _framed(_HEADER, channel, _CONTENT.pack(_BASIC, 0, len(body)) + properties),
            *(_framed(_BODY, channel, body[at : at + room]) for at in range(0, len(body), room)),
        )
    )


@lru_cache(maxsize=100)
def _publish(channel: int, exchange: str, routing_key: str) -> bytes:
    return _framed(_METHOD, channel, _PUBLISH + short_string(exchange) + short_string(routing_key) + _MANDATORY)


def _framed(kind: int, channel: int, payload: bytes) -> bytes:
    return b"%b%b\xce" % (_FRAME.pack(kind, channel, len(payload)), payload)


class _Taker(NamedTuple):
    """A channel, and the callback for its deliveries."""

    channel: Channel
    take: Take


class Connection(AsyncioConnection):
    """A connection of pika that sends messages and takes deliveries in bulk."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """As AsyncioConnection."""
        self._laid_out: list[bytes] = []
        self._laid_out_bytes = 0
        self._takers: dict[int, _Taker] = {}
        self._unread = b""
        self._is_foreign = False
        super().__init__(*arguments, **named)

    @property
    def received(self) -> int:
        """The number of bytes the broker has sent."""
        return int(self.bytes_received)  # type: ignore[attr-defined]

    def publish(self, channel: Channel, message: Message) -> None:
        """Has a message go with the next `flush`, or at once where much is laid out; mandatory.

        Raises ChannelWrongStateError where the channel is closed, or whatever is wrong with the message: nothing of it
        goes then.
        """
        if not IN_BULK:
            channel.basic_publish(*message, mandatory=True)
            return
        if not channel.is_open:
            raise ChannelWrongStateError("the channel is closed")
        laid_out = publication(channel.channel_number, message, self.params.frame_max)
        self._laid_out.append(laid_out)
        self._laid_out_bytes += len(laid_out)
        if self._laid_out_bytes >= _WRITTEN_BYTES:
            self.flush()

    def flush(self) -> None:
        """Writes what was published since the last time, without waiting."""
        data = b"".join(self._laid_out)
        self._laid_out.clear()
        self._laid_out_bytes = 0
        self.bytes_sent += len(data)  # type: ignore[attr-defined]
        for at in range(0, len(data), _WRITTEN_BYTES):
            self._adapter_emit_data(data[at : at + _WRITTEN_BYTES])  # type: ignore[attr-defined]

    def take(self, channel: Channel, take: Take | None) -> None:
        """Has deliveries on this channel, which has one consumer, given to `take`; with None to pika's own callback.

        That callback gets what can't be read here in any case, and everything where `IN_BULK` is false. Nobody gets
        what comes once the channel is closing.
        """
        if take and IN_BULK:
            self._takers[channel.channel_number] = _Taker(channel, take)
        else:
            self._takers.pop(channel.channel_number, None)

    def _on_data_available(self, data_in: bytes) -> None:
        """Takes deliveries out of what the broker sends; pika gets each other frame by itself, in order."""
        if self._is_foreign:
            super()._on_data_available(data_in)  # type: ignore[misc]
            return
        data, self._unread, at = self._unread + data_in, b"", 0
        try:
            while at < len(data):
                at = self._next(data, at)
        except _Incomplete:
            self._unread = data[at:]
        except _Foreign:  # pika has words for it
            self._is_foreign = True
            super()._on_data_available(data[at:])  # type: ignore[misc]

    def _next(self, data: bytes, at: int) -> int:
        """Handles the frame, or the delivery, that begins there; where it ends. Raises _Incomplete, _Foreign."""
        kind, channel, end = _frame(data, at)
        taker = self._takers.get(channel) if kind == _METHOD else None
        if taker and taker.channel.is_open and (whole := _delivery(data, at, end, channel)):
            # pika's heartbeat asks it whether anything has come.
            self.bytes_received += whole.end - at  # type: ignore[attr-defined]
            taker.take(whole.tag, whole.delivery)
            return whole.end
        super()._on_data_available(data[at:end])  # type: ignore[misc]
        return end


class _Found(NamedTuple):
    """A delivery, its tag, and where its last frame ends."""

    tag: int
    delivery: AmqpDelivery
    end: int


def _delivery(data: bytes, at: int, method_end: int, channel: int) -> _Found | None:
    """The delivery whose method frame stands there; None where it is no such frame, or what follows is not as usual.

    Usual is a body in one frame, or none, with no other frame between. Raises _Incomplete, _Foreign.
    """
    if not data.startswith(_DELIVER, at + _FRAME.size):
        return None
    kind, of, header_end = _frame(data, method_end)
    tag_at = at + _CONSUMER_TAG_AT + 1 + data[at + _CONSUMER_TAG_AT]
    exchange_at = tag_at + _TAGGED.size
    content_at = method_end + _FRAME.size
    properties_at = content_at + _CONTENT.size
    if (kind, of) != (_HEADER, channel) or tag_at + _TAGGED.size >= method_end or properties_at >= header_end:
        return None
    tag, bits = _TAGGED.unpack_from(data, tag_at)
    class_, _, size = _CONTENT.unpack_from(data, content_at)
    body, end = b"", header_end
    if size:
        kind, of, end = _frame(data, header_end)
        body = data[header_end + _FRAME.size : end - 1]
        if (kind, of, len(body)) != (_BODY, channel, size):
            return None
    if class_ != _BASIC:
        return None
    exchange = str(data[exchange_at + 1 : exchange_at + 1 + data[exchange_at]], errors="replace")
    return _Found(tag, received(data[properties_at : header_end - 1], body, bits & 1 == 1, exchange), end)


def _frame(data: bytes, at: int) -> tuple[int, int, int]:
    """Type and channel of the frame that begins there, and where it ends. Raises _Incomplete, _Foreign."""
    if at + _FRAME.size > len(data):
        raise _Incomplete
    kind, channel, size = _FRAME.unpack_from(data, at)
    end = at + _AROUND + size
    if kind not in _TYPES:
        raise _Foreign
    if end > len(data):
        raise _Incomplete
    if data[end - 1] != _END:
        raise _Foreign
    return kind, channel, end
