"""Limits on clients of a server, in size and time: more is refused, soon, and harms nobody else."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, cast

import grpc
import pytest

from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.contract.errors import StatusError, reason_of
from ordersys.runtime.rpc import admission, limits, memory_guard
from ordersys.runtime.settings import Settings
from tests import http2
from tests.unit.raw_client import raw_client
from tests.unit.test_server import GET, OWN_CONNECTION, REQUEST, RESPONSE, Gate, failing, fine, refusal, serving

_PAGE = bytes(100_000)
_SECONDS = 20.0
_PAUSE = 0.02
_MOST = 20
_REFUSED, _REFUSED_BYTES = 300, 2000


def unsaid(channel: grpc.aio.Channel) -> Any:
    """A call whose request does not come."""
    return channel.stream_unary(GET)()


async def test_a_call_too_many_is_refused_unread() -> None:
    """Before its request is there: refusing costs as little as can be."""
    under_way = Gate()
    async with serving(under_way.wait, max_concurrent_calls=1) as (_, channel):
        first = asyncio.ensure_future(OrderServiceStub(channel).GetOrder(REQUEST))
        await under_way.begun.wait()
        assert reason_of(await refusal(unsaid(channel))) == "TOO_MANY_CALLS"
        under_way.open.set()
        assert await first == RESPONSE


async def test_who_is_only_refused_calls_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the process grows, those are sent away who send much and call nobody."""
    under_way, size = Gate(), memory_guard.resident_bytes()
    async with serving(under_way.wait, max_concurrent_calls=1, max_memory_mib=4 * size >> 20) as (server, channel):
        first = asyncio.ensure_future(OrderServiceStub(channel).GetOrder(REQUEST))
        await under_way.begun.wait()
        monkeypatch.setattr(memory_guard, "resident_bytes", lambda: 2 * size)
        async with grpc.aio.insecure_channel(server.address, OWN_CONNECTION) as another:
            for number in range(_REFUSED):
                unlike = f"{number:0{_REFUSED_BYTES}}"  # what is said again, HTTP/2 abbreviates
                call: Any = another.stream_unary(GET)(metadata=[("x-much", unlike)])
                assert reason_of(await refusal(call)) == "TOO_MANY_CALLS"
        under_way.open.set()
        assert await first == RESPONSE


async def test_a_request_that_does_not_come_in_time_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it, meanwhile, take the place of another."""
    monkeypatch.setattr(admission, "REQUEST_SECONDS", 0.5)
    async with serving(max_concurrent_calls=3) as (_, channel):
        stalled = []
        for _ in range(5):
            stalled.append(unsaid(channel))
            assert await OrderServiceStub(channel).GetOrder(REQUEST) == RESPONSE
        assert {reason_of(await refusal(call)) for call in stalled} == {"REQUEST_INCOMPLETE"}


async def test_a_request_of_which_the_end_does_not_come_in_time_is_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    """UNAVAILABLE, to be repeated: late is not invalid. The servicer never sees it."""
    monkeypatch.setattr(admission, "REQUEST_SECONDS", 0.5)
    async with serving(failing(AssertionError("seen"))) as (server, _), raw_client(server.address) as client:
        stream = await client.call(GET)
        await client.say(http2.message(stream, REQUEST.SerializeToString())[: http2.HEADER_BYTES + 7])
        ended = await client.end_of(stream)
    assert ended is not None and ended[0] == grpc.StatusCode.UNAVAILABLE.value[0]


async def test_a_request_that_is_late_but_comes_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """In two parts, each with its time."""
    async with serving() as (server, _), raw_client(server.address) as client:
        stream = await client.call(GET)
        body = http2.message(stream, REQUEST.SerializeToString())
        await client.say(body[:12])
        await asyncio.sleep(0)
        await client.say(body[12:])
        ended = await client.end_of(stream)
    assert ended is not None and ended[0] == 0


async def test_a_client_that_goes_while_its_request_is_waited_for_leaves_nothing_behind() -> None:
    """By cancelling the call, or with its connection: its room is free again."""
    arrivals: admission.Arrivals
    async with serving(failing(AssertionError("seen"))) as (server, channel):
        arrivals = server._doors.arrivals
        room = arrivals._left
        calls = [unsaid(channel) for _ in range(3)]
        async with raw_client(server.address) as client:
            await client.call(GET)
            await until(lambda: arrivals._left == room - 4)
        for call in calls:
            call.cancel()
        await until(lambda: arrivals._left == room)
    assert not arrivals._by_peer
    assert not arrivals._oldest_first


async def test_of_two_messages_the_first_is_the_request() -> None:
    """As any server of a call with one request does; the other is not looked at.

    Both go at once: gRPC's client makes INTERNAL of a write that meets the end of its call.
    """
    async with serving() as (server, _), raw_client(server.address) as client:
        stream = await client.call(GET)
        first, second = (
            http2.message(stream, body)[http2.HEADER_BYTES :] for body in (REQUEST.SerializeToString(), b"\xff")
        )
        await client.say(http2.frame(http2.DATA, http2.END_STREAM, stream, first + second))
        ended = await client.end_of(stream)
    assert ended is not None and ended[0] == 0


async def test_when_too_many_requests_are_waited_for_who_has_most_of_them_loses_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One, at once; a client with few is waited for as ever."""
    monkeypatch.setattr(admission, "_WAITING_A_CALL", 1)
    monkeypatch.setattr(admission, "REQUEST_SECONDS", 600)
    async with serving(max_concurrent_calls=10) as (server, channel):
        arrivals = server._doors.arrivals
        greedy = [unsaid(channel) for _ in range(10)]
        await until(lambda: arrivals._left == 0)
        async with grpc.aio.insecure_channel(server.address, OWN_CONNECTION) as another:
            assert await OrderServiceStub(another).GetOrder(REQUEST) == RESPONSE
        await until(lambda: any(call.done() for call in greedy))
        (lost,) = [call for call in greedy if call.done()]
        assert reason_of(await refusal(lost)) == "REQUEST_INCOMPLETE"
        for call in greedy:
            call.cancel()


