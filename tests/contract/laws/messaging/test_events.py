"""Laws of the events: none without a change, no change without one; each once, in order, as the contract says."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderUpdated
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import BatchCreateOrdersRequest, UpdateOrderRequest
from ordersys.api.product.v1.product_service_pb2 import AdjustStockRequest
from ordersys.contract.times import microseconds
from tests.contract.harness.client import ORDER, PRODUCT
from tests.contract.harness.event_tap import EventTap
from tests.contract.harness.examples import with_examples
from tests.contract.harness.order_events import (
    FANOUT,
    TOPIC,
    assert_properties,
    assert_tells,
    await_version,
    settle,
    settled,
    the_one,
)
from tests.contract.harness.order_model import Told
from tests.contract.harness.order_requests import (
    CANCELLED,
    DELIVERED,
    PAID,
    SHIPPED,
    State,
    changing,
    in_state,
    moving,
    replacing,
    updated,
)
from tests.contract.harness.system_under_test import SystemUnderTest, creating, new_id

pytestmark = pytest.mark.judges(ORDER, "broker")
CLIENTS, CALLS, BATCH = 8, 40, 50
Change: TypeAlias = tuple[Callable[[Order], UpdateOrderRequest], list[str]]
"""A request to change an order, and the names of the fields that it changes."""
MORE: Change = (lambda order: changing(order, {"lamp": 9}), ["items", "total"])
OTHERS_FOR_AS_MUCH: Change = (lambda order: changing(order, {"desk": order.items[0].quantity}), ["items"])


def to(state: State) -> Change:
    """A change of the state."""
    return lambda order: moving(order, state), ["state"]


STORIES = {
    "delivered": [MORE, OTHERS_FOR_AS_MUCH, to(PAID), to(SHIPPED), to(DELIVERED)],
    "cancelled": [OTHERS_FOR_AS_MUCH, to(CANCELLED)],
    "cancelled when paid": [to(PAID), to(CANCELLED)],
}


@pytest.mark.cites("order_service.proto", "Creates an order at version 1 in state PLACED, and publishes OrderCreated.")
@pytest.mark.cites("implement.md", "one publish of OrderCreated reaches both")
def test_a_creation_is_heard_once_on_each_exchange(system: SystemUnderTest, event_tap: EventTap) -> None:
    """One event, with one id, on the fanout and on the topic exchange, equal to what the call answered."""
    order = system.create()
    settle(system, event_tap, order)
    for exchange in (FANOUT, TOPIC):
        assert the_one(event_tap.received(order.id, exchange)) == OrderCreated(order=order)
    assert len({received.properties.message_id for received in event_tap.received(order.id)}) == 1


@pytest.mark.cites("order_events.proto", "The order as it became: version 2 or more.")
@pytest.mark.cites("order_events.proto", "The state it was in before; equals order.state when the items changed")
@pytest.mark.cites("order_events.proto", "The names of the order's fields that changed besides version and update_time")
@pytest.mark.parametrize("changes", STORIES.values(), ids=list(STORIES))
def test_a_change_is_heard_once_on_the_topic_exchange_only(
    system: SystemUnderTest, event_tap: EventTap, changes: Sequence[Change]
) -> None:
    """OrderUpdated with the order as it became, its state before and the names of what changed, for every change."""
    order = system.create()
    events: list[OrderCreated | OrderUpdated] = [OrderCreated(order=order)]
    for make, names in changes:
        changed = updated(system, make(order))
        events.append(OrderUpdated(order=changed, previous_state=order.state, changed_fields=names))
        order = changed
    heard = settled(system, event_tap, [order])[order.id]
    assert_tells(heard, [Told(event, "") for event in events])


@pytest.mark.cites("implement.md", "The events of one order are published in the order of its versions.")
@pytest.mark.cites("order_events.proto", "The events of one order are published in the order of its versions")
@pytest.mark.cites("order.proto", "1 when created, one more with each change")
@with_examples
@given(steps=st.lists(st.sampled_from([None, PAID, SHIPPED, DELIVERED, CANCELLED]), max_size=5))
def test_versions_rise_by_one_and_come_in_order(system: SystemUnderTest, steps: "Sequence[State | None]") -> None:
    """Whatever is done to an order, its events tell of each version once, in order."""
    event_tap = system.event_tap
    assert event_tap is not None
    newest = system.create()
    for number, state in enumerate(steps):
        request = changing(newest, {"lamp": number + 3}) if state is None else moving(newest, state)
        answer = system.call(request, ORDER)  # it may be refused: then nothing changes
        newest = answer.response.order if answer.response else newest
    received = await_version(system, event_tap, newest)
    assert [h.event.version for h in received if h.event] == list(range(1, newest.version + 1))


@pytest.mark.cites("implement.md", "A refused change publishes nothing")
def test_a_refused_change_publishes_nothing(system: SystemUnderTest, event_tap: EventTap) -> None:
    """No event without its change: of what is refused, and of what changes nothing."""
    order = updated(system, changing(system.create(), {"lamp": 9}))
    for expected in (1, 3):
        assert system.call(moving(order, PAID, expected), ORDER).reason == "VERSION_MISMATCH"
        assert system.call(changing(order, {"lamp": 5}, expected), ORDER).reason == "VERSION_MISMATCH"
    assert system.call(moving(order, SHIPPED), ORDER).reason == "STATE_NOT_ALLOWED"
    assert updated(system, replacing(order, order.items)) == order
    settle(system, event_tap, order)
    assert [h.event.version for h in event_tap.received(order.id, TOPIC) if h.event] == [1, 2]


@pytest.mark.cites("order_service.proto", "Creates many orders in one commit, each as CreateOrder would")
def test_every_order_of_a_batch_has_its_event(system: SystemUnderTest, event_tap: EventTap) -> None:
    """As if each had been created alone; the refused ones have none."""
    requests = [creating() for _ in range(30)]
    duplicate = creating()
    duplicate.order_id = system.create().id
    results = system.ok(BatchCreateOrdersRequest(requests=[*requests, duplicate])).results
    assert [r.WhichOneof("result") for r in results] == ["order"] * 30 + ["status"]
    settle(system, event_tap, *(result.order for result in results[:-1]))
    for result in results[:-1]:
        for exchange in (FANOUT, TOPIC):
            assert the_one(event_tap.received(result.order.id, exchange)) == OrderCreated(order=result.order)
    assert len(event_tap.received(duplicate.order_id, TOPIC)) == 1


@pytest.mark.cites("implement.md", "publish an event if, and only if, its change is committed")
def test_each_order_of_a_crowd_has_its_events(system: SystemUnderTest, event_tap: EventTap) -> None:
    """Orders are created in batches, and created and changed one by one, all at once: each version is heard of."""

    # A batch may begin before a change and be committed after it: who reads on behind the change's event misses it.
    def work(number: int) -> list[Order]:
        if number % 2:
            return [updated(system, changing(system.create(), {"lamp": 9}))]
        batch = BatchCreateOrdersRequest(requests=[creating() for _ in range(BATCH)])
        return [result.order for result in system.ok(batch).results]

    with ThreadPoolExecutor(CLIENTS) as pool:
        orders = list(chain.from_iterable(pool.map(work, range(CALLS))))
    heard = settled(system, event_tap, orders)
    for order in orders:
        versions = [h.event.version for h in heard[order.id] if h.event and h.exchange == TOPIC]
        assert versions == list(range(1, order.version + 1))


@pytest.mark.cites("implement.md", "type | full message name: ordersys.api.order.v1.OrderCreated")
@pytest.mark.cites("implement.md", "content_type | application/protobuf |")
@pytest.mark.cites("implement.md", "delivery_mode | 2")
@pytest.mark.cites("implement.md", "header cloudEvents:specversion | 1.0")
@pytest.mark.cites("implement.md", "header cloudEvents:source | full name of the service in publisher")
@pytest.mark.cites("implement.md", "header cloudEvents:subject | the order id")
@pytest.mark.cites("order_events.proto", "A message on the wire is CloudEvents 1.0 in binary mode")
@pytest.mark.cites("implement.md", "A publisher sends all of this")
@pytest.mark.cites("implement.md", "the event's time in whole seconds: update_time of the order, or reject_time")
@pytest.mark.cites("implement.md", "the event's time in RFC 3339, to the microsecond")
@pytest.mark.parametrize(
    "make",
    [lambda system: system.create(), lambda system: in_state(system, system.create(), PAID)],
    ids=["created", "updated"],
)
def test_the_properties_of_a_message_are_those_of_the_contract(
    system: SystemUnderTest, event_tap: EventTap, make: Callable[[SystemUnderTest], Order]
) -> None:
    """CloudEvents 1.0 in binary mode: id, type, source, subject and time; persistent; traceable."""
    order = make(system)
    received = await_version(system, event_tap, order)[-1]
    assert_properties(received, order.id, microseconds(order.update_time))


@pytest.mark.cites("implement.md", "the order of PlaceOrder is the one that CreateOrder created")
@pytest.mark.cites("order_events.proto", "The order as it was created: version 1, state PLACED.")
@pytest.mark.judges(PRODUCT)
def test_a_placement_is_heard_of_as_it_was_answered(system: SystemUnderTest, event_tap: EventTap) -> None:
    """The order the Product Service answered is the order the event tells of."""
    order = system.place({system.new_product(): 2})
    settle(system, event_tap, order)
    for exchange in (FANOUT, TOPIC):
        assert the_one(event_tap.received(order.id, exchange)) == OrderCreated(order=order)


@pytest.mark.cites("implement.md", "stock that is adjusted, and a product that is created, publish nothing")
@pytest.mark.judges(PRODUCT)
def test_stock_taken_and_given_without_an_order_publishes_nothing(system: SystemUnderTest, event_tap: EventTap) -> None:
    """Only orders have events."""
    product = system.new_product(5)
    system.ok(AdjustStockRequest(request_id=new_id(), product_id=product, delta=5))
    settle(system, event_tap)
    assert not [h for h in event_tap.everything() if product.encode() in h.body]
