"""The life of an order."""

from itertools import product
from typing import Any

import pytest
from google.type.money_pb2 import Money
from hypothesis import given
from hypothesis import strategies as st

from ordersys.api.order.v1.order_pb2 import Order, OrderItem, OrderState
from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest, OrderItems, UpdateOrderRequest
from ordersys.contract.errors import StatusError, reason_of
from ordersys.contract.money import total
from ordersys.contract.validation import violations
from ordersys.order_service.lifecycle import ITEMS_MAY_CHANGE, TRANSITIONS, change, changed_fields, place

ORDER_ID = "01890000-0000-7000-8000-000000000001"
NOW = 1_790_000_000_000_000
STATES = [state for state in OrderState.values() if state]


def item(product_id: str = "lamp", quantity: int = 2, units: int = 9, nanos: int = 990_000_000) -> OrderItem:
    price = Money(currency_code="EUR", units=units, nanos=nanos)
    return OrderItem(product_id=product_id, quantity=quantity, unit_price=price)


def order(state: Any = OrderState.ORDER_STATE_PLACED) -> Order:
    request = CreateOrderRequest(request_id=ORDER_ID, order_id=ORDER_ID, customer_id="anna", items=[item()])
    placed = place(request, NOW)
    placed.state = state
    return placed


def test_a_new_order_is_placed_at_version_1_and_keeps_the_rules_of_the_contract() -> None:
    """A placed order is valid, at version 1, in state PLACED, created and updated at the same time."""
    placed = order()
    assert violations(placed) == []
    assert (placed.version, placed.state) == (1, OrderState.ORDER_STATE_PLACED)
    assert placed.create_time == placed.update_time


@pytest.mark.parametrize(("start", "end"), list(product(STATES, STATES)))
def test_an_order_moves_only_along_the_life_cycle(start: Any, end: Any) -> None:
    """A transition of the table is made, with one version more; any other is refused with both states."""
    request = UpdateOrderRequest(order_id=ORDER_ID, state=end)
    if end in TRANSITIONS[start]:
        moved = change(order(start), request, NOW + 1)
        assert (moved.state, moved.version) == (end, 2)
    else:
        with pytest.raises(StatusError) as refused:
            change(order(start), request, NOW + 1)
        assert reason_of(refused.value.status) == "STATE_NOT_ALLOWED"


def test_the_table_is_the_life_cycle_of_the_contract() -> None:
    """PLACED → PAID → SHIPPED → DELIVERED, CANCELLED from PLACED and PAID."""
    names = {OrderState.Name(a)[12:]: {OrderState.Name(b)[12:] for b in bs} for a, bs in TRANSITIONS.items()}
    assert names == {
        "PLACED": {"PAID", "CANCELLED"},
        "PAID": {"SHIPPED", "CANCELLED"},
        "SHIPPED": {"DELIVERED"},
        "DELIVERED": set(),
        "CANCELLED": set(),
    }


@pytest.mark.parametrize("state", STATES)
def test_items_change_only_while_placed(state: Any) -> None:
    """New items are taken while PLACED and refused in every other state."""
    request = UpdateOrderRequest(order_id=ORDER_ID, items=OrderItems(items=[item("chair", 1)]))
    if state in ITEMS_MAY_CHANGE:
        changed = change(order(state), request, NOW + 1)
        assert changed_fields(order(state), changed) == ["items", "total"]
    else:
        with pytest.raises(StatusError, match="state of the order"):
            change(order(state), request, NOW + 1)


def test_equal_items_are_no_change() -> None:
    """An update to what the order is already leaves version and time as they are."""
    request = UpdateOrderRequest(order_id=ORDER_ID, items=OrderItems(items=[item()]))
    assert change(order(), request, NOW + 1) == order()


def test_a_stale_version_is_refused_with_the_current_one() -> None:
    """expected_version other than the order's is ABORTED and tells the current version."""
    request = UpdateOrderRequest(order_id=ORDER_ID, state=OrderState.ORDER_STATE_PAID, expected_version=7)
    with pytest.raises(StatusError) as refused:
        change(order(), request, NOW)
    assert reason_of(refused.value.status) == "VERSION_MISMATCH"
    assert b"current_version" in refused.value.status.SerializeToString()


def test_time_never_runs_backwards_within_an_order() -> None:
    """A change made under a clock that was set back keeps the update time of the version before."""
    request = UpdateOrderRequest(order_id=ORDER_ID, state=OrderState.ORDER_STATE_PAID)
    assert change(order(), request, NOW - 5_000_000).update_time == order().update_time


@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 999_999), st.integers(0, 999_999_999)), max_size=50))
def test_a_total_is_exact(lines: list[tuple[int, int, int]]) -> None:
    """The total is the sum of quantity × price to the nano, normalised."""
    money = total(item("p", quantity, units, nanos) for quantity, units, nanos in lines)
    assert money.units * 10**9 + money.nanos == sum(q * (u * 10**9 + n) for q, u, n in lines)
    assert 0 <= money.nanos < 10**9