async def test_metadata_is_limited_before_the_client_has_acknowledged_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """gRPC lets most of it pass then, up to 16 MiB: the call is refused all the same, and is not served."""
    fields = [(f"x-{number}", "x" * 100) for number in range(1000)]
    block = http2.block([*http2.call_fields(GET), *fields])
    parts = [block[at : at + http2.FRAME_SIZE] for at in range(0, len(block), http2.FRAME_SIZE)]
    async with serving(failing(AssertionError("seen"))) as (server, _), raw_client(server.address, False) as client:
        await client.say(http2.frame(http2.HEADERS, http2.END_STREAM, 1, parts[0]))
        for part in parts[1:]:
            await client.say(http2.frame(http2.CONTINUATION, http2.END_HEADERS if part == parts[-1] else 0, 1, part))
        ended = await client.end_of(1)
    assert ended is not None and ended[0] == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]


async def test_a_client_that_does_not_acknowledge_the_settings_is_sent_away() -> None:
    """In 5 s: until then no limit on its metadata holds."""
    async with serving() as (server, _), raw_client(server.address, False) as client:
        frames = [frame.kind async for frame in client.frames()]
    assert frames[0] == http2.SETTINGS


@pytest.mark.parametrize("calls", [0, 1], ids=["idle", "in a call"])
async def test_a_client_may_ping_as_often_as_the_contract_allows(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as it likes, when no ping comes sooner after another than that; with a call under way or idle."""
    monkeypatch.setattr(limits, "_LEAST_PING_MILLISECONDS", 20)  # what the contract allows would take minutes
    under_way = Gate()
    async with serving(under_way.wait) as (server, _), raw_client(server.address) as client:
        if calls:
            await client.say(http2.message(await client.call(GET), REQUEST.SerializeToString()))
        answered = 0
        await client.say(http2.frame(http2.PING, 0, 0, bytes(8)))
        async for frame in client.frames():
            assert frame.kind != http2.GOAWAY
            if frame.kind == http2.PING and frame.flags & http2.ACK:
                answered += 1
                if answered == 20:
                    break
                await asyncio.sleep(0.05)
                await client.say(http2.frame(http2.PING, 0, 0, bytes(8)))
        under_way.open.set()


def test_the_least_pause_between_pings_is_below_what_the_contract_allows() -> None:
    """By half: what a client sends every 10 s may arrive a little sooner."""
    assert dict(limits.options(Settings()))["grpc.http2.min_ping_interval_without_data_ms"] <= 10_000 / 2


async def test_a_client_that_floods_with_pings_is_sent_away() -> None:
    """GOAWAY, too_many_pings."""
    async with serving() as (server, channel), raw_client(server.address) as client:
        await client.say(http2.frame(http2.PING, 0, 0, bytes(8)) * 1000)
        frames = [frame async for frame in client.frames()]
        assert b"too_many_pings" in next(frame for frame in frames if frame.kind == http2.GOAWAY).payload
        assert await OrderServiceStub(channel).GetOrder(REQUEST) == RESPONSE


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate], ids=["gzip", "deflate"])
async def test_a_compressed_request_is_refused_unread(compression: grpc.Compression) -> None:
    """UNIMPLEMENTED, as the contract says; an answer is never compressed, whatever a client would take."""
    async with serving(failing(AssertionError("seen"))) as (server, _):
        options = (*OWN_CONNECTION, ("grpc.default_compression_algorithm", compression.value))
        async with grpc.aio.insecure_channel(server.address, options) as channel:
            status = await refusal(OrderServiceStub(channel).CreateOrder(CreateOrderRequest(customer_id="x" * 1000)))
    assert status.code == grpc.StatusCode.UNIMPLEMENTED.value[0]


SETTINGS_FLOOD = http2.frame(http2.SETTINGS, 0, 0, (3).to_bytes(2) + (100).to_bytes(4)) * 20_000
FLOODS = {
    "settings": SETTINGS_FLOOD,
    "resets of nothing": http2.frame(http2.RST_STREAM, 0, 1, bytes(4)) * 20_000,
    "window updates": http2.window_update(0, 1) * 20_000,
    "a huge table": http2.frame(http2.SETTINGS, 0, 0, (1).to_bytes(2) + (2**31).to_bytes(4)),
    "unknown frames": http2.frame(99, 0, 0, bytes(1000)) * 5000,
    "HTTP/1.1": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c4030300") + bytes(200),
    "empty data": http2.headers(1, GET) + http2.frame(http2.DATA, 0, 1) * 20_000,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
async def test_a_flood_of_frames_harms_nobody_else(flood: bytes) -> None:
    """Another client is served meanwhile and afterwards, whatever the frames are."""
    async with serving() as (server, channel), raw_client(server.address) as client:
        with suppress(ConnectionError):
            await client.say(flood)
            await asyncio.gather(*(OrderServiceStub(channel).GetOrder(REQUEST) for _ in range(20)))
        assert await OrderServiceStub(channel).GetOrder(REQUEST) == RESPONSE


@pytest.mark.parametrize("said", ["99999999H", "0n", "1S", "-1S", "S", "1", "999999999S", "1e9S", "x" * 500])
async def test_an_odd_deadline_is_taken_or_refused_and_harms_nobody(said: str) -> None:
    """As a deadline, or not; never as something unforeseen."""
    async with serving() as (server, channel), raw_client(server.address) as client:
        stream = await client.call(GET, [("grpc-timeout", said)])
        await client.say(http2.message(stream, REQUEST.SerializeToString()))
        assert await client.end_of(stream) is not None
        assert await OrderServiceStub(channel).GetOrder(REQUEST) == RESPONSE


@pytest.mark.parametrize("path", ["", "/", "/a", GET + "s", GET + "/x", "/" + "x" * 4000, GET.lower(), "/a/b/c"])
async def test_an_unknown_call_is_refused(path: str) -> None:
    """UNIMPLEMENTED, or the stream is reset; the connection and everybody else go on."""
    async with serving(failing(AssertionError("seen"))) as (server, _), raw_client(server.address) as client:
        stream = await client.call(path)
        await client.say(http2.message(stream, REQUEST.SerializeToString()))
        ended = await client.end_of(stream)
    assert ended is not None and ended[0] in (grpc.StatusCode.UNIMPLEMENTED.value[0], -1)


async def until(reached: Callable[[], bool]) -> None:
    """Waits for it, as long as a busy machine may take."""
    async with asyncio.timeout(_SECONDS):
        while not reached():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(_PAUSE)


async def test_a_call_without_a_request_is_undecodable() -> None:
    """The servicer never sees it."""
    async with serving(failing(AssertionError("seen"))) as (_, channel):
        call = unsaid(channel)
        await call.done_writing()
        assert reason_of(await refusal(call)) == "UNDECODABLE_REQUEST"


async def test_a_connection_without_calls_is_ended() -> None:
    """After a while; the next call connects again, and nobody notices."""
    async with serving(idle_seconds=1) as (_, channel):
        assert await OrderServiceStub(channel).GetOrder(REQUEST) == RESPONSE
        await asyncio.wait_for(channel.wait_for_state_change(grpc.ChannelConnectivity.READY), _SECONDS)
        assert await OrderServiceStub(channel).GetOrder(REQUEST) == RESPONSE


async def test_a_connection_too_many_is_sent_away() -> None:
    """The clients connected before go on."""
    async with serving(fine, max_connections=1) as (server, channel):
        assert await OrderServiceStub(channel).GetOrder(REQUEST) == RESPONSE
        async with grpc.aio.insecure_channel(server.address, OWN_CONNECTION) as another:
            status = await refusal(OrderServiceStub(another).GetOrder(REQUEST))
        assert status.code == grpc.StatusCode.UNAVAILABLE.value[0]
        assert await OrderServiceStub(channel).GetOrder(REQUEST) == RESPONSE


async def test_as_many_calls_as_are_served_may_come_at_once() -> None:
    """While nobody looks at them, too: none of them is sent away, though those that come after them are."""
    async with serving(max_concurrent_calls=_MOST) as (server, _):
        with grpc.insecure_channel(server.address, OWN_CONNECTION) as channel:
            stub = OrderServiceStub(channel)
            await asyncio.to_thread(stub.GetOrder, REQUEST, wait_for_ready=True)  # from here on calls arrive in order
            calls = [stub.GetOrder.future(REQUEST) for _ in range(2 * _MOST)]
            keep_busy(lambda: any(call.done() for call in calls))
            ended = await asyncio.to_thread(lambda: [call.code() for call in calls])
    assert ended[:_MOST] == [grpc.StatusCode.OK] * _MOST
    assert grpc.StatusCode.CANCELLED in ended[_MOST:]


async def test_of_many_more_calls_few_wait() -> None:
    """Each of them would keep those behind it waiting: the others are sent away, long before anybody has time."""
    async with serving(max_concurrent_calls=_MOST) as (server, _):
        with ExitStack() as opened:
            connections = (grpc.insecure_channel(server.address, OWN_CONNECTION) for _ in range(40))
            channels = [opened.enter_context(connection) for connection in connections]
            calls = [OrderServiceStub(channel).GetOrder.future(REQUEST) for channel in channels for _ in range(_MOST)]
            most_unserved = len(calls) - 2 * _MOST
            keep_busy(lambda: sum(call.done() for call in calls) >= most_unserved)
            ended = await asyncio.to_thread(lambda: Counter(call.code() for call in calls))
    assert ended[grpc.StatusCode.CANCELLED] >= most_unserved
    assert ended[grpc.StatusCode.OK] >= _MOST
    assert set(ended) <= {grpc.StatusCode.CANCELLED, grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}


def keep_busy(over: Callable[[], bool]) -> None:
    """Keeps the server's loop, which is this one, from doing anything until then."""
    until = time.monotonic() + _SECONDS
    while not over() and time.monotonic() < until:
        time.sleep(_PAUSE)


class Taker:
    """The context of a call, on one connection or another."""

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self.take: list[Callable[[object], None]] = []

    def peer(self) -> str:
        return self._peer

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        self.take.append(callback)


def test_who_takes_no_pages_gets_no_more_of_them() -> None:
    """So many bytes wait for one connection; another one gets its pages, and so does this one later."""
    unread = admission.UnreadResponses()
    reader = Taker("slow")

    def answer(taker: Taker) -> None:
        unread.add(_PAGE, cast(Any, taker))

    for _ in range(admission._MAX_UNREAD_BYTES // len(_PAGE) + 1):
        answer(reader)
    with pytest.raises(StatusError) as refused:
        answer(reader)
    assert reason_of(refused.value.status) == "TOO_MANY_CALLS"
    answer(Taker("quick"))
    for callback in reader.take:
        callback(None)
    answer(reader)
