"""Notification Service 1: hears of order creations, from the fanout exchange."""

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import Message

from ordersys.api.notification.v1.subscriptions_pb2 import DESCRIPTOR
from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.contract.addresses import Address
from ordersys.notification_service import text
from ordersys.notification_service.application import run_notification_service
from ordersys.notification_service.recorder import Handler
from ordersys.notification_service.settings import NotificationSettings
from ordersys.runtime.base.settings import address


@dataclass(frozen=True)
class Settings(NotificationSettings):
    """Settings of Notification Service 1."""

    notification_service_1_address: Address = address("127.0.0.1:50053", "where Notification Service 1 listens")

    @property
    def listen_address(self) -> Address:
        """The address of Notification Service 1."""
        return self.notification_service_1_address


HANDLERS: Mapping[type[Message], Handler] = {OrderCreated: text.created}
"""One for each event of the subscription NotificationService1."""


if __name__ == "__main__":
    service = DESCRIPTOR.services_by_name["NotificationService1"]
    run_notification_service(service, HANDLERS, Settings, __doc__ or "")
