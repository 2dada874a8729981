"""The life of an order: what it is at first, what may change when, what it becomes. Pure."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from ordersys.api.order.v1.order_pb2 import Order, OrderItem, OrderState
from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest, UpdateOrderRequest
from ordersys.contract.errors import state_not_allowed, version_mismatch
from ordersys.contract.money import total
from ordersys.contract.times import microseconds, timestamp

State: TypeAlias = "OrderState.ValueType"

TRANSITIONS: Mapping[State, frozenset[State]] = {
    OrderState.ORDER_STATE_PLACED: frozenset({OrderState.ORDER_STATE_PAID, OrderState.ORDER_STATE_CANCELLED}),
    OrderState.ORDER_STATE_PAID: frozenset({OrderState.ORDER_STATE_SHIPPED, OrderState.ORDER_STATE_CANCELLED}),
    OrderState.ORDER_STATE_SHIPPED: frozenset({OrderState.ORDER_STATE_DELIVERED}),
    OrderState.ORDER_STATE_DELIVERED: frozenset(),
    OrderState.ORDER_STATE_CANCELLED: frozenset(),
}
ITEMS_MAY_CHANGE = frozenset({OrderState.ORDER_STATE_PLACED})


def place(request: CreateOrderRequest, time: int) -> Order:
    """The order `request` asks for, at version 1. `time` in microseconds since 1970."""
    return Order(
        id=request.order_id,
        customer_id=request.customer_id,
        items=request.items,
        total=total(request.items),
        state=OrderState.ORDER_STATE_PLACED,
        version=1,
        create_time=timestamp(time),
        update_time=timestamp(time),
    )


def change(order: Order, request: UpdateOrderRequest, time: int) -> Order:
    """The order after `request`: one version more, or the same where nothing changes.

    Raises StatusError (VERSION_MISMATCH, STATE_NOT_ALLOWED).
    """
    if request.HasField("expected_version") and request.expected_version != order.version:
        raise version_mismatch(order.id, order.version)
    changed = Order()
    changed.CopyFrom(order)
    if request.WhichOneof("change") == "items":
        _replace_items(changed, request.items.items)
    else:
        _advance(changed, request.state)
    # Compared as a whole, before version and time: items that are what they were are no change.
    if changed == order:
        return order
    changed.version += 1
    # A wall clock may be set back; times of an order never go back.
    changed.update_time.CopyFrom(timestamp(max(time, microseconds(order.update_time))))
    return changed


def changed_fields(before: Order, after: Order) -> list[str]:
    """The names of the fields that differ besides version and update_time, in the order of the contract."""
    names = [f.name for f in Order.DESCRIPTOR.fields if f.name not in ("version", "update_time")]
    return [name for name in names if getattr(before, name) != getattr(after, name)]


def _replace_items(order: Order, items: Iterable[OrderItem]) -> None:
    if order.state not in ITEMS_MAY_CHANGE:
        raise state_not_allowed(order.id, order.state, order.state)
    del order.items[:]
    order.items.extend(items)
    order.total.CopyFrom(total(order.items))


def _advance(order: Order, state: State) -> None:
    if state not in TRANSITIONS[order.state]:
        raise state_not_allowed(order.id, order.state, state)
    order.state = state
