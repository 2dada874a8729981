"""Events of orders, as the event tap receives them."""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pika

from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.contract.times import microseconds
from ordersys.contract.topology import event_exchanges, publication
from tests.contract.harness.differences import assert_same_fields
from tests.contract.harness.event_tap import EventTap, Received
from tests.contract.harness.injector import Injector
from tests.contract.harness.normal_form import copy
from tests.contract.harness.order_model import Told
from tests.contract.harness.sample_orders import sample_order
from tests.contract.harness.system_under_test import SystemUnderTest
from tests.contract.harness.traces import trace_id

FANOUT, TOPIC = "orders.created", "orders.events"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def settle(system: SystemUnderTest, event_tap: EventTap, *orders: Order) -> None:
    """Returns when these orders were heard of, up to their versions, and what came after them as well.

    What is not heard by then was not published, or so late that nobody could tell.
    """
    for order in (*orders, system.create()):
        await_version(system, event_tap, order)
        event_tap.wait(
            lambda order=order: event_tap.received(order.id, FANOUT),  # type: ignore[misc]
            system.patience,
            f"OrderCreated of order {order.id} on the exchange {FANOUT}",
        )


def await_version(system: SystemUnderTest, event_tap: EventTap, order: Order) -> list[Received]:
    """The messages about an order on the topic exchange, once they are as many as its versions."""
    awaited = f"{order.version} events of order {order.id} on the exchange {TOPIC}, one for each version"
    return event_tap.wait(lambda: up_to(event_tap, order.id, order.version), system.patience, awaited)


def settled(system: SystemUnderTest, event_tap: EventTap, orders: Collection[Order]) -> Mapping[str, list[Received]]:
    """The messages about each of these orders once all their versions were heard, and those of a later order."""
    awaited = [*orders, system.create()]

    def complete() -> Mapping[str, list[Received]] | None:
        heard = by_order(event_tap)
        missing = [order for order in awaited if not _is_complete(heard[order.id], order.version)]
        return None if missing else heard

    return event_tap.wait(complete, system.patience, f"the events of all versions of {len(awaited)} orders")


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


def assert_event(received: Received, expected: Told) -> None:
    """This message is that event: every field, every property, and its trace."""
    assert received.event is not None
    assert received.event.message.DESCRIPTOR is expected.message.DESCRIPTOR
    assert_same_fields(sorted_names(received.event.message), sorted_names(expected.message))
    assert_properties(received, expected.message.order.id, microseconds(expected.message.order.update_time))
    trace = trace_id(received.properties.headers["traceparent"])
    assert expected.trace in ("", trace), f"of the trace {trace}, and not of the call's, {expected.trace}"


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
    ids = [message.properties.message_id for message in received]
    assert len(received) == 1, f"heard {len(received)} times, under the ids {', '.join(map(str, ids))}"
    assert received[0].event is not None
    return received[0].event.message


def up_to(event_tap: EventTap, order_id: str, version: int) -> list[Received] | None:
    received = event_tap.received(order_id, TOPIC)
    return received if len(received) >= version else None


def assert_properties(received: Received, order_id: str, time: int) -> None:
    """`time` is that of the event, in microseconds since 1970."""
    event = received.event
    assert event is not None
    stated = publication(event.message.DESCRIPTOR)
    headers = {
        "cloudEvents:specversion": "1.0",
        "cloudEvents:source": stated.publisher,
        "cloudEvents:subject": order_id,
        "cloudEvents:time": (_EPOCH + timedelta(microseconds=time)).isoformat(timespec="microseconds"),
        "traceparent": "of version 00",
    }
    expected = {
        "routing_key": stated.routing_key,
        "content_type": "application/protobuf",
        "delivery_mode": pika.DeliveryMode.Persistent.value,
        "type": event.message.DESCRIPTOR.full_name,
        "message_id": f"{order_id}.{event.version}",
        "expiration": None,
        "timestamp": time // 1_000_000,
        **headers,
    }
    properties = received.properties
    as_published = {
        "routing_key": received.routing_key,
        "content_type": properties.content_type,
        "delivery_mode": properties.delivery_mode,
        "type": properties.type,
        "message_id": properties.message_id,
        "expiration": properties.expiration,
        "timestamp": properties.timestamp,
        **{name: value for name, value in _readable(properties.headers).items() if name in headers},
    }
    assert as_published == expected


def _readable(headers: Mapping[str, Any] | None) -> dict[str, Any]:
    """Headers with times spelled in one way, and the words for what a traceparent has to be where it is that."""
    readable = dict(headers or {})
    with suppress(KeyError, TypeError, ValueError):
        at = datetime.fromisoformat(readable["cloudEvents:time"])
        readable["cloudEvents:time"] = at.astimezone(UTC).isoformat(timespec="microseconds") if at.tzinfo else str(at)
    if re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", str(readable.get("traceparent"))):
        readable["traceparent"] = "of version 00"
    return readable


def fence_exchanges(system: SystemUnderTest, event_tap: EventTap, injector: Injector) -> None:
    """Returns when everything that any exchange had before has been heard: the tap has one queue for each."""
    mark = OrderCreated(order=sample_order())
    routing_key = publication(mark.DESCRIPTOR).routing_key
    for exchange in event_exchanges():
        injector.route(exchange.name, routing_key, mark)
        event_tap.wait(
            lambda name=exchange.name: event_tap.received(mark.order.id, name),  # type: ignore[misc]
            system.patience,
            f"an event that the suite itself has published to {exchange.name}",
        )


def wait_for_events(system: SystemUnderTest) -> None:
    """Returns when everything published before has been heard: events of one service come in order."""
    event_tap = system.event_tap
    assert event_tap is not None
    mark = system.create().id
    event_tap.wait(lambda: event_tap.received(mark), system.patience, f"any event of order {mark}, just created")


def event_ids(received: Sequence[Received]) -> set[str]:
    """The event ids heard."""
    return {message.properties.message_id for message in received}


def assert_in_order(system: SystemUnderTest, event_tap: EventTap, order: Order) -> None:
    """All versions of an order are heard, each behind the one before it, and under its id."""
    awaited = f"the events of {order.version} versions of order {order.id}"
    topic = event_tap.wait(lambda: _all_versions(event_tap, order), system.patience, awaited)
    heard = list(dict.fromkeys(message.properties.message_id for message in topic))
    assert heard == [f"{order.id}.{version}" for version in range(1, order.version + 1)]


def _all_versions(event_tap: EventTap, order: Order) -> list[Received] | None:
    received = event_tap.received(order.id, TOPIC)
    return received if len(event_ids(received)) >= order.version else None
