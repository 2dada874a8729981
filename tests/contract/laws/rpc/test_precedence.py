"""Laws of the order of refusals: where several reasons forbid a request, which one is answered."""

from typing import Any

import pytest

from ordersys.api.order.v1 import order_service_pb2 as order_api
from ordersys.api.order.v1.order_pb2 import OrderState
from ordersys.api.product.v1 import product_service_pb2 as product_api
from tests.contract.harness.client import ORDER, PRODUCT
from tests.contract.harness.system_under_test import SystemUnderTest, creating, new_id, placing, quantities

PAID, SHIPPED = OrderState.ORDER_STATE_PAID, OrderState.ORDER_STATE_SHIPPED


def used(system: SystemUnderTest, role: str) -> str:
    """A request_id that a request of this service has."""
    request: Any = creating()
    if role == PRODUCT:
        request = product_api.AdjustStockRequest(request_id=new_id(), product_id=system.new_product(), delta=1)
    system.ok(request)
    return str(request.request_id)


def impossible(role: str, request_id: str) -> Any:
    """A request for what there is not."""
    if role == ORDER:
        return order_api.UpdateOrderRequest(request_id=request_id, order_id=new_id(), state=PAID, expected_version=7)
    request = placing({f"p-{new_id()}": 1})
    request.request_id = request_id
    return request


each_role = pytest.mark.parametrize("role", [ORDER, PRODUCT])


@pytest.mark.cites(
    "implement.md", "What can't be read, then what breaks a rule: `UNDECODABLE_REQUEST`, `INVALID_REQUEST`."
)
@each_role
def test_a_broken_rule_comes_before_a_used_id(system: SystemUnderTest, role: str) -> None:
    """INVALID_REQUEST: what is no request is compared with none."""
    request: Any = creating() if role == ORDER else placing({"lamp": 1})
    request.request_id, request.customer_id = used(system, role), "Not / valid"
    answer = system.call(request)
    assert (answer.reason, answer.fields) == ("INVALID_REQUEST", [("customer_id", "string.slug")])


@pytest.mark.cites("implement.md", "another request is `REQUEST_ID_REUSED`.")
@each_role
def test_a_used_id_comes_before_what_is_missing(system: SystemUnderTest, role: str) -> None:
    """REQUEST_ID_REUSED, also for an order or a product that there is not; under its own id it is NOT_FOUND."""
    assert system.call(impossible(role, used(system, role))).reason == "REQUEST_ID_REUSED"
    missing = "ORDER_NOT_FOUND" if role == ORDER else "PRODUCT_NOT_FOUND"
    assert system.call(impossible(role, new_id())).reason == missing


@pytest.mark.cites(
    "implement.md", "Whether it is there: `ORDER_NOT_FOUND`, `ORDER_ALREADY_EXISTS`, `PRODUCT_ALREADY_EXISTS`."
)
@pytest.mark.judges(ORDER)
def test_a_missing_order_comes_before_its_version(system: SystemUnderTest) -> None:
    """ORDER_NOT_FOUND, whatever version was expected of it."""
    assert system.call(impossible(ORDER, new_id())).reason == "ORDER_NOT_FOUND"


@pytest.mark.cites("implement.md", "Where several are true, any of them may be answered.")
@pytest.mark.judges(ORDER)
def test_a_stale_version_and_a_forbidden_state_are_refused_for_either(system: SystemUnderTest) -> None:
    """Which of the two is open; nothing changes."""
    order = system.create()
    request = order_api.UpdateOrderRequest(request_id=new_id(), order_id=order.id, state=SHIPPED, expected_version=7)
    assert system.call(request).reason in ("VERSION_MISMATCH", "STATE_NOT_ALLOWED")
    assert system.order(order.id) == order


@pytest.mark.cites("implement.md", "Stock, last: an order whose items may not change is refused for its state")
@pytest.mark.judges(PRODUCT)
def test_want_of_stock_comes_after_an_unknown_product(system: SystemUnderTest) -> None:
    """PRODUCT_NOT_FOUND: want of stock would be an outcome, and burn the id."""
    short = system.new_product(1)
    request = placing({short: 9, f"p-{new_id()}": 1})
    assert system.call(request).reason == "PRODUCT_NOT_FOUND"
    request.items[1].product_id = system.new_product()
    request.items[0].quantity = 1
    assert system.ok(request).order.version == 1


@pytest.mark.cites("implement.md", "Stock, last: an order whose items may not change is refused for its state")
@pytest.mark.judges(PRODUCT, ORDER)
def test_want_of_stock_comes_after_a_stale_version(system: SystemUnderTest) -> None:
    """VERSION_MISMATCH: who did not know the order did not know what it needs."""
    product = system.new_product(4)
    order = system.place({product: 1})
    items = product_api.ItemQuantities(items=quantities({product: 99}))
    request = product_api.UpdateOrderRequest(request_id=new_id(), order_id=order.id, items=items, expected_version=7)
    assert system.call(request).reason == "VERSION_MISMATCH"
    assert system.stock(product) == (3, 1)
