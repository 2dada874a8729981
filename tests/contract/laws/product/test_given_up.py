"""Laws of changes nobody asks for again, whatever the Order Service does meanwhile."""

from collections.abc import Callable
from typing import Any

import pytest

from ordersys.api.order.v1.order_pb2 import Order
from tests.contract.conftest import ProductServiceAlone
from tests.contract.harness.client import PRODUCT
from tests.contract.harness.fake_order_service import Behaviour
from tests.contract.harness.product_alone import (
    ORPHAN_SECONDS,
    assert_open,
    cancelling,
    changing,
    give_up,
    silent,
    stock,
)

pytestmark = pytest.mark.judges(PRODUCT, "stand-in")
every_change = pytest.mark.parametrize(
    ("ask", "left"),
    [(lambda order: changing(order, 7), 7), (lambda order: changing(order, 1), 1), (cancelling, 0)],
    ids=["more", "fewer", "cancel"],
)


def assert_made(alone: ProductServiceAlone, product: str, request: Any, left: int) -> None:
    """Within 30 s the Order Service has made the change, and the stock of the product is what it left."""
    made = alone.fake_order_service.orders
    alone.system.eventually(lambda: made[request.order_id].version > 1, ORPHAN_SECONDS)
    alone.system.eventually(lambda: stock(alone, product) == (10 - left, left), ORPHAN_SECONDS)


@pytest.mark.cites("implement.md", "a saga that has begun continues without its caller")
@pytest.mark.cites("implement.md", "A cancelled call does not interrupt a saga.")
@every_change
def test_a_change_given_up_is_made_all_the_same(
    alone: ProductServiceAlone, ask: Callable[[Order], Any], left: int
) -> None:
    """The client's deadline passes while the Order Service is at it: the stock follows nevertheless."""
    request = give_up(alone, lambda: ask(alone.system.place({alone.system.new_product(10): 4})))
    product = alone.fake_order_service.orders[request.order_id].items[0].product_id
    assert_made(alone, product, request, left)


@pytest.mark.cites("product_service.proto", "these come to their end without a repeat as well")
@pytest.mark.cites("implement.md", "complete or compensate every pending saga within 30 s after the fault is over")
@silent
@every_change
def test_a_change_nobody_repeats_is_made_all_the_same(
    alone: ProductServiceAlone, behaviour: Behaviour, ask: Callable[[Order], Any], left: int
) -> None:
    """Its outcome was open; after the fault clears it is made, once, and the stock follows."""
    product = alone.system.new_product(10)
    request = ask(alone.system.place({product: 4}))
    with alone.fake_order_service.answering(behaviour):
        assert_open(alone.system.call(request))
    assert_made(alone, product, request, left)
    assert alone.fake_order_service.orders[request.order_id].version == 2
