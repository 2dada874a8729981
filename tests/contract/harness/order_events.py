"""Events of orders, as the event tap receives them."""

import re
from datetime import datetime
from typing import Any

import pika

from ordersys.api.order.v1.order_pb2 import Order
from ordersys.contract.topology import publication
from tests.contract.harness.event_tap import EventTap, Received
from tests.contract.harness.system_under_test import SystemUnderTest

FANOUT, TOPIC = "orders.created", "orders.events"


def settle(system: SystemUnderTest, event_tap: EventTap, *orders: Order) -> None:
    """Returns when these orders were heard of, up to their versions, and what came after them as well.

    What is not heard by then was not published, or so late that nobody could tell.
    """
    for order in (*orders, system.create()):
        event_tap.wait(lambda order=order: up_to(event_tap, order.id, order.version), system.patience)  # type: ignore[misc]
        event_tap.wait(lambda order=order: event_tap.received(order.id, FANOUT), system.patience)  # type: ignore[misc]


def the_one(received: list[Received]) -> Any:
    """The event of the only message heard."""
    assert len(received) == 1, received
    assert received[0].event is not None
    return received[0].event.message


def up_to(event_tap: EventTap, order_id: str, version: int) -> list[Received] | None:
    received = event_tap.received(order_id, TOPIC)
    return received if len(received) >= version else None


def assert_properties(received: Received, order_id: str, time: int) -> None:
    """`time` is that of the event, in microseconds since 1970."""
    event, properties = received.event, received.properties
    assert event is not None
    stated = publication(event.message.DESCRIPTOR)
    assert properties.content_type == "application/protobuf"
    assert properties.delivery_mode == pika.DeliveryMode.Persistent.value
    assert properties.type == event.message.DESCRIPTOR.full_name
    assert properties.message_id
    assert properties.timestamp == time // 1_000_000
    headers = properties.headers
    assert headers["cloudEvents:specversion"] == "1.0"
    assert headers["cloudEvents:source"] == stated.publisher
    assert headers["cloudEvents:subject"] == order_id
    assert round(datetime.fromisoformat(headers["cloudEvents:time"]).timestamp() * 1_000_000) == time
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", headers["traceparent"])
    assert received.routing_key == stated.routing_key


def wait_for_events(system: SystemUnderTest) -> None:
    """Returns when everything published before has been heard: events of one service come in order."""
    event_tap = system.event_tap
    assert event_tap is not None
    mark = system.create().id
    event_tap.wait(lambda: event_tap.received(mark), system.patience)
