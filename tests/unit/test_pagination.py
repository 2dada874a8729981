"""Page tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest
from ordersys.contract import pagination
from ordersys.contract.errors import StatusError, reason_of


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=80))
def test_a_token_brings_back_its_key(key: str) -> None:
    """A token given out for a query is understood with it, whatever the page size."""
    token = pagination.token(ListOrdersRequest(customer_id="anna"), key)
    assert pagination.last_key(ListOrdersRequest(customer_id="anna", page_size=7, page_token=token), str) == key


@given(st.text(min_size=1, max_size=256))
def test_a_foreign_token_is_refused(token: str) -> None:
    """Any other text in page_token is INVALID_ARGUMENT."""
    with pytest.raises(StatusError) as refused:
        pagination.last_key(ListOrdersRequest(page_token=token), str)
    assert reason_of(refused.value.status) == "PAGE_TOKEN_INVALID"


def test_a_token_of_another_query_is_refused() -> None:
    """A token is bound to its filters."""
    token = pagination.token(ListOrdersRequest(state=OrderState.ORDER_STATE_PAID), "5")
    with pytest.raises(StatusError):
        pagination.last_key(ListOrdersRequest(state=OrderState.ORDER_STATE_PLACED, page_token=token), str)


@pytest.mark.parametrize(("asked", "size"), [(0, 50), (1, 1), (500, 500), (501, 500), (2**31 - 1, 500)])
def test_a_page_size_is_defaulted_and_lowered(asked: int, size: int) -> None:
    """0 is the default of 50; more than 500 is lowered to 500."""
    assert pagination.size(ListOrdersRequest(page_size=asked)) == size


def test_a_key_of_another_kind_is_refused() -> None:
    """A token somebody made up from a text where a number belongs."""
    token = pagination.token(ListOrdersRequest(), "five")
    with pytest.raises(StatusError):
        pagination.last_key(ListOrdersRequest(page_token=token), int)


CONFLICTING = [
    2**63,
    2**64,
    10**30,
    -1,
    "+5",
    "-0",
    "05",
    " 5",
    "5 ",
    "5\n",
    "1_0",
    "٥",
    "5.0",
    "5e1",
    "0x5",
    "",
    "\x005",
    "9" * 5000,
]


@pytest.mark.parametrize("key", CONFLICTING, ids=repr)
def test_a_forged_token_is_refused(key: object) -> None:
    """The digest has no key, so that anybody can make a token: one whose number no row has is PAGE_TOKEN_INVALID."""
    token = pagination.token(ListOrdersRequest(), str(key))
    with pytest.raises(StatusError) as refused:
        pagination.last_key(ListOrdersRequest(page_token=token), int)
    assert reason_of(refused.value.status) == "PAGE_TOKEN_INVALID"


@given(
    st.integers(0, 2**63 - 1), st.sampled_from(["", "=", "==", "\n", " ", "A", "+", "/", "é", "\x00"]), st.booleans()
)
def test_a_token_is_taken_to_the_letter(key: int, more: str, before: bool) -> None:
    """As it was given out, and not with padding, blanks or letters around it that base64 would skip."""
    token = pagination.token(ListOrdersRequest(), str(key))
    query = ListOrdersRequest(page_token=more + token if before else token + more)
    if not more:
        assert pagination.last_key(query, int) == key
        return
    with pytest.raises(StatusError):
        pagination.last_key(query, int)


@given(rows=st.integers(0, 9), size=st.integers(1, 8))
def test_a_page_has_as_many_as_asked_for(rows: int, size: int) -> None:
    """And a token for the next one, bound to its last entry, exactly where there is one more."""
    entries = [(number, Order(version=number)) for number in range(min(rows, size + 1))]
    query = ListOrdersRequest(page_size=size)
    page, token = pagination.fill(query, entries)
    assert page == [order for _, order in entries][:size]
    assert token == (pagination.token(query, str(size - 1)) if rows > size else "")


@pytest.mark.parametrize(("bytes_each", "fit"), [(1000, 9), (500_000, 4), (3_000_000, 1)])
def test_a_page_is_no_larger_than_a_client_takes(bytes_each: int, fit: int) -> None:
    """Fewer entries where they are large, never none."""
    entries = [(number, Order(id="x" * bytes_each)) for number in range(9)]
    page, token = pagination.fill(ListOrdersRequest(page_size=9), entries)
    assert len(page) == fit
    assert bool(token) == (fit < 9)
