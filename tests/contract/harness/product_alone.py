"""Requests to a Product Service whose Order Service the suite stands in for, and what is asked of both."""

from collections.abc import Iterable
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo

from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.product.v1.product_service_pb2 import (
    CancelOrderRequest,
    ItemQuantities,
    UpdateOrderRequest,
)
from tests.contract.conftest import ProductServiceAlone
from tests.contract.harness.client import Answer
from tests.contract.harness.fake_order_service import LosesReplies, Unavailable
from tests.contract.harness.system_under_test import new_id, quantities

ORPHAN_SECONDS = 30.0


SILENT = [Unavailable(), LosesReplies()]


silent = pytest.mark.parametrize("behaviour", SILENT, ids=["away", "forgetful"])


def stock(alone: ProductServiceAlone, product: str) -> tuple[int, int]:
    """(available, held) of a product."""
    return alone.system.stock(product)


def orders_of(alone: ProductServiceAlone, product: str) -> list[Order]:
    """The orders of a product that the Order Service has."""
    return [
        order for order in alone.fake_order_service.orders.values() if product in {i.product_id for i in order.items}
    ]


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
    assert (answer.code, answer.reason) == (grpc.StatusCode.UNAVAILABLE, "OUTCOME_OPEN"), answer.status
    assert answer.detail(RetryInfo()).retry_delay.ToTimedelta().total_seconds() > 0


def resolved(alone: ProductServiceAlone, request: Any) -> Order:
    """The order a request is answered with, when it is repeated until it is."""
    order: Order = alone.system.eventually(lambda: getattr(alone.system.call(request).response, "order", None))
    return order
