"""Laws of changes the Order Service refuses for good though nobody could foresee it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import grpc
import pytest

from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import (
    AdjustStockRequest,
    BatchPlaceOrdersRequest,
    CreateProductRequest,
    PlaceOrderRequest,
)
from ordersys.contract.errors import state_not_allowed
from tests.contract.conftest import ProductServiceAlone
from tests.contract.harness.client import PRODUCT
from tests.contract.harness.fake_order_service import Refuses, RefusesLate
from tests.contract.harness.product_alone import cancelling, changing, stock
from tests.contract.harness.system_under_test import PRICE, new_id, quantities

pytestmark = pytest.mark.judges(PRODUCT, "stand-in")
PLACED, PAID = OrderState.ORDER_STATE_PLACED, OrderState.ORDER_STATE_PAID
EARLY_SECONDS = 0.3  # in which an answer comes that waits for nobody


@pytest.mark.cites("product_service.proto", "Any other failure that is final leaves the id unused.")
@pytest.mark.cites("implement.md", "it is passed on as it is, and what was reserved for it is released")
@pytest.mark.parametrize(
    ("ask", "left"),
    [(lambda order: changing(order, 7), 7), (lambda order: changing(order, 1), 1), (cancelling, 0)],
    ids=["more", "fewer", "cancel"],
)
def test_a_refused_change_leaves_nothing_behind(
    alone: ProductServiceAlone, ask: Callable[[Order], Any], left: int
) -> None:
    """It is refused as the Order Service did, its stock is given back, its id is free and the next change is made."""
    product = alone.system.new_product(10)
    order = alone.system.place({product: 4})
    request = ask(order)
    with alone.fake_order_service.answering(Refuses(state_not_allowed(order.id, PAID, PLACED))):
        answer = alone.system.call(request)
    assert (answer.code, answer.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STATE_NOT_ALLOWED")
    alone.system.eventually(lambda: stock(alone, product) == (6, 4))
    assert alone.system.ok(request).order.version == 2
    alone.system.eventually(lambda: stock(alone, product) == (10 - left, left))


OTHERS: dict[str, Callable[[Order, str], Any]] = {
    "PlaceOrder": lambda order, product: _placing(product),
    "BatchPlaceOrders": lambda order, product: BatchPlaceOrdersRequest(requests=[_placing(product)]),
    "UpdateOrder": lambda order, product: changing(order, 2),
    "CancelOrder": lambda order, product: cancelling(order),
    "AdjustStock": lambda order, product: AdjustStockRequest(product_id=product, delta=1),
    "CreateProduct": lambda order, product: CreateProductRequest(product=_product()),
}
"""Requests by their calls: about an order, or of a product."""


@pytest.mark.cites("implement.md", "where that is refused, and leaves the id unused, the other one is served")
@pytest.mark.cites(
    "product_service.proto", "While the outcome of the first is not known yet, the other one waits for it"
)
@pytest.mark.parametrize("ask", OTHERS.values(), ids=OTHERS)
def test_an_id_is_not_in_use_before_it_has_an_effect(
    alone: ProductServiceAlone, ask: Callable[[Order, str], Any]
) -> None:
    """The Order Service is at a change, and refuses it: what came meanwhile under its request_id is done."""
    product = alone.system.new_product(20)
    order, another = alone.system.place({product: 4}), alone.system.place({product: 4})
    first, other = changing(order, 7), ask(another, product)
    for request in getattr(other, "requests", [other]):
        request.request_id = first.request_id
    refusing = RefusesLate(order.id, state_not_allowed(order.id, PAID, PLACED))
    with ThreadPoolExecutor(2) as pool, alone.fake_order_service.answering(refusing):
        asked = pool.submit(alone.system.call, first)
        assert refusing.asked.wait(alone.system.patience), "the Order Service was not asked"
        answered = pool.submit(alone.system.call, other)
        wait([answered], EARLY_SECONDS)
        refusing.released.set()
    assert asked.result().reason == "STATE_NOT_ALLOWED"
    answer = answered.result()
    assert answer.response is not None, answer
    assert all(result.HasField("order") for result in getattr(answer.response, "results", ())), answer
    assert alone.system.call(first).reason == "REQUEST_ID_REUSED"


def _placing(product: str) -> PlaceOrderRequest:
    return PlaceOrderRequest(request_id=new_id(), customer_id="anna", items=quantities({product: 1}))


def _product() -> Product:
    return Product(id=f"p-{new_id()}", name="A lamp", unit_price=PRICE, available=3)
