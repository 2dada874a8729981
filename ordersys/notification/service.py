"""The NotificationLog of one notification service."""

from ordersys.api.notification.v1.notification_log_pb2 import (
    ListNotificationsRequest,
    ListNotificationsResponse,
)
from ordersys.api.notification.v1.notification_log_pb2_grpc import NotificationLogServicer
from ordersys.contract import pages
from ordersys.contract.requests import normalise
from ordersys.notification.store import Inbox
from ordersys.runtime.database import Database
from ordersys.runtime.server import Context


class NotificationLog(NotificationLogServicer):
    """ordersys.api.notification.v1.NotificationLog."""

    def __init__(self, database: Database, inbox: Inbox) -> None:
        self._database = database
        self._inbox = inbox

    async def ListNotifications(self, request: ListNotificationsRequest, context: Context) -> ListNotificationsResponse:
        normalise(request)
        after = pages.last_key(request, int) or 0
        found = await self._database.read(self._inbox.page, request, after, pages.size(request) + 1)
        notifications, more = pages.fill(request, [(one.sequence, one) for one in found])
        return ListNotificationsResponse(notifications=notifications, next_page_token=more)
