"""AMQP frames in bulk are pika's, byte for byte: in both directions, however the bytes are divided."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import ContentFrameAssembler
from pika.exceptions import ChannelWrongStateError, InvalidFrameError
from pika.frame import Body, Frame, Header, Heartbeat, Method
from pika.spec import Basic

from ordersys.runtime.rabbitmq import frames
from ordersys.runtime.rabbitmq.frames import Connection, publication
from ordersys.runtime.rabbitmq.messages import AmqpDelivery, Message, RawProperties
from tests.contract.harness.amqp_properties import encoded, properties

OURS, OTHER = 3, 4
SMALLEST, LARGEST_WRITE = 4096, 131_072
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
RAW = st.one_of(properties().map(encoded), st.binary(max_size=40))
BODIES = st.one_of(st.binary(max_size=30), st.integers(0, 3 * SMALLEST).map(bytes))


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """For connections that are never opened."""
    with closing(asyncio.new_event_loop()) as made:
        yield made


class Recorded(NamedTuple):
    """A delivery, by the parts that are on the wire."""

    tag: int
    redelivered: bool
    properties: bytes
    body: bytes


class Wire:
    """A connection to nobody: what it writes, and in order what it makes of what it reads."""

    def __init__(self, kind: type[AsyncioConnection], loop: asyncio.AbstractEventLoop) -> None:
        self.written: list[bytes] = []
        self.seen: list[Recorded | bytes] = []
        self._assembler = ContentFrameAssembler()
        self._is_delivery = False
        self.connection = _unopened(kind, loop)
        self.connection._transport = self
        self.connection._process_frame = self._frame
        if kind is Connection:
            self.connection.take(_Channel(OURS), self._take)

    def write(self, data: bytes) -> None:
        """As a transport of pika."""
        self.written.append(data)

    def _take(self, tag: int, delivery: AmqpDelivery) -> None:
        self.seen.append(Recorded(tag, delivery.redelivered, delivery.properties, delivery.body))

    def _frame(self, frame: Any) -> None:
        """A frame that pika has read: a delivery on the channel that is ours is put together, as pika does it."""
        if frame.channel_number != OURS:
            self.seen.append(_marshalled(frame))
            return
        if isinstance(frame, Method):
            self._is_delivery = isinstance(frame.method, Basic.Deliver)
        if not self._is_delivery:
            self.seen.append(_marshalled(frame))
        elif whole := self._assembler.process(frame):
            method, header, body = whole
            delivery = method.method
            raw = b"".join(header.properties.encode())
            self.seen.append(Recorded(delivery.delivery_tag, delivery.redelivered, raw, body))


def _unopened(kind: type[AsyncioConnection], loop: asyncio.AbstractEventLoop) -> Any:
    return kind(pika.ConnectionParameters(), custom_ioloop=loop, internal_connection_workflow=False)


class _Channel(NamedTuple):
    """As far as a connection asks."""

    channel_number: int
    is_open: bool = True


def _marshalled(frame: Any) -> bytes:
    return bytes(frame.marshal())


def content(channel: int, method: Any, raw: bytes, body: bytes, room: int) -> list[Frame]:
    """A method with its content, the body in frames of at most `room` bytes."""
    bodies = [Body(channel, body[at : at + room]) for at in range(0, len(body), room)]
    return [Method(channel, method), Header(channel, len(body), RawProperties.of(raw)), *bodies]


DELIVERIES = st.builds(
    lambda channel, tag, again, names, raw, body, room: content(
        channel, Basic.Deliver(names[0], tag, again, names[1], names[2]), raw, body, room
    ),
    st.sampled_from([OURS, OURS, OTHER]),
    st.integers(1, 2**63 - 1),
    st.booleans(),
    st.tuples(NAMES, NAMES, NAMES),
    RAW,
    BODIES,
    st.sampled_from([SMALLEST, 131_072, 7]),
)
RETURNS = st.builds(
    lambda raw, body: content(OURS, Basic.Return(312, "NO_ROUTE", "e", "k"), raw, body, SMALLEST),
    RAW,
    st.binary(max_size=9),
)
SINGLE = st.sampled_from(
    [
        Heartbeat(),
        Method(OURS, Basic.Ack(7, True)),
        Method(OURS, Basic.ConsumeOk("t")),
        Method(OTHER, Basic.CancelOk("t")),
    ]
).map(lambda frame: [frame])
STREAMS = st.lists(st.one_of(DELIVERIES, DELIVERIES, SINGLE, RETURNS), max_size=8)


def read(wire: Wire, data: bytes, cuts: Sequence[int]) -> list[Recorded | bytes]:
    """Feed `data` to the connection, divided at `cuts`; returns everything it has handed over."""
    begin = 0
    for end in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        if end > begin:
            wire.connection._on_data_available(data[begin:end])
        begin = end
    return wire.seen


@given(st.builds(Message, NAMES, NAMES, BODIES, RAW.map(RawProperties.of)), st.sampled_from([SMALLEST, 5000, 131_072]))
def test_a_message_is_laid_out_as_pika_does(loop: asyncio.AbstractEventLoop, message: Message, frame_max: int) -> None:
    """Any names, properties and body, in frames of any size."""
    wire = Wire(AsyncioConnection, loop)
    wire.connection._body_max_length = frame_max - 8
    method = Basic.Publish(0, message.exchange, message.routing_key, True, False)
    wire.connection._send_message(OURS, method, (message.properties, message.body))
    assert publication(OURS, message, frame_max) == b"".join(wire.written)


@given(STREAMS, st.lists(st.integers(0, 2**32), max_size=12))
def test_deliveries_are_what_pika_makes_of_them(
    loop: asyncio.AbstractEventLoop, stream: list[list[Frame]], cuts: list[int]
) -> None:
    """With any properties, in one frame or in several, among any other frames, divided anywhere."""
    data = b"".join(_marshalled(frame) for frames_ in stream for frame in frames_)
    ours, theirs = Wire(Connection, loop), Wire(AsyncioConnection, loop)
    assert read(ours, data, cuts) == read(theirs, data, cuts)
    assert ours.connection.bytes_received == theirs.connection.bytes_received


@given(st.permutations([0, 1, 2, 3]), st.lists(st.integers(0, 2**32), max_size=5))
def test_frames_of_two_channels_may_be_mingled(
    loop: asyncio.AbstractEventLoop, order: list[int], cuts: list[int]
) -> None:
    """AMQP 0-9-1 §4.2.6 allows it: a delivery comes whole all the same."""
    ours = content(OURS, Basic.Deliver("t", 1, False, "e", "k"), b"\0\0", b"body", SMALLEST)
    mingled: list[Frame] = list(ours)
    for at in order:
        mingled.insert(at, Method(OTHER, Basic.CancelOk("t")))
    data = b"".join(map(_marshalled, mingled))
    assert read(Wire(Connection, loop), data, cuts) == read(Wire(AsyncioConnection, loop), data, cuts)


@given(st.lists(DELIVERIES, min_size=1, max_size=4), st.integers(0, 2**32), st.lists(st.integers(0, 2**32), max_size=5))
def test_a_frame_without_its_end_is_no_frame(
    loop: asyncio.AbstractEventLoop, stream: list[list[Frame]], which: int, cuts: list[int]
) -> None:
    """Whichever it is: nothing of it is taken, and pika ends the connection over it."""
    parts = [bytearray(_marshalled(frame)) for frames_ in stream for frame in frames_]
    parts[which % len(parts)][-1] ^= 0xFF
    ours, theirs = Wire(Connection, loop), Wire(AsyncioConnection, loop)
    for wire in (ours, theirs):
        with pytest.raises(InvalidFrameError):
            read(wire, b"".join(parts), cuts)
    assert ours.seen == theirs.seen


DELIVERED = content(OURS, Basic.Deliver("t", 1, False, "e", "k"), b"\0\0", b"body", SMALLEST)
METHOD, HEADER, BODY = map(_marshalled, DELIVERED)
ODD = {
    "a header of another class": [METHOD, HEADER[:7] + b"\0\x0a" + HEADER[9:], BODY],
    "a header without properties": [METHOD, b"\x02\0\3\0\0\0\x0c" + HEADER[7:19] + b"\xce", BODY],
    "a header that is cut off": [METHOD, b"\x02\0\3\0\0\0\x04" + HEADER[7:11] + b"\xce", BODY],
    "a method that is cut off": [b"\x01\0\3\0\0\0\x06" + METHOD[7:13] + b"\xce", HEADER, BODY],
    "a consumer tag that is too long": [METHOD[:11] + b"\xff" + METHOD[12:], HEADER, BODY],
    "a body that is too long": [METHOD, HEADER, _marshalled(Body(OURS, b"longer body"))],
    "another method instead of the header": [METHOD, METHOD, HEADER, BODY],
    "a header on another channel": [METHOD, HEADER[:1] + b"\0\4" + HEADER[3:], BODY],
    "no type of a frame": [METHOD, HEADER, BODY, b"\x09" + BODY[1:], METHOD],
    "another protocol": [b"AMQP\0\0\x09\x01"],
    "no protocol": [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
}


@pytest.mark.parametrize("parts", ODD.values(), ids=list(ODD))
def test_what_no_broker_sends_is_pikas_to_judge(loop: asyncio.AbstractEventLoop, parts: list[bytes]) -> None:
    """The result is what pika makes of it, an error included."""
    said: list[tuple[object, object]] = []
    for kind in (AsyncioConnection, Connection):
        wire, error = Wire(kind, loop), None
        try:
            read(wire, b"".join(parts), [])
        except Exception as raised:  # noqa: BLE001 - whatever pika raises
            error = type(raised)
        said.append((wire.seen, error))
    assert said[0] == said[1]


def test_what_is_published_goes_in_one_write(loop: asyncio.AbstractEventLoop) -> None:
    """Each write is a call of the system, and wakes the broker."""
    wire = Wire(Connection, loop)
    message = Message("e", "k", b"body", RawProperties.of(b"\0\0"))
    for _ in range(3):
        wire.connection.publish(_Channel(OURS), message)
    assert not wire.written
    wire.connection.flush()
    wire.connection.flush()
    assert wire.written == [3 * publication(OURS, message, wire.connection.params.frame_max)]


@pytest.mark.parametrize(("count", "size"), [(1, 20_000_000), (60, 250_000), (3_000, 600)])
def test_no_write_is_large(loop: asyncio.AbstractEventLoop, count: int, size: int) -> None:
    """pika copies what is left of a write each time a part of it is sent: of 50 MB that holds up the whole process."""
    wire = Wire(Connection, loop)
    message = Message("e", "k", bytes(size), RawProperties.of(b"\0\0"))
    for _ in range(count):
        wire.connection.publish(_Channel(OURS), message)
    wire.connection.flush()
    lengths = [len(data) for data in wire.written]
    is_all = b"".join(wire.written) == count * publication(OURS, message, wire.connection.params.frame_max)
    assert is_all  # no megabytes in a report
    assert max(lengths) <= LARGEST_WRITE
    assert wire.connection.bytes_sent == sum(lengths)


def test_nothing_is_published_on_a_closed_channel(loop: asyncio.AbstractEventLoop) -> None:
    """As pika has it."""
    wire = Wire(Connection, loop)
    with pytest.raises(ChannelWrongStateError):
        wire.connection.publish(_Channel(OURS, is_open=False), Message("e", "k", b"", RawProperties.of(b"\0\0")))
    wire.connection.flush()
    assert not wire.written


@given(STREAMS)
def test_without_the_hooks_pika_reads_it_all(loop: asyncio.AbstractEventLoop, stream: list[list[Frame]]) -> None:
    """A release of pika may have no such methods: nothing is taken out of what it reads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "IN_BULK", False)
        wire = Wire(Connection, loop)
    patch_free = Wire(AsyncioConnection, loop)
    data = b"".join(_marshalled(frame) for frames_ in stream for frame in frames_)
    assert not wire.connection._takers
    assert read(wire, data, []) == read(patch_free, data, [])
