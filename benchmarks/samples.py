"""The orders and events that are measured with: two products an order, some 250 bytes an event."""

import random
import uuid
from collections.abc import Iterator, Sequence

from google.type.money_pb2 import Money

from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.api.order.v1.order_pb2 import Order, OrderItem, OrderState
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import ItemQuantity, PlaceOrderRequest
from ordersys.contract.events import EventMessage
from ordersys.contract.times import timestamp
from ordersys.contract.topology import publication
from ordersys.runtime.base.ids import now, traceparent, uuid7

AMPLE = 10**9  # units of each product: more than any run sells
TO = publication(OrderCreated.DESCRIPTOR)
PRICE = Money(currency_code="EUR", units=19, nanos=990_000_000)
_TOTAL = Money(currency_code="EUR", units=59, nanos=970_000_000)


def product_id(number: int) -> str:
    """The id of a product by its number, from 0."""
    return f"product-{number:06d}"


def products(count: int) -> Iterator[Product]:
    """A catalogue that is never sold out."""
    for number in range(count):
        name = f"Product {number}"
        yield Product(id=product_id(number), name=name, description=name, unit_price=PRICE, available=AMPLE)


def place_order(catalogue: int) -> PlaceOrderRequest:
    """A new request for two random products of a catalogue."""
    first, second = random.sample(range(catalogue), 2)
    return PlaceOrderRequest(
        request_id=str(uuid.uuid4()),
        customer_id=f"customer-{random.randrange(1000)}",
        items=[
            ItemQuantity(product_id=product_id(first), quantity=1),
            ItemQuantity(product_id=product_id(second), quantity=2),
        ],
    )


def order(order_id: str, time: int) -> Order:
    """A placed order. `time` in microseconds since 1970."""
    return Order(
        id=order_id,
        customer_id="customer-1",
        items=[
            OrderItem(product_id=product_id(0), quantity=1, unit_price=PRICE),
            OrderItem(product_id=product_id(1), quantity=2, unit_price=PRICE),
        ],
        total=_TOTAL,
        state=OrderState.ORDER_STATE_PLACED,
        version=1,
        create_time=timestamp(time),
        update_time=timestamp(time),
    )


def created(order_id: str) -> EventMessage:
    """The event of an order that was just placed."""
    time = now()
    event = OrderCreated(order=order(order_id, time))
    return EventMessage(
        f"{order_id}.1",
        event.DESCRIPTOR.full_name,
        TO.publisher,
        order_id,
        time,
        traceparent(),
        event.SerializeToString(),
    )


def events(count: int) -> Sequence[EventMessage]:
    """`count` events, each about an order of its own."""
    return [created(uuid7()) for _ in range(count)]
