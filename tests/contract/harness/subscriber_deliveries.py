"""Deliveries to a subscriber, and what it records of them."""

from typing import Any

from ordersys.api.notification.v1.notification_log_pb2 import Notification
from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.api.order.v1.order_pb2 import Order
from tests.contract.harness.injector import Injector
from tests.contract.harness.sample_orders import sample_order
from tests.contract.harness.system_under_test import SystemUnderTest

TOO_LARGE = 524_288
UNKNOWN = b"\xfa\x3e"
"""The tag of a field that no event has: number 1007, with a length."""


def created(order: Order) -> OrderCreated:
    """The event of a creation."""
    return OrderCreated(order=order)


def padded(event: OrderCreated, size: int) -> bytes:
    """An event with an unknown field, `size` bytes large; a length of three bytes is before its content."""
    body = event.SerializeToString() + UNKNOWN
    left = size - len(body) - 3
    return body + bytes([left & 0x7F | 0x80, left >> 7 & 0x7F | 0x80, left >> 14]) + b"x" * left


def recorded(system: SystemUnderTest, role: str, order_id: str, count: int = 1) -> list[Notification]:
    """The notifications recorded of an order, as soon as there are so many."""

    def look() -> list[Notification] | None:
        records = system.notifications(role, order_id)
        return records if len(records) >= count else None

    return system.eventually(look)


def fence(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """Returns when everything delivered before has been dealt with: a queue is first in, first out."""
    last = sample_order()
    injector.deliver(role, created(last))
    recorded(system, role, last.id)


NO_EVENTS: dict[str, dict[str, Any]] = {
    "garbage": {"body": b"\xff\xff\xff"},
    "an empty body": {"body": b""},
    "too large": {"body": created(sample_order()).SerializeToString() + b"\x7a\x80\x80\x20" + b"x" * TOO_LARGE},
    "another content type": {"content_type": "application/json"},
    "no content type": {"content_type": None},
    "no id": {"message_id": None},
    "an id that is not text": {"message_id": b"\xff\xfe"},
    "no type": {"type": None},
    "a type that is not text": {"type": b"\xff\xfe"},
    "an unknown type": {"type": "ordersys.api.order.v1.OrderVanished"},
    "a type that is no event": {"type": "ordersys.api.order.v1.Order"},
    "nested too deep": {"body": created(sample_order()).SerializeToString() + b"\xfb\x3e" * 1000},
}


def shown(text: str | bytes | None) -> str:
    """A property as a dead letter is listed with it."""
    return text.decode(errors="replace") if isinstance(text, bytes) else text or ""
