"""Laws of what a Product Service passes on to the Order Service, and of what it knows of an order from its answers."""

from collections.abc import Callable
from typing import Any

import pytest

from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.product.v1.product_service_pb2 import BatchPlaceOrdersRequest
from tests.contract.conftest import ProductServiceAlone
from tests.contract.harness.client import PRODUCT
from tests.contract.harness.normal_form import items_of
from tests.contract.harness.product_alone import cancelling, changing, stock
from tests.contract.harness.system_under_test import placing
from tests.contract.harness.traces import carrying, new_trace, trace_id

pytestmark = pytest.mark.judges(PRODUCT, "stand-in")
ASKS: dict[str, tuple[Callable[[Order], Any], int]] = {
    "a placement": (lambda order: placing({order.items[0].product_id: 1}), 1),
    "a batch": (
        lambda order: BatchPlaceOrdersRequest(requests=[placing({order.items[0].product_id: n}) for n in (1, 2, 3)]),
        3,
    ),
    "a change": (lambda order: changing(order, 7), 1),
    "a cancellation": (cancelling, 1),
}


@pytest.mark.cites("implement.md", "pass it on to the Order Service and into events")
@pytest.mark.cites("implement.md", "every order of a batch belongs to the trace of the call")
@pytest.mark.parametrize(("ask", "orders"), ASKS.values(), ids=list(ASKS))
def test_the_order_service_is_asked_in_the_trace_of_the_call(
    alone: ProductServiceAlone, ask: Callable[[Order], Any], orders: int
) -> None:
    """Whatever the client wants: for each order of a batch as for one alone."""
    order = alone.system.place({alone.system.new_product(100): 4})
    seen, traceparent = len(alone.fake_order_service.asked), new_trace()
    answer = alone.system.client.call(ask(order), PRODUCT, metadata=carrying(traceparent))
    assert answer.response is not None, str(answer)
    # What an earlier test left open may be asked for at the same time.
    asked = [came for came in alone.fake_order_service.asked[seen:] if _is_about(came.request, order)]
    assert len(asked) >= orders
    assert {trace_id(came.traceparent) for came in asked} == {trace_id(traceparent)}


def _is_about(request: Any, order: Order) -> bool:
    """True for a request about the order, or for another one of its product."""
    products = {item.product_id for item in items_of(request) or ()}
    return request.order_id == order.id or order.items[0].product_id in products


@pytest.mark.cites("product_service.proto", "Cancels an order and returns its stock.")
@pytest.mark.cites("product_service.proto", "Changes the items of an order (stock follows by the difference)")
@pytest.mark.parametrize("units", [[7], [2], [7, 9, 3], [2, 8]], ids=str)
def test_a_cancellation_gives_back_what_the_last_change_left(alone: ProductServiceAlone, units: list[int]) -> None:
    """More or fewer than at first: after each change the order holds what it says, and cancelled it holds nothing."""
    product = alone.system.new_product(10)
    order = alone.system.place({product: 4})
    for wanted in units:
        order = alone.system.ok(changing(order, wanted)).order
        assert stock(alone, product) == (10 - wanted, wanted)
    alone.system.ok(cancelling(order))
    assert stock(alone, product) == (10, 0)
