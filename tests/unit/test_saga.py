"""The rules of sagas: their states, what a result means, what an order shows."""

import pytest
from google.type.money_pb2 import Money

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest, UpdateOrderRequest
from ordersys.contract.errors import StatusError, order_already_exists, order_not_found, status_error
from ordersys.order_service import lifecycle
from ordersys.product_service.saga import (
    TRANSITIONS,
    Input,
    Kind,
    OutcomeUnknown,
    Result,
    Saga,
    State,
    Step,
    in_doubt,
    input_of,
    reserved_after,
    verdict,
)
from tests.integration.api import new_id

NOW = 1_790_000_000_000_000
PRICE = Money(currency_code="EUR", units=5)


def creation(units: int = 2) -> CreateOrderRequest:
    request = CreateOrderRequest(order_id=new_id(), customer_id="anna")
    request.items.add(product_id="lamp", quantity=units, unit_price=PRICE)
    return request


def update(
    order: Order, state: "OrderState.ValueType" = OrderState.ORDER_STATE_UNSPECIFIED, units: int = 0
) -> UpdateOrderRequest:
    request = UpdateOrderRequest(order_id=order.id, expected_version=order.version)
    if units:
        request.items.items.add(product_id="lamp", quantity=units, unit_price=PRICE)
    elif state is not None:
        request.state = state
    return request


REFUSED = order_not_found("x")


def test_a_saga_that_has_ended_stays_ended_and_one_that_is_pending_ends_by_a_final_word_alone() -> None:
    """Stock is released or kept for good only where the contract's word is final, whatever answer comes."""
    for (state, input_), transition in TRANSITIONS.items():
        assert (transition.next is State.ENDED) or state is not State.ENDED
        ends = state is State.PENDING and transition.next is not State.PENDING
        assert ends == (state is State.PENDING and input_ is not Input.UNKNOWN)
        assert (transition.step is Step.IGNORE) == (state is State.ENDED)
        assert (transition.step is Step.COMPENSATE) == ((state, input_) == (State.PENDING, Input.REFUSED))
    assert {step for step, _ in TRANSITIONS.values()} == set(Step)
    assert {input_ for _, input_ in TRANSITIONS} == set(Input)


@pytest.mark.parametrize(
    ("result", "meaning"),
    [
        (b"order", Input.MADE),
        (REFUSED, Input.REFUSED),
        (in_doubt(), Input.UNKNOWN),
        (ValueError("a bug"), Input.UNKNOWN),
    ],
    ids=["bytes", "refused", "in doubt", "unforeseen"],
)
def test_only_a_final_refusal_is_a_refusal(result: Result, meaning: Input) -> None:
    """A bug leaves a saga pending, as silence does."""
    assert input_of(result) is meaning


def test_a_saga_is_told_by_its_order_request() -> None:
    """Its kind, its order, its id."""
    placed = creation()
    placed.request_id = placed.order_id
    assert Saga("r", placed, {}, "").kind is Kind.PLACE_ORDER
    changed = UpdateOrderRequest(order_id=placed.order_id, request_id=new_id())
    saga = Saga("r", changed, {}, "")
    assert (saga.kind, saga.order_id, saga.saga_id) == (Kind.CHANGE_ORDER, placed.order_id, changed.request_id)


def test_what_an_order_holds_follows_from_what_was_asked_for() -> None:
    """Its items; nothing when it is cancelled; what it held when another state is all that changed."""
    placed = lifecycle.place(creation(), NOW)
    assert reserved_after(creation(3), {"lamp": 3}) == {"lamp": 3}
    assert reserved_after(update(placed, units=4), {"lamp": 9}) == {"lamp": 4}
    assert reserved_after(update(placed, OrderState.ORDER_STATE_CANCELLED), {"lamp": 2}) == {}
    assert reserved_after(update(placed, OrderState.ORDER_STATE_PAID), {"lamp": 2}) == {"lamp": 2}


def test_an_order_shows_its_creation_as_it_was_created() -> None:
    """Under the id chosen for it, for its customer; changed or not."""
    asked = creation()
    placed = lifecycle.place(asked, NOW)
    cancelled = lifecycle.change(placed, UpdateOrderRequest(state=OrderState.ORDER_STATE_CANCELLED), NOW + 1)
    refusal = order_already_exists(asked.order_id)
    assert verdict(asked, placed, refusal) == placed
    assert verdict(asked, cancelled, refusal) == placed
    assert verdict(asked, lifecycle.place(creation(7), NOW), refusal) is refusal
    placed.customer_id = "bert"
    assert verdict(asked, placed, refusal) is refusal
    assert verdict(asked, None, REFUSED) is REFUSED
    assert isinstance(verdict(asked, None, refusal), OutcomeUnknown)


def test_a_change_is_shown_by_a_later_version_with_its_effect() -> None:
    """Not by the version it was to change, not by another effect, and not by no order."""
    placed = lifecycle.place(creation(), NOW)
    pays, reduces = update(placed, OrderState.ORDER_STATE_PAID), update(placed, units=1)
    paid, reduced = lifecycle.change(placed, pays, NOW), lifecycle.change(placed, reduces, NOW)
    cancelled = lifecycle.change(placed, UpdateOrderRequest(state=OrderState.ORDER_STATE_CANCELLED), NOW)
    refused = status_error(ErrorReason.VERSION_MISMATCH)
    assert isinstance(refused, StatusError)
    for change, order, shown in (
        (pays, placed, False),
        (pays, paid, True),
        (pays, cancelled, False),
        (pays, None, False),
        (reduces, reduced, True),
        (reduces, paid, False),
    ):
        assert verdict(change, order, refused) is (order if shown else refused)
