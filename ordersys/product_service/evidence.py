"""Evidence in an order of a request whose reply was lost and whose request_id may have been forgotten. Pure.

Retention never decides an outcome: what the order shows does.
"""

from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest, UpdateOrderRequest
from ordersys.contract.money import total


def is_own(creation: CreateOrderRequest, order: Order) -> bool:
    """Whether `order`, which has the id chosen for `creation`, is the order that was asked for.

    Nobody else knows the id before the order exists. At version 1 its items must be those asked for as well.
    """
    same_items = order.version > 1 or list(order.items) == list(creation.items)
    return order.customer_id == creation.customer_id and same_items


def first_version(creation: CreateOrderRequest, order: Order) -> Order:
    """The order as it was created: what the lost reply said, also when it has changed since."""
    if order.version == 1:
        return order
    return Order(
        id=order.id,
        customer_id=order.customer_id,
        items=creation.items,
        total=total(creation.items),
        state=OrderState.ORDER_STATE_PLACED,
        version=1,
        create_time=order.create_time,
        update_time=order.create_time,
    )


def shows(change: UpdateOrderRequest, order: Order) -> bool:
    """Whether `order` is as `change`, which was pinned to one version, would have made it, at a later version."""
    if order.version <= change.expected_version:
        return False
    if change.WhichOneof("change") == "items":
        return list(order.items) == list(change.items.items)
    return order.state == change.state
