"""Laws of the lists (AIP-158): pages cover everything once, in order, whatever their sizes."""

from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersys.api.notification.v1.dead_letter_service_pb2 import ListDeadLettersRequest
from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest
from ordersys.api.order.v1.order_pb2 import OrderState
from ordersys.api.order.v1.order_service_pb2 import BatchCreateOrdersRequest, ListOrdersRequest, UpdateOrderRequest
from ordersys.api.product.v1.product_service_pb2 import ListProductsRequest
from tests.contract.harness.client import LISTENERS, ORDER, PRODUCT
from tests.contract.harness.examples import with_examples
from tests.contract.harness.paging import pages, walk
from tests.contract.harness.system_under_test import SystemUnderTest, creating, new_id

DEFAULT, MOST = 50, 500
LISTS = [
    (PRODUCT, ListProductsRequest(), lambda page: page.products),
    (ORDER, ListOrdersRequest(), lambda page: page.orders),
    *((role, ListNotificationsRequest(), lambda page: page.notifications) for role in LISTENERS),
    *((role, ListDeadLettersRequest(), lambda page: page.dead_letters) for role in LISTENERS),
]
NAMES = [f"{role}-{query.DESCRIPTOR.name.removesuffix('Request')}" for role, query, _ in LISTS]
every_list = pytest.mark.parametrize(("role", "query", "entries"), LISTS, ids=NAMES)


@pytest.fixture(scope="module")
def customer(system: SystemUnderTest) -> str:
    """A customer with 60 orders."""
    if ORDER not in system.addresses:
        pytest.skip(f"does not apply: no {ORDER} is judged")
    customer_id = f"c-{new_id()}"
    requests = [creating(customer_id=customer_id) for _ in range(60)]
    system.ok(BatchCreateOrdersRequest(requests=requests))
    return customer_id


@pytest.mark.cites("order_service.proto", "Lists orders, the newest first, filtered by customer and by state.")
@pytest.mark.cites("implement.md", "Pages of any size cover every entry once, in the order of the list.")
@pytest.mark.judges(ORDER)
@with_examples
@given(sizes=st.lists(st.integers(1, 70), min_size=1, max_size=5))
def test_pages_of_any_size_cover_everything_once(system: SystemUnderTest, customer: str, sizes: list[int]) -> None:
    """No order is skipped, none comes twice, the newest is first."""
    query = ListOrdersRequest(customer_id=customer)
    whole = system.ok(ListOrdersRequest(customer_id=customer, page_size=MOST)).orders
    assert len(whole) == 60
    assert walk(system, ORDER, query, lambda page: page.orders, sizes) == list(whole)


@pytest.mark.cites("order_service.proto", "Orders created while paging do not move the pages.")
@pytest.mark.cites("implement.md", "an entry that is created while a client reads must not move its pages")
@pytest.mark.judges(ORDER)
def test_what_is_created_while_paging_moves_no_page(system: SystemUnderTest) -> None:
    """The pages go on where the last one ended, and the newcomer stands before the first."""
    customer = f"c-{new_id()}"
    before = [system.ok(creating(customer_id=customer)).order for _ in range(6)]
    seen = []
    for page in pages(system, ORDER, ListOrdersRequest(customer_id=customer), [2]):
        seen += page.orders
        system.ok(creating(customer_id=customer))
    assert seen == before[::-1]


@pytest.mark.cites("order_service.proto", "Only orders in this state; in any when unspecified.")
@pytest.mark.cites("order_service.proto", "Only orders of this customer; of all when empty.")
@pytest.mark.judges(ORDER)
def test_a_filter_leaves_only_what_fits(system: SystemUnderTest) -> None:
    """By customer and by state, and pages of a filtered list are as good."""
    customer = f"c-{new_id()}"
    orders = [system.ok(creating(customer_id=customer)).order for _ in range(5)]
    paid = OrderState.ORDER_STATE_PAID
    for order in orders[1::2]:
        system.ok(UpdateOrderRequest(request_id=new_id(), order_id=order.id, state=paid), ORDER)
    query = ListOrdersRequest(customer_id=customer, state=paid)
    listed = walk(system, ORDER, query, lambda page: page.orders, [1])
    assert [order.id for order in listed] == [order.id for order in orders[1::2]][::-1]
    assert {order.state for order in listed} == {paid}


@pytest.mark.cites("implement.md", "page_size 0 means 50, more than 500 means 500")
@pytest.mark.cites("order_service.proto", "50 when 0, lowered to 500 when more (AIP-158)")
@pytest.mark.judges(ORDER)
def test_a_page_has_50_entries_by_default_and_500_at_most(system: SystemUnderTest, customer: str) -> None:
    """0 means the default, too large is lowered, neither is an error."""
    assert len(system.ok(ListOrdersRequest(customer_id=customer)).orders) == DEFAULT
    system.ok(BatchCreateOrdersRequest(requests=[creating() for _ in range(MOST)]))
    assert len(system.ok(ListOrdersRequest(page_size=MOST + 100)).orders) == MOST


@pytest.mark.cites("implement.md", "Any other token is PAGE_TOKEN_INVALID.")
@pytest.mark.cites("error_reason.proto", "The page_token was not given out for this query.")
@every_list
def test_a_token_that_was_not_given_out_is_refused(
    system: SystemUnderTest, role: str, query: Any, entries: Any
) -> None:
    """INVALID_ARGUMENT, PAGE_TOKEN_INVALID, for invented tokens."""
    asked = type(query)()
    for token in ("x", "bm90IG91cnM=", "ümlaut", "A" * 200):
        asked.page_token = token
        answer = system.call(asked, role)
        assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"), token


@pytest.mark.cites("implement.md", "is bound to the filters (not to the page size) of its query")
@pytest.mark.cites("order_service.proto", "The filters must be the same.")
@pytest.mark.judges(ORDER)
def test_a_token_of_another_query_is_refused(system: SystemUnderTest, customer: str) -> None:
    """A token belongs to the filters it was given out for."""
    token = system.ok(ListOrdersRequest(customer_id=customer, page_size=5)).next_page_token
    for other in (ListOrdersRequest(page_token=token), ListOrdersRequest(customer_id="another", page_token=token)):
        assert system.call(other).reason == "PAGE_TOKEN_INVALID"
    assert system.ok(ListOrdersRequest(customer_id=customer, page_size=9, page_token=token)).orders


@pytest.mark.cites("product_service.proto", "Lists products by id.")
@pytest.mark.judges(PRODUCT)
@with_examples
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_pages_of_products_cover_everything_once(system: SystemUnderTest, sizes: list[int]) -> None:
    """By id, none skipped, none twice."""
    while len(whole := system.ok(ListProductsRequest(page_size=MOST)).products) < 20:
        system.new_product()
    listed = walk(system, PRODUCT, ListProductsRequest(), lambda page: page.products, sizes)
    ids = [product.id for product in listed]
    assert ids == sorted(set(ids))
    assert ids[: len(whole)] == [product.id for product in whole]
