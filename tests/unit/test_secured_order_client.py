"""The Order Service by certificates: who is asked at all, and what is made of being turned away."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import (
    BatchCreateOrdersRequest,
    BatchCreateOrdersResponse,
    CreateOrderRequest,
    CreateOrderResult,
    GetOrderRequest,
)
from ordersys.contract.access import service_id
from ordersys.contract.addresses import Address, Addresses
from ordersys.contract.errors import StatusError, order_not_found, reason_of, status_error
from ordersys.identity.authority import Authority
from ordersys.product_service.order_client import OrderServiceClient
from ordersys.runtime.identity.certificates import Certificates

PRODUCT, ORDER = "ordersys.api.product.v1.ProductService", "ordersys.api.order.v1.OrderService"
LISTENER = "ordersys.api.notification.v1.NotificationService1"
CREATION = CreateOrderRequest(request_id="r", order_id="o")


class OrderService:
    """Creates whatever is asked for, or turns away; counts."""

    def __init__(self) -> None:
        self.refusal: StatusError | None = None
        self.calls = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def create(self, request: BatchCreateOrdersRequest, context: Any) -> BatchCreateOrdersResponse:
        await self._counted(context)
        results = [CreateOrderResult(order=Order(id=each.order_id)) for each in request.requests]
        return BatchCreateOrdersResponse(results=results)

    async def get(self, request: GetOrderRequest, context: Any) -> Any:
        await self._counted(context)
        await _abort(context, order_not_found(request.order_id))

    async def _counted(self, context: Any) -> None:
        self.calls += 1
        await self.may_answer.wait()
        if self.refusal:
            await _abort(context, self.refusal)


async def _abort(context: Any, error: StatusError) -> None:
    code = {code.value[0]: code for code in grpc.StatusCode}[error.status.code]
    details = (("grpc-status-details-bin", error.status.SerializeToString()),)
    await context.abort(code, error.status.message, details)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The authority that vouches for all services."""
    made = Authority.make(tmp_path / "identity")
    made.renew()
    return made


def certificates(authority: Authority, service: str) -> Certificates:
    """Those of a service."""
    layout, name = authority.layout, service_id(service).rpartition("/")[2]
    return Certificates(layout.ca, layout.certificate(name), layout.key(name), service_id(service))


@asynccontextmanager
async def asked(
    authority: Authority, server_is: str = ORDER, client: Certificates | None = None
) -> AsyncIterator[tuple[OrderServiceClient, OrderService]]:
    """A client, and an Order Service with the certificate of the service `server_is`."""
    service = OrderService()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers: Any = {
        name: grpc.unary_unary_rpc_method_handler(
            answer, kind.FromString, lambda response: response.SerializeToString()
        )
        for name, answer, kind in (
            ("BatchCreateOrders", service.create, BatchCreateOrdersRequest),
            ("GetOrder", service.get, GetOrderRequest),
        )
    }
    server.add_registered_method_handlers(ORDER, handlers)
    port = server.add_secure_port("127.0.0.1:0", certificates(authority, server_is).server_credentials(True))
    await server.start()
    known_as = client or certificates(authority, PRODUCT)
    orders = OrderServiceClient(Addresses((Address("127.0.0.1", port),)), 1, certificates=known_as)
    try:
        yield orders, service
    finally:
        await orders.close()
        await server.stop(None)


async def outcomes(orders: OrderServiceClient, requests: Sequence[CreateOrderRequest]) -> list[str]:
    """The outcome of each: its order's id, or the reason why there is none."""
    results = await orders.create(requests)
    return [
        reason_of(result.status) if isinstance(result, StatusError) else "created"
        for result in results
        if isinstance(result, StatusError | bytes)
    ]


async def test_an_order_service_is_asked_that_shows_its_certificate(authority: Authority) -> None:
    """Wherever it listens: its name counts, not its address."""
    async with asked(authority) as (orders, service):
        assert await outcomes(orders, [CREATION]) == ["created"]
        assert service.calls == 1


async def test_another_service_in_its_place_is_asked_nothing(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """Though the same authority vouches for it; the order stays in doubt, and the log says why, once."""
    async with asked(authority, server_is=LISTENER) as (orders, service):
        assert await outcomes(orders, [CREATION]) == ["OUTCOME_OPEN"]
        for _ in range(3):
            await orders.look()
        assert service.calls == 0
    assert caplog.text.count("can't be trusted") == 1


@pytest.mark.parametrize("reason", ["CREDENTIALS_MISSING", "CREDENTIALS_INVALID", "NOT_PERMITTED"])
async def test_being_turned_away_leaves_a_doubt_and_is_no_silence(
    authority: Authority, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An earlier try may have succeeded, before its rights were taken; a person has to help, and is told once."""
    async with asked(authority) as (orders, service):
        service.refusal = status_error(ErrorReason.Value(reason))
        assert await outcomes(orders, [CREATION, CREATION]) == ["OUTCOME_OPEN", "OUTCOME_OPEN"]
        await orders.look()
        assert orders.astray
        assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1
        service.refusal = None
        await orders.look()
        assert not orders.astray


async def test_lasting_silence_is_said_once(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    """Calls wait until the other side is ready, and say nothing of why it is not."""
    orders = OrderServiceClient(Addresses((Address("127.0.0.1", 1),)), 1, certificates=certificates(authority, PRODUCT))
    for _ in range(8):
        await orders.look()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "is it there, and encrypted as this service is?" in caplog.text
    await orders.close()


async def test_a_new_certificate_is_used_by_a_new_connection(authority: Authority) -> None:
    """Calls go on meanwhile."""
    own = certificates(authority, PRODUCT)
    async with asked(authority, client=own) as (orders, _):
        assert await outcomes(orders, [CREATION]) == ["created"]
        before = orders._channel
        authority.certificate("product-service")
        own.reload()
        await orders.look()
        assert orders._channel is not before
        assert await outcomes(orders, [CREATION]) == ["created"]


async def test_calls_that_begin_just_before_a_new_certificate_are_ended_by_their_deadline(authority: Authority) -> None:
    """Their orders are in doubt, as after any silence; one that its channel cancels would cancel who waits for it."""
    own = certificates(authority, PRODUCT)
    async with asked(authority, client=own) as (orders, service):
        assert await outcomes(orders, [CREATION]) == ["created"]
        service.may_answer.clear()
        authority.certificate("product-service")
        own.reload()
        creating = [asyncio.ensure_future(outcomes(orders, [CREATION])) for _ in range(20)]
        await asyncio.sleep(0)
        await orders.look()
        ends = await asyncio.gather(*creating, return_exceptions=True)
        assert ends == [["OUTCOME_OPEN"]] * 20
