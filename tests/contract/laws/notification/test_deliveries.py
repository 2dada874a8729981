"""Laws of a single delivery: what makes it an event to a subscriber, and what does not matter."""

from typing import Any

import pytest

from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest
from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderRejected, OrderUpdated, Shortage
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from tests.contract.harness.amqp_properties import encoded, short
from tests.contract.harness.client import LISTENERS
from tests.contract.harness.injector import SUBSCRIPTIONS, Injector
from tests.contract.harness.sample_orders import sample_order
from tests.contract.harness.subscriber_deliveries import created, fence, padded, recorded
from tests.contract.harness.system_under_test import SystemUnderTest, new_id

pytestmark = pytest.mark.judges("broker")
every_listener = pytest.mark.parametrize("role", LISTENERS)
TWO = pytest.mark.parametrize("role", ["notification-service-2"])
NEEDED = ("message_id", "type", "content_type")
LARGEST_BODY = 262_144


def needed(event: OrderCreated) -> dict[str, bytes]:
    """The properties an event needs, and no other."""
    values = new_id(), event.DESCRIPTOR.full_name, "application/protobuf"
    return {name: short(value.encode()) for name, value in zip(NEEDED, values, strict=True)}


@pytest.mark.cites("order_events.proto", "A subscriber needs `message_id`, `type`, `content_type` and the body")
@every_listener
def test_what_is_needed_is_enough(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """An event with its id, its type and its content type, and neither headers nor any other property, is recorded."""
    event = created(sample_order())
    injector.put_raw(SUBSCRIPTIONS[role].queue, event.SerializeToString(), encoded(needed(event)))
    assert len(recorded(system, role, event.order.id)) == 1


@pytest.mark.cites("implement.md", "`message_id` and `type` are there, not empty, and are text (UTF-8)")
@every_listener
@pytest.mark.parametrize("wanting", NEEDED)
@pytest.mark.parametrize("empty", [False, True], ids=["missing", "empty"])
def test_without_what_is_needed_it_is_a_dead_letter(
    system: SystemUnderTest, injector: Injector, role: str, wanting: str, empty: bool
) -> None:
    """Missing or empty: neither id, type nor content type is guessed."""
    event = created(sample_order())
    body, properties = event.SerializeToString(), needed(event)
    del properties[wanting]
    if empty:
        properties[wanting] = short(b"")
    injector.put_raw(SUBSCRIPTIONS[role].queue, body, encoded(properties))
    system.discard_dead_letter(role, lambda letter: letter.body_beginning == body)
    assert system.notifications(role, event.order.id) == []


BESIDE_THE_POINT: dict[str, dict[str, Any]] = {
    "another version of CloudEvents": {"headers": {"cloudEvents:specversion": "2.0"}},
    "another source": {"headers": {"cloudEvents:source": "somebody.else"}},
    "the subject of another order": {"headers": {"cloudEvents:subject": new_id()}},
    "a time that is none": {"headers": {"cloudEvents:time": "yesterday"}},
    "a trace that is none": {"headers": {"traceparent": "none"}},
    "another timestamp": {"timestamp": 1},
    "not persistent": {"delivery_mode": 1},
    "an encoding it does not have": {"content_encoding": "gzip"},
    "an answer wanted, by somebody": {
        "reply_to": "nowhere",
        "correlation_id": "1",
        "app_id": "somebody",
        "priority": 9,
    },
}


@pytest.mark.cites(
    "implement.md",
    "Nothing else decides: not headers, `timestamp`, `delivery_mode` or `content_encoding`, nor how the message came",
)
@every_listener
@pytest.mark.parametrize("said", BESIDE_THE_POINT.values(), ids=list(BESIDE_THE_POINT))
def test_nothing_else_makes_it_a_dead_letter(
    system: SystemUnderTest, injector: Injector, role: str, said: dict[str, Any]
) -> None:
    """Other properties and headers may say what they like: the event is what its body says."""
    event = created(sample_order())
    event_id = injector.deliver(role, event, **said)
    (record,) = recorded(system, role, event.order.id)
    assert (record.event_id, record.event.value) == (event_id, event.SerializeToString())


@pytest.mark.cites("implement.md", "the body has at most 262,144 bytes and can be decoded")
@pytest.mark.cites("implement.md", "the body of an event | 262,144 bytes | a dead letter")
@every_listener
def test_a_body_may_be_as_large_as_the_contract_says(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """262,144 bytes are recorded, to the byte; one more is a dead letter."""
    largest, larger = created(sample_order()), created(sample_order())
    body = padded(largest, LARGEST_BODY)
    injector.deliver(role, largest, body)
    event_id = injector.deliver(role, larger, padded(larger, LARGEST_BODY + 1))
    assert recorded(system, role, largest.order.id)[0].event.value == body
    assert system.discard_dead_letter(role, lambda x: x.event_id == event_id).size_bytes == LARGEST_BODY + 1


def updated(order: Order, *changed_fields: str) -> OrderUpdated:
    """The event of a change of an order that stays PLACED."""
    return OrderUpdated(order=order, previous_state=OrderState.ORDER_STATE_PLACED, changed_fields=changed_fields)


def later(order: Order, version: int, customer_id: str = "anna") -> Order:
    """The order at another version."""
    other = Order()
    other.CopyFrom(order)
    other.version, other.customer_id = version, customer_id
    return other


@pytest.mark.cites("implement.md", "A second event about a version that is recorded already, under another id.")
@TWO
def test_a_version_may_be_told_of_twice(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """Under two ids it is two events, of which neither is late."""
    order = sample_order(version=2)
    ids = [injector.deliver(role, updated(order, *fields)) for fields in (["items"], ["items", "total"])]
    records = recorded(system, role, order.id, 2)
    assert [(record.event_id, record.late) for record in records] == [(event_id, False) for event_id in ids]


@pytest.mark.cites(
    "implement.md", "Versions with gaps, and a `previous_state`, a customer or a price that does not follow"
)
@TWO
def test_an_event_need_not_follow_from_those_before(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """After the creation comes version 7, shipped, of another customer: recorded, and not late."""
    order = sample_order()
    injector.deliver(role, created(order))
    shipped = later(order, 7, "bert")
    shipped.state = OrderState.ORDER_STATE_SHIPPED
    event = OrderUpdated(order=shipped, previous_state=OrderState.ORDER_STATE_PAID, changed_fields=["state"])
    injector.deliver(role, event)
    records = recorded(system, role, order.id, 2)
    assert [(record.version, record.late) for record in records] == [(1, False), (7, False)]


@pytest.mark.cites("implement.md", "A name in `changed_fields` that no field has (a newer publisher may know it)")
@TWO
@pytest.mark.parametrize("name", ["colour", "customer_id"])
def test_a_changed_field_need_not_be_known(system: SystemUnderTest, injector: Injector, role: str, name: str) -> None:
    """Nor need it have changed: a subscriber compares nothing with the event before."""
    order = sample_order(version=2)
    injector.deliver(role, updated(order, name))
    (record,) = recorded(system, role, order.id)
    assert OrderUpdated.FromString(record.event.value).changed_fields == [name]


@pytest.mark.cites("implement.md", "An OrderRejected about an order that exists")
@TWO
def test_a_refusal_of_an_order_that_exists_is_recorded(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """It is an event like any other, about no version of the order."""
    order = sample_order()
    injector.deliver(role, created(order))
    shortage = Shortage(product_id="lamp", asked=2, available=1)
    rejected = OrderRejected(order_id=order.id, customer_id="anna", shortages=[shortage])
    rejected.reject_time.CopyFrom(order.create_time)
    injector.deliver(role, rejected)
    assert [record.version for record in recorded(system, role, order.id, 2)] == [1, 0]


@pytest.mark.cites("notification_log.proto", "Only those of this order, a UUID; of all when empty. Read in lower case.")
@every_listener
def test_records_are_found_by_either_spelling_of_their_order(
    system: SystemUnderTest, injector: Injector, role: str
) -> None:
    """Asked for in upper case, they are those that stand in lower case; those of other orders are not among them."""
    event, other = created(sample_order()), created(sample_order())
    event_id = injector.deliver(role, event)
    injector.deliver(role, other)
    fence(system, injector, role)
    for order_id in (event.order.id, event.order.id.upper()):
        records = system.ok(ListNotificationsRequest(order_id=order_id), role).notifications
        assert [(record.event_id, record.order_id) for record in records] == [(event_id, event.order.id)]
