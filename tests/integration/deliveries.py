"""Events put into the live queue of service 2, past every publisher, and what is found in its dead-letter queue."""

import uuid
from collections.abc import Callable
from typing import Any

import pika
from google.type.money_pb2 import Money
from pika.adapters.blocking_connection import BlockingChannel

from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderUpdated
from ordersys.api.order.v1.order_pb2 import Order, OrderItem, OrderState
from ordersys.contract.times import timestamp
from ordersys.contract.topology import subscriptions
from tests.integration.api import eventually

SUBSCRIPTION = {s.consumer: s for s in subscriptions()}["notification-service-2"]
CREATED = OrderCreated.DESCRIPTOR.full_name
UPDATED = OrderUpdated.DESCRIPTOR.full_name


def order(version: int = 1, customer_id: str = "anna") -> Order:
    """An order nobody has placed."""
    price = Money(currency_code="EUR", units=5)
    return Order(
        id=str(uuid.uuid4()),
        customer_id=customer_id,
        items=[OrderItem(product_id="lamp", quantity=1, unit_price=price)],
        total=price,
        state=OrderState.ORDER_STATE_PLACED,
        version=version,
        create_time=timestamp(1_790_000_000_000_000),
        update_time=timestamp(1_790_000_000_000_000),
    )


def publish(amqp: BlockingChannel, body: bytes, **changes: Any) -> str:
    """Publishes an event that is fine but for `changes`; its id."""
    fine: dict[str, Any] = {"message_id": str(uuid.uuid4()), "type": CREATED, "content_type": "application/protobuf"}
    properties = pika.BasicProperties(**{**fine, **changes})
    amqp.basic_publish("", SUBSCRIPTION.queue, body, properties, mandatory=True)
    return str(properties.message_id)


def dead_letter(amqp: BlockingChannel, fits: Callable[[Any, bytes], bool]) -> Any:
    """The dead letter that fits; the others go back."""

    def look() -> Any:
        found = None
        back = []
        while True:
            method, properties, body = amqp.basic_get(SUBSCRIPTION.dead_letter_queue)
            if method is None or method.delivery_tag is None:
                break
            if found is None and fits(properties, body or b""):
                found = (properties, body)
                amqp.basic_ack(method.delivery_tag)
            else:
                back.append(method.delivery_tag)
        for tag in back:
            amqp.basic_reject(tag, requeue=True)
        return found

    return eventually(look)
