"""Notification Service 1: hears of order creations, from the fanout exchange."""

from dataclasses import dataclass

from ordersys.api.notification.v1.subscriptions_pb2 import DESCRIPTOR
from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.notification_service import text
from ordersys.notification_service.application import run_notification_service
from ordersys.runtime.settings import NotificationSettings, address


@dataclass(frozen=True)
class Settings(NotificationSettings):
    """What Notification Service 1 takes."""

    notification_service_1_address: str = address("127.0.0.1:50053", "where Notification Service 1 listens")


class Handlers:
    """The events of the subscription NotificationService1."""

    def OnOrderCreated(self, event: OrderCreated) -> str:
        return text.created(event)


if __name__ == "__main__":
    service = DESCRIPTOR.services_by_name["NotificationService1"]
    run_notification_service(service, Handlers(), Settings, __doc__ or "")
