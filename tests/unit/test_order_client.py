"""Answers of the Order Service as the Product Service takes them, over real connections."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc.status_pb2 import Status

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import (
    BatchCreateOrdersRequest,
    BatchCreateOrdersResponse,
    CreateOrderRequest,
    CreateOrderResult,
    GetOrderRequest,
    GetOrderResponse,
)
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceServicer, add_OrderServiceServicer_to_server
from ordersys.contract.addresses import Address, Addresses
from ordersys.contract.errors import StatusError, order_not_found, reason_of, status_error
from ordersys.product_service.order_client import OrderServiceClient
from ordersys.product_service.saga import OutcomeUnknown
from tests.integration.api import new_id

Answer = Callable[[Sequence[CreateOrderRequest]], BatchCreateOrdersResponse]
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_MISSING = order_not_found("x").status
# Details beside a NOT_FOUND with the message of _MISSING.
ODD = {
    "another code": Status(code=13, message=_MISSING.message, details=_MISSING.details).SerializeToString(),
    "another message": Status(code=5, message="Gone fishing.", details=_MISSING.details).SerializeToString(),
    "no status": b"\xff",
}


class OrderService(OrderServiceServicer):
    """Answers batches as a test wants; the sizes of those it was asked for, in order."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.sizes: list[int] = []

    async def BatchCreateOrders(self, request: BatchCreateOrdersRequest, context: Any) -> BatchCreateOrdersResponse:
        self.sizes.append(len(request.requests))
        try:
            return self._answer(request.requests)
        except StatusError as refused:
            await _abort(context, refused.status)
            raise

    async def CreateOrder(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def UpdateOrder(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def ListOrders(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def GetOrder(self, request: GetOrderRequest, context: Any) -> GetOrderResponse:
        if request.order_id == "there":
            return GetOrderResponse(order=Order(id="there"))
        if details := ODD.get(request.order_id):
            trailer = (("grpc-status-details-bin", details),)
            await context.abort(grpc.StatusCode.NOT_FOUND, _MISSING.message, trailer)
        status = Status(code=5) if request.order_id == "elsewhere" else order_not_found(request.order_id).status
        await _abort(context, status)
        raise AssertionError("abort raises")


async def _abort(context: Any, status: Status) -> None:
    details = (("grpc-status-details-bin", status.SerializeToString()),) if status.details else ()
    await context.abort(_CODES[status.code], status.message, details)


@asynccontextmanager
async def asked(answer: Answer, most_bytes: int = 4_194_304) -> AsyncIterator[tuple[OrderServiceClient, OrderService]]:
    """A client of an Order Service that takes no larger requests."""
    service = OrderService(answer)
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", most_bytes), ("grpc.so_reuseport", 0)])
    add_OrderServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    orders = OrderServiceClient(Addresses((Address("127.0.0.1", port),)), 5)
    try:
        yield orders, service
    finally:
        await orders.close()
        await server.stop(None)


def creation(customer_id: str = "anna") -> CreateOrderRequest:
    order_id = new_id()
    return CreateOrderRequest(request_id=order_id, order_id=order_id, customer_id=customer_id)


def created(requests: Sequence[CreateOrderRequest]) -> BatchCreateOrdersResponse:
    return BatchCreateOrdersResponse(
        results=[
            CreateOrderResult(order=Order(id=request.order_id, customer_id=request.customer_id)) for request in requests
        ]
    )


async def outcomes(orders: OrderServiceClient, requests: Sequence[CreateOrderRequest]) -> list[str]:
    """The outcome of each: the id of its order, or the reason why there is none."""
    ends = await orders.create(requests)
    return [CreateOrderResult.FromString(end).order.id if isinstance(end, bytes) else _reason(end) for end in ends]


def _reason(end: Exception) -> str:
    return reason_of(end.status) if isinstance(end, StatusError) else repr(end)


async def test_a_batch_over_the_size_limit_is_split_until_it_fits() -> None:
    """All of 300 are created though no call may have more than a few; none is left in doubt."""
    requests = [creation() for _ in range(300)]
    async with asked(created, most_bytes=2_000) as (orders, service):
        assert await outcomes(orders, requests) == [request.order_id for request in requests]
    assert max(service.sizes) < 50


async def test_what_fits_in_no_call_is_in_doubt_alone() -> None:
    """One that is too large by itself; those it shares a call with are created."""
    requests = [creation(), creation("x" * 5_000), creation()]
    async with asked(created, most_bytes=2_000) as (orders, _):
        assert await outcomes(orders, requests) == [requests[0].order_id, "OUTCOME_OPEN", requests[2].order_id]


async def test_a_final_refusal_of_a_batch_is_that_of_one_of_its_requests() -> None:
    """The others are created: who made the whole call wrong is refused alone."""

    def refusing_one(requests: Sequence[CreateOrderRequest]) -> BatchCreateOrdersResponse:
        if any(request.customer_id == "wrong" for request in requests):
            raise status_error(ErrorReason.INVALID_REQUEST)
        return created(requests)

    requests = [*(creation() for _ in range(6)), creation("wrong"), *(creation() for _ in range(6))]
    async with asked(refusing_one) as (orders, _):
        ends = await outcomes(orders, requests)
    assert ends == [request.order_id if request.customer_id == "anna" else "INVALID_REQUEST" for request in requests]


async def test_a_busy_service_is_not_asked_again_in_parts() -> None:
    """TOO_MANY_CALLS is about the call, not about its size: each is in doubt, and recovery asks again later."""

    def busy(_: object) -> BatchCreateOrdersResponse:
        raise status_error(ErrorReason.TOO_MANY_CALLS)

    async with asked(busy) as (orders, service):
        assert await outcomes(orders, [creation(), creation()]) == ["OUTCOME_OPEN"] * 2
    assert sum(service.sizes) <= 2


async def test_an_answer_of_another_length_leaves_all_in_doubt(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody knows which result belongs to which request."""

    def short(requests: Sequence[CreateOrderRequest]) -> BatchCreateOrdersResponse:
        return created(requests[1:])

    async with asked(short) as (orders, _):
        with caplog.at_level(logging.ERROR):
            assert set(await outcomes(orders, [creation(), creation()])) == {"OUTCOME_OPEN"}
    assert "answered" in caplog.text


async def test_another_service_at_the_address_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """UNIMPLEMENTED: nobody waits for an Order Service that is elsewhere without a word of the setting."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    orders = OrderServiceClient(Addresses((Address("127.0.0.1", port),)), 5)
    with caplog.at_level(logging.ERROR):
        assert await outcomes(orders, [creation()]) == ["OUTCOME_OPEN"]
        await orders.look()
    assert caplog.text.count("ORDERSYS_ORDER_SERVICE_ADDRESS") == 1
    assert orders.astray
    await orders.close()
    await server.stop(None)


async def test_a_look_tells_an_order_service_from_another_and_from_nobody() -> None:
    """Only another is astray: one that answers with a reason of the contract is not, nor is one that is away."""
    async with asked(created) as (orders, _):
        await orders.look()
        assert not orders.astray
        assert await outcomes(orders, [creation()])
    away = OrderServiceClient(Addresses((Address("127.0.0.1", 1),)), 5)
    await away.look()
    assert not away.astray
    await away.close()


async def test_no_proxy_stands_before_an_order_service_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment would look for it on its own machine."""
    for variable in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    requests = [creation()]
    async with asked(created) as (orders, _):
        assert await outcomes(orders, requests) == [requests[0].order_id]


async def test_an_order_is_there_or_not_or_it_is_in_doubt() -> None:
    """Only ORDER_NOT_FOUND says that there is none: a bare NOT_FOUND may be somebody else's."""
    async with asked(created) as (orders, _):
        order = await orders.find("there", "")
        assert order is not None
        assert order.id == "there"
        assert await orders.find("missing", "") is None
        with pytest.raises(OutcomeUnknown):
            await orders.find("elsewhere", "")


@pytest.mark.parametrize("odd", ODD)
async def test_details_that_contradict_their_status_leave_an_outcome_in_doubt(odd: str) -> None:
    """Somebody between has rewritten one of them: a reason nobody vouches for releases no stock."""
    async with asked(created) as (orders, _):
        with pytest.raises(OutcomeUnknown):
            await orders.find(odd, "")
