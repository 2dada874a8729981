"""Page tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersys.api.order.v1.order_pb2 import OrderState
from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest
from ordersys.contract import pages
from ordersys.contract.errors import Refused, reason_of


@given(st.text(min_size=1, max_size=80))
def test_a_token_brings_back_its_key(key: str) -> None:
    """What was given out for a query is understood with it, whatever the page size."""
    token = pages.token(ListOrdersRequest(customer_id="anna"), key)
    assert pages.last_key(ListOrdersRequest(customer_id="anna", page_size=7, page_token=token)) == key


@given(st.text(min_size=1, max_size=256))
def test_a_foreign_token_is_refused(token: str) -> None:
    """Whatever else stands in page_token is INVALID_ARGUMENT."""
    with pytest.raises(Refused) as refused:
        pages.last_key(ListOrdersRequest(page_token=token))
    assert reason_of(refused.value.status) == "PAGE_TOKEN_INVALID"


def test_a_token_of_another_query_is_refused() -> None:
    """A token is bound to its filters."""
    token = pages.token(ListOrdersRequest(state=OrderState.ORDER_STATE_PAID), "5")
    with pytest.raises(Refused):
        pages.last_key(ListOrdersRequest(state=OrderState.ORDER_STATE_PLACED, page_token=token))


@pytest.mark.parametrize(("asked", "size"), [(0, 50), (1, 1), (500, 500), (501, 500), (2**31 - 1, 500)])
def test_a_page_size_is_defaulted_and_lowered(asked: int, size: int) -> None:
    """0 is the default of 50; more than 500 is lowered to 500."""
    assert pages.size(ListOrdersRequest(page_size=asked)) == size
