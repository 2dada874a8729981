"""Requests to a Product Service whose Order Service the suite stands in for, and what is asked of both."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RetryInfo

from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.product.v1.product_service_pb2 import (
    CancelOrderRequest,
    ItemQuantities,
    UpdateOrderRequest,
)
from tests.contract.conftest import ProductServiceAlone
from tests.contract.harness.client import Answer
from tests.contract.harness.fake_order_service import Holds, LosesReplies, Unavailable
from tests.contract.harness.normal_form import items_of
from tests.contract.harness.system_under_test import new_id, quantities

R = TypeVar("R", bound=Message)
ORPHAN_SECONDS = 30.0
SILENT = [Unavailable(), LosesReplies()]
silent = pytest.mark.parametrize("behaviour", SILENT, ids=["away", "forgetful"])


def stock(alone: ProductServiceAlone, product: str) -> tuple[int, int]:
    """(available, held) of a product."""
    return alone.system.stock(product)


def orders_of(alone: ProductServiceAlone, product: str) -> list[Order]:
    """The orders of a product that the Order Service has."""
    orders = list(alone.fake_order_service.orders.values())  # in one go: it creates others meanwhile
    return [order for order in orders if product in {item.product_id for item in order.items}]


def by_id(orders: Iterable[Order]) -> list[Order]:
    """In an order of their own."""
    return sorted(orders, key=lambda order: order.id)


def changing(order: Order, units: int) -> UpdateOrderRequest:
    """A request for other quantities."""
    items = ItemQuantities(items=quantities({item.product_id: units for item in order.items}))
    return UpdateOrderRequest(request_id=new_id(), order_id=order.id, items=items)


def cancelling(order: Order, _: int = 0) -> CancelOrderRequest:
    """A request to cancel."""
    return CancelOrderRequest(request_id=new_id(), order_id=order.id)


def assert_open(answer: Answer) -> None:
    """UNAVAILABLE, OUTCOME_OPEN, with when to repeat."""
    assert (answer.code, answer.reason) == (grpc.StatusCode.UNAVAILABLE, "OUTCOME_OPEN"), str(answer)
    assert answer.detail(RetryInfo()).retry_delay.ToTimedelta().total_seconds() > 0


def give_up(alone: ProductServiceAlone, ask: Callable[[], R], seconds: float = 0.1) -> R:
    """A request whose client's deadline has passed while the Order Service was at it; `ask` makes one anew each time.

    A deadline that has passed before the Order Service is asked leaves nothing to see: then a longer one is tried.
    """
    while True:
        request = ask()
        with alone.fake_order_service.answering(holds := Holds()):
            answer = alone.system.client.call(request, timeout=seconds)
            asked = [came.request for came in list(alone.fake_order_service.asked)]
            holds.released.set()
        assert answer.code is grpc.StatusCode.DEADLINE_EXCEEDED, answer
        if any(_passes_on(passed, request) for passed in asked):
            return request
        seconds *= 2
        assert seconds < alone.system.patience, "the Order Service is not asked"


def _passes_on(asked: Any, request: Any) -> bool:
    """True if a request to the Order Service is about the order, or about the products, of the client's."""
    if "order_id" in request.DESCRIPTOR.fields_by_name:
        return "change" in asked.DESCRIPTOR.oneofs_by_name and bool(asked.order_id == request.order_id)
    placements = request.requests if "requests" in request.DESCRIPTOR.fields_by_name else [request]
    products = {item.product_id for placement in placements for item in placement.items}
    return any(item.product_id in products for item in items_of(asked) or ())


def resolved(alone: ProductServiceAlone, request: Any) -> Order:
    """The order a request is answered with, when it is repeated until it is."""
    order: Order = alone.system.eventually(lambda: getattr(alone.system.call(request).response, "order", None))
    return order
