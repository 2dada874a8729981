"""Laws of changes nobody asks for again, whatever the Order Service, for which the suite stands in, does meanwhile."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from ordersys.api.order.v1.order_pb2 import Order
from tests.contract.conftest import Lone
from tests.contract.harness.client import PRODUCT
from tests.contract.harness.fake_order_service import Manner, Slow
from tests.contract.laws.product.test_saga import ORPHAN_SECONDS, assert_open, cancelling, changing, silent, stock

pytestmark = pytest.mark.judges(PRODUCT, "stand-in")
SLOW, SHORT = 0.5, 0.1
every_change = pytest.mark.parametrize(
    ("ask", "left"),
    [(lambda order: changing(order, 7), 7), (lambda order: changing(order, 1), 1), (cancelling, 0)],
    ids=["more", "fewer", "cancel"],
)


def assert_made(lone: Lone, product: str, request: Any, left: int) -> None:
    """Within 30 s the Order Service has made the change, and the stock of the product is what it left."""
    made = lone.stand_in.orders
    lone.world.eventually(lambda: made[request.order_id].version > 1, ORPHAN_SECONDS)
    lone.world.eventually(lambda: stock(lone, product) == (10 - left, left), ORPHAN_SECONDS)


@every_change
def test_a_change_given_up_is_made_all_the_same(lone: Lone, ask: Callable[[Order], Any], left: int) -> None:
    """The client's deadline passes while the Order Service is at it: the stock follows nevertheless."""
    product = lone.world.new_product(10)
    request = ask(lone.world.place({product: 4}))
    with lone.stand_in.answering(Slow(SLOW)):
        assert lone.world.wire.call(request, timeout=SHORT).code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert_made(lone, product, request, left)


@silent
@every_change
def test_a_change_nobody_repeats_is_made_all_the_same(
    lone: Lone, manner: Manner, ask: Callable[[Order], Any], left: int
) -> None:
    """Its outcome was open; after the fault clears it is made, once, and the stock follows."""
    product = lone.world.new_product(10)
    request = ask(lone.world.place({product: 4}))
    with lone.stand_in.answering(manner):
        assert_open(lone.world.call(request))
    assert_made(lone, product, request, left)
    assert lone.stand_in.orders[request.order_id].version == 2
