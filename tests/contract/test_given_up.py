"""Laws of changes whose client gives up while the Order Service, for which the suite stands in, is at it."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from ordersys.api.order.v1.order_pb2 import Order
from tests.contract.conftest import Lone
from tests.contract.stand_in import Slow
from tests.contract.test_saga import ORPHAN_SECONDS, cancelling, changing, stock
from tests.contract.wire import PRODUCT

pytestmark = pytest.mark.judges(PRODUCT, "stand-in")
SLOW, SHORT = 0.5, 0.1


@pytest.mark.parametrize(
    ("ask", "units", "left"),
    [(changing, 7, 7), (changing, 1, 1), (cancelling, 0, 0)],
    ids=["more", "fewer", "cancel"],
)
def test_a_change_given_up_moves_its_stock_all_the_same(
    lone: Lone, ask: Callable[[Order, int], Any], units: int, left: int
) -> None:
    """The deadline passes, the Order Service makes the change, nobody asks again: the stock is that of the order."""
    product = lone.world.new_product(10)
    request = ask(lone.world.place({product: 4}), units)
    with lone.stand_in.answering(Slow(SLOW)):
        assert lone.world.wire.call(request, timeout=SHORT).code is grpc.StatusCode.DEADLINE_EXCEEDED
        lone.world.eventually(lambda: _changed(lone, request))
    lone.world.eventually(lambda: stock(lone, product) == (10 - left, left), ORPHAN_SECONDS)


def _changed(lone: Lone, request: Any) -> bool:
    return lone.stand_in.orders[request.order_id].version > 1
