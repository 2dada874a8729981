"""A gRPC server of the contract, on a real port."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1.order_events_pb2 import Shortage
from ordersys.api.order.v1.order_pb2 import Order, OrderItem
from ordersys.api.order.v1.order_service_pb2 import DESCRIPTOR, CreateOrderRequest, GetOrderRequest, GetOrderResponse
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.contract.errors import out_of_stock, reason_of, status_error
from ordersys.local import ports
from ordersys.runtime.base.futures import Grace
from ordersys.runtime.metrics import instruments
from ordersys.runtime.rpc.server import AddressInUse, Server
from ordersys.runtime.rpc.streams import LIVENESS
from ordersys.runtime.settings import Settings
from ordersys.runtime.storage.errors import StorageUnavailable
from tests.unit.test_lifecycle import ORDER_ID

SERVICE = DESCRIPTOR.services_by_name["OrderService"]
GET = f"/{SERVICE.full_name}/GetOrder"
REQUEST = GetOrderRequest(order_id=ORDER_ID)
RESPONSE = GetOrderResponse(order=Order(id=ORDER_ID))
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
# Channels that share no connection, as those of different clients.
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


class Servicer:
    """Has every RPC answered by `answer`."""

    def __init__(self, answer: Callable[[], Awaitable[Any]]) -> None:
        self._answer = answer

    def __getattr__(self, rpc: str) -> Callable[[Message, object], Awaitable[Any]]:
        return lambda request, context: self._answer()


class Gate:
    """A call that is under way until the gate is opened."""

    def __init__(self) -> None:
        self.begun, self.open = asyncio.Event(), asyncio.Event()

    async def wait(self) -> Message:
        self.begun.set()
        await self.open.wait()
        return RESPONSE


async def fine() -> Message:
    return RESPONSE


def failing(error: Exception) -> Callable[[], Awaitable[Message]]:
    async def fail() -> Message:
        raise error

    return fail


@asynccontextmanager
async def serving(
    answer: Callable[[], Awaitable[Any]] = fine, **settings: Any
) -> AsyncIterator[tuple[Server, grpc.aio.Channel]]:
    (port,) = ports.free(1)
    # The process of the tests has a size of its own.
    server = Server(f"{ports.LOOPBACK}:{port}", Settings(**{"max_memory_mib": 100_000, **settings}))
    server.add(SERVICE, Servicer(answer))
    await server.start()
    try:
        async with grpc.aio.insecure_channel(server.address, OWN_CONNECTION) as channel:
            yield server, channel
    finally:
        await server.stop(Grace(0))


async def refusal(call: Awaitable[object]) -> Status:
    """The status a call is refused with; without details when it was not this system that refused."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    trailing = dict(refused.value.trailing_metadata() or ())
    code: int = refused.value.code().value[0]
    plain = Status(code=code, message=refused.value.details() or "")
    detailed = Status.FromString(bytes(trailing.get("grpc-status-details-bin", plain.SerializeToString())))
    assert (detailed.code, detailed.message) == (plain.code, plain.message)
    return detailed


def unary(channel: grpc.aio.Channel, path: str) -> Any:
    """A call without the stub, which would send no garbage."""
    return channel.unary_unary(path)


async def test_a_call_is_answered_by_the_method_of_its_name() -> None:
    """A valid request gets what the servicer answers."""
    async with serving() as (_, channel):
        assert await OrderServiceStub(channel).GetOrder(REQUEST) == RESPONSE


async def nothing() -> None:
    return None


