"""What a server takes from its clients at a time, and for how long: more is refused, soon, and harms nobody else."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, cast

import grpc
import pytest

from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.contract.errors import Refused, reason_of
from ordersys.runtime import admission
from tests.unit.test_server import GET, OWN_CONNECTION, REQUEST, RESPONSE, Gate, failing, fine, refusal, serving

_PAGE = bytes(100_000)
_SECONDS = 20.0
_PAUSE = 0.02
_MOST = 20


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


async def test_a_request_that_does_not_come_in_time_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it, meanwhile, take the place of another."""
    monkeypatch.setattr(admission, "REQUEST_SECONDS", 0.5)
    async with serving(max_concurrent_calls=3) as (_, channel):
        stalled = []
        for _ in range(5):
            stalled.append(unsaid(channel))
            assert await OrderServiceStub(channel).GetOrder(REQUEST) == RESPONSE
        assert {reason_of(await refusal(call)) for call in stalled} == {"REQUEST_INCOMPLETE"}


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
    """Who is connected goes on."""
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
            grpc.channel_ready_future(channel).result(_SECONDS)  # from here on calls arrive in order
            calls = [OrderServiceStub(channel).GetOrder.future(REQUEST) for _ in range(2 * _MOST)]
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
    untaken = admission.Untaken()
    reader = Taker("slow")

    def answer(taker: Taker) -> None:
        untaken.add(_PAGE, cast(Any, taker))

    for _ in range(admission._MOST_UNTAKEN_BYTES // len(_PAGE) + 1):
        answer(reader)
    with pytest.raises(Refused) as refused:
        answer(reader)
    assert reason_of(refused.value.status) == "TOO_MANY_CALLS"
    answer(Taker("quick"))
    for taken in reader.take:
        taken(None)
    answer(reader)
