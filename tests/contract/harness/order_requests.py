"""Requests to the Order Service about orders there are, and orders that have come somewhere by them."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from ordersys.api.order.v1.order_pb2 import Order, OrderItem, OrderState
from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest, OrderItems, UpdateOrderRequest
from tests.contract.harness.client import ORDER
from tests.contract.harness.system_under_test import SystemUnderTest, new_id, priced

State: TypeAlias = "OrderState.ValueType"
PLACED, PAID, SHIPPED, DELIVERED, CANCELLED = (
    OrderState.ORDER_STATE_PLACED,
    OrderState.ORDER_STATE_PAID,
    OrderState.ORDER_STATE_SHIPPED,
    OrderState.ORDER_STATE_DELIVERED,
    OrderState.ORDER_STATE_CANCELLED,
)
WAYS: Mapping[State, tuple[State, ...]] = {
    PLACED: (),
    PAID: (PAID,),
    SHIPPED: (PAID, SHIPPED),
    DELIVERED: (PAID, SHIPPED, DELIVERED),
    CANCELLED: (CANCELLED,),
}
"""The steps that lead to each state, from PLACED on."""


def replacing(order: Order, items: Iterable[OrderItem], expected: int | None = None) -> UpdateOrderRequest:
    """A request for these items."""
    return UpdateOrderRequest(
        request_id=new_id(), order_id=order.id, items=OrderItems(items=items), expected_version=expected
    )


def changing(order: Order, wanted: Mapping[str, int], expected: int | None = None) -> UpdateOrderRequest:
    """A request for so many units of these products."""
    return replacing(order, priced(wanted), expected)


def moving(order: Order, state: State, expected: int | None = None) -> UpdateOrderRequest:
    """A request for another state."""
    return UpdateOrderRequest(request_id=new_id(), order_id=order.id, state=state, expected_version=expected)


def updated(system: SystemUnderTest, request: UpdateOrderRequest) -> Order:
    """The order after a change that has to succeed."""
    order: Order = system.ok(request, ORDER).order
    return order


def in_state(system: SystemUnderTest, order: Order, state: State) -> Order:
    """A PLACED order moved into a state."""
    for step in WAYS[state]:
        order = updated(system, moving(order, step))
    return order


def fits(query: ListOrdersRequest, order: Order) -> bool:
    """True for an order that a list asks for."""
    return query.customer_id in ("", order.customer_id) and query.state in (0, order.state)