@pytest.mark.parametrize("answer", [failing(KeyError("SELECT secret")), nothing], ids=["raises", "answers nothing"])
async def test_a_bug_is_internal_with_an_error_id_the_log_has(
    answer: Callable[[], Awaitable[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """An exception nobody foresaw in the servicer goes to the log, and to the client not a word of it."""
    async with serving(answer) as (_, channel):
        status = await refusal(OrderServiceStub(channel).GetOrder(REQUEST))
    assert (status.code, reason_of(status)) == (grpc.StatusCode.INTERNAL.value[0], "INTERNAL_ERROR")
    assert not any(word in status.SerializeToString() for word in (b"KeyError", b"SELECT", b"Error'", b"object"))
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    (record,) = [record for record in caplog.records if info.metadata["error_id"] in record.getMessage()]
    assert record.exc_info and GET in record.getMessage()


async def test_a_refusal_reaches_the_client_with_every_detail() -> None:
    """Also the longest the contract knows: fifty products with the longest names, each with its numbers."""
    refused = out_of_stock(Shortage(product_id=f"{n:064}", asked=1000, available=999) for n in range(50))
    async with serving(failing(refused)) as (_, channel):
        assert await refusal(OrderServiceStub(channel).GetOrder(REQUEST)) == refused.status


async def test_storage_that_is_unavailable_is_a_status_of_the_contract() -> None:
    """STORAGE_UNAVAILABLE, to be repeated: the log has the path and the reason, the client not a word of them."""
    async with serving(failing(StorageUnavailable("database /x/order.db can't be written: disk full"))) as (_, channel):
        status = await refusal(OrderServiceStub(channel).GetOrder(REQUEST))
    assert status == status_error(ErrorReason.STORAGE_UNAVAILABLE).status


@pytest.mark.parametrize("count", [1, 20, 51, 1000])
async def test_a_request_that_breaks_rules_is_told_which_field(count: int) -> None:
    """INVALID_ARGUMENT, however many items are wrong: what the client gets fits into what a client takes."""
    request = CreateOrderRequest(request_id=ORDER_ID, order_id=ORDER_ID, customer_id="anna")
    request.items.extend([OrderItem(product_id="Not A Slug", quantity=-1)] * count)
    async with serving() as (_, channel):
        for _ in range(5):
            status = await refusal(OrderServiceStub(channel).CreateOrder(request))
            assert reason_of(status) == "INVALID_REQUEST"
    bad = BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    assert {"items[0].product_id", "items[0].quantity"} <= {violation.field for violation in bad.field_violations}


@pytest.mark.parametrize("garbage", [b"\xff\xff", b"\x0a\x02\xff\xfe", b"\x0a\x7f"], ids=["tag", "utf-8", "truncated"])
async def test_bytes_that_are_no_message_are_undecodable(garbage: bytes) -> None:
    """INVALID_ARGUMENT with the text of the contract, and the servicer never sees them."""
    async with serving(failing(AssertionError("seen"))) as (_, channel):
        status = await refusal(unary(channel, GET)(garbage))
    assert (status.code, reason_of(status)) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], "UNDECODABLE_REQUEST")


async def test_one_call_too_many_is_refused_with_when_to_come_again() -> None:
    """RESOURCE_EXHAUSTED with RetryInfo; the calls under way are not disturbed."""
    under_way = Gate()
    async with serving(under_way.wait, max_concurrent_calls=1) as (server, channel):
        first = asyncio.ensure_future(OrderServiceStub(channel).GetOrder(REQUEST))
        await under_way.begun.wait()
        async with grpc.aio.insecure_channel(server.address, OWN_CONNECTION) as another:
            status = await refusal(OrderServiceStub(another).GetOrder(REQUEST))
        under_way.open.set()
        assert await first == RESPONSE
    assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert any(detail.Is(RetryInfo.DESCRIPTOR) for detail in status.details)


async def answering(healthy: bool) -> bool:
    return healthy


async def test_a_server_is_healthy_when_it_says_so() -> None:
    """Listening is not serving; the server and each of its services change together."""
    async with serving() as (server, channel):
        stub = cast(Any, HealthStub(channel))
        asked = [HealthCheckRequest(service=name) for name in ("", SERVICE.full_name)]
        assert {(await stub.Check(request)).status for request in asked} == {NOT_SERVING}
        for healthy in (True, False):
            await server.report(partial(answering, healthy))
            assert {(await stub.Check(request)).status for request in asked} == {SERVING if healthy else NOT_SERVING}


async def test_a_server_is_alive_whatever_its_services_say_and_while_it_stops() -> None:
    """Restarting a process that is not alive would else end calls under way, or help against no outage."""
    under_way = Gate()
    async with serving(under_way.wait) as (server, channel):
        stub = cast(Any, HealthStub(channel))
        alive = HealthCheckRequest(service=LIVENESS)
        assert (await stub.Check(alive)).status == SERVING, "before any service works"
        await server.healthy(True)
        await server.healthy(False)
        assert (await stub.Check(alive)).status == SERVING
        watch = stub.Watch(alive)
        assert (await watch.read()).status == SERVING
        call = asyncio.ensure_future(OrderServiceStub(channel).GetOrder(REQUEST))
        await under_way.begun.wait()
        stopping = asyncio.create_task(server.stop(Grace(60)))
        with pytest.raises(grpc.aio.AioRpcError) as ended:  # and no word before
            await watch.read()
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        under_way.open.set()
        assert await call == RESPONSE
        await stopping


async def test_stopping_says_not_serving_and_lets_calls_under_way_end() -> None:
    """Nothing makes it healthy again; whoever watches hears of it before the last call has ended."""
    under_way = Gate()
    async with serving(under_way.wait) as (server, channel):
        await server.healthy(True)
        watch = cast(Any, HealthStub(channel)).Watch(HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        call = asyncio.ensure_future(OrderServiceStub(channel).GetOrder(REQUEST))
        await under_way.begun.wait()
        stopping = asyncio.create_task(server.stop(Grace(60)))
        assert (await watch.read()).status == NOT_SERVING
        await server.healthy(True)
        under_way.open.set()
        assert await call == RESPONSE
        watch.cancel()
        await stopping


async def test_a_probe_that_ends_late_makes_no_metric_of_a_server_that_stops() -> None:
    """The gauge shows what health says: probes go on while calls under way end."""
    exposed = instruments.switch_on("tests").exposed
    try:
        async with serving() as (server, _):
            await server.healthy(True)
            assert b"ordersys_serving 1.0" in exposed("")[1]
            await server.stop(Grace(0))
            await server.healthy(True)
            assert b"ordersys_serving 0.0" in exposed("")[1]
    finally:
        instruments.switch_off()


async def test_an_address_that_is_taken_in_the_last_moment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at it and grpc's try, whose error has no reason."""

    async def seen_free(address: str) -> None:
        pass

    monkeypatch.setattr("ordersys.runtime.rpc.server._try", seen_free)
    async with serving() as (server, _):
        with pytest.raises(AddressInUse, match=f"{server.address} can't be listened on: somebody has just taken it"):
            await Server(server.address, Settings()).start()


async def test_an_address_that_is_taken_is_named() -> None:
    """The second server says which and why; the first goes on."""
    async with serving() as (server, channel):
        with pytest.raises(AddressInUse, match=f"{server.address} can't be listened on: .*in use"):
            await Server(server.address, Settings()).start()
        assert await OrderServiceStub(channel).GetOrder(REQUEST) == RESPONSE
