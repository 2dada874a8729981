"""The variants of requests are what they say."""

from ordersys.api.order.v1.order_pb2 import OrderState
from ordersys.api.order.v1.order_service_pb2 import OrderItems, UpdateOrderRequest
from ordersys.contract.normalisation import fingerprint, normalise
from ordersys.contract.validation import violations
from tests.contract.harness.normal_form import copy
from tests.contract.harness.system_under_test import creating, new_id, priced
from tests.contract.harness.variants import altered, spelled, spellings

CREATE = creating({"lamp": 2, "desk": 1})
ITEMS = UpdateOrderRequest(
    request_id=new_id(), order_id=new_id(), items=OrderItems(items=priced({"lamp": 2, "desk": 1})), expected_version=1
)
STATE = UpdateOrderRequest(request_id=new_id(), order_id=new_id(), state=OrderState.ORDER_STATE_PAID)


def meaning(request: object) -> bytes:
    """A fingerprint of what a request asks for."""
    plain = copy(request)
    normalise(plain)
    return fingerprint(plain)


def test_each_field_of_a_request_is_altered_in_turn() -> None:
    """Every part of what is asked, and nothing else; all of them keep the rules."""
    assert set(altered(CREATE)) == {
        "order_id", "customer_id", "items less", "items more",
        "items[0].product_id", "items[0].quantity", "items[0].unit_price.units", "items[0].unit_price.nanos",
    }  # fmt: skip
    assert {"order_id", "items.items less", "items.items[0].quantity", "state 5"} <= set(altered(ITEMS))
    assert {"expected_version", "expected_version unset"} <= set(altered(ITEMS))
    assert set(altered(STATE)) == {"order_id", "items", "state 3", "state 4", "state 5", "expected_version"}
    for request in (CREATE, ITEMS, STATE):
        for path, other in altered(request).items():
            assert meaning(other) != meaning(request), path
            assert not violations(other), path
            assert other.request_id == request.request_id


def test_what_is_spelled_in_another_way_asks_for_the_same() -> None:
    """Other bytes, and the same meaning."""
    assert set(spellings(CREATE)) == {"upper case", "order of items", "unknown fields", "trace", "all of it"}
    assert set(spellings(STATE)) == {"upper case", "unknown fields", "all of it"}
    for request in (CREATE, ITEMS, STATE):
        for way, same in spellings(request).items():
            assert same.SerializeToString() != request.SerializeToString(), way
            assert meaning(same) == meaning(request), way
            assert not violations(same), way


def test_each_spelling_has_a_number_and_so_has_the_request_as_it_is() -> None:
    """Whichever number is drawn, the request is spelled in some way; none is left out."""
    ways = {bytes(spelled(CREATE, number).SerializeToString()) for number in range(100)}
    assert ways == {bytes(way.SerializeToString()) for way in (CREATE, *spellings(CREATE).values())}
