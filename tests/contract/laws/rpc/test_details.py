"""Laws of the details of a refusal: how what varies in them is spelled."""

import pytest
from google.rpc.error_details_pb2 import ErrorInfo, ResourceInfo

from ordersys.api.order.v1.order_service_pb2 import BatchCreateOrdersRequest, GetOrderRequest
from ordersys.api.product.v1.product_service_pb2 import BatchPlaceOrdersRequest, CancelOrderRequest
from tests.contract.harness.client import ORDER, PRODUCT, of_each
from tests.contract.harness.order_requests import PAID, PLACED, SHIPPED, moving
from tests.contract.harness.refusals import forbidden, refusal_in, reused, stale, taken_order, unknown_order
from tests.contract.harness.system_under_test import SystemUnderTest, creating, new_id, placing

LETTERS = "abcdef"


def with_letters() -> str:
    """A UUID that is another text in upper case."""
    return LETTERS + new_id()[len(LETTERS) :]


@pytest.mark.cites("implement.md", "the id as it is kept: a UUID in lower case, however the request spelled it")
@pytest.mark.cites("implement.md", "`ResourceInfo.resource_name` | the id alone, as in the metadata")
@pytest.mark.judges(ORDER)
def test_ids_in_details_stand_in_lower_case(system: SystemUnderTest) -> None:
    """Of an order that there is not, and of a request_id that is used, whichever way the request spells them."""
    missing = with_letters()
    answer = system.call(GetOrderRequest(order_id=missing.upper()))
    assert answer.detail(ResourceInfo()).resource_name == missing
    assert answer.detail(ErrorInfo()).metadata["order_id"] == missing
    first, other = creating(), creating()
    first.request_id = with_letters()
    system.ok(first)
    other.request_id = first.request_id.upper()
    assert system.call(other).detail(ErrorInfo()).metadata["request_id"] == first.request_id


@pytest.mark.cites("implement.md", "the id as it is kept: a UUID in lower case, however the request spelled it")
@pytest.mark.judges(ORDER)
def test_ids_in_details_of_an_order_there_is_stand_in_lower_case(system: SystemUnderTest) -> None:
    """Of one whose id is taken, of one at another version or in another state, and in the results of a batch."""
    first = creating()
    first.request_id, first.order_id = with_letters(), with_letters()
    order = system.ok(first).order
    again, other = creating(), creating()
    again.order_id, other.request_id = order.id.upper(), first.request_id.upper()
    stale_change, early = moving(order, PAID, 7), moving(order, SHIPPED)
    stale_change.order_id = early.order_id = order.id.upper()
    results = of_each(system.call(BatchCreateOrdersRequest(requests=[again, other])), 2)
    answers = [*(system.call(request) for request in (again, other, stale_change, early)), *results]
    assert [refusal_in(answer) for answer in answers] == [
        taken_order(order.id),
        reused(first.request_id),
        stale(order.id, 1),
        forbidden(order.id, PLACED, SHIPPED),
        taken_order(order.id),
        reused(first.request_id),
    ]


@pytest.mark.cites("implement.md", "the id as it is kept: a UUID in lower case, however the request spelled it")
@pytest.mark.judges(PRODUCT)
def test_ids_in_details_of_the_product_service_stand_in_lower_case(system: SystemUnderTest) -> None:
    """Of an order that there is not, and of a request_id that is used, alone and in a batch."""
    cancelling = CancelOrderRequest(request_id=new_id(), order_id=with_letters().upper())
    assert refusal_in(system.call(cancelling)) == unknown_order(cancelling.order_id.lower())
    product = system.new_product()
    first, other = placing({product: 1}), placing({product: 2})
    first.request_id = with_letters()
    other.request_id = first.request_id.upper()
    system.ok(first)
    (result,) = of_each(system.call(BatchPlaceOrdersRequest(requests=[other])), 1)
    refusals = [refusal_in(answer) for answer in (system.call(other), result)]
    assert refusals == [reused(first.request_id)] * 2


@pytest.mark.cites("order_service.proto", "are read in lower case, as they are kept, answered and published")
@pytest.mark.judges(ORDER)
def test_an_order_is_found_by_either_spelling_of_its_id(system: SystemUnderTest) -> None:
    """Created and asked for in upper case, it is answered in lower case."""
    request, order_id = creating(), with_letters()
    request.order_id = order_id.upper()
    created = system.ok(request).order
    assert created.id == order_id
    for spelling in (order_id, order_id.upper()):
        assert system.order(spelling) == created
