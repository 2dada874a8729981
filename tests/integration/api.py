"""Calls to a running system, for tests: synchronous, with names for what tests do all the time."""

import time
import uuid
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TypeVar

import grpc
from google.rpc.status_pb2 import Status
from google.type.money_pb2 import Money
from grpc_status import rpc_status

from ordersys.api.notification.v1.dead_letter_service_pb2 import DeadLetter, ListDeadLettersRequest
from ordersys.api.notification.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest, Notification
from ordersys.api.notification.v1.notification_log_pb2_grpc import NotificationLogStub
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import GetOrderRequest, ListOrdersRequest
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import (
    CancelOrderRequest,
    CreateProductRequest,
    GetProductRequest,
    ItemQuantities,
    ItemQuantity,
    PlaceOrderRequest,
    UpdateOrderRequest,
)
from ordersys.api.product.v1.product_service_pb2_grpc import ProductServiceStub
from ordersys.contract.errors import reason_of

T = TypeVar("T")
SECONDS = 30.0
# A process that has just started is known to listen soon after it does; gRPC itself would look again after a second.
RECONNECTING = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 100))


class Api:
    """The services of one system."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._channels = [
            grpc.insecure_channel(environment[f"ORDERSYS_{name}_ADDRESS"], RECONNECTING)
            for name in ("PRODUCT_SERVICE", "ORDER_SERVICE", "NOTIFICATION_SERVICE_1", "NOTIFICATION_SERVICE_2")
        ]
        self.product_channel, self.order_channel = self._channels[:2]
        self.products = ProductServiceStub(self._channels[0])
        self.orders = OrderServiceStub(self._channels[1])
        self.letters = {1: DeadLetterServiceStub(self._channels[2]), 2: DeadLetterServiceStub(self._channels[3])}
        self.logs = {1: NotificationLogStub(self._channels[2]), 2: NotificationLogStub(self._channels[3])}

    def __enter__(self) -> "Api":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for channel in self._channels:
            channel.close()

    def new_product(self, available: int, units: int = 10) -> str:
        """Creates a product of its own for a test; its id."""
        product_id = f"p-{uuid.uuid4().hex[:12]}"
        product = Product(
            id=product_id,
            name="A product",
            unit_price=Money(currency_code="EUR", units=units),
            available=available,
        )
        self.products.CreateProduct(CreateProductRequest(request_id=new_id(), product=product), timeout=SECONDS)
        return product_id

    def stock(self, product_id: str) -> tuple[int, int]:
        """(available, held) of a product."""
        product = self.products.GetProduct(GetProductRequest(product_id=product_id), timeout=SECONDS).product
        return product.available, product.held

    def place(self, wanted: Mapping[str, int], request_id: str | None = None) -> Order:
        """Places an order."""
        request = placing(wanted, request_id)
        return self.products.PlaceOrder(request, timeout=SECONDS).order

    def change(self, order: Order, wanted: Mapping[str, int], expected_version: int | None = None) -> Order:
        """Gives an order other items."""
        request = UpdateOrderRequest(
            request_id=new_id(),
            order_id=order.id,
            items=ItemQuantities(items=quantities(wanted)),
            expected_version=expected_version,
        )
        return self.products.UpdateOrder(request, timeout=SECONDS).order

    def advance(self, order: Order, state: "Order.ValueType") -> Order:  # type: ignore[name-defined]
        """Moves an order to another state."""
        request = UpdateOrderRequest(request_id=new_id(), order_id=order.id, state=state)
        return self.products.UpdateOrder(request, timeout=SECONDS).order

    def cancel(self, order: Order) -> Order:
        """Cancels an order."""
        return self.products.CancelOrder(
            CancelOrderRequest(request_id=new_id(), order_id=order.id), timeout=SECONDS
        ).order

    def order(self, order_id: str) -> Order:
        """An order as it is now."""
        return self.orders.GetOrder(GetOrderRequest(order_id=order_id), timeout=SECONDS).order

    def newest_order(self) -> Order:
        """The order created last."""
        return self.orders.ListOrders(ListOrdersRequest(page_size=1), timeout=SECONDS).orders[0]

    def heard(self, service: int, order_id: str) -> list[Notification]:
        """The notifications a service has recorded of an order."""
        request = ListNotificationsRequest(order_id=order_id, page_size=500)
        return list(self.logs[service].ListNotifications(request, timeout=SECONDS).notifications)

    def dead_letters(self, service: int) -> list[DeadLetter]:
        """The dead letters of a notification service."""
        request = ListDeadLettersRequest(page_size=500)
        return list(self.letters[service].ListDeadLetters(request, timeout=SECONDS).dead_letters)


def new_id() -> str:
    """A request id."""
    return str(uuid.uuid4())


def quantities(wanted: Mapping[str, int]) -> list[ItemQuantity]:
    """Items, as the Product Service takes them."""
    return [ItemQuantity(product_id=product_id, quantity=units) for product_id, units in wanted.items()]


def placing(wanted: Mapping[str, int], request_id: str | None = None) -> PlaceOrderRequest:
    """A request for an order."""
    return PlaceOrderRequest(request_id=request_id or new_id(), customer_id="anna", items=quantities(wanted))


def answered(api: Api, request: PlaceOrderRequest) -> Order | None:
    """The order of a placement, none while its outcome is open."""
    try:
        return api.products.PlaceOrder(request, timeout=SECONDS).order
    except grpc.RpcError as error:
        assert reason(error) == "OUTCOME_OPEN"
        return None


def eventually(look: Callable[[], T | None], seconds: float = SECONDS) -> T:
    """The first true answer of `look`; fails with the last one when none comes in time."""
    until = time.monotonic() + seconds
    while not (answer := look()):
        assert time.monotonic() < until, f"not so after {seconds:.0f} s: {answer!r}"
        time.sleep(0.05)
    return answer


def reason(error: grpc.RpcError) -> str:
    """The reason of a refusal."""
    return reason_of(status(error))


def status(error: grpc.RpcError) -> Status:
    """The status of a refusal, with its details."""
    assert isinstance(error, grpc.Call)
    status = rpc_status.from_call(error)
    return status if status is not None else Status(code=error.code().value[0], message=error.details() or "")
