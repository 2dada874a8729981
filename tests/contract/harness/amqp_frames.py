"""AMQP 0-9-1 frames (§4.2.3) on their way between a service and the broker, put together into what they mean.

Bytes in, parts out: what nobody asks about stays the bytes it was.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pika.frame
from pika import spec

from tests.contract.harness.amqp_properties import EncodedProperties

_NO_ROUTE = 312
# Bytes in front of what a frame holds, and of the properties in a content header (AMQP 0-9-1 §2.3.5.2).
_HEAD, _ABOUT = 7, 12


class Delivery(NamedTuple):
    """A message as a consumer gets it (contract.events.Received); `properties` as they are on the wire."""

    message_id: str | bytes | None
    type: str | bytes | None
    content_type: str | bytes | None
    body: bytes
    redelivered: bool
    properties: bytes


@dataclass
class Publication:
    """A message a service publishes: the `tag` it is confirmed by, its frames, and what is in it."""

    channel: int
    tag: int
    method: Any
    raw: bytes
    properties: Any = None
    body: bytes = b""

    @property
    def delivery(self) -> Delivery:
        """As a consumer would get it."""
        return _delivery(self.properties, self.body, False)


@dataclass
class Settlement:
    """A service acknowledges a delivery, or all up to it."""

    channel: int
    tag: int
    multiple: bool
    raw: bytes


@dataclass
class Confirm:
    """The broker confirms, or refuses, publications: one, or all up to it."""

    channel: int
    method: Any
    raw: bytes


@dataclass
class ConfirmTags:
    """The tags by which a service knows the publications that the broker got.

    The broker counts what it gets (delivery-tag), the service what it has published: of those that were kept from the
    broker it knows nothing.
    """

    _passed: dict[int, list[int]] = field(default_factory=dict)

    def passed(self, publication: Publication) -> None:
        """The broker gets this one."""
        self._of(publication).append(publication.tag)

    def kept(self, publication: Publication) -> None:
        """The broker does not."""
        self._of(publication)

    def translated(self, confirm: Confirm) -> bytes:
        """A confirm as the service understands it. All up to a tag are what was answered before as well."""
        tag = self._passed[confirm.channel][confirm.method.delivery_tag - 1]
        if tag == confirm.method.delivery_tag:
            return confirm.raw
        method = type(confirm.method)(tag, confirm.method.multiple)
        return bytes(pika.frame.Method(confirm.channel, method).marshal())

    def _of(self, publication: Publication) -> list[int]:
        if publication.tag == 1:  # of a channel that is new, or was opened again
            self._passed[publication.channel] = []
        return self._passed[publication.channel]


@dataclass
class _Arriving:
    """A message whose frames are not all there yet."""

    method: Any
    raw: bytes
    header: Any = None
    body: bytes = b""

    @property
    def complete(self) -> bool:
        """True when nothing is missing."""
        return self.header is not None and len(self.body) >= self.header.body_size

    def add(self, frame: Any, raw: bytes) -> None:
        """One frame more."""
        self.raw += raw
        if isinstance(frame, pika.frame.Header):
            self.header = frame
        else:
            self.body += frame.fragment


@dataclass
class _Messages:
    """Messages whose frames come one by one, on each AMQP channel one after the other."""

    _arriving: dict[int, _Arriving] = field(default_factory=dict)

    def __contains__(self, channel: int) -> bool:
        return channel in self._arriving

    def begin(self, channel: int, method: Any, raw: bytes) -> None:
        """The method that announces one."""
        self._arriving[channel] = _Arriving(method, raw)

    def add(self, channel: int, frame: Any, raw: bytes) -> _Arriving | None:
        """One frame more; the message once nothing of it is missing."""
        self._arriving[channel].add(frame, raw)
        return self._arriving.pop(channel) if self._arriving[channel].complete else None


@dataclass
class _Frames:
    """Whole frames out of chunks."""

    _left: bytes = b""

    def feed(self, chunk: bytes) -> Iterator[tuple[Any, bytes]]:
        """The frames that are complete now, each with its bytes."""
        self._left += chunk
        while self._left:
            consumed, frame = _decoded(self._left)
            if not consumed:
                return
            raw, self._left = self._left[:consumed], self._left[consumed:]
            yield frame, raw


@dataclass
class ServiceStream:
    """The frames a service sends."""

    _frames: _Frames = field(default_factory=_Frames)
    _messages: _Messages = field(default_factory=_Messages)
    _tags: dict[int, int] = field(default_factory=dict)
    _queues: dict[int, str] = field(default_factory=dict)

    def feed(self, chunk: bytes) -> Iterator["bytes | Publication | Settlement"]:
        """The frames that are complete now."""
        for frame, raw in self._frames.feed(chunk):
            channel, method = _parts(frame)
            if isinstance(method, spec.Basic.Publish):
                self._messages.begin(channel, method, raw)
            elif channel in self._messages:
                yield from self._add(channel, frame, raw)
            elif isinstance(method, spec.Basic.Ack):
                yield Settlement(channel, method.delivery_tag, method.multiple, raw)
            else:
                self._note(channel, method)
                yield raw

    def queue(self, channel: int) -> str:
        """The queue that is consumed on a channel, empty when there is none."""
        return self._queues.get(channel, "")

    def _note(self, channel: int, method: Any) -> None:
        if isinstance(method, spec.Basic.Consume):
            self._queues[channel] = method.queue
        elif isinstance(method, spec.Confirm.Select):
            self._tags[channel] = 0

    def _add(self, channel: int, frame: Any, raw: bytes) -> Iterator[Publication]:
        if whole := self._messages.add(channel, frame, raw):
            self._tags[channel] = tag = self._tags.get(channel, 0) + 1
            yield Publication(channel, tag, whole.method, whole.raw, whole.header.properties, whole.body)


@dataclass
class BrokerStream:
    """The frames the broker sends."""

    _frames: _Frames = field(default_factory=_Frames)
    _messages: _Messages = field(default_factory=_Messages)
    _unsettled: dict[tuple[int, int], Delivery] = field(default_factory=dict)

    def feed(self, chunk: bytes) -> Iterator["bytes | Confirm"]:
        """The frames that are complete now; deliveries pass at once, and are remembered until they are settled."""
        for frame, raw in self._frames.feed(chunk):
            channel, method = _parts(frame)
            self._remember(channel, frame, raw)
            yield Confirm(channel, method, raw) if isinstance(method, spec.Basic.Ack | spec.Basic.Nack) else raw

    def settled(self, settlement: Settlement) -> list[Delivery]:
        """The deliveries a settlement is about, in order of delivery."""
        tags = [(channel, tag) for channel, tag in list(self._unsettled) if _covers(settlement, channel, tag)]
        return [self._unsettled.pop(tag) for tag in sorted(tags)]

    def _remember(self, channel: int, frame: Any, raw: bytes) -> None:
        _, method = _parts(frame)
        if isinstance(method, spec.Basic.Deliver):
            self._messages.begin(channel, method, raw)
        elif channel in self._messages and (whole := self._messages.add(channel, frame, raw)):
            delivery = _delivery(whole.header.properties, whole.body, whole.method.redelivered)
            self._unsettled[channel, whole.method.delivery_tag] = delivery


def returned(publication: Publication) -> bytes:
    """The broker's answer when no queue took a message: one that is mandatory comes back; all are acknowledged."""
    confirm = pika.frame.Method(publication.channel, spec.Basic.Ack(publication.tag))
    frames = [*_return(publication), confirm] if publication.method.mandatory else [confirm]
    return b"".join(frame.marshal() for frame in frames)


