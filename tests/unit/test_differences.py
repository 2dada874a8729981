"""Fields in which two messages differ are named by their path, with both values."""

import pytest
from grpc import StatusCode

from ordersys.api.order.v1.order_pb2 import Order, OrderItem, OrderState
from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest, ListOrdersResponse, UpdateOrderRequest
from tests.contract.harness.differences import assert_same_fields, differences, explained
from tests.contract.harness.sample_orders import sample_order


def changed(**fields: object) -> tuple[Order, Order]:
    """An order, and a copy with other fields."""
    order = sample_order(wanted={"chair": 1, "lamp": 2})
    other = Order()
    other.CopyFrom(order)
    for name, value in fields.items():
        setattr(other, name, value)
    return order, other


def said(left: object, right: object) -> list[str]:
    """The differences as they are shown."""
    return [str(difference) for difference in differences(left, right)]


def test_a_field_is_named_with_both_values() -> None:
    """Enums by their names, text in quotes."""
    left, right = changed(version=3, state=OrderState.ORDER_STATE_PAID, customer_id="ben")
    assert said(left, right) == [
        "customer_id: 'anna' != 'ben'",
        "state: ORDER_STATE_PLACED != ORDER_STATE_PAID",
        "version: 1 != 3",
    ]


def test_a_field_deep_inside_is_named_by_its_path() -> None:
    """In a list, in a message of a list."""
    left, right = changed()
    right.items[1].quantity = 5
    right.total.nanos = 7
    assert said([left], [right]) == ["[0].items[1].quantity: 2 != 5", f"[0].total.nanos: {left.total.nanos} != 7"]


def test_what_is_on_one_side_only_is_not_there_on_the_other() -> None:
    """An entry, a message, a field with presence."""
    left, right = changed()
    right.items.append(OrderItem(product_id="vase"))
    right.ClearField("total")
    missing = said(left, right)
    assert missing[0] == 'items[2]: not there != {product_id: "vase"}'
    assert missing[1].startswith("total: {currency_code")
    assert missing[1].endswith("!= not there")
    expecting = UpdateOrderRequest(expected_version=0)
    assert said(expecting, UpdateOrderRequest()) == ["expected_version: 0 != not there"]


def test_long_values_are_cut_to_the_part_that_differs() -> None:
    """With some of what stands before it."""
    left, right = (ListOrdersRequest(page_token="x" * 200 + end + "y" * 200) for end in ("a", "b"))
    (line,) = said(left, right)
    assert len(line) < 200
    assert "xxxxay" in line
    assert "xxxxby" in line


def test_one_text_that_begins_with_the_other_differs_at_its_end() -> None:
    """Nothing is shown as equal."""
    short, long = (ListOrdersRequest(page_token="x" * size) for size in (100, 103))
    left, right = said(short, long)[0].removeprefix("page_token: ").split(" != ")
    assert left != right


def test_unknown_fields_are_told_by_their_size() -> None:
    """They have no name."""
    left, right = Order(), Order.FromString(b"\xfa\x7f\x01x")
    assert said(left, right) == ["Order (unknown fields): 0 bytes != 4 bytes"]


def test_equal_values_differ_nowhere() -> None:
    """Nor do lists of them."""
    left, right = changed()
    assert said([left, "x"], [right, "x"]) == []
    assert explained(left, right) is None


def test_statuses_are_shown_by_name() -> None:
    """A pair of code and reason, as laws compare them."""
    lines = explained((StatusCode.OK, ""), (StatusCode.NOT_FOUND, "ORDER_NOT_FOUND"))
    assert lines == [
        "2 places differ (answered != expected):",
        "[0]: OK != NOT_FOUND",
        "[1]: OK != 'ORDER_NOT_FOUND'",
    ]


def test_many_differences_are_counted() -> None:
    """The first ones are shown."""
    left = ListOrdersResponse(orders=[sample_order() for _ in range(30)])
    lines = explained(left, ListOrdersResponse())
    assert lines is not None
    assert lines[0] == "30 places differ (answered != expected):"
    assert lines[-1] == "… and 18 more"


def test_what_holds_no_message_is_explained_like_what_does() -> None:
    """Numbers, texts, what is said by name, and what is in no order."""
    assert explained([1, 2], [1, 3]) == ["1 place differs (answered != expected):", "[1]: 2 != 3"]
    assert said("a", "b") == ["the value: 'a' != 'b'"]
    assert said({"type": "a", "id": 1}, {"type": "b", "id": 1}) == ["type: 'a' != 'b'"]
    assert said({"a"}, {"b"}) == ["the value: 'a' != not there", "the value: not there != 'b'"]
    assert said("", "VERSION_MISMATCH") == ["the value: OK != 'VERSION_MISMATCH'"]


def test_fields_that_the_contract_does_not_have_may_be_there() -> None:
    """Those it has are compared, enums by their names."""
    left, right = changed(state=OrderState.ORDER_STATE_PAID)
    with pytest.raises(AssertionError, match="state: ORDER_STATE_PLACED != ORDER_STATE_PAID"):
        assert_same_fields(left, right)
    right.CopyFrom(left)
    right.MergeFromString(b"\xfa\x7f\x01x")
    assert left != right
    assert_same_fields(right, left)
