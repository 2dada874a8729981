"""The whole system against a model of it: any story of requests, compared after every step."""

from itertools import pairwise
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given, settings
from hypothesis import strategies as st

from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderUpdated
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest
from tests.contract.harness.client import ORDER, PRODUCT
from tests.contract.harness.event_tap import EventTap
from tests.contract.harness.examples import share
from tests.contract.harness.order_events import FANOUT, TOPIC
from tests.contract.harness.paging import walk
from tests.contract.harness.rejections import event_of
from tests.contract.harness.steps import Kind, Step, stories, tell
from tests.contract.harness.stock_story import KINDS, StockStory
from tests.contract.harness.system_under_test import SystemUnderTest

_ANY = OrderState.ORDER_STATE_UNSPECIFIED


class StoryOfBoth(StockStory):
    """Requests to the Product Service, with the Order Service behind it: what that one has, and what it publishes."""

    def list_orders(self, customer: int, state: "OrderState.ValueType", size: int) -> None:
        """The orders of a customer, in one state or in any, each at its last version, on pages of any size."""
        query = ListOrdersRequest(customer_id=self.customers[customer], state=state)
        listed: list[Order] = walk(self.system, ORDER, query, lambda page: page.orders, [size])
        fitting = [
            order
            for order in (versions[-1] for versions in self.versions.values())
            if order.customer_id == query.customer_id and state in (_ANY, order.state)
        ]
        assert {order.id: order for order in listed} == {order.id: order for order in fitting}
        assert len(listed) == len(fitting)
        created = [order.create_time.ToNanoseconds() for order in listed]
        assert created == sorted(created, reverse=True), "the newest comes first"

    def end(self) -> None:
        """Every order, and the events on each exchange: each version once, the creation alone on the fanout one."""
        super().end()
        for order_id, versions in self.versions.items():
            assert self.system.order(order_id) == versions[-1]
            if self.event_tap is not None:
                compare_events(self.event_tap, self.system.patience, versions)


def compare_events(event_tap: EventTap, patience: float, versions: list[Order]) -> None:
    """The events of an order are its versions, as they were answered."""
    order_id, created = versions[0].id, OrderCreated(order=versions[0])
    changes = [updated(before, after) for before, after in pairwise(versions)]
    awaited = f"the events of {len(versions)} versions of order {order_id} on"
    event_tap.wait(lambda: len(event_tap.received(order_id, TOPIC)) >= len(versions), patience, f"{awaited} {TOPIC}")
    event_tap.wait(lambda: event_tap.received(order_id, FANOUT), patience, f"OrderCreated of {order_id} on {FANOUT}")
    assert [sorted_names(event_of(received)) for received in event_tap.received(order_id, TOPIC)] == [created, *changes]
    assert [event_of(received) for received in event_tap.received(order_id, FANOUT)] == [created]


def updated(before: Order, after: Order) -> OrderUpdated:
    """The event of a change, with the names in order."""
    changed = [
        field.name
        for field in Order.DESCRIPTOR.fields
        if field.name not in ("version", "update_time") and _only(before, field.name) != _only(after, field.name)
    ]
    return OrderUpdated(order=after, previous_state=before.state, changed_fields=sorted(changed))


def sorted_names(event: Any) -> Any:
    """An event with its changed_fields in order: in which they come is not promised."""
    if not isinstance(event, OrderUpdated):
        return event
    return OrderUpdated(
        order=event.order, previous_state=event.previous_state, changed_fields=sorted(event.changed_fields)
    )


def _only(order: Order, field: str) -> Order:
    """An order without all but one of its fields."""
    part = Order()
    FieldMask(paths=[field]).MergeMessage(order, part)
    return part


KINDS_OF_BOTH = (
    *KINDS,
    Kind(
        2,
        StoryOfBoth.list_orders,
        {
            "customer": st.integers(0, 1),
            "state": st.sampled_from([_ANY, *(state for state in OrderState.values() if state)]),
            "size": st.integers(1, 5),
        },
    ),
)


@pytest.mark.cites("product.proto", "Units held by orders that are not cancelled and by placements under way.")
@pytest.mark.cites(
    "product_service.proto", "Owns products and stock, places and changes orders with the Order Service."
)
@pytest.mark.cites("implement.md", "Where several reasons forbid a request, the first of this list is answered")
@pytest.mark.judges(PRODUCT, ORDER)
@settings(settings.get_profile("contract"), max_examples=share(3))
@given(steps=stories(*KINDS_OF_BOTH))
def test_any_story_goes_as_the_model_says(system: SystemUnderTest, steps: list[Step]) -> None:
    """Products, restocks, placements, repeats, reuse, changes, cancellations, reads and lists, in any order."""
    tell(StoryOfBoth(system, system.event_tap), steps)