def _return(publication: Publication) -> list[Any]:
    method = publication.method
    stated = spec.Basic.Return(_NO_ROUTE, "NO_ROUTE", exchange=method.exchange, routing_key=method.routing_key)
    return [
        pika.frame.Method(publication.channel, stated),
        pika.frame.Header(publication.channel, len(publication.body), publication.properties),
        *([pika.frame.Body(publication.channel, publication.body)] if publication.body else []),
    ]


def nack(publication: Publication) -> bytes:
    """The broker's answer when it could not keep a message."""
    frame = pika.frame.Method(publication.channel, spec.Basic.Nack(publication.tag))
    return bytes(frame.marshal())


def _decoded(data: bytes) -> tuple[int, Any]:
    """The length in bytes of the first frame, and the frame. pika can't decode the properties of every message."""
    size = _HEAD + int.from_bytes(data[3:_HEAD])
    if data[:1] != bytes([spec.FRAME_HEADER]) or len(data) <= size:
        return pika.frame.decode_frame(data)
    content = data[_HEAD:size]
    number, body_size = int.from_bytes(data[1:3]), int.from_bytes(content[4:_ABOUT])
    return size + 1, pika.frame.Header(number, body_size, EncodedProperties.of(content[_ABOUT:]))


def _parts(frame: Any) -> tuple[int, Any]:
    """The AMQP channel and the method of a frame, as far as it has them."""
    return getattr(frame, "channel_number", -1), getattr(frame, "method", None)


def _covers(settlement: Settlement, channel: int, tag: int) -> bool:
    if channel != settlement.channel:
        return False
    return tag <= settlement.tag if settlement.multiple else tag == settlement.tag


def _delivery(properties: Any, body: bytes, redelivered: bool) -> Delivery:
    return Delivery(properties.message_id, properties.type, properties.content_type, body, redelivered, properties.raw)
