"""Events as sentences for people. Pure."""

from google.type.money_pb2 import Money

from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderRejected, OrderUpdated
from ordersys.api.order.v1.order_pb2 import OrderState


def created(event: OrderCreated) -> str:
    """Order … of …: 3 units of 2 products for 59.97 EUR."""
    order = event.order
    units = sum(item.quantity for item in order.items)
    return (
        f"order {order.id} of {order.customer_id} was placed:"
        f" {units} units of {len(order.items)} products for {money(order.total)}"
    )


def updated(event: OrderUpdated) -> str:
    """Order … is now paid, or has new items."""
    order = event.order
    if event.previous_state != order.state:
        return f"order {order.id} is now {state(order.state)} (was {state(event.previous_state)})"
    return f"order {order.id} changed ({', '.join(event.changed_fields)}): now {money(order.total)}"


def rejected(event: OrderRejected) -> str:
    """The order … wanted was refused: 5 of … asked, 3 available."""
    short = ", ".join(f"{s.asked} of {s.product_id} asked, {s.available} available" for s in event.shortages)
    return f"an order of {event.customer_id} was refused for want of stock: {short}"


def money(amount: Money) -> str:
    """59.97 EUR; more places only where they count."""
    places = f"{amount.nanos:09d}".rstrip("0").ljust(2, "0")
    return f"{amount.units}.{places} {amount.currency_code}"


def state(value: OrderState.ValueType) -> str:
    """ORDER_STATE_PAID -> paid."""
    return OrderState.Name(value).removeprefix("ORDER_STATE_").lower()
