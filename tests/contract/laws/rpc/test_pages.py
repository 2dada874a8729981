"""Laws of the lists (AIP-158): pages cover everything once, in order, whatever their sizes."""

from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersys.api.notification.v1.dead_letter_service_pb2 import ListDeadLettersRequest
from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import BatchCreateOrdersRequest, ListOrdersRequest, ListOrdersResponse
from ordersys.api.product.v1.product_service_pb2 import ListProductsRequest
from tests.contract.harness.client import LISTENERS, ORDER, PRODUCT
from tests.contract.harness.examples import with_examples
from tests.contract.harness.injector import Injector
from tests.contract.harness.order_requests import CANCELLED, PLACED, WAYS, fits, in_state, moving, updated
from tests.contract.harness.paging import pages, walk
from tests.contract.harness.sample_orders import sample_order
from tests.contract.harness.subscriber_deliveries import created, padded
from tests.contract.harness.system_under_test import SystemUnderTest, creating, new_id

DEFAULT, MOST = 50, 500
PAGE_BYTES = 2 * 1024 * 1024
LARGE_EVENT_BYTES = 250_000
LISTS = [
    (PRODUCT, ListProductsRequest(), lambda page: page.products),
    (ORDER, ListOrdersRequest(), lambda page: page.orders),
    *((role, ListNotificationsRequest(), lambda page: page.notifications) for role in LISTENERS),
    *((role, ListDeadLettersRequest(), lambda page: page.dead_letters) for role in LISTENERS),
]
NAMES = [f"{role}-{query.DESCRIPTOR.name.removesuffix('Request')}" for role, query, _ in LISTS]
every_list = pytest.mark.parametrize(("role", "query", "entries"), LISTS, ids=NAMES)
every_listener = pytest.mark.parametrize("role", LISTENERS)


@pytest.fixture
def customer(system: SystemUnderTest) -> str:
    """A customer with 60 orders."""
    if ORDER not in system.addresses:
        pytest.skip(f"does not apply: no {ORDER} is judged")
    customer_id = f"c-{new_id()}"
    requests = [creating(customer_id=customer_id) for _ in range(60)]
    system.ok(BatchCreateOrdersRequest(requests=requests))
    return customer_id


@pytest.mark.cites("implement.md", "What one process has answered every other one knows: a repeat, a page token")
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
@pytest.mark.cites("implement.md", "an entry that is created while a client reads, or one")
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


@pytest.mark.cites("implement.md", "or one that no longer fits the filter, must not move its pages")
@pytest.mark.judges(ORDER)
@pytest.mark.parametrize("number", [0, 4])
def test_what_leaves_a_list_while_paging_moves_no_page(system: SystemUnderTest, number: int) -> None:
    """An order that is still to come, or was the last one seen, is cancelled: the others come once all the same."""
    customer = f"c-{new_id()}"
    before = [system.ok(creating(customer_id=customer)).order for _ in range(6)]
    walked = pages(system, ORDER, ListOrdersRequest(customer_id=customer, state=PLACED), [2])
    seen = list(next(walked).orders)
    leaving = before[number]
    updated(system, moving(leaving, CANCELLED))
    seen += [order for page in walked for order in page.orders]
    assert [order.id for order in seen] == [o.id for o in before[::-1] if o in seen[:2] or o.id != leaving.id]


@pytest.mark.cites("order_service.proto", "How many at most")
@pytest.mark.cites("implement.md", "is bound to the filters (not to the page size) of its query")
@pytest.mark.judges(ORDER)
def test_each_page_has_the_size_that_was_asked_for_with_it(system: SystemUnderTest, customer: str) -> None:
    """A smaller, a larger and the default size behind one token: as many entries, and no size of another page."""
    query = ListOrdersRequest(customer_id=customer)
    token = system.ok(of_size(query, 3)).next_page_token
    sizes = [len(system.ok(of_size(query, size, token)).orders) for size in (1, 3, 5, 0, MOST)]
    assert sizes == [1, 3, 5, DEFAULT, 57]


@pytest.mark.cites("order_service.proto", "Only orders in this state; in any when unspecified.")
@pytest.mark.cites("order_service.proto", "Only orders of this customer; of all when empty.")
@pytest.mark.judges(ORDER)
def test_a_filter_leaves_only_what_fits(system: SystemUnderTest) -> None:
    """By customer, by state and by both, the newest first, and pages of a filtered list are as good."""
    customer_id = f"c-{new_id()}"
    customers = [customer_id, f"{customer_id}-1", f"x-{customer_id}"]  # each has the letters of the first
    orders = [
        in_state(system, system.ok(creating(customer_id=customer)).order, state)
        for state in (*WAYS, *WAYS)
        for customer in customers
    ][::-1]
    for customer in (*customers, ""):
        for state in (*WAYS, OrderState.ORDER_STATE_UNSPECIFIED):
            query = ListOrdersRequest(customer_id=customer, state=state)
            # What the service has beside these orders is older, and too much to read to its end.
            listed = walk(system, ORDER, query, entries, [1, 3]) if customer else newest(system, query)
            assert all(fits(query, order) for order in listed), f"listed for {query}"
            assert [order for order in listed if order.customer_id in customers] == [
                o for o in orders if fits(query, o)
            ]


def newest(system: SystemUnderTest, query: ListOrdersRequest) -> list[Order]:
    """The newest orders of a list, as many as fit on a page."""
    return list(system.ok(ListOrdersRequest(customer_id=query.customer_id, state=query.state, page_size=MOST)).orders)


