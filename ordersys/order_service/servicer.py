"""The RPCs of the Order Service: each a normalised request, one operation, one reply.

A reply with an order is answered as bytes: the order was encoded when it was kept.
"""

from collections.abc import Iterable, Sequence

from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import (
    BatchCreateOrdersRequest,
    BatchCreateOrdersResponse,
    CreateOrderRequest,
    CreateOrderResult,
    GetOrderRequest,
    GetOrderResponse,
    ListOrdersRequest,
    ListOrdersResponse,
    UpdateOrderRequest,
)
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceServicer
from ordersys.contract import pagination
from ordersys.contract.access import check_owner
from ordersys.contract.errors import StatusError
from ordersys.contract.normalisation import normalise
from ordersys.contract.splicing import around, hold_first
from ordersys.order_service import store
from ordersys.order_service.store import Change, Creation
from ordersys.runtime.base.failpoints import failpoint
from ordersys.runtime.base.ids import traceparent
from ordersys.runtime.rpc.admission import Context
from ordersys.runtime.rpc.callers import caller
from ordersys.runtime.rpc.traces import carried
from ordersys.runtime.storage.interface import Storage

# The response is put together from bytes; this holds the numbers of the fields to it (contract/splicing.py).
hold_first("results", BatchCreateOrdersResponse)


class OrderService(OrderServiceServicer):
    """ordersys.api.order.v1.OrderService."""

    def __init__(self, database: Storage) -> None:
        self._database = database

    async def CreateOrder(self, request: CreateOrderRequest, context: Context) -> bytes:  # type: ignore[override]
        (result,) = await self._create([request], context)
        if isinstance(result, StatusError):
            raise result
        return result

    async def BatchCreateOrders(self, request: BatchCreateOrdersRequest, context: Context) -> bytes:  # type: ignore[override]
        results = await self._create(request.requests, context)
        return b"".join([around(_result(result)) for result in results])  # BatchCreateOrdersResponse.results

    async def UpdateOrder(self, request: UpdateOrderRequest, context: Context) -> bytes:  # type: ignore[override]
        normalise(request)
        change = Change(request, traceparent(carried(context)))
        response = await self._database.write(store.change, change)
        failpoint("order.changed")
        return response

    async def GetOrder(self, request: GetOrderRequest, context: Context) -> GetOrderResponse:
        normalise(request)
        order = await self._database.read(store.get, request.order_id)
        check_owner(caller(), order.id, order.customer_id)
        return GetOrderResponse(order=order)

    async def ListOrders(self, request: ListOrdersRequest, context: Context) -> ListOrdersResponse:
        before = pagination.last_key(request, int)
        rows = await self._database.read(store.page, request, before, pagination.size(request) + 1)
        orders, more = pagination.fill(request, [(sequence, Order.FromString(body)) for sequence, body in rows])
        return ListOrdersResponse(orders=orders, next_page_token=more)

    async def _create(self, requests: Iterable[CreateOrderRequest], context: Context) -> Sequence[bytes | StatusError]:
        """All in one commit, together with whatever else waits for it."""
        trace = carried(context)
        results = await self._database.write(store.create, [_creation(request, trace) for request in requests])
        failpoint("order.created")
        return results


def _creation(request: CreateOrderRequest, trace: str | None) -> Creation:
    normalise(request)
    # In a shared call each order has the trace of its own client; in the metadata stands that of the call.
    return Creation(request, traceparent(request.traceparent or trace))


def _result(result: bytes | StatusError) -> bytes:
    """A CreateOrderResult, which holds the order where a CreateOrderResponse does."""
    return CreateOrderResult(status=result.status).SerializeToString() if isinstance(result, StatusError) else result
