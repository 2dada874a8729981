"""Laws of what an order says of itself: its total, its prices, its times."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from google.type.money_pb2 import Money
from hypothesis import given
from hypothesis import strategies as st

from ordersys.api.order.v1.order_pb2 import Order, OrderItem
from ordersys.api.order.v1.order_service_pb2 import (
    BatchCreateOrdersRequest,
    CreateOrderRequest,
    ListOrdersRequest,
    OrderItems,
    UpdateOrderRequest,
)
from ordersys.api.product.v1 import product_service_pb2 as product_api
from ordersys.contract.times import microseconds
from tests.contract.harness.client import ORDER, PRODUCT
from tests.contract.harness.differences import assert_same_fields
from tests.contract.harness.examples import with_examples
from tests.contract.harness.expected_total import total
from tests.contract.harness.order_events import settled
from tests.contract.harness.order_requests import (
    CANCELLED,
    DELIVERED,
    PAID,
    PLACED,
    SHIPPED,
    changing,
    in_state,
    moving,
    replacing,
    updated,
)
from tests.contract.harness.system_under_test import SystemUnderTest, creating, new_id, quantities

pytestmark = pytest.mark.judges(ORDER)
MANY_CHANGES, REPEATERS = 135, 6
# A hyphen comes before digits, these before letters; 10 before 9.
UNSORTED = ["p", "p-9", "p-10", "p0", "pa", "0"]
OTHER_PRICE = Money(currency_code="EUR", units=3, nanos=1)
PRICES = st.builds(
    Money, currency_code=st.just("EUR"), units=st.integers(0, 999_999), nanos=st.integers(0, 999_999_999)
)
LINES = st.lists(st.builds(OrderItem, quantity=st.integers(1, 1000), unit_price=PRICES), min_size=1, max_size=50)


def named(lines: list[OrderItem]) -> list[OrderItem]:
    """These items, each of a product of its own."""
    return [OrderItem(product_id=f"p-{n}", quantity=i.quantity, unit_price=i.unit_price) for n, i in enumerate(lines)]


@pytest.mark.cites("order.proto", "The sum of quantity × unit price over all items, in EUR.")
@with_examples
@given(first=LINES, then=LINES)
def test_the_total_is_the_exact_sum_of_the_items(
    system: SystemUnderTest, first: list[OrderItem], then: list[OrderItem]
) -> None:
    """Quantity × unit price to the last nano, when the order is created and when its items change."""
    request = CreateOrderRequest(request_id=new_id(), order_id=new_id(), customer_id="anna", items=named(first))
    assert system.ok(request).order.total == total(first)
    items = OrderItems(items=named(then))
    change = UpdateOrderRequest(request_id=new_id(), order_id=request.order_id, items=items)
    assert system.ok(change).order.total == total(then)


@pytest.mark.cites("product_service.proto", "An item that stays keeps the price it was ordered at.")
@pytest.mark.cites("order.proto", "The price of one unit when it was ordered; later price changes do not touch it.")
@pytest.mark.judges(PRODUCT)
def test_an_item_that_stays_keeps_the_price_it_was_ordered_at(system: SystemUnderTest) -> None:
    """An update prices only what is new to the order; the total follows."""
    stays, comes = system.new_product(), system.new_product()
    ordered = creating({stays: 2})
    ordered.items[0].unit_price.CopyFrom(OTHER_PRICE)
    system.ok(ordered)
    items = product_api.ItemQuantities(items=quantities({stays: 5, comes: 1}))
    request = product_api.UpdateOrderRequest(request_id=new_id(), order_id=ordered.order_id, items=items)
    order = system.ok(request).order
    prices = {item.product_id: item.unit_price for item in order.items}
    assert prices == {stays: OTHER_PRICE, comes: system.product(comes).unit_price}
    assert order.total == total(order.items)


@pytest.mark.cites("order.proto", "When this version came to be (UTC): create_time at version 1, never before it.")
@pytest.mark.cites(
    "implement.md", "create_time and update_time of an order are one time at version 1; from then on create_time stays"
)
def test_an_order_says_when_it_was_created_and_when_it_changed(system: SystemUnderTest) -> None:
    """One time at version 1; afterwards the first stays, and the second is that of the change, by the same clock."""
    order = system.create()
    assert order.create_time == order.update_time
    assert any(system.create().create_time.nanos for _ in range(5)), "times are in whole seconds"
    other_items = [changing(order, {"lamp": 3}), changing(order, {"lamp": 3, "desk": 1})]
    for change in (*other_items, *(moving(order, state) for state in (PAID, SHIPPED, DELIVERED))):
        order = assert_changed_now(system, order, change)
    for paid in (False, True):
        order = in_state(system, system.create(), PAID if paid else PLACED)
        assert_changed_now(system, order, moving(order, CANCELLED))


def assert_changed_now(system: SystemUnderTest, order: Order, change: UpdateOrderRequest) -> Order:
    """Makes a change, after an order that was created later than the last one, and before another; the order."""
    before = system.eventually(lambda: _later(system.create(), order))
    changed = updated(system, change)
    after = system.create()
    assert changed.create_time == order.create_time
    assert microseconds(before.create_time) <= microseconds(changed.update_time) <= microseconds(after.create_time)
    assert system.order(order.id) == changed
    return changed


def _later(probe: Order, order: Order) -> Order | None:
    return probe if microseconds(probe.create_time) > microseconds(order.update_time) else None


@pytest.mark.cites(
    "order_service.proto",
    "Items that the order has already, at the same prices, change nothing: the order is answered as it is",
)
def test_a_change_that_changes_nothing_makes_no_version(system: SystemUnderTest) -> None:
    """The items it has already, in whatever order: the order is answered, and kept, as it was; to a repeat, too."""
    order = system.ok(creating({"lamp": 2, "desk": 1, "chair": 3})).order
    requests = [replacing(order, items) for items in (order.items, order.items[::-1])]
    for request in requests:
        assert_same_fields(updated(system, request), order)
        assert_same_fields(system.order(order.id), order)
    updated(system, moving(order, PAID))
    for request in requests:
        assert_same_fields(updated(system, request), order)


@pytest.mark.cites("order.proto", "What was ordered, sorted by product id; each product stands once.")
@with_examples
@given(first=st.permutations(UNSORTED), then=st.permutations(UNSORTED))
def test_items_stand_in_the_order_of_their_products(system: SystemUnderTest, first: list[str], then: list[str]) -> None:
    """Byte by byte, in whatever order they were asked for: created alone and in a batch, changed, read and listed."""
    alone, batched = (
        creating(dict.fromkeys(first, 1), customer_id=f"c-{new_id()}"),
        creating(dict.fromkeys(first, 1)),
    )
    (result,) = system.ok(BatchCreateOrdersRequest(requests=[batched])).results
    order = system.ok(alone).order
    changed = updated(system, changing(order, dict.fromkeys(then, 2)))
    (listed,) = system.ok(ListOrdersRequest(customer_id=alone.customer_id)).orders
    for answered in (order, result.order, changed, system.order(order.id), listed):
        assert [item.product_id for item in answered.items] == sorted(UNSORTED)


@pytest.mark.cites("order.proto", "1 when created, one more with each change")
@pytest.mark.cites("order_events.proto", "The id is `ORDER.VERSION`, of OrderRejected `ORDER.0`")
@pytest.mark.cites("implement.md", "Remember it for at least 24 hours from the answer on, however many come after it")
def test_an_order_may_change_as_often_as_anybody_likes(system: SystemUnderTest) -> None:
    """Beyond what a byte counts: each change has the next version, is remembered by its id, and is told of by it."""
    order = system.create()
    requests = [changing(order, {"lamp": number + 3}) for number in range(MANY_CHANGES)]
    changed = [updated(system, request) for request in requests]
    assert [version.version for version in changed] == list(range(2, MANY_CHANGES + 2))
    assert system.order(order.id) == changed[-1]
    with ThreadPoolExecutor(REPEATERS) as pool:
        assert list(pool.map(lambda request: updated(system, request), requests)) == changed
    if system.event_tap is not None:
        heard = settled(system, system.event_tap, changed[-1:])[order.id]
        ids = {message.properties.message_id for message in heard}
        assert ids == {f"{order.id}.{version}" for version in range(1, MANY_CHANGES + 2)}
