"""Streams of a server: health that is watched, and reflection. They wait for nobody, and nobody for them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthListRequest  # type: ignore[attr-defined]
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.contract.errors import reason_of
from ordersys.runtime.base.futures import Grace
from ordersys.runtime.rpc.streams import LIVENESS, STREAMS_A_CONNECTION
from tests.unit.test_server import (
    NOT_SERVING,
    OWN_CONNECTION,
    REQUEST,
    RESPONSE,
    SERVICE,
    SERVING,
    Gate,
    refusal,
    serving,
)

SOON = 5.0
VERSIONS = ["v1", "v1alpha"]
every_version = pytest.mark.parametrize("version", VERSIONS)


def watching(channel: grpc.aio.Channel, service: str = "") -> Any:
    """A Watch that has begun."""
    return cast(Any, HealthStub(channel)).Watch(HealthCheckRequest(service=service))


def reflecting(channel: grpc.aio.Channel, version: str) -> Any:
    """A reflection stream, by its name alone: no stub knows v1."""
    return channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        ServerReflectionRequest.SerializeToString,
        ServerReflectionResponse.FromString,
    )()


async def asked(channel: grpc.aio.Channel, version: str, **question: Any) -> ServerReflectionResponse:
    """The answer of reflection to one question."""
    call = reflecting(channel, version)
    await call.write(ServerReflectionRequest(**question))
    return cast(ServerReflectionResponse, await call.read())


async def words(watch: Any) -> AsyncIterator[Any]:
    """The messages until the stream ends, and the way it ends."""
    try:
        async for word in watch:
            yield word.status
    except grpc.aio.AioRpcError as error:
        yield error.code()


async def test_a_watch_hears_not_serving_first_and_ends_at_once_when_the_server_stops() -> None:
    """UNAVAILABLE, long before the time for the calls under way is over."""
    async with serving() as (server, channel):
        await server.healthy(True)
        watch = watching(channel)
        heard = words(watch)
        assert await anext(heard) == SERVING
        await asyncio.wait_for(server.stop(Grace(600)), SOON)
        assert [word async for word in heard] == [NOT_SERVING, grpc.StatusCode.UNAVAILABLE]


async def test_a_watch_of_a_service_nobody_serves_waits_for_it() -> None:
    """As grpc.health.v1 says: SERVICE_UNKNOWN, and no end."""
    async with serving() as (_, channel):
        assert (await watching(channel, "no.such.Service").read()).status == 3


@every_version
async def test_an_open_reflection_does_not_keep_a_server_from_stopping(version: str) -> None:
    """Nor one to which nothing was said."""
    async with serving(reflection=True) as (server, channel):
        said, silent = reflecting(channel, version), reflecting(channel, version)
        await said.write(ServerReflectionRequest(list_services=""))
        await said.read()
        await asyncio.wait_for(server.stop(Grace(600)), SOON)
        for call in (said, silent):
            assert await call.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_call_under_way_is_not_hurried_by_streams() -> None:
    """It ends well; the streams have ended before."""
    under_way = Gate()
    async with serving(under_way.wait) as (server, channel):
        watch = watching(channel)
        await watch.read()
        call = asyncio.ensure_future(OrderServiceStub(channel).GetOrder(REQUEST))
        await under_way.begun.wait()
        stopping = asyncio.create_task(server.stop(Grace(600)))
        assert await watch.code() is grpc.StatusCode.UNAVAILABLE
        under_way.open.set()
        assert await call == RESPONSE
        await stopping


async def test_a_connection_may_hold_a_few_streams() -> None:
    """One more is told when to come again; those of others and calls are none of its business."""
    async with serving(reflection=True) as (server, channel):
        held = [watching(channel) for _ in range(STREAMS_A_CONNECTION - 1)]
        for watch in held:
            await watch.read()
        reflection = reflecting(channel, "v1")
        await reflection.write(ServerReflectionRequest(list_services=""))
        await reflection.read()
        assert reason_of(await refusal(watching(channel).read())) == "TOO_MANY_CALLS"
        assert await OrderServiceStub(channel).GetOrder(REQUEST) == RESPONSE
        async with grpc.aio.insecure_channel(server.address, OWN_CONNECTION) as another:
            assert (await watching(another).read()).status == NOT_SERVING
        await reflection.done_writing()
        assert await reflection.read() is grpc.aio.EOF
        assert (await watching(channel).read()).status == NOT_SERVING


async def test_health_lists_every_service() -> None:
    """With what Check says of each."""
    async with serving() as (server, channel):
        await server.healthy(True)
        listed = await cast(Any, HealthStub(channel)).List(HealthListRequest())
        assert {name: said.status for name, said in listed.statuses.items()} == {
            "": SERVING,
            SERVICE.full_name: SERVING,
            LIVENESS: SERVING,
        }


async def test_health_is_answered_when_no_call_is_admitted() -> None:
    """A client that asks whether a service works must not hear that it is busy."""
    under_way = Gate()
    async with serving(under_way.wait, max_concurrent_calls=1) as (server, channel):
        await server.healthy(True)
        call = asyncio.ensure_future(OrderServiceStub(channel).GetOrder(REQUEST))
        await under_way.begun.wait()
        assert (await cast(Any, HealthStub(channel)).Check(HealthCheckRequest())).status == SERVING
        under_way.open.set()
        await call


@every_version
async def test_reflection_lists_each_service_there_is(version: str) -> None:
    """Health and both versions of itself included."""
    async with serving(reflection=True) as (_, channel):
        answer = await asked(channel, version, list_services="")
    assert {service.name for service in answer.list_services_response.service} == {
        SERVICE.full_name,
        "grpc.health.v1.Health",
        *(f"grpc.reflection.{known}.ServerReflection" for known in VERSIONS),
    }


@every_version
@pytest.mark.parametrize(
    ("symbol", "file"),
    [
        (f"{SERVICE.full_name}.CreateOrder", "ordersys/api/order/v1/order_service.proto"),
        ("grpc.health.v1.Health.Check", "grpc_health/v1/health.proto"),
        ("grpc.reflection.v1.ServerReflection", "grpc/reflection/v1/reflection.proto"),
        ("grpc.reflection.v1.ServerReflection.ServerReflectionInfo", "grpc/reflection/v1/reflection.proto"),
        (SERVICE.full_name, "ordersys/api/order/v1/order_service.proto"),
        ("ordersys.api.order.v1.Order", "ordersys/api/order/v1/order.proto"),
        ("ordersys.api.order.v1.OrderState", "ordersys/api/order/v1/order.proto"),
    ],
)
async def test_reflection_resolves_every_kind_of_symbol(version: str, symbol: str, file: str) -> None:
    """Methods, too; the answer names the question."""
    async with serving(reflection=True) as (_, channel):
        answer = await asked(channel, version, file_containing_symbol=symbol)
    assert answer.original_request.file_containing_symbol == symbol
    files = [FileDescriptorProto.FromString(octets) for octets in answer.file_descriptor_response.file_descriptor_proto]
    assert files[0].name == file


@every_version
@pytest.mark.parametrize("symbol", ["", ".", "no.such.Symbol", f"{SERVICE.full_name}.NoSuchRpc", "x" * 9000, "ä.\n"])
async def test_reflection_says_what_it_does_not_find(version: str, symbol: str) -> None:
    """NOT_FOUND is an answer; the stream goes on."""
    async with serving(reflection=True) as (_, channel):
        call = reflecting(channel, version)
        for _ in range(2):
            await call.write(ServerReflectionRequest(file_containing_symbol=symbol))
            assert (await call.read()).error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


@every_version
async def test_reflection_is_not_served_where_it_is_switched_off(version: str) -> None:
    """It is unknown then.

    Nothing is asked: gRPC's client makes INTERNAL of a write that meets the end of its call.
    """
    async with serving() as (_, channel):
        assert (await refusal(reflecting(channel, version).read())).code == grpc.StatusCode.UNIMPLEMENTED.value[0]
