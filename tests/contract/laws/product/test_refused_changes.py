"""Laws of changes the Order Service refuses for good though nobody could foresee it."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.contract.errors import state_not_allowed
from tests.contract.conftest import ProductServiceAlone
from tests.contract.harness.client import PRODUCT
from tests.contract.harness.fake_order_service import Refuses
from tests.contract.harness.product_alone import cancelling, changing, stock

pytestmark = pytest.mark.judges(PRODUCT, "stand-in")
PLACED, PAID = OrderState.ORDER_STATE_PLACED, OrderState.ORDER_STATE_PAID


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
