"""Laws of placing many orders in one call: each as if it had been placed alone."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderRejected
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest
from ordersys.api.product.v1.product_service_pb2 import (
    AdjustStockRequest,
    BatchPlaceOrdersRequest,
    PlaceOrderRequest,
    PlaceOrderResult,
)
from ordersys.contract.errors import reason_of
from tests.contract.harness.client import ORDER, PRODUCT
from tests.contract.harness.event_tap import EventTap
from tests.contract.harness.examples import with_examples
from tests.contract.harness.order_events import FANOUT, TOPIC, settle, the_one
from tests.contract.harness.system_under_test import SystemUnderTest, new_id, placing

pytestmark = pytest.mark.judges(PRODUCT)
MOST = 500
CROWD = 8


def batch(system: SystemUnderTest, *requests: PlaceOrderRequest) -> list[PlaceOrderResult]:
    """The outcome of each, placed in one call."""
    results: list[PlaceOrderResult] = list(system.ok(BatchPlaceOrdersRequest(requests=requests)).results)
    assert len(results) == len(requests)
    return results


def orders(results: Iterable[PlaceOrderResult]) -> list[Order]:
    """The orders of a batch in which each has to succeed."""
    listed = list(results)
    assert [reason_of(result.status) for result in listed if not result.HasField("order")] == []
    return [result.order for result in listed]


def reasons(results: Iterable[PlaceOrderResult]) -> list[str]:
    """The reason why each was refused, empty where it was not."""
    return [reason_of(result.status) for result in results]


def altered(request: PlaceOrderRequest) -> PlaceOrderRequest:
    """Another request under the same id."""
    other = PlaceOrderRequest()
    other.CopyFrom(request)
    other.items[0].quantity += 1
    return other


@pytest.mark.cites("product_service.proto", "One result for each request, at the same index.")
@with_examples
@given(units=st.lists(st.integers(1, 9), min_size=1, max_size=40))
def test_each_request_has_its_result_at_its_index(system: SystemUnderTest, units: list[int]) -> None:
    """The customer and the quantities of each order are those of the request beside it; each is an order of its own."""
    product = system.new_product()
    requests = [placing({product: n}, customer_id=f"c-{index}") for index, n in enumerate(units)]
    placed = orders(batch(system, *requests))
    assert [(o.customer_id, o.items[0].quantity) for o in placed] == [(f"c-{i}", n) for i, n in enumerate(units)]
    assert len({order.id for order in placed}) == len(units)


@pytest.mark.cites("product_service.proto", "Places many orders in one call, in their order, each as PlaceOrder would")
@pytest.mark.cites("product_service.proto", "Places an order: reserves its stock and creates it, or does neither.")
@pytest.mark.judges(ORDER)
def test_each_order_of_a_batch_is_there_and_its_stock_held(system: SystemUnderTest) -> None:
    """As the Order Service has it, priced by the product, in the listing of its customer."""
    product, other = system.new_product(20), system.new_product(20)
    customer = f"c-{new_id()}"
    placed = orders(batch(system, *(placing({product: 2, other: 1}, customer) for _ in range(5))))
    assert [system.order(order.id) for order in placed] == placed
    assert {item.unit_price.units for order in placed for item in order.items} == {
        system.product(product).unit_price.units
    }
    listed = system.ok(ListOrdersRequest(customer_id=customer)).orders
    assert sorted(order.id for order in listed) == sorted(order.id for order in placed)
    assert (system.stock(product), system.stock(other)) == ((10, 10), (15, 5))


@pytest.mark.cites("product_service.proto", "each as PlaceOrder would")
@pytest.mark.cites("implement.md", "neither does a repeat")
@pytest.mark.judges(ORDER, "broker")
def test_each_order_of_a_batch_is_heard_of_once_on_each_exchange(system: SystemUnderTest, event_tap: EventTap) -> None:
    """OrderCreated as for an order placed alone, of the repeated ones too."""
    product = system.new_product()
    requests = [placing({product: 1}) for _ in range(20)]
    placed = orders(batch(system, *requests))
    assert orders(batch(system, *requests)) == placed
    settle(system, event_tap, *placed)
    for order in placed:
        for exchange in (FANOUT, TOPIC):
            assert the_one(event_tap.received(order.id, exchange)) == OrderCreated(order=order)


@pytest.mark.cites("product_service.proto", "A refusal for want of stock is an outcome too: a repeat answers it again")
@pytest.mark.cites("implement.md", "It is stored, and answered again to a repeat, even after a restock.")
@pytest.mark.judges("broker")
def test_a_refusal_for_stock_in_a_batch_is_an_outcome_heard_of_once(
    system: SystemUnderTest, event_tap: EventTap
) -> None:
    """OrderRejected once; a repeat is refused again by either call, even after a restock."""
    product = system.new_product(1)
    request = placing({product: 2}, customer_id=f"c-{new_id()}")
    assert reasons(batch(system, request)) == ["OUT_OF_STOCK"]
    system.ok(AdjustStockRequest(request_id=new_id(), product_id=product, delta=9))
    assert system.call(request).reason == "OUT_OF_STOCK"
    assert reasons(batch(system, request)) == ["OUT_OF_STOCK"]
    sentinel = placing({product: 999}, customer_id=f"c-{new_id()}")
    assert reasons(batch(system, sentinel)) == ["OUT_OF_STOCK"]
    event_tap.wait(lambda: rejected(event_tap, sentinel.customer_id), system.patience)
    assert len(rejected(event_tap, request.customer_id)) == 1


def rejected(event_tap: EventTap, customer_id: str) -> list[Message]:
    """The OrderRejected heard that tell of a customer."""
    messages = [received.event.message for received in event_tap.everything() if received.event]
    return [m for m in messages if isinstance(m, OrderRejected) and m.customer_id == customer_id]


@pytest.mark.cites("product_service.proto", "A repeat until then answers what the first success answered")
def test_a_repeated_batch_is_answered_as_at_first(system: SystemUnderTest) -> None:
    """The same results, to the byte, with one effect; so is a part of it in another order."""
    product, short = system.new_product(50), system.new_product(0)
    requests = [*(placing({product: 1}) for _ in range(9)), placing({short: 1})]
    first = batch(system, *requests)
    assert batch(system, *requests) == first
    assert batch(system, *requests[::-2]) == first[::-2]
    assert system.stock(product) == (41, 9)


@pytest.mark.cites("implement.md", "Equal requests at the same time have one effect and get the same answer")
def test_repeated_batches_that_come_all_at_once_have_one_effect(system: SystemUnderTest) -> None:
    """A crowd of equal batches, and of their orders placed alone, gets one answer."""
    product = system.new_product(50)
    requests = [placing({product: 1}) for _ in range(CROWD)]

    def ask(number: int) -> list[Order]:
        if number % 2:
            return orders(batch(system, *requests))
        return [system.ok(request).order for request in requests]

    with ThreadPoolExecutor(CROWD) as pool:
        answers = list(pool.map(ask, range(CROWD)))
    assert answers == [answers[0]] * len(answers)
    assert system.stock(product) == (50 - CROWD, CROWD)


@pytest.mark.cites(
    "product_service.proto",
    "To a request_id the two RPCs are one call: a repeat gets the same order from either, alone or in any batch.",
)
@pytest.mark.cites("implement.md", "PlaceOrder and an order of BatchPlaceOrders count as the same RPC")
def test_a_request_is_one_by_either_door(system: SystemUnderTest) -> None:
    """PlaceOrder repeated in a batch, and an order of a batch repeated by PlaceOrder, get the order there is."""
    product = system.new_product(10)
    alone, many = placing({product: 1}), placing({product: 2})
    order = system.ok(alone).order
    assert orders(batch(system, alone, many))[0] == order
    assert system.ok(many).order == orders(batch(system, many))[0]
    assert system.stock(product) == (7, 3)
    assert system.call(altered(many)).reason == "REQUEST_ID_REUSED"
    assert reasons(batch(system, altered(alone))) == ["REQUEST_ID_REUSED"]
    assert system.stock(product) == (7, 3)


@pytest.mark.cites("product_service.proto", "one that is refused, or whose outcome is open, does not hinder the others")
@pytest.mark.cites("product_service.proto", "The status PlaceOrder would have ended with.")
def test_one_that_is_refused_does_not_touch_the_others(system: SystemUnderTest) -> None:
    """Out of stock, an unknown product, an id used for another request: each has its status, the rest their orders."""
    product, short = system.new_product(10), system.new_product(1)
    used = placing({product: 1})
    system.ok(used)
    unknown = placing({f"p-{new_id()[:16]}": 1, product: 1})
    requests = [placing({product: 1}), placing({short: 2, product: 1}), unknown, altered(used), placing({product: 2})]
    results = batch(system, *requests)
    assert reasons(results) == ["", "OUT_OF_STOCK", "PRODUCT_NOT_FOUND", "REQUEST_ID_REUSED", ""]
    for result, request in zip(results, requests, strict=True):
        assert result.HasField("order") or system.call(request).status == result.status
    assert (system.stock(product), system.stock(short)) == ((6, 4), (1, 0))


@pytest.mark.cites("product_service.proto", "Places many orders in one call, in their order")
def test_the_units_of_a_product_go_to_the_first_of_a_batch(system: SystemUnderTest) -> None:
    """As if one were placed after the other: as many get theirs as there are units, in the order of the requests."""
    product = system.new_product(3)
    results = batch(system, *(placing({product: 2 if index == 1 else 1}) for index in range(4)))
    assert reasons(results) == ["", "", "OUT_OF_STOCK", "OUT_OF_STOCK"]
    assert system.stock(product) == (0, 3)


@pytest.mark.cites("implement.md", "A request that stands in a batch twice is a repeat of itself.")
def test_a_request_that_stands_in_a_batch_twice_is_a_repeat(system: SystemUnderTest) -> None:
    """It gets the same order; another request under its id is refused, and nothing more is taken."""
    product = system.new_product(10)
    request = placing({product: 2})
    results = batch(system, request, placing({product: 1}), request, altered(request))
    first, _, again = orders(results[:3])
    assert again == first
    assert reasons(results)[3] == "REQUEST_ID_REUSED"
    assert system.stock(product) == (7, 3)


@pytest.mark.cites(
    "implement.md",
    "Of a batch, one broken rule refuses the whole call; nothing of it is done, and its request_ids stay unused.",
)
def test_a_broken_rule_refuses_the_whole_batch_and_burns_no_id(system: SystemUnderTest) -> None:
    """INVALID_REQUEST names the request by its index and the rule; mended, all may be sent again under their ids."""
    product = system.new_product(10)
    requests = [placing({product: 1}) for _ in range(4)]
    requests[2].items[0].quantity = 0
    answer = system.call(BatchPlaceOrdersRequest(requests=requests))
    assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert answer.fields == [("requests[2].items[0].quantity", "int32.gte_lte")]
    assert system.stock(product) == (10, 0)
    requests[2].items[0].quantity = 3
    orders(batch(system, *requests))
    assert system.stock(product) == (4, 6)


@pytest.mark.cites("product_service.proto", "The orders asked for, each independent of the others. 1 to 500.")
@pytest.mark.parametrize(("count", "rule"), [(0, "repeated.min_items"), (MOST + 1, "repeated.max_items")])
def test_a_batch_of_none_or_too_many_is_refused(system: SystemUnderTest, count: int, rule: str) -> None:
    """INVALID_REQUEST, and nothing is taken."""
    product = system.new_product(1000)
    answer = system.call(BatchPlaceOrdersRequest(requests=[placing({product: 1}) for _ in range(count)]))
    assert (answer.code, answer.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [("requests", rule)])
    assert system.stock(product) == (1000, 0)


@pytest.mark.cites("product_service.proto", "The orders asked for, each independent of the others. 1 to 500.")
def test_the_largest_batch_is_placed(system: SystemUnderTest) -> None:
    """As many orders as a call may ask for, each held once."""
    product = system.new_product(MOST)
    placed = orders(batch(system, *(placing({product: 1}) for _ in range(MOST))))
    assert len({order.id for order in placed}) == MOST
    assert system.stock(product) == (0, MOST)


@pytest.mark.cites(
    "implement.md", "Normalise: UUIDs in lower case, items sorted by product id, unknown fields removed."
)
def test_requests_of_a_batch_are_normalised(system: SystemUnderTest) -> None:
    """UUIDs in upper case, items in another order and unknown fields do not make another request."""
    request = placing({system.new_product(): 2, system.new_product(): 3})
    (order,) = orders(batch(system, request))
    same: Any = PlaceOrderRequest(
        request_id=request.request_id.upper(), customer_id=request.customer_id, items=list(request.items)[::-1]
    )
    same.MergeFromString(b"\xfa\x7f\x07unknown")
    assert orders(batch(system, same)) == [order]
    assert system.ok(request).order == order
