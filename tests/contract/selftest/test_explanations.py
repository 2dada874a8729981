"""A comparison that fails in a law says which fields differ, and what pytest says of it."""

from typing import Any

import pika
import pytest

from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.contract.events import Delivery, decode
from ordersys.contract.times import microseconds
from ordersys.contract.topology import publication
from tests.contract.harness.counterexamples import counterexample
from tests.contract.harness.event_tap import Received
from tests.contract.harness.order_events import assert_properties
from tests.contract.harness.sample_orders import sample_order


def said(pytestconfig: pytest.Config, left: object, right: object) -> list[str]:
    """The lines that explain `left == right` in this folder."""
    results: list[Any] = pytestconfig.hook.pytest_assertrepr_compare(
        config=pytestconfig, op="==", left=left, right=right
    )
    return list(results[0]) if results else []


def test_messages_that_differ_are_explained_by_their_fields(pytestconfig: pytest.Config) -> None:
    """A type that pytest does not know."""
    lines = said(pytestconfig, Order(id="a", version=1), Order(id="a", version=2))
    assert lines[1:] == ["1 place differs (answered != expected):", "version: 1 != 2"]


def test_what_pytest_says_of_lists_stays(pytestconfig: pytest.Config) -> None:
    """Behind the fields."""
    lines = said(pytestconfig, [Order(version=1)], [Order(version=2)])
    assert lines[1:3] == ["1 place differs (answered != expected):", "[0].version: 1 != 2"]
    assert any("At index 0 diff" in line for line in lines)


def test_what_holds_no_message_is_explained_in_the_same_words(pytestconfig: pytest.Config) -> None:
    """A reader finds what differs where he looks for it."""
    assert said(pytestconfig, [1], [2])[1:3] == ["1 place differs (answered != expected):", "[0]: 1 != 2"]


def received(order: Order, **changes: str) -> Received:
    """The message about a creation, with other headers."""
    created = publication(OrderCreated.DESCRIPTOR)
    headers = {
        "cloudEvents:specversion": "1.0",
        "cloudEvents:source": created.publisher,
        "cloudEvents:subject": order.id,
        "cloudEvents:time": order.update_time.ToJsonString(),
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
        "of-a-client-library": "x",
    }
    properties = pika.BasicProperties(
        content_type="application/protobuf",
        delivery_mode=2,
        type=OrderCreated.DESCRIPTOR.full_name,
        message_id=f"{order.id}.1",
        timestamp=order.update_time.seconds,
        headers={**headers, **{f"cloudEvents:{name}": value for name, value in changes.items()}},
    )
    body = OrderCreated(order=order).SerializeToString()
    delivery = Delivery(properties.message_id, properties.type, properties.content_type, body)
    return Received("orders.events", created.routing_key, properties, body, decode(delivery), "")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("time", "2026-11-26T20:00:00.000004+00:00"), ("time", "at noon"), ("subject", "x"), ("source", "me")],
)
def test_a_property_of_an_event_is_named_with_both_values(name: str, wrong: str) -> None:
    """A header by its own name; what other software adds is no matter."""
    order = sample_order()
    time = microseconds(order.update_time)
    assert_properties(received(order), order.id, time)
    with pytest.raises(AssertionError) as caught:
        assert_properties(received(order, **{name: wrong}), order.id, time)
    first, place = counterexample(caught.value).splitlines()
    assert first == "1 place differs (answered != expected):"
    assert place.startswith(f"cloudEvents:{name}: {wrong!r} != ")
