"""Normalisation: the sense in which two requests are equal."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest
from ordersys.api.product.v1.product_service_pb2 import (
    CancelOrderRequest,
    ItemQuantities,
    ItemQuantity,
    PlaceOrderRequest,
    UpdateOrderRequest,
)
from ordersys.contract.normalisation import fingerprint, normalise

ITEMS = st.dictionaries(st.from_regex("[a-z]{1,5}", fullmatch=True), st.integers(1, 1000), min_size=1, max_size=6)


def placing(items: list[tuple[str, int]], request_id: UUID) -> PlaceOrderRequest:
    wanted = [ItemQuantity(product_id=p, quantity=n) for p, n in items]
    return PlaceOrderRequest(request_id=str(request_id), customer_id="anna", items=wanted)


def mark(request: PlaceOrderRequest | UpdateOrderRequest | CancelOrderRequest | CreateOrderRequest) -> bytes:
    normalise(request)
    return fingerprint(request)


@given(ITEMS, st.uuids(), st.uuids(), st.randoms())
def test_the_order_of_the_items_and_the_request_id_do_not_count(
    items: dict[str, int], first: UUID, other: UUID, random: object
) -> None:
    """Two requests for the same items in another order, under other ids, are equal."""
    shuffled = list(items.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert mark(placing(list(items.items()), first)) == mark(placing(shuffled, other))


@given(ITEMS, ITEMS, st.uuids())
def test_other_items_make_another_request(first: dict[str, int], other: dict[str, int], request_id: UUID) -> None:
    """Requests are equal only when their items are."""
    same = mark(placing(list(first.items()), request_id)) == mark(placing(list(other.items()), request_id))
    assert same == (first == other)


@given(st.uuids(), st.uuids())
def test_a_uuid_is_the_same_in_upper_case(request_id: UUID, order_id: UUID) -> None:
    """UUIDs are kept in lower case, whatever case they come in."""
    lower = CancelOrderRequest(request_id=str(request_id), order_id=str(order_id))
    upper = CancelOrderRequest(request_id=str(request_id).upper(), order_id=str(order_id).upper())
    assert mark(upper) == mark(lower)
    assert upper == lower


def test_the_same_fields_in_another_call_are_another_request() -> None:
    """Cancelling is not updating, though both name only an order."""
    order_id = str(UUID(int=1))
    assert mark(CancelOrderRequest(order_id=order_id)) != mark(UpdateOrderRequest(order_id=order_id))


def test_unknown_fields_do_not_count() -> None:
    """A newer client's additions change nothing for this release."""
    known = placing([("lamp", 1)], UUID(int=1))
    newer = PlaceOrderRequest.FromString(known.SerializeToString() + b"\xfa\x3e\x03new")
    assert mark(newer) == mark(known)


def test_the_trace_does_not_count() -> None:
    """A repeated call has a new trace and is the same request."""
    trace = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    assert mark(CreateOrderRequest(traceparent=trace)) == mark(CreateOrderRequest())


def test_items_are_kept_sorted_inside_nested_messages_too() -> None:
    """Normalising reaches the items of an update."""
    items = ItemQuantities(items=[ItemQuantity(product_id=p, quantity=1) for p in "ba"])
    request = UpdateOrderRequest(items=items)
    normalise(request)
    assert [item.product_id for item in request.items.items] == ["a", "b"]
