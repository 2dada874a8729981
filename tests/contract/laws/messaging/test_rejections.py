"""Laws of OrderRejected, the Product Service's own event."""

import pytest

from ordersys.api.order.v1.order_events_pb2 import OrderRejected
from ordersys.contract.times import microseconds
from tests.contract.harness.client import PRODUCT
from tests.contract.harness.event_tap import EventTap, Received
from tests.contract.harness.order_events import TOPIC, assert_properties, the_one
from tests.contract.harness.system_under_test import SystemUnderTest, new_id, placing

pytestmark = pytest.mark.judges(PRODUCT, "broker")


@pytest.mark.cites("product_service.proto", "FAILED_PRECONDITION (OUT_OF_STOCK; OrderRejected is published)")
@pytest.mark.cites("order_events.proto", "The products there was not enough of.")
@pytest.mark.cites("implement.md", "neither does a repeat")
@pytest.mark.cites("implement.md", "of OrderRejected its reject_time")
def test_a_refusal_for_want_of_stock_is_heard_once_on_the_topic_exchange_only(
    system: SystemUnderTest, event_tap: EventTap
) -> None:
    """OrderRejected names each product that was short, and a repeat publishes nothing more."""
    short, enough = system.new_product(1), system.new_product(9)
    request = placing({short: 3, enough: 2}, customer_id=f"c-{new_id()}")
    for _ in range(3):
        assert system.call(request).reason == "OUT_OF_STOCK"
    received = event_tap.wait(
        lambda: _rejections(event_tap, request.customer_id),
        system.patience,
        f"OrderRejected of customer {request.customer_id}",
    )
    sentinel = placing({short: 2}, customer_id=f"c-{new_id()}")
    assert system.call(sentinel).reason == "OUT_OF_STOCK"
    event_tap.wait(lambda: _rejections(event_tap, sentinel.customer_id), system.patience)
    received = _rejections(event_tap, request.customer_id)
    assert [(message.exchange, message.routing_key) for message in received] == [(TOPIC, "order.rejected")]
    event: OrderRejected = the_one(received)
    assert [(s.product_id, s.asked, s.available) for s in event.shortages] == [(short, 3, 1)]
    assert_properties(received[0], event.order_id, microseconds(event.reject_time))


def _rejections(event_tap: EventTap, customer_id: str) -> list[Received]:
    rejections = [
        message
        for message in event_tap.everything()
        if message.event and isinstance(message.event.message, OrderRejected)
    ]
    return [message for message in rejections if message.event and message.event.message.customer_id == customer_id]
