"""A notification service has a handler for each event of its subscription, and for no other."""

import pytest

from ordersys.api.notification.v1.subscriptions_pb2 import DESCRIPTOR
from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderRejected
from ordersys.notification_service.application import run_notification_service
from ordersys.notification_service_1.__main__ import HANDLERS as HANDLERS_1
from ordersys.notification_service_1.__main__ import Settings as Settings1
from ordersys.notification_service_2.__main__ import HANDLERS as HANDLERS_2
from ordersys.notification_service_2.__main__ import Settings as Settings2

SERVICES = DESCRIPTOR.services_by_name


def test_a_missing_handler_ends_a_service_at_its_start() -> None:
    """By the names of the events it needs one for: else each of them would be a dead letter."""
    handlers = {event: handler for event, handler in HANDLERS_2.items() if event is not OrderRejected}
    with pytest.raises(ValueError, match=r"notification-service-2 needs one handler for each of .*OrderRejected"):
        run_notification_service(SERVICES["NotificationService2"], handlers, Settings2, "")


def test_a_handler_of_no_event_of_the_subscription_ends_it_as_well() -> None:
    """It would never be called."""
    handlers = {**HANDLERS_1, OrderRejected: HANDLERS_1[OrderCreated]}
    with pytest.raises(ValueError, match=r"notification-service-1 needs one handler for each of .*OrderCreated$"):
        run_notification_service(SERVICES["NotificationService1"], handlers, Settings1, "")
