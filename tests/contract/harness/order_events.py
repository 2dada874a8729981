"""Events of orders, as the event tap receives them."""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import pika

from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.contract.times import microseconds
from ordersys.contract.topology import publication, topology
from tests.contract.harness.event_tap import EventTap, Received
from tests.contract.harness.injector import Injector
from tests.contract.harness.normal_form import copy
from tests.contract.harness.order_model import Told, differences
from tests.contract.harness.sample_orders import sample_order
from tests.contract.harness.system_under_test import SystemUnderTest
from tests.contract.harness.traces import trace_id

FANOUT, TOPIC = "orders.created", "orders.events"


def settle(system: SystemUnderTest, event_tap: EventTap, *orders: Order) -> None:
    """Returns when these orders were heard of, up to their versions, and what came after them as well.

    What is not heard by then was not published, or so late that nobody could tell.
    """
    for order in (*orders, system.create()):
        event_tap.wait(lambda order=order: up_to(event_tap, order.id, order.version), system.patience)  # type: ignore[misc]
        event_tap.wait(lambda order=order: event_tap.received(order.id, FANOUT), system.patience)  # type: ignore[misc]


def settled(system: SystemUnderTest, event_tap: EventTap, orders: Collection[Order]) -> Mapping[str, list[Received]]:
    """The messages about each of these orders once all their versions were heard, and those of a later order."""
    awaited = [*orders, system.create()]

    def complete() -> Mapping[str, list[Received]] | None:
        heard = by_order(event_tap)
        missing = [order for order in awaited if not _is_complete(heard[order.id], order.version)]
        return None if missing else heard

    return event_tap.wait(complete, system.patience)


def by_order(event_tap: EventTap) -> Mapping[str, list[Received]]:
    """All events heard, by order, as they came."""
    heard: defaultdict[str, list[Received]] = defaultdict(list)
    for message in event_tap.everything():
        if message.event:
            heard[message.event.order_id].append(message)
    return heard


def assert_tells(received: Sequence[Received], events: Sequence[Told]) -> None:
    """These messages are the events of one order: each once and in order, the creation on both exchanges."""
    of_topic = [message for message in received if message.exchange == TOPIC]
    of_fanout = [message for message in received if message.exchange == FANOUT]
    assert len(of_topic) == len(events), f"versions heard: {[m.event.version for m in of_topic if m.event]}"
    assert len(of_fanout) == 1, (
        f"versions heard of the fanout exchange: {[m.event.version for m in of_fanout if m.event]}"
    )
    for message, event in zip([*of_fanout, *of_topic], [events[0], *events], strict=True):
        assert_event(message, event)


def assert_event(received: Received, told: Told) -> None:
    """This message is that event: every field, every property, and its trace."""
    assert received.event is not None
    assert received.event.message.DESCRIPTOR is told.message.DESCRIPTOR
    assert differences(sorted_names(received.event.message), sorted_names(told.message)) == {}
    assert_properties(received, told.message.order.id, microseconds(told.message.order.update_time))
    trace = trace_id(received.properties.headers["traceparent"])
    assert told.trace in ("", trace), f"of the trace {trace}, and not of the call's, {told.trace}"


def sorted_names(event: Any) -> Any:
    """The event with its changed_fields in an order that is not promised."""
    plain = copy(event)
    if "changed_fields" in plain.DESCRIPTOR.fields_by_name:
        plain.changed_fields.sort()
    return plain


def _is_complete(received: Sequence[Received], version: int) -> bool:
    exchanges = [message.exchange for message in received]
    return exchanges.count(TOPIC) >= version and FANOUT in exchanges


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
    assert properties.message_id == f"{order_id}.{event.version}"
    assert properties.timestamp == time // 1_000_000
    headers = properties.headers
    assert headers["cloudEvents:specversion"] == "1.0"
    assert headers["cloudEvents:source"] == stated.publisher
    assert headers["cloudEvents:subject"] == order_id
    assert round(datetime.fromisoformat(headers["cloudEvents:time"]).timestamp() * 1_000_000) == time
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", headers["traceparent"])
    assert received.routing_key == stated.routing_key


def fence_exchanges(system: SystemUnderTest, event_tap: EventTap, injector: Injector) -> None:
    """Returns when everything that any exchange had before has been heard: the tap has one queue for each."""
    mark = OrderCreated(order=sample_order())
    routing_key = publication(mark.DESCRIPTOR).routing_key
    for exchange in topology().exchanges:
        injector.route(exchange.name, routing_key, mark)
        event_tap.wait(lambda name=exchange.name: event_tap.received(mark.order.id, name), system.patience)  # type: ignore[misc]


def wait_for_events(system: SystemUnderTest) -> None:
    """Returns when everything published before has been heard: events of one service come in order."""
    event_tap = system.event_tap
    assert event_tap is not None
    mark = system.create().id
    event_tap.wait(lambda: event_tap.received(mark), system.patience)