def entries(page: ListOrdersResponse) -> Sequence[Order]:
    """The orders of a page."""
    return page.orders


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
    """A token belongs to the filters it was given out for, to each of them."""
    placed = OrderState.ORDER_STATE_PLACED
    queries = [
        ListOrdersRequest(),
        ListOrdersRequest(customer_id=customer),
        ListOrdersRequest(customer_id=customer, state=placed),
        ListOrdersRequest(state=placed),
        ListOrdersRequest(customer_id="another"),
        ListOrdersRequest(customer_id=customer, state=OrderState.ORDER_STATE_PAID),
    ]
    for query in queries[:4]:
        token = system.ok(of_size(query, 5)).next_page_token
        for other in queries:
            if other != query:
                assert system.call(of_size(other, 5, token)).reason == "PAGE_TOKEN_INVALID", f"{query} -> {other}"
        assert system.ok(of_size(query, 9, token)).orders


@pytest.mark.cites("order_service.proto", "The next_page_token of the page before, to the letter")
@pytest.mark.judges(ORDER)
def test_a_token_is_taken_to_the_letter(system: SystemUnderTest, customer: str) -> None:
    """What is nearly one, such as in other letters or with a blank, is none."""
    query = ListOrdersRequest(customer_id=customer)
    token = system.ok(of_size(query, 5)).next_page_token
    for near in (token.swapcase(), f"{token} ", f" {token}", f"{token}=", token[:-1], f"{token}\n"):
        if near != token:
            assert system.call(of_size(query, 5, near)).reason == "PAGE_TOKEN_INVALID", near
    assert system.ok(of_size(query, 5, token)).orders


@pytest.mark.cites("order_service.proto", "Asks for the next page; empty when this is the last.")
@pytest.mark.judges(ORDER)
@pytest.mark.parametrize("size", [20, 60])
def test_the_last_page_has_no_token(system: SystemUnderTest, customer: str, size: int) -> None:
    """Also where it is full to the last entry: nobody asks in vain."""
    listed = [len(page.orders) for page in pages(system, ORDER, ListOrdersRequest(customer_id=customer), [size])]
    assert listed == [size] * (60 // size)


def of_size(query: ListOrdersRequest, size: int, token: str = "") -> ListOrdersRequest:
    """The query for a page of that size, behind a token."""
    return ListOrdersRequest(customer_id=query.customer_id, state=query.state, page_size=size, page_token=token)


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


@pytest.mark.cites("implement.md", "page_size 0 means 50")
@pytest.mark.cites("product_service.proto", "How many at most: 50 when 0")
@pytest.mark.judges(PRODUCT)
def test_a_page_of_products_has_50_entries_by_default(system: SystemUnderTest) -> None:
    """As long as there are as many, and the next page goes on behind them."""
    while len(system.ok(ListProductsRequest(page_size=MOST)).products) <= DEFAULT:
        system.new_product()
    page = system.ok(ListProductsRequest())
    assert len(page.products) == DEFAULT
    assert page.next_page_token


def record_many(system: SystemUnderTest, injector: Injector, role: str, count: int, size: int = 0) -> str:
    """The id of an order of which a subscriber has recorded so many events, each of that size if it is given."""
    event = created(sample_order())
    for _ in range(count):
        injector.deliver(role, event, padded(event, size) if size else None)
    counted = ListNotificationsRequest(order_id=event.order.id)
    system.eventually(lambda: len(walk(system, role, counted, lambda page: page.notifications, [MOST])) == count)
    return event.order.id


@pytest.mark.cites("implement.md", "page_size 0 means 50, more than 500 means 500")
@pytest.mark.cites("notification_log.proto", "50 when 0, lowered to 500 when more (AIP-158)")
@pytest.mark.judges("broker")
@every_listener
def test_a_page_of_records_has_50_entries_by_default_and_500_at_most(
    system: SystemUnderTest, injector: Injector, role: str
) -> None:
    """0 means the default, too large is lowered, neither is an error."""
    order_id = record_many(system, injector, role, MOST + 1)
    assert len(system.ok(ListNotificationsRequest(order_id=order_id), role).notifications) == DEFAULT
    assert len(system.ok(ListNotificationsRequest(order_id=order_id, page_size=MOST + 100), role).notifications) == MOST


@pytest.mark.cites("implement.md", "is bound to the filters (not to the page size) of its query")
@pytest.mark.cites("notification_log.proto", "The filter must be the same.")
@pytest.mark.judges("broker")
@every_listener
def test_a_token_of_the_records_of_another_order_is_refused(
    system: SystemUnderTest, injector: Injector, role: str
) -> None:
    """A token belongs to the order it was given out for, or to the list of all; another page size is taken."""
    asked = ["", *(record_many(system, injector, role, 3) for _ in range(2))]
    for order_id in asked:
        token = system.ok(ListNotificationsRequest(order_id=order_id, page_size=1), role).next_page_token
        for other in asked:
            answer = system.call(ListNotificationsRequest(order_id=other, page_size=2, page_token=token), role)
            assert answer.reason == ("" if other == order_id else "PAGE_TOKEN_INVALID"), f"{order_id} -> {other}"


@pytest.mark.cites("implement.md", "the entries of a page have at most 2 MiB together")
@pytest.mark.cites("notification_log.proto", "fewer where they would not fit into 2 MiB")
@pytest.mark.judges("broker")
@every_listener
def test_a_page_of_records_ends_before_it_is_too_large(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """Of large events there are few on a page; the pages have all of them once nevertheless."""
    count = PAGE_BYTES // LARGE_EVENT_BYTES + 2
    order_id = record_many(system, injector, role, count, LARGE_EVENT_BYTES)
    seen: list[str] = []
    for page in pages(system, role, ListNotificationsRequest(order_id=order_id), [MOST]):
        assert sum(record.ByteSize() for record in page.notifications) <= PAGE_BYTES
        seen += [record.event_id for record in page.notifications]
    assert len(seen) == len(set(seen)) == count
