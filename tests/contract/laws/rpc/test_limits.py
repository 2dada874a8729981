"""Laws of sizes: as much as the contract says is taken, and no answer is larger than its client takes."""

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from ordersys.api.order.v1.order_pb2 import OrderItem
from ordersys.api.order.v1.order_service_pb2 import BatchCreateOrdersRequest, CreateOrderRequest, ListOrdersRequest
from ordersys.api.product.v1.product_service_pb2 import BatchPlaceOrdersRequest
from tests.contract.harness.client import ORDER, PRODUCT, ROLES, RPCS
from tests.contract.harness.order_requests import PLACED
from tests.contract.harness.paging import pages
from tests.contract.harness.system_under_test import PRICE, SystemUnderTest, creating, new_id, placing

MESSAGE_BYTES = 4 * 1024 * 1024
PAGE_BYTES = 2 * 1024 * 1024
METADATA_BYTES = 7000
"""Some less than 8 KiB: a call has headers of its own."""
MOST_ORDERS, MOST_ITEMS = 500, 50
UNKNOWN = b"\xfa\x7f"
"""The tag of a field that no request has: number 2047, with a length."""
every_role = pytest.mark.parametrize("role", ROLES)


def listing(role: str) -> MethodDescriptor:
    """An RPC of a service that takes an empty request."""
    return next(method for method in RPCS[role] if method.name.startswith("List"))


@pytest.mark.cites("implement.md", "a request | 4 MiB (4,194,304 bytes)")
@every_role
def test_a_request_may_be_as_large_as_the_contract_says(system: SystemUnderTest, role: str) -> None:
    """With 4,194,304 bytes, most of them an unknown field, it is answered as without them."""
    left = MESSAGE_BYTES - len(UNKNOWN) - 4  # bytes of the length that is before the content
    length = bytes([left & 0x7F | 0x80, left >> 7 & 0x7F | 0x80, left >> 14 & 0x7F | 0x80, left >> 21])
    body = UNKNOWN + length + b"x" * left
    assert len(body) == MESSAGE_BYTES
    assert system.client.send(listing(role), body, role).response is not None


@pytest.mark.cites("implement.md", "the metadata of a call | 8 KiB (8,192 bytes), as HTTP/2 counts them")
@every_role
def test_a_call_may_carry_metadata(system: SystemUnderTest, role: str) -> None:
    """Some KiB that nobody asked for do no harm."""
    answer = system.client.send(listing(role), b"", role, metadata=(("x-padding", "x" * METADATA_BYTES),))
    assert answer.response is not None, str(answer)


@pytest.mark.cites("implement.md", "the entries of a page have at most 2 MiB together")
@pytest.mark.judges(ORDER)
def test_a_page_ends_before_it_is_too_large(system: SystemUnderTest) -> None:
    """Of the largest orders there are no 500 on a page, whatever the filter; the pages have all of them once."""
    customer = f"c-{new_id()}"
    system.ok(BatchCreateOrdersRequest(requests=[largest(customer) for _ in range(MOST_ORDERS)]))
    seen: list[str] = []
    for page in pages(system, ORDER, ListOrdersRequest(customer_id=customer), [MOST_ORDERS]):
        assert sum(order.ByteSize() for order in page.orders) <= PAGE_BYTES
        seen += [order.id for order in page.orders]
    assert len(seen) == len(set(seen)) == MOST_ORDERS
    for state in (0, PLACED):
        query = ListOrdersRequest(state=state, page_size=MOST_ORDERS)  # type: ignore[arg-type]
        page = system.ok(query)
        assert sum(order.ByteSize() for order in page.orders) <= PAGE_BYTES, f"listed for {query}"


def largest(customer: str) -> CreateOrderRequest:
    """A request for an order with as many items, of names as long, as an order may have."""
    items = [OrderItem(product_id=f"{n:064}", quantity=1000, unit_price=PRICE) for n in range(MOST_ITEMS)]
    return CreateOrderRequest(request_id=new_id(), order_id=new_id(), customer_id=customer, items=items)


@pytest.mark.cites("implement.md", "of more violations than fit only the first are named")
@pytest.mark.parametrize("role", [ORDER, PRODUCT])
def test_a_refusal_is_no_larger_than_its_client_takes(system: SystemUnderTest, role: str) -> None:
    """500 broken requests in one call are INVALID_REQUEST, and some of them are named: gRPC drops what is too large."""
    request: Message
    if role == ORDER:
        request = BatchCreateOrdersRequest(requests=[creating(customer_id="Not / valid") for _ in range(MOST_ORDERS)])
    else:
        broken = [placing({"lamp": 1}, customer_id="Not / valid") for _ in range(MOST_ORDERS)]
        request = BatchPlaceOrdersRequest(requests=broken)
    answer = system.call(request)
    assert answer.reason == "INVALID_REQUEST", str(answer)
    named = answer.fields
    assert named
    assert set(named) <= {(f"requests[{n}].customer_id", "string.slug") for n in range(MOST_ORDERS)}
