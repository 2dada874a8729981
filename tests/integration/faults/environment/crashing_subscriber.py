"""A Notification Service 2 that crashes at one event; run by `python -m` with the name of this module."""

import os

from ordersys.api.notification.v1.subscriptions_pb2 import DESCRIPTOR
from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.notification_service.application import run_notification_service
from ordersys.notification_service_2.__main__ import Handlers, Settings

DEADLY = "deadly"


class Mortal(Handlers):
    """Handles everything but the order of one customer."""

    def OnOrderCreated(self, event: OrderCreated) -> str:
        if event.order.customer_id == DEADLY:
            os._exit(1)
        return super().OnOrderCreated(event)


if __name__ == "__main__":
    run_notification_service(DESCRIPTOR.services_by_name["NotificationService2"], Mortal(), Settings, __doc__ or "")
