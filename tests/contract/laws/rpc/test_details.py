"""Laws of the details of a refusal: how what varies in them is spelled."""

import pytest
from google.rpc.error_details_pb2 import ErrorInfo, ResourceInfo

from ordersys.api.order.v1.order_service_pb2 import GetOrderRequest
from tests.contract.harness.client import ORDER
from tests.contract.harness.system_under_test import SystemUnderTest, creating, new_id

pytestmark = pytest.mark.judges(ORDER)
LETTERS = "abcdef"


def with_letters() -> str:
    """A UUID that is another text in upper case."""
    return LETTERS + new_id()[len(LETTERS) :]


@pytest.mark.cites("implement.md", "the id as it is kept: a UUID in lower case, however the request spelled it")
@pytest.mark.cites("implement.md", "`ResourceInfo.resource_name` | the id alone, as in the metadata")
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


@pytest.mark.cites("order_service.proto", "are read in lower case, as they are kept, answered and published")
def test_an_order_is_found_by_either_spelling_of_its_id(system: SystemUnderTest) -> None:
    """Created and asked for in upper case, it is answered in lower case."""
    request, order_id = creating(), with_letters()
    request.order_id = order_id.upper()
    created = system.ok(request).order
    assert created.id == order_id
    for spelling in (order_id, order_id.upper()):
        assert system.order(spelling) == created
