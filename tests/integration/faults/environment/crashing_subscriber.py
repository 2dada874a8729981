"""A Notification Service 2 that crashes at one event; run by `python -m` with the name of this module."""

import os

from ordersys.api.notification.v1.subscriptions_pb2 import DESCRIPTOR
from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.notification_service import text
from ordersys.notification_service.application import run_notification_service
from ordersys.notification_service_2.__main__ import HANDLERS, Settings

DEADLY = "deadly"


def created(event: OrderCreated) -> str:
    """Handles everything but the order of one customer."""
    if event.order.customer_id == DEADLY:
        os._exit(1)
    return text.created(event)


if __name__ == "__main__":
    service = DESCRIPTOR.services_by_name["NotificationService2"]
    run_notification_service(service, {**HANDLERS, OrderCreated: created}, Settings, __doc__ or "")
