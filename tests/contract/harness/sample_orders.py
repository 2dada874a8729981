"""Sample orders, made without a service: for the fake Order Service and for injected events."""

from collections.abc import Iterable, Mapping

from ordersys.api.order.v1.order_pb2 import Order, OrderItem, OrderState
from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest, UpdateOrderRequest
from ordersys.contract.errors import state_not_allowed
from tests.contract.harness.expected_total import total
from tests.contract.harness.model import FOLLOWS
from tests.contract.harness.system_under_test import new_id, priced


def created(request: CreateOrderRequest) -> Order:
    """The order a request asks for, at version 1, now."""
    order = Order(
        id=request.order_id,
        customer_id=request.customer_id,
        items=request.items,
        total=total(request.items),
        state=OrderState.ORDER_STATE_PLACED,
        version=1,
    )
    order.create_time.GetCurrentTime()
    order.update_time.CopyFrom(order.create_time)
    return order


def change(order: Order, request: UpdateOrderRequest) -> None:
    """Makes a change, in place. Raises StatusError (STATE_NOT_ALLOWED)."""
    if request.WhichOneof("change") == "items":
        _replace_items(order, request.items.items)
    else:
        _advance(order, request.state)
    order.version += 1
    order.update_time.GetCurrentTime()


def _replace_items(order: Order, items: Iterable[OrderItem]) -> None:
    if order.state != OrderState.ORDER_STATE_PLACED:
        raise state_not_allowed(order.id, order.state, order.state)
    del order.items[:]
    order.items.extend(items)
    order.total.CopyFrom(total(order.items))


def _advance(order: Order, state: "OrderState.ValueType") -> None:
    if state not in FOLLOWS[order.state]:
        raise state_not_allowed(order.id, order.state, state)
    order.state = state


def sample_order(version: int = 1, wanted: Mapping[str, int] | None = None) -> Order:
    """An order nobody has placed."""
    order = created(
        CreateOrderRequest(order_id=new_id(), customer_id="anna", items=priced(wanted or {"lamp": 2})),
    )
    order.version = version
    return order
