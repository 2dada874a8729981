"""The RPCs of the Product Service: each a normalised request, one operation or saga, one reply.

An order placed is answered as the bytes that came from the Order Service.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import (
    AdjustStockRequest,
    AdjustStockResponse,
    BatchPlaceOrdersRequest,
    BatchPlaceOrdersResponse,
    CancelOrderRequest,
    CreateProductRequest,
    CreateProductResponse,
    GetProductRequest,
    GetProductResponse,
    ListProductsRequest,
    ListProductsResponse,
    PlaceOrderRequest,
    PlaceOrderResult,
    UpdateOrderRequest,
)
from ordersys.api.product.v1.product_service_pb2_grpc import ProductServiceServicer
from ordersys.contract import pagination
from ordersys.contract.errors import StatusError
from ordersys.contract.normalisation import normalise
from ordersys.contract.splicing import around, hold_first
from ordersys.product_service.change_order import ChangeOrderSaga
from ordersys.product_service.place_order import PlaceOrderSaga
from ordersys.product_service.saga_engine import SagaEngine
from ordersys.product_service.store import products as store
from ordersys.runtime.base.ids import traceparent
from ordersys.runtime.idempotency import Outcome
from ordersys.runtime.rpc.admission import Context
from ordersys.runtime.rpc.callers import caller
from ordersys.runtime.rpc.traces import carried
from ordersys.runtime.storage.interface import Storage

Changing = TypeVar("Changing", CreateProductRequest, AdjustStockRequest)
hold_first("results", BatchPlaceOrdersResponse)


class ProductService(ProductServiceServicer):
    """ordersys.api.product.v1.ProductService."""

    def __init__(
        self, database: Storage, engine: SagaEngine, placement: PlaceOrderSaga, changes: ChangeOrderSaga
    ) -> None:
        self._database = database
        self._engine = engine
        self._placement = placement
        self._changes = changes

    async def ListProducts(self, request: ListProductsRequest, context: Context) -> ListProductsResponse:
        page = await self._database.read(
            store.page, pagination.last_key(request, str), pagination.size(request) + 1
        )  # one more tells of a next page
        products, more = pagination.fill(request, [(product.id, product) for product in page])
        return ListProductsResponse(products=products, next_page_token=more)

    async def GetProduct(self, request: GetProductRequest, context: Context) -> GetProductResponse:
        return GetProductResponse(product=await self._database.read(store.get, request.product_id))

    async def CreateProduct(self, request: CreateProductRequest, context: Context) -> CreateProductResponse:
        normalise(request)
        _clear_what_the_service_sets(request.product)
        return (await self._written(store.create, request)).unpack(CreateProductResponse)

    async def AdjustStock(self, request: AdjustStockRequest, context: Context) -> AdjustStockResponse:
        normalise(request)
        return (await self._written(store.adjust_stock, request)).unpack(AdjustStockResponse)

    async def PlaceOrder(self, request: PlaceOrderRequest, context: Context) -> bytes:  # type: ignore[override]
        normalise(request)
        (placed,) = await self._placement.place([request], _trace(context))
        if isinstance(placed, StatusError):
            raise placed
        return placed

    async def BatchPlaceOrders(self, request: BatchPlaceOrdersRequest, context: Context) -> bytes:  # type: ignore[override]
        for placement in request.requests:
            normalise(placement)
        placed = await self._placement.place(request.requests, _trace(context))
        return b"".join([around(_result(outcome)) for outcome in placed])  # BatchPlaceOrdersResponse.results

    async def UpdateOrder(self, request: UpdateOrderRequest, context: Context) -> bytes:  # type: ignore[override]
        normalise(request)
        return await self._changes.change(request, caller(), _trace(context))

    async def CancelOrder(self, request: CancelOrderRequest, context: Context) -> bytes:  # type: ignore[override]
        normalise(request)
        return await self._changes.change(request, caller(), _trace(context))

    async def _written(
        self,
        operation: Callable[[Connection, list[Changing]], Sequence[Outcome | StatusError]],
        request: Changing,
    ) -> Outcome:
        return await self._engine.ask(request.request_id, lambda: self._database.write(operation, request))


def _clear_what_the_service_sets(product: Product) -> None:
    product.ClearField("held")
    product.ClearField("create_time")
    product.ClearField("update_time")


def _result(placed: bytes | StatusError) -> bytes:
    """A PlaceOrderResult, which holds the order where a PlaceOrderResponse does."""
    return PlaceOrderResult(status=placed.status).SerializeToString() if isinstance(placed, StatusError) else placed


def _trace(context: Context) -> str:
    return traceparent(carried(context))
