"""The RPCs of one notification service: what it has recorded, and what it could not take."""

from ordersys.api.notification.v1.dead_letter_service_pb2 import (
    DiscardDeadLettersRequest,
    DiscardDeadLettersResponse,
    ListDeadLettersRequest,
    ListDeadLettersResponse,
    ReplayDeadLettersRequest,
    ReplayDeadLettersResponse,
)
from ordersys.api.notification.v1.dead_letter_service_pb2_grpc import DeadLetterServiceServicer
from ordersys.api.notification.v1.notification_log_pb2 import (
    ListNotificationsRequest,
    ListNotificationsResponse,
)
from ordersys.api.notification.v1.notification_log_pb2_grpc import NotificationLogServicer
from ordersys.contract import pages
from ordersys.contract.requests import normalise
from ordersys.notification.letters import letter
from ordersys.notification.recorder import Recorder
from ordersys.notification.removals import Removals
from ordersys.notification.store import DEAD_LETTERS, Inbox
from ordersys.runtime.rpc.admission import Context
from ordersys.runtime.storage.database import Database


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


class DeadLetterService(DeadLetterServiceServicer):
    """ordersys.api.notification.v1.DeadLetterService."""

    def __init__(self, database: Database, recorder: Recorder, removals: Removals) -> None:
        self._database = database
        self._recorder = recorder
        self._removals = removals

    async def ListDeadLetters(self, request: ListDeadLettersRequest, context: Context) -> ListDeadLettersResponse:
        after = pages.last_key(request, int) or 0
        page = await self._database.read(DEAD_LETTERS.page, after, pages.size(request))
        obstacles = await self._recorder.obstacles([one.delivery for one in page.letters])
        found = [(one.sequence, letter(one, why)) for one, why in zip(page.letters, obstacles, strict=True)]
        letters, more = pages.fill(request, found)
        if page.more and not more:
            more = pages.token(request, str(found[-1][0]))
        return ListDeadLettersResponse(dead_letters=letters, next_page_token=more)

    async def ReplayDeadLetters(self, request: ReplayDeadLettersRequest, context: Context) -> ReplayDeadLettersResponse:
        normalise(request)
        return (await self._removals.replay(request)).unpack(ReplayDeadLettersResponse)

    async def DiscardDeadLetters(
        self, request: DiscardDeadLettersRequest, context: Context
    ) -> DiscardDeadLettersResponse:
        normalise(request)
        return (await self._removals.discard(request)).unpack(DiscardDeadLettersResponse)
